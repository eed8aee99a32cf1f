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

This file says what each state does with a segment.  Variables have the names of the RFC (SND.UNA is `snd.una`), and
`_segment_synchronized` does its steps in its order.  Read that one first, then the other rooms:

    tcp_states.py      the states, and the tables by which a connection is closed
    tcp_sender.py      snd: what may be sent now, and what is sent again
    tcp_receiver.py    rcv: what is accepted, and when it is acknowledged
    tcp_congestion.py  how long to wait for an ACK, and how much to keep under way
    tcp_patience.py    how often to repeat a SYN or a probe before giving up
    tcp_refusal.py     the RST for a stray segment; what an ICMP error means
    tcp_segments.py    sequence numbers live on a circle of 2**32: its arithmetic; the queue of early segments

What a NAT lesson needs is exact: simultaneous open (two SYNs that cross, RFC 9293 figure 7) goes segment by
segment as Linux 6.18 does it, and RST, ICMP errors and the times of repeated SYNs are as there.

Not here, on purpose: SACK, ECN, TCP Fast Open, timestamps and PAWS, pacing, CUBIC, urgent data, Nagle's
algorithm (always off, as with TCP_NODELAY), path MTU discovery in IPv4, restart of the congestion window after idle
(RFC 5681 section 4.1).  Listening sockets, ports and the choice of initial sequence numbers belong to the host
(`host.py`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Self

from natsim.packet import ACK, FIN, RST, SYN, TCP, Endpoint, Packet, is_ipv6
from natsim.tcp_congestion import SECOND
from natsim.tcp_patience import CLASSIC_SYN_SCHEDULE, LINUX_SYN_SCHEDULE, SYN_ACK_SCHEDULE, Silence, syn_deadline
from natsim.tcp_receiver import Receiver
from natsim.tcp_refusal import ICMP_ERRORS, ICMPV6_ERRORS, ChallengeLimit, reset_for
from natsim.tcp_segments import before
from natsim.tcp_sender import Sender
from natsim.tcp_states import (
    HANDSHAKE,
    NOTHING_TO_RESET,
    OUR_FIN_IS_ACKNOWLEDGED,
    PEER_FINISHES,
    PEER_MAY_SEND,
    WE_FINISH,
    WE_MAY_SEND,
    State,
)

__all__ = ["CLASSIC_SYN_SCHEDULE", "LINUX_SYN_SCHEDULE", "State", "TcpConnection", "reset_for"]

TIME_WAIT_PERIOD = 60 * SECOND  # RFC 9293 says 4 minutes (2 MSL); Linux says 60 s, also for an orphaned FIN-WAIT-2


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
        self.keepalive: tuple[int, int, int] | None = None
        self.user_timeout: int | None = None
        self.syn_schedule = LINUX_SYN_SCHEDULE

        self._silence = Silence()
        self.snd = Sender(isn, mss, send_buffer, self._silence, self._emit)
        self.rcv = Receiver(mss, receive_buffer)

        self._own_mss = mss
        self._was_established = False
        self._application_gone = False
        self._opened_at = 0
        self._syn_at: int | None = None  # the SYN is due again
        self._end_at: int | None = None  # end of TIME-WAIT, or of an orphan's FIN-WAIT-2
        self._soft_error: int | None = None  # what an ICMP error has said since the last ACK
        self._challenges = ChallengeLimit()

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
    ) -> Self:
        """Passive open (RFC 9293 section 3.10.7.2): answer a SYN that reached a listening socket."""
        connection = cls(syn.dst, syn.src, isn, mss=mss, receive_buffer=receive_buffer, send_buffer=send_buffer)
        connection.passive = True
        connection.syn_schedule = SYN_ACK_SCHEDULE
        connection._learn_from_syn(syn)
        connection.state = State.SYN_RECEIVED
        connection._begin_handshake(now, cause=syn.uid)
        return connection

    def _begin_handshake(self, now: int, cause: int | None = None) -> None:
        self._opened_at = now
        self._silence.broken(now)
        self.snd.syn_sent(now)
        self._syn_at = now + syn_deadline(self.syn_schedule, 0)
        self._send_syn(cause)

    def _learn_from_syn(self, syn: Packet) -> None:
        """The peer's SYN, alone or with an ACK: its sequence number, window and options."""
        self.snd.learn(syn)
        self.rcv.learn(syn, self.snd.mss)

    def _enter_established(self, now: int) -> None:
        """Our SYN has been acknowledged, and the peer's has come."""
        self.snd.syn_acknowledged(now)
        self._syn_at = None
        self._was_established = True
        self.state = State.FIN_WAIT_1 if self.snd.fin_queued else State.ESTABLISHED

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
        return self.rcv.at_fin and not self.rcv.has_text

    @property
    def readable(self) -> bool:
        return self.rcv.has_text or self.at_eof or self.error is not None

    @property
    def writable(self) -> bool:
        if self.error is not None:
            return True
        return self.snd.has_room and self._was_established and not self.snd.fin_queued and not self.closed

    def send(self, data: bytes | memoryview, now: int) -> int:
        """Take octets to send.  Returns how many; 0 says that the buffer is full.  EPIPE after `shutdown`."""
        if self.snd.fin_queued or self.closed:
            raise BrokenPipeError(errno.EPIPE, "the connection is shut down for sending")
        taken = self.snd.put(data)
        self._transmit(now)
        return taken

    def receive(self, limit: int, now: int) -> bytes:
        """Up to `limit` octets that have arrived; b"" if there are none."""
        data = self.rcv.read(limit)
        if data and self.state in PEER_MAY_SEND and self.rcv.has_reopened:
            self._send_ack()
        return data

    def peek(self, limit: int) -> bytes:
        """The same octets, which stay."""
        return self.rcv.peek(limit)

    def shutdown(self, now: int) -> None:
        """Half-close: a FIN follows the queued data (RFC 9293 section 3.10.4)."""
        if self.snd.fin_queued or self.closed:
            return
        self.snd.fin_queued = True
        self._move_on(WE_FINISH, now)
        self._transmit(now)

    def close(self, now: int) -> None:
        """The application is done with both directions.

        Data that it has not read, or that comes from now on, is answered with RST: the peer must learn that
        nobody reads it (RFC 9293 section 3.6.1, MUST-17).
        """
        self._application_gone = True
        if self.state is State.SYN_SENT:
            self._enter_closed()
        elif self.rcv.has_text:
            self.abort(now)
        else:
            self.shutdown(now)
            if self.state is State.FIN_WAIT_2:
                self._end_at = now + TIME_WAIT_PERIOD

    def abort(self, now: int) -> None:
        """End it at once (RFC 9293 section 3.10.5); a peer that still holds the connection gets a RST."""
        if self.state not in NOTHING_TO_RESET:
            self._emit(RST | ACK, self.snd.max)
        self._enter_closed()

    def may_reuse(self, syn: Packet) -> bool:
        """May this SYN begin a new connection in place of this one in TIME-WAIT (RFC 9293 section 3.6.1, MAY-2)?"""
        return self.state is State.TIME_WAIT and syn.is_initial_syn and before(self.rcv.nxt, syn.seq)

    # --- a segment arrives (RFC 9293 section 3.10.7) --------------------------------------------------------------

    def segment_in(self, packet: Packet, now: int) -> None:
        """A segment from `remote` to `local` has arrived."""
        self._silence.broken(now)
        if self.state is State.CLOSED:
            self._refuse(packet)
        elif self.state is State.SYN_SENT:
            self._segment_in_syn_sent(packet, now)
        else:
            self._segment_synchronized(packet, now)

    def _segment_in_syn_sent(self, packet: Packet, now: int) -> None:
        """RFC 9293 section 3.10.7.3."""
        has_ack = bool(packet.flags & ACK)
        if has_ack and not self.snd.acknowledges_something(packet.ack):  # first: it answers something else
            self._refuse(packet)
        elif packet.flags & RST:  # second: believe a RST only if it proves to have seen our SYN
            if has_ack:
                self._fail(errno.ECONNREFUSED)
        elif packet.flags & SYN:  # fourth (the third is IP security)
            self._learn_from_syn(packet)
            if has_ack:
                self._enter_established(now)
                self._send_ack(packet.uid)
                self._transmit(now)
            else:  # simultaneous open: the SYNs have crossed, figure 7
                self.state = State.SYN_RECEIVED
                self.snd.distrust_round_trip()
                self._send_syn(packet.uid)

    def _segment_synchronized(self, packet: Packet, now: int) -> None:
        """RFC 9293 section 3.10.7.4: SYN-RECEIVED and every later state."""
        crossed = self.state is State.SYN_RECEIVED and packet.flags & SYN and packet.seq == self.rcv.irs
        if crossed:
            if not packet.flags & ACK:  # the peer repeats its SYN: our SYN,ACK may be lost
                if self._challenges.allows(now):
                    self._send_syn(packet.uid)
                return
            packet = self.rcv.without_known_syn(packet, self.snd.wscale)

        # First, is it in the window?
        if not self.rcv.is_acceptable(packet):
            if packet.flags & RST:
                return
            if self.state is State.TIME_WAIT and packet.flags & FIN:  # our last ACK was lost
                self._end_at = now + TIME_WAIT_PERIOD
            self._challenge(packet, now)
            return
        # Second, RST.  Only the exact number counts, so that nobody resets by guessing (RFC 5961 section 3).
        if packet.flags & RST:
            if packet.seq == self.rcv.nxt:
                self._reset_by_peer()
            else:
                self._challenge(packet, now)
            return
        # Fourth, SYN.  An honest peer that has forgotten us answers the challenge with a RST (RFC 5961 section 4); one
        # that calls anew before its first call was through finds us listening again.
        if packet.flags & SYN:
            if self.state is State.SYN_RECEIVED and self.passive:
                self._enter_closed()
            else:
                self._challenge(packet, now)
            return
        # Fifth, ACK.
        if not packet.flags & ACK or not self._take_ack(packet, now):
            return
        if crossed:
            self.rcv.owe_ack(packet.uid, now)
        # Seventh and eighth, text and FIN.
        if packet.segment_length:
            self._take_text(packet, now)
        self._transmit(now)
        self._send_owed_ack(now)

    def _reset_by_peer(self) -> None:
        if self.state in (State.CLOSING, State.LAST_ACK, State.TIME_WAIT):
            self._enter_closed()
        elif self.state is State.SYN_RECEIVED and not self.passive:
            self._fail(errno.ECONNREFUSED)
        elif self.state is State.CLOSE_WAIT:  # as Linux: the peer had finished before, and does not want our answer
            self._fail(errno.EPIPE)
        else:
            self._fail(errno.ECONNRESET)

    def _take_ack(self, packet: Packet, now: int) -> bool:
        """False: the ACK field is absurd, the segment is not to be believed."""
        if self.state is State.SYN_RECEIVED:
            if not self.snd.acknowledges_something(packet.ack):
                self._refuse(packet)
                return False
            self._enter_established(now)
        elif not self.snd.is_credible(packet.ack):
            self._challenge(packet, now)
            return False
        else:
            self.snd.take_ack(packet, now)
        self._soft_error = None
        self.snd.update_window(packet)
        if self.snd.fin_acknowledged:
            self._move_on(OUR_FIN_IS_ACKNOWLEDGED, now)
        return True

    def _take_text(self, packet: Packet, now: int) -> None:
        if self.state not in PEER_MAY_SEND:
            return
        piece = self.rcv.inside_window(packet)
        if piece.text and self._application_gone:  # nobody will read it
            self._emit(RST, packet.ack, cause=packet.uid)
            self._enter_closed()
        elif not self.rcv.take(piece, packet, now):  # a gap: tell at once with a duplicate ACK (RFC 5681 section 4.2)
            self._send_ack(packet.uid)
        elif self.rcv.at_fin:
            self._move_on(PEER_FINISHES, now)

    def path_mtu_in(self, mss: int, seq: int, now: int) -> None:
        """A segment of ours, the one with that number, was too large for a link; `mss` bytes of text would pass.

        Believed only of what is under way (RFC 5927 section 4.1).
        """
        if self.snd.is_under_way(seq) and self.snd.lower_mss(mss) and self.state not in HANDSHAKE:
            self.snd.resend_smaller(now)
            self.snd.transmit(now)

    def icmp_in(self, icmp_type: int, icmp_code: int, now: int) -> None:
        """An ICMP error about a segment of ours has arrived (RFC 9293 section 3.9.2.2).

        It ends an attempt to connect, as in Linux.  A connection that has been established goes on: anyone can send
        one, and a path that fails may recover (RFC 5461).  It only remembers, to say so if the path does not.
        """
        errors = ICMPV6_ERRORS if is_ipv6(self.local.address) else ICMP_ERRORS
        error = errors.get((icmp_type, icmp_code))
        if error is not None and self.state in HANDSHAKE and not self.passive:
            self._fail(error)
        elif error is not None and not self.closed:
            self._soft_error = error

    # --- the end --------------------------------------------------------------------------------------------------

    def _move_on(self, table: dict[State, State], now: int) -> None:
        """One of the events that close a connection: its table says where it leads from here, if anywhere."""
        if self.state not in table:
            return
        self.state = table[self.state]
        if self.state is State.CLOSED:
            self._enter_closed()
        elif self.state is State.TIME_WAIT or (self.state is State.FIN_WAIT_2 and self._application_gone):
            self._end_at = now + TIME_WAIT_PERIOD

    def _enter_closed(self) -> None:
        self.state = State.CLOSED
        self.snd.clear()

    def _fail(self, error: int) -> None:
        """The connection dies.  What has arrived can still be read."""
        self.error = error
        self._enter_closed()

    # --- what leaves ----------------------------------------------------------------------------------------------

    def _transmit(self, now: int) -> None:
        """Send all that may be sent now."""
        if self.state in WE_MAY_SEND:
            self.snd.transmit(now)

    def _send_syn(self, cause: int | None = None) -> None:
        flags = SYN if self.state is State.SYN_SENT else SYN | ACK
        self._emit(flags, self.snd.iss, cause=cause)

    def _send_ack(self, cause: int | None = None) -> None:
        self._emit(ACK, self.snd.max, cause=cause)

    def _send_owed_ack(self, now: int) -> None:
        if self.rcv.ack_at is not None and self.rcv.ack_at <= now:
            self._send_ack(self.rcv.ack_cause)

    def _challenge(self, packet: Packet, now: int) -> None:
        """Say what we expect.  Empty segments get this rarely."""
        if packet.payload or self._challenges.allows(now):
            self._send_ack(packet.uid)

    def _refuse(self, packet: Packet) -> None:
        if reset := reset_for(packet):
            self.outbox.append(reset)

    def _emit(self, flags: int, seq: int, text: bytes = b"", cause: int | None = None) -> None:
        """Put a segment into the outbox.  Every segment with ACK pays the ACK that is owed."""
        packet = Packet(TCP, self.local, self.remote, text, flags=flags, seq=seq, cause=cause)
        if flags & ACK:
            packet.ack = self.rcv.ack_field()
        if not flags & RST:
            packet.window = self.rcv.window_field(flags)
        if flags & SYN:
            packet.mss = self._own_mss
            packet.wscale = self.rcv.wscale if self.rcv.scaling else None
        self.outbox.append(packet)

    # --- timers ---------------------------------------------------------------------------------------------------

    @property
    def next_timer(self) -> int | None:
        """When `on_timer` wants to be called; None: only if something else happens before."""
        if self.state is State.CLOSED:
            return None
        return min((deadline for deadline in self._deadlines() if deadline is not None), default=None)

    def on_timer(self, now: int) -> None:
        """Do what is due.  Harmless when nothing is."""
        for number, action in enumerate(self._TIMERS):
            deadline = self._deadlines()[number]
            if deadline is not None and deadline <= now and self.state is not State.CLOSED and action(self, now):
                self._fail(self._soft_error or errno.ETIMEDOUT)

    def _deadlines(self) -> tuple[int | None, ...]:
        """When each timer of `_TIMERS` is due."""
        return (
            self._end_at,
            self.snd.user_timeout_at(self.user_timeout),
            self._syn_at,
            self.snd.retransmit_at,
            self.snd.persist_at,
            self._keepalive_at() if self.keepalive is not None else None,
            self.rcv.ack_at,
        )

    def _on_end(self, now: int) -> None:
        self._enter_closed()

    def _on_user_timeout(self, now: int) -> bool:
        return True

    def _on_syn_timeout(self, now: int) -> bool:
        if self.snd.retries == len(self.syn_schedule):
            return True
        self.snd.syn_repeated()
        self._syn_at = self._opened_at + syn_deadline(self.syn_schedule, self.snd.retries)
        self._send_syn()
        return False

    def _keepalive_at(self) -> int | None:
        """RFC 9293 section 3.8.4: only while there is nothing to send."""
        if self._was_established and self.state is not State.TIME_WAIT and self.snd.idle:
            return self._silence.next_probe(self.keepalive)
        return None

    def _on_keepalive(self, now: int) -> bool:
        """Linux lets a dead peer know, should it rise again; and a user timeout stands for the number of probes."""
        if self._silence.is_hopeless(self.keepalive, self.user_timeout, now):
            self._emit(RST | ACK, self.snd.max)
            return True
        self.snd.probe(now)
        return False

    #: What is to be done when a timer is due; it returns True if there is no hope left.
    _TIMERS: tuple[Callable[[TcpConnection, int], bool | None], ...] = (
        _on_end,
        _on_user_timeout,
        _on_syn_timeout,
        lambda self, now: self.snd.on_timeout(now),
        lambda self, now: self.snd.on_persist(now),
        _on_keepalive,
        _send_owed_ack,
    )
