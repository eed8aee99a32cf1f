"""How a TCP connection comes to be: the handshake, simultaneous open, and the times of repeated SYNs."""

from __future__ import annotations

import errno

import pytest
from tcp_wire import DELAY, A, B, TcpConnection, Wire, connected, make, transfer

from natsim import tcp
from natsim.packet import ACK, RST, SYN, TCP, Packet
from natsim.tcp import State
from natsim.tcp_congestion import MILLISECOND, SECOND


def test_three_way_handshake() -> None:
    wire = Wire(make())
    wire.listen = {B.address: B.port}
    wire.a.open(0)
    wire.run()
    assert wire.story(A) == ["0 S seq 0", "40 . seq 1 ack 1"]
    assert wire.story(B) == ["20 S. seq 0 ack 1"]
    assert wire.b is not None
    assert wire.b.passive
    assert not wire.a.passive
    assert wire.a.state is wire.b.state is State.ESTABLISHED
    assert wire.a.connected
    assert wire.a.writable
    assert not wire.a.readable
    syn, syn_ack, ack = (packet for _, packet in wire.log)
    assert (syn.mss, syn.wscale, syn_ack.cause, ack.cause) == (1460, 5, syn.uid, syn_ack.uid)


def test_simultaneous_open_as_linux_does_it() -> None:
    wire = Wire(make(A, B), make(B, A))
    for end in wire.ends():
        end.open(0)
    wire.run(until=2 * DELAY)
    assert [end.state for end in wire.ends()] == [State.ESTABLISHED] * 2
    assert wire.a.snd_wnd <= 0xFFFF  # the window of a SYN,ACK is not scaled
    wire.run()
    expected = ["0 S seq 0", "20 S. seq 0 ack 1", "40 . seq 1 ack 1"]
    assert wire.story(A) == wire.story(B) == expected
    assert wire.a.state is State.ESTABLISHED
    assert wire.b
    assert wire.b.state is State.ESTABLISHED
    assert wire.a.snd_wnd == wire.b.snd_wnd == 1 << 20
    transfer(wire, b"hello" * 10_000, b"world" * 10_000)


def test_simultaneous_open_passes_through_syn_received() -> None:
    a, b = make(A, B), make(B, A)
    a.open(0)
    b.open(0)
    syn_a, syn_b = a.outbox.pop(), b.outbox.pop()
    a.segment_in(syn_b, DELAY)
    assert a.state is State.SYN_RECEIVED
    (syn_ack,) = a.outbox
    assert (syn_ack.flags, syn_ack.seq, syn_ack.ack) == (SYN | ACK, syn_a.seq, syn_b.seq + 1)


def test_half_crossed_open() -> None:
    """B's SYN is lost (a NAT drops it), A's SYN reaches B in SYN-SENT, B's SYN,ACK meets A still in SYN-SENT."""
    wire = Wire(make(A, B), make(B, A), drop=lambda packet: packet.src == B and packet.is_initial_syn)
    for end in wire.ends():
        end.open(0)
    wire.run()
    assert wire.story(A) == ["0 S seq 0", "40 . seq 1 ack 1"]
    assert wire.story(B) == ["0 S seq 0", "20 S. seq 0 ack 1"]
    assert [end.state for end in wire.ends()] == [State.ESTABLISHED] * 2


def test_simultaneous_open_survives_the_loss_of_any_one_segment() -> None:
    for lost in range(1, 7):
        wire = Wire(make(A, B), make(B, A), drop=lambda packet, lost=lost: packet.uid == lost)  # type: ignore[misc]
        for end in wire.ends():
            end.open(0)
        wire.run(until=10 * SECOND)
        assert [end.state for end in wire.ends()] == [State.ESTABLISHED] * 2, lost
        assert len(wire.log) < 12, lost


def test_a_late_peer_does_not_spoil_the_round_trip_estimate() -> None:
    """A's SYN is dropped by B's NAT; B dials 700 ms later.  Those 700 ms are no round trip."""
    wire = Wire(make(A, B), make(B, A), drop=lambda packet: packet.src == A and packet.is_initial_syn)
    wire.a.open(0)
    wire.run(until=700 * MILLISECOND)
    assert wire.b
    wire.b.open(wire.now)
    wire.run(until=2 * SECOND)
    assert [end.state for end in wire.ends()] == [State.ESTABLISHED] * 2
    assert wire.a.timer.srtt is None
    assert wire.b.timer.srtt == 2 * DELAY


def test_a_lost_syn_makes_the_first_timeout_three_seconds() -> None:
    wire = Wire(make(A, B), drop=lambda packet: packet.uid == 1)
    wire.listen = {B.address: B.port}
    wire.a.open(0)
    wire.run()
    assert wire.a.state is State.ESTABLISHED
    assert wire.a.timer.rto == 3 * SECOND
    assert wire.b
    assert wire.b.timer.rto < SECOND


