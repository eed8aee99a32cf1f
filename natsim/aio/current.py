"""Which host does this code run on?

One context variable answers, and tasks and callbacks inherit it.  While a world runs, `socket.socket(...)` asks it:
where a host is set, the call makes one of that host's sockets; where none is set (other threads, Jupyter's own
machinery), and for descriptors that exist already, it makes an ordinary one.  The class `socket.socket` itself stays
the same object, so `isinstance` and `from socket import socket` keep working.

Used by both worlds: the simulated one (`sockets.py`) and the kernel's (`natsim/kernel/`).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
from collections.abc import Iterator
from typing import Any, Protocol


class Here(Protocol):
    """A running host: it knows which class its sockets have."""

    name: str
    socket_class: type[socket.socket]


current_host: contextvars.ContextVar[Here | None] = contextvars.ContextVar("current_host", default=None)

_worlds_running = 0


class OutsideHosts(RuntimeError):
    """A program of a simulated world wanted a socket, but was not started on a host."""


def _new_socket(cls: type[socket.socket], *args: Any, **kwargs: Any) -> socket.socket:
    """`socket.socket.__new__` while a world runs."""
    host = current_host.get()
    existing = kwargs.get("fileno", args[3] if len(args) > 3 else None) is not None
    if cls is socket.socket and not existing:
        if host is not None:
            cls = host.socket_class
        elif getattr(asyncio._get_running_loop(), "is_virtual", False):
            raise OutsideHosts(
                "this code runs in a simulated world, but on none of its hosts, so it can have no socket: "
                "run it on one, with host.start(...)"
            )
    return _plain_new(cls)


def _plain_new(cls: type[socket.socket]) -> socket.socket:
    made: socket.socket = super(socket.socket, cls).__new__(cls)
    return made


@contextlib.contextmanager
def hosts_make_sockets() -> Iterator[None]:
    """While this is entered, `socket.socket(...)` makes sockets of the current host.  It nests."""
    global _worlds_running
    _worlds_running += 1
    socket.socket.__new__ = _new_socket  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        _worlds_running -= 1
        if not _worlds_running:
            del socket.socket.__new__
