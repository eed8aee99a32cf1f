"""How fast do packets move?  UDP datagrams from alice through two NATs and the internet to bob: four links.

natsim keeps plain tuples on one heap, and a node is called when a packet arrives.  In SimPy, the usual library for
discrete events, a packet is a process, which waits for a timeout at each link.  They are compared twice: the events
alone; and with the work that nodes have with a packet, which is natsim's own in both.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import simpy
from comparing import Way, compare

import natsim
from natsim.host_ports import Binding
from natsim.nat.behavior import NatBehavior
from natsim.nat.engine import NatEngine
from natsim.packet import UDP, Endpoint, Packet
from natsim.scheduler import MILLISECOND, SECOND, Scheduler, seconds
from natsim.sim_world import SimWorld

PACKETS = 10_000

#: From packet to packet; with 20 ms from end to end, two hundred are under way at a time.
INTERVAL = MILLISECOND // 10

#: The delays of the four links, as `two_nats` has them.
DELAYS = tuple(MILLISECOND * tenths // 10 for tenths in (1, 99, 99, 1))
HOPS = PACKETS * len(DELAYS)

NAT = "eim-apdf"
ALICE, BOB = Endpoint("192.168.1.2", 5000), Endpoint("192.168.2.2", 6000)
ALICE_OUTSIDE, BOB_OUTSIDE = Endpoint("198.51.100.1", 5000), Endpoint("198.51.100.2", 6000)
PAYLOAD = bytes(100)


def compare_hops() -> None:
    """Print the comparisons."""
    compare(
        "events alone, in hops per second",
        Way("SimPy: a process for each packet", simpy_alone),
        Way("natsim's clock", clock_alone),
    )
    compare(
        "packets through two NATs, in hops per second",
        Way("SimPy: a process for each packet, which asks the NATs", simpy_with_nats),
        Way("natsim, without a trace", partial(natsim_hops, traced=False)),
        Way("natsim", partial(natsim_hops, traced=True)),
        Way("natsim, and asyncio programs that send and receive", natsim_programs),
    )


# -- natsim ---------------------------------------------------------------------------------------------------------


def clock_alone() -> int:
    """Nothing moves but the clock."""
    clock = Scheduler()

    def depart(left: int) -> None:
        clock.after(DELAYS[0], arrive, 1)
        if left > 1:
            clock.after(INTERVAL, depart, left - 1)

    def arrive(link: int) -> None:
        if link < len(DELAYS):
            clock.after(DELAYS[link], arrive, link + 1)

    clock.at(0, depart, PACKETS)
    while clock.step():
        pass
    return HOPS


class Counter:
    """A socket that counts its datagrams."""

    def __init__(self) -> None:
        self.heard = 0

    def datagram(self, packet: Packet) -> None:
        self.heard += 1

    def changed(self) -> None:
        pass

    def refused(self, code: int) -> None:
        pass


def natsim_hops(traced: bool) -> int:
    """Hosts, NATs, links and the internet's router, without programs."""
    bob = Counter()
    with SimWorld(natsim.two_nats(NAT, NAT), traced=traced) as world:
        clock, send = world.clock, world.hosts["alice"].send
        world.hosts["bob"].ports.bind(Binding(UDP, BOB, bob))
        world.hosts["bob"].send(Packet(UDP, BOB, ALICE_OUTSIDE))  # it opens the way, and goes no further than nat_a

        def depart(left: int) -> None:
            send(Packet(UDP, ALICE, BOB_OUTSIDE, PAYLOAD))
            if left > 1:
                clock.after(INTERVAL, depart, left - 1)

        clock.at(SECOND, depart, PACKETS)
        while clock.step():
            pass
    assert bob.heard == PACKETS
    return HOPS


class Heard(asyncio.DatagramProtocol):
    """A program that counts its datagrams, and says when all are there."""

    def __init__(self) -> None:
        self.missing = PACKETS
        self.done = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.missing -= 1
        if not self.missing:
            self.done.set()


def natsim_programs() -> int:
    """The same, with a program on each host that uses asyncio's own datagram endpoints."""
    net = natsim.two_nats(NAT, NAT)

    async def endpoint(local: Endpoint, make: Callable[[], asyncio.DatagramProtocol]) -> Any:
        return await asyncio.get_running_loop().create_datagram_endpoint(make, local_addr=tuple(local))

    async def talk() -> None:
        transport, _ = await endpoint(ALICE, asyncio.DatagramProtocol)
        for _ in range(PACKETS):
            transport.sendto(PAYLOAD, tuple(BOB_OUTSIDE))
            await asyncio.sleep(seconds(INTERVAL))

    async def story() -> None:
        transport, heard = await net.bob.start(endpoint(BOB, Heard))
        transport.sendto(b"open", tuple(ALICE_OUTSIDE))
        await asyncio.sleep(1)
        net.alice.start(talk())
        await heard.done.wait()

    net.run(story)
    return HOPS


# -- SimPy ----------------------------------------------------------------------------------------------------------

Process = Generator[simpy.Event, Any, None]


def run_simpy(journey: Callable[[simpy.Environment], Process]) -> int:
    """Begin a journey at each interval, and let all come to their ends.  The time is in nanoseconds, as in natsim."""
    env = simpy.Environment(initial_time=0)

    def departures() -> Process:
        for _ in range(PACKETS):
            env.process(journey(env))
            yield env.timeout(INTERVAL)

    env.process(departures())
    env.run()
    return HOPS


def simpy_alone() -> int:
    """Nothing moves but the clock."""

    def journey(env: simpy.Environment) -> Process:
        for delay in DELAYS:
            yield env.timeout(delay)

    return run_simpy(journey)


def simpy_with_nats() -> int:
    """What natsim's nodes do with a packet: count down its TTL, translate it, find its way, find its socket."""
    nat_a = NatEngine(NatBehavior(), ALICE_OUTSIDE.address, random.Random(1))
    nat_b = NatEngine(NatBehavior(), BOB_OUTSIDE.address, random.Random(2))
    nat_b.outbound(Packet(UDP, BOB, ALICE_OUTSIDE), 0)
    routes = {ALICE_OUTSIDE.address: nat_a, BOB_OUTSIDE.address: nat_b}
    bob = Counter()
    sockets = {BOB: bob}

    def journey(env: simpy.Environment) -> Process:
        packet: Any = Packet(UDP, ALICE, BOB_OUTSIDE, PAYLOAD)
        yield env.timeout(DELAYS[0])
        packet.ttl -= 1
        packet = nat_a.outbound(packet, env.now).packet
        yield env.timeout(DELAYS[1])
        packet.ttl -= 1
        nat = routes[packet.dst.address]
        yield env.timeout(DELAYS[2])
        packet.ttl -= 1
        packet = nat.inbound(packet, env.now).packet
        yield env.timeout(DELAYS[3])
        sockets[packet.dst].datagram(packet)

    run_simpy(journey)
    assert bob.heard == PACKETS
    return HOPS
