"""An asyncio event loop that lives in virtual time.

Everything that asyncio does stays asyncio's own: streams, servers, happy eyeballs, TLS, `sock_*` calls.  Only what
lies under it is replaced.  asyncio asks its *selector* "wake me when a socket is ready, or when the next timer is
due", and `SimSelector` answers not by sleeping but by letting the simulated internet happen, event by event, until a
socket is ready or a timer fires.  Timers are put on the simulator's own heap, so packets and timers have one total
order, and time is exact.

If nothing is ready and nothing is planned, every task waits for something that cannot happen: that is a `Deadlock`,
and it names them.  Next: `sockets.py`, whose sockets this loop watches; `nesting.py`, for Jupyter.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import math
import selectors
import time
import weakref
from asyncio import selector_events
from collections.abc import Mapping
from typing import Any

from ..host import SimHost
from ..host_ports import os_error
from ..scheduler import Scheduler, nanoseconds, seconds
from .current import current_host
from .names import Directory, Names
from .sockets import HostSockets, SimSocket


class Deadlock(RuntimeError):
    """Every task waits, and nothing is planned that could wake one."""


class Livelock(RuntimeError):
    """Tasks go on and on without ever waiting, so that time stands still."""


#: So many turns of the loop at one instant are taken for a livelock.
MOST_TURNS = 1_000_000


class SimSelector(selectors.BaseSelector):
    """Watches simulated sockets; waiting means running the simulation."""

    def __init__(self, clock: Scheduler) -> None:
        self._clock = clock
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._sockets: dict[int, SimSocket] = {}
        #: Descriptors whose readiness may have changed; only these are looked at.
        self._dirty: set[int] = set()
        self.loop: SimLoop | None = None
        self._instant, self._turns = -1, 0
        #: Wall-clock instant at which to hand control back (`SimLoop.run_slice`), or None.
        self.until: float | None = None

    def notice(self, sock: SimSocket) -> None:
        """A socket's state has changed."""
        if sock.fileno() in self._keys:
            self._dirty.add(sock.fileno())

    def adopt(self, sock: SimSocket) -> None:
        """A new socket: remember which object its descriptor stands for."""
        self._sockets[sock.fileno()] = sock

    def forget(self, fd: int) -> None:
        """A socket is closed."""
        self._sockets.pop(fd, None)
        self._dirty.discard(fd)

    def readiness(self, fd: int) -> int:
        """What a descriptor is ready for.  OSError for one that is not open."""
        if fd not in self._sockets:
            raise os_error(errno.EBADF)
        return self._sockets[fd].readiness()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if fd not in self._sockets:
            raise RuntimeError(
                f"descriptor {fd} is a real one, and this loop lives in virtual time: "
                "sockets must be made by code that was started on a host, with host.start(...)"
            )
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        self._dirty.add(fd)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._dirty.discard(fd)
        return self._keys.pop(fd)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self.unregister(fileobj)
        return self.register(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj if isinstance(fileobj, int) else fileobj.fileno()]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; with `timeout=None`, let things happen until something is."""
        assert self.loop is not None
        self._notice_livelock()
        ready = self._ready()
        while timeout is None and not ready and not self.loop.has_work:
            if self._clock.idle:
                raise Deadlock(self.loop.who_waits())
            self._clock.step()
            if self._dirty:
                ready = self._ready()
            self._look_at_the_wall_clock()
        self._look_at_the_wall_clock()
        return ready

    def _look_at_the_wall_clock(self) -> None:
        if self.until is not None and time.perf_counter() >= self.until:
            assert self.loop is not None
            self.loop.stop()

    def _notice_livelock(self) -> None:
        """A loop that turns for ever at one instant would never come to its limit of virtual time."""
        assert self.loop is not None
        if self._clock.now != self._instant:
            self._instant, self._turns = self._clock.now, 0
        self._turns += 1
        if self._turns > MOST_TURNS:
            self._turns = 0
            raise Livelock(
                f"at {self.loop.time():.6f} s the loop has turned {MOST_TURNS:,} times without time going on: some "
                "task never waits, or a callback fails again and again. "
                f"These tasks are alive: {', '.join(task.get_name() for task in self.loop.tasks())}"
            )

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        found = []
        for fd in sorted(self._dirty):
            key = self._keys[fd]
            events = key.events & self._sockets[fd].readiness()
            if events:
                found.append((key, events))
            else:
                self._dirty.discard(fd)
        return found


class _Timer(asyncio.TimerHandle):
    """A timer on the simulator's heap.  `counts`: something may come of it; a cancelled one is only not yet gone."""

    __slots__ = ("counts",)

    counts: bool


