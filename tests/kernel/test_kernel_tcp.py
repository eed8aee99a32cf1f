"""natsim's TCP and the kernel's talk to each other over links of every kind, and come to the same ends."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tun_tcp import NATSIM, Bridge

from natsim import Link
from natsim.packet import ACK, RST, SYN, TCP, Endpoint, Packet
from natsim.tcp import State, TcpConnection

pytestmark = pytest.mark.kernel

PORT = 7000
LINKS = {
    "plain": Link(5),
    "loss": Link(5, loss=0.03),
    "jitter": Link(5, jitter=8),
    "duplicates": Link(5, duplicate=0.2),
    "all at once": Link(5, jitter=6, loss=0.02, duplicate=0.1),
}
links = pytest.mark.parametrize("link", LINKS.values(), ids=list(LINKS))

Body = Callable[[Bridge], Awaitable[None]]


def over(link: Link, body: Body, seed: int = 1) -> None:
    """Run a test's body with a bridge."""

    async def run() -> None:
        async with Bridge(link, seed) as bridge:
            await body(bridge)

    asyncio.run(run())


async def by_natsim(bridge: Bridge) -> tuple[TcpConnection, socket.socket]:
    """natsim connects, the kernel accepts."""
    listener = bridge.kernel_socket(PORT, listen=True)
    connection = bridge.dial(4000, PORT)
    async with asyncio.timeout(15):
        sock, _ = await asyncio.get_running_loop().sock_accept(listener)
    bridge._built.callback(sock.close)
    await bridge.until(lambda: connection.connected)
    return connection, sock


async def by_kernel(bridge: Bridge) -> tuple[TcpConnection, socket.socket]:
    """The kernel connects, natsim accepts."""
    bridge.listening.add(PORT)
    sock = bridge.kernel_socket()
    async with asyncio.timeout(15):
        await asyncio.get_running_loop().sock_connect(sock, (NATSIM, PORT))
    connection = await bridge.accepted.get()
    await bridge.until(lambda: connection.connected)
    return connection, sock


async def crossing(bridge: Bridge) -> tuple[TcpConnection, socket.socket]:
    """Both connect at once, from fixed ports: simultaneous open."""
    sock = bridge.kernel_socket(PORT)
    dialing = asyncio.create_task(asyncio.get_running_loop().sock_connect(sock, (NATSIM, 4000)))
    connection = bridge.dial(4000, PORT)
    async with asyncio.timeout(15):
        await dialing
    await bridge.until(lambda: connection.connected)
    return connection, sock


openings = pytest.mark.parametrize("opening", [by_natsim, by_kernel, crossing])


@links
@openings
def test_streams_both_ways_arrive_and_both_come_to_an_end(opening: Any, link: Link) -> None:
    chance = random.Random(7)
    up, down = chance.randbytes(120_000), chance.randbytes(150_000)

    async def body(bridge: Bridge) -> None:
        connection, sock = await opening(bridge)
        port = connection.remote.port
        at_kernel, at_natsim = await asyncio.gather(
            bridge.kernel_exchange(sock, down, size=len(up)), bridge.exchange(connection, up, size=len(down))
        )
        assert at_kernel == up
        assert at_natsim == down
        await bridge.until(lambda: connection.state in (State.TIME_WAIT, State.CLOSED))
        sock.close()
        for _ in range(100):
            ends = bridge.kernel_state(port), connection.state
            if set(ends) <= {State.TIME_WAIT, State.CLOSED}:
                break
            await asyncio.sleep(0.05)
        assert set(ends) <= {State.TIME_WAIT, State.CLOSED}
        assert connection.error is None
        assert bridge.resets <= 5, "a copy may find nobody any more; but nobody shouts"

    over(link, body)


def test_simultaneous_open_goes_segment_by_segment_as_between_two_kernels() -> None:
    async def body(bridge: Bridge) -> None:
        connection, _ = await crossing(bridge)
        await asyncio.sleep(0.05)
        flags = [packet.flags for _, packet in bridge.sent], [packet.flags for _, packet in bridge.came]
        assert flags == ([SYN, SYN | ACK, ACK], [SYN, SYN | ACK, ACK])
        assert bridge.kernel_state(PORT) is connection.state is State.ESTABLISHED

    over(Link(5), body)


