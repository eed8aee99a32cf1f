"""The sending half of a TCP connection: what leaves, when, and again.

What lives here: the send sequence variables of RFC 9293 section 3.3.1, under their RFC names (the connection calls
this half `snd`, so that SND.UNA reads `snd.una`), and what stands behind them: the queue of octets, retransmission
after a timeout or duplicate ACKs, and the wait for a closed window to open.  What does not: states (`tcp.py` calls
only what the state permits), the arithmetic of waiting and of congestion (`tcp_congestion.py`), and everything that
arrives as text (`tcp_receiver.py`).  It touches no clock and no network: segments leave through `emit`.

SND.NXT is where we go on sending.  After a timeout it returns to SND.UNA and everything is sent again; `max`
remembers the highest number ever sent, which is up to where the peer may acknowledge.

Read `_send_next` first: what may be sent now.  Then `take_ack`, and then `on_timeout`.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from natsim.packet import ACK, FIN, PSH, Packet
from natsim.tcp_congestion import MAXIMUM_RTO, RTO_AFTER_LOST_SYN, NewReno, RetransmissionTimer
from natsim.tcp_patience import MAXIMUM_RETRIES, Silence
from natsim.tcp_segments import add, at_or_before, before, distance

DEFAULT_MSS = 536  # of a peer that names none, RFC 9293 section 3.7.1
MINIMUM_MSS = 48  # a peer that asks for less wants to hurt us; as Linux
MAXIMUM_WSCALE = 14  # RFC 7323 section 2.3


class Emit(Protocol):
    """Sends one segment; what it says about the other direction (ACK number, window) is the connection's business."""

    def __call__(self, flags: int, seq: int, text: bytes = b"") -> None: ...


