"""Putting fragments together again (RFC 791 section 3.2, RFC 1122 section 3.3.2, RFC 8200 section 4.5).

Hosts do this with what is for them, and a Linux router does it with everything that it passes on, before its
connection tracking sees it (nf_defrag_ipv4, nf_defrag_ipv6).  A NAT of the other kind translates each fragment:
`nat/fragments.py`.

What waits is bounded in time and number, since anybody can send first halves for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .fragmentation import LIFETIME, DatagramId, datagram_of, span
from .packet import Packet, is_ipv6
from .scheduler import Scheduler
from .trace import DROPPED, HELD, Trace

#: So many datagrams may be incomplete at a time; at 64 kB each that is Linux's limit (net.ipv4.ipfrag_high_thresh).
DATAGRAMS = 64

#: No IP datagram can be longer, its header not counted, by the version: IPv6's length does not count the header either.
LONGEST = {4: 65_535 - 20, 6: 65_535}


@dataclass(slots=True)
class Datagram:
    """The pieces that have come, by the bytes that they carry, and what is known of the whole.

    >>> from .packet import UDP, Endpoint
    >>> from .fragmentation import fragments_of
    >>> packet = Packet(UDP, Endpoint("192.168.1.2", 5000), Endpoint("203.0.113.10", 80), bytes(4000))
    >>> first, second, third = fragments_of(packet, 1500)
    >>> datagram = Datagram()
    >>> datagram.put(third), datagram.put(first), datagram.put(second), datagram.whole()
    (True, True, True, <#0 udp 192.168.1.2:5000 > 203.0.113.10:80 4000 bytes>)
    """

    pieces: dict[tuple[int, int], Packet] = field(default_factory=dict)
    octets: int = 0
    end: int | None = None

    def put(self, piece: Packet) -> bool:
        """Take a piece; False if it contradicts the others, so that all of them are worthless (RFC 5722 section 4)."""
        assert piece.fragment is not None
        start, end = span(piece)
        last = not piece.fragment.more
        if end == start or end > (LONGEST[piece.version] if self.end is None else self.end):
            return False
        if any(start < other_end and other_start < end for other_start, other_end in self.pieces):
            return False
        if last and any(other_end > end for _, other_end in self.pieces):
            return False
        self.pieces[start, end] = piece
        self.octets += end - start
        self.end = end if last else self.end
        return True

    def whole(self) -> Packet | None:
        """The datagram, under the first fragment's number; None if there are still gaps."""
        if self.octets != self.end:
            return None
        ordered = [self.pieces[where] for where in sorted(self.pieces)]
        whole = ordered[0].rewritten(payload=b"".join(piece.payload for piece in ordered))
        whole.fragment = None
        return whole


class Reassembly:
    """The incomplete datagrams of one node, which write into the trace what becomes of them."""

    def __init__(self, clock: Scheduler, trace: Trace, node: str) -> None:
        self._clock = clock
        self._trace = trace
        self._node = node
        #: Oldest first, as every dict is: that one goes first if there are too many.
        self._datagrams: dict[DatagramId, Datagram] = {}
        #: While a datagram is delivered, its number, and the size of its largest fragment.
        self._delivers: tuple[int, int] | None = None

    def receive(self, piece: Packet, deliver: Callable[[Packet], None]) -> None:
        """A fragment has come; if it was the last one missing, `deliver` the whole."""
        key = datagram_of(piece)
        datagram = self._datagrams.get(key) or self._begin(key, LIFETIME[piece.version])
        if span(piece) in datagram.pieces:
            self._trace.add(self._node, DROPPED, piece, TWICE)
            return
        if not datagram.put(piece):
            self._trace.add(self._node, DROPPED, piece, CONTRADICTION)
            self._give_up(key, CONTRADICTION)
            return
        self._trace.add(self._node, HELD, piece, WAITS[piece.version])
        whole = datagram.whole()
        if whole is not None:
            del self._datagrams[key]
            self._delivers = whole.uid, max(part.size for part in datagram.pieces.values())
            deliver(whole)
            self._delivers = None

    def largest_part_of(self, packet: Packet) -> int | None:
        """The size of the largest fragment in which the packet came that is being delivered; None for another one."""
        return self._delivers[1] if self._delivers is not None and self._delivers[0] == packet.uid else None

    def _begin(self, key: DatagramId, lifetime: int) -> Datagram:
        if len(self._datagrams) == DATAGRAMS:
            self._give_up(next(iter(self._datagrams)), TOO_MANY)
        datagram = self._datagrams[key] = Datagram()
        self._clock.after(lifetime, self._expire, (key, datagram))
        return datagram

    def _expire(self, which: tuple[DatagramId, Datagram]) -> None:
        key, datagram = which
        if self._datagrams.get(key) is datagram:
            self._give_up(key, TIMED_OUT[6 if is_ipv6(key[0]) else 4])

    def _give_up(self, key: DatagramId, reason: str) -> None:
        for piece in self._datagrams.pop(key).pieces.values():
            self._trace.add(self._node, DROPPED, piece, reason)


WAITS = {
    4: "REASSEMBLY: a part of a datagram, to be put together with the others (RFC 791 section 3.2)",
    6: "REASSEMBLY: a part of a datagram, to be put together with the others (RFC 8200 section 4.5)",
}
TWICE = "REASSEMBLY: this part of the datagram is here already"
CONTRADICTION = "REASSEMBLY: parts of one datagram overlap, or reach beyond its end; all of them are thrown away"
TOO_MANY = "REASSEMBLY: too many datagrams wait for their other parts, and this one for longest"
TIMED_OUT = {
    4: "REASSEMBLY: the other parts have not come within 30 s (RFC 1122 section 3.3.2)",
    6: "REASSEMBLY: the other parts have not come within 60 s (RFC 8200 section 4.5)",
}
