"""A link: what lies between two nodes, with its delay and its loss.

A `Link` is described once and used by every world.  In the simulator it becomes two `Pipe`s, one each way.
A packet that a pipe loses is in the trace, with the reason.  Next: `router.py` and `host.py`, the ends.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from .packet import Packet
from .scheduler import Scheduler
from .trace import DROPPED, Trace


@dataclass(frozen=True)
class Link:
    """What a link does to packets, in each direction: `delay` in milliseconds, `loss` as a share from 0 to 1."""

    delay: float = 0.0
    loss: float = 0.0

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise ValueError(f"a link's delay is in milliseconds and cannot be negative: {self.delay}")
        if not 0 <= self.loss < 1:
            raise ValueError(f"a link's loss is a share from 0 up to (but not) 1: {self.loss}")


class Pipe:
    """One direction of a link in the simulator: packets come out of `deliver` after the delay, in order."""

    def __init__(
        self,
        clock: Scheduler,
        trace: Trace,
        name: str,
        delay: int,
        loss: float,
        deliver: Callable[[Packet], None],
    ) -> None:
        self._clock = clock
        self._trace = trace
        self._name = name
        self._delay = delay
        self._loss = loss
        self._chance: random.Random = clock.random(f"link {name}")
        self._deliver = deliver

    def carry(self, packet: Packet) -> None:
        """Take a packet; it arrives at the other end after the delay, unless it is lost."""
        if self._loss and self._chance.random() < self._loss:
            self._trace.add(self._name, DROPPED, packet, LOST)
            return
        self._clock.after(self._delay, self._deliver, packet)


LOST = "LOST: this link loses packets"
