"""Moving up to a direct path, and falling back: the rules, one each."""

import pytest
from session_world import WINDOW, A, B, World, direct, drain, noise

from punchkit import messages
from punchkit.errors import ProtocolError
from punchkit.messages import (
    Ack,
    Data,
    Lost,
    PathChanged,
    PathLost,
    PathSuspect,
    Ping,
    Pong,
    Select,
    Stalled,
    Switch,
)
from punchkit.session import RELAY, Session

# ---- moving up -------------------------------------------------------------------------------------------------------


def test_an_upgrade_repeats_nothing():
    world = World(delay=0.2)
    data = noise(1, 2_000_000)
    for end in (A, B):
        world.send(end, data)
    world.run(0.25)
    world.open(1, delay=0.01)
    world.ends[A].select(1, world.now)
    world.send(A, data)
    world.close()
    assert world.run(60, world.finished)
    assert world.read[B] == data + data
    assert world.read[A] == data
    assert sum(world.ends[A].bytes_sent.values()) == len(data) * 2
    assert sum(world.ends[B].bytes_received.values()) == len(data) * 2
    assert sum(world.ends[B].bytes_sent.values()) == len(data)
    assert all(size > 0 for size in (world.ends[A].bytes_sent[0], world.ends[A].bytes_sent[1]))
    assert not any(world.has(end, PathSuspect) for end in (A, B))


def test_select_goes_first_on_the_new_path_and_switch_ends_the_data_of_the_old_one():
    world = World()
    world.send(A, noise(1, 3_000_000))
    world.run(0.06)
    world.open(1)
    world.ends[A].select(1, world.now)
    world.run(5)
    assert world.kinds(A, 1)[:2] == [Select, Ping]
    assert Data not in world.kinds(A, 0)[world.kinds(A, 0).index(Switch) :]
    assert Switch in world.kinds(B, 0)
    assert Select not in world.kinds(B, 1)
    assert [(e.old, e.new, e.reason) for e in world.has(B, PathChanged)] == [(0, 1, "the leader selected it")]
    assert world.ends[A].current == world.ends[B].current == 1


def test_a_slow_relay_that_still_drains_does_not_make_the_new_path_suspect():
    world = World(delay=8.0)
    world.run(9)
    world.send(A, noise(1, 500_000))
    world.run(0.01)
    world.open(1, delay=0.01)
    world.ends[A].select(1, world.now)
    world.send(A, noise(2, 500_000))
    world.close()
    assert world.run(60, world.finished)
    assert not world.has(A, PathSuspect)
    assert sum(world.ends[A].bytes_sent.values()) == 1_000_000


def test_a_selected_path_that_is_dead_is_noticed_without_any_data():
    world = World()
    world.open(1)
    world.silence(1)
    world.ends[A].select(1, world.now)
    world.run(5)
    assert [e.path for e in world.has(A, PathLost)] == [1]
    assert world.ends[A].current == RELAY


def test_only_the_leader_selects():
    world = World()
    world.open(1)
    with pytest.raises(ValueError, match="not the leader"):
        world.ends[B].select(1, world.now)
    with pytest.raises(ValueError, match="not open"):
        world.ends[A].select(2, world.now)
    with pytest.raises(ProtocolError, match="out of place"):
        world.ends[A].receive(1, messages.encode(Select(1)), world.now)
    with pytest.raises(ProtocolError, match="out of place"):
        world.ends[B].receive(0, messages.encode(Select(1)), world.now)


# ---- falling back ----------------------------------------------------------------------------------------------------


def test_a_broken_path_repeats_only_what_was_not_acknowledged():
    world = direct()
    acked = world.ends[A]._out.acked
    sent = sum(world.ends[A].bytes_sent.values())
    world.break_(1)
    world.close()
    assert world.run(60, world.finished)
    assert world.read[B] == noise(7, 3_000_000)
    assert sum(world.ends[A].bytes_sent.values()) == 3_000_000 + (sent - acked)
    assert [(e.old, e.new, e.reason) for e in world.has(A, PathChanged)][-1] == (1, 0, "broken")


def test_what_was_in_an_old_path_is_repeated_when_that_path_dies():
    world = World(delay=1.0)
    world.run(2)
    world.send(A, noise(3, 400_000))
    world.run(0.01)
    world.open(1)
    world.ends[A].select(1, world.now)
    world.run(0.1)
    world.break_(RELAY)
    world.close()
    assert world.run(60, world.finished)
    assert world.read[B] == noise(3, 400_000)
    assert world.ends[A].current == 1


@pytest.mark.parametrize("senders", [(A,), (B,), (A, B)])
def test_a_silent_path_is_suspect_then_lost(senders):
    world = direct()
    start = world.now
    world.silence(1, *senders)
    assert world.run(60, lambda: world.has(A, PathLost))
    assert [e.path for e in world.has(A, PathSuspect)] == [1]
    assert "silent" in world.has(A, PathSuspect)[0].reason
    assert world.now - start < 4
    world.close()
    assert world.run(60, world.finished)
    assert [e.path for e in world.has(B, PathLost)] == [1]
    assert world.read[B] == noise(7, 3_000_000)


def test_what_was_repeated_when_a_path_fell_silent_is_not_repeated_again_when_it_is_lost():
    world = direct(size=1_000_000, delay=2.0)
    in_flight = world.ends[A]._out.highest - world.ends[A]._out.acked
    assert 0 < in_flight < 1_000_001
    world.silence(1)
    assert world.run(60, lambda: world.has(A, PathLost))
    world.close()
    assert world.run(60, world.finished)
    assert sum(world.ends[A].bytes_sent.values()) <= 1_000_000 + in_flight


