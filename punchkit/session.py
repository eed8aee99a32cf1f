"""An ordered byte stream in each direction that survives changes of path.

Theory of operation
-------------------
Two peers are joined by *paths*: path 0 is the relay, up from the start; paths 1, 2, ... are direct ones, found later.
Each path is a reliable ordered stream of sealed records, until the moment when it dies, and with it all that is in it.
The session makes one stream of them that never dies. Bytes have offsets; the sender keeps each byte until an ACK covers
it, the receiver merges by offset. So it never matters which path a byte took, nor whether it came twice.

*Make before break.* To move up, the leader calls `select`:

    on the new path    SELECT, PING, then all new data          nothing is repeated: what is still in the old path
    on the old path    SWITCH, as the last word after its data  arrives there, and the receiver puts it in its place

The follower does the same when SELECT arrives. The old path stays, idle, so there is somewhere to fall back to.

*Falling back.* A path is *lost* when its transport ends (`lose`), when the peer says LOST, or when it falls silent.
Silence means: something sent there calls for an answer, and no record has come for max(3 srtt + 4 rttvar, 1 s).
So that silence is never a misunderstanding: an ACK goes back on the path that its data came on, and halfway through
the wait we ask outright, with a PING. A silent path is *suspect* at first: everything unacknowledged is repeated
on the relay, which costs little if we were wrong. If it speaks within one more such wait, data returns to it; else LOST.

The one invariant that makes this safe: every byte in [acked, next) was sent on a path that is alive and not suspect.
Whatever would break it sets `next` back to `acked`; hence "repeat everything unacknowledged", and never anything else.

*Ending.* CLOSE takes one offset, like TCP's FIN, and is repeated and acknowledged like a byte. A side whose end is
acknowledged and that has all of the peer's stream says BYE; after BYE both ways, or when no path is left to say it on,
the session is finished.

The relay while it carries the data is not watched for silence, since there is nothing better to go to; when it is idle
it is, with more patience. When the last path is lost, data waits (`Stalled`) for `add_path`.

Sans-I/O in the manner of aioquic: no sockets, no tasks, no clock; times are seconds as floats in `now`, and after any
call look at `next_record`, `next_event` and `get_timer`. Records are plaintext here: `crypto.py` seals them,
`messages.py` is their vocabulary, `link.py` drives. Sources: magic-wormhole dilation (offsets), RFC 6298 (timing),
tailscale (both paths for a moment).
"""

from collections import deque
from dataclasses import dataclass, field

from punchkit import messages as wire
from punchkit.errors import ProtocolError
from punchkit.messages import ControlReceived, Event, Finished, PathChanged, PathLost, PathSuspect, PeerFinished
from punchkit.messages import RoundTrip, Stalled

__all__ = ["RELAY", "ControlReceived", "Event", "Finished", "PathChanged", "PathLost", "PathSuspect", "PeerFinished"]
__all__ += ["RoundTrip", "Session", "Stalled"]

RELAY = 0
INITIAL_WINDOW = 64 * 1024  # bytes that may be sent before the first ACK tells the peer's real window
ACK_EVERY = 2  # data records
ACK_DELAY = 0.02  # seconds that a single data record may wait for its ACK
PATIENCE = 1.0  # seconds of silence at least, before a path is suspect
RELAY_PATIENCE = 10.0  # the same for the idle relay: losing it is dearer, and it shares our Wi-Fi's bad moments
KEEPALIVE = 15.0  # seconds without a word from us on a path, before we say PING
MAX_ANSWERS = 64  # PONGs waiting on one path; a peer that asks more, without reading, gets no more


@dataclass(slots=True)
class _Path:
    """What we know of one living path."""

    number: int
    keepalive_at: float
    queue: deque[wire.Message] = field(default_factory=deque)  # goes out before ACKs and data
    sent_until: int = 0  # the stream was sent here up to this offset (0 again when it has been repeated elsewhere)
    pings: dict[int, float] = field(default_factory=dict)  # PINGs on their way: when they left
    timed: tuple[int, float] | None = None  # data on its way whose ACK we time: (end offset, when it left)
    srtt: float | None = None
    rttvar: float = 0.0
    waiting_since: float | None = None  # when the silence began, if an answer is due
    suspect_until: float | None = None
    unacked: int = 0  # data records received here since our last ACK here
    ack_at: float | None = None
    ack_due: bool = False

    @property
    def patience(self) -> float:
        floor = RELAY_PATIENCE if self.number == RELAY else PATIENCE
        return floor if self.srtt is None else max(3 * self.srtt + 4 * self.rttvar, floor)

    @property
    def asked(self) -> bool:
        """Whether a PING is on its way, or waits to be."""
        return bool(self.pings) or any(isinstance(message, wire.Ping) for message in self.queue)

    def measured(self, seconds: float) -> None:
        """One round trip, smoothed as in RFC 6298 section 2."""
        if self.srtt is None:
            self.srtt, self.rttvar = seconds, seconds / 2
        else:
            self.rttvar += (abs(self.srtt - seconds) - self.rttvar) / 4
            self.srtt += (seconds - self.srtt) / 8


