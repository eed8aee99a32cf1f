"""A link, described: what lies between two nodes, and what it does to the packets that cross it.

A `Link` is data, checked when it is made, and every world uses the same one: the simulator makes two `Pipe`s of it, one
each way (`pipe.py`), the kernel world a pair of interfaces with a program between them (`kernel/wire.py`).  What
happens to a packet on its way is decided for both in `crossing.py`, the next to read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from .loss import LossRule
from .nat.spelling import Knobs

#: RFC 791: every link must take 68 bytes in one piece, and no packet can be larger than its length field says.
SMALLEST_MTU, LARGEST_MTU = 68, 65_535

#: What a number must be, and the same in words.
Demand = tuple[Callable[[float], bool], str]
MILLISECONDS: Demand = lambda ms: 0 <= ms < inf, "in milliseconds, from 0 up"
SHARE: Demand = lambda share: 0 <= share <= 1, "a share of the packets, from 0 to 1"
SHARE_BELOW_1: Demand = lambda share: 0 <= share < 1, "a share of the packets, from 0 up to (but not) 1, or a loss rule"
MEGABITS: Demand = lambda rate: 0 < rate < inf, "in Mbit/s, above 0, or None for no limit"
PACKETS: Demand = lambda count: isinstance(count, int) and count >= 0, "a whole number of packets, from 0 up"
BYTES: Demand = (
    lambda size: isinstance(size, int) and SMALLEST_MTU <= size <= LARGEST_MTU,
    f"in bytes, from {SMALLEST_MTU} (RFC 791 section 3.2) to {LARGEST_MTU}, or None for no limit",
)


@dataclass(frozen=True, repr=False)
class HeldBack(Knobs):
    """Packets that come late: `share` of them, each by itself, is held back for `delay` milliseconds more.

    Those behind it overtake it if they follow so closely; among themselves they keep their order.
    """

    share: float
    delay: float

    def __post_init__(self) -> None:
        _demand("share of packets held back", self.share, SHARE)
        _demand("delay of packets held back", self.delay, MILLISECONDS)


@dataclass(frozen=True, repr=False)
class Link(Knobs):
    """What a link does to packets, in each direction by itself.

    delay: one way, in milliseconds.
    loss: the share of packets that are lost, from 0 up to (but not) 1, each by itself; in bursts with
        `Bursts(share, length)`, or by a rule of your own (`loss.py`).
    mtu: the size in bytes of the largest packet that it takes, IP header included (RFC 1191).  None is no limit; in
        the kernel world, where there is always one, the 1,500 bytes of Ethernet.
    jitter: a packet takes so many milliseconds longer at most: evenly distributed from 0 to `jitter`.
    reorder: False keeps the order, so that with jitter a fast packet waits for a slow one ahead of it.  True lets each
        packet take its own time.  `HeldBack(share, delay)` makes some of them late.
    duplicate: the share of packets that arrive twice.
    rate: in Mbit/s, counting the bytes of IP packets: one after the other, each takes its size / rate.
    queue: with a rate, how many packets may wait for the one that is being sent; what comes then is dropped
        (drop-tail).  None is `bottleneck.QUEUE`.

    Raises TypeError for an unknown keyword and ValueError for an impossible value.

    >>> Link(20, jitter=5, rate=10)
    Link(delay=20, jitter=5, rate=10)
    >>> Link(jiter=5)
    Traceback (most recent call last):
    ...
    TypeError: a Link has no 'jiter'; did you mean jitter, rate, duplicate?
    """

    delay: float = 0.0
    loss: float | LossRule = 0.0
    mtu: int | None = None
    jitter: float = 0.0
    reorder: bool | HeldBack = False
    duplicate: float = 0.0
    rate: float | None = None
    queue: int | None = None

    def __post_init__(self) -> None:
        _demand("delay", self.delay, MILLISECONDS)
        if not callable(self.loss):
            _demand("loss", self.loss, SHARE_BELOW_1)
        _demand("jitter", self.jitter, MILLISECONDS)
        _demand("duplicate", self.duplicate, SHARE)
        for knob, demand in (("mtu", BYTES), ("rate", MEGABITS), ("queue", PACKETS)):
            if getattr(self, knob) is not None:
                _demand(knob, getattr(self, knob), demand)
        if not isinstance(self.reorder, bool | HeldBack):
            raise ValueError(f"a link's reorder is False, True or HeldBack(share, delay), not {self.reorder!r}")
        if self.queue is not None and self.rate is None:
            raise ValueError("a link has a queue only where it has a rate, since nothing waits otherwise: give both")

    @property
    def is_plain(self) -> bool:
        """True if all that it does to packets is to delay them, and to take none that are too large."""
        return self == Link(self.delay, mtu=self.mtu)


def _demand(knob: str, value: Any, demand: Demand) -> None:
    """Raise ValueError if a setting is no number, or not what it must be."""
    holds, words = demand
    if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
        raise ValueError(f"a link's {knob} is {words}, not {value!r}")