class SimLoop(selector_events.BaseSelectorEventLoop):
    """The event loop of one simulated world."""

    #: Real sockets cannot live here (`current.py`).
    is_virtual = True

    def __init__(self, clock: Scheduler, directory: Directory) -> None:
        self.clock = clock
        #: As the story itself knows them, which is on no host.
        self.names = Names(directory)
        self.selector = SimSelector(clock)
        super().__init__(self.selector)
        self.selector.loop = self
        self._clock_resolution = 1e-9
        #: Every task's place in the order of their making; names and sets have none that is the same in every run.
        self._births: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
        self._born = 0
        #: Tasks that may wait for ever.
        self._background: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        #: The host on which each task runs.
        self._places: weakref.WeakKeyDictionary[asyncio.Task[Any], SimHost] = weakref.WeakKeyDictionary()

    # -- Time --------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the world began."""
        return seconds(self.clock.now)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        self._check_closed()  # type: ignore[attr-defined]
        timer = _Timer(when, callback, args, self, context)
        timer.counts = False
        if when == math.inf:
            return timer  # never due, but it can be cancelled like any other
        due = nanoseconds(when)
        if seconds(due) < when:
            due += 1  # never early: a callback that finds its time not yet come would ask again, for ever, now
        timer.counts = True
        self.clock.at(due, self._timer_due, timer)
        if _in_background(context):
            self.does_not_count(timer)
        return timer

    def _timer_due(self, timer: _Timer) -> None:
        if not timer.counts:
            self.clock.uncounted -= 1
        timer.counts = False  # it is off the heap: to cancel it now changes nothing
        if not timer.cancelled():
            self._ready.append(timer)  # type: ignore[attr-defined]

    def does_not_count(self, timer: asyncio.TimerHandle) -> None:
        """If nothing else is planned any more, do not wait for this timer: it is a `Deadlock`."""
        assert isinstance(timer, _Timer)
        if timer.counts:
            timer.counts = False
            self.clock.uncounted += 1

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer stays on the heap, and is passed over when its time comes."""
        self.does_not_count(handle)

    # -- What asyncio needs of the machine ---------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """True when callbacks are due, or the loop has been told to stop."""
        return bool(self._ready) or self._stopping  # type: ignore[attr-defined]

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        """Numeric addresses, and the names of the hosts in this internet."""
        return self._names_here().getaddrinfo(host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        return self._names_here().getnameinfo(sockaddr, flags)

    def _names_here(self) -> Names:
        here = _here(None)
        return here.names if here is not None else self.names

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Run the function here and now: a thread would live in real time while the world's clock runs away."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as exc:
            future.set_exception(exc)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""

    def _make_self_pipe(self) -> None:
        """No other thread ever wakes this loop."""

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    # -- Tasks -------------------------------------------------------------------------------------------------------

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        self._born += 1
        self._births[task] = self._born
        here = _here(options.get("context"))
        if here is not None:
            self._places[task] = here.host
            if here.background:
                self._background.add(task)
        return task

    def tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that are not done, oldest first."""
        return sorted(asyncio.all_tasks(self), key=lambda task: self._births.get(task, 0))

    def tasks_on(self, host: SimHost) -> list[asyncio.Task[Any]]:
        """Those of one host."""
        return [task for task in self.tasks() if self._places.get(task) is host]

    # -- Running ---------------------------------------------------------------------------------------------------

    def run_slice(self, main: asyncio.Future[Any], wall_seconds: float) -> bool:
        """Run for about that long on the wall clock; True when `main` is done."""
        if main.done():
            return True
        main.add_done_callback(self._stop_for)
        self.selector.until = time.perf_counter() + wall_seconds
        try:
            self.run_forever()
        finally:
            self.selector.until = None
            main.remove_done_callback(self._stop_for)
        return main.done()

    def abandon_transports(self) -> None:
        """Close what programs left open, or it would be closed, with complaints, whenever it is garbage-collected."""
        transports = self._transports  # type: ignore[attr-defined]
        for _, transport in sorted(transports.items()):
            if transport._sock is not None:  # else it is closed already, and only remembered
                transport.abort()
        if transports:
            self.run_until_complete(asyncio.sleep(0))

    def _stop_for(self, _done: asyncio.Future[Any]) -> None:
        if self.selector.until is not None:  # it may be called after an interrupted slice
            self.stop()

    def who_waits(self) -> str:
        """The sentence of a `Deadlock`."""
        names = (f"{task.get_name()} ({_where(task)})" for task in self.tasks() if task not in self._background)
        return (
            f"at {self.time():.6f} s nothing is planned any more, but these tasks still wait: {', '.join(names)}. "
            "Is something awaited that nobody will ever send?"
        )


def _in_background(context: contextvars.Context | None) -> bool:
    """Does code in this context (None: the current one) belong to the machinery, not to the story?"""
    here = _here(context)
    return here is not None and here.background


def _here(context: contextvars.Context | None) -> HostSockets | None:
    """The host of code in this context; None for the story itself."""
    here = current_host.get() if context is None else context.get(current_host)
    return here if isinstance(here, HostSockets) else None


def _where(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    return f"line {frames[-1].f_lineno} of {frames[-1].f_code.co_name}" if frames else "not started"
