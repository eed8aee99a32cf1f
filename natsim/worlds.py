"""Bringing an internet to life: which worlds there are, and how a story runs in one.

A world is entered for one run and left again, whatever happens in between; leaving takes everything away that
entering made.  Next: `sim_world.py`, `kernel/world.py`, `loopback_world.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .aio.current import hosts_make_sockets
from .aio.loop import SimLoop
from .aio.nesting import outer_loop_aside
from .run import Run

if TYPE_CHECKING:
    from .faults import Fault
    from .internet import Host, Internet, Nat, Story
    from .nat.table_row import TableRow
    from .trace import Trace

T = TypeVar("T")


class World(Protocol):
    """What a world can do while it runs.  Entering it builds the internet, leaving it takes all of it away."""

    name: str

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def trace(self) -> Trace | None: ...

    def __enter__(self) -> World: ...

    def __exit__(self, *exc: object) -> None: ...

    def start(self, host: Host, program: Awaitable[T], name: str) -> asyncio.Task[T]: ...

    def address_of(self, host: Host) -> str: ...

    def cut(self, one: str, other: str, how: str) -> None: ...

    def heal(self, one: str, other: str) -> None: ...

    def table(self, nat: Nat) -> list[TableRow]: ...

    def reboot(self, nat: Nat) -> None: ...

    def strike(self, fault: Fault) -> None: ...


def make_world(net: Internet, name: str, traced: bool) -> World:
    """The world of that name for this internet."""
    if name == "sim":
        from .sim_world import SimWorld

        return SimWorld(net, traced=traced)
    if name == "kernel":
        from .kernel.world import KernelWorld

        return KernelWorld(net, traced=traced)
    if name == "loopback":
        from .loopback_world import LoopbackWorld

        return LoopbackWorld(net)
    raise ValueError(f"there is no world {name!r}; there are sim, kernel and loopback")


def run(net: Internet, story: Story, world_name: str, limit: float, traced: bool) -> Run:
    """Run a story to its end; see `Internet.run`."""
    with outer_loop_aside(), _alive(net, world_name, traced=traced) as world, _Chance(net.seed):
        main = world.loop.create_task(_limited(story, limit), name="story")
        try:
            result = world.loop.run_until_complete(main)
            duration = world.loop.time()
            if world.trace is not None:
                world.trace.end()
        finally:
            _stop_everything(world.loop, main)
        return Run(net, world.name, world.trace if traced else None, duration, result)


async def play(net: Internet, story: Story, limit: float, slice_seconds: float) -> Run:
    """Run a story in the simulator in slices of wall-clock time, letting the caller's loop live in between."""
    from .sim_world import SimWorld

    with contextlib.ExitStack() as stack:
        chance = _Chance(net.seed)
        with outer_loop_aside():
            world = stack.enter_context(_alive(net, "sim"))
            assert isinstance(world, SimWorld)
            main = world.loop.create_task(_limited(story, limit), name="story")
        try:
            done = False
            while not done:
                with outer_loop_aside(), chance:
                    done = world.loop.run_slice(main, slice_seconds)
                await asyncio.sleep(0)
            world.trace.end()
            return Run(net, world.name, world.trace, world.loop.time(), main.result())
        finally:
            with outer_loop_aside(), chance, stack:
                _stop_everything(world.loop, main)


@contextlib.contextmanager
def _alive(net: Internet, name: str, *, traced: bool = True) -> Iterator[World]:
    """A world, entered; `net.world` is set meanwhile."""
    if net.world is not None:
        raise RuntimeError("this internet runs already; a story cannot start another run of it")
    with _as_described(net), make_world(net, name, traced) as world, hosts_make_sockets():
        net.world = world
        world.loop.set_exception_handler(_ignore_cancellation)
        try:
            yield world
        finally:
            net.world = None


@contextlib.contextmanager
def _as_described(net: Internet) -> Iterator[None]:
    """Faults move hosts and change addresses; afterwards the description is again as it was written."""
    nodes = [*net.hosts.values(), *net.nats.values()]
    before = [dict(vars(node)) for node in nodes]
    try:
        yield
    finally:
        for node, fields in zip(nodes, before, strict=True):
            vars(node).update(fields)


class _Chance:
    """While this is entered, `random` draws for the story, from the seed.  Entered again, it goes on where it was.

    Programs draw their jitter from `random`; seeded, the same story makes the same trace.
    """

    def __init__(self, seed: int) -> None:
        self._inside = random.Random(f"{seed}:programs").getstate()
        self._outside = random.getstate()

    def __enter__(self) -> None:
        self._outside = random.getstate()
        random.setstate(self._inside)

    def __exit__(self, *exc: object) -> None:
        self._inside = random.getstate()
        random.setstate(self._outside)


async def _limited(story: Story, limit: float) -> Any:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as patience:
        alarm = loop.call_later(limit, lambda: patience.reschedule(loop.time()))
        if isinstance(loop, SimLoop):
            loop.does_not_count(alarm)  # a story that can go on no more shall not wait for its limit
        try:
            return await story()
        finally:
            alarm.cancel()


def _stop_everything(loop: asyncio.AbstractEventLoop, main: asyncio.Task[Any]) -> None:
    """Cancel whatever still runs, always in the same order, and let it clean up."""
    if main.done() and not main.cancelled():
        main.exception()  # it has been told, or KeyboardInterrupt has: asyncio need not complain
    if isinstance(loop, SimLoop):
        tasks = loop.tasks()
    else:
        tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _ignore_cancellation(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Python 3.11's streams complain when a server's connections are cancelled: as a world ends, or a host crashes."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)
