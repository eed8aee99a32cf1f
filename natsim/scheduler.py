"""The virtual clock: what happens next, and in which order.

One heap holds everything that will happen in the simulated internet, packets and asyncio timers alike, as
plain tuples `(when, seq, function, argument)`.  `when` is in integer nanoseconds; `seq` counts up, so two
things at the same instant happen in the order in which they were planned.  There is no other source of order,
and no source of chance but the named streams of `random()`: the same seed gives the same run.

This file knows nothing of packets, hosts or asyncio.  Next: `pipe.py`, which plans arrivals, and
`aio/loop.py`, which lets this clock drive asyncio.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

#: Nanoseconds in a second and in a millisecond: `when = now + 20 * MILLISECOND`.
SECOND = 1_000_000_000
MILLISECOND = 1_000_000


def seconds(nanoseconds: int) -> float:
    """Nanoseconds as seconds, for people and for asyncio."""
    return nanoseconds / SECOND


def nanoseconds(seconds_: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds_ * SECOND)


class Scheduler:
    """A clock that jumps from event to event.

    >>> clock = Scheduler(seed=7)
    >>> clock.after(2 * SECOND, print, "second")
    >>> clock.after(1 * SECOND, print, "first")
    >>> while clock.step(): pass
    first
    second
    >>> clock.now
    2000000000
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.now = 0
        #: How many of the planned events are no news to anybody: cancelled timers, and the limit of a story.
        self.uncounted = 0
        self._heap: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._seq = 0
        self._streams: dict[str, random.Random] = {}

    def at(self, when: int, function: Callable[[Any], None], argument: Any = None) -> None:
        """Plan `function(argument)` for the instant `when` (never before now)."""
        self._seq += 1
        heappush(self._heap, (max(when, self.now), self._seq, function, argument))

    def after(self, delay: int, function: Callable[[Any], None], argument: Any = None) -> None:
        """Plan `function(argument)` for `delay` nanoseconds (0 or more) from now."""
        self._seq += 1
        heappush(self._heap, (self.now + delay, self._seq, function, argument))

    @property
    def idle(self) -> bool:
        """True when nothing that counts is planned: nothing new will ever happen again."""
        return len(self._heap) == self.uncounted

    def step(self) -> bool:
        """Let the next thing happen; False if there is none."""
        if not self._heap:
            return False
        self.now, _, function, argument = heappop(self._heap)
        function(argument)
        return True

    def random(self, name: str) -> random.Random:
        """The random stream of that name: one for each object, so that a new host does not reshuffle the others."""
        if name not in self._streams:
            self._streams[name] = random.Random(f"{self.seed}:{name}")
        return self._streams[name]
