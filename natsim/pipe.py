"""A pipe: one direction of a link in the simulator.

Nodes put packets in, the scheduler brings them out at the other end.  What happens on the way is decided in
`crossing.py`; here it is done, and what ends or doubles a packet is noted in the trace, under the name of the pipe.
What becomes of a packet that is too large is decided before: `router.py` and `host.py`, the ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .bottleneck import Bottleneck
from .crossing import Crossing
from .fragmentation import fragments_of
from .link import Link
from .packet import Packet
from .scheduler import Scheduler, nanoseconds
from .trace import DROPPED, DUPLICATED, Trace

Deliver = Callable[[Packet], None]


def make_pipe(clock: Scheduler, trace: Trace, name: str, link: Link, deliver: Deliver) -> Pipe:
    """One direction of a link.  Nearly all are plain, and then the pipe is too: nothing is asked for each packet."""
    return (Pipe if link.is_plain else EventfulPipe)(clock, trace, name, link, deliver)


class Pipe:
    """One direction of a plain link: packets come out of `deliver` after the delay."""

    def __init__(self, clock: Scheduler, trace: Trace, name: str, link: Link, deliver: Deliver) -> None:
        self._clock = clock
        self._trace = trace
        self._name = name
        self._delay = nanoseconds(link.delay / 1000)
        self._deliver = deliver
        self.mtu = link.mtu

    def takes(self, packet: Packet) -> bool:
        """False for a packet that is too large for this link."""
        return self.mtu is None or packet.size <= self.mtu

    def carry_fragments(self, packet: Packet, node: str, path: int | None = None) -> None:
        """Take a packet that is too large, after `node` has cut it: its fragments, in order (RFC 4787 REQ-13a).

        `path` is the MTU of the whole path, if it is known to be less than this link's.
        """
        if path is not None and (self.mtu is None or path < self.mtu):
            self.carry_in_pieces(packet, node, path, FOR_ITS_PATH)
        else:
            assert self.mtu is not None
            self.carry_in_pieces(packet, node, self.mtu, DF_CLEAR if packet.version == 4 else BY_ITS_SENDER)

    def carry_in_pieces(self, packet: Packet, node: str, largest: int, reason: str) -> None:
        """Take a packet after `node` has cut it into pieces of at most `largest` bytes."""
        pieces = fragments_of(packet, largest)
        self._trace.fragmented(node, packet, pieces, reason)
        for piece in pieces:
            self.carry(piece)

    def carry(self, packet: Packet) -> None:
        """Take a packet; it arrives at the other end."""
        self._clock.after(self._delay, self._deliver, packet)


class EventfulPipe(Pipe):
    """One direction of a link that does more than delay.  Its chance comes from a random stream of its own."""

    def __init__(self, clock: Scheduler, trace: Trace, name: str, link: Link, deliver: Deliver) -> None:
        super().__init__(clock, trace, name, link, deliver)
        self._crossing = Crossing(link, clock.random(f"link {name}"))

    def carry(self, packet: Packet) -> None:
        """Take a packet; it arrives at the other end once, twice or never."""
        copies = self._crossing.copies()
        if copies == 0:
            self._trace.add(self._name, DROPPED, packet, LOST)
        elif copies == 1:
            self._send(packet)
        else:
            twin = packet.rewritten()  # routers count the TTL down, of each by itself
            self._trace.add(self._name, DUPLICATED, twin, TWICE, packet)
            self._send(packet)
            self._send(twin)

    def _send(self, packet: Packet) -> None:
        arrives = self._crossing.arrival(packet.size, self._clock.now)
        if arrives is not None:
            self._clock.at(arrives, self._deliver, packet)
        elif self._crossing.bottleneck is not None:
            self._trace.add(self._name, DROPPED, packet, QueueFull(self._name, self._crossing.bottleneck))


@dataclass(frozen=True)
class QueueFull:
    """Why a packet found no place in the queue before a pipe."""

    pipe: str
    bottleneck: Bottleneck

    def __str__(self) -> str:
        queue, rate = self.bottleneck.queue, self.bottleneck.rate
        return f"QUEUE FULL: {queue} packets wait for {self.pipe} already, which takes {rate:g} Mbit/s"


LOST = "LOST: this link loses packets"
TWICE = "DUPLICATED: this link makes two of some packets"
DF_CLEAR = "FRAGMENTED: larger than the MTU of the next link, and DF is not set (RFC 791 section 3.2, RFC 4787 REQ-13a)"
BY_ITS_SENDER = (
    "FRAGMENTED: larger than the MTU of the next link, and of IPv6, so cut by its sender (RFC 8200 section 4.5)"
)
FOR_ITS_PATH = "FRAGMENTED: larger than what is known to get there (RFC 8201 section 4)"
AGAIN = "FRAGMENTED: as it came, after conntrack had put it together (Linux, ip6_fragment)"
DF_SET = "TOO LARGE: for the MTU of the next link, and DF forbids to cut it (RFC 1191 section 4, RFC 4787 REQ-13)"
TOO_BIG = "TOO LARGE: for the MTU of the next link, and only its sender may cut a packet of IPv6 (RFC 8200 section 4.5)"


def too_large(packet: Packet) -> str:
    """Why a router does not cut this packet, though it is too large for the next link."""
    return DF_SET if packet.df else TOO_BIG
