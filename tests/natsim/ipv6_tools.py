"""Packets of IPv6 through a simulated internet, without sockets: a program that puts them on the wire itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import natsim
from natsim.packet import Packet
from natsim.scheduler import SECOND
from natsim.sim_world import SimWorld
from natsim.trace import DELIVERED, Entry


@contextmanager
def alive(net: natsim.Internet, *, deaf: bool = False) -> Iterator[SimWorld]:
    """The simulated world of this internet, to send packets in.  `deaf` hosts take what comes, and answer nothing."""
    with SimWorld(net) as world:
        net.world = world
        for host in world.hosts.values() if deaf else ():
            host.receive = partial(world.trace.add, host.name, DELIVERED)  # type: ignore[method-assign]
        try:
            yield world
        finally:
            net.world = None


def send(world: SimWorld, host: str, *packets: Packet) -> list[Entry]:
    """Let a host send these; returns how each has ended, ten seconds later."""
    over: list[None] = []
    world.clock.after(10 * SECOND, over.append)
    for packet in packets:
        world.hosts[host].send(packet)
    while not over:
        world.clock.step()
    return [world.trace.of(packet)[-1] for packet in packets]


def arrives(end: Entry, at: str) -> bool:
    """Did the packet reach this host?  Where no socket is, the host answers it."""
    return end.node == at and (end.action == DELIVERED or "PORT CLOSED" in str(end.reason))
