"""PCP version 2 (RFC 6887), the router's side: a datagram goes in, the answer comes out, or none.

MAP asks for an outside port that anybody (or whom its FILTERs name) may send to; PEER asks what the NAT makes of
packets to one remote endpoint, and how long that will last; ANNOUNCE asks how long the router has been up.  A client
draws a *nonce* for each mapping: whoever does not know it can neither change nor end the mapping.

The order of the checks is that of RFC 6887 sections 8.2 and 11.3.  No sockets here, and no bytes: those are in
`pcp_messages.py`.  Next: `control_port.py`, where PCP and NAT-PMP meet.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...packet import TCP, UDP, Endpoint
from ..verdict import Rule
from .gateway import LONGEST, NO_ADDRESS, Gateway, Refusal, Request, seconds_left
from .pcp_messages import (
    ANSWER,
    BODY_SIZE,
    HEADER_SIZE,
    VERSION,
    MapBody,
    Opcode,
    Option,
    OptionCode,
    PcpError,
    PeerBody,
    Result,
    client_of,
    failure,
    ipv4,
    lifetime_of,
    octets,
    read_filter,
    read_options,
    success,
)
from .pcp_messages import LONGEST as LONGEST_MESSAGE

#: The shortest lease in seconds (RFC 6887 section 15).
SHORTEST = 120

#: How many remote networks one mapping can be filtered by.
MOST_FILTERS = 16

#: The numbers of the protocols that have ports here (IANA); 0 stands for all protocols.
PROTOCOLS = {6: TCP, 17: UDP}

RESULT = {
    Refusal.NO_ADDRESS: Result.NETWORK_FAILURE,
    Refusal.NOT_YOURS: Result.NOT_AUTHORIZED,
    Refusal.QUOTA: Result.USER_EX_QUOTA,
    Refusal.TAKEN: Result.CANNOT_PROVIDE_EXTERNAL,
    Refusal.NO_PORT: Result.NO_RESOURCES,
}

#: What a PEER hears when the NAT would not let the packet out; for every other rule, NO_RESOURCES.
PEER_RESULT = {Rule.LIMIT: Result.USER_EX_QUOTA, Rule.POLICY: Result.NOT_AUTHORIZED}


class Pcp:
    """The PCP server of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def answer(self, datagram: bytes, source: Endpoint, now: int) -> bytes | None:
        """The answer to a datagram from inside, at most 1100 bytes; None for what is no request."""
        if len(datagram) < 2 or datagram[1] & ANSWER:
            return None
        epoch = self._gateway.epoch(now)
        if datagram[0] != VERSION:
            return failure(datagram, PcpError(Result.UNSUPP_VERSION), epoch)
        if len(datagram) < HEADER_SIZE:
            return None
        try:
            lifetime, rest = self._processed(datagram, source, now)
        except PcpError as error:
            return failure(datagram, error, epoch)
        return success(datagram[1], lifetime, epoch, rest)

    def announcement(self, now: int) -> bytes:
        """What is multicast after a (re)start: "compare your epoch with mine" (RFC 6887 section 14.1)."""
        return success(Opcode.ANNOUNCE, 0, self._gateway.epoch(now))

    def _processed(self, datagram: bytes, source: Endpoint, now: int) -> tuple[int, bytes]:
        """The lifetime of a successful answer, and what follows its header."""
        if len(datagram) > LONGEST_MESSAGE or len(datagram) % 4:
            raise PcpError(Result.MALFORMED_REQUEST)
        if datagram[1] not in BODY_SIZE:
            raise PcpError(Result.UNSUPP_OPCODE)
        opcode = Opcode(datagram[1])
        end = HEADER_SIZE + BODY_SIZE[opcode]
        if len(datagram) < end:
            raise PcpError(Result.MALFORMED_REQUEST)
        if ipv4(client_of(datagram)) != source.address:
            raise PcpError(Result.ADDRESS_MISMATCH)  # there is another NAT on the way
        options = read_options(datagram[end:], opcode)
        host = self._host_meant(options, source.address)
        lifetime, body = lifetime_of(datagram), datagram[HEADER_SIZE:end]
        if opcode is Opcode.ANNOUNCE:
            return 0, b""
        if opcode is Opcode.PEER:
            lifetime, body = self._peer(PeerBody.read(body), host, lifetime, source.address, now)
        elif lifetime:
            lifetime, body = self._map(MapBody.read(body), host, lifetime, options, source.address, now)
        else:
            self._delete(MapBody.read(body), host, options, source.address, now)
        return lifetime, body + b"".join(option.written() for option in options)

    def _host_meant(self, options: Sequence[Option], client: str) -> str:
        """The inside host that a request is about (RFC 6887 section 13.1)."""
        for option in options:
            if option.code == OptionCode.THIRD_PARTY:
                other = ipv4(option.data)
                if other is None or other == client:
                    raise PcpError(Result.MALFORMED_REQUEST)
                if client not in self._gateway.trusted:
                    raise PcpError(Result.NOT_AUTHORIZED)
                return other
        return client

    # -- MAP: RFC 6887 section 11 ------------------------------------------------------------------------------------

    def _map(
        self, body: MapBody, host: str, lifetime: int, options: Sequence[Option], client: str, now: int
    ) -> tuple[int, bytes]:
        """Make or renew a mapping: its lifetime, and the body of the answer."""
        protocol, internal = _socket(body, host)
        held = self._gateway.of_internal(protocol, internal, now)
        allowed = _filters(held.allowed if held is not None else [], options)
        insists = any(option.code == OptionCode.PREFER_FAILURE for option in options)
        if insists and ipv4(body.external_address) not in (NO_ADDRESS, self._gateway.address_of(host)):
            raise PcpError(Result.CANNOT_PROVIDE_EXTERNAL)
        lifetime = min(max(lifetime, SHORTEST), LONGEST)
        request = Request(protocol, internal, client, lifetime, body.external_port, insists, body.nonce, "PCP")
        lease = self._gateway.grant(request, now)
        if isinstance(lease, Refusal):
            left = seconds_left(held, now) if held is not None and lease is Refusal.NOT_YOURS else None
            raise PcpError(RESULT[lease], left)
        lease.allowed = allowed
        port, address = lease.external.port, octets(lease.external.address)
        return lifetime, body._replace(external_port=port, external_address=address).written()

    def _delete(self, body: MapBody, host: str, options: Sequence[Option], client: str, now: int) -> None:
        """End a mapping, or all of a protocol (port 0), or all (both 0): RFC 6887 section 15."""
        if body.internal_port and not body.protocol:
            raise PcpError(Result.MALFORMED_REQUEST)
        if any(option.code != OptionCode.THIRD_PARTY for option in options):
            raise PcpError(Result.MALFORMED_OPTION)
        for lease in self._gateway.of_host(host, now):
            of_protocol = PROTOCOLS.get(body.protocol) == lease.protocol or not body.protocol
            if not of_protocol or body.internal_port not in (0, lease.internal.port):
                continue
            ended = self._gateway.end(lease, client, body.nonce)
            if not ended and body.internal_port:  # of several, those are ended that can be
                raise PcpError(Result.NOT_AUTHORIZED, seconds_left(lease, now))

    # -- PEER: RFC 6887 section 12 -----------------------------------------------------------------------------------

    def _peer(self, body: PeerBody, host: str, lifetime: int, client: str, now: int) -> tuple[int, bytes]:
        """Make a mapping as a packet to that remote would: how long it lasts by itself, and the body of the answer.

        Its lifetime is the NAT's own, whatever was asked for, and so is the choice of the outside endpoint.
        """
        wanted, remote = body.mapping, ipv4(body.remote_address)
        if not (wanted.protocol and wanted.internal_port and body.remote_port) or remote is None:
            raise PcpError(Result.MALFORMED_REQUEST)
        protocol, internal = _socket(wanted, host)
        if not lifetime:
            raise PcpError(Result.NOT_AUTHORIZED)  # what packets have made cannot be ended by asking
        held = self._gateway.of_internal(protocol, internal, now)
        if held is not None and not self._gateway.may_change(held, client, wanted.nonce):
            raise PcpError(Result.NOT_AUTHORIZED, seconds_left(held, now))
        made = self._gateway.outbound(protocol, internal, Endpoint(remote, body.remote_port), now)
        if isinstance(made, Rule):
            raise PcpError(PEER_RESULT.get(made, Result.NO_RESOURCES))
        external, left = made
        assigned = wanted._replace(external_port=external.port, external_address=octets(external.address))
        return left, body._replace(mapping=assigned).written()


def _socket(body: MapBody, host: str) -> tuple[str, Endpoint]:
    """The protocol and the inside endpoint that a request is about: one port of one protocol, no wildcards."""
    if body.internal_port and not body.protocol:
        raise PcpError(Result.MALFORMED_REQUEST)
    if body.protocol not in PROTOCOLS or not body.internal_port:
        raise PcpError(Result.UNSUPP_PROTOCOL)
    return PROTOCOLS[body.protocol], Endpoint(host, body.internal_port)


def _filters(allowed: Sequence[tuple[str, int]], options: Sequence[Option]) -> list[tuple[str, int]]:
    """Whom a mapping admits, after the FILTERs of a request: they add to those that are there (RFC 6887 13.3)."""
    after = list(allowed)
    for option in options:
        if option.code == OptionCode.FILTER:
            added = read_filter(option)
            after = [*after, added] if added is not None else []
    if len(after) > MOST_FILTERS:
        raise PcpError(Result.EXCESSIVE_REMOTE_PEERS)
    return after