@openings
@pytest.mark.parametrize("first", ["natsim", "kernel"])
def test_half_close_leaves_the_other_way_open(opening: Any, first: str) -> None:
    async def body(bridge: Bridge) -> None:
        connection, sock = await opening(bridge)
        port = connection.remote.port
        if first == "natsim":
            bridge.tell(connection, connection.shutdown)
            async with asyncio.timeout(5):
                assert await asyncio.get_running_loop().sock_recv(sock, 10) == b""
            await bridge.until(lambda: connection.state is State.FIN_WAIT_2)
            assert bridge.kernel_state(port) is State.CLOSE_WAIT
            await asyncio.gather(
                bridge.kernel_exchange(sock, b"late" * 5000, size=0),
                _reads(bridge, connection, b"late" * 5000),
            )
            await bridge.until(lambda: connection.state is State.TIME_WAIT)
            await asyncio.sleep(0.05)  # the last ACK is on its way
            assert bridge.kernel_state(port) is State.CLOSED
        else:
            sock.shutdown(socket.SHUT_WR)
            await bridge.until(lambda: connection.at_eof)
            await asyncio.sleep(0.05)
            assert (bridge.kernel_state(port), connection.state) == (State.FIN_WAIT_2, State.CLOSE_WAIT)
            await asyncio.gather(
                bridge.exchange(connection, b"late" * 5000, size=0),
                _kernel_reads(sock, b"late" * 5000),
            )
            await bridge.until(lambda: connection.closed)
            assert bridge.kernel_state(port) is State.TIME_WAIT, "whoever closes first waits"

    over(Link(5), body)


async def _reads(bridge: Bridge, connection: TcpConnection, text: bytes) -> None:
    assert await bridge.exchange(connection, b"", size=len(text), finish=False) == text


async def _kernel_reads(sock: socket.socket, text: bytes) -> None:
    got = b""
    async with asyncio.timeout(5):
        while piece := await asyncio.get_running_loop().sock_recv(sock, 65536):
            got += piece
    assert got == text


@openings
def test_simultaneous_close(opening: Any) -> None:
    async def body(bridge: Bridge) -> None:
        connection, sock = await opening(bridge)
        sock.shutdown(socket.SHUT_WR)
        bridge.tell(connection, connection.shutdown)
        await bridge.until(lambda: connection.state is State.TIME_WAIT)
        await asyncio.sleep(0.05)
        assert bridge.kernel_state(connection.remote.port) is State.TIME_WAIT

    over(Link(5), body)


@openings
@pytest.mark.parametrize("who", ["natsim", "kernel"])
def test_a_reset_ends_the_other_side(opening: Any, who: str) -> None:
    async def body(bridge: Bridge) -> None:
        connection, sock = await opening(bridge)
        if who == "kernel":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            await bridge.until(lambda: connection.error is not None)
            assert connection.error == errno.ECONNRESET
        else:
            bridge.tell(connection, connection.abort)
            async with asyncio.timeout(5):
                with pytest.raises(ConnectionResetError):
                    await asyncio.get_running_loop().sock_recv(sock, 10)

    over(Link(5), body)


def test_refused_both_ways() -> None:
    async def body(bridge: Bridge) -> None:
        connection = bridge.dial(4000, 9)
        await bridge.until(lambda: connection.error is not None)
        assert connection.error == errno.ECONNREFUSED
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().sock_connect(bridge.kernel_socket(), (NATSIM, 9))

    over(Link(5), body)


