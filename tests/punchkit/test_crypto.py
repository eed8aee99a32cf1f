"""Keys: who gets them, and what does not open."""

import os
import random

import pytest

from punchkit import errors
from punchkit.crypto import (
    GREETING_SIZE,
    MAX_RECORD,
    OVERHEAD,
    Deframer,
    Master,
    Pake,
    PathHandshake,
    frame,
    other,
)
from punchkit.errors import ProtocolError, WrongCode


def pair(code_a="7-amber-falcon", code_b="7-amber-falcon"):
    a, b = Pake(code_a), Pake(code_b)
    return a.finish(b.message), b.finish(a.message)


@pytest.fixture
def master():
    return Master(b"s" * 32)


# ---- the PAKE --------------------------------------------------------------------------------------------------------


def test_the_same_code_confirms_both_ways():
    leader, follower = pair("7-amber-falcon", " 7 Amber FALCON")
    follower.check("leader", leader.confirmation("leader"))
    leader.check("follower", follower.confirmation("follower"))
    assert leader.confirmation("leader") == follower.confirmation("leader")


def test_another_code_is_a_wrong_code_and_says_what_to_do():
    leader, follower = pair("7-amber-falcon", "7-amber-facon")
    with pytest.raises(WrongCode, match="Ask for a new code"):
        follower.check("leader", leader.confirmation("leader"))


def test_a_reflected_confirmation_proves_nothing():
    leader, _ = pair()
    with pytest.raises(WrongCode):
        leader.check("follower", leader.confirmation("leader"))
    with pytest.raises(WrongCode):
        leader.check("follower", b"")


def test_every_run_has_its_own_secret():
    assert pair()[0].confirmation("leader") != pair()[0].confirmation("leader")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"S",
        bytes(33),
        b"A" + bytes(32),
        b"S" + bytes(32),
        b"S\x01" + bytes(31),
        b"S" + b"\xff" * 32,
        b"S" + bytes(33),
    ],
)
def test_a_malformed_pake_message_is_a_protocol_error(message):
    with pytest.raises(ProtocolError, match="PAKE"):
        Pake("7-amber-falcon").finish(message)


def test_a_reflected_pake_message_is_a_protocol_error():
    pake = Pake("7-amber-falcon")
    with pytest.raises(ProtocolError, match="our own"):
        pake.finish(pake.message)


# ---- sealed records --------------------------------------------------------------------------------------------------


def test_records_open_in_order_on_the_other_side(master):
    sealer, opener = master.path(b"1", "leader")[0], master.path(b"1", "follower")[1]
    texts = [b"", b"a", b"a", os.urandom(MAX_RECORD)]
    sealed = [sealer.seal(text) for text in texts]
    assert [len(s) - len(t) for s, t in zip(sealed, texts, strict=True)] == [OVERHEAD] * 4
    assert sealed[1] != sealed[2]
    assert [opener.open(record) for record in sealed] == texts
    with pytest.raises(ValueError, match="the most is"):
        sealer.seal(bytes(MAX_RECORD + 1))


def test_tampering_replay_reordering_and_truncation_do_not_open(master):
    sealer, opener = master.path(b"1", "leader")[0], master.path(b"1", "follower")[1]
    first, second = sealer.seal(b"first"), sealer.seal(b"second")
    bad = [bytes([*first[:i], first[i] ^ 1, *first[i + 1 :]]) for i in range(len(first))]
    for record in [*bad, second, first[:-1], first + b"x", b"", b"short"]:
        with pytest.raises(ProtocolError, match="record 0"):
            opener.open(record)
    assert opener.open(first) == b"first"
    with pytest.raises(ProtocolError, match="record 1"):
        opener.open(first)


def test_keys_differ_by_path_direction_and_secret(master):
    sealers = [m.path(context, role)[0] for m in (master, Master(b"t" * 32)) for context in (b"1", b"2")
               for role in ("leader", "follower")]  # fmt: skip
    assert len({sealer.seal(b"same") for sealer in sealers}) == 8
    sealer, opener = master.path(b"1", "leader")
    with pytest.raises(ProtocolError):
        opener.open(sealer.seal(b"reflected"))


def test_confirmations_differ_by_role(master):
    assert master.confirmation("leader") != master.confirmation("follower")


# ---- opening a path --------------------------------------------------------------------------------------------------


def greet(master, **nonces):
    sides = {role: PathHandshake(master, role, nonces.get(role)) for role in ("leader", "follower")}
    return {role: side.receive_greeting(sides[other(role)].greeting) for role, side in sides.items()}


def test_a_path_opens_for_those_who_hold_the_secret(master):
    keys = greet(master)
    for role in ("leader", "follower"):
        assert keys[other(role)][1].open(keys[role][0].seal(b"response")) == b"response"


def test_greetings_have_the_size_that_was_promised(master):
    assert len(PathHandshake(master, "leader").greeting) == GREETING_SIZE == 36
    assert PathHandshake(master, "leader").greeting != PathHandshake(master, "leader").greeting


def test_strangers_are_turned_away(master):
    good = PathHandshake(master, "follower").greeting
    strangers = [
        PathHandshake(Master(b"t" * 32), "follower").greeting,
        PathHandshake(master, "leader").greeting,
        b"HTTP" + good[4:],
        good[:-1],
        good + b"x",
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:4] + bytes([good[4] ^ 1]) + good[5:],
        b"",
    ]
    for greeting in strangers:
        with pytest.raises(ProtocolError):
            PathHandshake(master, "leader").receive_greeting(greeting)


def test_our_own_greeting_reflected_is_a_stranger(master):
    handshake = PathHandshake(master, "leader")
    with pytest.raises(ProtocolError):
        handshake.receive_greeting(handshake.greeting)


def test_a_recorded_path_cannot_be_played_back(master):
    old = PathHandshake(master, "follower")
    sealer, _ = old.receive_greeting(PathHandshake(master, "leader").greeting)
    response = sealer.seal(b"response")
    _, opener = PathHandshake(master, "leader").receive_greeting(old.greeting)
    with pytest.raises(ProtocolError):
        opener.open(response)


def test_a_handshake_gives_its_keys_once(master):
    handshake, greeting = PathHandshake(master, "leader"), PathHandshake(master, "follower").greeting
    handshake.receive_greeting(greeting)
    with pytest.raises(ValueError, match="is done"):
        handshake.receive_greeting(greeting)


# ---- framing ---------------------------------------------------------------------------------------------------------


def test_frames_survive_any_cutting():
    rng = random.Random(1)
    bodies = [rng.randbytes(rng.choice([17, 100, MAX_RECORD + OVERHEAD])) for _ in range(30)]
    stream = b"".join(map(frame, bodies))
    for cut in (7, 1000, 1 << 20):
        deframer = Deframer()
        pieces = [stream[i : i + cut] for i in range(0, len(stream), cut)]
        assert [body for piece in pieces for body in deframer.feed(piece)] == bodies


@pytest.mark.parametrize("length", [0, 1, OVERHEAD, MAX_RECORD + OVERHEAD + 1, 2**32 - 1])
def test_a_length_that_no_record_has_is_a_protocol_error(length):
    with pytest.raises(ProtocolError, match=str(length)):
        Deframer().feed(length.to_bytes(4, "big"))


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_every_error_says_what_happened_and_what_to_do():
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PunchkitError)
    ]
    assert len(kinds) >= 11
    for kind in kinds:
        assert str(kind()).startswith(kind.what)
        assert "because of X" in str(kind("because of X"))
        assert kind.todo or kind is errors.PunchkitError
    assert len({kind.what for kind in kinds}) == len(kinds)
