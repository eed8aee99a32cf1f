"""Which outside port does a new mapping get?

A port assignment is a generator: given a `Wish` it yields ports, best first, and the NAT takes the first one that
is free.  That is all, so your own is a few lines:

    def birthday(wish):
        while True:
            yield 40_000 + wish.random.randrange(365)

A rule that must remember something keeps it in `wish.memory`, a dict that each NAT has for itself.  A NAT that hears
no free port in `TRIES` proposals has run out.  Sources: RFC 4787 section 4.2, RFC 7857 section 9.

Next: `ports_rfc6056.py` (ports that are hard to guess) and `port_blocks.py` (carriers); `engine.py` uses them all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..packet import Endpoint
from .spelling import Knobs

#: The ports that NATs hand out unless they preserve (RFC 6056 section 3.2).
FIRST_PORT, LAST_PORT = 1024, 65535

#: How many proposals a NAT listens to before it says that no port is left: once round the whole range.
TRIES = LAST_PORT - FIRST_PORT + 1


@dataclass(frozen=True)
class Wish:
    """What a port assignment may look at: who wants to talk to whom, the port given last, a source of chance, and
    whatever this rule has remembered about this NAT."""

    protocol: str
    internal: Endpoint
    remote: Endpoint
    previous: int
    random: random.Random
    memory: dict[str, Any] = field(default_factory=dict)


PortAssignment = Callable[[Wish], Iterator[int]]


def preserve(wish: Wish) -> Iterator[int]:
    """The port of the inside socket; if that is taken, the next free one above (RFC 4787 section 4.2.1)."""
    return upwards(wish.internal.port)


@dataclass(frozen=True, repr=False)
class EphemeralPorts(Knobs):
    """The ports from `first` to `last` (`min_ephemeral` and `max_ephemeral` in RFC 6056); a base for rules.

    Raises ValueError for a range that is empty, or not within 1 to 65535.
    """

    first: int = FIRST_PORT
    last: int = LAST_PORT

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.last < 65536:
            raise ValueError(f"ephemeral ports go from 1 or more up to 65535 or less, not {self.first} to {self.last}")

    @property
    def count(self) -> int:
        """How many ports these are (`num_ephemeral`); no algorithm proposes more than so many for one mapping."""
        return self.last - self.first + 1


@dataclass(frozen=True, repr=False)
class RandomPort(EphemeralPorts):
    """Any of these ports, at random, again until one is free (RFC 6056 algorithm 2)."""

    def __call__(self, wish: Wish) -> Iterator[int]:
        while True:
            yield wish.random.randint(self.first, self.last)


random_port = RandomPort()


@dataclass(frozen=True, repr=False)
class Sequential(Knobs):
    """The port given last, plus `step`: what port prediction lives on (RFC 5128 section 3.5)."""

    step: int = 1

    def __post_init__(self) -> None:
        if not self.step:
            raise ValueError("a sequence of ports needs a step; 0 would offer the same port for ever")

    def __call__(self, wish: Wish) -> Iterator[int]:
        return upwards(wish.previous + self.step, self.step)


sequential = Sequential()


# -- Rules that change another rule -------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class PreserveElse(Knobs):
    """The port of the inside socket; if that is taken, what `otherwise` says (RFC 7857 section 9)."""

    otherwise: PortAssignment = random_port

    def __call__(self, wish: Wish) -> Iterator[int]:
        if wish.internal.port:
            yield wish.internal.port
        yield from self.otherwise(wish)


@dataclass(frozen=True, repr=False)
class KeepParity(Knobs):
    """Of what `rule` proposes, only ports as even or odd as the inside port (RFC 4787 REQ-4, for RTP's sake)."""

    rule: PortAssignment = random_port

    def __call__(self, wish: Wish) -> Iterator[int]:
        return (port for port in islice(self.rule(wish), TRIES) if port % 2 == wish.internal.port % 2)


@dataclass(frozen=True, repr=False)
class KeepClass(Knobs):
    """Of what `rule` proposes, only ports in the class of the inside port (RFC 4787 REQ-3a).

    The classes are 1 to 1023 and 1024 to 65535; a low port that is taken gets another low one, at random.
    """

    rule: PortAssignment = random_port

    def __call__(self, wish: Wish) -> Iterator[int]:
        if 0 < wish.internal.port < FIRST_PORT:
            return PreserveElse(RandomPort(1, FIRST_PORT - 1))(wish)
        return (port for port in islice(self.rule(wish), TRIES) if port >= FIRST_PORT)


def upwards(port: int, step: int = 1, first: int = FIRST_PORT, last: int = LAST_PORT) -> Iterator[int]:
    """`port`, `port + step`, ... and round again from `first` to `last`.

    A first port below that range (a preserved 80, say) is proposed once, as it is.
    """
    if 0 < port < first:
        yield port
    span = last - first + 1
    while True:
        yield first + (port - first) % span
        port += step
