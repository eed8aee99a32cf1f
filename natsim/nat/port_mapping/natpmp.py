"""NAT-PMP (RFC 6886), the router's side: a datagram goes in, the answer comes out, or none.

A request is 2 bytes, "what is your outside address?", or 12 bytes, "map this port of mine".  There is nothing else:
a mapping is renewed by asking for it again, and deleted by asking for a lifetime of 0.

No sockets here.  Next: `pcp.py`, its successor on the same port; `control_port.py`, where both meet.
"""

from __future__ import annotations

import enum
import struct
from ipaddress import IPv4Address

from ...packet import TCP, UDP, Endpoint
from .gateway import LONGEST, NO_ADDRESS, Gateway, Refusal, Request, seconds_left

VERSION = 0

#: Opcodes (RFC 6886 sections 3.2 and 3.3); an answer has this bit set as well.
EXTERNAL_ADDRESS = 0
MAP = {1: UDP, 2: TCP}
ANSWER = 0x80

HEADER = struct.Struct("!BBHI")  # version, opcode, result, seconds since start of epoch
MAP_REQUEST = struct.Struct("!BBHHHI")  # version, opcode, reserved, inside port, suggested outside port, lifetime
MAPPED = struct.Struct("!HHI")  # inside port, outside port, lifetime

#: A request of an unknown opcode is returned; no longer one than PCP's longest message is worth that.
LONGEST_ECHO = 1100


class Result(enum.IntEnum):
    """Result codes (RFC 6886 section 3.5)."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORISED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


RESULT = {
    Refusal.NO_ADDRESS: Result.NETWORK_FAILURE,
    Refusal.NOT_YOURS: Result.NOT_AUTHORISED,
    Refusal.QUOTA: Result.OUT_OF_RESOURCES,
    Refusal.NO_PORT: Result.OUT_OF_RESOURCES,
}


class NatPmp:
    """The NAT-PMP server of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def answer(self, datagram: bytes, source: Endpoint, now: int) -> bytes | None:
        """The answer to a datagram from inside; None for what is no request."""
        if len(datagram) < 2 or datagram[1] & ANSWER:
            return None
        version, opcode = datagram[:2]
        if version != VERSION:
            return self._header(opcode, Result.UNSUPPORTED_VERSION, now)
        if opcode == EXTERNAL_ADDRESS:
            return self._external_address(source.address, now)
        if opcode in MAP:
            return self._map(datagram, source, now) if len(datagram) >= MAP_REQUEST.size else None
        result = struct.pack("!H", Result.UNSUPPORTED_OPCODE)
        return (bytes((VERSION, opcode | ANSWER)) + result + datagram[4:])[:LONGEST_ECHO]

    def announcement(self, now: int) -> bytes:
        """What is multicast after a (re)start: the outside address, unasked (RFC 6886 section 3.2.1)."""
        return self._external_address(NO_ADDRESS, now)

    def _header(self, opcode: int, result: Result, now: int) -> bytes:
        return HEADER.pack(VERSION, opcode | ANSWER, result, self._gateway.epoch(now))

    def _external_address(self, client: str, now: int) -> bytes:
        address = self._gateway.address_of(client)
        result = Result.SUCCESS if address is not None else Result.NETWORK_FAILURE
        return self._header(EXTERNAL_ADDRESS, result, now) + IPv4Address(address or NO_ADDRESS).packed

    def _map(self, datagram: bytes, source: Endpoint, now: int) -> bytes:
        _, opcode, _, port, suggested, lifetime = MAP_REQUEST.unpack_from(datagram)
        result, external, lifetime = (
            self._create(MAP[opcode], source._replace(port=port), suggested, lifetime, now)
            if lifetime
            else self._delete(MAP[opcode], source._replace(port=port), now)
        )
        return self._header(opcode, result, now) + MAPPED.pack(port, external, lifetime)

    def _create(
        self, protocol: str, internal: Endpoint, suggested: int, lifetime: int, now: int
    ) -> tuple[Result, int, int]:
        """A new mapping, or the old one with a new lifetime: result, outside port, lifetime (RFC 6886 section 3.3)."""
        if not internal.port:
            return Result.NOT_AUTHORISED, 0, 0
        lifetime = min(lifetime, LONGEST)
        request = Request(protocol, internal, internal.address, lifetime, suggested, description="NAT-PMP")
        lease = self._gateway.grant(request, now)
        if isinstance(lease, Refusal):
            return RESULT[lease], 0, 0
        return Result.SUCCESS, lease.external.port, seconds_left(lease, now)

    def _delete(self, protocol: str, internal: Endpoint, now: int) -> tuple[Result, int, int]:
        """End the mapping of an inside port, or all if it is 0; what does not exist is gone (RFC 6886 section 3.4)."""
        doomed = [
            lease
            for lease in self._gateway.of_host(internal.address, now)
            if lease.protocol == protocol and internal.port in (0, lease.internal.port)
        ]
        ended = [self._gateway.end(lease, internal.address) for lease in doomed]
        return Result.SUCCESS if all(ended) else Result.NOT_AUTHORISED, 0, 0
