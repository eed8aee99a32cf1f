"""Which port comes next: the tables and algorithms of two RFCs about port assignment, seen from outside a NAT.

RFC 7422 has an example with numbers: a network of 14 subscribers behind one address, and which ports are whose.
RFC 6056 has five algorithms; each is told from the others by what an observer sees who knows the port before.

Next: `natsim/nat/port_blocks.py` and `natsim/nat/ports_rfc6056.py`, the rules under test.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from ..nat.behavior import NatBehavior, address_and_port_dependent
from ..nat.bench import ALICE, BOB, S1, S2, Bench
from ..nat.port_blocks import DeterministicBlocks
from ..nat.ports import FIRST_PORT, LAST_PORT, PortAssignment, PreserveElse, RandomPort, Wish
from ..nat.ports_rfc6056 import DoubleHash, RandomIncrements, SimpleHash, SimplePortRandomization
from ..packet import UDP, Endpoint
from .chances import played, within
from .check import Check

# -- RFC 7422 ------------------------------------------------------------------------------------------------------

#: The example of section 2: each subscriber's first and last port, 198.51.100.1 first; at last the dynamic pool.
EXAMPLE = [
    (1024, 5055), (5056, 9087), (9088, 13119), (13120, 17151), (17152, 21183), (21184, 25215), (25216, 29247),
    (29248, 33279), (33280, 37311), (37312, 41343), (41344, 45375), (45376, 49407), (49408, 53439), (53440, 57471),
    (57472, 65535),
]  # fmt: skip

SUBSCRIBERS = [f"198.51.100.{number}" for number in range(1, 15)]

BLOCKS = DeterministicBlocks("198.51.100.0/28", dynamic_pool_factor=2, maximum_ports=5040)


def ranges() -> str:
    """The whole table, calculated."""
    calculated = [*(BLOCKS.range_of(subscriber) for subscriber in SUBSCRIBERS), BLOCKS.dynamic_ports]
    right = sum((ports[0], ports[-1]) == row for ports, row in zip(calculated, EXAMPLE, strict=True))
    return f"{right} of {len(EXAMPLE)} ranges"


def through_a_nat() -> str:
    """A hundred sockets of each subscriber."""
    carrier, right = Bench(NatBehavior(ports=BLOCKS), network="192.0.2"), 0
    for subscriber, (first, last) in zip(SUBSCRIBERS, EXAMPLE, strict=False):
        ends = [carrier.outside(Endpoint(subscriber, port), S1) for port in range(1, 101)]
        right += sum(end is not None and first <= end.port <= last for end in ends)
    return f"{right} of 1400 ports"


def _offered(number: int, memory: dict[str, Any]) -> set[int]:
    """Every port that the rule offers to a subscriber (1: the first) before it falls silent."""
    internal = Endpoint(SUBSCRIBERS[number - 1], 5000)
    return set(BLOCKS(Wish(UDP, internal, S1, 0, random.Random(0), memory)))


def most_ports() -> str:
    """All that one subscriber can get."""
    first, last = EXAMPLE[0]
    ports = _offered(1, {})
    own = [port for port in ports if first <= port <= last]
    return f"{len(own)} of its own, {len(ports) - len(own)} dynamic ones"


def owners() -> str:
    """Whose was port 2001, and whose are the dynamic ports that the second subscriber has had?"""
    memory: dict[str, Any] = {}
    first, last = EXAMPLE[1]
    dynamic = [port for port in _offered(2, memory) if not first <= port <= last]
    found = {BLOCKS.subscriber_of(port, BLOCKS.log(memory)) for port in dynamic}
    return f"2001: {BLOCKS.subscriber_of(2001)}; in the log: {', '.join(map(str, found))}"


# -- RFC 6056 ------------------------------------------------------------------------------------------------------

#: So often each game is played.
GAMES = 300

#: N of algorithm 5, and the number of ports from which all draw.
N, PORTS = 500, LAST_PORT - FIRST_PORT + 1


def step(rule: PortAssignment, remote: Endpoint, seed: int) -> int:
    """How far a NAT's second port is above its first, which was for S1, if the second one is for `remote`."""
    bench = Bench(NatBehavior(mapping=address_and_port_dependent, ports=rule), f"ports {seed}")
    one, two = bench.outside(ALICE, S1), bench.outside(ALICE._replace(port=5001), remote)
    assert one is not None
    assert two is not None
    return (two.port - one.port) % PORTS


