"""An ordered byte stream in each direction that survives changes of path.

Theory of operation. Two peers are joined by *paths*: path 0 is the relay, up from the start; 1, 2, ... are direct ones,
found later. Each path is a reliable ordered stream of sealed records, until it dies, and with it all that is in it. The
session makes one stream of them that never dies: bytes have offsets, the sender keeps each until an ACK covers it, the
receiver merges by offset. So it never matters which path a byte took, nor whether it came twice.

*Make before break.* To move up, the leader calls `select`:

    on the new path    SELECT, PING, then all new data          nothing is repeated: what is still in the old path
    on the old path    SWITCH, as the last word after its data  arrives there, and the receiver puts it in its place

The follower does the same when SELECT arrives. The old path stays, idle, so there is somewhere to fall back to.

*Falling back.* A path is *lost* when its transport ends (`lose`), when the peer says LOST, or when it falls silent:
something sent there calls for an answer, and no record has come for max(3 srtt + 4 rttvar, 1 s). Lest silence be a
misunderstanding, an ACK goes back on the path that its data came on, and halfway through the wait a PING asks outright.
A silent path is *suspect* at first: everything unacknowledged is repeated on the relay. If the path speaks within one
more such wait, data returns to it; else it is lost, and LOST tells the peer. The only path is not watched, for there is
nothing better to go to (often that is the relay). When it is lost too, data waits (`Stalled`) for `add_path`.

*The invariant* that makes all this safe: every byte sent and not acknowledged was sent on a path that is alive and not
suspect. Whatever would break it rewinds the sender to the first unacknowledged byte (`_repeat`).

*Ending.* CLOSE counts as one byte, like TCP's FIN. A side whose end is acknowledged and that has all of the peer's
stream says BYE. After BYE both ways the session is finished. While only the peer's BYE is missing, any path is watched,
and when none is left the session is finished too. As long as paths are open it goes on to answer a peer that is not.

Sans-I/O in the manner of aioquic: no sockets, tasks or clock. `now` is in seconds and never runs backwards; after any
call look at `next_record`, `next_event` and `get_timer`. Records are plaintext here: `messages.py` defines them, the
events, and both ends of a stream; `crypto.py` seals them; `link.py` drives. Sources: magic-wormhole's dilation
(offsets), RFC 6298 (timing), tailscale (sending on both when in doubt).
"""

from collections import deque
from dataclasses import dataclass, field

from punchkit import messages
from punchkit.errors import ProtocolError

RELAY = 0
ACK_DELAY = 0.02  # seconds that a data record may wait for its ACK; a second record ends the wait
PATIENCE = 1.0  # seconds of silence at least, before a path is suspect
RELAY_PATIENCE = 10.0  # the same for the relay: losing it is dearer, and it shares our Wi-Fi's bad moments
KEEPALIVE = 15.0  # seconds without a word from us on a path, before we say PING
MAX_ANSWERS = 64  # PONGs waiting on one path; a peer that asks for more, without reading, gets no more


@dataclass(slots=True)
class _Path:
    """What we know of one living path."""

    number: int
    keepalive_at: float
    ack_due: bool = False
    ack_at: float | None = None  # when the ACK that we owe is due at the latest
    queue: deque[messages.Message] = field(default_factory=deque)  # goes out before ACKs and data
    sent_until: int = 0  # the stream was sent here up to this offset (0 once it must be repeated elsewhere)
    pings: dict[int, float] = field(default_factory=dict)  # PINGs on their way: when they left
    timed: tuple[int, float] | None = None  # data on its way whose ACK we time: (end offset, when it left)
    srtt: float | None = None
    rttvar: float = 0.0
    quiet_since: float = 0.0  # when the last record came, or the first one left that calls for an answer
    suspect_until: float | None = None

    @property
    def patience(self) -> float:
        floor = RELAY_PATIENCE if self.number == RELAY else PATIENCE
        return floor if self.srtt is None else max(3 * self.srtt + 4 * self.rttvar, floor)

    @property
    def asked(self) -> bool:
        """Whether a PING is on its way, or waits to be."""
        return bool(self.pings) or any(isinstance(message, messages.Ping) for message in self.queue)

    def measured(self, seconds: float) -> None:
        """One round trip, smoothed as in RFC 6298 section 2."""
        if self.srtt is None:
            self.srtt, self.rttvar = seconds, seconds / 2
        else:
            self.rttvar += (abs(self.srtt - seconds) - self.rttvar) / 4
            self.srtt += (seconds - self.srtt) / 8


