"""asyncio, unmodified, on virtual time: what asyncio promises holds, and hours cost nothing."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from sim_tools import datagrams, on_host
from tls_tools import self_signed

import natsim
from natsim.aio import loop
from natsim.aio.loop import Deadlock
from natsim.packet import FIN, RST

# -- Unmodified asyncio -----------------------------------------------------------------------------------------------


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def ask(address: str, data: bytes, **tls: Any) -> bytes:
    reader, writer = await asyncio.open_connection(address, 80, **tls)
    writer.write(data)
    if writer.can_write_eof():
        writer.write_eof()
    answer = await reader.readexactly(len(data))
    writer.close()
    await writer.wait_closed()
    return answer


def through_nat(loss: float = 0.0) -> natsim.Internet:
    return natsim.two_nats("linux", "none", seed=5, loss=loss)


@pytest.mark.parametrize("loss", [0.0, 0.1])
@pytest.mark.parametrize("by_name", [False, True])
def test_streams_carry_a_third_of_a_megabyte_there_and_back(loss: float, by_name: bool) -> None:
    net, data = through_nat(loss), bytes(range(256)) * 1300

    async def story() -> bytes:
        await net.server.start(asyncio.start_server(echo, "server" if by_name else None, 80))
        return await net.alice.start(ask("server" if by_name else net.server.address, data))

    assert net.run(story).result == data


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for "server" and its address, with its key, in one file."""
    return self_signed(tmp_path / "server.pem", "server", "203.0.113.10")


def test_tls_is_verified(certificate: Path) -> None:
    net, data = through_nat(), b"secret" * 1000
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(certificate)
    mine, strict = ssl.create_default_context(cafile=certificate), ssl.create_default_context()

    async def story() -> bytes:
        await net.server.start(asyncio.start_server(echo, "0.0.0.0", 80, ssl=theirs))
        with pytest.raises(ssl.SSLCertVerificationError):
            await net.alice.start(ask("server", data, ssl=strict))
        return await net.alice.start(ask("server", data, ssl=mine))

    run = net.run(story)
    assert run.result == data
    assert not any(b"secret" in entry.packet.payload for entry in run.trace)


def test_datagram_endpoints() -> None:
    net = through_nat()

    async def hello() -> Any:
        mine = await datagrams(remote=("server", 9))
        mine.transport.sendto(b"hello")
        return await mine.received.get()

    async def story() -> Any:
        await net.server.start(datagrams(("0.0.0.0", 9), echo=True))
        return await net.alice.start(hello())

    assert net.run(story).result == (b"hello", (net.server.address, 9))


def test_the_sock_calls_of_the_loop() -> None:
    async def program() -> list[bytes]:
        loop = asyncio.get_running_loop()
        with socket.socket() as listener, socket.socket() as mine:
            listener.bind(("", 0))
            listener.listen()
            await loop.sock_connect(mine, listener.getsockname())
            theirs, _ = await loop.sock_accept(listener)
            with theirs, socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
                await loop.sock_sendall(mine, b"stream")
                buffer = bytearray(99)
                size = await loop.sock_recv_into(theirs, buffer)
                two.bind(("127.0.0.1", 0))
                await loop.sock_sendto(one, b"datagram", two.getsockname())
                data, _ = await loop.sock_recvfrom(two, 99)
                await loop.sock_sendto(one, b"again", two.getsockname())
                count, _ = await loop.sock_recvfrom_into(two, memoryview(buffer)[50:])
                return [bytes(buffer[:size]), data, bytes(buffer[50 : 50 + count])]

    assert on_host(lambda net: program()) == [b"stream", b"datagram", b"again"]


def test_names_and_addresses() -> None:
    async def look_up() -> None:
        def found(*args: Any, **options: Any) -> Any:
            return asyncio.get_running_loop().getaddrinfo(*args, **options)

        stream, datagram = (socket.SOCK_STREAM, socket.IPPROTO_TCP), (socket.SOCK_DGRAM, socket.IPPROTO_UDP)
        both = [(socket.AF_INET, *kind, "", ("203.0.113.10", 80)) for kind in (stream, datagram)]
        assert await found("server", 80) == await found(b"203.0.113.10", "80") == both
        assert await found("server", 80, type=socket.SOCK_DGRAM) == both[1:]
        ends = [(await found(name, None))[0][4] for name in ("localhost", None, "")]
        assert ends == [("127.0.0.1", 0)] * 3
        assert (await found(None, 80, flags=socket.AI_PASSIVE))[0][4] == ("0.0.0.0", 80)
        assert [entry[4] for entry in await found("::1", 80, type=socket.SOCK_STREAM)] == [("::1", 80, 0, 0)]
        for wrong, options in (("carol", {}), ("server", {"family": socket.AF_INET6}), (None, {"family": 1})):
            with pytest.raises(socket.gaierror):
                await found(wrong, 80, **options)
        with pytest.raises(socket.gaierror, match="a port is a number"):
            await found("server", "http")

    on_host(lambda net: look_up())


def test_functions_for_threads_run_here_and_now() -> None:
    async def program() -> Any:
        loop = asyncio.get_running_loop()
        before = loop.time()
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, divmod, 1, 0)
        return await asyncio.to_thread(sum, [1, 2]), loop.time() - before

    assert on_host(lambda net: program()) == (3, 0.0)


# -- Time -------------------------------------------------------------------------------------------------------------


