"""The session over a fake world: pipes with delay that die silently, in one direction, or abruptly.

`World` is the smallest honest driver: it polls both sessions whenever something happened, has a clock, and loses what
was in a pipe when the pipe dies. The fuzz test states the invariant; the others state the rules, one each.
"""

import heapq
import random
from itertools import count

import pytest

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
    PathChanged,
    PathLost,
    PathSuspect,
    PeerFinished,
    Ping,
    Pong,
    Response,
    RoundTrip,
    Select,
    Stalled,
    Switch,
)
from punchkit.session import RELAY, Session

A, B = 0, 1  # A leads
WINDOW = 64 * 1024


class Pipe:
    """One direction of one path: ordered, delayed, holding at most `capacity` bytes."""

    def __init__(self, delay, capacity):
        self.delay, self.capacity, self.inside, self.dead = delay, capacity, 0, False


class World:
    def __init__(self, delay=0.05, window=4 << 20, capacity=1 << 20):
        self.now, self.heap, self.order = 0.0, [], count()
        self.ends = [Session(True, 0.0, window), Session(False, 0.0, window)]
        self.pipes = {}  # (path, sender): Pipe
        self.events, self.wire = [[], []], [[], []]  # what each end was told; (path, message) that each end sent
        self.inbox, self.outbox, self.read = [b"", b""], [b"", b""], [bytearray(), bytearray()]
        self.closing, self.read_rate = [False, False], [1 << 30, 1 << 30]
        self.window, self.armed, self.reading = window, [None, None], [False, False]
        self.join(RELAY, delay, capacity)
        self.pump()

    def at(self, when, action, *args):
        heapq.heappush(self.heap, (when, next(self.order), action, args))

    def after(self, seconds, action, *args):
        self.at(self.now + seconds, action, *args)

    def join(self, path, delay=0.01, capacity=1 << 20):
        for end in (A, B):
            self.pipes[path, end] = Pipe(delay, capacity)

    def open(self, path, delay=0.01, capacity=1 << 20):
        self.join(path, delay, capacity)
        for end in self.ends:
            end.add_path(path, self.now)

    def silence(self, path, *senders):
        """From now on, and for all that is on its way, these directions swallow everything."""
        for sender in senders or (A, B):
            self.pipes[path, sender].dead = True

    def break_(self, path, lag=0.0):
        """Both transports end; B notices `lag` seconds after A."""
        self.silence(path)
        self.ends[A].lose(path, "broken", self.now)
        self.after(lag, self.lose_if_same, B, path, self.pipes.get((path, A)))

    def lose_if_same(self, end, path, pipe):
        if self.pipes.get((path, A)) is pipe:
            self.ends[end].lose(path, "broken", self.now)

    def deliver(self, path, sender, pipe, record):
        pipe.inside -= len(record)
        if not pipe.dead and self.pipes[path, sender] is pipe:
            self.ends[1 - sender].receive(path, record, self.now)

    def timer(self, end):
        self.armed[end] = None
        due = self.ends[end].get_timer()
        if due is not None and due <= self.now:
            self.ends[end].handle_timer(self.now)

    def reader(self, end):
        """The application takes a little every 10 ms."""
        self.reading[end] = False

    def pump(self):
        for end in (A, B):
            self.application(end)
            for path, sender in list(self.pipes):
                if sender == end:
                    self.transmit(path, end)
            while (event := self.ends[end].next_event()) is not None:
                self.events[end].append(event)
                self.react(end, event)
            due = self.ends[end].get_timer()
            if due is not None and (self.armed[end] is None or due < self.armed[end]):
                self.armed[end] = due
                self.at(max(due, self.now), self.timer, end)

    def application(self, end):
        session = self.ends[end]
        if self.outbox[end]:
            self.outbox[end] = self.outbox[end][session.write(self.outbox[end]) :]
        if self.closing[end] and not self.outbox[end]:
            session.write_eof()
        if not self.reading[end] and session.readable:
            self.read[end] += session.read(self.read_rate[end])
            if session.readable and self.read_rate[end]:
                self.reading[end] = True
                self.after(0.01, self.reader, end)
        assert session.readable <= self.window
        assert 0 <= session.room <= self.window

    def transmit(self, path, end):
        session, pipe = self.ends[end], self.pipes[path, end]
        while pipe.inside < pipe.capacity:
            expected = session.has_work(path)
            record = session.next_record(path, self.now)
            assert (record is not None) == expected
            if record is None:
                return
            self.wire[end].append((path, messages.decode(record)))
            pipe.inside += len(record)
            self.after(pipe.delay, self.deliver, path, end, pipe, record)

    def react(self, end, event):
        """A driver closes the transport of a lost path, so that the other end sees it end, unless the path is mute."""
        if isinstance(event, PathLost) and (event.path, end) in self.pipes:
            pipe = self.pipes[event.path, end]
            if not pipe.dead:
                self.after(pipe.delay, self.lose_if_same, 1 - end, event.path, self.pipes[event.path, A])

    def run(self, seconds=1000.0, until=lambda: False):
        """Returns whether `until` came true."""
        end = self.now + seconds
        self.pump()
        while not until() and self.heap and self.heap[0][0] <= end:
            self.now, _, action, args = heapq.heappop(self.heap)
            action(*args)
            self.pump()
        if not until():
            self.now = max(self.now, end)
        return until()

    def send(self, end, data):
        self.outbox[end] += data

    def close(self, *ends):
        for end in ends or (A, B):
            self.closing[end] = True

    def finished(self):
        return all(Finished() in events for events in self.events) and all(end.at_eof for end in self.ends)

    def has(self, end, kind):
        return [event for event in self.events[end] if isinstance(event, kind)]

    def kinds(self, end, path):
        return [type(message) for p, message in self.wire[end] if p == path]


