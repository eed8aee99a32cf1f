"""What stream and datagram sockets have in common: a name, options, and errors that are told once.

`Calls` is a socket as the host knows it, in plain endpoints; `streams.py` and `datagrams.py` are its two kinds.  The
face that Python programs see, with its tuples and buffers, is in `sockets.py`.
"""

from __future__ import annotations

import errno
import selectors
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from ..host import SimHost
from ..host_ports import ANY, ANY6, Binding, os_error
from ..packet import Endpoint, Packet, is_ipv6
from .options import REUSE_ADDRESS, REUSE_PORT, V6ONLY, Key, Options

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Received(NamedTuple):
    """What a read gives: the bytes, how long the whole datagram was, and who sent it (None for streams)."""

    data: bytes
    length: int
    source: Endpoint | None


class Calls(ABC):
    """The system calls of one socket.  `notice` is told when its readiness may have changed."""

    protocol: str
    #: The errno of a socket whose port `connect` or `sendto` had to choose, and could not.
    no_port_left: int

    def __init__(self, host: SimHost, ipv6: bool, options: Options, notice: Callable[[], None]) -> None:
        self.host = host
        self.ipv6 = ipv6
        self.options = options
        self.notice = notice
        self.binding: Binding | None = None
        self.error = 0

    # -- Names -------------------------------------------------------------------------------------------------------

    @property
    def wildcard(self) -> Endpoint:
        """The name of a socket that has none."""
        return Endpoint(ANY6 if self.ipv6 else ANY, 0)

    def bind(self, local: Endpoint) -> None:
        """Take a name.  A socket of IPv6 with an address of IPv4 must not be for IPv6 only."""
        if self.binding is not None:
            raise os_error(errno.EINVAL)
        if self.ipv6 and not is_ipv6(local.address) and self.options[V6ONLY]:
            raise os_error(errno.EINVAL)
        self.binding = self._claim(local)
        if is_ipv6(local.address) and local.address != ANY6:
            self.options.set(V6ONLY, 1)  # as Linux: it will never hear IPv4
            self.binding.v6only = True

    def _claim(self, local: Endpoint) -> Binding:
        binding = self._unclaimed(local)
        self.host.ports.bind(binding, self.options.port_range)
        return binding

    def _unclaimed(self, local: Endpoint) -> Binding:
        options = self.options
        reuse = bool(options[REUSE_ADDRESS]), bool(options[REUSE_PORT])
        return Binding(self.protocol, local, self, *reuse, ipv6=self.ipv6, v6only=self.ipv6 and bool(options[V6ONLY]))

    def bound(self) -> Binding:
        """The socket's binding, made now if need be."""
        if self.binding is None:
            try:
                self.binding = self._claim(self.wildcard)
            except OSError:
                raise os_error(self.no_port_left) from None
        return self.binding

    def source_for(self, remote: Endpoint) -> str:
        """The address from which packets to `remote` leave.  Raises if there is no way from this socket to there."""
        address = remote.address
        if self.ipv6 and not is_ipv6(address) and self.options[V6ONLY]:
            raise os_error(errno.ENETUNREACH)
        local = self.binding.local.address if self.binding else ANY
        if local in (ANY, ANY6):
            return self.host.source_for(address)
        if is_ipv6(local) != is_ipv6(address):
            raise os_error(errno.EAFNOSUPPORT)
        self.host.check_way(local, address)
        return local

    def name(self) -> Endpoint:
        """getsockname()"""
        return self.binding.local if self.binding else self.wildcard

    @abstractmethod
    def peer(self) -> Endpoint:
        """getpeername()"""

    # -- Connecting --------------------------------------------------------------------------------------------------

    @abstractmethod
    def connect(self, remote: Endpoint) -> None:
        """Raises EINPROGRESS, or why not."""

    def listen(self, backlog: int) -> None:
        """Only streams can."""
        raise os_error(errno.EOPNOTSUPP)

    def accept(self, notice: Callable[[], None]) -> Calls:
        """Only streams can."""
        raise os_error(errno.EOPNOTSUPP)

    # -- Data --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def send(self, data: bytes | memoryview, remote: Endpoint | None) -> int:
        """How many bytes were taken."""

    @abstractmethod
    def receive(self, size: int, peek: bool) -> Received:
        """At most `size` bytes; with `peek` they stay."""

    @abstractmethod
    def shutdown(self, read: bool, write: bool) -> None:
        """End one direction or both."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back."""

    # -- Options and state -------------------------------------------------------------------------------------------

    def set_option(self, key: Key, value: Any) -> None:
        """setsockopt()"""
        if key == V6ONLY and self.binding is not None:
            raise os_error(errno.EINVAL)
        self.options.set(key, value)
        self.obey_options()

    def obey_options(self) -> None:
        """An option has changed: what can still be changed, is."""
        if self.binding is not None:
            self.binding.reuse_address = bool(self.options[REUSE_ADDRESS])
            self.binding.reuse_port = bool(self.options[REUSE_PORT])

    def take_error(self) -> int:
        """SO_ERROR: the error is told once."""
        code, self.error = self.error, 0
        return code

    def raise_error(self, otherwise: int = 0) -> None:
        """Raise the error that is due, or else another one, if any."""
        code = self.take_error() or otherwise
        if code:
            raise os_error(code)

    @property
    def listening(self) -> bool:
        """SO_ACCEPTCONN"""
        return False

    @abstractmethod
    def readiness(self) -> int:
        """Which of EVENT_READ and EVENT_WRITE hold now."""

    # -- Called by the host ------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """The readiness may have changed."""
        self.notice()

    def datagram(self, packet: Packet) -> None:
        """Only datagram sockets get any."""
        raise NotImplementedError

    def refused(self, code: int) -> None:
        """An ICMP error about a datagram."""
        self.error = code
        self.notice()
