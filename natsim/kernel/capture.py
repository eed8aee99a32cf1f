"""Listening on real interfaces: packet sockets in the namespaces of hosts and of the kernel's NATs.

What a socket hears has the kernel's own time, the interface, and whether it came or left.  Of each packet the first
bytes are kept; the rest says nothing to a trace, and stands as zeros.  With offload (`wire.py`) up to 64 kB of a stream
are one packet here, as they are on the interface.

Touches the namespaces, and nothing that it hears.  Next: `assembly.py`, which makes a trace of it.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import time
from typing import NamedTuple

from ..ip_headers import UnreadablePacket, checksum, covered, read_ip_header
from ..packet import ICMP, TCP, UDP, Packet
from ..packet_bytes import from_bytes
from .namespace import Namespace

#: From <linux/if_ether.h>, <linux/if_packet.h>, <asm/socket.h> and <linux/filter.h>.
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6, PACKET_OUTGOING = 0x0003, 0x0800, 0x86DD, 4
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_ATTACH_FILTER, SO_TIMESTAMPNS, SO_RCVBUFFORCE = 26, 35, 33
BPF_RETURN = 0x06

#: So many bytes of each packet are kept.
SNAP = 300

#: Bytes of packets that may wait to be read.
BUFFER = 32 << 20

#: Packets read before other work gets its turn.
BATCH = 256


class Seen(NamedTuple):
    """A packet on an interface of a node.  `when` is in nanoseconds since the world began."""

    when: int
    node: str
    interface: str
    leaves: bool
    packet: Packet


class Ear:
    """Hears every interface of one namespace but loopback."""

    def __init__(self, loop: asyncio.AbstractEventLoop, namespace: Namespace, began: int) -> None:
        self._loop = loop
        self._node = namespace.name
        self._began = began
        self._heard: list[tuple[int, str, bool, bytes]] = []
        self._socket = namespace.call(_packet_socket)
        loop.add_reader(self._socket, self._read)

    def _read(self) -> None:
        for _ in range(BATCH):
            if not self._hear():
                return

    def _hear(self) -> bool:
        """One packet; False if there is none."""
        try:
            octets, extra, _, (interface, protocol, direction, *_) = self._socket.recvmsg(SNAP, 64)
        except BlockingIOError:
            return False
        if protocol in (ETH_P_IP, ETH_P_IPV6) and interface != "lo":
            seconds, nanoseconds = struct.unpack("=qq", extra[0][2])
            when = seconds * 1_000_000_000 + nanoseconds - self._began
            self._heard.append((when, interface, direction == PACKET_OUTGOING, octets))
        return True

    def take(self) -> list[Seen]:
        """What was heard since the last time, and is a packet of a protocol known here."""
        while self._hear():
            pass
        heard, self._heard = self._heard, []
        found = []
        for when, interface, leaves, octets in heard:
            packet = packet_of(octets)
            if packet is not None:
                found.append(Seen(when, self._node, interface, leaves, packet))
        return found

    @property
    def missed(self) -> int:
        """How many packets found no room in the buffer."""
        return int(struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1])

    def close(self) -> None:
        """Hear no more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()


def monotonic_to_real() -> int:
    """By how many nanoseconds the clock of the kernel's timestamps is ahead of the monotonic one."""
    return time.time_ns() - time.monotonic_ns()


def _packet_socket() -> socket.socket:
    """A socket for the packets of every interface of this thread's namespace, from the IP header on."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    try:
        program = ctypes.create_string_buffer(struct.pack("=HBBI", BPF_RETURN, 0, 0, SNAP))
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program)))
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except PermissionError:  # root of a user namespace only: as much as anybody may have
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


# -- From bytes that are cut off, and not finished ---------------------------------------------------------------------

_CHECKSUM_AT = {UDP: 6, TCP: 16, ICMP: 2}


def packet_of(octets: bytes) -> Packet | None:
    """The packet whose beginning this is; None if it is of no protocol that is known here.

    The checksum of what is leaving is often still to be made by hardware, and that of what is cut off cannot be right.
    """
    try:
        header, start, end = read_ip_header(octets)
        whole = octets[:end].ljust(end, b"\0")
        if header.fragment is None:
            place = start + _CHECKSUM_AT[header.protocol]
            blank = whole[:place] + bytes(2) + whole[place + 2 :]
            value = checksum(covered(header, blank[start:]))
            whole = blank[:place] + (value or 0xFFFF).to_bytes(2, "big") + blank[place + 2 :]
        packet = from_bytes(whole)
    except UnreadablePacket:
        return None
    return None if is_about_the_link(packet) else packet


def is_about_the_link(packet: Packet) -> bool:
    """Is this one of IPv6's messages about groups, routers and neighbours, which never leave their link?"""
    return packet.version == 6 and packet.protocol == ICMP and packet.icmp is not None and packet.icmp[0] >= 130
