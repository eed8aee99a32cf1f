"""The router as its port mapping protocols see it: who may have which outside port, and until when.

NAT-PMP, PCP and UPnP differ in their bytes and in their manners, but what they ask for is the same, and it is all
here: they share one list of leases (`natsim/nat/leases.py`), one rule for who may change a lease, one way to choose a
port.  A wish that is not granted gets a `Refusal`; each protocol has a table of what it calls those.

Touches the NAT's engine, no sockets and no bytes.  Times are integer nanoseconds, lifetimes whole seconds.
Next: `natpmp.py`, the shortest of the three protocols.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from ...packet import SYN, TCP, UDP, Endpoint, Packet
from ...scheduler import SECOND
from ..conntrack import Flow
from ..leases import Lease, Leases
from ..ports import TRIES, upwards
from ..table import Mapping
from ..verdict import Rule, Verdict

#: How many leases one inside host may have, unless told otherwise (RFC 6888 REQ-4): who wants more has lost count.
MOST_PER_HOST = 128

#: The longest lease in seconds, where the protocol itself names no limit (RFC 6887 section 15).
LONGEST = 24 * 3600

#: A lease without end; only IGD version 1 has such.
FOREVER = 2**63 - 1

#: What stands for "no address": the router has none outside, or a client prefers none.
NO_ADDRESS = "0.0.0.0"


class Engine(Protocol):
    """A NAT that grants leases: `NatEngine` or `LinuxNat`."""

    leases: Leases

    def outbound(self, packet: Packet, now: int) -> Verdict: ...

    def lease(self, lease: Lease, now: int) -> None: ...

    def table(self, now: int) -> Sequence[Mapping | Flow]: ...


class Refusal(enum.Enum):
    """Why a lease is not granted."""

    NO_ADDRESS = "this router has no outside address"
    NOT_YOURS = "the lease belongs to somebody else"
    QUOTA = "this host has as many leases as it may have"
    TAKEN = "somebody else has that outside port, and no other one will do"
    NO_PORT = "no outside port is left"


@dataclass(frozen=True)
class Request:
    """What a host asks for.

    `caller` is the address of the asker, `lifetime` in seconds (None: without end).  `port` is the outside port that
    it would like, 0 for any; if it `insists`, no other one will do.  `nonce` is PCP's secret, empty elsewhere.
    """

    protocol: str
    internal: Endpoint
    caller: str
    lifetime: int | None
    port: int = 0
    insists: bool = False
    nonce: bytes = b""
    description: str = ""


class Gateway:
    """One router, from `started` on.

    `translates` is False for a firewall, which opens doors but leaves addresses alone.  `quota` is how many leases one
    host may have (None: `MOST_PER_HOST`).  `trusted` are the inside hosts that may ask for others, too: PCP's
    THIRD_PARTY, and in UPnP another InternalClient.
    """

    def __init__(
        self,
        engine: Engine,
        started: int,
        *,
        translates: bool = True,
        quota: int | None = None,
        trusted: Collection[str] = (),
    ) -> None:
        self._engine = engine
        self._leases = engine.leases
        self._started = started
        self._translates = translates
        self._quota = MOST_PER_HOST if quota is None else quota
        self.trusted = trusted

    def epoch(self, now: int) -> int:
        """Seconds since the router lost its state last: by this number clients notice a reboot (RFC 6887 8.5)."""
        return (now - self._started) // SECOND

    def address_of(self, client: str) -> str | None:
        """The address under which the world knows an inside host; None while the router has none."""
        if not self._translates:
            return client
        return self._leases.external if self._leases.external != NO_ADDRESS else None

    # -- Asking for leases -------------------------------------------------------------------------------------------

    def grant(self, request: Request, now: int) -> Lease | Refusal:
        """A lease for an inside endpoint: the one that it has, renewed, or else a new one (NAT-PMP, PCP)."""
        held = self._leases.of_internal(request.protocol, request.internal, now)
        if held is None:
            return self._new(request, now)
        if not self.may_change(held, request.caller, request.nonce):
            return Refusal.NOT_YOURS
        if request.insists and request.port not in (0, held.external.port):
            return Refusal.TAKEN
        return self._renew(held, request, now)

    def grant_port(self, request: Request, now: int) -> Lease | Refusal:
        """A lease of exactly this outside port, whatever others the inside endpoint has (UPnP)."""
        request = replace(request, insists=True)
        held = self.at(request.protocol, request.internal.address, request.port, now)
        if held is None:
            return self._new(request, now)
        if held.internal.address != request.internal.address:
            return Refusal.TAKEN
        if not self.may_change(held, request.caller, request.nonce):
            return Refusal.NOT_YOURS
        if held.internal == request.internal:
            return self._renew(held, request, now)
        expires = held.expires
        self._leases.revoke(held)
        changed = self._new(request, now)
        if isinstance(changed, Refusal):  # somebody still talks through the old one: it stays
            held.expires = expires
            self._leases.grant(held)
        return changed

    def _renew(self, lease: Lease, request: Request, now: int) -> Lease:
        lease.expires = _expiry(request, now)
        lease.nonce = request.nonce
        lease.description = request.description
        return lease

    def _new(self, request: Request, now: int) -> Lease | Refusal:
        if self.address_of(request.internal.address) is None:
            return Refusal.NO_ADDRESS
        if len(self.of_host(request.internal.address, now)) >= self._quota:
            return Refusal.QUOTA
        for external in self._offers(request, now):
            lease = Lease(
                request.protocol,
                request.internal,
                external,
                _expiry(request, now),
                owner=request.caller,
                nonce=request.nonce,
                description=request.description,
            )
            self._engine.lease(lease, now)
            return lease
        return Refusal.TAKEN if request.insists else Refusal.NO_PORT

    # -- Choosing a port ---------------------------------------------------------------------------------------------

    def _offers(self, request: Request, now: int) -> Iterator[Endpoint]:
        """The outside endpoints that a request can have now, best first."""
        if not self._translates:
            if not request.insists or request.port in (0, request.internal.port):
                yield request.internal
            return
        for port in self._wishes(request, now):
            if self._is_free(request.protocol, request.internal, port, now):
                yield Endpoint(self._leases.external, port)

    def _wishes(self, request: Request, now: int) -> Iterator[int]:
        """The ports to try: the one asked for, those that the socket has already, its own, and upwards from there."""
        if request.port:
            yield request.port
            if request.insists:
                return
        companion = self._leases.of_internal(_other(request.protocol), request.internal, now)
        if companion is not None:
            yield companion.external.port
        for row in reversed(self._engine.table(now)):  # its packets leave by that port already (RFC 6887 11.3)
            internal, external = _ends(row)
            if (row.protocol, internal) == (request.protocol, request.internal):
                yield external.port
        yield from islice(upwards(request.internal.port), TRIES)

    def _is_free(self, protocol: str, internal: Endpoint, port: int, now: int) -> bool:
        """A port that is leased for TCP stays reserved for the same host's UDP, and the reverse (RFC 6886 3.3)."""
        companion = self._leases.of_external(_other(protocol), Endpoint(self._leases.external, port), now)
        if companion is not None and companion.internal.address != internal.address:
            return False
        return self._leases.grantable(protocol, internal, port, now)

    # -- Looking leases up, and ending them --------------------------------------------------------------------------

    def leases(self, now: int) -> list[Lease]:
        """All leases, oldest first."""
        return self._leases.rows(now)

    def of_host(self, address: str, now: int) -> list[Lease]:
        """The leases of an inside host, oldest first."""
        return [lease for lease in self.leases(now) if lease.internal.address == address]

    def of_internal(self, protocol: str, internal: Endpoint, now: int) -> Lease | None:
        """The lease of an inside endpoint."""
        return self._leases.of_internal(protocol, internal, now)

    def at(self, protocol: str, client: str, port: int, now: int) -> Lease | None:
        """The lease of an outside port.  (On a firewall every client has its own ports.)"""
        return self._leases.of_external(protocol, Endpoint(self.address_of(client) or NO_ADDRESS, port), now)

    def may_change(self, lease: Lease, caller: str, nonce: bytes = b"") -> bool:
        """Whoever asked for it, and whom it is for; and if PCP gave it a nonce, only who knows that (RFC 6887 11.3)."""
        known = caller in (lease.owner, lease.internal.address) or caller in self.trusted
        return known and lease.nonce in (b"", nonce)

    def end(self, lease: Lease, caller: str, nonce: bytes = b"") -> bool:
        """End a lease now, if the caller may."""
        if not self.may_change(lease, caller, nonce):
            return False
        self._leases.revoke(lease)
        return True

    # -- Mappings that packets make ----------------------------------------------------------------------------------

    def outbound(self, protocol: str, internal: Endpoint, remote: Endpoint, now: int) -> tuple[Endpoint, int] | Rule:
        """What the NAT does with a packet from `internal` to `remote`: the outside endpoint, and how long it lasts.

        The packet is made up, but its row is real, as RFC 6887 section 12 wants it.  Otherwise the rule that forbids
        the packet.
        """
        packet = Packet(protocol, internal, remote, flags=SYN if protocol == TCP else 0)
        verdict = self._engine.outbound(packet, now)
        if verdict.packet is None or verdict.rule is not Rule.TRANSLATED:
            return verdict.rule
        row = verdict.row
        if isinstance(row, Mapping):
            return verdict.packet.src, (row.sessions[remote].expires - now) // SECOND
        assert isinstance(row, Flow)
        return verdict.packet.src, (row.expires - now) // SECOND


def seconds_left(lease: Lease, now: int) -> int:
    """Whole seconds until a lease ends; 0 for one without end, as UPnP counts."""
    return 0 if lease.expires == FOREVER else (lease.expires - now) // SECOND


def _ends(row: Mapping | Flow) -> tuple[Endpoint, Endpoint]:
    """The inside and the outside endpoint of a line of the NAT's table."""
    return (row.internal, row.external) if isinstance(row, Mapping) else (row.src, row.reply_dst)


def _expiry(request: Request, now: int) -> int:
    return FOREVER if request.lifetime is None else now + request.lifetime * SECOND


def _other(protocol: str) -> str:
    return UDP if protocol == TCP else TCP
