"""Whole stories over links that lose, delay, double and reorder packets, and take only so many."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

import natsim
from natsim import Bursts, HeldBack, Link
from natsim.packet import TCP
from natsim.scheduler import SECOND
from natsim.trace import DELIVERED, DROPPED, DUPLICATED


def two_states(chance: random.Random) -> Iterator[bool]:
    """A loss rule of one's own: an ill link still lets some packets through, and a well one loses some."""
    ill = False
    while True:
        yield chance.random() < (0.5 if ill else 0.01)
        ill = chance.random() < (0.5 if ill else 0.02)


#: One link for each thing that it can do, and one that does everything.
KINDS = {
    "loss": Link(loss=0.03),
    "bursts": Link(loss=Bursts(0.03, 4)),
    "own-rule": Link(loss=two_states),
    "jitter": Link(jitter=15),
    "overtaking": Link(jitter=15, reorder=True),
    "held-back": Link(reorder=HeldBack(0.1, delay=30)),
    "duplicates": Link(duplicate=0.2),
    "rate": Link(rate=5),
    "short-queue": Link(rate=5, queue=5),
    "small-mtu": Link(mtu=600, duplicate=0.1),
    "everything": Link(
        loss=Bursts(0.01, 2), mtu=1400, jitter=5, reorder=HeldBack(0.05, 20), duplicate=0.05, rate=20, queue=30
    ),
}
SIZE = 200_000


def transfer(link: Link, seed: int = 5) -> natsim.Run:
    """alice and the server send each other so many bytes at once; the result is what each has heard."""
    net = natsim.two_nats("linux", "none", seed=seed, link=link)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> bytes:
        writer.write(sent)
        writer.write_eof()
        heard = await reader.read()
        writer.close()
        return heard

    async def dial() -> bytes:
        return await talk(*await asyncio.open_connection("server", 80), text("alice"))

    async def story() -> tuple[bytes, bytes]:
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.set_result(await talk(reader, writer, text("server")))

        await net.server.start(asyncio.start_server(serve, "0.0.0.0", 80))
        return await net.alice.start(dial()), await heard

    return net.run(story)


def text(name: str) -> bytes:
    return random.Random(name).randbytes(SIZE)


def lost_on_the_way(run: natsim.Run) -> int:
    assert run.trace is not None
    return sum(entry.action == DROPPED and ">" in entry.node for entry in run.trace)


@pytest.mark.parametrize("kind", KINDS)
def test_tcp_brings_every_byte_through_any_link_and_the_seed_decides_how(kind: str) -> None:
    first, again, other = transfer(KINDS[kind]), transfer(KINDS[kind]), transfer(KINDS[kind], seed=6)
    assert first.result == again.result == other.result == (text("server"), text("alice"))
    digests = [run.trace.digest() for run in (first, again, other) if run.trace]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("kind", ["loss", "bursts", "own-rule", "short-queue", "everything"])
def test_those_links_have_lost_packets(kind: str) -> None:
    assert lost_on_the_way(transfer(KINDS[kind])) > 0


def test_tcp_fills_a_bottleneck_and_no_more() -> None:
    run = transfer(Link(rate=2))
    assert run.trace is not None
    heard = [e for e in run.trace if e.node == "server" and e.action == DELIVERED and e.packet.protocol == TCP]
    octets = sum(entry.packet.size for entry in heard)
    busy = (heard[-1].when - heard[0].when) / SECOND
    assert 0.8 < octets * 8 / 2_000_000 / busy <= 1.01


def test_a_long_queue_makes_everybody_wait() -> None:
    """Bufferbloat: a datagram amid a transfer takes as long as all that is queued before it."""

    def round_trip(queue: int) -> float:
        net = natsim.two_nats("linux", "none", seed=1, link=Link(rate=2, queue=queue))

        async def flood() -> None:
            _, writer = await asyncio.open_connection("server", 80)
            writer.write(bytes(1_000_000))
            await writer.drain()

        async def ping() -> float:
            loop, answered = asyncio.get_running_loop(), asyncio.Event()

            class Probe(asyncio.DatagramProtocol):
                def error_received(self, exc: Exception) -> None:
                    answered.set()

            transport, _ = await loop.create_datagram_endpoint(Probe, remote_addr=(net.server.address, 9))
            began = loop.time()
            while not answered.is_set():  # a probe may find no place in the queue
                transport.sendto(b"?")
                try:
                    async with asyncio.timeout(1):
                        await answered.wait()
                except TimeoutError:
                    began = loop.time()
            return loop.time() - began

        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(65536):
                pass

        async def story() -> float:
            await net.server.start(asyncio.start_server(swallow, "0.0.0.0", 80))
            net.alice.start(flood())
            await asyncio.sleep(1.5)
            return await net.alice.start(ping())

        result: float = net.run(story).result
        return result

    assert round_trip(5) < 0.1 < 0.25 < round_trip(100)


def test_the_ladder_draws_what_came_twice_and_what_found_no_place() -> None:
    net = natsim.two_nats("linux", "none", seed=3, link=Link(duplicate=0.5, rate=0.1, queue=2))

    async def talk() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(net.server.address, 9)
        )
        for _ in range(8):
            transport.sendto(bytes(500))
        await asyncio.sleep(2)

    run = net.run(lambda: net.alice.start(talk()))
    assert "✗ queue full on the way: 2 packets wait for nat_a>internet already, which takes 0.1 Mbit/s" in " ".join(
        run.ladder().text.split()
    )
    assert [entry.action for entry in run.trace or ()].count(DUPLICATED) > 0
    assert "<svg" in run.ladder().svg