def test_two_hours_of_sleep_take_no_time() -> None:
    began = time.perf_counter()
    run = natsim.two_nats("none", "none").run(lambda: asyncio.sleep(7200), limit=10**6)
    assert run.duration == 7200.0
    assert time.perf_counter() - began < 2


def test_timeouts_end_on_the_dot_and_a_late_one_does_not_hold_up_the_end() -> None:
    async def program() -> Any:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await loop.create_future()
        first = loop.time()
        async with asyncio.timeout(1000):
            await asyncio.sleep(1)
        return first, loop.time()

    net = natsim.two_nats("none", "none")
    run = net.run(program)
    assert run.result == (0.3, 1.3)
    assert run.duration == 1.3


def test_timers_and_packets_have_one_order() -> None:
    """At one instant: what was planned first comes first, be it a timer or a packet that takes as long."""
    net, seen = natsim.two_nats("none", "none", delay=20), []

    async def listen() -> None:
        loop = asyncio.get_running_loop()
        heard = await datagrams(("0.0.0.0", 9))
        heard.datagram_received = lambda data, addr: seen.append((data.decode(), loop.time()))

    async def story() -> None:
        loop = asyncio.get_running_loop()
        await net.bob.start(listen())
        mine = await net.alice.start(datagrams(remote=(net.bob.address, 9)))
        began = loop.time()
        for name in "abc":
            loop.call_later(0.02, lambda name=name: seen.append((name, loop.time())))
        loop.call_later(0.01, lambda: seen.append(("early", loop.time())))
        mine.transport.sendto(b"packet")
        loop.call_later(0.02, lambda: seen.append(("late", loop.time())))
        await asyncio.sleep(1)
        assert began == 0

    net.run(story)
    assert seen[0] == ("early", 0.01)
    assert [name for name, when in seen if when == 0.02] == ["a", "b", "c", "late", "packet"]
    assert len(seen) == 6


def test_cancelled_timers_never_fire_and_endless_ones_can_be_waited_for() -> None:
    async def program() -> list[str]:
        loop, seen = asyncio.get_running_loop(), []
        timer = loop.call_later(1, seen.append, "cancelled")
        loop.call_later(2, seen.append, "kept")
        forever = asyncio.create_task(asyncio.sleep(math.inf))
        timer.cancel()
        timer.cancel()
        await asyncio.sleep(3)
        forever.cancel()
        return seen

    assert on_host(lambda net: program()) == ["kept"]


def test_a_timer_is_never_early() -> None:
    """A time that is no whole number of nanoseconds is rounded up, or its owner would ask again for ever."""

    async def program() -> None:
        loop = asyncio.get_running_loop()
        for number in range(1, 200):
            when = loop.time() + 1 / (3 * number)
            fired = loop.create_future()
            loop.call_at(when, lambda fired=fired: fired.set_result(loop.time()))
            assert when <= await fired < when + 1e-8

    on_host(lambda net: program())


# -- Nothing can happen any more --------------------------------------------------------------------------------------


def test_a_deadlock_names_who_waits_and_where_and_comes_at_once() -> None:
    net = natsim.two_nats("none", "none")

    async def wait_for_godot() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(100)
        asyncio.get_running_loop().call_later(900, print).cancel()
        await asyncio.get_running_loop().create_future()

    async def story() -> None:
        await net.alice.start(wait_for_godot(), name="vladimir")

    began = time.perf_counter()
    with pytest.raises(Deadlock, match=r"at 5\.0+ s .*story.*vladimir") as caught:
        net.run(story)
    assert "estragon" not in str(caught.value)
    assert time.perf_counter() - began < 2
    assert net.run(lambda: asyncio.sleep(1)).duration == 1.0, "the internet can run again"


def test_a_story_that_takes_too_long_ends() -> None:
    net = natsim.two_nats("none", "none")
    with pytest.raises(TimeoutError):
        net.run(lambda: asyncio.sleep(100), limit=10)

    async def tick() -> None:
        while True:
            await asyncio.sleep(1)

    with pytest.raises(TimeoutError):
        net.run(tick, limit=10)


def test_what_programs_leave_open_is_closed_without_a_word() -> None:
    """Warnings are errors in these tests, also those of objects that are collected later."""
    net = natsim.two_nats("none", "none")
    kept: list[Any] = []

    async def story() -> None:
        kept.append(await net.server.start(asyncio.start_server(lambda *ends: kept.append(ends), "0.0.0.0", 80)))
        kept.append(await net.alice.start(asyncio.open_connection("server", 80)))
        kept.append(await net.alice.start(datagrams(("0.0.0.0", 9))))
        kept.append(net.bob.start(asyncio.sleep(math.inf)))

    run = net.run(story)
    digest, entries = run.trace.digest(), len(run.trace)
    assert kept[-1].cancelled()
    assert not any(entry.packet.flags & (FIN | RST) for entry in run.trace), "the end of the world is no event in it"
    kept.clear()
    assert (run.trace.digest(), len(run.trace)) == (digest, entries)


def test_cleaning_up_happens_in_the_order_of_birth() -> None:
    net, ended = natsim.two_nats("none", "none"), []

    async def wait(number: int) -> None:
        try:
            await asyncio.sleep(math.inf)
        finally:
            ended.append(number)

    async def story() -> None:
        for number in range(12):
            net.alice.start(wait(number), name="same name")
        await asyncio.sleep(1)

    net.run(story)
    assert ended == list(range(12))


def test_a_story_that_never_waits_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MOST_TURNS", 1000)

    async def story() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(loop.Livelock, match=r"turned 1,000 times.*story"):
        natsim.two_nats("none", "none").run(story)
