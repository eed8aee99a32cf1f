"""A fake world for the tests of the session: pipes with delay that die silently, in one direction, or abruptly.

`World` is the smallest honest driver: it polls both sessions whenever something happened, has a clock, and loses what
was in a pipe when the pipe dies.
"""

import heapq
import random
from itertools import count

from punchkit import messages
from punchkit.messages import (
    Finished,
    PathLost,
)
from punchkit.session import RELAY, Session

WINDOW = 64 * 1024


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


def direct(size=3_000_000, **options):
    """A world in which A sends `size` bytes to B over path 1, some of them under way."""
    world = World(**options)
    world.open(1, delay=0.1)
    world.ends[A].select(1, world.now)
    world.run(1)
    world.send(A, noise(7, size))
    world.run(0.15)
    return world


def drain(session, path, now, limit=1000):
    records = []
    while len(records) < limit and (record := session.next_record(path, now)) is not None:
        records.append(messages.decode(record))
    return records