class Session:
    """One end of the stream. `leader` is the end that chooses the paths; `window` bounds, in bytes, what is kept for
    the peer's acknowledgement and what is kept for our reader.
    """

    def __init__(self, leader: bool, now: float, window: int = 4 << 20) -> None:
        if window < INITIAL_WINDOW:
            raise ValueError(f"window is {window} bytes; at least {INITIAL_WINDOW} are needed")
        self.current = RELAY
        self.bytes_sent: dict[int, int] = {}  # payload per path, repeats included
        self.bytes_received: dict[int, int] = {}
        self._leader = leader
        self._window = window
        self._paths = {RELAY: _Path(RELAY, now + KEEPALIVE, ack_due=True)}  # the first ACK tells our window
        self._control: deque[wire.Message] = deque()
        self._events: deque[Event] = deque()
        self._ping_id = 0
        self._home: int | None = None  # the suspect path that data returns to if it speaks
        # sending: [acked, next) is on its way, [next, end) waits; an end of stream counts one
        self._out = wire.Outgoing()
        self._next = self._highest = 0
        self._acked = 0
        self._limit = INITIAL_WINDOW  # the peer takes data up to here
        self._eof = False
        # receiving
        self._in = wire.Incoming()
        self._promised = INITIAL_WINDOW  # the limit that we told the peer
        self._data_path = RELAY  # where data came last
        self._bye_sent = self._bye_received = self._finished = False

    # ---- the application ---------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many bytes `write` would take now."""
        return self._window - (self._out.end - self._out.start)

    @property
    def readable(self) -> int:
        """How many bytes `read` could give now."""
        return self._in.next - self._in.taken

    @property
    def at_eof(self) -> bool:
        """The peer has closed its stream and all of it has been read."""
        return self._in.complete and not self.readable

    def write(self, data: bytes) -> int:
        """Take as much of `data` as there is room for; returns how many bytes. ValueError after `write_eof`."""
        if self._eof:
            raise ValueError("write after write_eof: this direction of the stream has ended")
        taken = memoryview(data)[: self.room]
        self._out.append(taken)
        return len(taken)

    def write_eof(self) -> None:
        """End our stream. The other direction stays open."""
        self._eof = True

    def read(self, limit: int) -> bytes:
        """Up to `limit` bytes, in order; b"" if none are ready. Reading may open the window: see `has_work` after."""
        data = self._in.read(limit)
        if self._paths and not self._in.complete and self._in.taken + self._window - self._promised >= self._window / 4:
            path = self._paths.get(self._data_path) or self._paths[self.current]
            path.ack_due = True
            if self._in.next >= self._promised:
                self._ask(path)  # the peer waits for this ACK and nothing else: make sure that it gets through
        return data

    # ---- paths -------------------------------------------------------------------------------------------------------

    def add_path(self, path: int, now: float) -> None:
        """A validated path, idle until selected; if the session was stalled, data moves there at once."""
        if path in self._paths:
            raise ValueError(f"path {path} is open already; lose it first, or use a new number")
        self._paths[path] = new = _Path(path, now + KEEPALIVE)
        self._control = deque(message for message in self._control if message != wire.Lost(path))
        if len(self._paths) == 1:
            self._move(new, "it is the only path", now)

    def select(self, path: int, now: float) -> None:
        """Leader only: move the data of both sides to `path`. ValueError if it is not open."""
        if not self._leader or path not in self._paths:
            raise ValueError(f"cannot select path {path}: " + ("it is not open" if self._leader else "not the leader"))
        target = self._paths[path]
        target.queue.append(wire.Select(path))
        self._ask(target)
        self._switch(target, "selected", now)

    def lose(self, path: int, reason: str, now: float) -> None:
        """The transport of `path` ended. No effect if the session has given it up already."""
        if path in self._paths:
            self._lose(self._paths[path], reason, now)
            self._control.append(wire.Lost(path))

    def ping(self, path: int, now: float) -> int:
        """Ask on `path`; the answer comes as RoundTrip. Returns the PING's id. ValueError if the path is not open."""
        if path not in self._paths:
            raise ValueError(f"cannot ping path {path}: it is not open")
        return self._ping(self._paths[path])

    def send_control(self, body: bytes) -> None:
        """Say something to the peer's driver, ahead of data. It is gone if the path that it is on dies."""
        self._control.append(wire.Control(body))

    def has_work(self, path: int) -> bool:
        """Whether `next_record` has something for `path`."""
        p = self._paths.get(path)
        if p is None or self._finished:
            return False
        return bool(p.queue or p.ack_due or self._speaks_control(p) or (path == self.current and self._has_stream()))

    def next_record(self, path: int, now: float) -> bytes | None:
        """What goes on `path` next, if anything. Ask only when the transport has room, so that control can overtake."""
        if not self.has_work(path):
            return None
        p = self._paths[path]
        record = wire.encode(self._next_message(p, now))
        p.keepalive_at = now + KEEPALIVE
        if p.waiting_since is None and self._answer_due(p):
            p.waiting_since = now
        return record

    def next_event(self) -> Event | None:
        """What happened, oldest first."""
        return self._events.popleft() if self._events else None

    # ---- sending -----------------------------------------------------------------------------------------------------

    def _speaks_control(self, path: _Path) -> bool:
        return bool(self._control) and path.number == (RELAY if RELAY in self._paths else self.current)

    def _has_stream(self) -> bool:
        more_data = self._next < min(self._out.end, self._limit)
        close = self._eof and self._next == self._out.end
        return more_data or close or (self._all_done and not self._bye_sent)

    @property
    def _all_done(self) -> bool:
        """Our end is acknowledged, and the peer's stream is here."""
        return self._eof and self._acked > self._out.end and self._in.complete

    def _next_message(self, path: _Path, now: float) -> wire.Message:
        if self._speaks_control(path):
            return self._control.popleft()
        if path.queue:
            message = path.queue.popleft()
            if isinstance(message, wire.Ping):
                path.pings[message.id] = now
            return message
        return self._make_ack(path) if path.ack_due else self._next_of_stream(path, now)

    def _make_ack(self, path: _Path) -> wire.Ack:
        path.unacked, path.ack_at, path.ack_due = 0, None, False
        self._promised = max(self._promised, self._in.taken + self._window)
        return wire.Ack(self._in.next + self._in.complete, self._promised)

    def _next_of_stream(self, path: _Path, now: float) -> wire.Message:
        offset = self._next
        if offset < self._out.end:
            data = self._out.cut(offset, min(self._out.end, self._limit))
            self.bytes_sent[path.number] = self.bytes_sent.get(path.number, 0) + len(data)
            self._sent(path, offset + len(data), now)
            return wire.Data(offset, data)
        if offset == self._out.end:
            self._sent(path, offset + 1, now)
            return wire.Close(offset)
        self._bye_sent = True
        self._ask(path)  # nothing acknowledges a BYE: make sure that it gets through
        self._finish_if_done()
        return wire.Bye()

    def _sent(self, path: _Path, until: int, now: float) -> None:
        if path.timed is None and self._next == self._highest:  # Karn: never time what was sent before
            path.timed = (until, now)
        self._next = path.sent_until = until
        self._highest = max(self._highest, until)

    def _ping(self, path: _Path) -> int:
        self._ping_id = (self._ping_id + 1) % 2**32
        path.queue.append(wire.Ping(self._ping_id))
        return self._ping_id

    def _ask(self, path: _Path) -> None:
        if not path.asked:
            self._ping(path)

    # ---- receiving ---------------------------------------------------------------------------------------------------

    def receive(self, path: int, record: bytes, now: float) -> None:
        """One opened record. Late words on a path that was lost are dropped: their sender repeats what matters.

        Raises ProtocolError if the record makes no sense; the session is of no further use then.
        """
        message = wire.decode(record)
        p = self._paths.get(path)
        if p is None:
            return
        self._act(p, message, now)
        p.waiting_since = now if self._answer_due(p) else None
        if p.suspect_until is not None and path in self._paths:
            self._trust(p, now)

    def _act(self, path: _Path, message: wire.Message, now: float) -> None:
        match message:
            case wire.Data():
                self._on_data(path, message, now)
            case wire.Ack():
                self._on_ack(path, message, now)
            case wire.Ping() if len(path.queue) < MAX_ANSWERS:
                path.queue.append(wire.Pong(message.id))
            case wire.Ping():
                pass
            case wire.Pong():
                self._on_pong(path, message, now)
            case wire.Control():
                self._events.append(ControlReceived(message.body))
            case wire.Select():
                self._on_select(path, message, now)
            case wire.Switch():
                path.ack_due = path.unacked > 0  # the old path is drained: let the peer know without delay
            case wire.Lost():
                if message.path in self._paths:
                    self._lose(self._paths[message.path], "the other side lost it", now)
            case wire.Close():
                self._on_close(path, message)
            case wire.Bye():
                self._on_bye()
            case _:
                raise ProtocolError(f"{type(message).__name__.upper()} on a path that is open already")

    def _on_data(self, path: _Path, message: wire.Data, now: float) -> None:
        end = message.offset + len(message.data)
        if end > self._promised:
            raise ProtocolError(f"data up to offset {end}, beyond the window's end at {self._promised}")
        self.bytes_received[path.number] = self.bytes_received.get(path.number, 0) + len(message.data)
        self._data_path = path.number
        path.unacked += 1
        if path.unacked >= ACK_EVERY:
            path.ack_due = True
        elif path.ack_at is None:
            path.ack_at = now + ACK_DELAY
        was_complete = self._in.complete
        self._in.merge(message.offset, message.data)
        self._note_end(was_complete)

    def _on_close(self, path: _Path, message: wire.Close) -> None:
        path.ack_due = True
        was_complete = self._in.complete
        self._in.close(message.final_offset)
        self._note_end(was_complete)

    def _note_end(self, was_complete: bool) -> None:
        if self._in.complete and not was_complete:
            self._events.append(PeerFinished())

    def _on_ack(self, path: _Path, message: wire.Ack, now: float) -> None:
        if message.next_offset > self._highest:
            raise ProtocolError(f"ACK of offset {message.next_offset}, but only {self._highest} was sent")
        self._limit = max(self._limit, message.window_end)
        self._acknowledged(message.next_offset)
        if path.timed is not None and message.next_offset >= path.timed[0]:
            path.measured(now - path.timed[1])
            path.timed = None

    def _acknowledged(self, offset: int) -> None:
        if offset > self._acked:
            self._acked = offset
            self._next = max(self._next, offset)
            self._out.release(min(offset, self._out.end))

    def _on_pong(self, path: _Path, message: wire.Pong, now: float) -> None:
        left = path.pings.pop(message.id, None)
        if left is not None:
            path.measured(now - left)
            self._events.append(RoundTrip(path.number, now - left))

    def _on_select(self, path: _Path, message: wire.Select, now: float) -> None:
        if self._leader or message.path != path.number:
            raise ProtocolError(f"SELECT {message.path} on path {path.number}" + " to the leader" * self._leader)
        self._switch(path, "the leader selected it", now)

    def _on_bye(self) -> None:
        if not (self._in.complete and self._highest > self._out.end):
            raise ProtocolError("BYE before both streams have ended")
        self._acknowledged(self._out.end + 1)  # a BYE says that our end has arrived, even if its ACK comes later
        self._bye_received = True
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if not self._finished and self._bye_received and self._bye_sent:
            self._finish()

    def _finish(self) -> None:
        self._finished = True
        self._events.append(Finished())

    # ---- changes of path ---------------------------------------------------------------------------------------------

    def _switch(self, target: _Path, reason: str, now: float) -> None:
        """Make before break: the old path ends with SWITCH, nothing is repeated."""
        if target.number != self.current:
            if self.current in self._paths:
                self._paths[self.current].queue.append(wire.Switch(target.number))
            self._move(target, reason, now)

    def _move(self, target: _Path, reason: str, now: float) -> None:
        self._events.append(PathChanged(self.current, target.number, reason, now))
        self.current = target.number
        self._home = target.suspect_until = None
        target.ack_due = True  # the last one may have died on the way

    def _repeat_unacknowledged(self) -> None:
        self._next = self._acked
        self._bye_sent = False
        for path in self._paths.values():
            path.timed = None

    def _refuge(self, path: _Path) -> _Path | None:
        """Where to go from `path`: the relay if it lives, and a suspect path only if there is no other."""
        others = [p for p in self._paths.values() if p is not path]
        return min(others, key=lambda p: (p.suspect_until is not None, p.number), default=None)

    def _lose(self, path: _Path, reason: str, now: float) -> None:
        del self._paths[path.number]
        self._events.append(PathLost(path.number, reason))
        self._repeat_unacknowledged() if path.sent_until > self._acked else None
