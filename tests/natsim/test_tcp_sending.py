"""What a TCP sends and when: windows, retransmission, NewReno, and how long it waits for a silent peer."""

from __future__ import annotations

import errno
import random
from itertools import pairwise

from tcp_wire import DELAY, A, connected, limited, segment

from natsim.packet import ACK, Packet, flag_text
from natsim.tcp_congestion import MILLISECOND, SECOND, NewReno


def test_flow_control() -> None:
    """The reader stops: the sender stops at the window, probes it, and goes on when it opens."""
    wire = limited(50_000)
    a, b = wire.a, wire.b
    assert b
    data = random.Random(1).randbytes(200_000)
    assert a.send(data, 0) == 200_000
    wire.run(until=30 * SECOND)
    assert len(b._received) == 50_000
    assert a.snd_wnd == 0
    assert not any(packet.payload for when, packet in wire.log if when > 5 * SECOND)
    # The 360 octets of the window that make no full segment wait until nothing else is under way.
    assert [len(packet.payload) for _, packet in wire.log if packet.payload] == [1460] * 34 + [360]
    probes = [when for when, packet in wire.log if packet.src == A and when > SECOND]
    assert 3 <= len(probes) <= 8
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    assert all(later >= 2 * earlier for earlier, later in pairwise(gaps))  # exponential

    got = bytearray(b.receive(100, wire.now))
    assert not b.outbox  # too small a step to be worth an update (silly window)
    got += b.receive(20_000, wire.now)
    assert [packet.window for packet in b.outbox] == [20_100]
    wire.work = lambda: got.extend(b.receive(1 << 20, wire.now))
    wire.run(until=wire.now + 2 * SECOND)
    assert got == data


def test_a_sliver_of_window_is_not_used() -> None:
    """Silly window avoidance: 108 octets of room, while full segments are under way, are not worth a segment."""
    wire = connected()
    a = wire.a
    a.send(bytes(100_000), 0)
    a.outbox.clear()
    ack = segment(wire, ACK, ack=1001 + 1460)
    ack.window = (9 * 1460 + 108) >> a.snd_wscale
    a.segment_in(ack, DELAY)
    assert not a.outbox
    ack = segment(wire, ACK, ack=1001 + 10 * 1460)
    ack.window = 108 >> a.snd_wscale
    a.segment_in(ack, DELAY)  # nothing is under way any more: wait a while for a better window, then use this one
    assert not a.outbox
    assert a.next_timer is not None
    a.on_timer(a.next_timer)
    assert [len(packet.payload) for packet in a.outbox] == [96]


def test_lost_window_update_is_found_by_a_probe() -> None:
    wire = limited(20_000)
    a, b = wire.a, wire.b
    assert b
    a.send(bytes(40_000), 0)
    wire.run(until=2 * SECOND)
    got = len(b.receive(1 << 20, wire.now))
    b.outbox.clear()  # the update is lost
    wire.run(until=20 * SECOND)
    assert got + len(b.receive(1 << 20, wire.now)) == 40_000


def test_new_reno_in_numbers() -> None:
    reno = NewReno(100)
    assert not any(reno.on_duplicate_ack(1000) for _ in range(2))
    assert reno.window == 1200  # limited transmit
    assert reno.on_duplicate_ack(1000)
    assert (reno.ssthresh, reno.cwnd, reno.recover) == (500, 800, 1000)
    assert not reno.on_duplicate_ack(1000)
    assert reno.window == 900
    assert reno.on_ack(300, 1000)  # a partial ACK: repeat the next one
    assert reno.cwnd == 700
    assert not reno.on_ack(700, 700)
    assert reno.cwnd == 200
    assert not any(reno.on_duplicate_ack(200) for _ in range(5))  # not above `recover`: may be echoes of the repeats
    reno.on_timeout(200)
    assert (reno.ssthresh, reno.cwnd) == (200, 100)


def test_initial_window_and_slow_start() -> None:
    wire = connected()
    wire.a.send(bytes(200_000), 0)
    assert len(wire.a.outbox) == 10
    wire.run(until=3 * DELAY - 1)
    assert sum(1 for when, packet in wire.log if when == 2 * DELAY and packet.payload) == 20


def test_fast_retransmit() -> None:
    """One lost segment is repeated after three duplicate ACKs, long before the timer."""
    dropped: list[Packet] = []

    def drop(packet: Packet) -> bool:
        if packet.payload and packet.seq == 1001 + 1460 and not dropped:
            dropped.append(packet)
            return True
        return False

    wire = connected(drop=drop)  # type: ignore[arg-type]
    wire.a.send(bytes(100_000), 0)
    wire.run(until=2 * DELAY)
    assert wire.a.retransmissions == 1
    assert wire.a.congestion.in_recovery
    wire.run(until=SECOND)
    assert wire.b
    assert len(wire.b._received) == 100_000
    assert wire.a.retransmissions == 1
    assert not wire.a.congestion.in_recovery


