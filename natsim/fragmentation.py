"""Cutting a packet that is too large for a link into fragments (RFC 791 section 3.2, RFC 8200 section 4.5).

Pure functions; who cuts, and when, is decided in `router.py` and `host.py`.  The opposite is in `reassembly.py`; what a
NAT does with fragments, which have no ports, is in `nat/fragments.py`.
"""

from __future__ import annotations

from .packet import FRAGMENT_HEADER, Endpoint, Fragment, Packet, is_ipv6
from .scheduler import SECOND

#: For so long somebody who has a part of a datagram waits for the others, by the version of IP: Linux
#: net.ipv4.ipfrag_time, and RFC 8200 section 4.5.
LIFETIME = {4: 30 * SECOND, 6: 60 * SECOND}

#: What fragments of one datagram have in common: source and destination address, protocol, identification.
DatagramId = tuple[str, str, str, int]


def datagram_of(piece: Packet) -> DatagramId:
    """The datagram of which this is a fragment (RFC 791 section 2.3)."""
    assert piece.fragment is not None
    return piece.src.address, piece.dst.address, piece.protocol, piece.fragment.identification


def span(packet: Packet) -> tuple[int, int]:
    """The bytes of its datagram that a packet carries, from the first up to (but not) the end; IP headers have none.

    >>> from .packet import UDP
    >>> span(Packet(UDP, Endpoint("192.168.1.2", 5000), Endpoint("203.0.113.10", 80), b"four"))
    (0, 12)
    """
    start = packet.fragment.offset if packet.fragment is not None else 0
    return start, start + packet.size - packet.header_size


def fragments_of(packet: Packet, mtu: int) -> list[Packet]:
    """A packet in pieces of at most `mtu` bytes, in order.  A fragment can be cut again.

    The identification is taken from the packet's `uid`, which no other packet of a run has: so a NAT that gives many
    hosts one address need not make up others (RFC 6864 section 5.3).

    >>> from .packet import UDP
    >>> datagram = Packet(UDP, Endpoint("192.168.1.2", 5000), Endpoint("203.0.113.10", 80), bytes(4000))
    >>> for piece in fragments_of(datagram, 1500): print(piece.size, piece)
    1500 <#0 udp fragment 0@0+ 192.168.1.2:5000 > 203.0.113.10:80 1472 bytes>
    1500 <#0 udp fragment 0@1480+ 192.168.1.2:0 > 203.0.113.10:0 1480 bytes>
    1068 <#0 udp fragment 0@2960 192.168.1.2:0 > 203.0.113.10:0 1048 bytes>
    """
    ipv6 = is_ipv6(packet.src.address)
    whole = packet.fragment or Fragment(packet.uid % (2**32 if ipv6 else 2**16), 0, more=False)
    start, end = span(packet)
    headers = packet.header_size + (FRAGMENT_HEADER if ipv6 and packet.fragment is None else 0)
    step = (mtu - headers) // 8 * 8  # the header counts offsets in units of 8 bytes
    header = end - start - len(packet.payload)
    pieces = []
    for offset in range(start, end, step):
        skipped = offset - start
        payload = packet.payload[max(0, skipped - header) : skipped + step - header]
        piece = packet.rewritten(payload=payload) if offset == start else _later_piece(packet, payload)
        piece.fragment = Fragment(whole.identification, offset, whole.more or offset + step < end)
        pieces.append(piece)
    return pieces


def _later_piece(packet: Packet, payload: bytes) -> Packet:
    src, dst = Endpoint(packet.src.address, 0), Endpoint(packet.dst.address, 0)
    return Packet(packet.protocol, src, dst, payload, ttl=packet.ttl, cause=packet.uid)
