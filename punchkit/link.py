"""A link between two people: relayed at once, then direct if that can be, and back if it must.

    link = await punchkit.connect("7-amber-falcon", server="203.0.113.10")
    await link.write(b"hello")
    link.path            # "relay", and some time later "tcp 198.51.100.2:41000"

If the server goes away while data is direct, the link lives on, but it has nothing to fall back on any more: it does
not yet meet the server again.

This file only drives: it moves records between the session (`session.py`, which decides what to send where) and the
paths (`path.py`, which carry it), and keeps the session's timers.  Direct paths come from the `matchmaker`.
All of it is ordinary asyncio; it does not know where it runs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

from punchkit.errors import NoDirectPath, PeerGone, ProtocolError, PunchkitError
from punchkit.matchmaker import Matchmaker
from punchkit.messages import (
    ControlReceived,
    Event,
    Finished,
    PathChanged,
    PathLost,
    PathSuspect,
    PeerFinished,
    RoundTrip,
    Select,
    Stalled,
    decode,
)
from punchkit.path import Path
from punchkit.rendezvous import Meeting
from punchkit.session import RELAY, Session
from punchkit.wire import LEADER

#: So many happenings are remembered: a peer or a stranger who makes things happen fills no memory.
MAX_HISTORY = 1000

#: Seconds without a word after which a path is dead: both sides PING every path every fifteen.
SILENCE = 45.0

#: Seconds that a finished link waits for its last records to reach the other side.
LAST_WORDS = 2.0


@dataclass(frozen=True)
class Happening:
    """Something worth telling: `when` in seconds since the link was made, `what` in a word, `text` in a sentence."""

    when: float
    what: str
    text: str


class Link:
    """An ordered byte stream in each direction, to the one other person who has the code.

    Made by `connect`.  `path` says where data goes now; `history` has all that has happened; `why()` explains.
    """

    def __init__(self, meeting: Meeting, *, relay_only: bool, direct_only: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._direct_only = direct_only
        self._session = Session(meeting.role == LEADER, self._began)
        self._paths: dict[int, Path] = {}
        self._wakers: dict[int, asyncio.Event] = {}
        #: Of each path, the task that receives and the one that sends.
        self._tasks: dict[int, tuple[asyncio.Task[None], asyncio.Task[None]]] = {}
        self._next_number = 1
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._round_trips: asyncio.Queue[float] = asyncio.Queue(16)
        self._error: PunchkitError | None = None
        self._finished = False
        self._ended = False
        #: Where data went when both sides had everything.  Later, paths end one after the other, which means nothing.
        self._final: tuple[str, bool] | None = None
        self.history: deque[Happening] = deque(maxlen=MAX_HISTORY)
        self._noted = 0
        #: When the first data came over each path, by the path's name, in seconds of the loop's clock.
        self.first_data: dict[str, float] = {}
        self.meeting = meeting
        self.note("relay", f"connected through {meeting.server[0]}:{meeting.server[1]} as {meeting.role}")
        self._run_path(RELAY, Path("relay", meeting.reader, meeting.writer, (meeting.sealer, meeting.opener)))
        self._matchmaker = Matchmaker(meeting, self, relay_only)
        self._search = self._loop.create_task(self._matchmaker.run(), name="matchmaker")
        self._turn()

    # -- For the application -----------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Where we send data now: "relay", or "tcp ADDRESS:PORT"."""
        if self._final is not None:
            return self._final[0]
        path = self._paths.get(self._session.current)
        return path.name if path else "none"

    @property
    def direct(self) -> bool:
        """True while data goes straight to the peer."""
        return self._final[1] if self._final is not None else self._session.current != RELAY

    @property
    def direct_after(self) -> float | None:
        """Seconds from the making of the link to its first direct data, or None."""
        return next((h.when for h in self.history if h.what == "direct"), None)

    @property
    def bytes_relayed(self) -> int:
        """Payload bytes sent and received through the server so far, repeats included."""
        return self._session.bytes_sent.get(RELAY, 0) + self._session.bytes_received.get(RELAY, 0)

    @property
    def bytes_direct(self) -> int:
        """Payload bytes sent and received on direct paths so far, repeats included."""
        counted = (self._session.bytes_sent, self._session.bytes_received)
        return sum(sum(counts.values()) for counts in counted) - self.bytes_relayed

    async def write(self, data: bytes | memoryview) -> None:
        """Send bytes; waits while the peer is slower than we are.

        Raises PeerGone if no way is left to it, ValueError after `write_eof`.
        """
        rest = memoryview(data)
        while rest:
            await self._until(lambda: self._session.room > 0 or self._ended)
            self._fail_if_broken()
            rest = rest[self._session.write(rest) :]  # type: ignore[arg-type]
            self._turn()

    async def read(self, limit: int = 1 << 18) -> bytes:
        """Up to `limit` bytes, at least one; b"" at the end of the peer's stream.  Raises PeerGone."""
        await self._until(lambda: self._session.readable > 0 or self._session.at_eof)
        if not self._session.readable and not self._session.at_eof:
            self._fail_if_broken()
        data = self._session.read(limit)
        self._turn()
        return data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece

    def write_eof(self) -> None:
        """Say that no more will be written; reading goes on.  A `write` that still waits gets a ValueError."""
        self._ended = True
        self._session.write_eof()
        self._turn()

    async def settled(self) -> None:
        """Wait until the first search for a direct path is over, successful or not."""
        waiting = self._loop.create_task(self._matchmaker.settled.wait())
        try:
            await asyncio.wait([waiting, self._search], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        self._fail_if_broken()

    async def finish(self) -> None:
        """End our stream, and wait until both sides have everything.  Raises PeerGone."""
        self.write_eof()
        await self._until(lambda: self._finished)
        self._fail_if_broken()
        await self.close()

    async def close(self) -> None:
        """Let go of everything now.  What the peer has not received may be lost; see `finish`."""
        self._search.cancel()
        if self._timer is not None:
            self._timer.cancel()
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        if self._finished and tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(self._search, *tasks, return_exceptions=True)
        for path in self._paths.values():
            path.close()
        self._error = self._error or PeerGone("the link was closed here")
        self._wake_waiters()

    async def __aenter__(self) -> Link:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def why(self) -> str:
        """Why data goes where it goes, in a sentence."""
        for happening in reversed(self.history):
            if happening.what in ("direct", "lost", "relay-only"):
                return f"{'direct' if self.direct else 'relayed'}: {happening.text}"
        if not self._matchmaker.settled.is_set():
            return "relayed: the search for a direct path is still going on"
        return f"relayed: no direct path was found. {self._matchmaker.why_not()}"

    async def events(self) -> AsyncIterator[Happening]:
        """What has happened so far, and then what happens, as it does; ends when the link does.

        Whoever reads more slowly than things happen misses those that `history` has forgotten.
        """
        seen = 0
        while True:
            fresh = min(self._noted - seen, len(self.history))
            seen = self._noted
            for happening in list(self.history)[len(self.history) - fresh :]:
                yield happening
            if self._noted == seen and self._error is not None:
                return
            await self._until(lambda: self._noted > seen)  # noqa: B023 - it is awaited before `seen` changes

    # -- For the matchmaker ------------------------------------------------------------------------------------------

    def send_control(self, body: bytes) -> None:
        """Say something to the peer's matchmaker."""
        self._session.send_control(body)
        self._turn()

    async def round_trip(self, pings: int) -> float:
        """Seconds of a round trip over the relay: the least of several, since queues only ever add to it."""
        while not self._round_trips.empty():
            self._round_trips.get_nowait()
        for _ in range(pings):
            self._session.ping(RELAY, self._loop.time())
        self._turn()
        return min([await self._round_trips.get() for _ in range(pings)])

    def adopt(self, path: Path, first: bytes | None) -> None:
        """A recognised path: the leader numbers and selects it; the follower learns the number from `first`."""
        now = self._loop.time()
        if first is None:
            number, self._next_number = self._next_number, self._next_number + 1
        else:
            select = decode(first)
            assert isinstance(select, Select)
            number = select.path
            if number in self._paths or number <= RELAY:
                raise ProtocolError(f"a new path with the number {number}")
        self._session.add_path(number, now)
        if first is None:
            self._session.select(number, now)
        else:
            self._session.receive(number, first, now)
        self._run_path(number, path)
        self._turn()

    def note(self, what: str, text: str) -> None:
        """Remember something worth telling."""
        self.history.append(Happening(self._loop.time() - self._began, what, text))
        self._noted += 1
        self._wake_waiters()

    # -- Paths -------------------------------------------------------------------------------------------------------

    def _run_path(self, number: int, path: Path) -> None:
        self._paths[number] = path
        self._wakers[number] = asyncio.Event()
        self._tasks[number] = (
            self._loop.create_task(self._guard(self._receive, number, path), name=f"receive {path.name}"),
            self._loop.create_task(self._guard(self._send, number, path), name=f"send {path.name}"),
        )

    async def _receive(self, number: int, path: Path) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENCE) as limit:
                    records = await path.receive()
            except TimeoutError:
                if not limit.expired():
                    raise  # the system's own ETIMEDOUT: what we sent was not acknowledged
                raise ConnectionResetError(f"nothing was heard for {SILENCE:.0f} s") from None
            for record in records:
                try:
                    self._session.receive(number, record, self._loop.time())
                except ProtocolError as exc:
                    self._fail(exc)
                    return
            if path.name not in self.first_data and self._session.bytes_received.get(number):
                self.first_data[path.name] = self._loop.time()
            self._turn()

    async def _send(self, number: int, path: Path) -> None:
        waker = self._wakers[number]
        while not self._finished or self._session.has_work(number):
            await waker.wait()
            waker.clear()
            while (record := self._session.next_record(number, self._loop.time())) is not None:
                await path.send(record)
            self._turn()
        path.end()  # then the other side reads our end, and we read its: nothing is cut off

    async def _guard(self, work: Callable[[int, Path], Awaitable[None]], number: int, path: Path) -> None:
        """Run a path's task; when its connection ends, so does the path."""
        try:
            await work(number, path)
        except (ConnectionError, TimeoutError, OSError, ProtocolError) as exc:
            reason = exc.detail if isinstance(exc, ProtocolError) else (exc.strerror or str(exc) or "it broke")
            self._session.lose(number, reason, self._loop.time())
            self._turn()

    # -- The session -------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """After every word to the session: tell what happened, let paths with work go on, set the timer."""
        while (event := self._session.next_event()) is not None:
            self._on_event(event)
        for number, waker in self._wakers.items():
            if self._session.has_work(number) or self._finished:
                waker.set()
        self._set_timer()
        self._wake_waiters()

    def _on_event(self, event: Event) -> None:
        match event:
            case PathChanged(old, new, reason):
                self._moved(old, new, reason)
            case PathSuspect(path, reason):
                self.note("suspect", f"{self._name(path)} is {reason}: everything is sent again over another path")
            case PathLost(path, reason):
                self._lost(path, reason)
            case ControlReceived(body):
                try:
                    self._matchmaker.control(body)
                except ProtocolError as exc:
                    self._fail(exc)
            case RoundTrip(path, seconds):
                if path == RELAY and not self._round_trips.full():
                    self._round_trips.put_nowait(seconds)
            case PeerFinished():
                self.note("peer-finished", "the other side has sent everything")
            case Finished():
                self._final = (self.path, self.direct)
                self._finished = True
                self.note("finished", "both sides have everything")
            case Stalled():
                self._fail(PeerGone("no path is left to it: it has gone away, or the server has"))

    def _moved(self, old: int, new: int, reason: str) -> None:
        if self._finished:
            return  # whoever closes first ends a path; nothing is lost by that
        if new == RELAY:
            self.note("lost", f"{self._name(old)}: {reason}")
            if self._direct_only:
                self._fail(NoDirectPath(f"{self._name(old)}: {reason}"))
        else:
            self.note("direct", f"data goes over {self._name(new)} now ({reason})")
        self._matchmaker.direct_path(new != RELAY)

    def _lost(self, number: int, reason: str) -> None:
        if not self._finished:
            self.note("path-ended", f"{self._name(number)}: {reason}")
        path = self._paths.pop(number, None)
        self._wakers.pop(number, None)
        current = asyncio.current_task()
        for task in self._tasks.pop(number, ()):
            if task is not current:
                task.cancel()
        if path is not None and self._finished:
            path.close()
        elif path is not None:
            path.abort()

    def _name(self, number: int) -> str:
        path = self._paths.get(number)
        return path.name if path else f"path {number}"

    def _set_timer(self) -> None:
        """Have `_on_timer` called when the session wants it; an earlier call that is planned already will do."""
        due = self._session.get_timer()
        if due is None or self._error or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._session.handle_timer(self._loop.time())
        self._turn()

    # -- Waiting -----------------------------------------------------------------------------------------------------

    async def _until(self, happened: Callable[[], bool]) -> None:
        """Wait for something to become true, or for the link to break."""
        while not happened() and self._error is None:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def _wake_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _fail(self, error: PunchkitError) -> None:
        if self._error is None and not self._finished:
            self._error = error
            self.note("failed", str(error))
            self._search.cancel()
            for path in self._paths.values():
                path.abort()

    def _fail_if_broken(self) -> None:
        if self._error is not None:
            raise self._error
