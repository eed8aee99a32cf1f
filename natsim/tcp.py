"""One TCP connection, without any input or output (RFC 9293).

Theory of operation
===================

`TcpConnection` is what RFC 9293 calls a TCB with the rules that act on it.  It does not touch a clock, a socket,
a network or a random number: whoever drives it (a simulated host) tells it what happened and at what time, and
afterwards does two things: it transmits the segments in `outbox`, and sees to it that `on_timer` is called at
`next_timer`.  Hence the same inputs always give the same segments, and a test needs no network.

    what happens                          call
    the application does something        open, send, receive, shutdown, close, abort
    a segment arrives                     segment_in
    an ICMP error about us arrives        icmp_in
    the time `next_timer` has come        on_timer

The text follows the RFC: variables have its names (SND.UNA is `snd_una`), and `_segment_synchronized` does
its steps in its order.  Read that one first, then `_send_next` (what may be sent now), then the timers at the end.
Three things that the RFC leaves to the reader:

* Sequence numbers live on a circle of 2**32; `tcp_segments` has the arithmetic, and the queue of early segments.
* SND.NXT is where we go on sending.  After a timeout it returns to SND.UNA and everything is sent again;
  `snd_max` remembers the highest number ever sent, which is up to where the peer may acknowledge.
* How long to wait and how much to keep under way is `tcp_congestion`'s business.

What a NAT lesson needs is exact: simultaneous open (two SYNs that cross, RFC 9293 figure 8) goes segment by
segment as Linux 6.18 does it, and RST, ICMP errors and the times of repeated SYNs are as there.

Not here, on purpose: SACK, ECN, TCP Fast Open, timestamps and PAWS, pacing, CUBIC, urgent data, Nagle's
algorithm (always off, as with TCP_NODELAY), path MTU discovery.  Listening sockets, ports and the choice of
initial sequence numbers belong to the host (`host.py`).
"""

from __future__ import annotations

import enum
import errno
from collections import deque

from natsim.packet import ACK, FIN, PSH, RST, SYN, TCP, Endpoint, Packet
from natsim.tcp_congestion import (
    MAXIMUM_RTO,
    MILLISECOND,
    RTO_AFTER_LOST_SYN,
    SECOND,
    NewReno,
    RetransmissionTimer,
)
from natsim.tcp_segments import Reassembly, add, at_or_before, before, distance

#: When a SYN is sent again, in nanoseconds after the first.  Linux since 6.5 repeats it four times at the same
#: distance (tcp_syn_linear_timeouts) and then six times at doubling distances (tcp_syn_retries): ten repeats.
LINUX_SYN_SCHEDULE = tuple(t * SECOND for t in (1, 2, 3, 4, 5, 7, 11, 19, 35, 67))
CLASSIC_SYN_SCHEDULE = tuple(t * SECOND for t in (1, 3, 7, 15, 31, 63))
SYN_ACK_SCHEDULE = tuple(t * SECOND for t in (1, 3, 7, 15, 31))

DEFAULT_MSS = 536  # of a peer that names none, RFC 9293 section 3.7.1
MINIMUM_MSS = 48  # a peer that asks for less wants to hurt us; as Linux
MAXIMUM_WSCALE = 14  # RFC 7323 section 2.3
DELAYED_ACK = 40 * MILLISECOND
TIME_WAIT_PERIOD = 60 * SECOND  # RFC 9293 says 4 minutes (2 MSL); Linux says 60 s, also for an orphaned FIN-WAIT-2
CHALLENGE_ACK_INTERVAL = 500 * MILLISECOND  # RFC 5961 section 7; Linux tcp_invalid_ratelimit
MAXIMUM_RETRIES = 15  # Linux tcp_retries2

#: What an ICMP error does to a connection that is being opened: (type, code) -> errno, as Linux.
ICMP_ERRORS = {
    (3, 0): errno.ENETUNREACH,
    (3, 1): errno.EHOSTUNREACH,
    (3, 2): errno.ENOPROTOOPT,
    (3, 3): errno.ECONNREFUSED,
    (3, 9): errno.ENETUNREACH,
    (3, 10): errno.EHOSTUNREACH,
    (3, 13): errno.EHOSTUNREACH,
    (11, 0): errno.EHOSTUNREACH,
}


class State(enum.Enum):
    """RFC 9293 section 3.3.2.  LISTEN is missing: listening is the host's business."""

    CLOSED = "CLOSED"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"


