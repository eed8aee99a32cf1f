"""A packet as the bytes of the wire, and back: IP (`ip_headers.py`) with UDP, TCP (RFC 768, RFC 9293), ICMP or ICMPv6.

Pure functions.  `to_bytes` computes every length and checksum; `from_bytes` trusts none of them, and whatever it is
given, it returns a packet or raises `UnreadablePacket`.

The wire has fields that a `Packet` has not, beside those of the IP header: TCP's urgent pointer and its options but MSS
and window scale, an echo's sequence number.  They are written as zeros or left out, and skipped when read.

Next: `pcapng.py`, which saves a run in this form.
"""

from __future__ import annotations

import struct

from .ip_headers import UnreadablePacket as UnreadablePacket
from .ip_headers import checksum as checksum
from .ip_headers import covered, demand_bytes, ip_header, read_ip_header
from .packet import ICMP, IP_HEADER, IPV6_HEADER, IPV6_MINIMUM_MTU, TCP, UDP, Packet

#: Ports, length, checksum.
_UDP = struct.Struct("!HHHH")

#: Ports, sequence number, acknowledgment number; data offset, flags, window; checksum, urgent pointer.
_TCP = struct.Struct("!HHIIBBHHH")
_END, _NOP, _MSS, _WINDOW_SCALE = 0, 1, 2, 3

#: Type, code, checksum; of a query and its reply, identifier and sequence number.
_ICMP = struct.Struct("!BBHHH")

#: ICMP types (RFC 792): those that quote the packet that they are about; those that ask, and those that reply.
ERRORS, QUERIES, REPLIES = (3, 4, 5, 11, 12), (8, 13, 15), (0, 14, 16)

#: The same of ICMPv6 (RFC 4443 section 2.1); of the others, only echo is known here.
ERRORS6, QUERIES6, REPLIES6 = (1, 2, 3, 4), (128,), (129,)

#: The errors that name the MTU of the next link (RFC 1191 section 4, RFC 4443 section 3.2).
_FRAGMENTATION_NEEDED, _PACKET_TOO_BIG = (3, 4), 2

#: An ICMP error quotes the IP header and at least so many bytes after it; one of IPv6 all that 1,280 bytes can hold.
_QUOTED = 8
_QUOTED6 = IPV6_MINIMUM_MTU - IPV6_HEADER - _ICMP.size

#: Where the checksum lies in each protocol's header.
_CHECKSUM_AT = {UDP: 6, TCP: 16, ICMP: 2}


def _with_checksum(packet: Packet, octets: bytes) -> bytes:
    """The same header and data with the protocol's checksum, whose place is still zero."""
    value = checksum(covered(packet, octets))
    if packet.protocol == UDP:
        value = value or 0xFFFF  # to UDP, 0 means that there is no checksum (RFC 768)
    place = _CHECKSUM_AT[packet.protocol]
    return octets[:place] + value.to_bytes(2, "big") + octets[place + 2 :]


# -- Writing ----------------------------------------------------------------------------------------------------------


def to_bytes(packet: Packet, datagram: bytes | None = None) -> bytes:
    """The packet as it is on the wire; there are `packet.size` bytes.

    A first fragment has the length and the checksum of its whole datagram: `datagram` is the payload of that one, and
    without it this part is taken for the whole.  Raises ValueError for a packet that has no such form: of more than
    65,535 bytes, a fragment at an offset that is no multiple of 8, ICMP without a type.
    """
    header = ip_header(packet)
    if packet.is_later_fragment:
        return header + packet.payload
    whole = _transport(packet, packet.payload if datagram is None else datagram)
    return header + whole[: packet.size - len(header)]


def _transport(packet: Packet, payload: bytes) -> bytes:
    """The header of the packet's protocol, and the payload."""
    ports = packet.src.port, packet.dst.port
    if packet.protocol == UDP:
        header = _UDP.pack(*ports, _UDP.size + len(payload), 0)
    elif packet.protocol == TCP:
        options = _tcp_options(packet)
        words = (_TCP.size + len(options)) // 4
        fields = (packet.seq, packet.ack, words << 4, packet.flags, packet.window, 0, 0)
        header = _TCP.pack(*ports, *fields) + options
    else:
        header = _icmp_header(packet)
    return _with_checksum(packet, header + payload)


