"""A link: what lies between two nodes, with its delay, its loss, and the largest packet that it takes.

A `Link` is described once and used by every world.  In the simulator it becomes two `Pipe`s, one each way.
A packet that a pipe loses is in the trace, with the reason.  What becomes of a packet that is too large is decided
before the pipe: `router.py` and `host.py`, the ends.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from .fragmentation import fragments_of
from .packet import Packet
from .scheduler import Scheduler
from .trace import DROPPED, Trace

#: RFC 791: every link must take 68 bytes in one piece, and no packet can be larger than its length field says.
SMALLEST_MTU, LARGEST_MTU = 68, 65_535


@dataclass(frozen=True)
class Link:
    """What a link does to packets, in each direction: `delay` in milliseconds, `loss` as a share from 0 to 1.

    `mtu`: the size in bytes of the largest packet that it takes, IP header included (RFC 1191).  None is no limit; in
    the kernel world, where there is always one, the 1,500 bytes of Ethernet.
    """

    delay: float = 0.0
    loss: float = 0.0
    mtu: int | None = None

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise ValueError(f"a link's delay is in milliseconds and cannot be negative: {self.delay}")
        if not 0 <= self.loss < 1:
            raise ValueError(f"a link's loss is a share from 0 up to (but not) 1: {self.loss}")
        if self.mtu is not None and not SMALLEST_MTU <= self.mtu <= LARGEST_MTU:
            raise ValueError(
                f"a link's mtu is in bytes, from {SMALLEST_MTU} (RFC 791 section 3.2) to {LARGEST_MTU}, or None for no "
                f"limit: {self.mtu}"
            )


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
        mtu: int | None = None,
    ) -> None:
        self._clock = clock
        self._trace = trace
        self._name = name
        self._delay = delay
        self._loss = loss
        self._chance: random.Random = clock.random(f"link {name}")
        self._deliver = deliver
        self.mtu = mtu

    def takes(self, packet: Packet) -> bool:
        """False for a packet that is too large for this link."""
        return self.mtu is None or packet.size <= self.mtu

    def carry_fragments(self, packet: Packet, node: str) -> None:
        """Take a packet that is too large, after `node` has cut it: its fragments, in order (RFC 4787 REQ-13a)."""
        assert self.mtu is not None
        pieces = fragments_of(packet, self.mtu)
        self._trace.fragmented(node, packet, pieces, DF_CLEAR)
        for piece in pieces:
            self.carry(piece)

    def carry(self, packet: Packet) -> None:
        """Take a packet; it arrives at the other end after the delay, unless it is lost."""
        if self._loss and self._chance.random() < self._loss:
            self._trace.add(self._name, DROPPED, packet, LOST)
            return
        self._clock.after(self._delay, self._deliver, packet)


LOST = "LOST: this link loses packets"
DF_CLEAR = "FRAGMENTED: larger than the MTU of the next link, and DF is not set (RFC 791 section 3.2, RFC 4787 REQ-13a)"
DF_SET = "TOO LARGE: for the MTU of the next link, and DF forbids to cut it (RFC 1191 section 4, RFC 4787 REQ-13)"
