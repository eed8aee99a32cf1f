"""Conntrack's view of one TCP connection: what a segment does to its flow.

The states and where they lead are in `conntrack_tcp.py`, which segments are believed in `conntrack_window.py`.  What is
left for here are the exceptions, and they are why a NAT in the middle survives what the ends do without asking it: a
SYN that comes too late and is answered all the same, an ACK that only seems to be the last one, RSTs true and forged.
And here is decided how long a flow may be idle.

Source: nf_conntrack_proto_tcp.c, `nf_conntrack_tcp_packet`.  Next: `conntrack.py`, which keeps the flows.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from ..packet import Packet
from ..tcp_segments import add, before
from .conntrack_tcp import (
    ENDING,
    MAX_RETRANSMISSIONS,
    NEXT,
    ORIGINAL,
    OVER,
    REPLY,
    SYN_SENT2_TIMEOUT,
    TIMEOUT,
    TcpState,
    kind_of,
)
from .conntrack_window import Fit, Side, check
from .linux_behavior import LinuxTimeouts

_S = TcpState


class Fate(enum.Enum):
    """What becomes of a packet, and of its flow."""

    PASSES = "it passes"
    INVALID = "it is not of this flow"
    LAST = "it passes, and the flow is gone"
    ANEW = "the flow is gone, and the packet may begin another"


#: A fate, and for how many seconds the flow may be idle from now on (None: as long as it had left).
Outcome = tuple[Fate, float | None]


@dataclass(slots=True)
class TcpTracking:
    """What conntrack knows of one TCP connection.

    `assured`: both sides have taken part; from then on a RST must fit exactly.  `kind` and `direction` are those of the
    segment before; `noted` is the last one whose numbers were written down: an ACK, or one that was ignored.
    `repeated` counts how often the same ACK has come again.
    """

    timeouts: LinuxTimeouts
    state: TcpState = TcpState.NONE
    assured: bool = False
    sides: dict[str, Side] = field(default_factory=lambda: {ORIGINAL: Side(), REPLY: Side()})
    kind: str | None = None
    direction: str = ORIGINAL
    noted: Packet | None = None
    repeated: int = 0
    closing: bool = False  # there was a FIN
    crossed: bool = False  # SYNs have crossed
    challenged: bool = False  # a SYN came too late: the next ACK may be a challenge (RFC 5961), and not the last ACK

    def follow(self, segment: Packet, direction: str, *, replied: bool, left: float) -> Outcome:
        """Note a segment.  `replied`: something has come back before; `left`: the seconds that the flow has left."""
        kind = kind_of(segment)
        after = _S.CLOSE if kind == "RST" and self.state is not _S.NONE else self._by_table(kind, direction)
        if kind is None or after is None:
            return Fate.INVALID, None
        if self.state is _S.NONE:
            self._begin(kind, segment)
        if after is _S.SYN_SENT and self.state in OVER:
            if self.closing or (self.kind, self.direction) == ("RST", direction):
                return Fate.ANEW, None  # it was closed, or whoever broke it off begins again
            after = _S.IGNORED
        if after is _S.IGNORED:
            if not self._agrees_to_ignored_syn(kind, segment, direction):
                return self._ignore(kind, segment, direction)
            after = self._take_ignored_syn()
        if self._is_challenge(kind, direction):
            self.challenged = False
            return Fate.PASSES, None
        believed = False
        if kind == "RST":
            reset = self._reset(segment, direction, replied)
            if reset is None:
                return Fate.INVALID, None
            after, believed = reset
        return self._enter(after, kind, segment, direction, believed, replied, left)

    def _by_table(self, kind: str | None, direction: str) -> TcpState | None:
        return NEXT[direction].get(self.state, {}).get(kind or "")

    def _begin(self, kind: str, segment: Packet) -> None:
        """The flow's first segment: a SYN, or one from the middle of a connection."""
        if kind == "SYN":
            self.sides[ORIGINAL].begin(segment)
        else:
            self.sides[ORIGINAL].pick_up(segment)
            for side in self.sides.values():
                side.liberal = True

    def _enter(
        self, after: TcpState, kind: str, segment: Packet, direction: str, believed: bool, replied: bool, left: float
    ) -> Outcome:
        """Go to the state `after`, if the segment is `believed` or within the window."""
        if after is _S.SYN_SENT2:
            self.crossed = True
        elif after is _S.SYN_RECV and kind == "ACK" and self.crossed:
            after = _S.ESTABLISHED  # the other side's SYN,ACK went before: each has acknowledged the other's SYN
        fit = Fit.WITHIN if believed else self._fit(segment, direction)
        if fit is Fit.BEYOND:
            return Fate.INVALID, self._shortened(kind, direction, left)
        if fit is Fit.OLD:
            return Fate.PASSES, None
        if kind == "ACK" and fit is Fit.WITHIN:
            same = self.direction == direction and self.noted is not None and _alike(segment, self.noted)
            self.repeated = self.repeated + 1 if same else 0
            self.noted = segment
        self.kind, self.direction = kind, direction
        was, self.state = self.state, after
        self.closing = self.closing or (after is _S.FIN_WAIT and was is not after)
        return self._outcome(kind, was, replied)

    def _fit(self, segment: Packet, direction: str) -> Fit:
        return check(
            self.sides[direction],
            self.sides[_other(direction)],
            segment,
            reply=direction == REPLY,
            opening=self.state in (_S.SYN_SENT, _S.SYN_RECV),
            only_syn=self.state is _S.SYN_SENT,
        )

    # -- A SYN that comes too late ------------------------------------------------------------------------------------

    def _ignore(self, kind: str, segment: Packet, direction: str) -> Outcome:
        """Let a segment pass that the flow is not ready for, and see what the other side says."""
        self.kind, self.direction, self.noted = kind, direction, segment
        if kind == "SYN" and direction == ORIGINAL:
            self.crossed, self.challenged = False, self.state is _S.LAST_ACK
        return Fate.PASSES, None

    def _answers_ignored_syn(self, direction: str) -> bool:
        return self.kind == "SYN" and self.direction != direction

    def _agrees_to_ignored_syn(self, kind: str, segment: Packet, direction: str) -> bool:
        """Is this a SYN,ACK to a SYN that was ignored?  Then both ends are further on than conntrack."""
        return kind == "SYN,ACK" and self._answers_ignored_syn(direction) and segment.ack == _end(self.noted)

    def _take_ignored_syn(self) -> TcpState:
        """Catch up: a new connection has begun in the place of the old one."""
        assert self.noted is not None
        self.sides = {ORIGINAL: Side(), REPLY: Side(liberal=self.sides[REPLY].liberal)}
        self.sides[ORIGINAL].begin(self.noted)
        self.challenged = self.closing = False
        return _S.SYN_RECV

    def _is_challenge(self, kind: str, direction: str) -> bool:
        """Is this ACK the answer to a SYN that came too late (RFC 5961 section 4), and not to the last FIN?"""
        return self.challenged and self.state is _S.LAST_ACK and kind == "ACK" and self._answers_ignored_syn(direction)

    # -- RST ----------------------------------------------------------------------------------------------------------

    def _reset(self, segment: Packet, direction: str, replied: bool) -> tuple[TcpState, bool] | None:
        """The state after a RST, and whether it is believed without a look at the window; None if it is forged."""
        if self.state in ENDING:
            return _S.CLOSE, True
        after = _S.CLOSE
        before_it = self.kind, self.direction
        acked = self.sides[_other(direction)].acked
        established = self.state is _S.ESTABLISHED and self.assured
        if acked is not None and self.kind != "SYN":
            if not established and segment.seq == 0:
                return _S.CLOSE, False
            if before(segment.seq, acked):
                return None
            in_a_row = before_it == ("ACK", direction) and segment.seq == _end(self.noted)
            if not established or segment.seq == acked or in_a_row:
                return _S.CLOSE, False
            after = self.state  # in the window, but not exact: the other side will ask back (RFC 5961 section 3)
        ignored = (replied and self._answers_ignored_syn(direction)) or (not self.assured and self.kind == "ACK")
        if ignored and segment.ack == _end(self.noted):
            return after, True  # the answer to a segment that was let through
        asked_back = self.state is _S.SYN_SENT and before_it == ("ACK", REPLY)
        return after, asked_back and self.noted is not None and segment.seq == self.noted.ack

    def _shortened(self, kind: str, direction: str, left: float) -> float | None:
        """A FIN or RST each way, and one beyond the window: conntrack has lost track, so the flow gets less time."""
        if not self.assured or kind not in ("FIN", "RST"):
            return None
        if self.direction == direction or self.kind not in ("FIN", "RST"):
            self.kind, self.direction = kind, direction
            return None
        less = self.timeouts.tcp_unacknowledged
        return less if left >= 120 and left > less else None

    # -- Time ----------------------------------------------------------------------------------------------------------

    def _outcome(self, kind: str, was: TcpState, replied: bool) -> Outcome:
        """What follows from the state that has been reached."""
        idle = self._idle(kind)
        if replied:
            self.assured = self.assured or (self.state is _S.ESTABLISHED and was in (_S.SYN_RECV, _S.ESTABLISHED))
            return Fate.PASSES, idle
        if kind == "RST":
            return Fate.LAST, None  # it is the only answer, or nobody has answered: there is no connection
        if kind == "SYN" and was is _S.SYN_SENT:
            return Fate.PASSES, None  # a SYN that is sent again keeps nothing alive
        if self.state is _S.ESTABLISHED:
            idle = min(idle, self.timeouts.tcp_unacknowledged)  # picked up, and nobody has answered yet
        return Fate.PASSES, idle

    def _idle(self, kind: str) -> float:
        usual = SYN_SENT2_TIMEOUT if self.state is _S.SYN_SENT2 else getattr(self.timeouts, TIMEOUT[self.state])
        if self.repeated >= MAX_RETRANSMISSIONS and usual > self.timeouts.tcp_max_retrans:
            return self.timeouts.tcp_max_retrans
        if kind == "RST":
            return self.timeouts.tcp_close
        under_way = self.sides[ORIGINAL].unacked or self.sides[REPLY].unacked
        if under_way and usual > self.timeouts.tcp_unacknowledged:
            return self.timeouts.tcp_unacknowledged
        if (self.noted is None or not self.noted.window) and usual > self.timeouts.tcp_max_retrans:
            return self.timeouts.tcp_max_retrans
        return float(usual)


def _other(direction: str) -> str:
    return REPLY if direction == ORIGINAL else ORIGINAL


def _end(segment: Packet | None) -> int:
    """The number after a segment's last octet."""
    return add(segment.seq, segment.segment_length) if segment is not None else 0


def _alike(one: Packet, other: Packet) -> bool:
    return one.seq == other.seq and one.ack == other.ack and one.window == other.window and _end(one) == _end(other)