def test_a_silent_relay_is_left_for_an_idle_direct_path():
    world = World()
    world.open(1)
    world.run(1)
    world.silence(RELAY)
    world.send(A, noise(1, 1_000_000))
    assert world.run(60, lambda: len(world.read[B]) == 1_000_000)
    assert world.ends[A].current == 1


@pytest.mark.parametrize("current", [0, 1])
def test_the_window_is_told_again_when_the_path_that_carried_it_is_lost(current):
    session = Session(True, 0.0, WINDOW)
    session.add_path(1, 0.0)
    if current == 1:
        session.select(1, 0.0)
    drain(session, RELAY, 0.0)
    session.receive(1, messages.encode(Data(0, bytes(WINDOW // 2))), 1.0)
    session.read(WINDOW)
    assert Ack(WINDOW // 2, WINDOW * 3 // 2) in drain(session, 1, 1.0)
    session.lose(1, "broken", 1.0)
    assert Ack(WINDOW // 2, WINDOW * 3 // 2) in drain(session, RELAY, 1.0)


def test_repeated_data_is_not_timed():
    session = Session(True, 0.0)
    session.add_path(1, 0.0)
    session.select(1, 0.0)
    session.write(b"abc")
    drain(session, 1, 0.0)
    session.lose(1, "broken", 5.0)
    drain(session, RELAY, 5.0)
    session.receive(RELAY, messages.encode(Ack(3, WINDOW)), 5.001)
    assert session._paths[RELAY].srtt is None


def test_a_suspect_path_that_speaks_again_gets_its_data_back():
    world = direct()
    delays = [world.pipes[1, end].delay for end in (A, B)]
    for end in (A, B):
        world.pipes[1, end].delay = 1.5  # a pause, not a loss: what is sent from now on comes late
    world.pipes[1, A].capacity = 0
    assert world.run(60, lambda: world.has(A, PathSuspect))
    assert world.ends[A].current == RELAY
    for end in (A, B):
        world.pipes[1, end].delay = delays[end]
    world.pipes[1, A].capacity = 1 << 20
    assert world.run(60, lambda: world.ends[A].current == 1)
    assert world.has(A, PathChanged)[-1].reason == "it answered again"
    assert Switch in world.kinds(A, 0)
    assert not world.has(A, PathLost)
    world.close()
    assert world.run(60, world.finished)
    assert world.read[B] == noise(7, 3_000_000)


def test_lost_from_the_peer_moves_us_too():
    world = direct()
    world.ends[A].receive(RELAY, messages.encode(Lost(1)), world.now)
    assert world.ends[A].current == RELAY
    assert world.ends[A].next_event() == PathLost(1, "the other side lost it")
    assert Lost not in [type(message) for message in drain(world.ends[A], RELAY, world.now)]
    world.ends[A].receive(RELAY, messages.encode(Lost(1)), world.now)  # again: no effect
    world.ends[A].receive(1, messages.encode(Pong(99)), world.now)  # a late word


def test_losing_the_idle_relay_changes_nothing_and_the_peer_is_told():
    world = direct()
    world.ends[A].lose(RELAY, "server restarted", world.now)
    world.close()
    assert world.run(60, world.finished)
    assert world.has(A, PathLost) == [PathLost(RELAY, "server restarted")]
    assert RELAY in [e.path for e in world.has(B, PathLost)]
    assert Lost in world.kinds(A, 1)
    assert world.ends[A].bytes_sent == {1: 3_000_000}


def test_an_idle_relay_that_died_silently_is_found_out():
    world = World()
    world.open(1)
    world.ends[A].select(1, world.now)
    world.run(1)
    world.silence(RELAY)
    assert world.run(60, lambda: world.has(A, PathLost))
    assert world.has(A, PathLost)[0].path == RELAY
    assert not world.has(A, Stalled)


def test_the_only_path_is_not_suspected_and_its_loss_stalls_until_another_comes():
    world = World()
    world.send(A, noise(5, 1_000_000))
    world.run(0.07)
    world.silence(RELAY)
    world.run(100)
    assert not world.has(A, PathSuspect)
    assert not world.has(A, PathLost)
    world.break_(RELAY)
    world.run(1)
    assert world.has(A, Stalled)
    assert world.has(B, Stalled)
    assert not world.ends[A].has_work(RELAY)
    world.open(4)
    assert world.ends[A].current == world.ends[B].current == 4
    world.close()
    assert world.run(60, world.finished)
    assert world.read[B] == noise(5, 1_000_000)


def test_a_relay_that_comes_back_is_not_told_that_it_is_lost():
    world = World()
    world.break_(RELAY)
    world.run(1)
    world.open(RELAY)
    world.run(1)
    assert Lost not in world.kinds(A, RELAY) + world.kinds(B, RELAY)
    assert world.ends[A].current == RELAY


def test_a_window_that_opens_on_a_dying_path_opens_on_the_relay():
    world = direct(3_000_000, window=WINDOW, capacity=1 << 20)
    world.read_rate[B] = 0
    world.run(5)
    assert world.ends[B].readable == WINDOW
    world.silence(1)
    world.read_rate[B] = 20_000
    start = world.now
    assert world.run(60, lambda: len(world.read[B]) == 3_000_000)
    assert world.now - start < 12