def _tcp_options(packet: Packet) -> bytes:
    """MSS (RFC 9293 section 3.7.1), and window scale (RFC 7323 section 2.2) after a NOP, so that words stay whole."""
    options = b""
    if packet.mss is not None:
        options += struct.pack("!BBH", _MSS, 4, packet.mss)
    if packet.wscale is not None:
        options += struct.pack("!BBBB", _NOP, _WINDOW_SCALE, 3, packet.wscale)
    return options


def _icmp_header(packet: Packet) -> bytes:
    if packet.icmp is None:
        raise ValueError(f"{packet!r} has no ICMP type and code")
    if packet.quoted is not None:
        return _ICMP.pack(*packet.icmp, 0, *divmod(packet.mtu or 0, 2**16)) + _quotation(packet, packet.quoted)
    replies = REPLIES if packet.version == 4 else REPLIES6
    identifier = packet.dst.port if packet.icmp[0] in replies else packet.src.port
    return _ICMP.pack(*packet.icmp, 0, identifier, 0)


def _quotation(error: Packet, about: Packet) -> bytes:
    return to_bytes(about)[: IP_HEADER + _QUOTED if error.version == 4 else _QUOTED6]


# -- Reading ----------------------------------------------------------------------------------------------------------


def from_bytes(octets: bytes) -> Packet:
    """The packet that these bytes are.  Lengths and checksums must be right; what follows the packet is ignored.

    Raises `UnreadablePacket`, and nothing else.  The packet has no number yet: its `uid` is 0.

    What an ICMP error quotes is read as far as RFC 792 demands, the IP header and 8 bytes: so `quoted` has the ports,
    of TCP the sequence number too, and no payload.  What the error brings beyond that is its own `payload`.  One of
    IPv6 has none: it quotes as much as there is room for, and so much `quoted` has.
    """
    packet, start, end = read_ip_header(octets)
    if packet.version == 4 and checksum(octets[:start]):
        raise UnreadablePacket("the checksum of the IP header is wrong")
    if end > len(octets):
        raise UnreadablePacket(f"the IP header speaks of {end} bytes, and there are {len(octets)}")
    body = octets[start:end]
    if packet.is_later_fragment:
        packet.payload = body
    else:
        _READERS[packet.protocol](packet, body, True)
    return packet


def _read_udp(packet: Packet, body: bytes, complete: bool) -> None:
    demand_bytes("a UDP header", body, _UDP.size)
    *ports, length, given = _UDP.unpack_from(body)
    if complete and packet.fragment is None:
        if not _UDP.size <= length <= len(body):
            raise UnreadablePacket(f"the UDP header speaks of {length} bytes, and IP has {len(body)}")
        body = body[:length]
    if not given and packet.version == 6:
        raise UnreadablePacket("this datagram has no checksum, which IPv6 demands (RFC 8200 section 8.1)")
    if given and complete:
        _verify(packet, body)
    _set_ports(packet, *ports)
    packet.payload = body[_UDP.size :]


def _read_tcp(packet: Packet, body: bytes, complete: bool) -> None:
    demand_bytes("a TCP header", body, _TCP.size)
    source, destination, packet.seq, packet.ack, words, packet.flags, packet.window, _, _ = _TCP.unpack_from(body)
    end = (words >> 4) * 4
    if not _TCP.size <= end <= len(body):
        raise UnreadablePacket(f"a TCP header of {end} bytes in a segment of {len(body)}")
    if complete:
        _verify(packet, body)
    _set_ports(packet, source, destination)
    _read_tcp_options(packet, body[_TCP.size : end])
    packet.payload = body[end:]


