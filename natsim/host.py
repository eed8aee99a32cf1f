"""A simulated host: its addresses, its port table, and its half of every TCP connection.

What lives here: which local ports are taken and by whom (the bind rules of Linux), and whose a packet is that
arrives.  What does not: the socket calls that programs make (`aio/sockets.py`, the only user of this file) and
TCP itself (`tcp.py`, which this file feeds with packets and time).
"""

from __future__ import annotations

import errno
import os
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from .icmp_error import PORT_UNREACHABLE, icmp_error
from .multicast import Groups, is_multicast
from .packet import RST, TCP, UDP, Endpoint, Packet
from .pipe import DF_SET, Pipe
from .reassembly import Reassembly
from .scheduler import MILLISECOND, Scheduler
from .tcp import TcpConnection, reset_for
from .trace import ANSWERED, DELIVERED, DROPPED, Trace

#: The ports from which Linux draws for sockets that do not choose (net.ipv4.ip_local_port_range).
EPHEMERAL = (32768, 60999)

#: A packet from a host to itself takes this long, so that it never arrives within the call that sent it.
LOOPBACK_DELAY = MILLISECOND // 100

ANY = "0.0.0.0"

#: From which TCP draws its segment size on a link without a limit.
ETHERNET_MTU = 1500

#: ICMP errors that a connected datagram socket hears of, as on Linux: those that no waiting will cure.
UDP_ERRORS = {
    (3, 2): errno.ENOPROTOOPT,
    (3, 3): errno.ECONNREFUSED,
    (3, 4): errno.EMSGSIZE,
    (3, 9): errno.ENETUNREACH,
    (3, 10): errno.EHOSTUNREACH,
    (3, 13): errno.EHOSTUNREACH,
}


class User(Protocol):
    """A socket, as the host sees it."""

    def changed(self) -> None:
        """Something happened that may make the socket readable or writable."""

    def datagram(self, packet: Packet) -> None:
        """A datagram has come."""

    def refused(self, code: int) -> None:
        """An ICMP error has come about a datagram: `code` is the errno that it means."""


@dataclass(eq=False)
class Binding:
    """A socket's claim on a local port."""

    protocol: str
    local: Endpoint
    user: User
    reuse_address: bool = False
    reuse_port: bool = False
    listening: bool = False
    remote: Endpoint | None = None  # of a connected datagram socket

    def conflicts(self, other: Binding) -> bool:
        """Does `other`, which is there already, exclude this one?  As Linux (`inet_csk_bind_conflict`), measured."""
        if ANY not in (self.local.address, other.local.address) and self.local.address != other.local.address:
            return False
        if self.reuse_port and other.reuse_port:
            return False
        return other.listening or not (self.reuse_address and other.reuse_address)


@dataclass(eq=False)
class Slot:
    """A TCP connection of this host, the socket it belongs to (None once closed), and its pending timer."""

    connection: TcpConnection
    binding: Binding
    user: User | None
    backlog: Backlog | None = None  # while it waits to be accepted
    armed: int | None = None


