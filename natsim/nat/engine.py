"""The NAT that the RFCs describe, as an engine: a packet and the time go in, a `Verdict` comes out.

Theory of operation
-------------------
A NAT keeps a table of **mappings**: an inside endpoint, and the outside endpoint under which the world knows it.
Each mapping has **sessions**, one for each remote endpoint it has met.  (`table.py` has both, and how they are found.)

*Outbound.*  A packet that belongs to a session goes by that session's mapping.  Otherwise the *mapping scope* of the
behavior decides whether an existing mapping will do (EIM: any of this inside endpoint; ADM, APDM: only one for that
remote address, or endpoint), or a new one is made (`allocation.py`: which address, which port).  The source is
rewritten, and the session noted: whoever is inside has now spoken to that remote.

*Inbound.*  The mapping is found by its outside endpoint.  The packet may enter if somebody inside has spoken to a
remote that the *filtering scope* cannot tell from its sender.  The destination is rewritten.

*Time.*  Each packet that passes starts its session's timer again.  A row is gone when all its sessions are.

Everything else is an exception to these three: packets to the NAT's own outside address turn round (hairpin), a SYN
that nobody asked for may be answered (`unsolicited.py`), ICMP errors follow the packet that they quote (`icmp.py`),
fragments follow the first one of their datagram (`fragments.py`), leases open a port for anybody (`leases.py`).
Linux is another kind of NAT (`linux.py`).

Times are integer nanoseconds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..packet import ICMP, RST, TCP, Endpoint, Packet
from ..scheduler import nanoseconds
from .alg import rewrite_payload
from .allocation import Allocator
from .behavior import Hairpin, NatBehavior
from .fragments import FragmentTranslator
from .icmp import translate_error
from .rules import ask_scope, ask_syn_policy
from .spelling import rule_name
from .table import Mapping, NatTable, Session
from .tcp_tracking import IN, OUT, Tracking, advance
from .unsolicited import Later
from .verdict import Rule, Verdict

if TYPE_CHECKING:
    from .leases import Lease


@dataclass(frozen=True)
class HeldSyn:
    """A SYN from outside that waits for a SYN from inside, and what it hears if none comes."""

    syn: Packet
    answer: Packet
    until: int


class NatEngine:
    """One NAT of the RFC 4787 family.

    `outbound` and `inbound` take a packet as it arrives and return what becomes of it.  `external` is the outside
    address, or all of them.
    """

    def __init__(self, behavior: NatBehavior, external: str | list[str], chance: random.Random) -> None:
        self.behavior = behavior
        self.addresses = [external] if isinstance(external, str) else list(external)
        self.rows = NatTable()
        self._allocator = Allocator(behavior, self.addresses, self.rows, chance)
        self.leases = self._allocator.leases
        self._held: dict[tuple[Endpoint, Endpoint], HeldSyn] = {}
        self._fragments_out = FragmentTranslator(self.outbound)
        self._fragments_in = FragmentTranslator(self.inbound)

    # -- Packets ---------------------------------------------------------------------------------------------------

    def outbound(self, packet: Packet, now: int) -> Verdict:
        """A packet from inside: give it an outside source."""
        if packet.fragment is not None:
            return self._fragments_out.judge(packet, now)
        if packet.is_icmp_error:
            return self._error_outbound(packet, now)
        mapping, new = self._mapping_for(packet, now)
        if isinstance(mapping, Verdict):
            return mapping
        self._note(self.rows.open_session(mapping, packet.dst, now), packet, OUT, now)
        translated = packet.rewritten(src=mapping.external)
        if self.behavior.alg:
            translated = rewrite_payload(translated, mapping.internal, mapping.external)
        if packet.is_initial_syn:
            self._held.pop((packet.dst, mapping.external), None)  # now it is no longer unsolicited (RFC 5382 REQ-4)
        if packet.dst.address in self.addresses:
            return self._hairpin(packet, translated, mapping, now)
        if new:
            why = "new row {}: the mapping is {}, the port comes from {} (RFC 4787 section 4)"
            rules = self.behavior.of(packet.protocol)
            facts = (mapping, rule_name(rules.mapping).replace("_", "-"), rule_name(rules.ports))
            return Verdict(Rule.TRANSLATED, why, facts, translated, row=mapping, new=True)
        return Verdict(Rule.TRANSLATED, "by row {}", (mapping,), translated, row=mapping)

    def inbound(self, packet: Packet, now: int) -> Verdict:
        """A packet from outside, addressed to the NAT: whose is it, and may it come in?"""
        if packet.fragment is not None:
            return self._fragments_in.judge(packet, now)
        if packet.is_icmp_error:
            return translate_error(packet, self._mapping_of_error_from_outside(packet, now), None)
        mapping = self._mapping_at(packet, now)
        if mapping is None:
            why = "no row for {}: nobody inside uses that port (or the row has expired)"
            return self._refuse(packet, Rule.NO_MAPPING, why, (packet.dst,), None, now)
        if not self._may_enter(mapping, packet.src, now):
            why = "no session of {} with {}; this NAT filters by {} (RFC 4787 section 5)"
            words = _FILTER_WORDS.get(rule_name(self.behavior.of(packet.protocol).filtering), "its own rule")
            return self._refuse(packet, Rule.FILTERED, why, (mapping.internal, packet.src, words), mapping, now)
        self._note(self.rows.open_session(mapping, packet.src, now), packet, IN, now)
        translated = packet.rewritten(dst=mapping.internal)
        if self.behavior.alg:
            translated = rewrite_payload(translated, mapping.external, mapping.internal)
        return Verdict(Rule.TRANSLATED, "by row {}", (mapping,), translated, row=mapping)

    def overdue(self, now: int) -> list[Verdict]:
        """What there is to say now of packets that were held: ask when a verdict's `until` has come."""
        late = [key for key, held in self._held.items() if held.until <= now]
        why = "no SYN from inside has matched it; answered after all (RFC 5382 REQ-4)"
        return [Verdict(Rule.NO_MAPPING, why, reply=self._turned(self._held.pop(key).answer, now)) for key in late]

    def table(self, now: int) -> list[Mapping]:
        """The rows that are alive, oldest first."""
        return list(self.rows.rows(now))

    def flush(self) -> None:
        """Forget every row and session, but no lease: its row is made again when a packet needs it."""
        self.rows.clear()
        self._held.clear()
        self._fragments_out.clear()
        self._fragments_in.clear()

    def reboot(self) -> None:
        """Forget every row, session and lease: the power was off."""
        self.flush()
        self.leases.clear()

    def renumber(self, address: str) -> None:
        """Have this outside address, and no other; whatever belonged to an old one is gone."""
        self.reboot()
        self.addresses[:] = [address]  # the allocator has the same list
        self.leases.external = address

    # -- Mappings --------------------------------------------------------------------------------------------------

    def _mapping_for(self, packet: Packet, now: int) -> tuple[Mapping | Verdict, bool]:
        """The mapping of an outbound packet, and whether it is new; a verdict when none can be made."""
        found = self._existing_mapping(packet.protocol, packet.src, packet.dst, now)
        if found is not None:
            return found, False
        scope = ask_scope(self.behavior.of(packet.protocol), "mapping", packet.dst)
        return self._allocator.new_mapping(packet, scope, now), True

    def _existing_mapping(self, protocol: str, internal: Endpoint, remote: Endpoint, now: int) -> Mapping | None:
        """That of their session; or of a lease; or one whose scope covers the remote."""
        session = self.rows.session(protocol, internal, remote, now)
        if session is not None:
            return session.mapping
        lease = self.leases.of_internal(protocol, internal, now)
        if lease is not None:
            return self._allocator.leased_mapping(lease, now)
        scope = ask_scope(self.behavior.of(protocol), "mapping", remote)
        return self.rows.inside(protocol, internal, scope, now)

    def _mapping_at(self, packet: Packet, now: int) -> Mapping | None:
        """The mapping behind the outside endpoint that an inbound packet is for."""
        lease = self.leases.of_external(packet.protocol, packet.dst, now)
        if lease is not None:
            return self._allocator.leased_mapping(lease, now)
        scope = ask_scope(self.behavior.of(packet.protocol), "mapping", packet.src)
        return self.rows.outside(packet.protocol, packet.dst, scope, now)

    def lease(self, lease: Lease, now: int) -> None:
        """Enter a lease that was asked for; its row stands in the table from now on."""
        self.leases.grant(lease)
        self._allocator.leased_mapping(lease, now)

    # -- Filters ---------------------------------------------------------------------------------------------------

    def _may_enter(self, mapping: Mapping, remote: Endpoint, now: int) -> bool:
        """Has somebody inside sent to a remote that the filtering scope cannot tell from this one?"""
        if mapping.lease is not None and mapping.lease.expires > now and mapping.lease.admits(remote):
            return True
        return mapping.door_is_open(ask_scope(self.behavior.of(mapping.protocol), "filtering", remote), now)

    def _refuse(
        self, packet: Packet, rule: Rule, why: str, facts: tuple[object, ...], mapping: Mapping | None, now: int
    ) -> Verdict:
        """Drop a packet from outside, and answer it if it is a SYN and the behavior says so."""
        answer = ask_syn_policy(self.behavior, packet) if packet.is_initial_syn else None
        if answer is None:
            return Verdict(rule, why, facts, row=mapping)
        if isinstance(answer, Later):
            return self._hold(packet, answer, why, facts, mapping, now)
        why += "; this NAT answers a stray SYN by {} (RFC 5382 REQ-4)"
        return Verdict(rule, why, (*facts, rule_name(self.behavior.unsolicited_syn)), reply=answer, row=mapping)

    def _hold(
        self, syn: Packet, later: Later, why: str, facts: tuple[object, ...], mapping: Mapping | None, now: int
    ) -> Verdict:
        """Keep quiet about a SYN for a while; a repetition of it does not begin the wait anew."""
        key = (syn.src, syn.dst)
        if key not in self._held:
            self._held[key] = HeldSyn(syn, later.answer, now + nanoseconds(later.seconds))
        why += "; held for {:g} s, in case that a SYN from inside matches it (RFC 5382 REQ-4)"
        facts = (*facts, later.seconds)
        return Verdict(Rule.SYN_HELD, why, facts, row=mapping, until=self._held[key].until)

    # -- Round and back --------------------------------------------------------------------------------------------

    def _hairpin(self, packet: Packet, translated: Packet, mapping: Mapping, now: int) -> Verdict:
        """A packet from inside to the NAT's own outside address (RFC 4787 section 6)."""
        if self.behavior.hairpin is Hairpin.NONE:
            why = "{} is this NAT's own outside address, and it does not hairpin (RFC 4787 REQ-9)"
            return Verdict(Rule.NO_HAIRPIN, why, (packet.dst,), row=mapping)
        verdict = self.inbound(translated, now)
        if verdict.packet is not None:
            verdict.rule = Rule.HAIRPINNED
            if self.behavior.hairpin is Hairpin.INTERNAL:
                verdict.packet = verdict.packet.rewritten(src=packet.src)
        elif verdict.reply is not None:
            verdict.reply = self._turned(verdict.reply, now)
        return verdict

    def _turned(self, answer: Packet, now: int) -> Packet | None:
        """An answer of this NAT: if it is for the NAT's own outside address, it turns round here as its cause did."""
        return self.inbound(answer, now).packet if answer.dst.address in self.addresses else answer

    def _error_outbound(self, error: Packet, now: int) -> Verdict:
        """An ICMP error from inside, for the outside or, about a hairpinned packet, for the inside again."""
        quoted = error.quoted
        assert quoted is not None
        mapping = self._existing_mapping(quoted.protocol, quoted.dst, quoted.src, now)
        verdict = translate_error(error, mapping, self.addresses[0] if self.behavior.translate else error.src.address)
        if verdict.packet is not None and error.dst.address in self.addresses:
            error = verdict.packet
            return translate_error(error, self._mapping_of_error_from_outside(error, now), None)
        return verdict

    def _mapping_of_error_from_outside(self, error: Packet, now: int) -> Mapping | None:
        """An ICMP error from outside quotes a packet as it left the NAT.

        A firewall lets it in if it would let in whom that packet was for (RFC 6092 REC-18 and REC-36).
        """
        quoted = error.quoted
        assert quoted is not None
        scope = ask_scope(self.behavior.of(quoted.protocol), "mapping", quoted.dst)
        mapping = self.rows.outside(quoted.protocol, quoted.src, scope, now)
        if mapping is None or self.behavior.translate or self._may_enter(mapping, quoted.dst, now):
            return mapping
        return None

    # -- Timers ----------------------------------------------------------------------------------------------------

    def _note(self, session: Session, packet: Packet, direction: str, now: int) -> None:
        """A packet of this session passes: open its door, follow its TCP, start its timer again."""
        fresh = session.expires <= now
        if direction == OUT:
            session.sent += 1
            session.opened = True
            scope = ask_scope(self.behavior.of(packet.protocol), "filtering", session.remote)
            session.mapping.doors.setdefault(scope, {})[session.remote] = session
            refreshes = self.behavior.refresh_outbound
        else:
            session.received += 1
            refreshes = self.behavior.refresh_inbound or packet.protocol == TCP
        if packet.protocol == TCP:
            session.tracking = advance(session.tracking, direction, packet.flags)
        expires = now + nanoseconds(self._lifetime(session, packet))
        if packet.protocol == TCP and packet.flags & RST and not fresh:
            session.expires = min(session.expires, expires)  # a RST never lengthens a life (RFC 7857 section 7.1)
        elif refreshes:
            session.expires = expires
        elif fresh:  # it may pass, but it keeps nothing alive that would have expired without it
            session.expires = expires if direction == OUT else min(expires, session.mapping.expires())

    def _lifetime(self, session: Session, packet: Packet) -> float:
        """How long this session may now be idle, in seconds."""
        timeouts = self.behavior.timeouts
        if packet.protocol == ICMP:
            return timeouts.icmp
        if packet.protocol == TCP:
            match session.tracking:
                case Tracking.ESTABLISHED:
                    return timeouts.tcp_established
                case Tracking.OUT_FIN | Tracking.IN_FIN:
                    return _first(timeouts.tcp_half_closed, timeouts.tcp_established)
                case Tracking.BOTH_FIN:
                    return timeouts.tcp_closing
                case Tracking.TRANS:
                    return timeouts.tcp_reset
                case _:
                    return timeouts.tcp_opening
        if timeouts.udp_well_known is not None and session.remote.port < 1024:
            return timeouts.udp_well_known
        if session.received:
            return timeouts.udp
        unreplied = _first(timeouts.udp_unreplied, timeouts.udp)
        return unreplied if session.sent > 1 else _first(timeouts.udp_first, unreplied)


def _first(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


_FILTER_WORDS = {
    "endpoint_independent": "nothing but the row itself",
    "address_dependent": "address",
    "address_and_port_dependent": "address and port",
}
