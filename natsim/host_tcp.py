"""TCP of a host: who listens, which connections there are, and whose a segment is.

Each connection is a `TcpConnection` (`tcp.py`), which knows neither time nor network: here it is fed with segments and
time, and here leaves what it says.  Used by `host.py`; the sockets themselves are in `aio/streams.py`.
"""

from __future__ import annotations

import errno
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .host_ports import ANY, ANY6, Binding, User, os_error
from .packet import RST, Endpoint, Packet, is_ipv6
from .tcp import State, TcpConnection, reset_for
from .trace import ANSWERED, DELIVERED, DROPPED

if TYPE_CHECKING:
    from .host import SimHost

#: Bytes of the headers of IPv6 and TCP.
IPV6_HEADERS = 60

#: Hops that a segment may go, unless its socket wishes otherwise (net.ipv4.ip_default_ttl).
DEFAULT_TTL = 64


@dataclass
class Wishes:
    """What a socket's options ask of its connections.  Times are in nanoseconds, the rest in bytes and hops."""

    keepalive: tuple[int, int, int] | None = None
    user_timeout: int | None = None
    ttl: int = DEFAULT_TTL
    largest_segment: int | None = None
    send_buffer: int = 1 << 18
    receive_buffer: int = 1 << 20


@dataclass(eq=False)
class Slot:
    """A TCP connection of this host, the socket it belongs to (None once closed), and its pending timer."""

    connection: TcpConnection
    binding: Binding
    user: User | None
    backlog: Backlog | None = None  # while it waits to be accepted
    armed: int | None = None
    ttl: int = DEFAULT_TTL

    def grant(self, wishes: Wishes) -> None:
        """Obey those options that may be changed at any time."""
        self.connection.keepalive = wishes.keepalive
        self.connection.user_timeout = wishes.user_timeout
        self.ttl = wishes.ttl


