"""How a TCP connection ends: RST and the forgeries that must not end it, FIN, TIME-WAIT."""

from __future__ import annotations

import errno

import pytest
from tcp_wire import DELAY, A, B, TcpConnection, connected, make, segment

from natsim.packet import ACK, FIN, RST, SYN, TCP, Packet
from natsim.tcp import State, reset_for
from natsim.tcp_congestion import MILLISECOND, SECOND


def test_reset_for() -> None:
    packet = Packet(TCP, A, B, b"xy", flags=SYN | FIN, seq=2**32 - 1)
    packet.uid = 5
    reply = reset_for(packet)
    assert reply is not None
    assert (reply.src, reply.dst, reply.cause) == (B, A, 5)
    assert (reply.flags, reply.seq, reply.ack) == (RST | ACK, 0, 3)
    reply = reset_for(Packet(TCP, A, B, flags=ACK, seq=3, ack=99))
    assert reply is not None
    assert (reply.flags, reply.seq) == (RST, 99)
    assert reset_for(Packet(TCP, A, B, flags=RST, seq=3)) is None


def test_rst_in_syn_sent_must_acknowledge_our_syn() -> None:
    def after(flags: int, ack: int) -> TcpConnection:
        a = make()
        a.open(0)
        a.outbox.clear()
        a.segment_in(Packet(TCP, B, A, flags=flags, seq=0, ack=ack), 1)
        return a

    for innocent in (after(RST, 0), after(RST | ACK, 1000), after(RST | ACK, 1002)):
        assert innocent.state is State.SYN_SENT
        assert not innocent.outbox
    assert after(RST | ACK, 1001).error == errno.ECONNREFUSED
    (reply,) = after(ACK, 500).outbox  # an ACK of something else is answered with RST, and we go on
    assert (reply.flags, reply.seq) == (RST, 500)


def test_rst_in_syn_received() -> None:
    a = make()
    a.open(0)
    a.segment_in(Packet(TCP, B, A, flags=SYN, seq=9000, window=100), 1)
    a.segment_in(Packet(TCP, B, A, flags=RST, seq=9001), 2)
    assert a.error == errno.ECONNREFUSED


def test_rst_in_a_synchronized_state() -> None:
    """RFC 5961: the exact number resets, another one in the window is challenged, the rest is dropped."""
    wire = connected()
    a = wire.a
    a.segment_in(segment(wire, RST, seq=a.rcv_nxt + 100), 0)
    (challenge,) = a.outbox
    assert (challenge.flags, challenge.seq, challenge.ack, challenge.cause) == (ACK, 1001, 9001, 77)
    a.outbox.clear()
    a.segment_in(segment(wire, RST, seq=a.rcv_nxt - 1), SECOND)
    a.segment_in(segment(wire, RST, seq=a.rcv_nxt + (1 << 21)), SECOND)
    assert a.state is State.ESTABLISHED
    assert not a.outbox
    a.segment_in(segment(wire, ACK, text=b"last words"), SECOND)
    a.segment_in(segment(wire, RST), SECOND)
    assert a.error == errno.ECONNRESET
    assert a.closed
    assert a.next_timer is None
    assert a.receive(100, SECOND) == b"last words"  # as Linux: data first, then the error


def test_syn_in_a_synchronized_state_is_challenged_but_not_too_often() -> None:
    wire = connected()
    for now in (0, 1, 499 * MILLISECOND, 500 * MILLISECOND):
        wire.a.segment_in(segment(wire, SYN, seq=wire.a.rcv_nxt + 5), now)
    assert [packet.flags for packet in wire.a.outbox] == [ACK, ACK]
    assert wire.a.state is State.ESTABLISHED