class Sender:
    """SND: from the first octet that is not yet acknowledged to the last that the application has given us."""

    def __init__(self, iss: int, mss: int, capacity: int, silence: Silence, emit: Emit) -> None:
        self.iss = iss % (1 << 32)
        self.una = self.nxt = self.max = self.iss
        self.wnd = self.wl1 = self.wl2 = 0
        self.wscale = 0
        self.max_wnd = 0
        self.mss = mss  # what we send at most: what both can take, once the peer's SYN has told

        self.timer = RetransmissionTimer()
        self.congestion = NewReno(mss)
        self.retransmissions = 0
        self.retries = 0  # timeouts since the last progress
        self.retransmit_at: int | None = None
        self.persist_at: int | None = None
        self._persist_shift = 0
        self._probing_since: int | None = None

        self.fin_queued = False
        self._fin_sent = False
        self._capacity = capacity
        self._unacked = bytearray()  # octets from SND.UNA on: first those under way, then those not yet sent
        self._first_sent: deque[tuple[int, int]] = deque()  # (number after a segment, when it was first sent)
        self._resent_up_to = self.iss  # an ACK of numbers before this one tells nothing about the round trip
        self._silence = silence
        self._emit = emit

    # --- the handshake --------------------------------------------------------------------------------------------

    def syn_sent(self, now: int) -> None:
        """Our SYN takes a sequence number."""
        self.nxt = self.max = add(self.iss, 1)
        self._first_sent.append((self.max, now))

    def syn_repeated(self) -> None:
        self.retries += 1
        self.retransmissions += 1
        self.distrust_round_trip()

    def distrust_round_trip(self) -> None:
        """Our SYN has been sent twice: nobody can tell which of the two an ACK answers (Karn's algorithm)."""
        self._resent_up_to = self.max

    def learn(self, syn: Packet) -> None:
        """The peer's SYN, alone or with an ACK: how much it takes at once, and its window."""
        self.mss = min(self.mss, max(syn.mss or DEFAULT_MSS, MINIMUM_MSS))
        self.congestion = NewReno(self.mss)
        self.wscale = min(syn.wscale or 0, MAXIMUM_WSCALE)
        self.wnd = self.max_wnd = syn.window  # the window of a SYN is never scaled
        self.wl1, self.wl2 = syn.seq, syn.ack if syn.flags & ACK else self.iss

    def is_under_way(self, seq: int) -> bool:
        """Has the segment that begins there been sent, and not yet been acknowledged?"""
        return at_or_before(self.una, seq) and before(seq, self.max)

    def lower_mss(self, mss: int) -> bool:
        """Send no more than `mss` bytes at once from now on.  False if it was no more before."""
        if mss >= self.mss:
            return False
        self.mss = self.congestion.mss = mss
        return True

    def resend_smaller(self, now: int) -> None:
        """What is under way was too large, and is sent again in smaller segments.

        That is no sign of congestion, so the window stays as it is (RFC 8201 section 5.4).
        """
        self.nxt = add(self.una, self._resend_first(now))

    def syn_acknowledged(self, now: int) -> None:
        """The stream begins."""
        self._advance(self.max, now)
        if self.retries:
            self.timer.rto = RTO_AFTER_LOST_SYN
        self.retries = 0

    # --- the queue ------------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        return len(self._unacked) < self._capacity

    @property
    def idle(self) -> bool:
        """Nothing is under way, and no octet waits."""
        return not self._unacked and self.una == self.max

    @property
    def fin_acknowledged(self) -> bool:
        return self._fin_sent and self.una == self.max

    def put(self, data: bytes | memoryview) -> int:
        """Take octets to send.  Returns how many there was room for."""
        room = self._capacity - len(self._unacked)
        taken = memoryview(data)[: max(room, 0)]
        self._unacked += taken
        return len(taken)

    def clear(self) -> None:
        """The connection is over."""
        self._unacked.clear()
        self._first_sent.clear()

    # --- sending --------------------------------------------------------------------------------------------------

    def transmit(self, now: int) -> None:
        """Send all that may be sent now."""
        while self._send_next(now):
            pass
        # Something waits and nothing is under way: no ACK will ever come to set us going, so probe the window.
        if self.una == self.max and (self._unacked or (self.fin_queued and not self._fin_sent)):
            if self.persist_at is None:
                self.persist_at = now + self.timer.rto
        else:
            self.persist_at = self._probing_since = None
            self._persist_shift = 0

    def _send_next(self, now: int, override: bool = False) -> bool:
        """Send one segment at SND.NXT if both windows allow it: the peer's and the network's."""
        offset = distance(self.nxt, self.una)
        unsent = len(self._unacked) - offset  # -1 when the FIN has been sent as well
        allowed = self.wnd - offset
        size = min(unsent, self.mss, allowed, self.congestion.window - offset)
        fin = self.fin_queued and size == unsent >= 0 and allowed > size
        if size <= 0 and not fin:
            return False
        # Silly window avoidance (RFC 9293 section 3.8.6.2.1): a small segment only if it is the last one, or if
        # the peer's window is just that small.
        if size < min(self.mss, unsent, self.max_wnd // 2) and not override:
            return False
        self._send_text(self.nxt, size, fin, now)
        self.nxt = add(self.nxt, size + fin)
        return True

    def _resend_first(self, now: int) -> int:
        """Send the first unacknowledged segment again.  Returns how many sequence numbers it takes."""
        size = min(self.mss, len(self._unacked), self._flight())
        fin = self._fin_sent and size == len(self._unacked)
        self._send_text(self.una, size, fin, now)
        return size + fin

    def _send_text(self, seq: int, size: int, fin: bool, now: int) -> None:
        offset = distance(seq, self.una)
        text = bytes(self._unacked[offset : offset + size])
        flags = ACK
        if fin:
            flags |= FIN
            self._fin_sent = True
        if offset + size == len(self._unacked):
            flags |= PSH
        end = add(seq, size + fin)
        if before(seq, self.max):
            self.retransmissions += 1
            if before(self._resent_up_to, end):
                self._resent_up_to = end
        if before(self.max, end):
            self.max = end
            self._first_sent.append((end, now))
        if self.retransmit_at is None:  # RFC 6298 (5.1)
            self.retransmit_at = now + self.timer.rto
        self._emit(flags, seq, text)

    # --- an ACK arrives -------------------------------------------------------------------------------------------

    def acknowledges_something(self, ack: int) -> bool:
        """SND.UNA < SEG.ACK =< the highest number sent."""
        return before(self.una, ack) and at_or_before(ack, self.max)

    def is_credible(self, ack: int) -> bool:
        """Neither of what is not yet sent, nor from too long ago (RFC 5961 section 5)."""
        return at_or_before(ack, self.max) and distance(self.una, ack) <= self.max_wnd

    def take_ack(self, packet: Packet, now: int) -> None:
        """A credible ACK of the stream: it moves SND.UNA, or hints at a loss, or only tells the window."""
        if before(self.una, packet.ack):
            flight = self._flight()
            acked = distance(packet.ack, self.una)
            self._advance(packet.ack, now)
            self.retries = 0
            del self._unacked[:acked]  # a FIN in `acked` has no octet here, but there is nothing behind it
            if self.congestion.on_ack(acked, flight):
                self._resend_first(now)
        elif self._is_duplicate_ack(packet) and self.congestion.on_duplicate_ack(self._flight()):
            self._resend_first(now)

    def update_window(self, packet: Packet) -> None:
        """Take the window from the newest segment only, not from one that arrives late."""
        newer = before(self.wl1, packet.seq)
        if newer or (self.wl1 == packet.seq and at_or_before(self.wl2, packet.ack)):
            self.wnd = packet.window << self.wscale
            self.wl1, self.wl2 = packet.seq, packet.ack
            self.max_wnd = max(self.max_wnd, self.wnd)

    def _flight(self) -> int:
        return distance(self.max, self.una)

    def _is_duplicate_ack(self, packet: Packet) -> bool:
        """RFC 5681 section 2."""
        return (
            packet.ack == self.una
            and self.una != self.max
            and packet.segment_length == 0
            and packet.window << self.wscale == self.wnd
        )

    def _advance(self, ack: int, now: int) -> None:
        """SND.UNA advances to `ack`."""
        self._measure_round_trip(ack, now)
        self.una = ack
        if before(self.nxt, ack):
            self.nxt = ack
        if before(self._resent_up_to, ack):
            self._resent_up_to = ack
        self.retransmit_at = None if ack == self.max else now + self.timer.rto  # RFC 6298 (5.2), (5.3)

    def _measure_round_trip(self, ack: int, now: int) -> None:
        sent_at = None
        while self._first_sent and at_or_before(self._first_sent[0][0], ack):
            sent_at = self._first_sent.popleft()[1]
        if sent_at is not None and at_or_before(self._resent_up_to, self.una):  # Karn's algorithm
            self.timer.sample(now - sent_at)

    # --- nothing arrives ------------------------------------------------------------------------------------------

    def user_timeout_at(self, limit: int | None) -> int | None:
        """RFC 5482: the limit counts from when the oldest unacknowledged segment was first sent.

        As in Linux also from when a closed window was first probed, since no segment can leave then.
        """
        if limit is None:
            return None
        if self._first_sent:
            return self._first_sent[0][1] + limit
        return None if self._probing_since is None else self._probing_since + limit

    def on_timeout(self, now: int) -> bool:
        """`retransmit_at` has come: send the first segment again, RFC 6298 (5.4) to (5.6).  True: no hope left."""
        if self.retries == MAXIMUM_RETRIES:
            return True
        self.retries += 1
        self.timer.back_off()
        self.congestion.on_timeout(self._flight())
        self.retransmit_at = now + self.timer.rto
        self.nxt = add(self.una, self._resend_first(now))
        return False

    def on_persist(self, now: int) -> bool:
        """`persist_at` has come: use a window too small to be worth a segment, probe a closed one.  True: no hope left.

        RFC 9293 sections 3.8.6.2.1 and 3.8.6.1.
        """
        if self._send_next(now, override=True):
            self.persist_at = self._probing_since = None
            return False
        if self._probing_since is None:
            self._probing_since = now
        self.probe(now)
        self._persist_shift += 1
        self.persist_at = now + min(self.timer.rto << self._persist_shift, MAXIMUM_RTO)
        return self._silence.probes > MAXIMUM_RETRIES

    def probe(self, now: int) -> None:
        """Send the number before SND.NXT: the peer finds that unacceptable, and answers if it is alive."""
        self._silence.probed(now)
        self._emit(ACK, add(self.nxt, -1))