@dataclass(eq=False)
class Backlog:
    """A listening socket: connections that wait to be accepted, and those still in their handshake."""

    binding: Binding
    limit: int
    wishes: Wishes
    ready: deque[Slot] = field(default_factory=deque)
    opening: dict[Slot, None] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Linux lets one more in than `listen` was told."""
        return len(self.ready) + len(self.opening) > self.limit


class HostTcp:
    """The connections and listeners of one host."""

    def __init__(self, host: SimHost) -> None:
        self._host = host
        self._clock = host.clock
        self.slots: dict[tuple[Endpoint, Endpoint], Slot] = {}
        self._backlogs: dict[Endpoint, list[Backlog]] = {}

    # -- For sockets -------------------------------------------------------------------------------------------------

    def is_taken(self, local: Endpoint, remote: Endpoint) -> bool:
        """Have these two endpoints a connection?  One in TIME-WAIT is no obstacle to a new one."""
        slot = self.slots.get((local, remote))
        return slot is not None and slot.connection.state not in (State.CLOSED, State.TIME_WAIT)

    def connect(self, binding: Binding, remote: Endpoint, user: User, wishes: Wishes) -> Slot:
        """Open a connection from a bound port.

        EADDRNOTAVAIL if these two endpoints have one already, ENETUNREACH from an address that the host has no more.
        """
        local = binding.local
        if not self._host.is_own(local.address):
            raise os_error(errno.ENETUNREACH)
        if self.is_taken(local, remote):
            raise os_error(errno.EADDRNOTAVAIL)
        old = self.slots.get((local, remote))
        if old is not None:
            self._drop(old)
        connection = TcpConnection(local, remote, self._isn(), **self._settings(remote, wishes))
        self._heed_path(connection)
        slot = self.slots[local, remote] = Slot(connection, binding, user)
        slot.grant(wishes)
        slot.connection.open(self._clock.now)
        self.flush(slot)
        return slot

    def listen(self, binding: Binding, limit: int, wishes: Wishes) -> Backlog:
        """Let peers connect to a bound port."""
        binding.listening = True
        try:
            self._host.ports.check(binding)
        except OSError:
            binding.listening = False
            raise
        backlog = Backlog(binding, limit, wishes)
        self._backlogs.setdefault(binding.local, []).append(backlog)
        return backlog

    def unlisten(self, backlog: Backlog) -> None:
        """Stop listening; connections that nobody accepted are reset."""
        backlog.binding.listening = False
        backlogs = self._backlogs[backlog.binding.local]
        backlogs.remove(backlog)
        if not backlogs:
            del self._backlogs[backlog.binding.local]
        for slot in [*backlog.ready, *backlog.opening]:
            slot.backlog = None
            slot.connection.abort(self._clock.now)
            self.flush(slot)

    def accept(self, backlog: Backlog, user: User) -> Slot:
        """Hand the connection that has waited longest to a new socket."""
        slot = backlog.ready.popleft()
        slot.backlog = None
        slot.binding.user = slot.user = user
        return slot

    def leave(self, slot: Slot) -> None:
        """The socket is closed: the connection ends by itself, and then gives the port back."""
        slot.user = None
        if slot.connection.closed:
            self._host.ports.release(slot.binding)

    def _isn(self) -> int:
        return self._host.chance.randrange(2**32)

    def _settings(self, remote: Endpoint, wishes: Wishes) -> dict[str, int]:
        """What a connection must know from its beginning.

        Its segments are what this host's link takes in one piece (RFC 9293 section 3.7.1), or what the socket wishes.
        """
        largest = self._host.mtu - (IPV6_HEADERS if is_ipv6(remote.address) else 40)
        return {
            "mss": min(largest, wishes.largest_segment or largest),
            "send_buffer": wishes.send_buffer,
            "receive_buffer": wishes.receive_buffer,
        }

    def _heed_path(self, connection: TcpConnection) -> None:
        """Let a new connection send no more at once than is known to get to its peer.  (IPv4 is cut by routers.)"""
        limit = self._host.path_mtu(connection.remote.address) if is_ipv6(connection.remote.address) else None
        if limit is not None:
            connection.snd.lower_mss(limit - IPV6_HEADERS)

    # -- Segments that arrive ----------------------------------------------------------------------------------------

    def receive(self, packet: Packet) -> None:
        """A segment: for a connection, for a listener, or for nobody."""
        slot = self.slots.get((packet.dst, packet.src))
        if slot is not None and packet.is_initial_syn and slot.connection.may_reuse(packet):
            self._drop(slot)
            slot = None
        if slot is not None:
            self._host.trace.add(self._host.name, DELIVERED, packet)
            slot.connection.segment_in(packet, self._clock.now)
            self.flush(slot)
            return
        backlog = self._backlog_for(packet) if packet.is_initial_syn else None
        if backlog is not None:
            self._open_passively(backlog, packet)
            return
        answer = None if packet.flags & RST else reset_for(packet)
        reason = "PORT CLOSED: no socket" + ("; answered with a RST (RFC 9293 section 3.10.7.1)" if answer else "")
        self._host.trace.add(self._host.name, ANSWERED if answer else DROPPED, packet, reason)
        if answer is not None:
            self._host.send(answer)

    def complain(self, packet: Packet, quoted: Packet) -> None:
        """An ICMP error about a segment of ours."""
        slot = self.slots.get((quoted.src, quoted.dst))
        if slot is None or packet.icmp is None:
            return
        limit = self._host.path_mtu(quoted.dst.address)
        if limit is not None and packet.version == 6:
            slot.connection.path_mtu_in(limit - IPV6_HEADERS, quoted.seq, self._clock.now)
        slot.connection.icmp_in(*packet.icmp, self._clock.now)
        self.flush(slot)

    def _backlog_for(self, syn: Packet) -> Backlog | None:
        """Who listens there?  Of several sockets (SO_REUSEPORT) the peer's port picks one."""
        for address in (syn.dst.address, ANY, ANY6):
            backlogs = self._backlogs.get(Endpoint(address, syn.dst.port), ())
            if hearing := [backlog for backlog in backlogs if backlog.binding.hears(syn.dst.address)]:
                return hearing[syn.src.port % len(hearing)]
        return None

    def _open_passively(self, backlog: Backlog, syn: Packet) -> None:
        if backlog.full:
            reason = "BACKLOG FULL: too many connections wait to be accepted"
            self._host.trace.add(self._host.name, DROPPED, syn, reason)
            return
        self._host.trace.add(self._host.name, DELIVERED, syn)
        settings = self._settings(syn.src, backlog.wishes)
        connection = TcpConnection.accept(syn, self._isn(), self._clock.now, **settings)
        self._heed_path(connection)
        binding = replace(backlog.binding, local=syn.dst, listening=False)
        self._host.ports.add(binding)
        slot = self.slots[syn.dst, syn.src] = Slot(connection, binding, None, backlog)
        slot.grant(backlog.wishes)
        backlog.opening[slot] = None
        self.flush(slot)

    # -- What leaves, and time ---------------------------------------------------------------------------------------

    def flush(self, slot: Slot) -> None:
        """After every call into a connection: send what it says, set its timer, tell its socket."""
        connection = slot.connection
        outbox = connection.outbox
        if outbox:
            connection.outbox = []
            for packet in outbox:
                packet.ttl = slot.ttl
                self._host.send(packet)
        self._arm(slot)
        if slot.user is not None:
            slot.user.changed()
        elif slot.backlog is not None:
            self._advance(slot, slot.backlog)
        if connection.closed:
            self._drop(slot)

    def _advance(self, slot: Slot, backlog: Backlog) -> None:
        """A connection that nobody has accepted yet may have opened, or failed to."""
        if slot in backlog.opening and (slot.connection.connected or slot.connection.closed):
            del backlog.opening[slot]
            if slot.connection.connected:
                backlog.ready.append(slot)
                backlog.binding.user.changed()

    def _arm(self, slot: Slot) -> None:
        """Plan a look at the connection when its next timer is due; an earlier look already planned will do."""
        due = slot.connection.next_timer
        if due is not None and (slot.armed is None or due < slot.armed):
            slot.armed = due
            self._clock.at(due, self._timer, slot)

    def _timer(self, slot: Slot) -> None:
        if slot.armed is None or self._clock.now < slot.armed:
            return
        slot.armed = None
        due = slot.connection.next_timer
        if due is not None and due <= self._clock.now:
            slot.connection.on_timer(self._clock.now)
            self.flush(slot)
        else:
            self._arm(slot)

    def _drop(self, slot: Slot) -> None:
        """Forget a connection that is over.  Its socket, if any, keeps its port until it is closed, if it chose it."""
        key = (slot.connection.local, slot.connection.remote)
        if self.slots.get(key) is slot:
            del self.slots[key]
        waits = slot.backlog is not None and slot in slot.backlog.ready
        if slot.binding.automatic or (slot.user is None and not waits):
            self._host.ports.release(slot.binding)
