"""How often is a guess right?  The odds of port guessing, by formula and by playing it out on engines.

Published figures: Tailscale, "How NAT traversal works", and the calculator that belongs to it.  256 sockets behind a
NAT with random ports are searched by a peer behind an easy one: 174 probes find one of them in half of all cases,
1,024 nearly always.  If both NATs have random ports, it takes tens of thousands; of these only the formula can tell,
but in a world of 64 ports the same search can be played as often as one likes.

Next: `natsim/nat/odds.py`, the formulas; `chances.py`, how often is often enough.
"""

from __future__ import annotations

import random
from functools import partial

from ..nat.behavior import NatBehavior, Overloading, address_and_port_dependent
from ..nat.bench import ALICE, BOB, S1, S1_OTHER, S2, Bench
from ..nat.odds import birthday, both_random
from ..nat.ports import RandomPort, Sequential
from ..packet import Endpoint
from .chances import Game, played, within
from .check import Check
from .words import many

PUBLISHED = "Tailscale, How NAT traversal works"

#: The sockets that the side with the random NAT opens.
SOCKETS = 256

#: So often a search is played, in the whole world and in the small one.
GAMES, SMALL_GAMES = 200, 300

#: A small world, in which two random NATs can be searched: so many ports, sockets and probes.
SMALL, SMALL_SOCKETS, SMALL_PROBES = 64, 48, 48


# -- The search ----------------------------------------------------------------------------------------------------


def one_random(probes: int) -> Game:
    """alice opens SOCKETS sockets behind a random NAT, bob probes that many of its ports: do they meet?"""

    def game(seed: int) -> bool:
        dice = random.Random(f"probes {seed}")
        hard = Bench(
            NatBehavior(mapping=address_and_port_dependent, ports=RandomPort(1025, 65535)), f"hard {seed}", "198.51.100"
        )
        easy = Bench(NatBehavior(), f"easy {seed}", "203.0.113")
        bob = easy.outside(BOB, S1)
        assert bob is not None
        for port in range(SOCKETS):
            hard.out(ALICE._replace(port=10_000 + port), bob)
        ports = dice.sample(range(1025, 65536), probes)
        return any(_met(easy, BOB, hard, Endpoint(hard.addresses[0], port)) for port in ports)

    return game


def two_random(seed: int) -> bool:
    """Both are behind random NATs with SMALL ports: each sends from fresh sockets to ports of the other, drawn anew."""
    dice = random.Random(f"ports {seed}")
    # Ports may be shared towards different destinations, so that there are as many pairs as the formula counts.
    behavior = NatBehavior(
        mapping=address_and_port_dependent,
        ports=RandomPort(1025, 1024 + SMALL),
        overloading=Overloading.OTHER_DESTINATIONS,
    )
    a, b = Bench(behavior, f"a {seed}", "198.51.100"), Bench(behavior, f"b {seed}", "203.0.113")

    def guess(of: Bench) -> Endpoint:
        return Endpoint(of.addresses[0], dice.randrange(1025, 1025 + SMALL))

    for port in range(SMALL_SOCKETS):
        a.out(ALICE._replace(port=10_000 + port), guess(b))
    return any(_met(b, BOB._replace(port=10_000 + port), a, guess(a)) for port in range(SMALL_PROBES))


def _met(near: Bench, src: Endpoint, far: Bench, dst: Endpoint) -> bool:
    """Does a datagram from behind one NAT get in at the other, and its answer back?"""
    probe = near.out(src, dst).packet
    arrived = far.back(probe.src, dst).packet if probe is not None else None
    answer = far.out(arrived.dst, arrived.src).packet if arrived is not None else None
    return answer is not None and near.enters(answer.src, answer.dst) == src


# -- Prediction ----------------------------------------------------------------------------------------------------


def predicted() -> str:
    """Two servers see two ports of a sequential NAT; the third one is told to a peer beforehand."""
    right = []
    for step in (1, 2, -3):
        bench = Bench(NatBehavior(mapping=address_and_port_dependent, ports=Sequential(step)))
        one, two, three = (bench.outside(ALICE, remote) for remote in (S1, S1_OTHER, S2))
        assert one is not None
        assert two is not None
        if three == two._replace(port=two.port + (two.port - one.port)):
            right.append(step)
    return many("port", right, "of 3 foreseen")


# -- The rows ------------------------------------------------------------------------------------------------------

#: Probes, and the chance to find one of SOCKETS ports with them: as the article says it, and as its calculator does.
SEARCHES = {174: ("50 %", 0.4998), 256: ("64 %", 0.6394), 1024: ("98 %", 0.9835), 2048: ("99.9 %", 0.9997)}

#: Sockets on one side, probes from the other, the chance if both NATs are random, and how it is rounded.
BOTH_RANDOM = ((256, 2048, "0.01%", ".2%"), (54_000, 54_000, "50%", ".0%"), (170_000, 170_000, "99.9%", ".1%"))

#: What the formula says of the small world.
SMALL_CHANCE = both_random(SMALL_SOCKETS, SMALL_PROBES, SMALL)


def formula(probes: int) -> str:
    """The formula for one random NAT, to the calculator's precision."""
    return f"{birthday(SOCKETS, probes):.2%}"


def formula_for_both(sockets: int, probes: int, rounding: str) -> str:
    """The formula for two."""
    return format(both_random(sockets, probes), rounding)


def searches(probes: int, exact: float) -> str:
    """The searches for one random NAT's ports, played."""
    return played(one_random(probes), GAMES, exact)


def small_searches() -> str:
    """Those of two random NATs in the small world, played."""
    return played(two_random, SMALL_GAMES, SMALL_CHANCE)


CHECKS = [
    *(
        Check(
            f"{probes:,} probes for {SOCKETS} random ports ({said}), by formula",
            PUBLISHED,
            f"{exact:.2%}",
            partial(formula, probes),
        )
        for probes, (said, exact) in SEARCHES.items()
    ),
    *(
        Check(
            f"{probes:,} probes for {SOCKETS} random ports, {GAMES} searches",
            PUBLISHED,
            within(exact),
            partial(searches, probes, exact),
        )
        for probes, (_, exact) in SEARCHES.items()
    ),
    *(
        Check(
            f"{sockets:,} sockets and {probes:,} probes, both random, by formula",
            PUBLISHED,
            exact,
            partial(formula_for_both, sockets, probes, rounding),
        )
        for sockets, probes, exact, rounding in BOTH_RANDOM
    ),
    Check(
        f"{SMALL_SOCKETS} sockets and {SMALL_PROBES} probes, both random with {SMALL} ports, {SMALL_GAMES} searches",
        "the same formula",
        within(SMALL_CHANCE),
        small_searches,
    ),
    Check("the next port of a sequential NAT", "RFC 5128 section 3.5", "3 ports of 3 foreseen", predicted),
]
