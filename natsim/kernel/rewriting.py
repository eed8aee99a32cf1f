"""The bytes of a packet after a NAT: what it has changed is changed in them, and everything else stays as it came.

A `Packet` has only the fields that a NAT or a TCP of ours looks at.  Real packets have more: TCP's timestamps and SACK,
IP's identification, type of service and options.  So a real packet is not written anew from the `Packet` that came out
of the NAT, but patched: addresses, ports or identifier, TTL, and the checksums.  A checksum is corrected by the
difference only (RFC 1624), so that damage on the way stays visible to the receiver.

Pure functions.  Next: `boxes.py`.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from ..ip_headers import checksum
from ..packet import ICMP, IP_HEADER, TCP, UDP, Endpoint, Packet
from ..packet_bytes import REPLIES

#: Where things are, in bytes from the beginning of their header.
_TTL, _HOP_LIMIT, _IP_CHECKSUM, _ADDRESSES = 8, 7, 10, 12

#: Where the name of the datagram is of which a packet is a part; in IPv6 in the fragment header (RFC 8200 section 4.5).
_IP_NAME, _NEXT_HEADER, _FRAGMENT, _IPV6_NAME = 4, 6, 44, 44
_CHECKSUM = {UDP: 6, TCP: 16, ICMP: 2}
_IDENTIFIER, _QUOTED = 4, 8


def rewritten_bytes(octets: bytes, was: Packet, now: Packet) -> bytes:
    """`octets`, which are `was`, as what a NAT has made of it.  Its length is as it was."""
    patched = bytearray(octets)
    if now.version == 6:  # nothing is translated
        patched[_HOP_LIMIT] = now.ttl
        if now.fragment is not None and patched[_NEXT_HEADER] == _FRAGMENT:
            patched[_IPV6_NAME : _IPV6_NAME + 4] = now.fragment.identification.to_bytes(4, "big")
        return bytes(patched)
    patched[_TTL] = now.ttl
    if now.fragment is not None:
        _store(patched, _IP_NAME, now.fragment.identification % 2**16)
    _patch_packet(patched, 0, was, now)
    if was.payload != now.payload:
        _replace_text(patched, now)
    start = _header_length(patched, 0)
    _store(patched, _IP_CHECKSUM, 0)
    _store(patched, _IP_CHECKSUM, checksum(bytes(patched[:start])))
    return bytes(patched)


def _patch_packet(patched: bytearray, base: int, was: Packet, now: Packet) -> None:
    """Addresses and what follows, of the packet whose IP header begins at `base`; not the IP header's checksum."""
    place = base + _ADDRESSES
    before = bytes(patched[place : place + 8])
    after = _packed(now.src) + _packed(now.dst)
    patched[place : place + 8] = after
    start = base + _header_length(patched, base)
    if now.is_later_fragment:
        return
    if now.protocol != ICMP:
        _patch_ports(patched, start, now, before, after)
    elif now.quoted is not None and was.quoted is not None:
        _patch_error(patched, start, was.quoted, now.quoted)
    else:
        _patch_query(patched, start, now)


def _patch_ports(patched: bytearray, start: int, now: Packet, before: bytes, after: bytes) -> None:
    """UDP and TCP: both have the ports first, and a checksum that covers the addresses, too."""
    ports = struct.pack("!HH", now.src.port, now.dst.port)
    before += bytes(patched[start : start + 4])
    patched[start : start + 4] = ports
    place = start + _CHECKSUM[now.protocol]
    if place + 2 > len(patched):
        return  # a quotation, which ends before
    given = _load(patched, place)
    if given or now.protocol == TCP:  # to UDP, 0 means that there is none
        value = adjusted(given, before, after + ports)
        _store(patched, place, value or 0xFFFF if now.protocol == UDP else value)


def _patch_query(patched: bytearray, start: int, now: Packet) -> None:
    """An echo or its reply: the identifier is a port to a NAT (RFC 5508 section 3)."""
    is_reply = now.icmp is not None and now.icmp[0] in REPLIES
    identifier = struct.pack("!H", now.dst.port if is_reply else now.src.port)
    place, sum_place = start + _IDENTIFIER, start + _CHECKSUM[ICMP]
    before = bytes(patched[place : place + 2])
    patched[place : place + 2] = identifier
    _store(patched, sum_place, adjusted(_load(patched, sum_place), before, identifier))


def _patch_error(patched: bytearray, start: int, was: Packet, now: Packet) -> None:
    """An ICMP error: what it quotes is translated back, with its own checksums (RFC 5508 section 4.2)."""
    inner = start + _QUOTED
    before = bytes(patched[start:])
    place = inner + _ADDRESSES
    addresses = bytes(patched[place : place + 8])
    _patch_packet(patched, inner, was, now)
    sum_place = inner + _IP_CHECKSUM
    _store(patched, sum_place, adjusted(_load(patched, sum_place), addresses, bytes(patched[place : place + 8])))
    sum_place = start + _CHECKSUM[ICMP]
    _store(patched, sum_place, adjusted(_load(patched, sum_place), before, bytes(patched[start:])))


def _replace_text(patched: bytearray, now: Packet) -> None:
    """An ALG has changed the payload, and not its length."""
    place = len(patched) - len(now.payload)
    before = bytes(patched[place:])
    patched[place:] = now.payload
    sum_place = _header_length(patched, 0) + _CHECKSUM[now.protocol]
    _store(patched, sum_place, adjusted(_load(patched, sum_place), before, now.payload))


def adjusted(given: int, before: bytes, after: bytes) -> int:
    """A checksum over bytes of which some have changed (RFC 1624 equation 3).  Both pieces begin at an even place.

    >>> hex(adjusted(0xdd2f, bytes.fromhex("5555"), bytes.fromhex("3285")))  # the example of RFC 1624 section 4
    '0x0'
    """
    if before == after:
        return given
    words = [int.from_bytes(piece + bytes(len(piece) % 2), "big") for piece in (before, after)]
    total = (0xFFFF - given - words[0] + words[1]) % 0xFFFF
    return 0xFFFF - (total or 0xFFFF)


def _header_length(octets: bytearray, base: int) -> int:
    return max(octets[base] % 16 * 4, IP_HEADER)


def _packed(end: Endpoint) -> bytes:
    return IPv4Address(end.address).packed


def _load(octets: bytearray, place: int) -> int:
    return int.from_bytes(octets[place : place + 2], "big")


def _store(octets: bytearray, place: int, value: int) -> None:
    octets[place : place + 2] = value.to_bytes(2, "big")
