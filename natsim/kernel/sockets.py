"""A running host of the kernel world: real sockets, each made in its host's namespace.

A socket belongs for ever to the namespace in which it was made, whoever uses it later.  So only the making has to
happen over there; from then on it is an ordinary socket in an ordinary asyncio loop.
"""

from __future__ import annotations

import socket
import weakref
from typing import Any

from ..aio.names import Names
from .namespace import Namespace


class KernelHost:
    """What `current_host` holds in the kernel world."""

    def __init__(self, name: str, namespace: Namespace, names: Names | None = None) -> None:
        self.name = name
        self.namespace = namespace
        self.names = names
        self.readiness = None  # its descriptors are real ones
        self._opened: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.socket_class = _socket_class(namespace, self._opened)

    def close(self) -> None:
        """Close what programs left open, since an open socket would keep the namespace."""
        for sock in list(self._opened):
            sock.close()


def _socket_class(namespace: Namespace, opened: weakref.WeakSet[socket.socket]) -> type[socket.socket]:
    class HostSocket(socket.socket):
        """A real socket in a host's namespace."""

        def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:  # noqa: A002
            if fileno is None:
                namespace.call(super().__init__, family, type, proto)
            else:
                super().__init__(family, type, proto, fileno)
            opened.add(self)

        def accept(self) -> tuple[socket.socket, Any]:
            connection, peer = super().accept()
            opened.add(connection)
            return connection, peer

    return HostSocket
