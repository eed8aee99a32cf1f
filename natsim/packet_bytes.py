"""A packet as the bytes of the wire, and back: IPv4 (RFC 791) with UDP (RFC 768), TCP (RFC 9293) or ICMP (RFC 792).

Pure functions.  `to_bytes` computes every length and checksum; `from_bytes` trusts none of them, and whatever it is
given, it returns a packet or raises `UnreadablePacket`.

The wire has fields that a `Packet` has not: the type of service, IP options, TCP's urgent pointer and its options
beside MSS and window scale, an echo's sequence number, the next hop's MTU in an ICMP error.  They are written as zeros
or left out, and skipped when read.  The identification of a whole packet is the last 16 bits of its `uid`, so a packet
is known by one number on every link, and so are the fragments into which it may be cut (`fragmentation.py`).

Next: `pcapng.py`, which saves a run in this form.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import IPv4Address

from .packet import ICMP, IP_HEADER, TCP, UDP, Endpoint, Fragment, Packet

#: The numbers of the protocols in the IP header (RFC 790).
NUMBERS = {ICMP: 1, TCP: 6, UDP: 17}
_NAMES = {number: name for name, number in NUMBERS.items()}

#: Version and header length, type of service, total length; identification, flags with offset; TTL, protocol, checksum;
#: addresses.
_IP = struct.Struct("!BBHHHBBH4s4s")
_DF, _MF, _OFFSET = 0x4000, 0x2000, 0x1FFF

#: Ports, length, checksum.
_UDP = struct.Struct("!HHHH")

#: Ports, sequence number, acknowledgment number; data offset, flags, window; checksum, urgent pointer.
_TCP = struct.Struct("!HHIIBBHHH")
_END, _NOP, _MSS, _WINDOW_SCALE = 0, 1, 2, 3

#: Type, code, checksum; of a query and its reply, identifier and sequence number.
_ICMP = struct.Struct("!BBHHH")

#: ICMP types (RFC 792): those that quote the packet that they are about; those that ask, and those that reply.
ERRORS, QUERIES, REPLIES = (3, 4, 5, 11, 12), (8, 13, 15), (0, 14, 16)

#: An ICMP error quotes the IP header and at least so many bytes after it.
_QUOTED = 8

#: Where the checksum lies in each protocol's header.
_CHECKSUM_AT = {UDP: 6, TCP: 16, ICMP: 2}


class UnreadablePacket(ValueError):
    """These bytes are no packet that a `Packet` could be; the message says what is wrong with them."""


# -- Checksums --------------------------------------------------------------------------------------------------------


def checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071): the complement of the ones' complement sum of all 16-bit words.

    An odd last byte counts as the high half of a word.  Over bytes that contain their own checksum it is 0.

    >>> hex(checksum(bytes.fromhex("0001f203f4f5f6f7")))  # the example of RFC 1071 section 3
    '0x220d'
    """
    # The words are the digits of one large number in base 2**16.  Since 2**16 leaves 1 when divided by 65,535, the
    # number and the sum of its digits leave the same.  That is the ones' complement sum, which has all ones for 0.
    number = int.from_bytes(octets, "big") << 8 * (len(octets) % 2)
    return 0xFFFF - (number % 0xFFFF or (0xFFFF if number else 0))


def _covered(packet: Packet, body: bytes) -> bytes:
    """What the checksum covers: all after the IP header, and in UDP and TCP a pseudo-header (RFC 9293 section 3.1)."""
    if packet.protocol == ICMP:
        return body
    addresses = _packed(packet.src.address) + _packed(packet.dst.address)
    return addresses + struct.pack("!HH", NUMBERS[packet.protocol], len(body)) + body


def _with_checksum(packet: Packet, octets: bytes) -> bytes:
    """The same header and data with the protocol's checksum, whose place is still zero."""
    value = checksum(_covered(packet, octets))
    if packet.protocol == UDP:
        value = value or 0xFFFF  # to UDP, 0 means that there is no checksum (RFC 768)
    place = _CHECKSUM_AT[packet.protocol]
    return octets[:place] + value.to_bytes(2, "big") + octets[place + 2 :]


@lru_cache(maxsize=1024)
def _packed(address: str) -> bytes:
    return IPv4Address(address).packed


def _unpacked(address: bytes) -> str:
    return ".".join(map(str, address))


# -- Writing ----------------------------------------------------------------------------------------------------------


def to_bytes(packet: Packet, datagram: bytes | None = None) -> bytes:
    """The packet as it is on the wire; there are `packet.size` bytes.

    A first fragment has the length and the checksum of its whole datagram: `datagram` is the payload of that one, and
    without it this part is taken for the whole.  Raises ValueError for a packet that has no such form: with an IPv6
    address, of more than 65,535 bytes, a fragment at an offset that is no multiple of 8, ICMP without a type.
    """
    if packet.size > 0xFFFF:
        raise ValueError(f"{packet!r} has {packet.size} bytes, and an IPv4 packet at most 65,535")
    if packet.is_later_fragment:
        return _ip_header(packet) + packet.payload
    whole = _transport(packet, packet.payload if datagram is None else datagram)
    return _ip_header(packet) + whole[: packet.size - IP_HEADER]


def _ip_header(packet: Packet) -> bytes:
    identification, offset, more = packet.fragment or Fragment(packet.uid % 2**16, 0, more=False)
    if offset % 8:
        raise ValueError(f"{packet!r} begins at byte {offset}, and the offset of a fragment is a multiple of 8")
    flags = offset // 8 | (_MF if more else 0) | (_DF if packet.df else 0)
    addresses = _packed(packet.src.address), _packed(packet.dst.address)
    fields = (0x45, 0, packet.size, identification, flags, packet.ttl, NUMBERS[packet.protocol])
    return _IP.pack(*fields, checksum(_IP.pack(*fields, 0, *addresses)), *addresses)


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
    identifier = packet.dst.port if packet.icmp[0] in REPLIES else packet.src.port
    header = _ICMP.pack(*packet.icmp, 0, identifier, 0)
    return header if packet.quoted is None else header + to_bytes(packet.quoted)[: IP_HEADER + _QUOTED]


