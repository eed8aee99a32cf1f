"""The system calls of a stream socket (TCP): fresh, listening, or with a connection, which is one of the host's.

The errors, and how often each is told, are those of Linux; `tests/natsim/socket_cases.txt` is the table of them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from ..host import SimHost
from ..host_ports import ANY, ANY6, Binding, os_error
from ..host_tcp import Backlog, Slot
from ..packet import TCP, Endpoint, is_ipv6
from ..tcp_states import State
from .calls import READ, WRITE, Calls, Received
from .options import Options

_CLOSED, _LISTEN = 7, 10

#: The numbers by which TCP_INFO tells the states (Linux, include/net/tcp_states.h).
STATE_NUMBERS = {
    State.ESTABLISHED: 1,
    State.SYN_SENT: 2,
    State.SYN_RECEIVED: 3,
    State.FIN_WAIT_1: 4,
    State.FIN_WAIT_2: 5,
    State.TIME_WAIT: _CLOSED,  # Linux has taken the connection from its socket, which is closed
    State.CLOSED: _CLOSED,
    State.CLOSE_WAIT: 8,
    State.LAST_ACK: 9,
    State.CLOSING: 11,
}


class StreamCalls(Calls):
    """A socket of SOCK_STREAM."""

    protocol = TCP
    no_port_left = errno.EADDRINUSE

    def __init__(self, host: SimHost, ipv6: bool, options: Options, notice: Callable[[], None]) -> None:
        super().__init__(host, ipv6, options, notice)
        self.slot: Slot | None = None
        self._backlog: Backlog | None = None
        self._connect_told = False  # a connect() that was under way says once that it is done
        self._error_told = False  # the connection's
        self._read_shut = self._write_shut = False
        self._was_wildcard = False  # before connect gave it one address

    def peer(self) -> Endpoint:
        if self.slot is None or not self.slot.connection.connected or self.state_number == _CLOSED:
            raise os_error(errno.ENOTCONN)
        return self.slot.connection.remote

    # -- Connecting --------------------------------------------------------------------------------------------------

    def connect(self, remote: Endpoint) -> None:
        """Begin to connect; called again, it tells how that goes.  A socket that was refused may try once more."""
        if self._backlog is not None:
            raise os_error(errno.EISCONN)
        if self.slot is not None:
            self._tell_how_it_goes(self.slot)
            return
        source = self.source_for(remote)
        binding = self._bound_to_connect(source, remote)
        self._was_wildcard = binding.local.address in (ANY, ANY6)
        if self._was_wildcard:
            binding.local = binding.local._replace(address=source)
        self.slot = self.host.tcp.connect(binding, remote, self, self.options.wishes(is_ipv6(remote.address)))
        raise BlockingIOError(errno.EINPROGRESS, os.strerror(errno.EINPROGRESS))

    def _tell_how_it_goes(self, slot: Slot) -> None:
        if self._connect_told:
            raise os_error(errno.EISCONN)
        if slot.connection.closed:
            code = self.take_error() or errno.ECONNABORTED
            self._forget(slot)
            raise os_error(code)
        if not slot.connection.connected:
            raise os_error(errno.EALREADY)
        self._connect_told = True

    def _forget(self, slot: Slot) -> None:
        """Be as before connect; a port that connect had chosen is given back already."""
        self.slot, self._error_told = None, False
        if slot.binding.automatic:
            self.binding = None
        elif self._was_wildcard:
            slot.binding.local = self.wildcard._replace(port=slot.binding.local.port)

    def _bound_to_connect(self, source: str, remote: Endpoint) -> Binding:
        """The socket's binding.  A port that connect has to choose may be that of connections to elsewhere."""
        if self.binding is None:
            binding = self._unclaimed(Endpoint(source, 0))
            self.host.ports.bind_to_connect(
                binding,
                self.options.port_range,
                lambda port: self.host.tcp.is_taken(Endpoint(source, port), remote),
            )
            self.binding = binding
        return self.binding

    def listen(self, backlog: int) -> None:
        """Let peers connect; called again, it changes how many may wait."""
        if self.slot is not None:
            raise os_error(errno.EINVAL)
        if self._backlog is not None:
            self._backlog.limit = max(backlog, 0)
            return
        wishes = self.options.wishes(self.ipv6)
        self._backlog = self.host.tcp.listen(self.bound(), max(backlog, 0), wishes)

    def accept(self, notice: Callable[[], None]) -> StreamCalls:
        if self._backlog is None:
            raise os_error(errno.EINVAL)
        if not self._backlog.ready:
            raise BlockingIOError(errno.EAGAIN, "nobody waits to be accepted")
        child = StreamCalls(self.host, self.ipv6, self.options.inherited(), notice)
        child.slot = self.host.tcp.accept(self._backlog, child)
        child.binding = child.slot.binding
        child._connect_told = True
        child.obey_options()
        return child

    @property
    def listening(self) -> bool:
        return self._backlog is not None

    # -- Data --------------------------------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview, remote: Endpoint | None) -> int:
        """TCP forgets the address, if one is given."""
        if self.slot is None:
            raise os_error(errno.EPIPE)
        connection = self.slot.connection
        if connection.error is not None:
            self.raise_error(errno.EPIPE)
        if not connection.connected:
            raise BlockingIOError(errno.EAGAIN, "the connection is not open yet")
        taken = connection.send(data, self.host.clock.now)
        self.host.tcp.flush(self.slot)
        if not taken and len(data):
            raise BlockingIOError(errno.EAGAIN, "the send buffer is full")
        return taken

    def receive(self, size: int, peek: bool) -> Received:
        if self.slot is None:
            raise os_error(errno.ENOTCONN)
        connection = self.slot.connection
        if size and not connection.readable and not self._read_shut:
            raise BlockingIOError(errno.EAGAIN, "nothing has come")
        data = connection.peek(size) if peek else connection.receive(size, self.host.clock.now)
        self.host.tcp.flush(self.slot)
        if not data and size and not connection.at_eof:
            self.raise_error()  # once; after that it reads like the end
        return Received(data, len(data), None)

    def shutdown(self, read: bool, write: bool) -> None:
        if self._backlog is not None:
            if read:  # Linux: it is an ordinary bound socket again
                self.host.tcp.unlisten(self._backlog)
                self._backlog = None
            return
        self.peer()  # ENOTCONN
        assert self.slot is not None
        self._connect_told = True
        self._read_shut |= read
        self._write_shut |= write
        if write:
            self.slot.connection.shutdown(self.host.clock.now)
        self.host.tcp.flush(self.slot)

    def close(self) -> None:
        if self._backlog is not None:
            self.host.tcp.unlisten(self._backlog)
        if self.slot is not None:
            if self.options.linger == 0:
                self.slot.connection.abort(self.host.clock.now)
            else:
                self.slot.connection.close(self.host.clock.now)
            self.host.tcp.leave(self.slot)
            self.host.tcp.flush(self.slot)
        elif self.binding is not None:
            self.host.ports.release(self.binding)

    # -- Options and state -------------------------------------------------------------------------------------------

    def obey_options(self) -> None:
        super().obey_options()
        if self._backlog is not None:
            self._backlog.wishes = self.options.wishes(self.ipv6)
        if self.slot is not None:
            self.slot.grant(self.options.wishes(is_ipv6(self.slot.connection.remote.address)))

    @property
    def state_number(self) -> int:
        """TCP_INFO's first byte."""
        if self._backlog is not None:
            return _LISTEN
        return STATE_NUMBERS[self.slot.connection.state if self.slot is not None else State.CLOSED]

    def take_error(self) -> int:
        code = super().take_error()
        if not code and self.slot is not None and not self._error_told:
            code = self.slot.connection.error or 0
            self._error_told = bool(code)
        return code

    def readiness(self) -> int:
        if self._backlog is not None:
            return READ if self._backlog.ready else 0
        if self.slot is None:
            return READ | WRITE  # Linux: whoever asks shall notice that there is nothing to wait for
        connection = self.slot.connection
        readable = connection.readable or self._read_shut
        writable = connection.writable or self._write_shut  # to write would not wait, it would fail
        return READ * readable | WRITE * writable
