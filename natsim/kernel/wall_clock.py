"""The simulator's scheduler on the wall clock: what is planned happens when it is time, not as soon as it is next.

So whatever runs on a `Scheduler` (a router, a NAT, a pipe with its delay) runs in real time, between real sockets,
without a line that knows it.  Next: `boxes.py`, which does that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ..scheduler import Scheduler, seconds
from .alarm import Alarm


class WallClock(Scheduler):
    """A scheduler whose `now` is the time since it was made, in nanoseconds.

    `now` stands still while one thing happens, as for a simulated node: whoever brings something in from outside calls
    `catch_up` first.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int) -> None:
        super().__init__(seed)
        #: On the monotonic clock, in nanoseconds.
        self.began = time.monotonic_ns()
        self._alarm = Alarm(loop, self._ring)
        self._set_for: int | None = None

    @property
    def elapsed(self) -> int:
        """The time since it was made, whatever it shows."""
        return time.monotonic_ns() - self.began

    def catch_up(self) -> None:
        """Let everything happen that is due by now."""
        real = self.elapsed
        while self._heap and self._heap[0][0] <= real:
            self.step()
        self.now = max(self.now, real)

    def at(self, when: int, function: Callable[[Any], None], argument: Any = None) -> None:
        """Plan `function(argument)` for the instant `when` (never before now)."""
        super().at(when, function, argument)
        self._wind()

    def after(self, delay: int, function: Callable[[Any], None], argument: Any = None) -> None:
        """Plan `function(argument)` for `delay` nanoseconds (0 or more) from now."""
        super().after(delay, function, argument)
        self._wind()

    def close(self) -> None:
        """Nothing more happens."""
        self._heap.clear()
        self._alarm.close()

    def _ring(self) -> None:
        self._set_for = None
        self.catch_up()
        self._wind()

    def _wind(self) -> None:
        """Set the alarm for what comes first."""
        if self._heap and self._heap[0][0] != self._set_for:
            self._set_for = self._heap[0][0]
            self._alarm.set(seconds(self.began + self._set_for))
