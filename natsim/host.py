"""A simulated host: its addresses, what it sends, and what becomes of a packet that arrives.

Its ports are in `host_ports.py`, whose a datagram is in `host_udp.py`, its connections in `host_tcp.py`; the socket
calls that programs make are in `aio/sockets.py`.
"""

from __future__ import annotations

import errno

from .host_ports import EVERYBODY, PortTable, os_error
from .host_tcp import HostTcp
from .host_udp import complain, listener_for, listeners_to_group
from .icmp_error import PORT_UNREACHABLE, icmp_error
from .multicast import Groups, is_multicast
from .packet import IPV6_LOOPBACK, TCP, UDP, Packet, is_ipv6
from .path_mtu import PathMtus
from .pipe import DF_SET, Pipe
from .reassembly import Reassembly
from .scheduler import MILLISECOND, Scheduler
from .trace import ANSWERED, DELIVERED, DROPPED, Trace

#: A packet from a host to itself takes this long, so that it never arrives within the call that sent it.
LOOPBACK_DELAY = MILLISECOND // 100

LOOPBACK = "127.0.0.1"

#: What a link without a limit takes.
ETHERNET_MTU = 1500


class SimHost:
    """One computer of the simulated internet."""

    def __init__(self, clock: Scheduler, trace: Trace, name: str, *addresses: str) -> None:
        self.name = name
        #: Packets leave from the first of their family, unless their socket is bound to another.
        self.addresses = addresses
        self.uplink: Pipe | None = None
        #: The power is off, or the world is over: what is closed now is closed without a word, and nobody hears.
        self.silent = False
        self.clock = clock
        self.trace = trace
        self.groups = Groups()
        self.chance = clock.random(f"host {name}")
        self.ports = PortTable(self.chance, self.is_own)
        self.tcp = HostTcp(self)
        self._reassembly = Reassembly(clock, trace, name)
        #: What routers have said of the largest packet to a destination.
        self._paths = PathMtus()

    # -- Addresses ---------------------------------------------------------------------------------------------------

    def is_own(self, address: str) -> bool:
        """Does this host have that address?"""
        return address in self.addresses or is_loopback(address)

    def source_for(self, remote: str) -> str:
        """The local address from which packets to `remote` leave.  ENETUNREACH if this host has none of that family."""
        if is_loopback(remote):
            return IPV6_LOOPBACK if is_ipv6(remote) else LOOPBACK
        if remote in self.addresses:
            return remote
        for address in self.addresses:
            if is_ipv6(address) == is_ipv6(remote):
                return address
        raise os_error(errno.ENETUNREACH)

    def check_way(self, local: str, remote: str) -> None:
        """Raise what Linux says of a packet that cannot even be sent: EINVAL from loopback to the outside."""
        if is_loopback(local) and not self.is_own(remote):
            raise os_error(errno.EINVAL)

    @property
    def mtu(self) -> int:
        """The largest packet that this host's link takes, in bytes."""
        return (self.uplink.mtu if self.uplink is not None else None) or ETHERNET_MTU

    def path_mtu(self, remote: str) -> int | None:
        """The largest packet that gets to `remote` in one piece, if a router has told of one (RFC 1191, RFC 8201)."""
        return self._paths.of(remote, self.clock.now)

    # -- Sending ---------------------------------------------------------------------------------------------------

    def send(self, packet: Packet) -> None:
        """Put a new packet on its way.  EMSGSIZE for one that is too large for link or path, and must not be cut.

        From an address that the host had before it moved, a datagram fails with ENETUNREACH, as measured on Linux, and
        a segment is lost: TCP waits for better times.
        """
        if self.silent:
            return
        self.trace.sent(self.name, packet)
        if not self.is_own(packet.src.address):
            self.trace.add(self.name, DROPPED, packet, "NO ADDRESS: this host has its source address no more")
            if packet.protocol == UDP:
                raise os_error(errno.ENETUNREACH)
        elif self.is_own(packet.dst.address):
            self.clock.after(LOOPBACK_DELAY, self.receive, packet)
        elif self.uplink is None:
            self.trace.add(self.name, DROPPED, packet, "NO LINK: this host is connected to nothing")
        elif packet.dst.address == EVERYBODY:
            self.trace.add(self.name, DROPPED, packet, "BROADCAST: nobody else is on this link")
        else:
            self._send_on_link(self.uplink, packet)

    def _send_on_link(self, uplink: Pipe, packet: Packet) -> None:
        """TCP makes its segments small enough for the path by itself."""
        path = self.path_mtu(packet.dst.address) if self._paths and packet.protocol == UDP else None
        if uplink.takes(packet) and (path is None or packet.size <= path or not (packet.df or packet.version == 6)):
            uplink.carry(packet)
        elif packet.df:
            self.trace.add(self.name, DROPPED, packet, DF_SET)
            raise os_error(errno.EMSGSIZE)
        else:
            uplink.carry_fragments(packet, self.name, path)

    # -- Receiving -------------------------------------------------------------------------------------------------

    def receive(self, packet: Packet) -> None:
        """A packet has arrived: find its socket."""
        if self.silent:
            self.trace.add(self.name, DROPPED, packet, "POWER OFF: this host is dead")
        elif not self.is_own(packet.dst.address) and not is_multicast(packet.dst.address):
            self.trace.add(self.name, DROPPED, packet, "NO ADDRESS: this host has that address no more")
        elif packet.fragment is not None:
            self._reassembly.receive(packet, self.receive)
        elif packet.protocol == TCP:
            self.tcp.receive(packet)
        elif packet.protocol == UDP:
            self._receive_udp(packet)
        else:
            self._receive_error(packet)

    def _receive_udp(self, packet: Packet) -> None:
        if is_multicast(packet.dst.address):
            self._receive_multicast(packet)
            return
        binding = listener_for(packet, self.ports.holders(UDP, packet.dst.port))
        if binding is not None:
            self.trace.add(self.name, DELIVERED, packet)
            binding.user.datagram(packet)
            return
        self.trace.add(self.name, ANSWERED, packet, "PORT CLOSED: no socket; answered with ICMP port unreachable")
        error = icmp_error(packet.dst.address, packet, PORT_UNREACHABLE)
        if error is not None:
            self.send(error)

    def _receive_multicast(self, packet: Packet) -> None:
        """For every socket of that port, if any has joined the group; otherwise nobody complains (RFC 1122 3.2.2)."""
        joined = packet.dst.address in self.groups
        listeners = listeners_to_group(packet, self.ports.holders(UDP, packet.dst.port)) if joined else []
        if not listeners:
            self.trace.add(self.name, DROPPED, packet, "MULTICAST: nobody here listens to that group and port")
            return
        self.trace.add(self.name, DELIVERED, packet)
        for binding in listeners:
            binding.user.datagram(packet)

    def _receive_error(self, packet: Packet) -> None:
        """An ICMP error: tell the socket that sent what it quotes."""
        quoted = packet.quoted
        if quoted is None or packet.icmp is None:
            self.trace.add(self.name, DROPPED, packet, "UNKNOWN: an ICMP message that this host does not know")
            return
        self.trace.add(self.name, DELIVERED, packet)
        self._paths.learn(packet, self.clock.now)
        if quoted.protocol == TCP:
            self.tcp.complain(packet, quoted)
        else:
            complain(packet, quoted, self.ports.holders(UDP, quoted.src.port))


def is_loopback(address: str) -> bool:
    """Is this an address by which every host means itself?

    >>> is_loopback("127.9.9.9"), is_loopback("::1"), is_loopback("192.0.2.1")
    (True, True, False)
    """
    return address.startswith("127.") or address == IPV6_LOOPBACK