def test_data_and_shutdown_before_the_connection_stands() -> None:
    wire = Wire(make())
    wire.listen = {B.address: B.port}
    wire.a.open(0)
    wire.a.send(b"early bird", 0)
    wire.a.shutdown(0)
    wire.run(until=SECOND)
    assert wire.b
    assert wire.b.receive(100, wire.now) == b"early bird"
    assert (wire.a.state, wire.b.state) == (State.FIN_WAIT_2, State.CLOSE_WAIT)


def test_absurd_ack_in_syn_received_is_refused() -> None:
    a = make()
    a.open(0)
    b = TcpConnection.accept(a.outbox[0], 9000, 0)
    b.outbox.clear()
    b.segment_in(Packet(TCP, A, B, flags=ACK, seq=1001, ack=12345, window=100), 1)
    assert [(packet.flags, packet.seq) for packet in b.outbox] == [(RST, 12345)]
    assert b.state is State.SYN_RECEIVED


def test_self_connect() -> None:
    wire = Wire(TcpConnection(A, A, 1000))
    wire.a.open(0)
    wire.run()
    assert wire.a.state is State.ESTABLISHED
    wire.a.send(b"echo", wire.now)
    wire.run(until=wire.now + SECOND)
    assert wire.a.receive(100, wire.now) == b"echo"
    wire.a.close(wire.now)
    wire.run(until=wire.now + SECOND)
    assert wire.a.state.value == "TIME-WAIT"


def test_refused_and_icmp() -> None:
    wire = Wire(make())
    wire.a.open(0)
    wire.run()
    assert wire.a.error == errno.ECONNREFUSED
    assert wire.a.closed
    assert wire.a.readable
    assert wire.a.writable
    assert not wire.a.connected
    for error, expected in {
        (3, 3): errno.ECONNREFUSED,
        (3, 0): errno.ENETUNREACH,
        (3, 1): errno.EHOSTUNREACH,
        (3, 13): errno.EHOSTUNREACH,
        (11, 0): errno.EHOSTUNREACH,
        (3, 4): None,
    }.items():
        a = make()
        a.open(0)
        a.icmp_in(*error, 1)
        assert a.error == expected
        assert a.closed == (expected is not None)
    wire = connected()
    wire.a.icmp_in(3, 3, 1)
    assert wire.a.state is State.ESTABLISHED
    assert wire.a.error is None


@pytest.mark.parametrize(
    ("schedule", "times", "end"),
    [
        (tcp.LINUX_SYN_SCHEDULE, [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67], 131),
        (tcp.CLASSIC_SYN_SCHEDULE, [0, 1, 3, 7, 15, 31, 63], 127),
    ],
)
def test_syn_schedule(schedule: tuple[int, ...], times: list[int], end: int) -> None:
    wire = Wire(make(), loss=1.0)
    assert wire.a.syn_schedule == tcp.LINUX_SYN_SCHEDULE
    wire.a.syn_schedule = schedule
    wire.a.open(0)
    wire.run()
    assert [when // SECOND for when, _ in wire.log] == times
    assert {(packet.flags, packet.seq) for _, packet in wire.log} == {(SYN, 1000)}
    assert wire.a.error == errno.ETIMEDOUT
    assert wire.now == end * SECOND
    assert wire.a.retransmissions == len(times) - 1


def test_syn_ack_schedule() -> None:
    a = make()
    a.open(0)
    wire = Wire(TcpConnection.accept(a.outbox[0], 9000, 0), loss=1.0)
    wire.run()
    assert [when // SECOND for when, _ in wire.log] == [0, 1, 3, 7, 15, 31]
    assert wire.a.error == errno.ETIMEDOUT
    assert wire.now == 63 * SECOND


def test_options_of_a_plain_peer() -> None:
    """No MSS means 536; no window scale means that nobody scales, and our SYN,ACK does not offer it."""
    syn = Packet(TCP, A, B, flags=SYN, seq=1000, window=5000)
    b = TcpConnection.accept(syn, 9000, 0)
    assert (b.mss, b.outbox[0].wscale, b.outbox[0].mss) == (536, None, 1460)
    b.segment_in(Packet(TCP, A, B, flags=ACK, seq=1001, ack=9001, window=5000), 0)
    assert b.snd_wnd == 5000
    b.send(bytes(2000), 0)
    assert {len(packet.payload) for packet in b.outbox[1:]} == {536, 2000 - 3 * 536}
    assert b.outbox[-1].window == 0xFFFF
