"""What a TCP accepts and when it acknowledges it; the circle of sequence numbers, and reassembly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tcp_wire import A, B, connected, limited, make, segment

from natsim.packet import ACK, FIN, PSH, SYN, TCP, Packet
from natsim.tcp import State
from natsim.tcp_congestion import MILLISECOND, SECOND
from natsim.tcp_segments import Reassembly, add, at_or_before, before, distance


def test_text_beyond_the_window_is_cut_off() -> None:
    a = make(receive_buffer=10)
    a.open(0)
    a.segment_in(Packet(TCP, B, A, flags=SYN | ACK, seq=9000, ack=1001, window=1000), 0)
    a.outbox.clear()
    a.segment_in(Packet(TCP, B, A, b"0123456789abcdef", flags=ACK | FIN, seq=9001, ack=1001, window=1000), 0)
    assert [(packet.ack, packet.window) for packet in a.outbox] == [(9011, 0)]
    assert a.state is State.ESTABLISHED
    a.segment_in(Packet(TCP, B, A, b"a", flags=ACK, seq=9011, ack=1001, window=77), 1)  # closed, but the ACK counts
    assert a.snd_wnd == 77
    assert a.receive(100, 1) == b"0123456789"


def test_old_and_early_text() -> None:
    wire = connected()
    a = wire.a
    start = a.rcv_nxt
    a.segment_in(segment(wire, ACK, seq=start + 3, text=b"def"), 0)
    a.segment_in(segment(wire, ACK | FIN, seq=start + 6, text=b"gh"), 0)
    assert [packet.ack for packet in a.outbox] == [start, start]  # duplicate ACKs, at once
    a.segment_in(segment(wire, ACK, seq=start - 5, text=b"?????abcd"), 0)
    assert a.receive(100, 0) == b"abcdefgh"
    assert a.state is State.CLOSE_WAIT
    assert a.at_eof
    assert a.outbox[-1].ack == start + 9


def test_text_after_the_fin_is_ignored() -> None:
    wire = connected()
    start = wire.a.rcv_nxt
    wire.a.segment_in(segment(wire, ACK | FIN, seq=start + 3, text=b"def"), 0)
    wire.a.segment_in(segment(wire, ACK, text=b"abcdefghi"), 0)
    assert wire.a.receive(100, 0) == b"abcdef"
    assert wire.a.at_eof
    assert wire.a.rcv_nxt == start + 7


def test_text_beyond_the_promised_window() -> None:
    """There is room, since the application has read, but the peer has not been told: take it, promise no less."""
    wire = limited(10_000)
    assert wire.b
    wire.b.segment_in(Packet(TCP, A, B, bytes(9_990), flags=ACK, seq=1001, ack=9001, window=100), 0)
    wire.b.receive(1000, 0)
    wire.b.segment_in(Packet(TCP, A, B, bytes(500), flags=ACK, seq=10_991, ack=9001, window=100), 0)
    wire.b.on_timer(SECOND)
    assert all(0 <= packet.window <= 10_000 for packet in wire.b.outbox)
    assert wire.b.rcv_nxt == 11_491


def test_late_and_ancient_acks() -> None:
    """A late segment does not bring back an old window; an ACK from long ago makes the whole segment a forgery."""
    wire = connected()
    a = wire.a
    start = a.rcv_nxt
    a.segment_in(segment(wire, ACK, seq=start + 5, text=b"new"), 0)
    late = segment(wire, ACK, text=b"late.")
    late.window = 3
    a.segment_in(late, 0)
    assert a.snd_wnd == 1000 << 5
    assert a.receive(100, 0) == b"late.new"
    a.segment_in(segment(wire, ACK, ack=a.snd_una - a.max_snd_wnd - 1, text=b"forged"), 0)
    assert a.receive(100, 0) == b""


def test_ack_on_the_right_edge_counts() -> None:
    """The peer has filled our window, all of that is lost, and now it acknowledges our data."""
    wire = connected()
    wire.a.send(b"12345", 0)
    wire.a.segment_in(segment(wire, ACK, seq=wire.a.rcv_nxt + (1 << 20), ack=wire.a.snd_max), 0)
    assert wire.a.snd_una == wire.a.snd_max


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31) + 1, 2**31 - 1))
def test_numbers_on_the_circle(seq: int, step: int) -> None:
    other = add(seq, step)
    assert distance(other, seq) == step
    assert before(seq, other) == (step > 0)
    assert at_or_before(seq, other) == (step >= 0)


@given(st.binary(max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=30))
def test_reassembly_gives_back_the_stream(stream: bytes, cuts: list[tuple[int, int]]) -> None:
    early = Reassembly(1 << 20)
    have: set[int] = set()
    for start, length in cuts:
        if piece := stream[start : start + length]:
            early.put(start, piece)
            have.update(range(start, start + len(piece)))
    end = next(n for n in range(len(stream) + 1) if n not in have)
    assert early.take(0) == stream[:end]
    assert bool(early) == any(n > end for n in have)


def test_reassembly_is_bounded() -> None:
    early = Reassembly(10)
    for n in range(1, 100):
        early.put(n, b"12345678")
    early.put(0, b"ab")
    assert early.take(0) == b"ab2345678"
    assert not early


def test_delayed_ack() -> None:
    wire = connected()
    a = wire.a
    a.segment_in(segment(wire, ACK, text=b"x"), 0)
    assert not a.outbox
    assert a.next_timer == 40 * MILLISECOND
    a.on_timer(40 * MILLISECOND)
    assert [(packet.flags, packet.cause) for packet in a.outbox] == [(ACK, 77)]
    assert a.next_timer is None
    a.outbox.clear()
    a.segment_in(segment(wire, ACK, text=bytes(1460)), SECOND)
    assert not a.outbox
    a.segment_in(segment(wire, ACK, text=bytes(1460)), SECOND)
    assert len(a.outbox) == 1
    a.outbox.clear()
    a.segment_in(segment(wire, ACK, text=b"y"), SECOND)
    a.send(b"answer", SECOND)  # carries the ACK
    assert [packet.flags for packet in a.outbox] == [ACK | PSH]
    assert a._ack_at is None