# -- Reading ----------------------------------------------------------------------------------------------------------


def from_bytes(octets: bytes) -> Packet:
    """The packet that these bytes are.  Lengths and checksums must be right; what follows the packet is ignored.

    Raises `UnreadablePacket`, and nothing else.  The packet has no number yet: its `uid` is 0.

    What an ICMP error quotes is read as far as RFC 792 demands, the IP header and 8 bytes: so `quoted` has the ports,
    of TCP the sequence number too, and no payload.  What the error brings beyond that is its own `payload`.
    """
    packet, start, end = _read_ip_header(octets)
    if checksum(octets[:start]):
        raise UnreadablePacket("the checksum of the IP header is wrong")
    if end > len(octets):
        raise UnreadablePacket(f"the IP header speaks of {end} bytes, and there are {len(octets)}")
    body = octets[start:end]
    if packet.is_later_fragment:
        packet.payload = body
    else:
        _READERS[packet.protocol](packet, body)
    return packet


def _read_ip_header(octets: bytes) -> tuple[Packet, int, int]:
    """A packet of which only the IP header is known, and where that header and the packet end."""
    _demand_bytes("an IP header", octets, IP_HEADER)
    version_and_words, _, end, identification, flags, ttl, number, _, source, destination = _IP.unpack_from(octets)
    start = version_and_words % 16 * 4
    if version_and_words >> 4 != 4:
        raise UnreadablePacket(f"this is IP version {version_and_words >> 4}, not 4")
    if not IP_HEADER <= start <= min(end, len(octets)):
        raise UnreadablePacket(f"an IP header of {start} bytes, in a packet of {end}, of which {len(octets)} are there")
    if number not in _NAMES:
        raise UnreadablePacket(f"protocol {number} is not one of UDP, TCP and ICMP")
    src, dst = Endpoint(_unpacked(source), 0), Endpoint(_unpacked(destination), 0)
    packet = Packet(_NAMES[number], src, dst, ttl=ttl, df=bool(flags & _DF))
    if flags & (_MF | _OFFSET):
        packet.fragment = Fragment(identification, (flags & _OFFSET) * 8, bool(flags & _MF))
    return packet, start, end


def _read_udp(packet: Packet, body: bytes) -> None:
    _demand_bytes("a UDP header", body, _UDP.size)
    *ports, length, given = _UDP.unpack_from(body)
    if packet.fragment is None:
        if not _UDP.size <= length <= len(body):
            raise UnreadablePacket(f"the UDP header speaks of {length} bytes, and IP has {len(body)}")
        body = body[:length]
    if given:
        _verify(packet, body)
    _set_ports(packet, *ports)
    packet.payload = body[_UDP.size :]


def _read_tcp(packet: Packet, body: bytes) -> None:
    _demand_bytes("a TCP header", body, _TCP.size)
    source, destination, packet.seq, packet.ack, words, packet.flags, packet.window, _, _ = _TCP.unpack_from(body)
    end = (words >> 4) * 4
    if not _TCP.size <= end <= len(body):
        raise UnreadablePacket(f"a TCP header of {end} bytes in a segment of {len(body)}")
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


def _read_icmp(packet: Packet, body: bytes) -> None:
    _demand_bytes("an ICMP header", body, _ICMP.size)
    _verify(packet, body)
    _set_icmp(packet, body)
    packet.payload = body[_ICMP.size :]
    if body[0] in ERRORS:
        packet.quoted, end = _read_quotation(packet.payload)
        packet.payload = packet.payload[end:]


_READERS = {UDP: _read_udp, TCP: _read_tcp, ICMP: _read_icmp}


def _read_quotation(octets: bytes) -> tuple[Packet, int]:
    """What an ICMP error is about, and how many bytes say so.  Nothing of it can be verified: the rest is missing."""
    quoted, start, _ = _read_ip_header(octets)
    body = octets[start : start + _QUOTED]
    _demand_bytes("what an ICMP error quotes", body, _QUOTED)
    if quoted.is_later_fragment:
        quoted.payload = body
    elif quoted.protocol == ICMP:
        _set_icmp(quoted, body)
    else:
        source, destination, seq = struct.unpack("!HHI", body)
        _set_ports(quoted, source, destination)
        if quoted.protocol == TCP:
            quoted.seq = seq
    return quoted, start + _QUOTED


def _set_ports(packet: Packet, source: int, destination: int) -> None:
    packet.src, packet.dst = packet.src._replace(port=source), packet.dst._replace(port=destination)


def _set_icmp(packet: Packet, body: bytes) -> None:
    """Type and code, and the identifier as the port of the one who asks (RFC 5508 section 3)."""
    kind, code, _, identifier, _ = _ICMP.unpack_from(body)
    packet.icmp = kind, code
    _set_ports(packet, identifier if kind in QUERIES else 0, identifier if kind in REPLIES else 0)


def _demand_bytes(what: str, octets: bytes, least: int) -> None:
    if len(octets) < least:
        raise UnreadablePacket(f"{what} has at least {least} bytes, and there are {len(octets)}")


def _verify(packet: Packet, body: bytes) -> None:
    """A checksum covers the whole datagram, so that of a fragment says nothing yet."""
    if packet.fragment is None and checksum(_covered(packet, body)):
        raise UnreadablePacket(f"the {packet.protocol.upper()} checksum is wrong")
