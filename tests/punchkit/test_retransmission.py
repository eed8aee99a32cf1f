"""When a request is sent again, and which datagram is its answer: on the simulator's clock, and on real loopback."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import natsim
from punchkit.errors import NoAnswer, ProtocolError, PunchkitError
from punchkit.retransmission import NAT_PMP, STUN, DatagramClient, Schedule
from punchkit.sockets import Address

QUICK = Schedule(first_wait=0.5, attempts=2, last_wait=0.5)
HOME = ("127.0.0.1", 0)


# -- The schedules, as the RFCs print them -----------------------------------------------------------------------------


def instants(schedule: Schedule) -> list[float]:
    """When the requests go out, and when it is over."""
    return [0.0, *itertools.accumulate(schedule.waits())]


def test_stun() -> None:
    """RFC 8489 section 6.2.1, in milliseconds."""
    assert [1000 * t for t in instants(STUN)] == [0, 500, 1500, 3500, 7500, 15500, 31500, 39500]
    assert STUN.patience == 39.5


def test_nat_pmp() -> None:
    """RFC 6886 section 3.1, in seconds."""
    assert instants(NAT_PMP) == [0, 0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 31.75, 63.75, 127.75]
    assert NAT_PMP.patience == 127.75


def test_a_single_request() -> None:
    assert list(Schedule(first_wait=0.5, attempts=1, last_wait=2).waits()) == [2]


# -- The driver, in the simulator --------------------------------------------------------------------------------------


def echo(data: bytes, source: Address) -> bytes | None:
    """Accepts what was sent in capitals."""
    return data if data.isupper() else None


class Server:
    """Answers the request number `answer_to` in capitals, and notes when each came."""

    def __init__(self, client: DatagramClient, answer_to: int) -> None:
        self.client = client
        self.answer_to = answer_to
        self.came: list[float] = []

    def receive(self, data: bytes, source: Address) -> None:
        self.came.append(asyncio.get_running_loop().time())
        if len(self.came) == self.answer_to:
            self.client.send(data.upper(), source)


def ask(program: Callable[[DatagramClient, Address], Awaitable[Any]], answer_to: int = 1) -> tuple[Any, Server]:
    """Run `program` on alice, with a port of hers and the address of a server; returns its result, and the server."""
    net = natsim.two_nats("none", "none", delay=0)

    async def serve() -> Server:
        return Server(await DatagramClient.open((net.server.address, 7)), answer_to)

    async def client(address: Address) -> Any:
        port = await DatagramClient.open()
        try:
            return await program(port, address)
        finally:
            port.close()

    async def story() -> tuple[Any, Server]:
        server = await net.server.start(serve())
        with server.client.listening(server.receive):
            return await net.alice.start(client((net.server.address, 7))), server

    result: tuple[Any, Server] = net.run(story).result
    return result


def test_the_first_answer_ends_it() -> None:
    async def program(port: DatagramClient, server: Address) -> bytes:
        answer = await port.request(b"hello", server, echo, STUN)
        await asyncio.sleep(60)
        return answer

    answer, server = ask(program, answer_to=3)
    assert answer == b"HELLO"
    assert server.came == [0.0, 0.5, 1.5]


@pytest.mark.parametrize("schedule", [STUN, NAT_PMP, QUICK])
def test_silence_is_told_when_the_time_is_over(schedule: Schedule) -> None:
    async def program(port: DatagramClient, server: Address) -> float:
        with pytest.raises(NoAnswer, match=rf"203.0.113.10:7 was asked {schedule.attempts} times"):
            await port.request(b"hello", server, echo, schedule)
        return asyncio.get_running_loop().time()

    gave_up, server = ask(program, answer_to=0)
    assert [*server.came, gave_up] == pytest.approx(instants(schedule))
    assert issubclass(NoAnswer, PunchkitError)


def test_what_is_no_answer_is_passed_over() -> None:
    """Garbage, which a decoder refuses, and answers to others, which `accept` does not want."""

    def picky(data: bytes, source: Address) -> str | None:
        if len(data) != 2:
            raise ProtocolError("garbage")
        return "mine" if data == b"ME" else None

    async def program(port: DatagramClient, server: Address) -> str:
        asyncio.get_running_loop().call_soon(lambda: [port.send(data, server) for data in (b"garbage", b"xx")])
        return await port.request(b"me", server, picky, STUN)

    answer, server = ask(program, answer_to=1)
    assert answer == "mine"
    assert len(server.came) == 3


def test_many_requests_are_under_way_at_once_over_one_port() -> None:
    """Each gets its own answer, whatever the order; what answers none goes to the listener."""

    async def program(port: DatagramClient, server: Address) -> list[Any]:
        async def one(word: bytes) -> bytes:
            return await port.request(word, port.local, lambda data, _: word if data == word else None, QUICK)

        heard: list[Any] = []
        with port.listening(lambda data, source: heard.append((data, source))):
            port.send(b"c", port.local)
            answers = await asyncio.gather(one(b"b"), one(b"a"))
        port.send(b"d", port.local)
        await asyncio.sleep(1)
        assert heard == [(b"c", ("127.0.0.1", port.local[1]))]
        return answers

    assert ask(program)[0] == [b"b", b"a"]


def test_only_one_may_listen() -> None:
    async def program(port: DatagramClient, server: Address) -> None:
        with port.listening(print), pytest.raises(RuntimeError, match="listens"), port.listening(print):
            pass
        with port.listening(print):
            pass

    ask(program)


def test_a_closed_port_says_so() -> None:
    async def program(port: DatagramClient, server: Address) -> None:
        asyncio.get_running_loop().call_later(1, port.close)
        with pytest.raises(ConnectionAbortedError):
            await port.request(b"hello", server, echo, STUN)
        assert asyncio.get_running_loop().time() < 1.1
        with pytest.raises(ConnectionAbortedError):
            port.send(b"hello", server)

    ask(program, answer_to=0)


def test_a_request_that_is_cancelled_leaves_nothing_behind() -> None:
    async def program(port: DatagramClient, server: Address) -> list[bytes]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.7):
                await port.request(b"hello", server, echo, STUN)
        heard: list[bytes] = []
        with port.listening(lambda data, source: heard.append(data)):
            port.send(b"late", server)
            await asyncio.sleep(10)
        return heard

    heard, server = ask(program, answer_to=3)
    assert heard == [b"LATE"]
    assert len(server.came) == 3


def test_an_unconnected_port_has_to_be_told_whom_to_ask() -> None:
    async def program(port: DatagramClient, server: Address) -> None:
        with pytest.raises(ValueError, match="whom"):
            await port.request(b"hello", None, echo, STUN)

    ask(program)


def test_a_connected_port_hears_at_once_that_nobody_listens() -> None:
    """ICMP port unreachable ends it: RFC 8489 section 6.2.1, RFC 6886 section 3.1."""
    net = natsim.two_nats("none", "none", delay=20)

    async def program() -> float:
        port = await DatagramClient.open(remote=(net.server.address, 9))
        with pytest.raises(NoAnswer, match=r"nobody listens at 203\.0\.113\.10:9"):
            await port.request(b"hello", None, echo, NAT_PMP)
        port.close()
        return asyncio.get_running_loop().time()

    async def story() -> float:
        return await net.alice.start(program())

    assert net.run(story).result == pytest.approx(0.04)


# -- Real sockets ------------------------------------------------------------------------------------------------------


def test_on_real_sockets_connected_and_not() -> None:
    async def story() -> None:
        served = await DatagramClient.open(HOME)
        server = Server(served, answer_to=2)
        free = await DatagramClient.open(HOME)
        bound = await DatagramClient.open(HOME, remote=served.local)
        brisk = Schedule(first_wait=0.01, attempts=4, last_wait=5)
        with served.listening(server.receive):
            assert await free.request(b"a", served.local, echo, brisk) == b"A"
            server.came.clear()
            assert await bound.request(b"b", None, echo, brisk) == b"B"
        served.close()
        await asyncio.sleep(0)
        with pytest.raises(NoAnswer, match="nobody listens"):
            await bound.request(b"c", None, echo, brisk)
        for port in (free, bound):
            port.close()
        await asyncio.sleep(0)

    asyncio.run(story())
