"""The session's stream: its end, its windows, its timers, and what a hostile peer may try."""

import pytest
from session_world import WINDOW, A, B, World, direct, drain, noise

from punchkit import messages
from punchkit.errors import ProtocolError
from punchkit.messages import (
    Ack,
    Bye,
    Close,
    Control,
    ControlReceived,
    Data,
    Finished,
    Lost,
    PathLost,
    PeerFinished,
    Ping,
    Pong,
    Response,
    RoundTrip,
    Stalled,
    Switch,
)
from punchkit.session import RELAY, Session

# ---- the stream ------------------------------------------------------------------------------------------------------


def test_the_wait_for_bye_ends_even_if_the_only_path_is_mute():
    world = World(delay=0.3)
    world.close()
    assert world.run(10, lambda: Bye in world.kinds(A, 0))
    world.silence(RELAY)
    assert world.run(60, lambda: Finished() in world.events[A])


def test_half_close():
    world = World()
    world.send(A, b"question")
    world.close(A)
    assert world.run(5, lambda: world.has(B, PeerFinished))
    assert world.ends[B].at_eof
    world.run(3)
    assert not world.ends[A].at_eof
    assert Bye not in world.kinds(A, 0) + world.kinds(B, 0)
    world.send(B, b"answer")
    world.close(B)
    assert world.run(5, world.finished)
    assert world.read == [b"answer", b"question"]
    for end in (A, B):
        kinds = world.kinds(end, 0)
        assert kinds[kinds.index(Bye) + 1] is Ping  # which makes a BYE that went astray noticed


def test_close_and_bye_are_repeated_when_their_path_dies():
    world = World(delay=0.3)
    world.open(1, delay=0.3)
    world.ends[A].select(1, world.now)
    world.run(1)
    world.close()
    world.run(0.1)
    world.break_(1)
    assert world.run(10, world.finished)
    assert world.kinds(A, 1).count(Close) == world.kinds(A, 0).count(Close) == 1


def test_when_all_is_done_but_bye_the_loss_of_every_path_is_the_end():
    world = World(delay=0.3)
    world.close()
    assert world.run(10, lambda: Bye in world.kinds(A, 0))
    world.break_(RELAY)
    world.run(1)
    assert Finished() in world.events[A]
    assert Stalled() not in world.events[A]


def test_a_finished_session_lets_its_paths_drain_and_is_quiet():
    world = World()
    world.close()
    assert world.run(10, world.finished)
    world.run(1)
    assert not any(end.has_work(RELAY) for end in world.ends)
    for end in (A, B):
        world.ends[end].lose(RELAY, "closed", world.now)
        assert world.ends[end].next_event() == PathLost(RELAY, "closed")
        assert world.ends[end].next_event() is None
        assert world.ends[end].get_timer() is None


def test_a_bye_that_went_into_a_dead_path_is_said_again_on_the_relay():
    world = World()
    world.open(1)
    world.ends[A].select(1, world.now)
    world.run(1)
    world.close(A)
    world.run(1)
    world.closing[B] = True
    assert world.run(1, lambda: Bye in world.kinds(A, 1))
    world.silence(1, A)
    assert world.run(6, world.finished)
    assert Bye in world.kinds(A, RELAY)


def test_a_finished_session_still_answers_a_peer_that_comes_back():
    world = World(delay=0.3)
    world.close(B)
    world.run(2)
    world.close(A)
    assert world.run(10, lambda: world.has(B, PeerFinished))
    world.break_(RELAY)  # B has all that it needs; A does not know that its end has arrived
    world.run(1)
    assert Finished() in world.events[B]
    assert Stalled() in world.events[A]
    world.open(RELAY)
    assert world.run(5, world.finished)


def test_back_pressure_and_the_window():
    world = World(window=WINDOW)
    world.read_rate[B] = 0
    world.send(A, noise(1, 1_000_000))
    world.run(5)
    assert world.ends[A].room == 0 or world.ends[A]._out.end - WINDOW == WINDOW
    assert world.ends[B].readable == WINDOW
    assert world.ends[A].bytes_sent == {0: WINDOW}
    world.read_rate[B] = 1 << 30
    assert world.run(60, lambda: len(world.read[B]) == 1_000_000)


def test_writing_after_the_end_is_an_error():
    session = Session(True, 0.0)
    session.write_eof()
    with pytest.raises(ValueError, match="after the end"):
        session.write(b"x")
    with pytest.raises(ValueError, match="window"):
        Session(True, 0.0, window=1000)


