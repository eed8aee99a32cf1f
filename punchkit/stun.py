"""STUN messages: how a host asks a server "from which address do you see me?" (RFC 8489, and RFC 5780 for NAT tests).

    request = Message(Kind.REQUEST)
    ... encode(request) goes to the server, and some datagram comes back ...
    reply = decode(datagram)
    if reply.answers(request):
        print(reply.mapped)                     # ("198.51.100.1", 40000)

A message is a header of 20 bytes (type, length, magic cookie, transaction) and a list of attributes (number, length,
value, padding to four bytes).  Which attributes there are is one table, `ATTRIBUTES`; the rest of this file knows
none of them by name but FINGERPRINT, which ends every message that we send.

Only the method Binding is spoken, without passwords.  Pure functions: `decode` vouches for the form of what came from
the network, and not for its truth; whoever uses an address judges whether it makes sense.
Next: `retransmission.py`, how a request gets its answer.
"""

from __future__ import annotations

import enum
import ipaddress
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from punchkit.errors import ProtocolError
from punchkit.sockets import Address

#: The header: type, length of what follows, magic cookie, transaction (RFC 8489 section 5).
HEADER = struct.Struct("!HHI12s")
COOKIE = 0x2112A442
TRANSACTION_SIZE = 12  # bytes

#: What stands before each attribute's value: number and length (RFC 8489 section 14).
ATTRIBUTE_HEADER = struct.Struct("!HH")

#: Whoever does not know an attribute below this number must not use the message (RFC 8489 section 14).
FIRST_OPTIONAL = 0x8000

#: FINGERPRINT is a CRC-32, made different from those of other protocols by this (RFC 8489 section 14.7).
FINGERPRINT_XOR = 0x5354554E
FINGERPRINT_SIZE = 8  # bytes, with the attribute's header


class Kind(enum.IntEnum):
    """The type of a message: the method Binding in each of its four classes (RFC 8489 section 5)."""

    REQUEST = 0x0001
    INDICATION = 0x0011
    SUCCESS = 0x0101
    ERROR = 0x0111


class Change(NamedTuple):
    """CHANGE-REQUEST: from which of its addresses the server shall answer (RFC 5780 section 7.2)."""

    address: bool
    port: bool


@dataclass(frozen=True)
class Message:
    """One STUN message.  `attributes` go by their names in the RFCs, with the values that `ATTRIBUTES` says.

    `unknown` are the numbers of attributes that the sender takes for indispensable and that this file does not know:
    a request that has any is refused with error 420, a response is no good (RFC 8489 section 6.3).
    """

    kind: Kind
    transaction: bytes = field(default_factory=lambda: os.urandom(TRANSACTION_SIZE))
    attributes: dict[str, Any] = field(default_factory=dict)
    unknown: tuple[int, ...] = ()

    @property
    def mapped(self) -> Address | None:
        """Where the server sees the sender of the request, if it says so.

        XOR-MAPPED-ADDRESS rather than MAPPED-ADDRESS: some NATs rewrite every address that they find in a payload.
        """
        found: Address | None = self.attributes.get("XOR-MAPPED-ADDRESS") or self.attributes.get("MAPPED-ADDRESS")
        return found

    def answers(self, request: Message) -> bool:
        """Is this the response, good or bad, to that request?"""
        return self.kind in (Kind.SUCCESS, Kind.ERROR) and self.transaction == request.transaction


def encode(message: Message) -> bytes:
    """The bytes of a message; FINGERPRINT is added.  KeyError for an attribute that is not in the table."""
    body = b""
    for name in (*message.attributes, "FINGERPRINT"):
        attribute = _BY_NAME[name]
        # FINGERPRINT covers a header that counts it; no other attribute looks at the length.
        before = _header(message, len(body) + FINGERPRINT_SIZE) + body
        value = attribute.pack(message.attributes.get(name), before)
        body += ATTRIBUTE_HEADER.pack(attribute.number, len(value)) + value + bytes(-len(value) % 4)
    return _header(message, len(body)) + body


def decode(data: bytes) -> Message:
    """The message that a datagram holds.  Raises ProtocolError, and nothing else, for one that holds none."""
    if len(data) < HEADER.size:
        raise ProtocolError(f"a STUN message of {len(data)} bytes; the header alone has {HEADER.size}")
    kind, length, cookie, transaction = HEADER.unpack_from(data)
    if cookie != COOKIE:
        raise ProtocolError("no STUN message: it lacks the magic cookie")
    if kind not in _KINDS:
        raise ProtocolError(f"a STUN message of type {kind:#06x}, which is none of Binding")
    if length % 4 or HEADER.size + length != len(data):
        raise ProtocolError(f"a STUN message of {len(data)} bytes that claims to have {HEADER.size + length}")
    attributes: dict[str, Any] = {}
    unknown: list[int] = []
    offset = HEADER.size
    while offset < len(data):
        number, size = ATTRIBUTE_HEADER.unpack_from(data, offset)
        start = offset + ATTRIBUTE_HEADER.size
        if start + size > len(data):
            raise ProtocolError(f"STUN attribute {number:#06x} of {size} bytes goes beyond the message")
        attribute = _BY_NUMBER.get(number)
        if attribute is None:
            if number < FIRST_OPTIONAL:
                unknown.append(number)
        elif attribute.name not in attributes:  # of several alike, the first counts (RFC 8489 section 14)
            attributes[attribute.name] = attribute.unpack(data[start : start + size], data[:offset])
        offset = start + size + -size % 4
    attributes.pop("FINGERPRINT", None)  # it is right, and says nothing more
    return Message(Kind(kind), transaction, attributes, tuple(unknown))


