"""`select.select` and `select.poll` for simulated sockets, as far as they do not wait.

asyncio does not need them, its selector is `SimSelector` (`loop.py`).  But HTTP clients look in this way whether a
connection that they have kept is still good.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable
from typing import Any

from .calls import READ, WRITE

#: What a descriptor is ready for: EVENT_READ, EVENT_WRITE or both.
Readiness = Callable[[int], int]

_POLL_IN, _POLL_OUT = getattr(select, "POLLIN", 1), getattr(select, "POLLOUT", 4)


def simulated_select(readiness: Readiness, *sets: Iterable[Any], timeout: float | None) -> tuple[list[Any], ...]:
    """As `select.select`; RuntimeError if it would have to wait."""
    readers, writers, _ = map(list, sets)
    found: tuple[list[Any], ...] = (
        [fileobj for fileobj in readers if readiness(_number(fileobj)) & READ],
        [fileobj for fileobj in writers if readiness(_number(fileobj)) & WRITE],
        [],
    )
    _never_wait(any(found), timeout)
    return found


class SimulatedPoll:
    """As the objects that `select.poll` makes; RuntimeError if it would have to wait."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._masks: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = _POLL_IN | _POLL_OUT) -> None:
        """Look at this one, too."""
        self._masks[_number(fd)] = eventmask

    def modify(self, fd: Any, eventmask: int) -> None:
        """Look for something else."""
        if _number(fd) not in self._masks:
            raise FileNotFoundError("this descriptor is not registered")
        self.register(fd, eventmask)

    def unregister(self, fd: Any) -> None:
        """Look at this one no more."""
        del self._masks[_number(fd)]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """What is ready now."""
        found = []
        for fd, mask in self._masks.items():
            ready = self._readiness(fd)
            if events := mask & (_POLL_IN * bool(ready & READ) | _POLL_OUT * bool(ready & WRITE)):
                found.append((fd, events))
        _never_wait(bool(found), timeout)
        return found


def _number(fileobj: Any) -> int:
    fd: int = fileobj if isinstance(fileobj, int) else fileobj.fileno()
    return fd


def _never_wait(found: bool, timeout: float | None) -> None:
    if not found and timeout != 0:
        raise RuntimeError("a simulated program cannot block in select or poll: use asyncio, or a timeout of 0")
