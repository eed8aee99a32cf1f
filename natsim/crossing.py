"""What happens to packets on a link, in one direction: how many of each come out, and when.

Without I/O and without packets: sizes and times go in, times come out.  So the simulator (`pipe.py`) and the kernel
world (`kernel/wire.py`) decide alike, the one on packets of its own, the other on real ones.

What a link can do is decided in this order.  At its entrance a packet may be lost (`loss.py`), or doubled; then each
copy queues to be sent (`bottleneck.py`); then it travels, with jitter, and either overtakes or not; and last it may be
held back.  What a link does not do draws no chance.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count, repeat

from .bottleneck import Bottleneck
from .link import HeldBack, Link
from .loss import independent, losses
from .scheduler import nanoseconds


class Crossing:
    """One direction of a link.  For each packet ask `copies`, then for each copy `arrival`, with times that never fall.

    >>> crossing = Crossing(Link(delay=20, rate=1), random.Random(1))
    >>> crossing.copies(), crossing.arrival(size=1000, now=0)
    (1, 28000000)
    """

    def __init__(self, link: Link, chance: random.Random) -> None:
        self._lost = losses(link.loss, chance)
        self._doubled = independent(link.duplicate, chance)
        self.bottleneck = Bottleneck(link.rate, link.queue) if link.rate is not None else None
        self._delay = nanoseconds(link.delay / 1000)
        self._jitter = _evenly_up_to(nanoseconds(link.jitter / 1000), chance)
        self._keeps_order = link.reorder is not True
        self._latest = 0
        self._held_back = _held_back(link.reorder, chance) if isinstance(link.reorder, HeldBack) else repeat(0)

    def copies(self) -> int:
        """How many of the next packet enter the link: one, none if it is lost, or two."""
        if next(self._lost):
            return 0
        return 2 if next(self._doubled) else 1

    def arrival(self, size: int, now: int) -> int | None:
        """When a packet of `size` bytes that enters now comes out; None if the queue is full.  In nanoseconds."""
        left = self.bottleneck.sent(size, now) if self.bottleneck else now
        if left is None:
            return None
        arrives = left + self._delay + next(self._jitter)
        if self._keeps_order:
            arrives = self._latest = max(self._latest, arrives)
        return arrives + next(self._held_back)


def _evenly_up_to(most: int, chance: random.Random) -> Iterator[int]:
    """Any number from 0 to `most`, again and again."""
    return (chance.randint(0, most) for _ in count()) if most else repeat(0)


def _held_back(some: HeldBack, chance: random.Random) -> Iterator[int]:
    """For one packet after the other, for how long it is held back."""
    delay = nanoseconds(some.delay / 1000)
    return (delay if late else 0 for late in independent(some.share, chance))
