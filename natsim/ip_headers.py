"""IP headers as the bytes of the wire, and back: IPv4 (RFC 791) and IPv6 (RFC 8200), and the checksum of both families.

Pure functions, used by `packet_bytes.py`, where the rest of a packet is made and read.

What a `Packet` does not have is written as zeros or left out, and skipped when read: the type of service or traffic
class, the flow label, IP options, and IPv6's extension headers but that of fragments.  The identification of a whole
packet of IPv4 is the last 16 bits of its `uid`, so a packet is known by one number on every link, and so are the
fragments into which it may be cut (`fragmentation.py`).  Whole packets of IPv6 have none.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from .packet import FRAGMENT_HEADER, ICMP, IP_HEADER, IPV6_HEADER, TCP, UDP, Endpoint, Fragment, Packet, is_ipv6

#: The numbers of the protocols in the IP header (RFC 790; RFC 4443 section 1), by the version of IP.
NUMBERS = {4: {ICMP: 1, TCP: 6, UDP: 17}, 6: {ICMP: 58, TCP: 6, UDP: 17}}
_NAMES = {version: {number: name for name, number in numbers.items()} for version, numbers in NUMBERS.items()}

#: Version and header length, type of service, total length; identification, flags with offset; TTL, protocol, checksum;
#: addresses.
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_DF, _MF, _OFFSET = 0x4000, 0x2000, 0x1FFF

#: Version, traffic class and flow label; payload length, next header, hop limit; addresses.
_IPV6 = struct.Struct("!IHBB16s16s")

#: Next header, reserved, offset with M, identification (RFC 8200 section 4.5).
_FRAGMENT = struct.Struct("!BBHI")
FRAGMENT = 44

#: Other extension headers: hop-by-hop options, routing, destination options (RFC 8200 section 4).
EXTENSIONS = (0, 43, 60)


class UnreadablePacket(ValueError):
    """These bytes are no packet that a `Packet` could be; the message says what is wrong with them."""


def demand_bytes(what: str, octets: bytes, least: int) -> None:
    """Raise UnreadablePacket if there are fewer bytes."""
    if len(octets) < least:
        raise UnreadablePacket(f"{what} has at least {least} bytes, and there are {len(octets)}")


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


def covered(packet: Packet, body: bytes) -> bytes:
    """What the checksum after the IP header covers: all that follows that, and a pseudo-header (RFC 9293 section 3.1).

    ICMP has none, ICMPv6 has (RFC 4443 section 2.3); that of IPv6 is larger (RFC 8200 section 8.1).
    """
    if packet.version == 4 and packet.protocol == ICMP:
        return body
    addresses = _packed(packet.src.address) + _packed(packet.dst.address)
    number = NUMBERS[packet.version][packet.protocol]
    return addresses + struct.pack("!HH" if packet.version == 4 else "!II", *_ordered(packet, number, len(body))) + body


def _ordered(packet: Packet, number: int, length: int) -> tuple[int, int]:
    """IPv4 has the protocol before the length, IPv6 after it."""
    return (number, length) if packet.version == 4 else (length, number)


@lru_cache(maxsize=1024)
def _packed(address: str) -> bytes:
    return ip_address(address).packed


# -- Writing ----------------------------------------------------------------------------------------------------------


def ip_header(packet: Packet) -> bytes:
    """The IP header, of `packet.header_size` bytes.  ValueError for a packet that is too long, or oddly cut."""
    if is_ipv6(packet.src.address) is not is_ipv6(packet.dst.address):
        raise ValueError(f"{packet!r} goes from one version of IP to the other")
    longest = 0xFFFF if packet.version == 4 else IPV6_HEADER + 0xFFFF
    if packet.size > longest:
        raise ValueError(f"{packet!r} has {packet.size} bytes, and an IPv{packet.version} packet at most {longest:,}")
    if packet.fragment is not None and packet.fragment.offset % 8:
        offset = packet.fragment.offset
        raise ValueError(f"{packet!r} begins at byte {offset}, and the offset of a fragment is a multiple of 8")
    return _ipv6_header(packet) if is_ipv6(packet.src.address) else _ipv4_header(packet)


def _ipv4_header(packet: Packet) -> bytes:
    identification, offset, more = packet.fragment or Fragment(packet.uid % 2**16, 0, more=False)
    flags = offset // 8 | (_MF if more else 0) | (_DF if packet.df else 0)
    addresses = _packed(packet.src.address), _packed(packet.dst.address)
    fields = (0x45, 0, packet.size, identification, flags, packet.ttl, NUMBERS[4][packet.protocol])
    return _IPV4.pack(*fields, checksum(_IPV4.pack(*fields, 0, *addresses)), *addresses)


def _ipv6_header(packet: Packet) -> bytes:
    addresses = _packed(packet.src.address), _packed(packet.dst.address)
    number, length = NUMBERS[6][packet.protocol], packet.size - IPV6_HEADER
    if packet.fragment is None:
        return _IPV6.pack(6 << 28, length, number, packet.ttl, *addresses)
    identification, offset, more = packet.fragment
    header = _IPV6.pack(6 << 28, length, FRAGMENT, packet.ttl, *addresses)
    return header + _FRAGMENT.pack(number, 0, offset | more, identification)


# -- Reading ----------------------------------------------------------------------------------------------------------


def read_ip_header(octets: bytes) -> tuple[Packet, int, int]:
    """A packet of which only the IP header is known, and where that header and the packet end.

    Nothing says that so many bytes are there, or that the header's checksum is right.
    """
    demand_bytes("an IP header", octets, IP_HEADER)
    version = octets[0] >> 4
    if version not in _NAMES:
        raise UnreadablePacket(f"this is IP version {version}, not 4 or 6")
    return _read_ipv4(octets) if version == 4 else _read_ipv6(octets)


def _read_ipv4(octets: bytes) -> tuple[Packet, int, int]:
    version_and_words, _, end, identification, flags, ttl, number, _, source, destination = _IPV4.unpack_from(octets)
    start = version_and_words % 16 * 4
    if not IP_HEADER <= start <= min(end, len(octets)):
        raise UnreadablePacket(f"an IP header of {start} bytes, in a packet of {end}, of which {len(octets)} are there")
    src, dst = (Endpoint(".".join(map(str, address)), 0) for address in (source, destination))
    packet = Packet(_protocol(4, number), src, dst, ttl=ttl, df=bool(flags & _DF))
    if flags & (_MF | _OFFSET):
        packet.fragment = Fragment(identification, (flags & _OFFSET) * 8, bool(flags & _MF))
    return packet, start, end


def _read_ipv6(octets: bytes) -> tuple[Packet, int, int]:
    demand_bytes("an IPv6 header", octets, IPV6_HEADER)
    _, length, number, ttl, source, destination = _IPV6.unpack_from(octets)
    end, start = IPV6_HEADER + length, IPV6_HEADER
    fragment: Fragment | None = None
    while number in EXTENSIONS or (number == FRAGMENT and fragment is None):
        header = octets[start : min(start + FRAGMENT_HEADER, end)]
        demand_bytes("an IPv6 extension header", header, FRAGMENT_HEADER)
        if number == FRAGMENT:
            number, _, offset, identification = _FRAGMENT.unpack(header)
            fragment = Fragment(identification, offset & ~7, bool(offset & 1))
            start += FRAGMENT_HEADER
            if fragment.offset:
                break  # what follows is in the middle of something
        else:
            number = header[0]
            start += (header[1] + 1) * 8
    if start > min(end, len(octets)):
        raise UnreadablePacket(f"IPv6 headers of {start} bytes, in a packet of {end}, of which {len(octets)} are there")
    src, dst = (Endpoint(str(IPv6Address(address)), 0) for address in (source, destination))
    return Packet(_protocol(6, number), src, dst, ttl=ttl, fragment=fragment), start, end


def _protocol(version: int, number: int) -> str:
    if number not in _NAMES[version]:
        raise UnreadablePacket(f"protocol {number} is not one of UDP, TCP and ICMP{'v6' if version == 6 else ''}")
    return _NAMES[version][number]
