"""The receiving half of a TCP connection: what has arrived, what may still come, and when to acknowledge it.

What lives here: the receive sequence variables of RFC 9293 section 3.3.1, under their RFC names (the connection
calls this half `rcv`, so that RCV.NXT reads `rcv.nxt`), and what stands behind them: the octets that wait for the
application, those that came too early, the window, and the ACK that is owed.  What does not: states, and sending;
`tcp.py` asks what is owed and transmits it.  `Reassembly` itself is in `tcp_segments.py`.

Read `is_acceptable` first: what may come in.  Then `take`, and then the window.
"""

from __future__ import annotations

from typing import NamedTuple

from natsim.packet import FIN, SYN, Packet
from natsim.tcp_congestion import MILLISECOND
from natsim.tcp_segments import Reassembly, add, at_or_before, distance
from natsim.tcp_sender import MAXIMUM_WSCALE

DELAYED_ACK = 40 * MILLISECOND


class Piece(NamedTuple):
    """What of a segment lies in the window."""

    start: int  # how far it begins behind RCV.NXT: more than 0 if something is missing before it
    text: bytes
    fin: bool


class Receiver:
    """RCV: up to where everything has arrived, and how much more the peer may send."""

    def __init__(self, mss: int, capacity: int) -> None:
        self.irs = self.nxt = 0
        self.wnd = capacity  # what the peer has been promised, seen from RCV.NXT
        self.wscale = min(max(capacity.bit_length() - 16, 0), MAXIMUM_WSCALE)
        self.mss = mss  # a full segment, for the rules that count in segments
        self.scaling = True  # offer the window scale option; False once the peer's SYN has come without it

        self.ack_at: int | None = None  # an ACK is owed, at the latest by then
        self.ack_cause: int | None = None
        self._last_ack = 0  # the RCV.NXT that the peer was last told

        self.at_fin = False  # RCV.NXT has passed the peer's FIN
        self._fin: int | None = None  # the sequence number of that FIN, once seen
        self._capacity = capacity
        self._received = bytearray()  # in order, not yet read by the application
        self._position = 0  # how many octets have arrived in order
        self._early = Reassembly(capacity)

    def learn(self, syn: Packet, mss: int) -> None:
        """The peer's SYN, alone or with an ACK: where it begins to count, and whether it can scale windows."""
        self.irs = syn.seq
        self.nxt = self._last_ack = add(syn.seq, 1)
        self.mss = mss
        if syn.wscale is None:  # scaling needs the option in both SYNs, RFC 7323 section 2.2
            self.scaling = False
            self.wscale = 0

    # --- the application reads ------------------------------------------------------------------------------------

    @property
    def has_text(self) -> bool:
        return bool(self._received)

    def read(self, limit: int) -> bytes:
        data = bytes(self._received[:limit])
        del self._received[:limit]
        return data

    def peek(self, limit: int) -> bytes:
        return bytes(self._received[:limit])

    # --- a segment arrives ----------------------------------------------------------------------------------------

    def is_acceptable(self, packet: Packet) -> bool:
        """Does it touch the receive window?

        Gentler than table 6 of RFC 9293 in two points: an empty segment may sit on the window's right edge (as
        Linux; the ACK of a sender that has filled our window sits there), and what begins at RCV.NXT always
        passes, since its ACK counts even if the window is closed and its text is cut off.
        """
        start = distance(packet.seq, self.nxt)
        length = packet.segment_length
        if length == 0:
            return 0 <= start <= self._room()
        return start == 0 or (start < self._room() and start + length > 0)

    def without_known_syn(self, packet: Packet, snd_wscale: int) -> Packet:
        """Simultaneous open: a SYN,ACK carries the SYN that has come before.  Trim it; what is left is an ACK.

        Without this the segment would count as old, and both sides would challenge each other for ever.
        """
        trimmed = packet.rewritten()
        trimmed.flags &= ~SYN
        trimmed.seq = self.nxt
        trimmed.window >>= snd_wscale  # the window of a SYN is not scaled, that of an ACK is
        return trimmed

    def inside_window(self, packet: Packet) -> Piece:
        """Cut off what lies outside."""
        start = distance(packet.seq, self.nxt)
        end = self._room() if self._fin is None else distance(self._fin, self.nxt)
        text = packet.payload
        fin = bool(packet.flags & FIN) and start + len(text) < self._room()
        if start < 0 or start + len(text) > end:
            text = text[max(-start, 0) : max(end - start, 0)]
        return Piece(max(start, 0), text, fin)

    def take(self, piece: Piece, packet: Packet, now: int) -> bool:
        """Keep a piece of `packet`.  False: something is missing before it."""
        start, text, fin = piece
        if fin and self._fin is None:
            self._fin = add(self.nxt, start + len(text))
        if start > 0:
            if text:
                self._early.put(self._position + start, text)
            return False
        fills_gap = bool(self._early)
        if text:
            self._append(text)
        if fills_gap:
            self._append(self._early.take(self._position))
        if self._fin is not None and at_or_before(self._fin, self.nxt):
            self.at_fin = True
            self.nxt = add(self.nxt, 1)
        # Delayed ACK (RFC 9293 section 3.8.6.3): every second full segment, or if anything is out of the ordinary.
        two_segments = distance(self.nxt, self._last_ack) >= 2 * self.mss
        cut = len(text) + fin < packet.segment_length
        at_once = two_segments or fills_gap or cut or self.at_fin
        self.owe_ack(packet.uid, now if at_once else now + DELAYED_ACK)
        return True

    def _append(self, text: bytes) -> None:
        self._received += text
        self._position += len(text)
        self.nxt = add(self.nxt, len(text))
        self.wnd = max(self.wnd - len(text), 0)

    # --- what to tell the peer ------------------------------------------------------------------------------------

    def owe_ack(self, cause: int, deadline: int) -> None:
        """An ACK is to go out by then, alone or with data."""
        self.ack_cause = cause
        if self.ack_at is None or deadline < self.ack_at:
            self.ack_at = deadline

    def ack_field(self) -> int:
        """The ACK number of a segment that leaves now, which pays the ACK that is owed."""
        self.ack_at = None
        self._last_ack = self.nxt
        return self.nxt

    def window_field(self, flags: int) -> int:
        """The window of a segment that leaves now with these flags."""
        if self._window_may_grow():
            self.wnd = self._room()
        shift = 0 if flags & SYN else self.wscale
        return min(self.wnd >> shift, 0xFFFF)

    @property
    def has_reopened(self) -> bool:
        """A window that was closed or small can be opened enough to tell the peer at once.

        As Linux: when it can at least be doubled.  Otherwise the next ACK tells in time.
        """
        return self._window_may_grow() and self._room() >= 2 * self.wnd

    def _room(self) -> int:
        """How many octets from RCV.NXT on we have space for."""
        return self._capacity - len(self._received)

    def _window_may_grow(self) -> bool:
        """Silly window avoidance (RFC 9293 section 3.8.6.2.2): announce a wider window in sizable steps only."""
        return self._room() - self.wnd >= min(self._capacity // 2, self.mss)
