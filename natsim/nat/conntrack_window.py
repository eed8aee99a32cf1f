"""Is this segment one that these two could have sent?  Conntrack's idea of both ends' TCP windows.

A filter in the middle sees what both sides send, not what they receive, so it can only set bounds: to what a side
may send (as far as the other has allowed), and to what it may acknowledge (as far as the other has sent).  A segment
within the bounds moves them; one outside is not trusted to change anything.  The bounds are those of Guido van Rooij,
"Real Stateful TCP Packet Filtering in IP Filter" (2000), as nf_conntrack_proto_tcp.c has them.

Sequence numbers are counted modulo 2**32.  Nothing here knows states or timers; next: `conntrack_tcp.py`, which does.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..packet import ACK, RST, SYN, Packet
from ..tcp_segments import add, before

#: An acknowledgement may be older than everything under way by so many octets, or by the sender's largest window.
OLD_ACK = 66_000

#: RFC 7323 section 2.3.
LARGEST_SCALE = 14


class Fit(enum.Enum):
    """What the bounds say about a segment."""

    WITHIN = "within the window"
    OLD = "older than the window"  # it passes, and moves nothing
    BEYOND = "beyond the window"  # it does not belong to the flow
    UNKNOWN = "outside a window that is a guess"  # it passes as if it were within, but moves no bounds


@dataclass(slots=True)
class Side:
    """What is known of one side.

    `end` is the number after the last octet that it has sent, `limit` how far the other side lets it send, `window`
    the largest window that it has announced (0: it has said nothing yet), `acked` the highest number that it has
    acknowledged.  `unacked`: something of its own is under way.  `liberal`: the flow was picked up in the middle, so
    that the bounds are guesses, and stop nothing.
    """

    end: int = 0
    limit: int = 0
    window: int = 0
    acked: int | None = None
    scale: int = 0
    can_scale: bool = False
    unacked: bool = False
    liberal: bool = False

    def begin(self, syn: Packet) -> None:
        """Take the numbers and the options of a SYN."""
        self.end = self.limit = add(syn.seq, syn.segment_length)
        self.window = max(syn.window, 1)
        if syn.wscale is None and syn.mss is None:
            return  # no options: those of an earlier SYN stand
        self.acked, self.unacked = None, False
        self.can_scale = syn.wscale is not None
        self.scale = min(syn.wscale or 0, LARGEST_SCALE)

    def pick_up(self, segment: Packet) -> None:
        """Guess from a segment in the middle of a connection."""
        self.end = add(segment.seq, segment.segment_length)
        self.window = max(segment.window << self.scale, 1)
        self.limit = add(self.end, self.window)


def check(sender: Side, receiver: Side, segment: Packet, *, reply: bool, opening: bool, only_syn: bool) -> Fit:
    """Compare a segment with the bounds, and move them if it is within.

    `reply`: it goes against the flow's original direction.  `opening`: a SYN may begin anew.  `only_syn`: nothing but
    SYNs has been seen so far.
    """
    flags, seq, ack = segment.flags, segment.seq, segment.ack
    end = add(seq, segment.segment_length)
    silent = not sender.window
    if flags & SYN and (silent or (opening and before(sender.end, end))):
        _begin(sender, receiver, segment, reply)
        if not flags & ACK and (silent or reply):
            return Fit.WITHIN  # the second SYN of a simultaneous open
    elif silent:
        _join(sender, receiver, segment)

    if not flags & ACK or (flags & RST and not ack):
        ack = receiver.end  # nothing is acknowledged, so nothing is wrong with it
    if flags & RST and not seq and only_syn:
        seq = end = sender.end  # the answer to a SYN counts from 0

    fit = _compare(sender, receiver, seq, end, ack)
    if fit is Fit.WITHIN:
        _move(sender, receiver, segment, end, ack)
    elif sender.liberal:
        return Fit.UNKNOWN
    return fit


def _begin(sender: Side, receiver: Side, syn: Packet, reply: bool) -> None:
    sender.begin(syn)
    if reply and not (sender.can_scale and receiver.can_scale):
        sender.scale = receiver.scale = 0  # both must offer it (RFC 7323 section 2.2)


def _join(sender: Side, receiver: Side, segment: Packet) -> None:
    """The first segment of a side, and no SYN."""
    sender.pick_up(segment)
    if segment.ack == add(receiver.end, 1):
        receiver.end = segment.ack  # it answers a keep-alive, which repeats the last octet


def _compare(sender: Side, receiver: Side, seq: int, end: int, ack: int) -> Fit:
    recent = before(sender.end - receiver.window - 1, end)
    fresh_ack = before(receiver.end - max(sender.window, OLD_ACK) - 1, ack)
    honest_ack = before(ack, receiver.end + 1)
    if not before(seq, sender.limit + 1):
        overshot = add(end, 1 - sender.limit)
        if receiver.window and recent and fresh_ack and honest_ack and overshot <= receiver.window:
            sender.end, sender.unacked = end, True  # it may be let through, and acknowledged
            return Fit.OLD
        return Fit.BEYOND
    if not honest_ack:
        return Fit.BEYOND
    if receiver.window and not recent:
        return Fit.OLD
    return Fit.WITHIN if fresh_ack else Fit.OLD


def _move(sender: Side, receiver: Side, segment: Packet, end: int, ack: int) -> None:
    window = segment.window if segment.flags & SYN else segment.window << sender.scale
    sender.window = max(sender.window, window)
    if before(sender.end, end):
        sender.end, sender.unacked = end, True
    if segment.flags & ACK and (sender.acked is None or before(sender.acked, ack)):
        sender.acked = ack
    if receiver.window and before(sender.limit, end):
        receiver.window += add(end, -sender.limit)
    if before(receiver.limit - 1, add(ack, window)):
        receiver.limit = add(ack, max(window, 1))
    if ack == receiver.end:
        receiver.unacked = False
