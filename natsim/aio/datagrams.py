"""The system calls of a datagram socket (UDP): no connection, only a name, perhaps a peer, and a queue."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable

from ..host import SimHost
from ..host_ports import ANY, ANY6, EVERYBODY, os_error
from ..packet import UDP, Endpoint, Packet, is_ipv6
from .calls import READ, WRITE, Calls, Received
from .options import BROADCAST, RECEIVE_BUFFER, Options

#: The largest payload of one datagram over IPv4 and over IPv6.
LARGEST_DATAGRAM, LARGEST_DATAGRAM6 = 65507, 65527

#: What Linux counts for each datagram in the receive buffer, beside its bytes.
OVERHEAD = 768


class DatagramCalls(Calls):
    """A socket of SOCK_DGRAM."""

    protocol = UDP
    no_port_left = errno.EAGAIN

    def __init__(self, host: SimHost, ipv6: bool, options: Options, notice: Callable[[], None]) -> None:
        super().__init__(host, ipv6, options, notice)
        self._queue: deque[Packet] = deque()
        self._queued = 0  # bytes, as the receive buffer counts them
        self._read_shut = self._write_shut = False

    def source_for(self, remote: Endpoint) -> str:
        if remote.address == EVERYBODY and not self.options[BROADCAST]:
            raise os_error(errno.EACCES)
        return super().source_for(remote)

    def peer(self) -> Endpoint:
        remote = self.binding.remote if self.binding else None
        if remote is None:
            raise os_error(errno.ENOTCONN)
        return remote

    def connect(self, remote: Endpoint) -> None:
        """From now on this is the only peer; may be called again."""
        source = self.source_for(remote)
        binding = self.bound()
        if binding.local.address in (ANY, ANY6):
            binding.local = binding.local._replace(address=source)
        binding.remote = remote

    def send(self, data: bytes | memoryview, remote: Endpoint | None) -> int:
        data = bytes(data)  # the caller may change what it is a view of
        if self.error:
            self.raise_error()
        if remote is None:
            remote = self.binding.remote if self.binding else None
            if remote is None:
                raise os_error(errno.EDESTADDRREQ)
        elif remote.port == 0:
            raise os_error(errno.EINVAL)
        if self._write_shut:
            raise os_error(errno.EPIPE)
        ipv6 = is_ipv6(remote.address)
        if len(data) > (LARGEST_DATAGRAM6 if ipv6 else LARGEST_DATAGRAM):
            raise os_error(errno.EMSGSIZE)
        local = Endpoint(self.source_for(remote), self.bound().local.port)
        ttl, whole = self.options.of_a_packet(ipv6)
        self.host.send(Packet(UDP, local, remote, data, ttl=ttl, df=whole))
        return len(data)

    def receive(self, size: int, peek: bool) -> Received:
        if self.error:
            self.raise_error()
        if not self._queue:
            raise BlockingIOError(errno.EAGAIN, "no datagram has come")
        packet = self._queue[0] if peek else self._take()
        return Received(packet.payload[:size], len(packet.payload), packet.src)

    def _take(self) -> Packet:
        packet = self._queue.popleft()
        self._queued -= len(packet.payload) + OVERHEAD
        return packet

    def shutdown(self, read: bool, write: bool) -> None:
        self.peer()  # as Linux: only of a connected one
        self._read_shut |= read
        self._write_shut |= write
        self.notice()

    def close(self) -> None:
        if self.binding is not None:
            self.host.ports.release(self.binding)

    def readiness(self) -> int:
        return WRITE | (READ if self._queue or self.error or self._read_shut else 0)

    def datagram(self, packet: Packet) -> None:
        """Lost if the receive buffer is full."""
        if self._queued < self.options[RECEIVE_BUFFER]:
            self._queue.append(packet)
            self._queued += len(packet.payload) + OVERHEAD
        self.notice()
