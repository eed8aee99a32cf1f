"""Making a new mapping: which outside address, which outside port, and what to do when there is none left.

The order is that of RFC 4787 section 4: pooling picks the address, the port assignment proposes ports, and the first
one that is free is taken.  What "free" means is the overloading rule; limits come first.  Used by `engine.py`.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Any

from ..icmp_error import PROHIBITED, icmp_error
from ..packet import Endpoint, Packet
from ..scheduler import nanoseconds
from .behavior import NatBehavior, Overloading, WhenFull
from .leases import Lease, Leases
from .ports import Wish
from .rules import ask_pooling, ask_ports, ask_scope
from .spelling import rule_name
from .table import Mapping, NatTable
from .verdict import Rule, Verdict

#: The first half of the mapping scope of rows that were asked for by PCP, NAT-PMP or UPnP; the other is the port.
LEASED = "leased"


class Allocator:
    """Makes the mappings of one NAT.  `addresses` are its outside addresses."""

    def __init__(self, behavior: NatBehavior, addresses: list[str], table: NatTable, chance: random.Random) -> None:
        self.behavior = behavior
        self.addresses = addresses
        self.leases = Leases(addresses[0], self._may_lease)
        self._table = table
        self._random = chance
        self._previous_port = chance.randint(20_000, 40_000)
        self._memory: dict[str, Any] = {}

    def new_mapping(self, packet: Packet, scope: Hashable, now: int) -> Mapping | Verdict:
        """A new row for an outbound packet, or the verdict that there can be none."""
        refusal = self._limit(packet, now)
        if refusal is not None:
            return refusal
        if not self.behavior.translate:
            return self._add(Mapping(packet.protocol, packet.src, packet.src, scope))
        external = self._free_endpoint(packet, scope, now)
        if external is None and self.behavior.when_full is WhenFull.EVICT:
            self._evict(None, now)
            external = self._free_endpoint(packet, scope, now)
        if external is None:
            facts = (rule_name(self.behavior.of(packet.protocol).ports), packet.src)
            return self._full(Rule.PORTS_EXHAUSTED, "{} offered no free port for {}", facts, packet)
        return self._add(Mapping(packet.protocol, packet.src, external, scope))

    def leased_mapping(self, lease: Lease, now: int) -> Mapping:
        """The row of a lease."""
        scope = (LEASED, lease.external)  # UPnP may give an inside endpoint several
        mapping = self._table.inside(lease.protocol, lease.internal, scope, now)
        if mapping is None or mapping.lease is not lease:
            mapping = self._add(Mapping(lease.protocol, lease.internal, lease.external, scope, lease))
        return mapping

    def _add(self, mapping: Mapping) -> Mapping:
        self._table.add(mapping)
        return mapping

    # -- Ports -------------------------------------------------------------------------------------------------------

    def _free_endpoint(self, packet: Packet, scope: Hashable, now: int) -> Endpoint | None:
        behavior = self.behavior.of(packet.protocol)
        address = ask_pooling(behavior, packet.src.address, self.addresses, self._random)
        wish = Wish(packet.protocol, packet.src, packet.dst, self._previous_port, self._random, self._memory)
        for port in ask_ports(behavior, wish):
            external = Endpoint(address, port)
            if self._is_free(packet.protocol, packet.src, external, scope, now):
                self._previous_port = port
                return external
        return None

    def _is_free(self, protocol: str, internal: Endpoint, external: Endpoint, scope: Hashable, now: int) -> bool:
        """May a mapping of this scope have that outside endpoint?  Expired rows that had it are cleared away."""
        lease = self.leases.of_external(protocol, external, now)
        if lease is not None and lease.internal != internal:
            return False
        for row in list(self._table.at(protocol, external)):
            if row.alive(now):
                if not self._may_share(row, scope, now):
                    return False
            elif row.expires() + nanoseconds(self.behavior.port_hold) > now and row.internal != internal:
                return False
            else:
                self._table.remove(row)
        return True

    def _may_share(self, row: Mapping, scope: Hashable, now: int) -> bool:
        """May a mapping of this scope have the outside endpoint of `row`, too?"""
        rules = self.behavior.of(row.protocol)
        match rules.overloading:
            case Overloading.NEVER:
                return False
            case Overloading.OTHER_DESTINATIONS:  # not if the filter has let in one of those remotes by that row
                met = (s.remote for s in row.sessions.values() if s.expires > now)
                others = all(ask_scope(rules, "mapping", remote) != scope for remote in met)
                return row.lease is None and row.scope != scope and others
            case Overloading.ALWAYS:
                return True

    def _may_lease(self, protocol: str, internal: Endpoint, external: Endpoint, now: int) -> bool:
        """A lease is for the whole world, so no other inside endpoint may use that outside endpoint at all."""
        return all(row.internal == internal or not row.alive(now) for row in self._table.at(protocol, external))

    # -- Limits ------------------------------------------------------------------------------------------------------

    def _limit(self, packet: Packet, now: int) -> Verdict | None:
        """The refusal of a packet whose host, or whose NAT, has as many mappings as it may have."""
        host = packet.src.address
        for limit, owner, whose in (
            (self.behavior.max_mappings_per_host, host, host),
            (self.behavior.max_mappings, None, "this NAT"),
        ):
            if limit is None or sum(1 for _ in self._table.rows(now, owner)) < limit:
                continue
            if self.behavior.when_full is WhenFull.EVICT:
                self._evict(owner, now)
                continue
            why = "{} has {} mappings, and may have no more (RFC 6888 REQ-4)"
            return self._full(Rule.LIMIT, why, (whose, limit), packet)
        return None

    def _evict(self, host: str | None, now: int) -> None:
        """Throw out the row that would expire first."""
        rows = [row for row in self._table.rows(now, host) if row.lease is None]
        if rows:
            self._table.remove(min(rows, key=Mapping.expires))

    def _full(self, rule: Rule, why: str, facts: tuple[object, ...], packet: Packet) -> Verdict:
        if self.behavior.when_full is not WhenFull.ANSWER:
            return Verdict(rule, why, facts)
        answer = icmp_error(self.addresses[0], packet, PROHIBITED)
        return Verdict(rule, why + "; answered with ICMP type 3 code 13 (RFC 5508 REQ-8)", facts, reply=answer)
