"""Sockets of a simulated host, with the manners of non-blocking BSD sockets.

A `SimSocket` is a real subclass of `socket.socket`, so every `isinstance` check holds, but no descriptor of the
operating system stands behind it: its number begins at `FIRST_FD`, and its calls go to the port table and the TCP of
its host (`natsim/host.py`).  It never blocks: a call that would have to wait raises `BlockingIOError`, which asyncio
understands.

Linux's manners that matter for punching are here: options before bind, one connect per socket, the error of a failed
connect in SO_ERROR, SO_LINGER 0 for a RST on close.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..host import ANY, Backlog, Binding, SimHost, Slot, os_error
from ..packet import TCP, UDP, Endpoint, Packet
from .current import current_host

if TYPE_CHECKING:
    from .loop import SimSelector

#: Simulated descriptors are far above any that the operating system gives.
FIRST_FD = 1 << 20

#: Datagrams that wait to be read; more are lost, as in a full receive buffer.
DATAGRAM_QUEUE = 512

#: The options that join a multicast group (True) or leave it.
MEMBERSHIP = {
    (socket.IPPROTO_IP, getattr(socket, "IP_ADD_MEMBERSHIP", -1)): True,
    (socket.IPPROTO_IP, getattr(socket, "IP_DROP_MEMBERSHIP", -2)): False,
}

#: The largest payload of one UDP datagram over IPv4.
LARGEST_DATAGRAM = 65507


class HostSockets:
    """What `current_host` holds in the simulated world: a host, and the selector that watches its sockets.

    `background`: its programs are part of the machinery.  A world in which only they wait is idle.
    """

    def __init__(
        self, host: SimHost, selector: SimSelector, resolve: Callable[[str], str | None], *, background: bool = False
    ) -> None:
        self.name = host.name
        self.background = background
        self.host = host
        self.selector = selector
        self._resolve = resolve
        self.socket_class: type[socket.socket] = SimSocket

    def endpoint(self, address: Any) -> Endpoint:
        """The endpoint that a Python address tuple means; names of hosts are looked up."""
        host, port = address
        if not 0 <= port <= 65535:
            raise OverflowError("port must be 0-65535.")
        return Endpoint(numeric(self._resolve, host) if host else ANY, port)

    def remote(self, address: Any) -> Endpoint:
        """The same, for a remote endpoint: 0.0.0.0 means this host."""
        remote = self.endpoint(address)
        return remote if remote.address != ANY else remote._replace(address="127.0.0.1")


def numeric(resolve: Callable[[str], str | None], name: str) -> str:
    """The IPv4 address that `name` is, or is the name of."""
    address = "127.0.0.1" if name == "localhost" else resolve(name) or name
    try:
        socket.inet_pton(socket.AF_INET, address)
    except OSError:
        raise socket.gaierror(socket.EAI_NONAME, f"no host of this simulated internet is called {name!r}") from None
    return address


class SimSocket(socket.socket):
    """One socket of one simulated host."""

    _next_fd = FIRST_FD

    def __init__(
        self,
        family: int = socket.AF_INET,
        type: int = socket.SOCK_STREAM,
        proto: int = 0,
        fileno: int | None = None,
        *,
        here: HostSockets | None = None,
    ) -> None:
        # The real __init__ is never called: it would open a descriptor.
        self._io_refs = 0
        self._closed = False
        place = here or current_host.get()
        assert isinstance(place, HostSockets)
        assert fileno is None
        if family != socket.AF_INET:
            raise OSError(errno.EAFNOSUPPORT, "this simulated host speaks IPv4 only")
        self._kind = type & ~(getattr(socket, "SOCK_NONBLOCK", 0) | getattr(socket, "SOCK_CLOEXEC", 0))
        if self._kind not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            raise OSError(errno.ESOCKTNOSUPPORT, "this simulated host has stream and datagram sockets only")
        self._here = place
        self._host = place.host
        self._fd = SimSocket._next_fd
        SimSocket._next_fd += 1
        self._protocol = TCP if self._kind == socket.SOCK_STREAM else UDP
        self._options: dict[tuple[int, int], Any] = {}
        self._binding: Binding | None = None
        self._slot: Slot | None = None
        self._backlog: Backlog | None = None
        self._datagrams: deque[Packet] = deque()
        self._groups: set[str] = set()
        self._error = 0
        self._failed = False
        self._connect_told = False
        self._read_shut = False
        place.selector.adopt(self)

    # -- What it is --------------------------------------------------------------------------------------------------

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET

    @property
    def type(self) -> socket.SocketKind:
        return socket.SocketKind(self._kind)

    @property
    def proto(self) -> int:
        return socket.IPPROTO_TCP if self._protocol == TCP else socket.IPPROTO_UDP

    @property
    def timeout(self) -> float | None:
        return 0.0

    def fileno(self) -> int:
        return self._fd

    def setblocking(self, flag: bool) -> None:
        if flag:
            raise RuntimeError("a simulated socket cannot block: use it through asyncio (loop.sock_*, streams)")

    def settimeout(self, value: float | None) -> None:
        self.setblocking(value != 0)

    def gettimeout(self) -> float | None:
        return 0.0

    def getblocking(self) -> bool:
        return False

    def __repr__(self) -> str:
        local = self._binding.local if self._binding else "unbound"
        return f"<SimSocket {self._fd} {self._protocol} of {self._host.name}, {local}>"

    # -- Options -----------------------------------------------------------------------------------------------------

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        if (level, optname) in MEMBERSHIP:
            self._change_membership(socket.inet_ntoa(value[:4]), MEMBERSHIP[level, optname])
            return
        self._options[level, optname] = value
        if self._binding is not None:
            self._binding.reuse_address = self._flag(socket.SO_REUSEADDR)
            self._binding.reuse_port = self._flag(getattr(socket, "SO_REUSEPORT", -1))
        if self._slot is not None:
            self._apply_options(self._slot)

    def _change_membership(self, group: str, join: bool) -> None:
        """Join or leave a multicast group, with Linux's errors for what is so already."""
        if join == (group in self._groups):
            raise os_error(errno.EADDRINUSE if join else errno.EADDRNOTAVAIL)
        if join:
            self._groups.add(group)
            self._host.groups.join(group)
        else:
            self._groups.remove(group)
            self._host.groups.leave(group)

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        if (level, optname) == (socket.SOL_SOCKET, socket.SO_ERROR):
            return self._take_error()
        if (level, optname) == (socket.SOL_SOCKET, socket.SO_TYPE):
            return self._kind
        return self._options.get((level, optname), 0)

    def _flag(self, optname: int) -> bool:
        return bool(self._options.get((socket.SOL_SOCKET, optname)))

    def _apply_options(self, slot: Slot) -> None:
        """Keepalive and user timeout are TCP's own business: hand them on."""
        get = self._options.get
        second = 1_000_000_000
        if self._flag(socket.SO_KEEPALIVE):
            idle = get((socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", -1)), 7200)
            interval = get((socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", -1)), 75)
            count = get((socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", -1)), 9)
            slot.connection.keepalive = (idle * second, interval * second, count)
        user_timeout = get((socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", -1)))
        if user_timeout:
            slot.connection.user_timeout = user_timeout * 1_000_000

    # -- Names -------------------------------------------------------------------------------------------------------

    def bind(self, address: Any) -> None:
        self._check_open()
        if self._binding is not None:
            raise os_error(errno.EINVAL)
        self._binding = self._claim(self._here.endpoint(address))

    def _claim(self, local: Endpoint) -> Binding:
        reuse_port = self._flag(getattr(socket, "SO_REUSEPORT", -1))
        binding = Binding(self._protocol, local, self, self._flag(socket.SO_REUSEADDR), reuse_port)
        self._host.bind(binding)
        return binding

    def _bound(self, remote: str) -> Binding:
        """The socket's binding, made now if need be, with an address that reaches `remote`."""
        if self._binding is None:
            self._binding = self._claim(Endpoint(ANY, 0))
        if self._binding.local.address == ANY:
            self._binding.local = self._binding.local._replace(address=self._host.source_for(remote))
        return self._binding

    def getsockname(self) -> tuple[str, int]:
        self._check_open()
        return _plain(self._binding.local) if self._binding else (ANY, 0)

    def getpeername(self) -> tuple[str, int]:
        self._check_open()
        if self._slot is not None and self._slot.connection.connected:
            return _plain(self._slot.connection.remote)
        if self._binding is not None and self._binding.remote is not None:
            return _plain(self._binding.remote)
        raise os_error(errno.ENOTCONN)

    # -- Connecting --------------------------------------------------------------------------------------------------

    def connect(self, address: Any) -> None:
        self._check_open()
        remote = self._here.remote(address)
        if self._protocol == UDP:
            self._bound(remote.address).remote = remote
            return
        if self._backlog is not None:
            raise os_error(errno.EISCONN)
        if self._slot is not None:
            if self._slot.connection.closed:
                raise os_error(self._take_error() or errno.ECONNABORTED)
            if self._slot.connection.connected and not self._connect_told:
                self._connect_told = True  # Linux: a connect() that was under way says once that it is done
                return
            raise os_error(errno.EISCONN if self._slot.connection.connected else errno.EALREADY)
        self._slot = self._host.connect(self._bound(remote.address), remote, self)
        self._apply_options(self._slot)
        raise BlockingIOError(errno.EINPROGRESS, os.strerror(errno.EINPROGRESS))

    def connect_ex(self, address: Any) -> int:
        try:
            self.connect(address)
        except OSError as exc:
            return exc.errno or 0
        return 0

    def listen(self, backlog: int = 128) -> None:
        self._check_open()
        if self._protocol != TCP:
            raise os_error(errno.EOPNOTSUPP)
        if self._slot is not None:
            raise os_error(errno.EINVAL)
        if self._backlog is not None:
            self._backlog.limit = max(backlog, 1)
            return
        if self._binding is None:
            self._binding = self._claim(Endpoint(ANY, 0))
        self._backlog = self._host.listen(self._binding, max(backlog, 1))

    def accept(self) -> tuple[socket.socket, Any]:
        self._check_open()
        if self._protocol != TCP:
            raise os_error(errno.EOPNOTSUPP)
        if self._backlog is None:
            raise os_error(errno.EINVAL)
        if not self._backlog.ready:
            raise _would_block()
        child = SimSocket(here=self._here)
        slot = child._slot = self._host.accept(self._backlog, child)
        child._binding = slot.binding
        child._connect_told = True
        child._options = dict(self._options)
        child._apply_options(slot)
        return child, tuple(slot.connection.remote)

    # -- Data --------------------------------------------------------------------------------------------------------

    def send(self, data: Any, flags: int = 0) -> int:
        if self._protocol == UDP:
            remote = self._binding.remote if self._binding else None
            if remote is None:
                raise os_error(errno.EDESTADDRREQ)
            return self.sendto(data, remote)
        self._check_open()
        if self._slot is None:
            raise os_error(errno.EPIPE)
        slot = self._slot
        if slot.connection.error is not None:
            self._raise_error(errno.EPIPE)
        if not slot.connection.connected:
            raise _would_block()
        taken = slot.connection.send(data, self._host.clock.now)
        self._host.flush(slot)
        if not taken and len(data):
            raise _would_block()
        return taken

    def sendmsg(self, buffers: Any, *args: Any) -> int:
        return self.send(b"".join(buffers))

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if self._protocol == UDP:
            return self.recvfrom(bufsize)[0]
        slot = self._connected()
        connection = slot.connection
        if not connection.readable:
            raise _would_block()
        data = b"" if self._read_shut else connection.receive(bufsize, self._host.clock.now)
        self._host.flush(slot)
        if not data and not connection.at_eof and not self._read_shut:
            self._raise_error(0)  # once; after that it reads like the end
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        data = self.recv(nbytes or len(buffer), flags)
        buffer[: len(data)] = data
        return len(data)

    def sendto(self, data: Any, *args: Any) -> int:
        self._check_open()
        self._raise_error(0)
        if self._protocol == TCP:
            return self.send(data)
        remote = self._here.remote(args[-1])
        if len(data) > LARGEST_DATAGRAM:
            raise os_error(errno.EMSGSIZE)
        local = self._bound_datagram(remote.address)
        self._host.send(Packet(UDP, local, remote, bytes(data)))
        return len(data)

    def _bound_datagram(self, remote: str) -> Endpoint:
        """Where a datagram leaves from; a socket bound to every address stays so."""
        if self._binding is None:
            self._binding = self._claim(Endpoint(ANY, 0))
        local = self._binding.local
        return local if local.address != ANY else local._replace(address=self._host.source_for(remote))

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        data, source = self.recvfrom(nbytes or len(buffer), flags)
        buffer[: len(data)] = data
        return len(data), source

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        self._check_open()
        if self._protocol == TCP:
            return self.recv(bufsize), None
        self._raise_error(0)
        if not self._datagrams:
            raise _would_block()
        packet = self._datagrams.popleft()
        return packet.payload[:bufsize], tuple(packet.src)

    def shutdown(self, how: int) -> None:
        slot = self._connected()
        if not slot.connection.connected:
            raise os_error(errno.ENOTCONN)
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self._read_shut = True
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            slot.connection.shutdown(self._host.clock.now)
        self._host.flush(slot)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._here.selector.forget(self._fd)
        for group in list(self._groups):
            self._change_membership(group, join=False)
        if self._backlog is not None:
            self._host.unlisten(self._backlog)
        if self._slot is not None:
            self._close_connection(self._slot)
        elif self._binding is not None:
            self._host.release(self._binding)
        self._fd = -1

    def detach(self) -> int:
        raise RuntimeError("a simulated socket has no descriptor that it could give away")

    def _close_connection(self, slot: Slot) -> None:
        linger = self._options.get((socket.SOL_SOCKET, socket.SO_LINGER))
        if linger is not None and struct.unpack("ii", linger) == (1, 0):
            slot.connection.abort(self._host.clock.now)
        else:
            slot.connection.close(self._host.clock.now)
        self._host.leave(slot)
        self._host.flush(slot)

    # -- Errors ------------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise os_error(errno.EBADF)

    def _connected(self) -> Slot:
        self._check_open()
        if self._slot is None:
            raise os_error(errno.ENOTCONN)
        return self._slot

    def _take_error(self) -> int:
        """SO_ERROR: the error is told once.  A connection that failed to open leaves a useless socket."""
        code, self._error = self._error, 0
        if not code and self._slot is not None and not self._failed:
            code = self._slot.connection.error or 0
            self._failed = bool(code)
        return code

    def _raise_error(self, otherwise: int) -> None:
        code = self._take_error() or otherwise
        if code:
            raise os_error(code)

    # -- Called by the host ------------------------------------------------------------------------------------------

    def changed(self) -> None:
        self._here.selector.notice(self)

    def datagram(self, packet: Packet) -> None:
        if len(self._datagrams) < DATAGRAM_QUEUE:
            self._datagrams.append(packet)
        self.changed()

    def refused(self, code: int) -> None:
        self._error = code
        self.changed()

    def readiness(self) -> int:
        """Which of EVENT_READ and EVENT_WRITE hold now."""
        if self._backlog is not None:
            return selectors.EVENT_READ if self._backlog.ready else 0
        if self._protocol == UDP:
            return selectors.EVENT_WRITE | (selectors.EVENT_READ if self._datagrams or self._error else 0)
        if self._slot is None:
            return 0
        connection = self._slot.connection
        readable = connection.readable or self._read_shut
        return (selectors.EVENT_READ if readable else 0) | (selectors.EVENT_WRITE if connection.writable else 0)


def _plain(endpoint: Endpoint) -> tuple[str, int]:
    """An endpoint as programs get it from a socket."""
    return endpoint.address, endpoint.port


def _would_block() -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