@dataclass(eq=False)
class Backlog:
    """A listening socket: connections that wait to be accepted, and those still in their handshake."""

    binding: Binding
    limit: int
    ready: deque[Slot] = field(default_factory=deque)
    opening: dict[Slot, None] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Linux lets one more in than `listen` was told."""
        return len(self.ready) + len(self.opening) > self.limit


class SimHost:
    """One computer of the simulated internet."""

    def __init__(self, clock: Scheduler, trace: Trace, name: str, *addresses: str) -> None:
        self.name = name
        #: Packets leave from the first, unless their socket is bound to another.
        self.addresses = addresses
        self.uplink: Pipe | None = None
        #: The power is off, or the world is over: what is closed now is closed without a word, and nobody hears.
        self.silent = False
        self.clock = clock
        self.groups = Groups()
        self.chance = clock.random(f"host {name}")
        self._trace = trace
        self._reassembly = Reassembly(clock, trace, name)
        self._ports: dict[tuple[str, int], list[Binding]] = {}
        self._slots: dict[tuple[Endpoint, Endpoint], Slot] = {}
        self._backlogs: dict[Endpoint, list[Backlog]] = {}

    # -- Ports -----------------------------------------------------------------------------------------------------

    def bind(self, binding: Binding) -> None:
        """Claim a port, or an unused one if `local.port` is 0.  Raises OSError as Linux does."""
        if binding.local.address != ANY and not self._is_own(binding.local.address):
            raise os_error(errno.EADDRNOTAVAIL)
        if binding.local.port == 0:
            binding.local = binding.local._replace(port=self._unused_port(binding.protocol))
        self.check(binding)
        self._ports.setdefault((binding.protocol, binding.local.port), []).append(binding)

    def check(self, binding: Binding) -> None:
        """Raise EADDRINUSE if another socket's claim excludes this one."""
        holders = self._ports.get((binding.protocol, binding.local.port), ())
        if any(other is not binding and binding.conflicts(other) for other in holders):
            raise os_error(errno.EADDRINUSE)

    def release(self, binding: Binding) -> None:
        """Give the port back."""
        key = (binding.protocol, binding.local.port)
        holders = [other for other in self._ports.get(key, ()) if other is not binding]
        if holders:
            self._ports[key] = holders
        else:
            self._ports.pop(key, None)

    def _unused_port(self, protocol: str) -> int:
        first, last = EPHEMERAL
        start, count = self.chance.randint(first, last), last - first + 1
        for step in range(count):
            port = first + (start - first + step) % count
            if (protocol, port) not in self._ports:
                return port
        raise os_error(errno.EADDRINUSE)

    def source_for(self, remote: str) -> str:
        """The local address from which packets to `remote` leave."""
        return "127.0.0.1" if _is_loopback(remote) else self.addresses[0]

    def _is_own(self, address: str) -> bool:
        return address in self.addresses or _is_loopback(address)

    # -- Sending ---------------------------------------------------------------------------------------------------

    def send(self, packet: Packet) -> None:
        """Put a new packet on its way.  EMSGSIZE for one that is larger than the link takes, and that has DF set.

        From an address that the host had before it moved, a datagram fails with ENETUNREACH, as measured on Linux, and
        a segment is lost: TCP waits for better times.
        """
        if self.silent:
            return
        self._trace.sent(self.name, packet)
        if not self._is_own(packet.src.address):
            self._trace.add(self.name, DROPPED, packet, "NO ADDRESS: this host has its source address no more")
            if packet.protocol == UDP:
                raise os_error(errno.ENETUNREACH)
        elif self._is_own(packet.dst.address):
            self.clock.after(LOOPBACK_DELAY, self.receive, packet)
        elif self.uplink is None:
            self._trace.add(self.name, DROPPED, packet, "NO LINK: this host is connected to nothing")
        elif self.uplink.takes(packet):
            self.uplink.carry(packet)
        elif packet.df:
            self._trace.add(self.name, DROPPED, packet, DF_SET)
            raise os_error(errno.EMSGSIZE)
        else:
            self.uplink.carry_fragments(packet, self.name)

    # -- Receiving -------------------------------------------------------------------------------------------------

    def receive(self, packet: Packet) -> None:
        """A packet has arrived: find its socket."""
        if self.silent:
            self._trace.add(self.name, DROPPED, packet, "POWER OFF: this host is dead")
        elif not self._is_own(packet.dst.address) and not is_multicast(packet.dst.address):
            self._trace.add(self.name, DROPPED, packet, "NO ADDRESS: this host has that address no more")
        elif packet.fragment is not None:
            self._reassembly.receive(packet, self.receive)
        elif packet.protocol == TCP:
            self._receive_tcp(packet)
        elif packet.protocol == UDP:
            self._receive_udp(packet)
        else:
            self._receive_error(packet)

    def _receive_udp(self, packet: Packet) -> None:
        if is_multicast(packet.dst.address):
            self._receive_multicast(packet)
            return
        holders = self._ports.get((UDP, packet.dst.port), ())
        # A socket connected to this very sender comes before one that hears everybody; then the exact address counts.
        for remote in (packet.src, None):
            for address in (packet.dst.address, ANY):
                for binding in holders:
                    if binding.remote == remote and binding.local.address == address:
                        self._trace.add(self.name, DELIVERED, packet)
                        binding.user.datagram(packet)
                        return
        reason = "PORT CLOSED: no socket; answered with ICMP port unreachable"
        self._trace.add(self.name, ANSWERED, packet, reason)
        error = icmp_error(packet.dst.address, packet, PORT_UNREACHABLE)
        if error is not None:
            self.send(error)

    def _receive_multicast(self, packet: Packet) -> None:
        """For every socket of that port, if any has joined the group; otherwise nobody complains (RFC 1122 3.2.2)."""
        holders = self._ports.get((UDP, packet.dst.port), []) if packet.dst.address in self.groups else []
        listeners = [binding for binding in holders if binding.local.address == ANY]
        if not listeners:
            self._trace.add(self.name, DROPPED, packet, "MULTICAST: nobody here listens to that group and port")
            return
        self._trace.add(self.name, DELIVERED, packet)
        for binding in listeners:
            binding.user.datagram(packet)

    def _receive_error(self, packet: Packet) -> None:
        """An ICMP error: tell the socket that sent what it quotes."""
        quoted = packet.quoted
        if quoted is None or packet.icmp is None:
            self._trace.add(self.name, DROPPED, packet, "UNKNOWN: an ICMP message that this host does not know")
            return
        self._trace.add(self.name, DELIVERED, packet)
        if quoted.protocol == TCP:
            slot = self._slots.get((quoted.src, quoted.dst))
            if slot is not None:
                slot.connection.icmp_in(*packet.icmp, self.clock.now)
                self.flush(slot)
            return
        code = UDP_ERRORS.get(packet.icmp)
        for binding in self._ports.get((UDP, quoted.src.port), ()):
            if code is not None and (binding.local, binding.remote) == (quoted.src, quoted.dst):
                binding.user.refused(code)

    # -- TCP -------------------------------------------------------------------------------------------------------

    def connect(self, binding: Binding, remote: Endpoint, user: User) -> Slot:
        """Open a connection from a bound port.  EADDRNOTAVAIL if these two endpoints have one already."""
        if _is_loopback(binding.local.address) and not self._is_own(remote.address):
            raise os_error(errno.EINVAL)
        if not self._is_own(binding.local.address):
            raise os_error(errno.ENETUNREACH)
        key = (binding.local, remote)
        old = self._slots.get(key)
        if old is not None and not old.connection.closed:
            raise os_error(errno.EADDRNOTAVAIL)
        connection = TcpConnection(binding.local, remote, self._isn(), mss=self._mss())
        slot = self._slots[key] = Slot(connection, binding, user)
        connection.open(self.clock.now)
        self.flush(slot)
        return slot

    def listen(self, binding: Binding, limit: int) -> Backlog:
        """Let peers connect to a bound port."""
        binding.listening = True
        try:
            self.check(binding)
        except OSError:
            binding.listening = False
            raise
        backlog = Backlog(binding, limit)
        self._backlogs.setdefault(binding.local, []).append(backlog)
        return backlog

    def unlisten(self, backlog: Backlog) -> None:
        """Stop listening; connections that nobody accepted are reset."""
        backlogs = self._backlogs[backlog.binding.local]
        backlogs.remove(backlog)
        if not backlogs:
            del self._backlogs[backlog.binding.local]
        for slot in [*backlog.ready, *backlog.opening]:
            slot.backlog = None
            slot.connection.abort(self.clock.now)
            self.flush(slot)

    def accept(self, backlog: Backlog, user: User) -> Slot:
        """Hand the connection that has waited longest to a new socket."""
        slot = backlog.ready.popleft()
        slot.backlog = None
        slot.binding.user = slot.user = user
        return slot

    def _backlog_for(self, syn: Packet) -> Backlog | None:
        """Who listens there?  Of several sockets (SO_REUSEPORT) the peer's port picks one."""
        backlogs = self._backlogs.get(syn.dst) or self._backlogs.get(Endpoint(ANY, syn.dst.port))
        return backlogs[syn.src.port % len(backlogs)] if backlogs else None

    def _receive_tcp(self, packet: Packet) -> None:
        slot = self._slots.get((packet.dst, packet.src))
        if slot is not None and packet.is_initial_syn and slot.connection.may_reuse(packet):
            self._drop_slot(slot)
            slot = None
        if slot is not None:
            self._trace.add(self.name, DELIVERED, packet)
            slot.connection.segment_in(packet, self.clock.now)
            self.flush(slot)
            return
        backlog = self._backlog_for(packet) if packet.is_initial_syn else None
        if backlog is not None:
            self._open_passively(backlog, packet)
            return
        answer = None if packet.flags & RST else reset_for(packet)
        reason = "PORT CLOSED: no socket" + ("; answered with a RST (RFC 9293 section 3.10.7.1)" if answer else "")
        self._trace.add(self.name, ANSWERED if answer else DROPPED, packet, reason)
        if answer is not None:
            self.send(answer)

    def _open_passively(self, backlog: Backlog, syn: Packet) -> None:
        if backlog.full:
            self._trace.add(self.name, DROPPED, syn, "BACKLOG FULL: too many connections wait to be accepted")
            return
        self._trace.add(self.name, DELIVERED, syn)
        connection = TcpConnection.accept(syn, self._isn(), self.clock.now, mss=self._mss())
        parent = backlog.binding
        binding = Binding(TCP, syn.dst, parent.user, parent.reuse_address, parent.reuse_port)
        self._ports.setdefault((TCP, syn.dst.port), []).append(binding)
        slot = self._slots[syn.dst, syn.src] = Slot(connection, binding, None, backlog)
        backlog.opening[slot] = None
        self.flush(slot)

    def flush(self, slot: Slot) -> None:
        """After every call into a connection: send what it says, set its timer, tell its socket."""
        connection = slot.connection
        outbox = connection.outbox
        if outbox:
            connection.outbox = []
            for packet in outbox:
                self.send(packet)
        self._arm(slot)
        if slot.user is not None:
            slot.user.changed()
        elif slot.backlog is not None:
            self._advance(slot, slot.backlog)
        if connection.closed:
            self._drop_slot(slot)

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
            self.clock.at(due, self._timer, slot)

    def _timer(self, slot: Slot) -> None:
        if slot.armed is None or self.clock.now < slot.armed:
            return
        slot.armed = None
        due = slot.connection.next_timer
        if due is not None and due <= self.clock.now:
            slot.connection.on_timer(self.clock.now)
            self.flush(slot)
        else:
            self._arm(slot)

    def _drop_slot(self, slot: Slot) -> None:
        """Forget a connection that is over.  Its socket, if any, keeps its port until it is closed."""
        key = (slot.connection.local, slot.connection.remote)
        if self._slots.get(key) is slot:
            del self._slots[key]
        if slot.user is None and (slot.backlog is None or slot not in slot.backlog.ready):
            self.release(slot.binding)

    def leave(self, slot: Slot) -> None:
        """The socket is closed: the connection ends by itself, and then gives the port back."""
        slot.user = None
        if slot.connection.closed:
            self.release(slot.binding)

    def _isn(self) -> int:
        return self.chance.randrange(2**32)

    def _mss(self) -> int:
        """The largest segment that this host's link takes in one piece (RFC 9293 section 3.7.1)."""
        mtu = self.uplink.mtu if self.uplink is not None else None
        return (mtu or ETHERNET_MTU) - 40


def _is_loopback(address: str) -> bool:
    return address.startswith("127.")


def os_error(code: int) -> OSError:
    """The OSError of an errno, with its usual words."""
    return OSError(code, os.strerror(code))
