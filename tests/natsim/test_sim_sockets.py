"""Simulated sockets against real ones: every case here runs on both, on 127.0.0.1, and must end alike.

The rows about sharing a port are the table of measured bind rules on which TCP punching stands.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sim_tools import on_host

HOME = "127.0.0.1"
REUSE = (socket.SO_REUSEADDR,)
SHARE = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Case = Callable[["Desk"], Awaitable[Any]]
CASES: list[tuple[Case, Any]] = []


class Desk:
    """Makes sockets, and closes them at the end."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.sockets: list[socket.socket] = []

    def make(self, *options: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
        sock = socket.socket(socket.AF_INET, kind)
        sock.setblocking(False)
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        self.sockets.append(sock)
        return sock

    def bound(self, port: int = 0, *options: int) -> socket.socket:
        sock = self.make(*options)
        sock.bind((HOME, port))
        return sock

    def listening(self, port: int = 0, *options: int) -> socket.socket:
        sock = self.bound(port, *options)
        sock.listen()
        return sock

    async def accept(self, listener: socket.socket) -> socket.socket:
        sock, _ = await self.loop.sock_accept(listener)
        self.sockets.append(sock)
        return sock

    async def pair(self, *options: int) -> tuple[socket.socket, socket.socket]:
        """A connection: the end that connected (with these options), and the end that accepted."""
        listener, mine = self.listening(), self.bound(0, *options)
        await self.loop.sock_connect(mine, listener.getsockname())
        return mine, await self.accept(listener)


def name(code: int | None) -> str:
    return errno.errorcode[code] if code else "ok"


def tried(call: Callable[..., Any], *args: Any) -> Any:
    """What a call returns, or the name of its errno."""
    try:
        return call(*args)
    except OSError as exc:
        return name(exc.errno)


async def connecting(desk: Desk, sock: socket.socket, address: Any) -> str:
    try:
        await desk.loop.sock_connect(sock, address)
    except OSError as exc:
        return name(exc.errno)
    return "ok"


def gives(expected: Any) -> Callable[[Case], Case]:
    def note(case: Case) -> Case:
        CASES.append((case, expected))
        return case

    return note


# -- Sharing a port ---------------------------------------------------------------------------------------------------


@gives(["EADDRINUSE", "EADDRINUSE"])
async def options_come_before_the_first_bind(desk: Desk) -> Any:
    mine, _ = await desk.pair()
    port = mine.getsockname()[1]
    return [tried(desk.bound, port), tried(desk.bound, port, *SHARE)]


@gives(["ok", "EADDRNOTAVAIL"])
async def one_port_to_two_destinations_but_not_twice_to_one(desk: Desk) -> Any:
    mine, theirs = await desk.pair(*REUSE)
    port, other = mine.getsockname()[1], desk.listening()
    return [
        await connecting(desk, desk.bound(port, *REUSE), other.getsockname()),
        await connecting(desk, desk.bound(port, *REUSE), theirs.getsockname()),
    ]


@gives("ok")
async def listening_beside_a_connection(desk: Desk) -> Any:
    mine, _ = await desk.pair(*REUSE)
    listener = desk.listening(mine.getsockname()[1], *REUSE)
    return await connecting(desk, desk.make(), listener.getsockname())


@gives("EADDRINUSE")
async def reuse_address_does_not_get_past_a_listener(desk: Desk) -> Any:
    port = desk.listening(0, *REUSE).getsockname()[1]
    return tried(desk.bound, port, *REUSE)


@gives("ok")
async def connecting_beside_a_listener_that_shares(desk: Desk) -> Any:
    port = desk.listening(0, *SHARE).getsockname()[1]
    return await connecting(desk, desk.bound(port, *SHARE), desk.listening().getsockname())


@gives("EADDRINUSE")
async def both_must_share(desk: Desk) -> Any:
    port = desk.listening(0, *SHARE).getsockname()[1]
    return tried(desk.bound, port, *REUSE)


@gives([None, "EADDRINUSE"])
async def of_two_bound_sockets_one_may_listen(desk: Desk) -> Any:
    one = desk.bound(0, *REUSE)
    other = desk.bound(one.getsockname()[1], *REUSE)
    return [tried(one.listen), tried(other.listen)]


@gives((True, b"to myself"))
async def a_socket_can_connect_to_itself(desk: Desk) -> Any:
    sock = desk.bound()
    await desk.loop.sock_connect(sock, sock.getsockname())
    await desk.loop.sock_sendall(sock, b"to myself")
    return sock.getsockname() == sock.getpeername(), await desk.loop.sock_recv(sock, 99)


@gives(["EADDRINUSE", None])
async def a_closed_port_is_free_again(desk: Desk) -> Any:
    first = desk.listening()
    port = first.getsockname()[1]
    before = tried(desk.bound, port)
    first.close()
    return [before, desk.bound(port).close()]


@gives(["EADDRINUSE", True])
async def time_wait_keeps_a_port_from_all_but_those_who_reuse_it(desk: Desk) -> Any:
    mine, theirs = await desk.pair(*REUSE)
    port = mine.getsockname()[1]
    mine.close()
    await desk.loop.sock_recv(theirs, 1)
    theirs.close()
    await asyncio.sleep(0.01)
    return [tried(desk.bound, port), desk.bound(port, *REUSE).getsockname()[1] == port]


# -- Errors -----------------------------------------------------------------------------------------------------------


@gives("ECONNREFUSED")
async def nobody_listens(desk: Desk) -> Any:
    return await connecting(desk, desk.make(), desk.bound().getsockname())


@gives(["EADDRNOTAVAIL", "EINVAL"])
async def a_foreign_address_and_a_second_bind(desk: Desk) -> Any:
    return [tried(desk.make().bind, ("192.0.2.200", 0)), tried(desk.bound().bind, (HOME, 0))]


@gives("EINVAL")
async def from_loopback_there_is_no_way_out(desk: Desk) -> Any:
    return await connecting(desk, desk.bound(), ("192.0.2.200", 9))


@gives(["EPIPE", "ENOTCONN", "ENOTCONN", "ENOTCONN", "EINVAL", ("0.0.0.0", 0)])
async def a_socket_without_a_connection(desk: Desk) -> Any:
    sock = desk.make()
    calls = (sock.send, b"x"), (sock.recv, 1), (sock.shutdown, socket.SHUT_WR), (sock.getpeername,), (sock.accept,)
    return [tried(*call) for call in calls] + [sock.getsockname()]


@gives(["EBADF"] * 5)
async def a_closed_socket(desk: Desk) -> Any:
    mine, _ = await desk.pair()
    mine.close()
    calls = (mine.send, b"x"), (mine.recv, 1), (mine.getsockname,), (mine.bind, (HOME, 0)), (mine.shutdown, 1)
    return [tried(*call) for call in calls]


@gives(["EINPROGRESS", "ok", "EISCONN"])
async def connect_ex_again_tells_once_that_it_is_done(desk: Desk) -> Any:
    sock, listener = desk.make(), desk.listening()
    first = sock.connect_ex(listener.getsockname())
    await desk.accept(listener)
    return [name(code) for code in (first, *(sock.connect_ex(listener.getsockname()) for _ in range(2)))]


@gives(["ECONNREFUSED", "ECONNABORTED"])
async def after_a_failed_connect_the_socket_is_spent(desk: Desk) -> Any:
    sock, nobody = desk.make(), desk.bound()
    first = await connecting(desk, sock, nobody.getsockname())
    return [first, name(sock.connect_ex(nobody.getsockname()))]


@gives(["EISCONN", "EINVAL", "EINVAL"])
async def calls_in_the_wrong_state(desk: Desk) -> Any:
    mine, _ = await desk.pair()
    listener = desk.listening()
    return [name(listener.connect_ex(mine.getsockname())), tried(mine.listen), tried(mine.accept)]


@gives(["port must be 0-65535.", "port must be 0-65535."])
async def ports_end_at_65535(desk: Desk) -> Any:
    said = []
    for call in (desk.make().bind, desk.make().connect):
        with pytest.raises(OverflowError) as caught:
            call((HOME, 65536))
        said.append(str(caught.value).rsplit(": ")[-1])
    return said


@gives(None)
async def an_unknown_name(desk: Desk) -> Any:
    with pytest.raises(socket.gaierror):
        desk.make().connect(("no-such-host.invalid", 9))


# -- Streams ----------------------------------------------------------------------------------------------------------


@gives([b"question", b"", b"answer", b""])
async def half_close(desk: Desk) -> Any:
    mine, theirs = await desk.pair()
    await desk.loop.sock_sendall(mine, b"question")
    mine.shutdown(socket.SHUT_WR)
    heard = [await desk.loop.sock_recv(theirs, 99), await desk.loop.sock_recv(theirs, 99)]
    await desk.loop.sock_sendall(theirs, b"answer")
    theirs.close()
    heard += [await desk.loop.sock_recv(mine, 99), await desk.loop.sock_recv(mine, 99)]
    return heard


@gives([b"first", "ECONNRESET", b"", "EPIPE", "ENOTCONN"])
async def linger_zero_resets_and_what_had_come_can_be_read(desk: Desk) -> Any:
    mine, theirs = await desk.pair()
    await desk.loop.sock_sendall(theirs, b"first")
    await asyncio.sleep(0.01)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    theirs.close()
    await asyncio.sleep(0.01)
    return [tried(mine.recv, 99) for _ in range(3)] + [tried(mine.send, b"x"), tried(mine.getpeername)]


@gives(["ECONNRESET", "EPIPE", b""])
async def a_reset_is_told_once_to_whoever_asks_first(desk: Desk) -> Any:
    mine, theirs = await desk.pair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    theirs.close()
    await asyncio.sleep(0.01)
    return [tried(mine.send, b"x"), tried(mine.send, b"x"), tried(mine.recv, 1)]


@gives("ECONNRESET")
async def closing_with_unread_data_resets(desk: Desk) -> Any:
    mine, theirs = await desk.pair()
    await desk.loop.sock_sendall(mine, b"nobody reads this")
    await asyncio.sleep(0.01)
    theirs.close()
    await asyncio.sleep(0.01)
    return tried(mine.recv, 1)


@gives("ECONNRESET")
async def a_connection_that_died_before_it_was_accepted_is_accepted_dead(desk: Desk) -> Any:
    listener, mine = desk.listening(), desk.make()
    await desk.loop.sock_connect(mine, listener.getsockname())
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    mine.close()
    await asyncio.sleep(0.01)
    return tried((await desk.accept(listener)).recv, 1)


@gives(True)
async def connections_are_accepted_in_their_order(desk: Desk) -> Any:
    listener, clients = desk.listening(), [desk.make() for _ in range(3)]
    for client in clients:
        await desk.loop.sock_connect(client, listener.getsockname())
    accepted = [(await desk.accept(listener)).getpeername() for _ in clients]
    return accepted == [client.getsockname() for client in clients]


@gives([True, True, False])
async def a_backlog_of_one_lets_two_wait(desk: Desk) -> Any:
    listener, clients = desk.bound(), [desk.make() for _ in range(3)]
    listener.listen(1)
    connected = []
    for client in clients:
        client.connect_ex(listener.getsockname())
        await asyncio.sleep(0.02)
        connected.append(tried(client.getpeername) == listener.getsockname())
    return connected


@gives("ECONNRESET")
async def closing_a_listener_resets_who_waits(desk: Desk) -> Any:
    listener, mine = desk.listening(), desk.make()
    await desk.loop.sock_connect(mine, listener.getsockname())
    listener.close()
    await asyncio.sleep(0.01)
    return tried(mine.recv, 1)


# -- Datagrams --------------------------------------------------------------------------------------------------------


@gives([None, "ECONNREFUSED", None])
async def a_connected_datagram_socket_hears_that_nobody_is_there(desk: Desk) -> Any:
    sock, nobody = desk.make(kind=socket.SOCK_DGRAM), desk.make(kind=socket.SOCK_DGRAM)
    nobody.bind((HOME, 0))
    sock.connect(nobody.getsockname())
    nobody.close()
    sock.send(b"x")
    await asyncio.sleep(0.01)
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    sock.send(b"x")
    await asyncio.sleep(0.01)
    return [None if error == errno.ECONNREFUSED else error, tried(sock.send, b"x"), tried(sock.send, b"x") and None]


@gives([b"from the one", "EAGAIN"])
async def a_connected_datagram_socket_hears_only_its_peer(desk: Desk) -> Any:
    mine, one, other = (desk.make(kind=socket.SOCK_DGRAM) for _ in range(3))
    for sock in (mine, one, other):
        sock.bind((HOME, 0))
    mine.connect(one.getsockname())
    other.sendto(b"from another", mine.getsockname())
    one.sendto(b"from the one", mine.getsockname())
    await asyncio.sleep(0.01)
    return [tried(mine.recv, 99), tried(mine.recv, 99)]


@gives([HOME, HOME, ("0.0.0.0", 0)])
async def connecting_a_datagram_socket_chooses_its_address(desk: Desk) -> Any:
    bound, fresh, unused = (desk.make(kind=socket.SOCK_DGRAM) for _ in range(3))
    bound.bind(("0.0.0.0", 0))
    bound.connect((HOME, 9))
    fresh.connect(("0.0.0.0", 9))
    return [bound.getsockname()[0], fresh.getpeername()[0], unused.getsockname()]


@gives(["EDESTADDRREQ", "EMSGSIZE", errno.errorcode[errno.EOPNOTSUPP], 0])
async def what_a_datagram_socket_cannot_do(desk: Desk) -> Any:
    sock = desk.make(kind=socket.SOCK_DGRAM)
    big = tried(sock.sendto, bytes(65508), (HOME, 9))
    return [tried(sock.send, b"x"), big, tried(sock.listen), tried(sock.sendto, b"", (HOME, 9))]


# -- Both ways --------------------------------------------------------------------------------------------------------


async def run(case: Case) -> Any:
    desk = Desk()
    try:
        async with asyncio.timeout(5):
            return await case(desk)
    finally:
        for sock in desk.sockets:
            sock.close()


@pytest.mark.parametrize(("case", "expected"), CASES, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("kind", ["simulated", "real"])
def test_sockets_end_alike(case: Case, expected: Any, kind: str) -> None:
    if kind == "simulated":
        assert on_host(lambda net: run(case)) == expected
    elif sys.platform != "linux":
        pytest.skip("the manners are those of Linux")
    else:
        assert asyncio.run(run(case)) == expected