def observed(rule: PortAssignment, same: float, other: float) -> str:
    """How often the next port is the very next one to the same destination, and one of the next N to another one."""
    next_one = played(lambda seed: step(rule, S1, seed) == 1, GAMES, same)
    near = played(lambda seed: 0 < step(rule, S2, seed) <= N, GAMES, other)
    return f"same destination: {next_one}; another: {near}"


def foreseen(same: float, other: float) -> str:
    """What `observed` says if these are the chances."""
    return f"same destination: {within(same)}; another: {within(other)}"


def above_a_full_stretch(rule: Callable[[int, int], PortAssignment], expected: float) -> str:
    """Of 100 ports the lower 50 are in use.  How often does the next mapping get the one above them?"""
    behavior = NatBehavior(ports=PreserveElse(rule(2000, 2099)))

    def game(seed: int) -> bool:
        bench = Bench(behavior, f"stretch {seed}")
        for port in range(2000, 2050):
            bench.out(ALICE._replace(port=port), S1)
        end = bench.outside(BOB._replace(port=2000), S1)
        return end is not None and end.port == 2050

    return played(game, GAMES, expected)


def moved_by_another(rule: PortAssignment, expected: float) -> str:
    """How often does a mapping to another destination move the next port to the first one on?"""

    def game(seed: int) -> bool:
        bench = Bench(NatBehavior(mapping=address_and_port_dependent, ports=rule), f"counters {seed}")
        one, _, two = (bench.outside(ALICE._replace(port=port), remote) for port, remote in ((1, S1), (2, S2), (3, S1)))
        return one is not None and two is not None and (two.port - one.port) % PORTS == 2

    return played(game, GAMES, expected)


# -- The rows ------------------------------------------------------------------------------------------------------

#: For each algorithm: the chance that the next port is the very next one, to the same destination; and that it is one
#: of the next N, to another one.
ALGORITHMS: dict[str, tuple[PortAssignment, float, float]] = {
    "algorithm 1, simple randomization": (SimplePortRandomization(), 1 / PORTS, N / PORTS),
    "algorithm 2, random again and again": (RandomPort(), 1 / PORTS, N / PORTS),
    "algorithm 3, simple hash": (SimpleHash(), 1, N / PORTS),
    "algorithm 4, double hash": (DoubleHash(), 1, N / PORTS),
    "algorithm 5, random increments": (RandomIncrements(n=N), 1 / N, 1),
}

CHECKS = [
    Check("the example's ranges of ports", "RFC 7422 section 2", "15 of 15 ranges", ranges),
    Check("the example, through a NAT", "RFC 7422 section 2", "1400 of 1400 ports", through_a_nat),
    Check("the most ports of a subscriber", "RFC 7422 section 2", "4032 of its own, 1008 dynamic ones", most_ports),
    Check("who had that port?", "RFC 7422 section 2", "2001: 198.51.100.1; in the log: 198.51.100.2", owners),
    *(
        Check(
            f"the next port: {name}",
            "RFC 6056 section 3.3",
            foreseen(same, other),
            partial(observed, rule, same, other),
        )
        for name, (rule, same, other) in ALGORITHMS.items()
    ),
    *(
        Check(
            f"the port above a full stretch: {name}",
            "RFC 6056 section 3.3",
            within(expected),
            partial(above_a_full_stretch, rule, expected),
        )
        for name, rule, expected in (("algorithm 1", SimplePortRandomization, 0.51), ("algorithm 2", RandomPort, 0.02))
    ),
    *(
        Check(
            f"another destination in between: {name}",
            "RFC 6056 section 3.3",
            within(expected),
            partial(moved_by_another, rule, expected),
        )
        for name, rule, expected in (("algorithm 3", SimpleHash(), 1), ("algorithm 4", DoubleHash(), 0.1))
    ),
]
