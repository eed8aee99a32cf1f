"""Runs in which much goes wrong, for the tests of whatever tells of a trace; each is run once."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

from sim_tools import datagrams

import natsim
from natsim import Bursts, Hairpin, Link, NatBehavior, Run
from natsim.view.ladder_demo import demonstration

#: More than one packet of any link here.
LARGE = bytes(range(256)) * 12


def punching(a: str, b: str) -> Callable[[], Run]:
    """TCP hole punching, whose first SYNs come too early."""
    return lambda: demonstration(a, b)


async def send(host: natsim.Host, payload: bytes, *targets: tuple[str, int], port: int = 0) -> None:
    """Datagrams from one socket, and time for them to arrive."""
    mine = await host.start(datagrams(("0.0.0.0", port)))
    for target in targets:
        mine.transport.sendto(payload, target)
        await asyncio.sleep(0.5)
    mine.transport.close()


def strangers() -> Run:
    """Datagrams to closed ports, closed NATs, nobody at all, the sender's own router, and itself."""
    net = natsim.two_nats("linux", "eim-apdf", seed=1)

    async def story() -> None:
        await net.server.start(datagrams(("0.0.0.0", 9), echo=True))
        targets = [(net.server.address, 9), (net.server.address, 10), (net.nat_b.address, 6000)]
        targets += [("203.0.113.99", 9), (net.nat_a.address, 5000), (net.nat_a.gateway, 9), (net.alice.address, 9)]
        await send(net.bob, b"out", (net.server.address, 9), port=6000)
        await send(net.alice, b"hello", *targets, port=5000)
        await send(net.server, b"stray", (net.nat_a.address, 5000), (net.nat_b.address, 6001))

    return net.run(story)


def fragments(a: str, b: str, *, loss: float = 0.0, jitter: float = 0.0) -> Run:
    """Large datagrams from alice to the server and back, over links that take only small packets."""
    net = natsim.two_nats(a, b, seed=4, loss=loss, link=Link(mtu=600, duplicate=0.2))
    net.alice.link = Link(mtu=900, jitter=jitter, reorder=jitter > 0)

    async def story() -> None:
        await net.server.start(datagrams(("0.0.0.0", 9), echo=True))
        await send(net.alice, LARGE, *[(net.server.address, 9)] * 5, (net.server.address, 10))
        await asyncio.sleep(40)

    return net.run(story)


def lossy() -> Run:
    """TCP over links that lose, double and queue."""
    link = Link(loss=Bursts(0.05, 2), duplicate=0.1, rate=2, queue=3)
    net = natsim.two_nats("linux", "apdm-apdf", seed=5, link=link)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(-1))
        writer.close()

    async def talk() -> None:
        reader, writer = await asyncio.open_connection("server", 80)
        writer.write(bytes(60_000))
        writer.write_eof()
        await reader.read(-1)
        writer.close()

    async def story() -> None:
        await net.server.start(asyncio.start_server(echo, "0.0.0.0", 80))
        await asyncio.gather(net.alice.start(talk()), net.bob.start(talk()))

    return net.run(story)


def faults() -> Run:
    """A NAT forgets, a way is cut, a host loses its power, and another moves."""
    net = natsim.two_nats("eim-apdf", "linux", seed=6)
    to: list[tuple[str, int]] = []

    async def pings(fault: Callable[[], None]) -> None:
        fault()
        await send(net.server, b"down", *to)
        await send(net.alice, b"up", (net.server.address, 9), port=5000)

    async def story() -> None:
        server = await net.server.start(datagrams(("0.0.0.0", 9)))
        await send(net.alice, b"up", (net.server.address, 9), port=5000)
        to.append((await server.received.get())[1])
        await pings(lambda: net.flush("nat_a"))
        await pings(lambda: net.cut("nat_a", "server"))
        net.heal("nat_a", "server")
        await pings(lambda: net.reboot("nat_a"))
        await pings(lambda: net.roam("alice", "nat_b"))
        await pings(lambda: net.roam("alice", None))
        net.crash("bob")
        await send(net.alice, b"up", (net.nat_b.address, 9))

    return net.run(story)


def neighbours(what: str | NatBehavior) -> Callable[[], Run]:
    """alice and bob behind one NAT: by the LAN, and by the NAT's outside address."""

    def run() -> Run:
        net = natsim.same_nat(what, seed=7)

        async def story() -> None:
            await net.server.start(datagrams(("0.0.0.0", 9), echo=True))
            await send(net.bob, b"out", (net.server.address, 9), port=6000)
            heard = await net.bob.start(datagrams(("0.0.0.0", 6000), echo=True))
            await send(net.alice, b"hi", (net.bob.address, 6000), (net.home.address, 6000), port=5000)
            heard.transport.close()

        return net.run(story)

    return run


def exhausted() -> Run:
    """A NAT with one port, which somebody has already."""
    net = natsim.two_nats(NatBehavior(ports=lambda wish: iter([40_000])), "udp-blocked", seed=8)

    async def story() -> None:
        for host, port in ((net.alice, 5000), (net.alice, 5001), (net.bob, 6000)):
            await send(host, b"out", (net.server.address, 9), port=port)

    return net.run(story)


STORIES: dict[str, Callable[[], Run]] = {
    "linux": punching("linux", "linux"),
    "refusing": punching("linux-reject", "eim-apdf-rst"),
    "symmetric": punching("apdm-apdf", "apdm-sequential"),
    "holding": punching("linux", "rfc"),
    "carrier": punching("cgnat", "linux"),
    "firewall": punching("firewall", "none"),
    "strangers": strangers,
    "fragments": lambda: fragments("eim-apdf", "none"),
    "fragments-linux": lambda: fragments("linux", "none", loss=0.1),
    "fragments-early": lambda: fragments("eim-apdf", "none", jitter=5),
    "lossy": lossy,
    "faults": faults,
    "neighbours": neighbours("linux"),
    "hairpin": neighbours(NatBehavior(filtering="endpoint-independent", hairpin=Hairpin.EXTERNAL)),
    "exhausted": exhausted,
}


@functools.cache
def run_of(name: str) -> Run:
    """The run of that story."""
    return STORIES[name]()
