"""Options of simulated sockets, and addresses of their hosts: what they do to packets and connections.

Which options there are, and which values they take, is in `socket_cases.txt`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from sim_tools import datagrams, on_host

import natsim


def test_a_full_receive_buffer_loses_datagrams() -> None:
    """Linux counts 768 bytes for each, beside what is in it: of 16 kB, 16 * 1024 fit in 8 + 1."""

    async def program() -> int:
        with socket.socket(type=socket.SOCK_DGRAM) as mine, socket.socket(type=socket.SOCK_DGRAM) as theirs:
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            mine.bind(("127.0.0.1", 0))
            for _ in range(50):
                theirs.sendto(bytes(1280), mine.getsockname())
            await asyncio.sleep(0.01)
            return len(list(_all(mine)))

    assert on_host(lambda net: program()) == 8


def _all(sock: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield sock.recv(9999)
        except BlockingIOError:
            return


def test_a_host_with_several_addresses_has_each_of_them() -> None:
    net = natsim.Internet()
    net.host("alice")
    net.host("server", addresses=3)

    async def program() -> Any:
        first, *others = net.server.addresses
        ears = [await datagrams((address, 9)) for address in others]
        everywhere = await datagrams(("0.0.0.0", 7))
        mine = await datagrams(("0.0.0.0", 8))
        for address, port in ((others[0], 9), (others[1], 9), (first, 7), (others[1], 7)):
            mine.transport.sendto(address.encode(), (address, port))
        heard = [await ear.received.get() for ear in ears] + [await everywhere.received.get() for _ in range(2)]
        return [(data.decode(), source[0]) for data, source in heard]

    async def story() -> Any:
        return await net.server.start(program())

    first, second, third = net.server.addresses
    # To an address of one's own, packets come from that very address.
    assert net.run(story).result == [(second, second), (third, third), (first, first), (third, third)]


def test_a_socket_bound_to_the_second_address_speaks_from_it() -> None:
    net = natsim.Internet()
    net.host("alice")
    net.host("server", addresses=2)

    async def story() -> Any:
        ear = await net.alice.start(datagrams(("0.0.0.0", 9)))
        for local in (net.server.addresses[1], "0.0.0.0"):
            mouth = await net.server.start(datagrams((local, 0)))
            mouth.transport.sendto(b"x", (net.alice.address, 9))
        return [(await ear.received.get())[1][0] for _ in range(2)]

    assert net.run(story).result == [net.server.addresses[1], net.server.addresses[0]]


@pytest.mark.parametrize(
    ("level", "option", "value", "shows"),
    [
        (socket.IPPROTO_IP, socket.IP_TTL, 5, (5, False)),
        (socket.IPPROTO_IP, 10, 2, (64, True)),  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        (socket.IPPROTO_IP, 10, 0, (64, False)),
    ],
)
def test_what_options_write_into_datagrams(level: int, option: int, value: int, shows: Any) -> None:
    net = natsim.two_nats("none", "none")

    async def program() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setsockopt(level, option, value)
            sock.sendto(b"x", (net.bob.address, 9))

    async def story() -> None:
        await net.alice.start(program())

    first = next(iter(net.run(story).trace)).packet
    assert (first.ttl, first.df) == shows


@pytest.mark.parametrize(
    ("option", "value", "largest"), [(None, 0, 1460), (socket.TCP_MAXSEG, 500, 500), (socket.TCP_MAXSEG, 9000, 1460)]
)
def test_segments_are_as_large_as_link_and_socket_allow(option: int | None, value: int, largest: int) -> None:
    net = natsim.two_nats("none", "none")

    async def program() -> None:
        with socket.socket() as sock:
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, (net.server.address, 80))
            await asyncio.get_running_loop().sock_sendall(sock, bytes(20_000))
            await asyncio.sleep(1)

    async def story() -> None:
        await net.server.start(asyncio.start_server(lambda reader, writer: writer.close(), "0.0.0.0", 80))
        await net.alice.start(program())

    sizes = [len(e.packet.payload) for e in net.run(story).trace if e.action == "sent" and e.node == "alice"]
    assert max(sizes) == largest


def test_a_small_receive_buffer_is_all_that_the_peer_may_fill() -> None:
    async def program() -> int:
        loop = asyncio.get_running_loop()
        with socket.socket() as listener, socket.socket() as mine:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            await loop.sock_connect(mine, listener.getsockname())
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    sent += mine.send(bytes(1024))
                    await asyncio.sleep(1)
            return sent

    assert on_host(lambda net: program()) == 2 * 8192


def test_datagrams_of_ipv6_are_cut_for_the_path_once_a_router_has_told_its_mtu() -> None:
    net = natsim.Internet()
    for name, mtu in (("alice", 1500), ("bob", 1300)):
        net.host(name, link=natsim.Link(5, mtu=mtu), ipv6=True)

    async def story() -> Any:
        ear = await net.bob.start(datagrams(("::", 9)))
        mouth = await net.alice.start(datagrams(("::", 0)))
        for size in (1301, 1302):
            mouth.transport.sendto(bytes(size), (net.bob.addresses[1], 9, 0, 0))
            await asyncio.sleep(1)
        return ear.received.qsize(), len((await ear.received.get())[0])

    assert net.run(story).result == (1, 1302), "the first is lost, as the router says, and the second is cut"


def test_views_of_buffers_can_be_sent_and_changed_afterwards() -> None:
    async def program() -> Any:
        loop = asyncio.get_running_loop()
        buffer = bytearray(b"first")
        with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket() as listener, socket.socket() as mine:
            one.bind(("127.0.0.1", 0))
            one.connect(one.getsockname())
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            await loop.sock_connect(mine, listener.getsockname())
            theirs, _ = await loop.sock_accept(listener)
            one.send(memoryview(buffer))
            one.sendto(buffer, one.getsockname())
            mine.sendall(memoryview(buffer))
            buffer[:] = b"other"
            with theirs:
                return [await loop.sock_recv(sock, 9) for sock in (one, one, theirs)]

    assert on_host(lambda net: program()) == [b"first"] * 3


def test_an_accepted_socket_inherits_what_the_listener_was_told() -> None:
    async def program() -> Any:
        loop = asyncio.get_running_loop()
        with socket.socket() as listener, socket.socket() as mine:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            await loop.sock_connect(mine, listener.getsockname())
            theirs, _ = await loop.sock_accept(listener)
            with theirs:
                told = theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                return told, theirs._calls.slot.connection.keepalive, mine._calls.slot.connection.keepalive

    assert on_host(lambda net: program()) == (15, (15 * 10**9, 75 * 10**9, 9), None)


def test_keepalive_notices_that_the_peer_has_gone() -> None:
    net = natsim.two_nats("none", "none")

    async def program() -> float:
        reader, writer = await asyncio.open_connection(net.server.address, 80)
        sock = writer.get_extra_info("socket")
        for level, option, value in (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        ):
            sock.setsockopt(level, option, value)
        await asyncio.sleep(1)
        net.world.cut("alice", "server", "drop")
        with pytest.raises(TimeoutError):
            await reader.read()
        return asyncio.get_running_loop().time()

    async def story() -> Any:
        held: list[Any] = []
        await net.server.start(asyncio.start_server(lambda *ends: held.append(ends), "0.0.0.0", 80))
        return await net.alice.start(program())

    assert 30 <= net.run(story).result <= 31.1