def test_a_forgetful_peer_is_reset_by_the_challenge() -> None:
    """B reboots and calls again from the same port: SYN, challenge ACK, RST, and A is gone."""
    wire = connected()
    wire.b = make(B, A, isn=5_000_000)
    wire.b.open(0)
    wire.run(until=SECOND // 2)
    assert wire.a.error == errno.ECONNRESET


def test_ack_of_the_future_is_answered_and_not_believed() -> None:
    wire = connected()
    wire.a.segment_in(segment(wire, ACK, ack=wire.a.snd_max + 1, text=b"lie"), 0)
    assert wire.a.receive(10, 0) == b""
    assert wire.a.snd_una == 1001
    assert [(packet.flags, packet.ack) for packet in wire.a.outbox] == [(ACK, 9001)]


def test_abort_resets_the_peer() -> None:
    wire = connected()
    wire.a.abort(0)
    wire.run()
    assert wire.a.closed
    assert wire.a.error is None
    assert wire.b
    assert wire.b.error == errno.ECONNRESET
    a = make()
    a.open(0)
    a.outbox.clear()
    a.abort(0)
    assert a.closed
    assert not a.outbox


def test_orderly_close_and_half_close() -> None:
    wire = connected()
    a, b = wire.a, wire.b
    assert b
    a.send(b"request", 0)
    a.shutdown(0)
    assert a.state is State.FIN_WAIT_1
    assert not a.writable
    with pytest.raises(BrokenPipeError):
        a.send(b"more", 0)
    wire.run(until=SECOND)
    assert (a.state, b.state) == (State.FIN_WAIT_2, State.CLOSE_WAIT)
    assert not b.at_eof
    assert b.receive(100, wire.now) == b"request"
    assert b.at_eof
    assert b.readable
    b.send(b"answer", wire.now)  # the other half is open
    wire.run(until=2 * SECOND)
    assert a.receive(100, wire.now) == b"answer"
    assert not a.at_eof
    b.close(wire.now)
    assert b.state is State.LAST_ACK
    start = wire.now
    wire.run(until=3 * SECOND)
    assert (a.state, b.state) == (State.TIME_WAIT, State.CLOSED)
    assert a.at_eof
    wire.run()
    assert a.closed
    assert a.error is None
    assert wire.now == start + DELAY + 60 * SECOND


def test_simultaneous_close() -> None:
    wire = connected()
    for end in wire.ends():
        end.close(0)
    wire.run(until=DELAY)
    assert [end.state for end in wire.ends()] == [State.CLOSING] * 2
    wire.run(until=2 * DELAY)
    assert [end.state for end in wire.ends()] == [State.TIME_WAIT] * 2


def test_lost_last_ack() -> None:
    lost: list[Packet] = []

    def drop(packet: Packet) -> bool:
        """The first ACK of B's FIN."""
        if packet.src == A and packet.ack == 9002 and not lost:
            lost.append(packet)
            return True
        return False

    wire = connected(drop=drop)  # type: ignore[arg-type]
    wire.a.close(0)
    wire.run(until=SECOND)
    assert wire.b
    wire.b.close(wire.now)
    wire.run(until=5 * SECOND)
    assert lost
    assert wire.b.closed
    assert wire.b.error is None
    assert wire.b.retransmissions == 1


def test_a_repeated_fin_prolongs_time_wait() -> None:
    wire = connected()
    wire.a.close(0)
    wire.a.segment_in(segment(wire, ACK | FIN, ack=wire.a.snd_max), SECOND)
    assert wire.a.next_timer == 61 * SECOND
    wire.a.outbox.clear()
    wire.a.segment_in(segment(wire, ACK | FIN, seq=wire.a.rcv_nxt - 1, ack=wire.a.snd_max), 2 * SECOND)
    assert wire.a.next_timer == 62 * SECOND
    assert [packet.flags for packet in wire.a.outbox] == [ACK]


def test_orphan_does_not_wait_for_ever_in_fin_wait_2() -> None:
    wire = connected()
    wire.a.close(0)
    wire.run()
    assert wire.a.closed
    assert wire.now == 2 * DELAY + 60 * SECOND
    wire = connected()
    wire.a.shutdown(0)  # no orphan: its application still reads
    wire.run()
    assert wire.a.state is State.FIN_WAIT_2
    assert wire.a.next_timer is None


def test_close_with_unread_data_resets() -> None:
    wire = connected()
    wire.a.segment_in(segment(wire, ACK, text=b"unread"), 0)
    wire.a.close(0)
    assert wire.a.closed
    assert wire.a.outbox[-1].flags & RST


def test_data_after_close_resets() -> None:
    wire = connected()
    wire.a.close(0)
    assert wire.b
    wire.b.send(b"too late", 0)
    wire.run()
    assert wire.a.closed
    assert wire.b.error == errno.EPIPE, "measured: Linux, after the end of the peer's stream"


def test_reuse_of_time_wait() -> None:
    wire = connected()
    wire.a.close(0)
    wire.run(until=SECOND)
    assert wire.b
    wire.b.close(wire.now)
    wire.run(until=2 * SECOND)
    assert wire.a.state is State.TIME_WAIT
    assert wire.a.may_reuse(Packet(TCP, B, A, flags=SYN, seq=wire.a.rcv_nxt + 1))
    assert not wire.a.may_reuse(Packet(TCP, B, A, flags=SYN, seq=wire.a.rcv_nxt))
    assert not wire.a.may_reuse(Packet(TCP, B, A, flags=SYN | ACK, seq=wire.a.rcv_nxt + 1))