def test_partial_acks_repair_one_hole_per_round_trip() -> None:
    lost = {1001 + 1460 * n for n in (1, 3, 5)}

    def drop(packet: Packet) -> bool:
        hit = packet.src == A and packet.seq in lost
        lost.discard(packet.seq) if hit else None
        return hit

    wire = connected(drop=drop)  # type: ignore[arg-type]
    wire.a.send(bytes(100_000), 0)
    wire.run(until=8 * DELAY)
    assert wire.a.retransmissions == 3
    assert wire.a.snd_una > 1001 + 5 * 1460
    assert wire.a._retries == 0


def test_retransmission_backs_off_and_gives_up() -> None:
    wire = connected(loss=1.0)
    wire.a.send(b"hello?", 0)
    wire.run()
    times = [when for when, _ in wire.log]
    assert len(times) == 1 + 15
    assert wire.a.error == errno.ETIMEDOUT
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] >= 200 * MILLISECOND
    assert gaps[-1] == 120 * SECOND
    assert all(later == min(2 * earlier, 120 * SECOND) for earlier, later in pairwise(gaps))


def test_user_timeout() -> None:
    wire = connected(loss=1.0)
    wire.a.user_timeout = 10 * SECOND
    wire.run(until=100 * SECOND)
    assert wire.a.error is None  # nothing sent, nothing to wait for
    wire.a.send(b"hello?", wire.now)
    wire.run()
    assert wire.a.error == errno.ETIMEDOUT
    assert wire.now == 110 * SECOND


def test_keepalive() -> None:
    wire = connected()
    wire.a.keepalive = (15 * SECOND, 5 * SECOND, 3)
    wire.run(until=100 * SECOND)
    assert wire.a.error is None
    assert {packet.seq for _, packet in wire.log if packet.src == A} == {1000}
    wire.loss = 1.0
    wire.run()
    assert wire.a.error == errno.ETIMEDOUT
    last = [(when, flag_text(packet.flags)) for when, packet in wire.log if packet.src == A][-4:]
    assert last == [(wire.now - n * 5 * SECOND, flags) for n, flags in ((3, "."), (2, "."), (1, "."), (0, "R."))]


def test_a_user_timeout_stands_for_the_number_of_keepalive_probes() -> None:
    """As Linux: with both set, the time decides, and it is looked at when a probe is due."""
    wire = connected(loss=1.0)
    wire.a.keepalive = (15 * SECOND, 5 * SECOND, 3)
    wire.a.user_timeout = 42 * SECOND
    wire.run()
    assert wire.a.error == errno.ETIMEDOUT
    assert wire.now == 45 * SECOND


def test_a_user_timeout_counts_while_a_window_is_closed() -> None:
    """Measured on Linux 6.18: a peer that answers every probe, and never reads, is given up all the same."""
    wire = limited(2000)
    wire.a.user_timeout = 3 * SECOND
    wire.a.send(bytes(5000), 0)
    wire.run(until=60 * SECOND)
    assert wire.a.error == errno.ETIMEDOUT
    assert wire.b is not None
    assert wire.b.error is None


def test_an_icmp_error_says_why_an_established_connection_died() -> None:
    wire = connected()
    wire.a.send(b"hello", 0)
    wire.run(until=SECOND)
    wire.loss = 1.0
    wire.a.send(b"hello?", wire.now)
    wire.a.icmp_in(3, 1, wire.now)
    assert wire.a.error is None, "the path may recover (RFC 5461)"
    wire.run()
    assert wire.a.error == errno.EHOSTUNREACH


def test_an_ack_makes_an_icmp_error_forgotten() -> None:
    wire = connected()
    wire.a.send(b"hello", 0)
    wire.a.icmp_in(3, 1, 0)
    wire.run(until=SECOND)
    wire.loss = 1.0
    wire.a.send(b"hello?", wire.now)
    wire.run()
    assert wire.a.error == errno.ETIMEDOUT


def test_karn_and_the_estimate() -> None:
    wire = connected()
    wire.a.send(b"x", 0)
    wire.run(until=SECOND)
    assert wire.a.timer.srtt is not None
    assert wire.a.timer.rto >= 200 * MILLISECOND
    before = wire.a.timer.srtt
    wire.loss = 1.0
    wire.a.send(b"y", wire.now)
    wire.run(until=wire.now + SECOND)
    wire.loss = 0.0
    wire.run(until=wire.now + 5 * SECOND)
    assert wire.a.snd_una == wire.a.snd_max
    assert wire.a.timer.srtt == before