def _read_tcp_options(packet: Packet, options: bytes) -> None:
    """MSS and window scale; others are skipped by their length (RFC 9293 section 3.1)."""
    while options and options[0] != _END:
        length = 1 if options[0] == _NOP else int.from_bytes(options[1:2], "big")
        if not (options[0] == _NOP or 2 <= length <= len(options)):
            raise UnreadablePacket(
                f"TCP option {options[0]} has the length {length}, and {len(options)} bytes are left"
            )
        if (options[0], length) == (_MSS, 4):
            packet.mss = int.from_bytes(options[2:4], "big")
        elif (options[0], length) == (_WINDOW_SCALE, 3):
            packet.wscale = options[2]
        options = options[length:]


def _read_icmp(packet: Packet, body: bytes, complete: bool) -> None:
    demand_bytes("an ICMP header", body, _ICMP.size)
    if complete:
        _verify(packet, body)
    _set_icmp(packet, body)
    packet.payload = body[_ICMP.size :]
    if complete and body[0] in (ERRORS if packet.version == 4 else ERRORS6):
        _read_error(packet, body)


_READERS = {UDP: _read_udp, TCP: _read_tcp, ICMP: _read_icmp}


def _read_error(error: Packet, body: bytes) -> None:
    """What an ICMP error is about, and for which MTU that is too large."""
    *_, high, low = _ICMP.unpack_from(body)
    if error.version == 6:
        error.quoted, error.payload = _read_quotation6(error.payload), b""
        error.mtu = (high << 16 | low) if body[0] == _PACKET_TOO_BIG else None
    else:
        error.quoted, end = _read_quotation(error.payload)
        error.payload = error.payload[end:]
        error.mtu = low or None if error.icmp == _FRAGMENTATION_NEEDED else None


def _read_quotation(octets: bytes) -> tuple[Packet, int]:
    """A quotation of IPv4, and its length.  Nothing of it can be verified: the rest is missing."""
    quoted, start, _ = read_ip_header(octets)
    if quoted.version == 6:
        raise UnreadablePacket("an ICMP error quotes a packet of IPv6")
    body = octets[start : start + _QUOTED]
    demand_bytes("what an ICMP error quotes", body, _QUOTED)
    if quoted.is_later_fragment:
        quoted.payload = body
    elif quoted.protocol == ICMP:
        _set_icmp(quoted, body)
    else:
        _read_eight_bytes(quoted, body)
    return quoted, start + _QUOTED


def _read_quotation6(octets: bytes) -> Packet:
    """A quotation of IPv6.  Nothing of it can be verified: the end may be missing."""
    quoted, start, end = read_ip_header(octets)
    if quoted.version == 4:
        raise UnreadablePacket("an ICMPv6 error quotes a packet of IPv4")
    body = octets[start:end]
    if quoted.is_later_fragment:
        quoted.payload = body
        return quoted
    demand_bytes("what an ICMPv6 error quotes", body, _QUOTED)
    if quoted.protocol == TCP and len(body) < _TCP.size:
        _read_eight_bytes(quoted, body)
    else:
        _READERS[quoted.protocol](quoted, body, False)
    return quoted


def _read_eight_bytes(quoted: Packet, body: bytes) -> None:
    """The beginning of a UDP or TCP header."""
    source, destination, seq = struct.unpack_from("!HHI", body)
    _set_ports(quoted, source, destination)
    if quoted.protocol == TCP:
        quoted.seq = seq


def _set_ports(packet: Packet, source: int, destination: int) -> None:
    packet.src, packet.dst = packet.src._replace(port=source), packet.dst._replace(port=destination)


def _set_icmp(packet: Packet, body: bytes) -> None:
    """Type and code, and the identifier as the port of the one who asks (RFC 5508 section 3)."""
    kind, code, _, identifier, _ = _ICMP.unpack_from(body)
    packet.icmp = kind, code
    queries, replies = (QUERIES, REPLIES) if packet.version == 4 else (QUERIES6, REPLIES6)
    _set_ports(packet, identifier if kind in queries else 0, identifier if kind in replies else 0)


def _verify(packet: Packet, body: bytes) -> None:
    """A checksum covers the whole datagram, so that of a fragment says nothing yet."""
    if packet.fragment is None and checksum(covered(packet, body)):
        raise UnreadablePacket(f"the {packet.protocol.upper()} checksum is wrong")