def test_control_overtakes_data_and_prefers_the_relay():
    world = direct()
    world.ends[A].send_control(b"candidates")
    assert drain(world.ends[A], 1, world.now, 1) != [Control(b"candidates")]
    assert drain(world.ends[A], 0, world.now, 1) == [Control(b"candidates")]
    world.ends[A].lose(RELAY, "gone", world.now)
    world.ends[A].send_control(b"sync")
    assert drain(world.ends[A], 1, world.now, 2) == [Lost(RELAY), Control(b"sync")]
    world.ends[B].receive(RELAY, messages.encode(Control(b"hello")), world.now)
    assert world.ends[B].next_event() == ControlReceived(b"hello")


def test_acks_come_after_two_records_or_twenty_milliseconds():
    session = Session(False, 0.0)
    drain(session, RELAY, 0.0)
    session.receive(RELAY, messages.encode(Data(0, b"ab")), 1.0)
    assert not session.has_work(RELAY)
    assert session.get_timer() == pytest.approx(1.02)
    session.handle_timer(1.02)
    assert drain(session, RELAY, 1.02) == [Ack(2, 4 << 20)]
    session.receive(RELAY, messages.encode(Data(2, b"c")), 2.0)
    session.receive(RELAY, messages.encode(Data(3, b"d")), 2.0)
    assert drain(session, RELAY, 2.0) == [Ack(4, 4 << 20)]
    session.receive(RELAY, messages.encode(Data(4, b"e")), 3.0)
    session.receive(RELAY, messages.encode(Switch(1)), 3.0)
    assert drain(session, RELAY, 3.0) == [Ack(5, 4 << 20)]


def test_ping_measures_and_keepalive_keeps_alive():
    world = World(delay=0.2)
    world.ends[A].ping(RELAY, world.now)
    world.run(1)
    assert world.has(A, RoundTrip) == [RoundTrip(RELAY, pytest.approx(0.4))]
    assert world.ends[A]._paths[RELAY].srtt == pytest.approx(0.4)
    world.run(100)
    pings = world.kinds(A, 0).count(Ping) + world.kinds(B, 0).count(Ping)
    assert 6 <= pings <= 15
    with pytest.raises(ValueError, match="not open"):
        world.ends[A].ping(9, world.now)
    with pytest.raises(ValueError, match="open already"):
        world.ends[A].add_path(RELAY, world.now)


# ---- what a hostile peer may try -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [Data(0, b"")],
        [Data(WINDOW * 64 + 1, b"x")],
        [Data(2**64 - 1, b"xx")],
        [Ack(1, 100)],
        [Close(3), Data(2, b"xx")],
        [Data(0, b"xxx"), Close(2)],
        [Data(5, b"xxx"), Close(7)],
        [Close(3), Close(4)],
        [Bye()],
        [Pong(1)],
        [Response()],
        [Data(2 * i + 1, b"x") for i in range(messages.MAX_GAPS + 1)],
    ],
    ids=lambda words: " ".join(map(str, words))[:40],
)
def test_nonsense_is_a_protocol_error(words):
    session = Session(False, 0.0)
    drain(session, RELAY, 0.0)
    for word in words[:-1]:
        session.receive(RELAY, messages.encode(word), 0.0)
    with pytest.raises(ProtocolError):
        session.receive(RELAY, messages.encode(words[-1]), 0.0)


def test_bye_while_our_reader_still_waits_is_a_protocol_error():
    session = Session(False, 0.0)
    session.write_eof()
    assert Close(0) in drain(session, RELAY, 0.0)
    with pytest.raises(ProtocolError, match="Bye"):
        session.receive(RELAY, messages.encode(Bye()), 0.0)


def test_garbage_is_a_protocol_error():
    session = Session(False, 0.0)
    for record in (b"", b"\x00", b"\xff123", b"\x01", b"\x02abc", b"\x0bmore"):
        with pytest.raises(ProtocolError):
            session.receive(RELAY, record, 0.0)


def test_answers_that_nobody_reads_are_bounded():
    session = Session(False, 0.0)
    for number in range(10_000):
        session.receive(RELAY, messages.encode(Ping(number)), 0.0)
    assert drain(session, RELAY, 0.0).count(Ack(0, 4 << 20)) == 1
    assert len(session._paths[RELAY].queue) == 0
