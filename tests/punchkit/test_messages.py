"""The vocabulary on the wire, and the two ends of a byte stream against the simplest models of them."""

import random
from dataclasses import fields
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchkit.errors import ProtocolError
from punchkit.messages import (
    CHUNK,
    INITIAL_WINDOW,
    REGISTRY,
    Ack,
    Bye,
    Close,
    Control,
    Data,
    Incoming,
    Message,
    Outgoing,
    Ping,
    decode,
    encode,
)


def test_the_registry_is_complete_and_its_numbers_are_unique():
    assert len({number for number, _, _ in REGISTRY}) == len(REGISTRY)
    assert {cls for _, cls, _ in REGISTRY} == set(get_args(Message))
    for _, cls, layout in REGISTRY:
        assert len(layout) == len(fields(cls)), cls


@pytest.mark.parametrize("row", REGISTRY, ids=lambda row: row[1].__name__)
def test_every_message_comes_back(row):
    number, cls, layout = row
    for pattern in (0, 1, 255):
        values = [pattern.to_bytes(1, "big") * 8 if code == "*" else pattern for code in layout]
        record = encode(cls(*values))
        assert record[0] == number
        assert decode(record) == cls(*values)


def test_known_bytes():
    assert encode(Data(0x0102, b"hello")) == bytes.fromhex("01 0000000000000102") + b"hello"
    assert encode(Ack(5, 6)) == bytes.fromhex("02 0000000000000005 0000000000000006")
    assert encode(Ping(7)) == bytes.fromhex("03 00000007")
    assert encode(Control(b"{}")) == b"\x05{}"
    assert encode(Bye()) == b"\x0b"


@given(st.binary(max_size=40))
def test_any_bytes_decode_to_a_message_or_a_protocol_error(record):
    try:
        assert encode(decode(record)) == record
    except ProtocolError:
        pass


# ---- the two ends ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(50))
def test_incoming_merges_any_order_of_overlapping_pieces(seed):
    rng = random.Random(seed)
    stream = rng.randbytes(rng.choice([1, 1000, INITIAL_WINDOW]))
    incoming, out = Incoming(INITIAL_WINDOW), b""
    step = max(1, len(stream) // 40)
    starts = list(range(0, len(stream), step)) + [rng.randrange(len(stream)) for _ in range(40)]
    rng.shuffle(starts)
    for start in starts:
        incoming.merge(Data(start, stream[start : start + step + rng.randrange(1, 50)]))
        early = incoming._early
        assert all(a + len(x) < b for (a, x), (b, _) in pairwise(early))
        assert incoming.readable + sum(len(run) for _, run in early) <= len(stream)
        out += incoming.read(rng.choice([0, 7, 1 << 20]))
    incoming.close(Close(len(stream)))
    assert incoming.complete
    assert out + incoming.read(1 << 20) == stream
    assert incoming.ack().next_offset == len(stream) + 1


@pytest.mark.parametrize("seed", range(50))
def test_outgoing_gives_back_what_was_written(seed):
    rng = random.Random(seed)
    outgoing, stream, seen = Outgoing(4 * CHUNK), bytearray(), bytearray()
    for _ in range(300):
        data = rng.randbytes(rng.choice([1, 100, CHUNK, 3 * CHUNK]))
        room = outgoing.room
        taken = outgoing.write(data)
        assert taken == min(len(data), room)
        stream += data[:taken]
        if rng.random() < 0.2:
            outgoing.rewind()
        for _ in range(rng.randrange(4)):
            if outgoing.has_more:
                message = outgoing.take()
                assert message.data == stream[message.offset : message.offset + len(message.data)]
                seen[message.offset :] = message.data
        if outgoing.next > outgoing.acked:
            outgoing.acknowledge(Ack(rng.randint(outgoing.acked, outgoing.next), outgoing.next + 2 * CHUNK))
        assert outgoing.end - outgoing.acked <= 4 * CHUNK
        assert sum(map(len, outgoing._blocks.values())) <= 5 * CHUNK
    assert seen == stream[: len(seen)]


def test_an_old_ack_does_not_shrink_the_window():
    outgoing = Outgoing(4 * CHUNK)
    outgoing.write(bytes(4 * CHUNK))
    outgoing.acknowledge(Ack(0, 4 * CHUNK))
    outgoing.acknowledge(Ack(0, 0))
    while outgoing.has_more:
        outgoing.take()
    assert outgoing.next == 4 * CHUNK


def test_crumbs_do_not_cost_more_than_they_carry():
    incoming = Incoming(INITIAL_WINDOW)
    for offset in range(INITIAL_WINDOW):
        incoming.merge(Data(offset, b"x"))
    assert len(incoming._ready) <= 1 + INITIAL_WINDOW // CHUNK
