"""An alarm that wakes an asyncio loop exactly on time.

asyncio's own timers are rounded up to whole milliseconds by epoll.  That would add half a millisecond and more to
each link of a way, so links use a timerfd, which is exact to some microseconds.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import time
from collections.abc import Callable

#: From <sys/timerfd.h>.
TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME = 0o4000, 0o2000000, 1


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


@functools.cache
def _libc() -> ctypes.CDLL:
    """Loaded on first use: this module can be imported where there is no libc (Windows)."""
    return ctypes.CDLL(None, use_errno=True)


class Alarm:
    """Calls `ring()` once for each `set`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._fd: int = _libc().timerfd_create(time.CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self._fd < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"timerfd_create: {os.strerror(error)}")
        loop.add_reader(self._fd, self._fired)

    def set(self, when: float) -> None:
        """Ring when `time.monotonic()` is `when`, or at once if it is past."""
        nanoseconds = int(when * 1e9) + 1  # upwards: rather a nanosecond late than early
        spec = _Itimerspec(0, 0, nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)
        _libc().timerfd_settime(self._fd, TFD_TIMER_ABSTIME, ctypes.byref(spec), None)

    def _fired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # it was set anew in the meantime
        self._ring()

    def close(self) -> None:
        """Never ring again."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
