"""Which host does this code run on?

One context variable answers, and tasks and callbacks inherit it.  While a world runs, `socket.socket(...)` asks it:
where a host is set, the call makes one of that host's sockets; where none is set (other threads, Jupyter's own
machinery), and for descriptors that exist already, it makes an ordinary one.  The class `socket.socket` itself stays
the same object, so `isinstance` and `from socket import socket` keep working.  In the same way `socket.getaddrinfo` and
its relatives answer for a simulated host (`names.py`), the library ifaddr tells its addresses (`adapters.py`), and
`select.select` looks at its sockets (`polling.py`).

Used by both worlds: the simulated one (`sockets.py`) and the kernel's (`natsim/kernel/`).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import select
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .adapters import adapters_of_hosts
from .polling import SimulatedPoll, simulated_select

if TYPE_CHECKING:
    from .names import Names
    from .polling import Readiness


class Here(Protocol):
    """A running host: it knows which class its sockets have."""

    name: str
    socket_class: type[socket.socket]

    @property
    def names(self) -> Names | None:
        """What it knows of names and addresses; None where this machine's own functions will do."""

    @property
    def readiness(self) -> Readiness | None:
        """What its descriptors are ready for; None where they are this machine's."""


current_host: contextvars.ContextVar[Here | None] = contextvars.ContextVar("current_host", default=None)

_worlds_running = 0
_undo = contextlib.ExitStack()


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


#: The functions of the module `socket` that a host answers by itself.
_ABOUT_NAMES = ("getaddrinfo", "getfqdn", "gethostbyname", "gethostbyname_ex", "gethostname", "getnameinfo")


def _names() -> Names | None:
    """What the current host knows, or the story of a simulated world."""
    host = current_host.get()
    if host is not None:
        return host.names
    return getattr(asyncio._get_running_loop(), "names", None)


def _answered_by_host(name: str) -> Any:
    """That function of the module `socket`, but asking the current host, if there is one that knows."""
    of_this_machine = getattr(socket, name)

    @functools.wraps(of_this_machine)
    def answer(*args: Any, **options: Any) -> Any:
        names = _names()
        return (of_this_machine if names is None else getattr(names, name))(*args, **options)

    return answer


def _own_addresses() -> Sequence[str] | None:
    names = _names()
    return None if names is None else names.own()


def _select(readers: Any, writers: Any, others: Any, timeout: float | None = None) -> Any:
    """`select.select` while a world runs."""
    host = current_host.get()
    if host is None or host.readiness is None:
        return _real_select(readers, writers, others, timeout)
    return simulated_select(host.readiness, readers, writers, others, timeout=timeout)


def _poll() -> Any:
    """`select.poll` while a world runs."""
    host = current_host.get()
    return _real_poll() if host is None or host.readiness is None else SimulatedPoll(host.readiness)


_real_select = select.select
_real_poll: Any = getattr(select, "poll", None)  # not on every system


@contextlib.contextmanager
def hosts_make_sockets() -> Iterator[None]:
    """While this is entered, `socket.socket(...)` makes sockets of the current host, which knows its names.  It nests.

    Libraries must be imported before: what they look up while they are imported is about this machine.
    """
    global _worlds_running
    if not _worlds_running:
        _put_hosts_in_charge()
    _worlds_running += 1
    try:
        yield
    finally:
        _worlds_running -= 1
        if not _worlds_running:
            _undo.close()


def _put_hosts_in_charge() -> None:
    """Put all of it in place; closing `_undo` takes it away again."""
    changes = [(socket, name, _answered_by_host(name)) for name in _ABOUT_NAMES]
    changes += [(select, "select", _select)]
    changes += [(select, "poll", _poll)] if _real_poll is not None else []
    for module, name, answer in changes:
        _undo.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, answer)
    _undo.enter_context(adapters_of_hosts(_own_addresses))
    socket.socket.__new__ = _new_socket  # type: ignore[assignment, method-assign]
    _undo.callback(delattr, socket.socket, "__new__")
