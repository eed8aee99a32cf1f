"""The NAT that the RFCs describe, as an engine: a packet and the time go in, a `Verdict` comes out.

Theory of operation
-------------------
A NAT keeps two tables, as RFC 7857 does:

* A **mapping** ties an inside endpoint to an outside endpoint of the NAT.  It is found from inside under the key
  `(protocol, inside endpoint, scope of the destination)`: the *mapping scope* of the behavior decides whether a
  second destination finds the same row (EIM) or makes a new one (ADM, APDM).  It is found from outside under
  `(protocol, outside endpoint)`.
* Each mapping has **sessions**, one for each remote endpoint it has met.  A packet from outside may enter if
  somebody inside has already sent to a remote that the *filtering scope* cannot tell from its sender.

Everything else follows.  Outbound: find or make the mapping, note the session, rewrite the source.  Inbound:
find the mapping, ask the filter, rewrite the destination.  Rows die when all their sessions have been idle for
longer than the behavior's timeout.

What is not here: choosing ports (`ports.py`), the states of TCP (`tcp_tracking.py`), ICMP errors (`icmp.py`),
and Linux, which is another kind of NAT (`linux.py`).  Times are integer nanoseconds.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from ..packet import ICMP, TCP, Endpoint, Packet
from ..scheduler import nanoseconds
from .behavior import NatBehavior, rule_name
from .icmp import translate_error
from .ports import TRIES, RuleError, Wish
from .tcp_tracking import IN, OUT, Tracking, advance
from .verdict import Rule, Verdict


@dataclass(slots=True, eq=False)
class Session:
    """What a mapping knows of one remote endpoint.  `opened`: somebody inside has sent to it."""

    remote: Endpoint
    expires: int
    opened: bool = False
    tracking: Tracking = Tracking.INIT


@dataclass(slots=True, eq=False)
class Mapping:
    """One row of the NAT table: `internal` is known outside as `external`, to those remotes that `scope` covers."""

    protocol: str
    internal: Endpoint
    external: Endpoint
    scope: Hashable
    sessions: dict[Endpoint, Session] = field(default_factory=dict)

    def alive(self, now: int) -> bool:
        """True while any session has not expired."""
        return any(session.expires > now for session in self.sessions.values())

    def __str__(self) -> str:
        return f"{self.protocol} {self.internal} <-> {self.external}"


class NatEngine:
    """One NAT of the RFC 4787 family, with one outside address.

    `outbound` and `inbound` take a packet as it arrives and return what becomes of it.
    """

    def __init__(self, behavior: NatBehavior, external: str, chance: random.Random) -> None:
        self.behavior = behavior
        self.external = external
        self._random = chance
        self._previous_port = chance.randint(20_000, 40_000)
        self._from_inside: dict[tuple[str, Endpoint, Hashable], Mapping] = {}
        self._from_outside: dict[tuple[str, Endpoint], Mapping] = {}

    # -- Packets ---------------------------------------------------------------------------------------------------

    def outbound(self, packet: Packet, now: int) -> Verdict:
        """A packet from inside: give it an outside source."""
        if packet.protocol == ICMP:
            return self._error_outbound(packet, now)
        mapping, new = self._mapping_for(packet, now)
        if mapping is None:
            return Verdict(
                Rule.PORTS_EXHAUSTED, "{} offered no free port for {}", (rule_name(self.behavior.ports), packet.src)
            )
        session = mapping.sessions.get(packet.dst)
        if session is None or session.expires <= now:
            session = mapping.sessions[packet.dst] = Session(packet.dst, now)
        session.opened = True
        self._track(session, packet, OUT, now)
        translated = packet.rewritten(src=mapping.external)
        if packet.dst.address == self.external:
            return self._hairpin(translated, mapping, now)
        if new:
            why = "new row {}: the mapping is {}, the port comes from {} (RFC 4787 section 4)"
            facts = (mapping, rule_name(self.behavior.mapping).replace("_", "-"), rule_name(self.behavior.ports))
            return Verdict(Rule.TRANSLATED, why, facts, translated, row=mapping, new=True)
        return Verdict(Rule.TRANSLATED, "by row {}", (mapping,), translated, row=mapping)

    def inbound(self, packet: Packet, now: int) -> Verdict:
        """A packet from outside, addressed to the NAT: whose is it, and may it come in?"""
        if packet.protocol == ICMP:
            return translate_error(packet, self.mapping_outside(packet, now), None)
        mapping = self._from_outside.get((packet.protocol, packet.dst))
        if mapping is None or not mapping.alive(now):
            why = "no row for {}: nobody inside uses that port (or the row has expired)"
            return self._refuse(packet, Rule.NO_MAPPING, why, (packet.dst,), None)
        if not self._may_enter(mapping, packet.src, now):
            why = "no session of {} with {}; this NAT filters by {} (RFC 4787 section 5)"
            facts = (
                mapping.internal,
                packet.src,
                _FILTER_WORDS.get(rule_name(self.behavior.filtering), "its own rule"),
            )
            return self._refuse(packet, Rule.FILTERED, why, facts, mapping)
        if self.behavior.refresh_inbound or packet.protocol == TCP:
            session = mapping.sessions.get(packet.src)
            if session is None or session.expires <= now:
                session = mapping.sessions[packet.src] = Session(packet.src, now)
            self._track(session, packet, IN, now)
        translated = packet.rewritten(dst=mapping.internal)
        return Verdict(Rule.TRANSLATED, "by row {}", (mapping,), translated, row=mapping)

    def table(self, now: int) -> list[Mapping]:
        """The rows that are alive, oldest first."""
        return [mapping for mapping in self._from_outside.values() if mapping.alive(now)]

    # -- Mappings --------------------------------------------------------------------------------------------------

    def _mapping_for(self, packet: Packet, now: int) -> tuple[Mapping | None, bool]:
        """The mapping of an outbound packet, and whether it is new; None when no port is left."""
        key = (packet.protocol, packet.src, self._mapping_scope(packet.dst))
        mapping = self._from_inside.get(key)
        if mapping is not None and mapping.alive(now):
            return mapping, False
        if mapping is not None:
            self._forget(mapping)
        port = self._choose_port(packet, now)
        if port is None:
            return None, False
        mapping = Mapping(packet.protocol, packet.src, Endpoint(self.external, port), key[2])
        self._from_inside[key] = mapping
        self._from_outside[packet.protocol, mapping.external] = mapping
        return mapping, True

    def _mapping_scope(self, remote: Endpoint) -> Hashable:
        scope = self.behavior.mapping(remote)
        try:
            hash(scope)
        except TypeError:
            name = rule_name(self.behavior.mapping)
            raise RuleError(f"the mapping scope {name} returned {scope!r}; it must return something hashable") from None
        return scope

    def _choose_port(self, packet: Packet, now: int) -> int | None:
        """The first free port that the behavior's port assignment proposes."""
        rule = self.behavior.ports
        wish = Wish(packet.protocol, packet.src, packet.dst, self._previous_port, self._random)
        proposals = rule(wish)
        if not isinstance(proposals, Iterable):
            raise RuleError(f"the port assignment {rule_name(rule)} returned {proposals!r}; it must yield ports")
        for port in islice(proposals, TRIES):
            if not isinstance(port, int) or not 0 < port < 65536:
                raise RuleError(f"the port assignment {rule_name(rule)} proposed {port!r}; a port is 1 to 65535")
            taken = self._from_outside.get((packet.protocol, Endpoint(self.external, port)))
            if taken is not None and taken.alive(now):
                continue
            if taken is not None:
                self._forget(taken)
            self._previous_port = port
            return port
        return None

    def _forget(self, mapping: Mapping) -> None:
        del self._from_inside[mapping.protocol, mapping.internal, mapping.scope]
        del self._from_outside[mapping.protocol, mapping.external]

    def mapping_inside(self, error: Packet, now: int) -> Mapping | None:
        """The mapping that an ICMP error from inside is about: it quotes a packet as it arrived inside."""
        quoted = error.quoted
        if quoted is None:
            return None
        mapping = self._from_inside.get((quoted.protocol, quoted.dst, self._mapping_scope(quoted.src)))
        return mapping if mapping is not None and mapping.alive(now) else None

    def mapping_outside(self, error: Packet, now: int) -> Mapping | None:
        """The mapping that an ICMP error from outside is about: it quotes a packet as it left the NAT."""
        quoted = error.quoted
        if quoted is None:
            return None
        mapping = self._from_outside.get((quoted.protocol, quoted.src))
        return mapping if mapping is not None and mapping.alive(now) else None

    # -- Filters ---------------------------------------------------------------------------------------------------

    def _may_enter(self, mapping: Mapping, remote: Endpoint, now: int) -> bool:
        """Has somebody inside sent to a remote that the filtering scope cannot tell from this one?"""
        known = mapping.sessions.get(remote)
        if known is not None and known.opened and known.expires > now:
            return True
        scope = self.behavior.filtering
        wanted = scope(remote)
        return any(s.opened and s.expires > now and scope(s.remote) == wanted for s in mapping.sessions.values())

    def _refuse(
        self, packet: Packet, rule: Rule, why: str, facts: tuple[object, ...], mapping: Mapping | None
    ) -> Verdict:
        """Drop a packet from outside, and answer it if it is a SYN and the behavior says so."""
        answer = self.behavior.unsolicited_syn(packet) if packet.is_initial_syn else None
        if answer is None:
            return Verdict(rule, why, facts, row=mapping)
        if not isinstance(answer, Packet):
            name = rule_name(self.behavior.unsolicited_syn)
            raise RuleError(f"the SYN policy {name} returned {answer!r}; it must return a Packet or None")
        why += "; this NAT answers a stray SYN by {} (RFC 5382 REQ-4)"
        return Verdict(rule, why, (*facts, rule_name(self.behavior.unsolicited_syn)), reply=answer, row=mapping)

    def _hairpin(self, packet: Packet, mapping: Mapping, now: int) -> Verdict:
        """A packet from inside to the NAT's own outside address (RFC 4787 section 6)."""
        if not self.behavior.hairpin:
            why = "{} is this NAT's own outside address, and it does not hairpin (RFC 4787 REQ-9)"
            return Verdict(Rule.NO_HAIRPIN, why, (packet.dst,), row=mapping)
        verdict = self.inbound(packet, now)
        if verdict.passed:
            verdict.rule = Rule.HAIRPINNED
        elif verdict.reply is not None:
            verdict.reply = self.inbound(verdict.reply, now).packet  # the answer turns back here, too
        return verdict

    def _error_outbound(self, error: Packet, now: int) -> Verdict:
        """An ICMP error from inside, for the outside or, about a hairpinned packet, for the inside again."""
        verdict = translate_error(error, self.mapping_inside(error, now), self.external)
        if verdict.packet is not None and error.dst.address == self.external:
            return translate_error(verdict.packet, self.mapping_outside(verdict.packet, now), None)
        return verdict

    # -- Timers ----------------------------------------------------------------------------------------------------

    def _track(self, session: Session, packet: Packet, direction: str, now: int) -> None:
        """A packet of this session has passed: note TCP's progress, and start its timer again."""
        if packet.protocol == TCP:
            session.tracking = advance(session.tracking, direction, packet.flags)
        session.expires = now + self._lifetime(session, packet.protocol)

    def _lifetime(self, session: Session, protocol: str) -> int:
        timeouts = self.behavior.timeouts
        if protocol != TCP:
            return nanoseconds(timeouts.udp)
        return nanoseconds(timeouts.tcp_established if session.tracking.established else timeouts.tcp_transitory)


_FILTER_WORDS = {
    "endpoint_independent": "nothing but the row itself",
    "address_dependent": "address",
    "address_and_port_dependent": "address and port",
}