_HANDSHAKE = frozenset({State.SYN_SENT, State.SYN_RECEIVED})
_PEER_MAY_SEND = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})
_WE_MAY_SEND = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK})


def reset_for(packet: Packet) -> Packet | None:
    """The RST by which a host answers a segment that belongs to no connection (RFC 9293 section 3.10.7.1)."""
    if packet.flags & RST:
        return None
    if packet.flags & ACK:
        flags, seq, ack = RST, packet.ack, 0
    else:
        flags, seq, ack = RST | ACK, 0, add(packet.seq, packet.segment_length)
    return Packet(TCP, packet.dst, packet.src, flags=flags, seq=seq, ack=ack, cause=packet.uid)


class TcpConnection:
    """One connection, from its first SYN to CLOSED.  The module's docstring tells how to drive it.

    `error` is the errno that ended it, and stays; None after an orderly end.  Three settings may be changed at
    any time: `keepalive` is (idle, interval, count) as in TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT, and
    `user_timeout` limits how long sent data may stay unacknowledged (RFC 5482), both in nanoseconds;
    `syn_schedule` says when SYNs are repeated.
    """

    def __init__(
        self,
        local: Endpoint,
        remote: Endpoint,
        isn: int,
        *,
        mss: int = 1460,
        receive_buffer: int = 1 << 20,
        send_buffer: int = 1 << 18,
    ) -> None:
        self.local = local
        self.remote = remote
        self.state = State.CLOSED
        self.error: int | None = None
        self.passive = False  # opened by the peer's SYN (RFC 9293 MUST-11)
        self.outbox: list[Packet] = []
        self.retransmissions = 0
        self.keepalive: tuple[int, int, int] | None = None
        self.user_timeout: int | None = None
        self.syn_schedule = LINUX_SYN_SCHEDULE

        # The send sequence variables of RFC 9293 section 3.3.1, and what stands behind them.
        self.iss = isn % (1 << 32)
        self.snd_una = self.snd_nxt = self.snd_max = self.iss
        self.snd_wnd = self.snd_wl1 = self.snd_wl2 = 0
        self.snd_wscale = 0
        self.max_snd_wnd = 0
        self.mss = mss  # what we send at most: what both can take, once the peer's SYN has told
        self._own_mss = mss
        self.timer = RetransmissionTimer()
        self.congestion = NewReno(mss)
        self._send_buffer = send_buffer
        self._unacked = bytearray()  # octets from SND.UNA on: first those under way, then those not yet sent
        self._fin_queued = False
        self._fin_sent = False
        self._first_sent: deque[tuple[int, int]] = deque()  # (number after a segment, when it was first sent)
        self._resent_up_to = self.iss  # an ACK of numbers before this one tells nothing about the round trip

        # The receive sequence variables, and what stands behind them.
        self.irs = self.rcv_nxt = 0
        self.rcv_wnd = receive_buffer  # what the peer has been promised, seen from RCV.NXT
        self.rcv_wscale = min(max(receive_buffer.bit_length() - 16, 0), MAXIMUM_WSCALE)
        self._scaling = True  # offer the window scale option; False once the peer's SYN has come without it
        self._receive_buffer = receive_buffer
        self._received = bytearray()  # in order, not yet read by the application
        self._position = 0  # how many octets have arrived in order
        self._early = Reassembly(receive_buffer)
        self._peer_fin: int | None = None  # the sequence number of the peer's FIN, once seen
        self._at_peer_fin = False  # RCV.NXT has passed it

        self._was_established = False
        self._application_gone = False
        self._opened_at = 0
        self._retries = 0  # timeouts since the last progress
        self._probes = 0  # keepalive or window probes since the peer was last heard
        self._persist_shift = 0
        self._retransmit_at: int | None = None
        self._persist_at: int | None = None
        self._ack_at: int | None = None  # an ACK is owed, at the latest by then
        self._ack_cause: int | None = None
        self._last_ack = 0  # the RCV.NXT that the peer was last told
        self._end_at: int | None = None  # end of TIME-WAIT, or of an orphan's FIN-WAIT-2
        self._heard_at = 0
        self._probed_at = 0
        self._challenged_at: int | None = None

    def __repr__(self) -> str:
        return f"<TcpConnection {self.local} > {self.remote} {self.state.value}>"

    # --- opening --------------------------------------------------------------------------------------------------

    def open(self, now: int) -> None:
        """Active open (RFC 9293 section 3.10.1): send a SYN."""
        self.state = State.SYN_SENT
        self._begin_handshake(now)

    @classmethod
    def accept(
        cls,
        syn: Packet,
        isn: int,
        now: int,
        *,
        mss: int = 1460,
        receive_buffer: int = 1 << 20,
        send_buffer: int = 1 << 18,
    ) -> TcpConnection:
        """Passive open (RFC 9293 section 3.10.7.2): answer a SYN that reached a listening socket."""
        connection = cls(syn.dst, syn.src, isn, mss=mss, receive_buffer=receive_buffer, send_buffer=send_buffer)
        connection.passive = True
        connection.syn_schedule = SYN_ACK_SCHEDULE
        connection._learn_from_syn(syn)
        connection.state = State.SYN_RECEIVED
        connection._begin_handshake(now, cause=syn.uid)
        return connection

    def _begin_handshake(self, now: int, cause: int | None = None) -> None:
        self._opened_at = self._heard_at = now
        self.snd_nxt = self.snd_max = add(self.iss, 1)  # the SYN takes a sequence number
        self._first_sent.append((self.snd_max, now))
        self._retransmit_at = now + self._syn_deadline()
        self._send_syn(cause)

    def _syn_deadline(self) -> int:
        """When the next SYN is due, after the first one; when there is none left, when to give up."""
        schedule = self.syn_schedule
        if self._retries < len(schedule):
            return schedule[self._retries]
        return schedule[-1] + 2 * (schedule[-1] - schedule[-2])

    def _learn_from_syn(self, syn: Packet) -> None:
        """The peer's SYN, alone or with an ACK: its sequence number, window and options."""
        self.irs = syn.seq
        self.rcv_nxt = self._last_ack = add(syn.seq, 1)
        self.mss = min(self.mss, max(syn.mss or DEFAULT_MSS, MINIMUM_MSS))
        self.congestion = NewReno(self.mss)
        if syn.wscale is None:  # scaling needs the option in both SYNs, RFC 7323 section 2.2
            self._scaling = False
            self.rcv_wscale = 0
        else:
            self.snd_wscale = min(syn.wscale, MAXIMUM_WSCALE)
        self.snd_wnd = self.max_snd_wnd = syn.window  # the window of a SYN is never scaled
        self.snd_wl1, self.snd_wl2 = syn.seq, syn.ack if syn.flags & ACK else self.iss

    def _enter_established(self) -> None:
        self.state = State.ESTABLISHED
        self._was_established = True
        if self._retries:
            self.timer.rto = RTO_AFTER_LOST_SYN
        self._retries = 0
        self._retransmit_at = None
        if self._fin_queued:
            self.state = State.FIN_WAIT_1

    # --- the application's side -----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Nothing is left to do: the driver may forget this connection (or has not opened it yet)."""
        return self.state is State.CLOSED

    @property
    def connected(self) -> bool:
        return self._was_established and self.error is None

    @property
    def at_eof(self) -> bool:
        """The peer has finished, and everything it sent has been read."""
        return self._at_peer_fin and not self._received

    @property
    def readable(self) -> bool:
        return bool(self._received) or self.at_eof or self.error is not None

    @property
    def writable(self) -> bool:
        if self.error is not None:
            return True
        room = len(self._unacked) < self._send_buffer
        return room and self._was_established and not self._fin_queued and not self.closed

    def send(self, data: bytes | memoryview, now: int) -> int:
        """Take octets to send.  Returns how many; 0 says that the buffer is full.  EPIPE after `shutdown`."""
        if self._fin_queued or self.closed:
            raise BrokenPipeError(errno.EPIPE, "the connection is shut down for sending")
        room = self._send_buffer - len(self._unacked)
        taken = memoryview(data)[: max(room, 0)]
        self._unacked += taken
        self._transmit(now)
        return len(taken)

    def receive(self, limit: int, now: int) -> bytes:
        """Up to `limit` octets that have arrived; b"" if there are none."""
        data = bytes(self._received[:limit])
        del self._received[:limit]
        # Tell the peer when this has reopened a window that was closed or small (RFC 9293 section 3.8.6.2.2), as
        # Linux does: when it can at least be doubled.  Otherwise the next ACK tells in time.
        if data and self.state in _PEER_MAY_SEND and self._window_may_grow() and self._room() >= 2 * self.rcv_wnd:
            self._send_ack()
        return data

    def shutdown(self, now: int) -> None:
        """Half-close: a FIN follows the queued data (RFC 9293 section 3.10.4)."""
        if self._fin_queued or self.closed:
            return
        self._fin_queued = True
        if self.state is State.ESTABLISHED:
            self.state = State.FIN_WAIT_1
        elif self.state is State.CLOSE_WAIT:
            self.state = State.LAST_ACK
        self._transmit(now)

    def close(self, now: int) -> None:
        """The application is done with both directions.

        Data that it has not read, or that comes from now on, is answered with RST: the peer must learn that
        nobody reads it (RFC 9293 section 3.6.1, MUST-17).
        """
        self._application_gone = True
        if self.state is State.SYN_SENT:
            self._enter_closed()
        elif self._received:
            self.abort(now)
        else:
            self.shutdown(now)
            if self.state is State.FIN_WAIT_2:
                self._end_at = now + TIME_WAIT_PERIOD

    def abort(self, now: int) -> None:
        """End it at once (RFC 9293 section 3.10.5); a peer that still holds the connection gets a RST."""
        if self.state not in (State.CLOSED, State.SYN_SENT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT):
            self._emit(RST | ACK, self.snd_max)
        self._enter_closed()

    def may_reuse(self, syn: Packet) -> bool:
        """May this SYN begin a new connection in place of this one in TIME-WAIT (RFC 9293 section 3.6.1, MAY-2)?"""
        return self.state is State.TIME_WAIT and syn.is_initial_syn and before(self.rcv_nxt, syn.seq)

    def _enter_closed(self) -> None:
        self.state = State.CLOSED
        self._unacked.clear()
        self._first_sent.clear()

    def _fail(self, error: int) -> None:
        """The connection dies.  What has arrived can still be read."""
        self.error = error
        self._enter_closed()

    # --- a segment arrives (RFC 9293 section 3.10.7) --------------------------------------------------------------

    def segment_in(self, packet: Packet, now: int) -> None:
        """A segment from `remote` to `local` has arrived."""
        self._heard_at = now
        self._probes = 0
        if self.state is State.CLOSED:
            self._refuse(packet)
        elif self.state is State.SYN_SENT:
            self._segment_in_syn_sent(packet, now)
        else:
            self._segment_synchronized(packet, now)

    def _refuse(self, packet: Packet) -> None:
        if reset := reset_for(packet):
            self.outbox.append(reset)

    def _segment_in_syn_sent(self, packet: Packet, now: int) -> None:
        """RFC 9293 section 3.10.7.3."""
        has_ack = bool(packet.flags & ACK)
        if has_ack and not self._acknowledges_something(packet):  # first: it answers something else
            self._refuse(packet)
        elif packet.flags & RST:  # second: believe a RST only if it proves to have seen our SYN
            if has_ack:
                self._fail(errno.ECONNREFUSED)
        elif packet.flags & SYN:  # fourth (the third is IP security)
            self._learn_from_syn(packet)
            if has_ack:
                self._acknowledged(packet.ack, now)
                self._enter_established()
                self._send_ack(packet.uid)
                self._transmit(now)
            else:  # simultaneous open: the SYNs have crossed, figure 8
                self.state = State.SYN_RECEIVED
                self._resent_up_to = self.snd_max
                self._send_syn(packet.uid)

    def _segment_synchronized(self, packet: Packet, now: int) -> None:
        """RFC 9293 section 3.10.7.4: SYN-RECEIVED and every later state."""
        crossed = self.state is State.SYN_RECEIVED and packet.flags & SYN and packet.seq == self.irs
        if crossed:
            if not packet.flags & ACK:  # the peer repeats its SYN: our SYN,ACK may be lost
                if self._may_challenge(now):
                    self._send_syn(packet.uid)
                return
            packet = self._without_known_syn(packet)

        # First, is it in the window?
        if not self._is_acceptable(packet):
            if packet.flags & RST:
                return
            if self.state is State.TIME_WAIT and packet.flags & FIN:  # our last ACK was lost
                self._end_at = now + TIME_WAIT_PERIOD
            self._challenge(packet, now)
            return
        # Second, RST.  Only the exact number counts, so that nobody resets by guessing (RFC 5961 section 3).
        if packet.flags & RST:
            if packet.seq == self.rcv_nxt:
                self._reset_by_peer()
            else:
                self._challenge(packet, now)
            return
        # Fourth, SYN.  An honest peer that has forgotten us answers the challenge with a RST (RFC 5961 section 4).
        if packet.flags & SYN:
            self._challenge(packet, now)
            return
        # Fifth, ACK.
        if not packet.flags & ACK or not self._take_ack(packet, now):
            return
        if crossed:
            self._owe_ack(packet.uid, now)
        # Seventh and eighth, text and FIN.
        if packet.segment_length:
            self._take_text(packet, now)
        self._transmit(now)
        self._send_owed_ack(now)

    def _without_known_syn(self, packet: Packet) -> Packet:
        """Simultaneous open: a SYN,ACK carries the SYN that has come before.  Trim it; what is left is an ACK.

        Without this the segment would count as old, and both sides would challenge each other for ever.
        """
        trimmed = packet.rewritten()
        trimmed.flags &= ~SYN
        trimmed.seq = self.rcv_nxt
        trimmed.window >>= self.snd_wscale  # the window of a SYN is not scaled, that of an ACK is
        return trimmed

    def _acknowledges_something(self, packet: Packet) -> bool:
        """SND.UNA < SEG.ACK =< the highest number sent."""
        return before(self.snd_una, packet.ack) and at_or_before(packet.ack, self.snd_max)

    def _is_acceptable(self, packet: Packet) -> bool:
        """Does it touch the receive window?

        Gentler than table 6 of RFC 9293 in two points: an empty segment may sit on the window's right edge (as
        Linux; the ACK of a sender that has filled our window sits there), and what begins at RCV.NXT always
        passes, since its ACK counts even if the window is closed and its text is cut off.
        """
        start = distance(packet.seq, self.rcv_nxt)
        length = packet.segment_length
        if length == 0:
            return 0 <= start <= self._room()
        return start == 0 or (start < self._room() and start + length > 0)

    def _reset_by_peer(self) -> None:
        if self.state in (State.CLOSING, State.LAST_ACK, State.TIME_WAIT):
            self._enter_closed()
        elif self.state is State.SYN_RECEIVED and not self.passive:
            self._fail(errno.ECONNREFUSED)
        else:
            self._fail(errno.ECONNRESET)

    def _challenge(self, packet: Packet, now: int) -> None:
        """Say what we expect.  Empty segments get this rarely, lest two ends answer each other for ever."""
        if packet.payload or self._may_challenge(now):
            self._send_ack(packet.uid)

    def _may_challenge(self, now: int) -> bool:
        if self._challenged_at is not None and now < self._challenged_at + CHALLENGE_ACK_INTERVAL:
            return False
        self._challenged_at = now
        return True

    # --- fifth, ACK -----------------------------------------------------------------------------------------------

    def _take_ack(self, packet: Packet, now: int) -> bool:
        """False: the ACK field is absurd, the segment is not to be believed."""
        if self.state is State.SYN_RECEIVED:
            if not self._acknowledges_something(packet):
                self._refuse(packet)
                return False
            self._acknowledged(packet.ack, now)
            self._enter_established()
        elif before(self.snd_max, packet.ack) or distance(self.snd_una, packet.ack) > self.max_snd_wnd:
            self._challenge(packet, now)  # not yet sent, or too old (RFC 5961 section 5)
            return False
        elif before(self.snd_una, packet.ack):
            self._acknowledged(packet.ack, now)
        elif self._is_duplicate_ack(packet) and self.congestion.on_duplicate_ack(self._flight()):
            self._resend_first(now)
        self._update_send_window(packet)
        self._check_fin_acknowledged(now)
        return True

    def _flight(self) -> int:
        return distance(self.snd_max, self.snd_una)

    def _is_duplicate_ack(self, packet: Packet) -> bool:
        """RFC 5681 section 2."""
        return (
            packet.ack == self.snd_una
            and self.snd_una != self.snd_max
            and packet.segment_length == 0
            and packet.window << self.snd_wscale == self.snd_wnd
        )

    def _acknowledged(self, ack: int, now: int) -> None:
        """SND.UNA advances to `ack`."""
        flight = self._flight()
        acked = distance(ack, self.snd_una)
        self._measure_round_trip(ack, now)
        self.snd_una = ack
        if before(self.snd_nxt, ack):
            self.snd_nxt = ack
        if before(self._resent_up_to, ack):
            self._resent_up_to = ack
        self._retransmit_at = None if ack == self.snd_max else now + self.timer.rto  # RFC 6298 (5.2), (5.3)
        if self.state in _HANDSHAKE:
            return  # it was the SYN, which is no octet of the stream
        self._retries = 0
        del self._unacked[:acked]  # a FIN in `acked` has no octet here either; there is nothing behind it
        if self.congestion.on_ack(acked, flight):
            self._resend_first(now)

    def _measure_round_trip(self, ack: int, now: int) -> None:
        sent_at = None
        while self._first_sent and at_or_before(self._first_sent[0][0], ack):
            sent_at = self._first_sent.popleft()[1]
        if sent_at is not None and at_or_before(self._resent_up_to, self.snd_una):  # Karn's algorithm
            self.timer.sample(now - sent_at)

    def _update_send_window(self, packet: Packet) -> None:
        """Take the window from the newest segment only, not from one that arrives late."""
        newer = before(self.snd_wl1, packet.seq)
        if newer or (self.snd_wl1 == packet.seq and at_or_before(self.snd_wl2, packet.ack)):
            self.snd_wnd = packet.window << self.snd_wscale
            self.snd_wl1, self.snd_wl2 = packet.seq, packet.ack
            self.max_snd_wnd = max(self.max_snd_wnd, self.snd_wnd)

    def _check_fin_acknowledged(self, now: int) -> None:
        if not self._fin_sent or self.snd_una != self.snd_max:
            return
        if self.state is State.FIN_WAIT_1:
            self.state = State.FIN_WAIT_2
            if self._application_gone:
                self._end_at = now + TIME_WAIT_PERIOD
        elif self.state is State.CLOSING:
            self._enter_time_wait(now)
        elif self.state is State.LAST_ACK:
            self._enter_closed()

    def _enter_time_wait(self, now: int) -> None:
        self.state = State.TIME_WAIT
        self._end_at = now + TIME_WAIT_PERIOD

    # --- seventh and eighth, text and FIN -------------------------------------------------------------------------

    def _take_text(self, packet: Packet, now: int) -> None:
        if self.state not in _PEER_MAY_SEND:
            return
        start, text, fin = self._inside_window(packet)
        if text and self._application_gone:  # nobody will read it
            self._emit(RST, packet.ack, cause=packet.uid)
            self._enter_closed()
            return
        if fin and self._peer_fin is None:
            self._peer_fin = add(self.rcv_nxt, start + len(text))
        if start > 0:  # a gap: keep it, and tell at once with a duplicate ACK (RFC 5681 section 4.2)
            if text:
                self._early.put(self._position + start, text)
            self._send_ack(packet.uid)
            return
        fills_gap = bool(self._early)
        if text:
            self._append(text)
        if fills_gap:
            self._append(self._early.take(self._position))
        if self._peer_fin is not None and at_or_before(self._peer_fin, self.rcv_nxt):
            self._take_fin(now)
        # Delayed ACK (RFC 9293 section 3.8.6.3): every second full segment, or if anything is out of the ordinary.
        two_segments = distance(self.rcv_nxt, self._last_ack) >= 2 * self.mss
        cut = len(text) + fin < packet.segment_length
        at_once = two_segments or fills_gap or cut or self._at_peer_fin
        self._owe_ack(packet.uid, now if at_once else now + DELAYED_ACK)

    def _inside_window(self, packet: Packet) -> tuple[int, bytes, bool]:
        """What of a segment lies in the window: its distance from RCV.NXT, its text, and whether its FIN does."""
        start = distance(packet.seq, self.rcv_nxt)
        end = self._room() if self._peer_fin is None else distance(self._peer_fin, self.rcv_nxt)
        text = packet.payload
        fin = bool(packet.flags & FIN) and start + len(text) < self._room()
        if start < 0 or start + len(text) > end:
            text = text[max(-start, 0) : max(end - start, 0)]
        return max(start, 0), text, fin

    def _append(self, text: bytes) -> None:
        self._received += text
        self._position += len(text)
        self.rcv_nxt = add(self.rcv_nxt, len(text))
        self.rcv_wnd = max(self.rcv_wnd - len(text), 0)

    def _take_fin(self, now: int) -> None:
        self._at_peer_fin = True
        self.rcv_nxt = add(self.rcv_nxt, 1)
        if self.state is State.ESTABLISHED:
            self.state = State.CLOSE_WAIT
        elif self.state is State.FIN_WAIT_1:  # simultaneous close
            self.state = State.CLOSING
        else:
            self._enter_time_wait(now)

    # --- ICMP -----------------------------------------------------------------------------------------------------

    def icmp_in(self, icmp_type: int, icmp_code: int, now: int) -> None:
        """An ICMP error about a segment of ours (RFC 9293 section 3.9.2.2).

        It ends an attempt to connect, as in Linux.  A connection that has been established ignores it: anyone can
        send one, and a path that fails may recover (RFC 5461).
        """
        error = ICMP_ERRORS.get((icmp_type, icmp_code))
        if error is not None and self.state in _HANDSHAKE and not self.passive:
            self._fail(error)

    # --- sending --------------------------------------------------------------------------------------------------

    def _transmit(self, now: int) -> None:
        """Send all that may be sent now."""
        if self.state not in _WE_MAY_SEND:
            return
        while self._send_next(now):
            pass
        # Something waits and nothing is under way: no ACK will ever come to set us going, so probe the window.
        if self.snd_una == self.snd_max and (self._unacked or (self._fin_queued and not self._fin_sent)):
            if self._persist_at is None:
                self._persist_at = now + self.timer.rto
        else:
            self._persist_at = None
            self._persist_shift = 0

    def _send_next(self, now: int, override: bool = False) -> bool:
        """Send one segment at SND.NXT if both windows allow it: the peer's and the network's."""
        offset = distance(self.snd_nxt, self.snd_una)
        unsent = len(self._unacked) - offset  # -1 when the FIN has been sent as well
        allowed = self.snd_wnd - offset
        size = min(unsent, self.mss, allowed, self.congestion.window - offset)
        fin = self._fin_queued and size == unsent >= 0 and allowed > size
        if size <= 0 and not fin:
            return False
        # Silly window avoidance (RFC 9293 section 3.8.6.2.1): a small segment only if it is the last one, or if
        # the peer's window is just that small.
        if size < min(self.mss, unsent, self.max_snd_wnd // 2) and not override:
            return False
        self._send_text(self.snd_nxt, size, fin, now)
        self.snd_nxt = add(self.snd_nxt, size + fin)
        return True

    def _resend_first(self, now: int) -> int:
        """Send the first unacknowledged segment again.  Returns how many sequence numbers it takes."""
        size = min(self.mss, len(self._unacked), self._flight())
        fin = self._fin_sent and size == len(self._unacked)
        self._send_text(self.snd_una, size, fin, now)
        return size + fin

    def _send_text(self, seq: int, size: int, fin: bool, now: int) -> None:
        offset = distance(seq, self.snd_una)
        text = bytes(self._unacked[offset : offset + size])
        flags = ACK
        if fin:
            flags |= FIN
            self._fin_sent = True
        if offset + size == len(self._unacked):
            flags |= PSH
        end = add(seq, size + fin)
        if before(seq, self.snd_max):
            self.retransmissions += 1
            if before(self._resent_up_to, end):
                self._resent_up_to = end
        if before(self.snd_max, end):
            self.snd_max = end
            self._first_sent.append((end, now))
        if self._retransmit_at is None:  # RFC 6298 (5.1)
            self._retransmit_at = now + self.timer.rto
        self._emit(flags, seq, text)

    def _send_syn(self, cause: int | None = None) -> None:
        flags = SYN if self.state is State.SYN_SENT else SYN | ACK
        self._emit(flags, self.iss, cause=cause)

    def _owe_ack(self, cause: int, deadline: int) -> None:
        """An ACK is to go out by then, alone or with data."""
        self._ack_cause = cause
        if self._ack_at is None or deadline < self._ack_at:
            self._ack_at = deadline

    def _send_owed_ack(self, now: int) -> None:
        if self._ack_at is not None and self._ack_at <= now:
            self._send_ack(self._ack_cause)

    def _send_ack(self, cause: int | None = None) -> None:
        self._emit(ACK, self.snd_max, cause=cause)

    def _emit(self, flags: int, seq: int, text: bytes = b"", cause: int | None = None) -> None:
        """Put a segment into the outbox.  Every segment with ACK pays the ACK that is owed."""
        packet = Packet(TCP, self.local, self.remote, text, flags=flags, seq=seq, cause=cause)
        if flags & ACK:
            packet.ack = self._last_ack = self.rcv_nxt
            self._ack_at = None
        if not flags & RST:
            packet.window = self._window_field(flags)
        if flags & SYN:
            packet.mss = self._own_mss
            packet.wscale = self.rcv_wscale if self._scaling else None
        self.outbox.append(packet)

    # --- the receive window ---------------------------------------------------------------------------------------

    def _room(self) -> int:
        """How many octets from RCV.NXT on we have space for."""
        return self._receive_buffer - len(self._received)

    def _window_may_grow(self) -> bool:
        """Silly window avoidance (RFC 9293 section 3.8.6.2.2): announce a wider window in sizable steps only."""
        return self._room() - self.rcv_wnd >= min(self._receive_buffer // 2, self.mss)

    def _window_field(self, flags: int) -> int:
        if self._window_may_grow():
            self.rcv_wnd = self._room()
        shift = 0 if flags & SYN else self.rcv_wscale
        return min(self.rcv_wnd >> shift, 0xFFFF)

    # --- timers ---------------------------------------------------------------------------------------------------

    @property
    def next_timer(self) -> int | None:
        """When `on_timer` wants to be called; None: only if something else happens before."""
        if self.state is State.CLOSED:
            return None
        deadlines = (
            self._retransmit_at,
            self._persist_at,
            self._ack_at,
            self._end_at,
            self._user_timeout_at(),
            self._keepalive_at(),
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def on_timer(self, now: int) -> None:
        """Do what is due.  Harmless when nothing is."""
        for deadline, action in (
            (self._end_at, self._on_end),
            (self._user_timeout_at(), self._on_user_timeout),
            (self._retransmit_at, self._on_retransmission_timeout),
            (self._persist_at, self._on_persist),
            (self._keepalive_at(), self._on_keepalive),
            (self._ack_at, self._send_owed_ack),
        ):
            if deadline is not None and deadline <= now and self.state is not State.CLOSED:
                action(now)

    def _on_end(self, now: int) -> None:
        self._enter_closed()

    def _on_retransmission_timeout(self, now: int) -> None:
        if self.state in _HANDSHAKE:
            self._repeat_syn()
        elif self._retries == MAXIMUM_RETRIES:
            self._fail(errno.ETIMEDOUT)
        else:  # RFC 6298 (5.4) to (5.6)
            self._retries += 1
            self.timer.back_off()
            self.congestion.on_timeout(self._flight())
            self._retransmit_at = now + self.timer.rto
            self.snd_nxt = add(self.snd_una, self._resend_first(now))

    def _repeat_syn(self) -> None:
        if self._retries == len(self.syn_schedule):
            self._fail(errno.ETIMEDOUT)
            return
        self._retries += 1
        self.retransmissions += 1
        self._resent_up_to = self.snd_max
        self._retransmit_at = self._opened_at + self._syn_deadline()
        self._send_syn()

    def _user_timeout_at(self) -> int | None:
        """RFC 5482: counted from when the oldest unacknowledged segment was first sent."""
        if self.user_timeout is None or not self._first_sent:
            return None
        return self._first_sent[0][1] + self.user_timeout

    def _on_user_timeout(self, now: int) -> None:
        self._fail(errno.ETIMEDOUT)

    def _on_persist(self, now: int) -> None:
        """The peer's window is closed (RFC 9293 section 3.8.6.1) or too small to be worth a segment."""
        if self._send_next(now, override=True):
            self._persist_at = None
            return
        self._probe(now)
        self._persist_shift += 1
        self._persist_at = now + min(self.timer.rto << self._persist_shift, MAXIMUM_RTO)
        if self._probes > MAXIMUM_RETRIES:
            self._fail(errno.ETIMEDOUT)

    def _probe(self, now: int) -> None:
        """Send the number before SND.NXT: the peer finds that unacceptable, and answers if it is alive."""
        self._probes += 1
        self._probed_at = now
        self._emit(ACK, add(self.snd_nxt, -1))

    def _keepalive_at(self) -> int | None:
        """RFC 9293 section 3.8.4: only while there is nothing to send."""
        if self.keepalive is None or not self._was_established or self.state is State.TIME_WAIT:
            return None
        if self._unacked or self.snd_una != self.snd_max:
            return None
        idle, interval, _ = self.keepalive
        return max(self._heard_at + idle, self._probed_at + interval) if self._probes else self._heard_at + idle

    def _on_keepalive(self, now: int) -> None:
        assert self.keepalive is not None
        if self._probes >= self.keepalive[2]:
            self._fail(errno.ETIMEDOUT)
        else:
            self._probe(now)
