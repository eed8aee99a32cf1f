"""Whole transfers over bad networks, and garbage: every octet arrives, nothing breaks."""

from __future__ import annotations

import random

import pytest
from tcp_wire import A, B, Wire, connected, limited, make, segment, transfer

from natsim.packet import ACK, FIN, PSH, RST, SYN
from natsim.tcp_congestion import MILLISECOND, SECOND


def test_lossless_transfer_repeats_nothing_and_wraps_around() -> None:
    wire = connected(isn_a=2**32 - 70_000, isn_b=2**32 - 1)
    transfer(wire, random.Random(2).randbytes(3_000_000), random.Random(3).randbytes(500_000))
    assert wire.a.retransmissions == 0
    assert wire.b
    assert wire.b.retransmissions == 0


@pytest.mark.parametrize("seed", range(40))
def test_every_octet_arrives_over_a_bad_network(seed: int) -> None:
    """10 % loss, reordering and copies, from the first SYN to the last FIN, near the end of the number circle."""
    dice = random.Random(seed)
    data_a = dice.randbytes(dice.randrange(60_000))
    data_b = dice.randbytes(dice.randrange(60_000))
    a, b = make(A, B, isn=2**32 - dice.randrange(50_000)), make(B, A, isn=dice.randrange(2**32))
    wire = Wire(a, b, seed=seed, loss=0.1, reorder=0.2, duplicate=0.1)
    a.open(0)
    b.open(0)
    transfer(wire, data_a, data_b, until=600 * SECOND)


@pytest.mark.parametrize("seed", range(10))
def test_small_windows_over_a_bad_network(seed: int) -> None:
    """The same with a receive buffer smaller than two segments."""
    dice = random.Random(seed)
    wire = limited(2500)
    wire.random, wire.loss, wire.reorder = dice, 0.05, 0.1
    transfer(wire, dice.randbytes(30_000), until=600 * SECOND)


def test_throughput_under_loss() -> None:
    """Without partial ACKs (RFC 6582) this took 411 s in an earlier model."""
    wire = connected(seed=5, loss=0.1)
    transfer(wire, bytes(600_000), until=100 * SECOND)


def test_garbage_never_breaks_a_connection() -> None:
    """Segments with random fields, as an attacker who guesses: no exception, no endless answers."""
    for seed in range(300):
        dice = random.Random(seed)
        wire = connected()
        wire.a.send(bytes(5000), 0)
        for step in range(30):
            packet = segment(
                wire,
                dice.choice([ACK, ACK | FIN, SYN, SYN | ACK, ACK | PSH, 0, 0xFF & ~RST]),
                seq=wire.a.rcv_nxt + dice.choice([0, 1, -1, 100, 1 << 20, dice.randrange(2**32)]),
                ack=wire.a.snd_una + dice.choice([0, 1, -1, 5000, 5001, dice.randrange(2**32)]),
                text=dice.randbytes(dice.choice([0, 0, 1, 3000])),
            )
            wire.a.outbox.clear()
            wire.a.segment_in(packet, step * MILLISECOND)
            assert len(wire.a.outbox) < 20
            assert 0 <= wire.a.rcv_wnd <= 1 << 20
            assert len(wire.a._received) <= 1 << 20
            assert all(0 <= p.window <= 0xFFFF and 0 <= p.seq < 2**32 and 0 <= p.ack < 2**32 for p in wire.a.outbox)