class Session:
    """One end of the stream. The `leader` chooses paths. `window`, in bytes (ValueError below 64 KiB), bounds both what
    is kept until the peer acknowledges it and what is kept until our reader takes it.
    """

    def __init__(self, leader: bool, now: float, window: int = 4 << 20) -> None:
        if window < messages.INITIAL_WINDOW:
            raise ValueError(f"window is {window} bytes; at least {messages.INITIAL_WINDOW} are needed")
        self.current = RELAY
        self.bytes_sent: dict[int, int] = {}  # payload per path, repeats included
        self.bytes_received: dict[int, int] = {}
        self._leader = leader
        self._out, self._in = messages.Outgoing(window), messages.Incoming(window)
        self._paths = {RELAY: _Path(RELAY, now + KEEPALIVE, ack_due=True)}  # the first ACK tells our window
        self._home: int | None = None  # the suspect path that data returns to if it speaks
        self._data_path = RELAY  # where the peer's data came last
        self._control: deque[messages.Message] = deque()
        self._events: deque[messages.Event] = deque()
        self._ping_id = 0
        self._bye_sent = self._bye_received = self._finished = False

    # ---- the application ---------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many bytes `write` would take now."""
        return self._out.room

    @property
    def readable(self) -> int:
        """How many bytes `read` could give now."""
        return self._in.readable

    @property
    def at_eof(self) -> bool:
        """The peer has closed its stream and all of it has been read."""
        return self._in.complete and not self._in.readable

    def write(self, data: bytes) -> int:
        """Take as much of `data` as there is room for; returns how many bytes. ValueError after `write_eof`."""
        return self._out.write(data)

    def write_eof(self) -> None:
        """End our stream. The other direction stays open."""
        self._out.closed = True

    def read(self, limit: int) -> bytes:
        """Up to `limit` bytes, in order; b"" if none are ready. Reading may open the window: see `has_work` after."""
        data = self._in.read(limit)
        if self._paths and self._in.worth_telling:
            path = self._paths.get(self._data_path) or self._paths[self.current]
            path.ack_due = True
            if self._in.used_up:
                self._ask(path)  # the peer waits for this ACK and nothing else: make sure that it gets through
        return data

    # ---- the driver: paths -------------------------------------------------------------------------------------------

    def add_path(self, path: int, now: float) -> None:
        """A validated path, idle until selected, or in use at once if there is no other. Its number is new, or 0."""
        if path in self._paths:
            raise ValueError(f"path {path} is open already; lose it first, or use a new number")
        self._paths[path] = _Path(path, now + KEEPALIVE)
        self._control = deque(message for message in self._control if message != messages.Lost(path))
        if len(self._paths) == 1:
            self._move(self._paths[path], "it is the only path", now)

    def select(self, path: int, now: float) -> None:
        """Leader only: move the data of both sides to `path`. ValueError if it is not open."""
        if not self._leader or path not in self._paths:
            raise ValueError(f"cannot select path {path}: " + ("it is not open" if self._leader else "not the leader"))
        self._paths[path].queue.append(messages.Select(path))
        self._ask(self._paths[path])  # even with no data to send, notice if it is dead
        self._switch(self._paths[path], "selected", now)

    def lose(self, path: int, reason: str, now: float) -> None:
        """The transport of `path` ended. No effect if the session has given it up already."""
        if path in self._paths:
            self._control.append(messages.Lost(path))
            self._drop(self._paths[path], reason, now)

    def ping(self, path: int, now: float) -> int:
        """Ask on `path`; the answer comes as RoundTrip. Returns the PING's id. ValueError if the path is not open."""
        if path not in self._paths:
            raise ValueError(f"cannot ping path {path}: it is not open")
        return self._ping(self._paths[path])

    def send_control(self, body: bytes) -> None:
        """Say something to the peer's driver, ahead of data, on the relay if it lives. Lost if that path dies then."""
        self._control.append(messages.Control(body))

    def next_event(self) -> messages.Event | None:
        """What happened, oldest first."""
        return self._events.popleft() if self._events else None

    # ---- the driver: records that go out -----------------------------------------------------------------------------

    def has_work(self, path: int) -> bool:
        """Whether `next_record` has something for `path`."""
        p = self._paths.get(path)
        stream = path == self.current and (self._out.has_more or (self._all_done and not self._bye_sent))
        return p is not None and (stream or p.ack_due or bool(p.queue) or self._speaks_control(p))

    def next_record(self, path: int, now: float) -> bytes | None:
        """What goes on `path` next, if anything. Ask only when its transport has room, so that control can overtake."""
        if not self.has_work(path):
            return None
        p = self._paths[path]
        if not self._answer_due(p):
            p.quiet_since = now
        p.keepalive_at = now + KEEPALIVE
        return messages.encode(self._next_message(p, now))

    def _speaks_control(self, path: _Path) -> bool:
        return bool(self._control) and path.number == (RELAY if RELAY in self._paths else self.current)

    def _next_message(self, path: _Path, now: float) -> messages.Message:
        if self._speaks_control(path):
            return self._control.popleft()
        if path.queue:
            message = path.queue.popleft()
            if isinstance(message, messages.Ping):
                path.pings[message.id] = now
            return message
        if path.ack_due:
            path.ack_due, path.ack_at = False, None
            return self._in.ack()
        if self._out.has_more:
            return self._next_of_stream(path, now)
        self._bye_sent = True
        self._ask(path)  # nothing acknowledges a BYE: make sure that it gets through
        self._finish_if_done()
        return messages.Bye()

    def _next_of_stream(self, path: _Path, now: float) -> messages.Message:
        first_time = self._out.next == self._out.highest
        message = self._out.take()
        path.sent_until = self._out.next
        if path.timed is None and first_time:  # Karn: never time what is repeated
            path.timed = (path.sent_until, now)
        if isinstance(message, messages.Data):
            self.bytes_sent[path.number] = self.bytes_sent.get(path.number, 0) + len(message.data)
        return message

    def _ping(self, path: _Path) -> int:
        self._ping_id = (self._ping_id + 1) % 2**32
        path.queue.append(messages.Ping(self._ping_id))
        return self._ping_id

    def _ask(self, path: _Path) -> None:
        if not path.asked:
            self._ping(path)

    # ---- the driver: records that came in ----------------------------------------------------------------------------

    def receive(self, path: int, record: bytes, now: float) -> None:
        """One opened record. Raises ProtocolError if it makes no sense; the session is of no further use then."""
        message = messages.decode(record)
        p = self._paths.get(path)
        if p is None:
            return  # a late word on a lost path: its sender repeats what matters
        was_complete = self._in.complete
        self._act(p, message, now)
        if self._in.complete and not was_complete:
            self._events.append(messages.PeerFinished())
        self._finish_if_done()
        p.quiet_since = now
        if p.suspect_until is not None and path in self._paths:
            p.suspect_until = None
            if self._home == path:
                self._switch(p, "it answered again", now)

    def _act(self, path: _Path, message: messages.Message, now: float) -> None:
        match message:
            case messages.Data():
                self._on_data(path, message, now)
            case messages.Ack():
                self._on_ack(path, message, now)
            case messages.Ping():
                if len(path.queue) < MAX_ANSWERS:
                    path.queue.append(messages.Pong(message.id))
            case messages.Pong() if message.id in path.pings:
                self._on_pong(path, message, now)
            case messages.Control():
                self._events.append(messages.ControlReceived(message.body))
            case messages.Select() if message.path == path.number and not self._leader:
                self._switch(path, "the leader selected it", now)
            case messages.Switch():
                path.ack_due = path.ack_due or path.ack_at is not None  # no more data comes here: do not wait for it
            case messages.Lost():
                if message.path in self._paths:
                    self._drop(self._paths[message.path], "the other side lost it", now)
            case messages.Close():
                path.ack_due = True
                self._in.close(message)
            case messages.Bye() if self._in.complete and self._out.highest > self._out.end:
                self._out.acknowledge(messages.Ack(self._out.end + 1, 0))  # so it says, even if it overtook the ACK
                self._bye_received = True
            case _:
                raise ProtocolError(f"{message} out of place, on path {path.number}")

    def _on_data(self, path: _Path, message: messages.Data, now: float) -> None:
        self._in.merge(message)
        self.bytes_received[path.number] = self.bytes_received.get(path.number, 0) + len(message.data)
        self._data_path = path.number
        path.ack_due = path.ack_due or path.ack_at is not None
        path.ack_at = now + ACK_DELAY

    def _on_ack(self, path: _Path, message: messages.Ack, now: float) -> None:
        self._out.acknowledge(message)
        if path.timed is not None and message.next_offset >= path.timed[0]:
            path.measured(now - path.timed[1])
            path.timed = None

    def _on_pong(self, path: _Path, message: messages.Pong, now: float) -> None:
        seconds = now - path.pings.pop(message.id)
        path.measured(seconds)
        self._events.append(messages.RoundTrip(path.number, seconds))

    @property
    def _all_done(self) -> bool:
        return self._out.finished and self._in.complete

    def _finish_if_done(self) -> None:
        said = (self._bye_sent and self._bye_received) or not self._paths
        if self._all_done and said and not self._finished:
            self._finished = True
            self._events.append(messages.Finished())

    # ---- changes of path, and the passing of time --------------------------------------------------------------------

    def _switch(self, target: _Path, reason: str, now: float) -> None:
        """Make before break: the old path ends with SWITCH, nothing is repeated."""
        self._home = None
        if target.number != self.current:
            if self.current in self._paths:
                self._paths[self.current].queue.append(messages.Switch(target.number))
            self._move(target, reason, now)

    def _move(self, target: _Path, reason: str, now: float) -> None:
        self._events.append(messages.PathChanged(self.current, target.number, reason, now))
        self.current = target.number
        self._home = target.suspect_until = None
        target.ack_due = True  # our last ACK may have died on the way

    def _drop(self, path: _Path, reason: str, now: float) -> None:
        del self._paths[path.number]
        self._events.append(messages.PathLost(path.number, reason))
        self._repeat(path)
        refuge = self._refuge(path) or next(iter(self._paths.values()), None)
        if refuge is None:
            self._finish_if_done()
            self._events.extend([] if self._finished else [messages.Stalled()])
        elif self.current == path.number:
            self._move(refuge, reason, now)
        else:
            self._paths[self.current].ack_due = True

    def _repeat(self, path: _Path) -> None:
        """What is on its way on `path` may never arrive: go back to the first unacknowledged byte."""
        self._bye_sent = False
        if path.sent_until > self._out.acked:
            self._out.rewind()
            for other in self._paths.values():
                other.timed = None
        path.sent_until = 0

    def _refuge(self, path: _Path) -> _Path | None:
        """Where to go from `path`: the relay if it lives, and never a suspect path."""
        others = (p for p in self._paths.values() if p is not path and p.suspect_until is None)
        return min(others, key=lambda p: p.number, default=None)

    def get_timer(self) -> float | None:
        """When to call `handle_timer`, if nothing else happens before."""
        times = [t for p in self._paths.values() for t in (p.keepalive_at, p.ack_at, self._silence_ends(p))]
        return min((t for t in times if t is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`."""
        for path in list(self._paths.values()):
            if path.ack_at is not None and now >= path.ack_at:
                path.ack_due, path.ack_at = True, None
            if now >= path.keepalive_at:
                path.keepalive_at = now + KEEPALIVE
                self._ask(path)
            silence_ends = self._silence_ends(path)
            if silence_ends is not None and now >= silence_ends:
                self._still_silent(path, now)

    def _answer_due(self, path: _Path) -> bool:
        return path.sent_until > self._out.acked or bool(path.pings)

    def _silence_ends(self, path: _Path) -> float | None:
        """When the silence of `path`, if it lasts, calls for the next step: a PING, suspicion, loss."""
        if path.suspect_until is not None:
            return path.suspect_until
        if not self._answer_due(path) or (self._refuge(path) is None and not self._all_done):
            return None
        return path.quiet_since + (path.patience if path.asked else path.patience / 2)

    def _still_silent(self, path: _Path, now: float) -> None:
        silence = f"silent for {now - path.quiet_since:.1f} s"
        if path.suspect_until is not None:
            self.lose(path.number, silence, now)
        elif not path.asked:
            self._ask(path)
        else:
            path.suspect_until = now + path.patience
            self._events.append(messages.PathSuspect(path.number, silence))
            self._repeat(path)
            refuge = self._refuge(path)
            if self.current == path.number and refuge is not None:
                self._move(refuge, silence, now)
                self._home = path.number