def noise(seed, size):
    return random.Random(seed).randbytes(size)


# ---- the invariant ---------------------------------------------------------------------------------------------------


class Chaos:
    """A random life of two peers: upgrades, silent and abrupt deaths, slow readers, relays that go and come back."""

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.world = World(rng.uniform(0.005, 0.3), rng.choice([WINDOW, 3 * WINDOW, 1 << 20]), self.capacity())
        self.data = [noise(seed * 2 + end, rng.choice([0, 1, 5000, 300_000, 800_000])) for end in (A, B)]
        self.pace = rng.choice([0.05, 0.5, 2.0])
        self.numbers = count(1)
        for end in (A, B):
            self.dribble(end, 0)
            self.world.read_rate[end] = rng.choice([1 << 30, 1 << 30, 3000, 40_000])
        for _ in range(rng.randrange(1, 12)):
            self.world.after(rng.uniform(0, 8), self.strike)
        self.heal()

    def capacity(self):
        return self.rng.choice([2000, 40_000, 1 << 20])

    def dribble(self, end, sent):
        size = self.rng.choice([1, 700, 33_000, 200_000])
        self.world.send(end, self.data[end][sent : sent + size])
        if sent + size < len(self.data[end]):
            self.world.after(self.rng.uniform(0, self.pace), self.dribble, end, sent + size)
        else:
            self.world.after(self.rng.uniform(0, 3), self.world.close, end)

    def strike(self):
        world, path = self.world, self.rng.choice(sorted({path for path, _ in self.world.pipes}))
        match self.rng.randrange(8):
            case 0 | 1 | 2:
                new = next(self.numbers)
                world.open(new, self.rng.uniform(0.001, 0.2), self.capacity())
                world.after(self.rng.choice([0, 0, 0.3]), self.select, new)
            case 3:
                world.silence(path)
            case 4:
                world.silence(path, self.rng.choice([A, B]))
            case 5:
                world.break_(path, self.rng.uniform(0, 0.5))
            case 6:
                self.select(RELAY)
            case 7:
                for end in (A, B):
                    if path in world.ends[end]._paths:
                        world.ends[end].ping(path, world.now)

    def select(self, path):
        if path in self.world.ends[A]._paths:
            self.world.ends[A].select(path, self.world.now)

    def heal(self):
        """A mute relay's transport ends after a while; a lost relay is reached again once both ends know."""
        world = self.world
        if world.pipes[RELAY, A].dead or world.pipes[RELAY, B].dead or not self.relayed():
            if any(RELAY in end._paths for end in world.ends):
                world.break_(RELAY, 0.2)
            elif not self.relayed():
                world.open(RELAY, self.rng.uniform(0.005, 0.3), self.capacity())
        world.after(2.0, self.heal)

    def relayed(self):
        return all(RELAY in end._paths for end in self.world.ends)

    def check(self):
        world = self.world
        assert world.run(2000, world.finished), "the session got stuck"
        for end in (A, B):
            assert world.read[end] == self.data[1 - end]
            assert world.ends[end].at_eof
            assert len(world.has(end, PeerFinished)) == len(world.has(end, Finished)) == 1
            assert sum(world.ends[end].bytes_sent.values()) >= len(self.data[end])
        assert world.now < 600


@pytest.mark.parametrize("block", range(10))
def test_whatever_happens_to_the_paths_every_byte_arrives_once_and_in_order(block):
    for seed in range(block * 40, block * 40 + 40):
        try:
            Chaos(seed).check()
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error


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


def direct(size=3_000_000, **options):
    """A world in which A sends `size` bytes to B over path 1, some of them under way."""
    world = World(**options)
    world.open(1, delay=0.1)
    world.ends[A].select(1, world.now)
    world.run(1)
    world.send(A, noise(7, size))
    world.run(0.15)
    return world


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


def drain(session, path, now, limit=1000):
    records = []
    while len(records) < limit and (record := session.next_record(path, now)) is not None:
        records.append(messages.decode(record))
    return records
