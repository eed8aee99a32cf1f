"""Sockets of a simulated host: the face that Python programs see.

A `SimSocket` is a real subclass of `socket.socket`, so every `isinstance` check holds, but no descriptor of the
operating system stands behind it: its number begins at `FIRST_FD`.  Here are Python's tuples, buffers and flags; what
the calls do is in `streams.py` and `datagrams.py`, over the host's ports and TCP (`natsim/host.py`).  It never blocks:
a call that would have to wait raises `BlockingIOError`, which asyncio understands.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..host import LOOPBACK, SimHost
from ..host_ports import ANY, ANY6, os_error
from ..packet import IPV6_LOOPBACK, TCP, UDP, Endpoint, is_ipv6
from .calls import Calls, Received
from .current import current_host
from .datagrams import DatagramCalls
from .names import Directory, Names, literal_for, sockaddr, unmapped
from .options import DOMAIN, ERROR, LISTENING, MEMBERSHIP, PROTOCOL, TCP_INFO, TYPE, Options
from .streams import StreamCalls

if TYPE_CHECKING:
    from .loop import SimSelector

#: Simulated descriptors are far above any that the operating system gives.
FIRST_FD = 1 << 20

_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0) | getattr(socket, "SOCK_CLOEXEC", 0)
_PEEK, _TRUNC = socket.MSG_PEEK, getattr(socket, "MSG_TRUNC", 0x20)


class HostSockets:
    """What `current_host` holds in the simulated world: a host, and the selector that watches its sockets.

    `background`: its programs are part of the machinery.  A world in which only they wait is idle.
    """

    def __init__(self, host: SimHost, selector: SimSelector, directory: Directory, *, background: bool = False) -> None:
        self.name = host.name
        self.background = background
        self.host = host
        self.selector = selector
        self.readiness = selector.readiness
        self.names = Names(directory, host.name, lambda: host.addresses)
        self.socket_class: type[socket.socket] = SimSocket

    def endpoint(self, family: int, address: Any) -> Endpoint:
        """The endpoint that an address tuple of this family means; names of hosts are looked up."""
        host, port = address[:2]
        if len(address) > (4 if family == socket.AF_INET6 else 2):
            raise TypeError(f"too many parts for an address of this family: {address!r}")
        if not 0 <= port <= 65535:
            raise OverflowError("port must be 0-65535.")
        if not host:
            return Endpoint(ANY6 if family == socket.AF_INET6 else ANY, port)
        return Endpoint(literal_for(family, host) or unmapped(self.names.find(host, (family,))[0]), port)


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
        calls: Callable[[Callable[[], None]], Calls] | None = None,
    ) -> None:
        # The real __init__ is never called: it would open a descriptor.
        self._io_refs = 0
        self._closed = False
        place = here or current_host.get()
        assert isinstance(place, HostSockets)
        assert fileno is None
        self._family = socket.AF_INET if family == -1 else family
        if self._family not in (socket.AF_INET, socket.AF_INET6):
            raise OSError(errno.EAFNOSUPPORT, "a simulated host speaks IPv4 and IPv6 only")
        self._kind = (socket.SOCK_STREAM if type == -1 else type) & ~_NONBLOCK
        if self._kind not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            raise OSError(errno.ESOCKTNOSUPPORT, "this simulated host has stream and datagram sockets only")
        self._here = place
        self._groups: set[str] = set()
        self._fd = SimSocket._next_fd
        SimSocket._next_fd += 1
        self._calls = calls(self._notice) if calls is not None else self._fresh_calls()
        place.selector.adopt(self)

    def _fresh_calls(self) -> Calls:
        ipv6 = self._family == socket.AF_INET6
        if self._kind == socket.SOCK_STREAM:
            return StreamCalls(self._here.host, ipv6, Options(TCP, ipv6), self._notice)
        return DatagramCalls(self._here.host, ipv6, Options(UDP, ipv6), self._notice)

    def _notice(self) -> None:
        self._here.selector.notice(self)

    # -- What it is --------------------------------------------------------------------------------------------------

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AddressFamily(self._family)

    @property
    def type(self) -> socket.SocketKind:
        return socket.SocketKind(self._kind)

    @property
    def proto(self) -> int:
        return socket.IPPROTO_TCP if self._kind == socket.SOCK_STREAM else socket.IPPROTO_UDP

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
        return f"<SimSocket {self._fd} {self._calls.protocol} of {self._here.name}, {self._calls.name()}>"

    # -- Options -----------------------------------------------------------------------------------------------------

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        self._check_open()
        if (level, optname) in MEMBERSHIP:
            self._change_membership(_group(value), MEMBERSHIP[level, optname])
            return
        self._calls.set_option((level, optname), value)

    def _change_membership(self, group: str, join: bool) -> None:
        """Join or leave a multicast group, with Linux's errors for what is so already."""
        if join == (group in self._groups):
            raise os_error(errno.EADDRINUSE if join else errno.EADDRNOTAVAIL)
        if join:
            self._groups.add(group)
            self._here.host.groups.join(group)
        else:
            self._groups.remove(group)
            self._here.host.groups.leave(group)

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        self._check_open()
        key = level, optname
        if key == TCP_INFO and isinstance(self._calls, StreamCalls):
            return bytes([self._calls.state_number]).ljust(buflen or 0, b"\0")[:buflen]  # only tcpi_state is filled in
        own: dict[tuple[int, int], Callable[[], int]] = {
            ERROR: self._calls.take_error,
            TYPE: lambda: self._kind,
            DOMAIN: lambda: self._family,
            PROTOCOL: lambda: self.proto,
            LISTENING: lambda: int(self._calls.listening),
        }
        return own[key]() if key in own else self._calls.options.get(key, buflen)

    # -- Names -------------------------------------------------------------------------------------------------------

    def bind(self, address: Any) -> None:
        self._check_open()
        self._calls.bind(self._here.endpoint(self._family, address))

    def getsockname(self) -> tuple[Any, ...]:
        self._check_open()
        return sockaddr(self._family, self._calls.name())

    def getpeername(self) -> tuple[Any, ...]:
        self._check_open()
        return sockaddr(self._family, self._calls.peer())

    def _remote(self, address: Any) -> Endpoint:
        """The endpoint of a peer: "every address" means this host."""
        remote = self._here.endpoint(self._family, address)
        if remote.address in (ANY, ANY6):
            return remote._replace(address=IPV6_LOOPBACK if is_ipv6(remote.address) else LOOPBACK)
        return remote

    # -- Connecting --------------------------------------------------------------------------------------------------

    def connect(self, address: Any) -> None:
        self._check_open()
        self._calls.connect(self._remote(address))

    def connect_ex(self, address: Any) -> int:
        try:
            self.connect(address)
        except OSError as exc:
            if isinstance(exc, socket.gaierror):
                raise
            return exc.errno or 0
        return 0

    def listen(self, backlog: int = 128) -> None:
        self._check_open()
        self._calls.listen(backlog)

    def accept(self) -> tuple[socket.socket, Any]:
        self._check_open()
        child = SimSocket(self._family, here=self._here, calls=self._calls.accept)
        assert isinstance(child._calls, StreamCalls)
        assert child._calls.slot is not None
        return child, self._shown(child._calls.slot.connection.remote)  # it may be gone already, and have no peer

    # -- Data --------------------------------------------------------------------------------------------------------

    def send(self, data: Any, flags: int = 0) -> int:
        self._check_open()
        return self._calls.send(data, None)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As of any socket that does not block: BlockingIOError, with a part sent, if not all is taken."""
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self.send(rest, flags) :]

    def sendto(self, data: Any, *args: Any) -> int:
        self._check_open()
        return self._calls.send(data, self._remote(args[-1]))

    def sendmsg(self, buffers: Iterable[Any], ancdata: Any = (), flags: int = 0, address: Any = None) -> int:
        self._check_open()
        return self._calls.send(b"".join(buffers), None if address is None else self._remote(address))

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        return self._receive(bufsize, flags).data

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        received = self._receive(bufsize, flags)
        return received.data, self._shown(received.source)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        data, length, source = self._receive(nbytes or len(buffer), flags)
        buffer[: len(data)] = data
        return length if flags & _TRUNC else len(data), self._shown(source)

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
        data, length, source = self._receive(bufsize, flags)
        return data, [], _TRUNC if length > len(data) else 0, self._shown(source)

    def _receive(self, size: int, flags: int) -> Received:
        self._check_open()
        return self._calls.receive(size, bool(flags & _PEEK))

    def _shown(self, source: Endpoint | None) -> Any:
        return None if source is None else sockaddr(self._family, source)

    def shutdown(self, how: int) -> None:
        self._check_open()
        both = how == socket.SHUT_RDWR
        self._calls.shutdown(both or how == socket.SHUT_RD, both or how == socket.SHUT_WR)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._here.selector.forget(self._fd)
        for group in sorted(self._groups):
            self._change_membership(group, join=False)
        self._calls.close()
        self._fd = -1

    def detach(self) -> int:
        raise RuntimeError("a simulated socket has no descriptor that it could give away")

    def _check_open(self) -> None:
        if self._closed:
            raise os_error(errno.EBADF)

    def readiness(self) -> int:
        """Which of EVENT_READ and EVENT_WRITE hold now; for the selector."""
        return self._calls.readiness()


def _group(value: bytes) -> str:
    """The group in the argument of a membership option: struct ip_mreq, ip_mreqn or ipv6_mreq."""
    return socket.inet_ntop(socket.AF_INET6, value[:16]) if len(value) == 20 else socket.inet_ntoa(value[:4])