def _header(message: Message, length: int) -> bytes:
    return HEADER.pack(message.kind, length, COOKIE, message.transaction)


# -- Values, to and from bytes.  Every function also gets the message up to the attribute, since two of them need it ---


def _pack_address(value: Address, before: bytes) -> bytes:
    address = ipaddress.ip_address(value[0])
    return struct.pack("!xBH", 1 if address.version == 4 else 2, value[1]) + address.packed


def _unpack_address(body: bytes, before: bytes) -> Address:
    if (len(body), body[1:2]) not in ((8, b"\1"), (20, b"\2")):
        raise ProtocolError(f"a STUN address that is neither IPv4 nor IPv6: {body[:20].hex()}")
    return str(ipaddress.ip_address(body[4:])), int.from_bytes(body[2:4], "big")


def _xor(body: bytes, before: bytes) -> bytes:
    """Hide an address from NATs, or show it again: the port XOR the cookie, the address XOR cookie and transaction."""
    mask = before[4 : HEADER.size]
    stream = bytes(2) + mask[:2] + mask + bytes(len(body))
    return bytes(byte ^ key for byte, key in zip(body, stream, strict=False))


def _pack_hidden(value: Address, before: bytes) -> bytes:
    return _xor(_pack_address(value, before), before)


def _unpack_hidden(body: bytes, before: bytes) -> Address:
    return _unpack_address(_xor(body, before), before)


def _pack_change(value: Change, before: bytes) -> bytes:
    return struct.pack("!I", 4 * value.address + 2 * value.port)


def _unpack_change(body: bytes, before: bytes) -> Change:
    if len(body) != 4:
        raise ProtocolError(f"a STUN CHANGE-REQUEST of {len(body)} bytes instead of 4")
    return Change(bool(body[3] & 4), bool(body[3] & 2))


def _pack_error(value: tuple[int, str], before: bytes) -> bytes:
    code, reason = value
    return struct.pack("!xxBB", code // 100, code % 100) + reason.encode()


def _unpack_error(body: bytes, before: bytes) -> tuple[int, str]:
    if len(body) < 4 or not 3 <= body[2] & 7 <= 6 or body[3] > 99:
        raise ProtocolError(f"a STUN ERROR-CODE that is none: {body[:4].hex()}")
    return 100 * (body[2] & 7) + body[3], _unpack_text(body[4:], before)


def _pack_numbers(value: tuple[int, ...], before: bytes) -> bytes:
    return struct.pack(f"!{len(value)}H", *value)


def _unpack_numbers(body: bytes, before: bytes) -> tuple[int, ...]:
    if len(body) % 2:
        raise ProtocolError(f"a STUN UNKNOWN-ATTRIBUTES of {len(body)} bytes, which is odd")
    return struct.unpack(f"!{len(body) // 2}H", body)


def _pack_text(value: str, before: bytes) -> bytes:
    return value.encode()


def _unpack_text(body: bytes, before: bytes) -> str:
    """A stranger's words, safe to print."""
    return "".join(char if char.isprintable() else "?" for char in body.decode(errors="replace"))


def _pack_fingerprint(value: None, before: bytes) -> bytes:
    return struct.pack("!I", zlib.crc32(before) ^ FINGERPRINT_XOR)


def _unpack_fingerprint(body: bytes, before: bytes) -> None:
    """It covers the length of the whole message, so it is wrong, too, if something was added behind it."""
    if body != _pack_fingerprint(None, before):
        raise ProtocolError("a STUN message whose FINGERPRINT is wrong")


# -- The attributes: RFC 8489 section 14, and RFC 5780 section 7 -------------------------------------------------------


class Attribute(NamedTuple):
    """How one attribute travels.  `pack(value, before)`, `unpack(body, before)`; `before` is the message up to it."""

    number: int
    name: str
    pack: Callable[[Any, bytes], bytes]
    unpack: Callable[[bytes, bytes], Any]


ATTRIBUTES = (
    Attribute(0x0001, "MAPPED-ADDRESS", _pack_address, _unpack_address),  # ("198.51.100.1", 40000)
    Attribute(0x0003, "CHANGE-REQUEST", _pack_change, _unpack_change),  # Change(address=True, port=True)
    Attribute(0x0009, "ERROR-CODE", _pack_error, _unpack_error),  # (420, "Unknown Attribute")
    Attribute(0x000A, "UNKNOWN-ATTRIBUTES", _pack_numbers, _unpack_numbers),  # (0x0024,)
    Attribute(0x0020, "XOR-MAPPED-ADDRESS", _pack_hidden, _unpack_hidden),
    Attribute(0x8022, "SOFTWARE", _pack_text, _unpack_text),  # "punchkit"
    Attribute(0x8028, "FINGERPRINT", _pack_fingerprint, _unpack_fingerprint),  # `encode` adds it, `decode` checks it
    Attribute(0x802B, "RESPONSE-ORIGIN", _pack_address, _unpack_address),  # where the answer really comes from
    Attribute(0x802C, "OTHER-ADDRESS", _pack_address, _unpack_address),  # the server's other address and port
)

_BY_NUMBER = {attribute.number: attribute for attribute in ATTRIBUTES}
_BY_NAME = {attribute.name: attribute for attribute in ATTRIBUTES}
_KINDS = frozenset(Kind)