def test_both_repeat_a_syn_at_the_same_times() -> None:
    """Linux since 6.5: after one, two and three seconds."""

    async def body(bridge: Bridge) -> None:
        bridge.listening.clear()
        sock = bridge.kernel_socket()
        dialing = asyncio.create_task(asyncio.get_running_loop().sock_connect(sock, (NATSIM, PORT)))
        connection = TcpConnection(Endpoint(NATSIM, 4001), Endpoint("10.9.0.99", PORT), 1)  # nobody
        connection.open(bridge.clock.now)
        bridge.flush(connection)
        await asyncio.sleep(3.3)
        dialing.cancel()
        kernel = [when for when, packet in bridge.came if packet.is_initial_syn and packet.dst.port == PORT]
        natsim = [when for when, packet in bridge.sent if packet.is_initial_syn and packet.src.port == 4001]
        for times in (kernel, natsim):
            assert [round(when - times[0]) for when in times] == [0, 1, 2, 3]

    over(Link(0.1), _deaf(body))


def _deaf(body: Body) -> Body:
    """natsim's end does not even refuse."""

    async def run(bridge: Bridge) -> None:
        arrived = bridge.came

        def arrive(packet: Packet) -> None:
            arrived.append((bridge.clock.now / 1e9, packet))

        bridge._in._deliver = arrive  # type: ignore[method-assign]
        await body(bridge)

    return run


@openings
def test_each_believes_the_others_options_and_windows(opening: Any) -> None:
    async def body(bridge: Bridge) -> None:
        connection, sock = await opening(bridge)
        (syn,) = [packet for _, packet in bridge.came if packet.flags & SYN][:1]
        assert connection.snd.mss == syn.mss == 1460
        assert connection.snd.wscale == syn.wscale
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1460

    over(Link(5), body)


@pytest.mark.parametrize("who", ["natsim", "kernel"])
def test_a_closed_window_opens_again(who: str) -> None:
    """The reader sleeps until the writer can send no more; nothing is lost, and nobody is reset."""
    text = random.Random(3).randbytes(3_000_000)

    async def body(bridge: Bridge) -> None:
        connection, sock = await by_natsim(bridge)
        if who == "natsim":
            reading = asyncio.create_task(_later(bridge.kernel_exchange, sock, b"", size=len(text)))
            await bridge.exchange(connection, text, size=0)
            assert await reading == text
        else:
            writing = asyncio.create_task(bridge.kernel_exchange(sock, text, size=0))
            await asyncio.sleep(0.7)
            assert connection.rcv.wnd < 65536, "it is full"
            assert await bridge.exchange(connection, b"", size=len(text)) == text
            await writing
        assert bridge.resets == 0

    over(Link(1), body)


async def _later(call: Callable[..., Awaitable[bytes]], *arguments: Any, **options: Any) -> bytes:
    await asyncio.sleep(0.7)
    return await call(*arguments, **options)


def test_keepalive_probes_are_answered_both_ways() -> None:
    async def body(bridge: Bridge) -> None:
        connection, sock = await by_natsim(bridge)
        for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.keepalive = (10**9, 10**9, 2)
        bridge.flush(connection)
        await asyncio.sleep(3.3)
        probes = [packet for _, packet in bridge.came if packet.seq == connection.rcv.nxt - 1]
        assert probes, "the kernel probes natsim"
        assert connection.state is State.ESTABLISHED
        assert bridge.kernel_state(PORT) is State.ESTABLISHED

    over(Link(5), body)


def test_a_reset_that_is_only_nearly_right_is_challenged() -> None:
    """RFC 5961 section 3.2: in the window, but not the number that is expected."""

    async def body(bridge: Bridge) -> None:
        connection, _ = await by_natsim(bridge)
        before = len(bridge.came)
        bridge.inject(Packet(TCP, connection.local, connection.remote, flags=RST, seq=connection.snd.nxt + 10))
        await asyncio.sleep(0.1)
        assert [packet.flags for _, packet in bridge.came[before:]] == [ACK]
        assert bridge.kernel_state(PORT) is State.ESTABLISHED

    over(Link(5), body)


def test_data_after_close_is_refused_as_the_kernel_refuses_it() -> None:
    async def body(bridge: Bridge) -> None:
        connection, sock = await by_natsim(bridge)
        sock.close()
        await bridge.until(lambda: connection.at_eof)
        bridge.tell(connection, connection.send, b"too late")
        await bridge.until(lambda: connection.error is not None)
        assert connection.error == errno.EPIPE

    over(Link(5), body)
