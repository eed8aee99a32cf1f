"""The messages of PCP version 2 (RFC 6887 section 7): to and from bytes.

A message is a header of 24 bytes, what the opcode adds, and options.  Addresses are always 16 bytes, an IPv4 address
as ::ffff:192.0.2.1.  Whatever cannot be read raises `PcpError` with the result code that the sender shall have.

No rules here, and no state.  Next: `pcp.py`, which has both.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

VERSION = 2

#: An answer has this bit set in the byte of the opcode.
ANSWER = 0x80

#: No message is longer (RFC 6887 section 7), and every one is a multiple of 4 bytes.
LONGEST = 1100

HEADER_SIZE = 24
_ANSWER_HEADER = struct.Struct("!BBxBII12x")  # version, opcode, result, lifetime, epoch
_MAP = struct.Struct("!12sB3xHH16s")  # nonce, protocol, inside port, outside port, outside address
_REMOTE = struct.Struct("!H2x16s")  # remote port, remote address
_OPTION = struct.Struct("!BxH")  # code, length
_FILTER = struct.Struct("!xBH16s")  # prefix length, remote port, remote address


class Opcode(enum.IntEnum):
    """What is asked (RFC 6887 section 19.2)."""

    ANNOUNCE = 0
    MAP = 1
    PEER = 2


class OptionCode(enum.IntEnum):
    """Options (RFC 6887 section 19.4).  Those below 128 must be understood; there are no others here."""

    THIRD_PARTY = 1
    PREFER_FAILURE = 2
    FILTER = 3


class Result(enum.IntEnum):
    """Result codes (RFC 6887 section 7.4)."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


#: How long the part of a message is that belongs to its opcode.
BODY_SIZE = {Opcode.ANNOUNCE: 0, Opcode.MAP: _MAP.size, Opcode.PEER: _MAP.size + _REMOTE.size}

#: For how many seconds a client may take an error for final (RFC 6887 section 7.4).
SHORT, LONG = 30, 30 * 60
ERROR_LIFETIME = dict.fromkeys(Result, LONG) | dict.fromkeys(
    (Result.NETWORK_FAILURE, Result.NO_RESOURCES, Result.USER_EX_QUOTA, Result.CANNOT_PROVIDE_EXTERNAL), SHORT
)


class PcpError(Exception):
    """A request that cannot be fulfilled.  `lifetime`: seconds for which that will not change."""

    def __init__(self, result: Result, lifetime: int | None = None) -> None:
        super().__init__(result.name)
        self.result = result
        self.lifetime = ERROR_LIFETIME[result] if lifetime is None else lifetime


class MapBody(NamedTuple):
    """What MAP adds to the header (RFC 6887 section 11.1); in an answer, `external` is what was assigned."""

    nonce: bytes
    protocol: int
    internal_port: int
    external_port: int
    external_address: bytes

    @classmethod
    def read(cls, data: bytes) -> MapBody:
        """From the bytes after the header, which must be enough."""
        return cls(*_MAP.unpack_from(data))

    def written(self) -> bytes:
        """To bytes."""
        return _MAP.pack(*self)


class PeerBody(NamedTuple):
    """What PEER adds to the header: the same as MAP, and the remote endpoint (RFC 6887 section 12.1)."""

    mapping: MapBody
    remote_port: int
    remote_address: bytes

    @classmethod
    def read(cls, data: bytes) -> PeerBody:
        """From the bytes after the header, which must be enough."""
        return cls(MapBody.read(data), *_REMOTE.unpack_from(data, _MAP.size))

    def written(self) -> bytes:
        """To bytes."""
        return self.mapping.written() + _REMOTE.pack(self.remote_port, self.remote_address)


class Option(NamedTuple):
    """One option: its code, and its data without the padding."""

    code: int
    data: bytes

    def written(self) -> bytes:
        """To bytes, padded to a multiple of 4."""
        return _OPTION.pack(self.code, len(self.data)) + self.data + bytes(-len(self.data) % 4)


#: How long the data of an option is, in which requests it makes sense, and whether it may come more than once.
_OPTION_RULES = {
    OptionCode.THIRD_PARTY: (16, {Opcode.MAP, Opcode.PEER}, False),
    OptionCode.PREFER_FAILURE: (0, {Opcode.MAP}, False),
    OptionCode.FILTER: (_FILTER.size, {Opcode.MAP}, True),
}


def read_options(data: bytes, opcode: Opcode) -> list[Option]:
    """The options of a request, without those that may be ignored (RFC 6887 section 7.3)."""
    known: list[Option] = []
    for option in _split_options(data):
        if option.code >= 128:
            continue
        if option.code not in _OPTION_RULES:
            raise PcpError(Result.UNSUPP_OPTION)
        length, opcodes, repeatable = _OPTION_RULES[OptionCode(option.code)]
        repeated = any(other.code == option.code for other in known)
        if len(option.data) != length or opcode not in opcodes or (repeated and not repeatable):
            raise PcpError(Result.MALFORMED_OPTION)
        known.append(option)
    return known


def _split_options(data: bytes) -> Iterator[Option]:
    while data:
        code, length = _OPTION.unpack_from(data)  # whole words, so there are at least 4 bytes
        padded = _OPTION.size + length + -length % 4
        if padded > len(data):
            raise PcpError(Result.MALFORMED_OPTION)
        yield Option(code, data[_OPTION.size : _OPTION.size + length])
        data = data[padded:]


def read_filter(option: Option) -> tuple[str, int] | None:
    """Whom a FILTER admits, as (network, port) with port 0 for any; None if it removes all filters (RFC 6887 13.3)."""
    prefix, port, octets = _FILTER.unpack(option.data)
    if prefix == 0:
        return None
    address = IPv6Address(octets).ipv4_mapped
    if address is None or not 96 <= prefix <= 128:
        raise PcpError(Result.MALFORMED_OPTION)
    return f"{address}/{prefix - 96}", port


def lifetime_of(request: bytes) -> int:
    """The lifetime that a request wants, in seconds."""
    return int.from_bytes(request[4:8], "big")


def client_of(request: bytes) -> bytes:
    """The address that a client believes to have, 16 bytes."""
    return request[8:HEADER_SIZE]


def octets(address: str) -> bytes:
    """An IPv4 address as PCP writes it."""
    return IPv6Address(f"::ffff:{address}").packed


def ipv4(octets_: bytes) -> str | None:
    """The IPv4 address in 16 bytes; None if it is a real IPv6 address."""
    mapped: IPv4Address | None = IPv6Address(octets_).ipv4_mapped
    return str(mapped) if mapped is not None else None


def success(opcode: int, lifetime: int, epoch: int, body: bytes = b"") -> bytes:
    """An answer that all is well (RFC 6887 section 8.2)."""
    return _ANSWER_HEADER.pack(VERSION, opcode | ANSWER, Result.SUCCESS, lifetime, epoch) + body


def failure(request: bytes, error: PcpError, epoch: int) -> bytes:
    """An answer that it is not: the request again, cut and padded, under another header (RFC 6887 section 8.2)."""
    rest = request[HEADER_SIZE:LONGEST]
    header = _ANSWER_HEADER.pack(VERSION, request[1] | ANSWER, error.result, error.lifetime, epoch)
    return header + rest + bytes(-len(rest) % 4)
