"""Leases: the mappings that inside hosts have asked the router for, by PCP, NAT-PMP or UPnP (RFC 6887 section 11).

A lease gives an inside endpoint an outside port, for a time, whatever it talks to; anybody may then come in, unless
the lease names who.  All protocols of `port_mapping/` share this one list, and the NAT's own table respects it:
a leased port is given to nobody else.  Times are integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from ..packet import Endpoint


@dataclass(slots=True, eq=False)
class Lease:
    """One granted mapping.  `owner` is the inside address that may change it, `nonce` what PCP knows it by.

    `allowed`: who may come in, as (network, port) with port 0 for any; empty for everybody (RFC 6887 section 13.3).
    """

    protocol: str
    internal: Endpoint
    external: Endpoint
    expires: int
    owner: str = ""
    nonce: bytes = b""
    description: str = ""
    allowed: list[tuple[str, int]] = field(default_factory=list)

    def admits(self, remote: Endpoint) -> bool:
        """May this remote endpoint come in?"""
        if not self.allowed:
            return True
        return any(
            ip_address(remote.address) in ip_network(network) and port in (0, remote.port)
            for network, port in self.allowed
        )

    def __str__(self) -> str:
        return f"{self.protocol} {self.internal} <-> {self.external} (leased)"


#: May this inside endpoint have this outside endpoint now, as far as the NAT's own table goes?
IsFree = Callable[[str, Endpoint, Endpoint, int], bool]


class Leases:
    """All leases of one NAT.  `is_free` asks the NAT's table."""

    def __init__(self, external: str, is_free: IsFree) -> None:
        self.external = external
        self._is_free = is_free
        self._by_internal: dict[tuple[str, Endpoint], Lease] = {}
        self._by_external: dict[tuple[str, Endpoint], Lease] = {}

    def of_internal(self, protocol: str, internal: Endpoint, now: int) -> Lease | None:
        """The lease that an inside endpoint has; the newest, if it has several outside ports (UPnP allows that)."""
        return _alive(self._by_internal.get((protocol, internal)), now)

    def of_external(self, protocol: str, external: Endpoint, now: int) -> Lease | None:
        """The lease of an outside endpoint."""
        return _alive(self._by_external.get((protocol, external)), now)

    def rows(self, now: int) -> list[Lease]:
        """The leases that are alive, oldest first."""
        return [lease for lease in self._by_external.values() if lease.expires > now]

    def grantable(self, protocol: str, internal: Endpoint, port: int, now: int) -> bool:
        """Could this inside endpoint lease this outside port now?"""
        external = Endpoint(self.external, port)
        held = self.of_external(protocol, external, now)
        return (held is None or held.internal == internal) and self._is_free(protocol, internal, external, now)

    def grant(self, lease: Lease) -> None:
        """Enter a lease; it replaces an earlier one of the same outside endpoint."""
        stale = self._by_external.get((lease.protocol, lease.external))
        if stale is not None:
            self.revoke(stale)
        self._by_internal[lease.protocol, lease.internal] = lease
        self._by_external[lease.protocol, lease.external] = lease

    def revoke(self, lease: Lease) -> None:
        """End a lease now.  Sessions that it has let in go on until they are idle."""
        lease.expires = 0
        for index, key in (
            (self._by_internal, (lease.protocol, lease.internal)),
            (self._by_external, (lease.protocol, lease.external)),
        ):
            if index.get(key) is lease:
                del index[key]

    def clear(self) -> None:
        """Forget all leases, as a router does that loses its power."""
        self._by_internal.clear()
        self._by_external.clear()


def _alive(lease: Lease | None, now: int) -> Lease | None:
    return lease if lease is not None and lease.expires > now else None
