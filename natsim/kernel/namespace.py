"""A network namespace that belongs to a thread.

A namespace lives as long as something is in it.  Here that is a thread, which does nothing but wait for errands:
making a socket, opening a TUN device, running `ip` or `nft` (a child process starts in the namespace of the thread
that started it).  So

- the caller's thread is never in another namespace, not even when Ctrl-C strikes at the worst moment;
- there is no name that could collide, and nothing to delete: threads die with their process, and an empty namespace
  takes its interfaces, addresses and rules with it.

Used by every other file here; knows nothing of hosts or NATs.
"""

from __future__ import annotations

import ctypes
import os
import queue
import subprocess
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: From <sched.h>.
CLONE_NEWNET = 0x40000000

Errand = tuple["Future[Any]", Callable[[], Any]]


class CommandFailed(RuntimeError):
    """`ip` or `nft` would not do what it was told."""


class Namespace:
    """A new, empty network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._errands: queue.SimpleQueue[Errand | None] = queue.SimpleQueue()
        # A daemon: it must not keep the interpreter alive.  It knows the queue but not this object, so that an
        # object that Ctrl-C made nobody's still ends its thread.
        self._thread = threading.Thread(target=_live, args=(self._errands,), name=f"namespace {name}", daemon=True)
        self._end = weakref.finalize(self, self._errands.put, None)
        self._thread.start()
        try:
            self.call(_unshare)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """What `ip ... netns` and `nsenter --net=` take, from any process of this machine."""
        return f"/proc/{os.getpid()}/task/{self._thread.native_id}/ns/net"

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function inside the namespace, and return or raise what it does."""
        if not self._end.alive:
            raise RuntimeError(f"the namespace of {self.name} is gone: its internet does not run any more")
        future: Future[T] = Future()
        self._errands.put((future, lambda: function(*args, **kwargs)))
        return future.result()

    def run(self, command: list[str], script: str) -> None:
        """Run a program inside the namespace, with a script on its standard input."""
        done = self.call(subprocess.run, command, input=script, text=True, capture_output=True, check=False)
        if done.returncode:
            raise CommandFailed(
                f"`{' '.join(command)}` failed in the namespace of {self.name}: {done.stderr.strip()}\n"
                f"It was given:\n{script}"
            )

    def sysctl(self, values: dict[str, str]) -> None:
        """Set values below /proc/sys/net/, which shows each thread its own namespace."""
        for key, value in values.items():
            self.call(Path("/proc/sys/net", key).write_text, value)

    def counters(self, interface: str) -> tuple[int, int]:
        """Bytes that an interface has received and sent."""
        for line in Path(self.path).parent.parent.joinpath("net/dev").read_text().splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == interface:
                fields = numbers.split()
                return int(fields[0]), int(fields[8])
        raise RuntimeError(f"{self.name} has no interface {interface!r}")

    def close(self) -> None:
        """End the thread; with it goes the namespace, unless a socket in it is still open."""
        self._end()
        self._thread.join()


def _live(errands: queue.SimpleQueue[Errand | None]) -> None:
    """What the thread does."""
    while (errand := errands.get()) is not None:
        future, function = errand
        try:
            future.set_result(function())
        except BaseException as exc:
            future.set_exception(exc)
        # While it waits for the next errand, the thread keeps nothing of the last one alive: a socket, say.
        del errand, future, function


def _unshare() -> None:
    """Move this thread into a new namespace (`os.unshare` exists since Python 3.12 only)."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
