"""How many times a second do two peers behind Linux NATs find each other?  It decides how long a matrix takes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial

from comparing import Way, compare

import natsim
import punchkit
from natsim.cli.attempt import CODE, attempt
from natsim.packet import TCP, UDP
from punchkit.punch_tcp import Punch
from punchkit.rendezvous import Door
from punchkit.server import DEFAULT_PORT
from punchkit.sockets import close_with_reset

#: Each punch has its own seed.
SEEDS = range(10)

#: What the peers would have measured, in seconds: twice the delay that `two_nats` has.
ROUND_TRIP = 0.04


def compare_punches() -> None:
    """Print the comparison."""
    compare(
        "two peers behind Linux NATs meet, in punches per second",
        Way("TCP: punchkit.connect, until both are direct", with_each_seed(partial(tell, connecting))),
        Way("TCP: the same without a trace", with_each_seed(partial(tell, connecting, trace=False))),
        Way("TCP: the punch by itself, without keys and sessions", with_each_seed(partial(tell, punching))),
        Way("TCP: a run of `natsim matrix`, which asks why", with_each_seed(lambda net: attempt(net, TCP).direct)),
        Way("UDP: a run of `natsim matrix`", with_each_seed(lambda net: attempt(net, UDP).direct)),
    )


def with_each_seed(meet: Callable[[natsim.Internet], bool]) -> Callable[[], int]:
    """Meeting once with each seed."""

    def work() -> int:
        for seed in SEEDS:
            assert meet(natsim.two_nats("linux", "linux", seed=seed))
        return len(SEEDS)

    return work


def tell(story: Callable[[natsim.Internet], Awaitable[bool]], net: natsim.Internet, *, trace: bool = True) -> bool:
    """Run one story; True if the peers have met."""
    met: bool = net.run(partial(story, net), trace=trace).result
    return met


async def connecting(net: natsim.Internet) -> bool:
    """The whole way, as punchkit's users go it."""
    net.server.start(punchkit.serve())
    calls = [host.start(punchkit.connect(CODE, server=net.server.address)) for host in (net.alice, net.bob)]
    async with await calls[0] as alice, await calls[1] as bob:
        await asyncio.gather(alice.settled(), bob.settled())
        return alice.direct and bob.direct


async def punching(net: natsim.Internet) -> bool:
    """The least: see how one looks from outside, and let the SYNs cross."""
    net.server.start(punchkit.serve())
    doors = [await host.start(look(net.server.address)) for host in (net.alice, net.bob)]
    rounds = (net.alice.start(punch(*doors)), net.bob.start(punch(*reversed(doors))))
    ends = [await side for side in rounds]
    met = ends[0].getpeername() == doors[1].observed and ends[1].getpeername() == doors[0].observed
    for end in ends:
        close_with_reset(end)
    for door in doors:
        door.close()
    return met


async def look(server: str) -> Door:
    """A connection to the server, from a port that it has seen from outside."""
    door = await Door.open((server, DEFAULT_PORT))
    await door.observe()
    return door


async def punch(own: Door, other: Door) -> socket.socket:
    """One round from one side; returns the first connection."""
    connections = Punch(own.local, [other.observed], ROUND_TRIP).connections()
    try:
        return await anext(connections)
    finally:
        await connections.aclose()
