"""Packets of IPv6 through a simulated internet, without sockets: a program that puts them on the wire itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import natsim
from natsim.packet import Packet
from natsim.sim_world import SimWorld
from natsim.trace import DELIVERED, Entry


@contextmanager
def alive(net: natsim.Internet) -> Iterator[SimWorld]:
    """The simulated world of this internet, to send packets in."""
    with SimWorld(net) as world:
        net.world = world
        try:
            yield world
        finally:
            net.world = None


def send(world: SimWorld, host: str, *packets: Packet) -> list[Entry]:
    """Let a host send these; returns how each has ended, after all is quiet."""
    for packet in packets:
        world.hosts[host].send(packet)
    while not world.clock.idle and world.clock.step():
        pass
    return [world.trace.of(packet)[-1] for packet in packets]


def arrives(end: Entry, at: str) -> bool:
    """Did the packet reach this host?  Where no socket is, the host answers it."""
    return end.node == at and (end.action == DELIVERED or "PORT CLOSED" in str(end.reason))
