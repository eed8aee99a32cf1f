"""The kernel world's links do to real packets what the same `Link` does in the simulator."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from kernel_programs import PORT, datagrams, dial, echo_server, receive, run, send_datagrams, settle, udp_socket

from natsim import Bursts, HeldBack, Internet, Link

pytestmark = pytest.mark.kernel

COUNT = 200


def between(link: Link, seed: int = 1) -> Internet:
    """alice and the server, with such a link on alice's side."""
    net = Internet(seed)
    net.host("server")
    net.host("alice", link=link)
    return net


def numbers_that_arrive(link: Link, count: int = COUNT, seed: int = 1) -> list[int]:
    """alice sends numbered datagrams at once; what the server gets, in order."""
    net = between(link, seed)

    async def story() -> Any:
        received = net.server.start(datagrams(10 * count))  # until it is silent
        await settle()
        await net.alice.start(send_datagrams(net.server.address, count))
        return await received

    numbers: list[int] = run(net, story)
    return numbers


def when_they_arrive(link: Link, count: int, size: int, pace: float = 0.0) -> list[tuple[int, float]]:
    """alice sends datagrams of `size` bytes, one every `pace` seconds: the number of each that the server gets, and
    the seconds since the first was sent."""
    net = between(link)

    async def hear() -> list[tuple[int, float]]:
        loop, heard = asyncio.get_running_loop(), []
        with udp_socket(PORT) as sock:
            while len(heard) < count:
                number = int(await loop.sock_recv(sock, 2000))
                heard.append((number, time.monotonic()))
        return heard

    async def say() -> float:
        began = time.monotonic()
        with udp_socket() as sock:
            for number in range(count):
                sock.sendto(str(number).encode().rjust(size - 28), (net.server.address, PORT))
                await asyncio.sleep(pace)
        return began

    async def story() -> Any:
        hearing = net.server.start(hear())
        await settle()
        began = await net.alice.start(say())
        return [(number, when - began) for number, when in await hearing]

    heard: list[tuple[int, float]] = run(net, story)
    return heard


def every_tenth(chance: random.Random) -> Iterator[bool]:
    while True:
        yield from [False] * 9 + [True]


def test_a_loss_rule_of_ones_own_is_asked_for_every_packet() -> None:
    assert numbers_that_arrive(Link(loss=every_tenth)) == [number for number in range(COUNT) if number % 10 != 9]


def test_bursts_are_drawn_from_the_seed() -> None:
    first, again, other = (numbers_that_arrive(Link(loss=Bursts(0.3, 5)), seed=seed) for seed in (1, 1, 2))
    assert 90 < len(first) < 190
    assert first == again != other


def test_jitter_keeps_the_order_unless_packets_may_overtake() -> None:
    assert numbers_that_arrive(Link(jitter=20)) == list(range(COUNT))
    free = numbers_that_arrive(Link(jitter=20, reorder=True))
    assert sorted(free) == list(range(COUNT)) != free


def test_jitter_takes_time() -> None:
    times = [when for _, when in when_they_arrive(Link(5, jitter=60, reorder=True), COUNT, 100)]
    assert 0.005 <= times[0] < 0.05, "generous: this machine may be busy"
    assert 0.055 <= times[-1] < 0.2


def test_those_held_back_come_after_the_others() -> None:
    came = numbers_that_arrive(Link(reorder=HeldBack(0.2, delay=100)))
    assert sorted(came) == list(range(COUNT))
    late = [place for place, (a, b) in enumerate(pairwise(came)) if b < a]
    assert len(late) == 1, "first those that are on time, in order; then the others, in order"
    assert 0.1 < 1 - (late[0] + 1) / COUNT < 0.3


def test_nobody_waits_for_those_held_back() -> None:
    pace, delay = 0.01, 0.5
    heard = when_they_arrive(Link(reorder=HeldBack(0.5, delay=1000 * delay)), 30, 100, pace)
    delays = sorted(when - number * pace for number, when in heard)
    on_time, late = delays[:10], delays[-10:]  # of 30; the seed makes more of each
    assert max(on_time) < 0.2, "generous: this machine may be busy"
    assert min(late) >= delay


def test_a_share_comes_twice() -> None:
    came = numbers_that_arrive(Link(duplicate=0.2))
    assert came == sorted(came)
    assert set(came) == set(range(COUNT))
    assert 20 < len(came) - COUNT < 65


def test_a_rate_spreads_packets_out() -> None:
    """50 packets of 1,000 bytes at 4 Mbit/s: one every 2 ms, none before its time."""
    heard = when_they_arrive(Link(rate=4), 50, 1000)
    assert all(when >= (number + 1) * 0.002 for number, when in heard)
    assert heard[-1][1] < 0.2, "generous: this machine may be busy"


def test_what_finds_the_queue_full_is_dropped() -> None:
    """Datagrams of some 30 bytes at 0.01 Mbit/s take 24 ms each, so the queue stays full while alice sends."""
    assert numbers_that_arrive(Link(rate=0.01, queue=5), 50) == list(range(6))


def test_what_happens_to_packets_happens_to_each_and_not_to_64_kb_of_them() -> None:
    size, asked = 300_000, 0

    def counting(chance: random.Random) -> Iterator[bool]:
        nonlocal asked
        while True:
            asked += 1
            yield False

    assert len(transfer(between(Link(loss=counting)), bytes(size))) == size
    assert asked >= 2 * size // 1460, "each way"


@pytest.mark.parametrize(
    "link",
    [
        Link(jitter=3, reorder=True),
        Link(rate=50, queue=40),
        Link(2, loss=Bursts(0.005, 2), jitter=1, reorder=HeldBack(0.02, 3), duplicate=0.02, rate=100, mtu=1400),
    ],
    ids=["overtaking", "rate", "everything"],
)
def test_the_kernels_tcp_brings_every_byte(link: Link) -> None:
    sent = random.Random(1).randbytes(300_000)
    assert hashlib.sha256(transfer(between(link), sent)).digest() == hashlib.sha256(sent).digest()


def transfer(net: Internet, sent: bytes) -> bytes:
    """What the server echoes to alice."""

    async def client() -> bytes:
        with await dial(net.server.address) as sock:
            await receive(sock, 32)
            sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(sock, sent))
            heard = await receive(sock, len(sent))
            await sending
            return heard

    async def story() -> Any:
        net.server.start(echo_server())
        await settle()
        return await net.alice.start(client())

    heard: bytes = run(net, story)
    return heard
