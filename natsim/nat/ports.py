"""Which outside port does a new mapping get?

A port assignment is a generator: given a `Wish` it yields ports, best first, and the NAT takes the first one that
is free.  That is all, so your own is a few lines:

    def birthday(wish):
        while True:
            yield 40_000 + wish.random.randrange(365)

A NAT that hears no free port in `TRIES` proposals has run out.  Sources: RFC 4787 section 4.2, RFC 6056.
Next: `engine.py`, `NatEngine._choose_port`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..packet import Endpoint

#: The ports that NATs hand out unless they preserve (RFC 6056 section 3.2).
FIRST_PORT, LAST_PORT = 1024, 65535

#: How many proposals a NAT listens to before it says that no port is left: once round the whole range.
TRIES = LAST_PORT - FIRST_PORT + 1


@dataclass(frozen=True)
class Wish:
    """What a port assignment may look at: who wants to talk to whom, the port given last, and a source of chance."""

    protocol: str
    internal: Endpoint
    remote: Endpoint
    previous: int
    random: random.Random


PortAssignment = Callable[[Wish], Iterator[int]]


class RuleError(Exception):
    """A rule of a NAT returned nonsense; the message names the rule and what it returned."""


def preserve(wish: Wish) -> Iterator[int]:
    """The port of the inside socket; if that is taken, the next free one above (RFC 4787 section 4.2.1)."""
    return _upwards(wish.internal.port)


def random_port(wish: Wish) -> Iterator[int]:
    """Any port, at random, again until one is free (RFC 6056 algorithm 2)."""
    while True:
        yield wish.random.randint(FIRST_PORT, LAST_PORT)


@dataclass(frozen=True)
class Sequential:
    """The port given last, plus `step`: what port prediction lives on (RFC 5128 section 3.5)."""

    step: int = 1

    def __call__(self, wish: Wish) -> Iterator[int]:
        return _upwards(wish.previous + self.step, self.step)


sequential = Sequential()


def _upwards(port: int, step: int = 1) -> Iterator[int]:
    """`port`, `port + step`, ... and round again in the range of ports that NATs hand out.

    A first port below that range (a preserved 80, say) is proposed once, as it is.
    """
    if port < FIRST_PORT:
        yield port
    span = LAST_PORT - FIRST_PORT + 1
    while True:
        yield FIRST_PORT + (port - FIRST_PORT) % span
        port += step
