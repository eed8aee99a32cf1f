"""Linux as a NAT: netfilter's connection tracking with masquerade, as measured on Linux 6.18.

Linux is not one of the nine boxes of RFC 4787.  It has one table of *flows* (`conntrack.py`), each with the tuple of
its original direction and that of replies.  A packet belongs to the flow that has its tuple; nothing else may enter, so
the filter is address-and-port-dependent.  A new flow's outside port is

1. that of another flow of the same inside socket, if the tuple is free (so it *looks* endpoint-independent);
2. else the inside port itself, if the tuple is free.  The tuple, not the port: two inside hosts may share an
   outside port towards different destinations;
3. else random.  With `masquerade fully-random`, always this.

And the trap: a datagram from outside that the NAT host itself *accepts* makes a flow too.  If the peer's punch comes
early and is accepted, its tuple is taken, our own flow towards the peer gets another port, and the punch fails.
A dropped or rejected packet makes no flow; and a SYN that is answered with a RST leaves none behind either.

What is *invalid* (a SYN,ACK or a RST of no flow, a segment beyond the window) is not translated: from inside it is
dropped, lest a private address leak out; from outside it is for the router itself, like everything that has no flow.

Sources: nf_nat_core.c (`get_unique_tuple`), and measurements (`tests/kernel/test_kernel_nat_facts.py`).  The same
`LinuxBehavior` makes a real NAT in the kernel world.  Next: `conntrack_tcp.py`, and `linux_facts.py`, the proof.
"""

from __future__ import annotations

import random

from ..icmp_error import PORT_UNREACHABLE, icmp_error
from ..packet import ICMP, TCP, UDP, Endpoint, Packet
from ..tcp_refusal import reset_for
from .conntrack import OPPOSITE, QUERIES, Conntrack, icmp_type, may_begin
from .conntrack import Flow as Flow
from .conntrack_tcp import ORIGINAL, REPLY
from .conntrack_tracking import Fate
from .leases import Lease, Leases
from .linux_behavior import LinuxBehavior as LinuxBehavior
from .linux_behavior import LinuxTimeouts as LinuxTimeouts
from .linux_behavior import Masquerade as Masquerade
from .linux_behavior import WanInput as WanInput
from .verdict import Rule, Verdict

#: From a random start so many ports upwards; then again from other starts (nf_nat_l4proto_unique_tuple).
TRIES = (128, 64, 32, 16, 8)


class LinuxNat:
    """Connection tracking and masquerade of one router with one outside address."""

    def __init__(self, behavior: LinuxBehavior, external: str, chance: random.Random) -> None:
        self.behavior = behavior
        self.external = external
        self.leases = Leases(external, _no_rule_forbids)
        self._random = chance
        self._conntrack = Conntrack(behavior.timeouts)

    # -- Packets ---------------------------------------------------------------------------------------------------

    def outbound(self, packet: Packet, now: int) -> Verdict:
        """A packet from inside."""
        if packet.is_icmp_error:
            return self._error(packet, now)
        if packet.dst.address == self.external:
            why = "{} is this router's own address; Linux does not hairpin without extra rules"
            return Verdict(Rule.NO_HAIRPIN, why, (packet.dst,), reply=self._own_answer(packet))
        if self.behavior.block_udp and packet.protocol == UDP:
            return Verdict(Rule.POLICY, "this firewall lets no UDP out")
        flow, fate = self._known(packet, now)
        if flow is None and may_begin(packet):
            source = self._choose_source(packet, now)
            if source is None:
                return Verdict(Rule.PORTS_EXHAUSTED, "no outside port is free for {} > {}", (packet.src, packet.dst))
            return self._new_flow(packet, (source, packet.dst), now)
        if flow is None or fate is Fate.INVALID:
            why = "conntrack takes this for no packet of {}, and what is invalid does not leave"
            return Verdict(Rule.INVALID, why, (flow or "any flow",), row=flow)
        return self._along(flow, packet)

    def inbound(self, packet: Packet, now: int) -> Verdict:
        """A packet from outside."""
        if packet.is_icmp_error:
            return self._error(packet, now)
        flow, fate = self._known(packet, now)
        if flow is not None and self._is_local(flow):
            return self._taken(flow, packet, now, new=False)
        if flow is not None and fate is Fate.INVALID:
            why = "conntrack takes no such segment from outside for flow {}, which is in state {}"
            return self._stray(packet, Rule.INVALID, why, (flow, flow.state), flow, now)
        if flow is not None:
            return self._along(flow, packet)
        lease = self.leases.of_external(packet.protocol, packet.dst, now)
        if lease is not None and lease.admits(packet.src) and may_begin(packet):
            return self._by_lease(lease, packet, now)
        why = (
            "no flow {} > {}: conntrack knows whole flows only, so it filters by address and port (RFC 4787 section 5)"
        )
        return self._stray(packet, Rule.FILTERED, why, (packet.src, packet.dst), None, now)

    def overdue(self, now: int) -> list[Verdict]:
        """Linux holds no packet back, so there is never anything to say later."""
        return []

    def flush(self) -> None:
        """Forget every flow, but no lease: `conntrack -F`."""
        self._conntrack.clear()

    def reboot(self) -> None:
        """Forget every flow and lease: the power was off."""
        self.flush()
        self.leases.clear()

    def renumber(self, address: str) -> None:
        """Have another outside address.  Masquerading drops its flows when the interface loses the old one."""
        self.reboot()
        self.external = self.leases.external = address

    def table(self, now: int) -> list[Flow]:
        """The flows that are alive, oldest first."""
        return self._conntrack.rows(now)

    def lease(self, lease: Lease, now: int) -> None:
        """Enter a lease that was asked for: a rule that sends new flows to its outside port inwards (DNAT)."""
        self.leases.grant(lease)

    # -- Flows -----------------------------------------------------------------------------------------------------

    def _known(self, packet: Packet, now: int) -> tuple[Flow | None, Fate]:
        """The flow of a packet, which has been noted in it; no flow if the packet ended it, to begin another."""
        flow = self._conntrack.find((packet.protocol, icmp_type(packet), packet.src, packet.dst), now)
        if flow is None or self._is_local(flow):
            return flow, Fate.PASSES
        fate = self._conntrack.follow(flow, packet, now)
        return (None if fate is Fate.ANEW else flow), fate

    def _new_flow(
        self, packet: Packet, leaves_as: tuple[Endpoint, Endpoint], now: int, lease: Lease | None = None
    ) -> Verdict:
        flow = self._conntrack.add(packet, leaves_as, now)
        self._conntrack.follow(flow, packet, now)
        verdict = self._along(flow, packet)
        kept = "keeps the port" if flow.src.port == flow.reply_dst.port else "gets another port"
        verdict.why, verdict.facts, verdict.new = "new flow {}: {} {}", (flow, flow.src, kept), True
        if lease is not None:
            verdict.why, verdict.facts = "new flow {} by {}: {} {}", (flow, lease, flow.src, kept)
        return verdict

    def _along(self, flow: Flow, packet: Packet) -> Verdict:
        """Pass a packet along its flow, in the direction that it goes."""
        src, dst = flow.leaves_as(flow.direction_of(packet))
        return Verdict(Rule.TRANSLATED, "by flow {}", (flow,), packet.rewritten(src=src, dst=dst), row=flow)

    def _is_local(self, flow: Flow) -> bool:
        """A flow of an outsider with the router itself: it is the one who replies."""
        return flow.reply_src.address == self.external

    def _by_lease(self, lease: Lease, packet: Packet, now: int) -> Verdict:
        """A new flow from outside to a leased port.

        If the inside socket already talks to this remote by another flow, that flow's tuple is taken, and Linux gives
        the *remote* another port, as seen from inside.
        """
        source: Endpoint | None = packet.src
        if not self._is_free(packet, packet.src, lease.internal, now):
            source = self._random_source(packet, packet.src, lease.internal, now)
        if source is None:
            why = "every port under which {} could know {} is taken"
            return Verdict(Rule.PORTS_EXHAUSTED, why, (lease.internal, packet.src))
        return self._new_flow(packet, (source, lease.internal), now, lease)

    # -- Ports -----------------------------------------------------------------------------------------------------

    def _choose_source(self, packet: Packet, now: int) -> Endpoint | None:
        """The outside source of a new flow (`get_unique_tuple`)."""
        if self.behavior.masquerade is Masquerade.NONE:
            return packet.src
        kept = Endpoint(self.external, packet.src.port)
        if self.behavior.masquerade is Masquerade.PLAIN:
            flows = self._conntrack.of_source(packet.protocol, packet.src, now)
            same_socket = next((flow.reply_dst for flow in flows), kept)
            for candidate in (same_socket, kept):
                if self._is_free(packet, candidate, packet.dst, now):
                    return candidate
        return self._random_source(packet, kept, packet.dst, now)

    def _random_source(self, packet: Packet, source: Endpoint, remote: Endpoint, now: int) -> Endpoint | None:
        """The source with a free port of the same class: a random start, then upwards, and from another start again."""
        first, last = _port_class(packet.protocol, source.port)
        for tries in TRIES:
            start = self._random.randint(first, last)
            for step in range(tries):
                candidate = source._replace(port=first + (start - first + step) % (last - first + 1))
                if self._is_free(packet, candidate, remote, now):
                    return candidate
        return None

    def _is_free(self, packet: Packet, source: Endpoint, remote: Endpoint, now: int) -> bool:
        """Would replies to this packet, if it had this source, be told from those of every other flow?"""
        answer = OPPOSITE.get(icmp_type(packet))
        return self._conntrack.find((packet.protocol, answer, remote, source), now) is None

    # -- The router's own TCP/IP --------------------------------------------------------------------------------------

    def _stray(
        self, packet: Packet, rule: Rule, why: str, facts: tuple[object, ...], flow: Flow | None, now: int
    ) -> Verdict:
        """A packet from outside that belongs to no flow is for the router itself, and its INPUT chain decides."""
        if self.behavior.masquerade is Masquerade.NONE and packet.dst.address != self.external:
            return Verdict(rule, why, facts, row=flow)  # to a host behind the firewall, which forwards nothing new
        match self.behavior.wan_input:
            case WanInput.DROP:
                return Verdict(rule, why, facts, row=flow)
            case WanInput.REJECT:
                answer = (
                    reset_for(packet)
                    if packet.protocol == TCP
                    else icmp_error(packet.dst.address, packet, PORT_UNREACHABLE)
                )
                return Verdict(rule, why + "; and rejects it", facts, reply=answer, row=flow)
            case WanInput.ACCEPT if flow is None and may_begin(packet):
                leaves_as = packet.src, packet.dst
                flow = self._conntrack.add(packet, leaves_as, now)
                flow.local = True
                return self._taken(flow, packet, now, new=True)
            case WanInput.ACCEPT:
                return Verdict(rule, why, facts, reply=self._own_answer(packet), row=flow)

    def _taken(self, flow: Flow, packet: Packet, now: int, *, new: bool) -> Verdict:
        """INPUT accepts: the packet makes a flow of its own, and the router's kernel answers."""
        self._conntrack.follow(flow, packet, now)
        answer = self._own_answer(packet)
        if answer is not None and not answer.is_icmp_error:
            self._conntrack.follow(flow, answer, now)
        if packet.protocol == UDP:
            why = "the router itself accepts {} > {}, which now owns that tuple: a flow from inside gets another port"
        else:
            why = "the router itself accepts {} > {}, and answers"
        return Verdict(Rule.TAKEN_LOCALLY, why, (packet.src, packet.dst), reply=answer, row=flow, new=new)

    def _own_answer(self, packet: Packet) -> Packet | None:
        """What a kernel without any service says: RST to a segment, ICMP to a datagram, an echo to an echo request."""
        if packet.protocol == TCP:
            return reset_for(packet)
        if packet.protocol == UDP:
            return icmp_error(packet.dst.address, packet, PORT_UNREACHABLE)
        kind = packet.icmp[0] if packet.icmp is not None else None
        queries = QUERIES[packet.version]
        if kind not in queries:
            return None
        return Packet(ICMP, packet.dst, packet.src, packet.payload, icmp=(queries[kind], 0), cause=packet.uid)

    # -- ICMP errors -------------------------------------------------------------------------------------------------

    def _error(self, error: Packet, now: int) -> Verdict:
        """An ICMP error is RELATED to the flow of the packet that it quotes, and goes against that packet.

        It quotes the packet as it left, and is translated to quote it as it came.  It changes and refreshes nothing.
        """
        quoted = error.quoted
        assert quoted is not None
        answer = OPPOSITE.get(icmp_type(quoted))
        flow = self._conntrack.find((quoted.protocol, answer, quoted.dst, quoted.src), now)
        if flow is None or self._is_local(flow):
            return Verdict(Rule.INVALID, "an ICMP error about {}, of which no flow knows", (quoted,))
        direction = ORIGINAL if (quoted.dst, quoted.src) == flow.comes_as(ORIGINAL) else REPLY
        came_from, came_to = flow.comes_as(direction)
        if error.dst.address != came_to.address:
            why = "an ICMP error about flow {} that is not for {}, who sent what it quotes"
            return Verdict(Rule.INVALID, why, (flow, came_to.address), row=flow)
        source, destination = flow.leaves_as(direction)
        inner_source, inner_destination = flow.comes_as(REPLY if direction == ORIGINAL else ORIGINAL)
        translated = error.rewritten(
            src=Endpoint(source.address, error.src.port) if source != came_from else None,
            dst=Endpoint(destination.address, error.dst.port),
            quoted=quoted.rewritten(src=inner_source, dst=inner_destination),
        )
        return Verdict(Rule.TRANSLATED, "an ICMP error about flow {}", (flow,), translated, row=flow)


def _port_class(protocol: str, port: int) -> tuple[int, int]:
    """The range from which the kernel draws: low ports stay low, and an ICMP identifier may be anything."""
    if protocol == ICMP:
        return 0, 65535
    if port < 512:
        return 1, 511
    return (600, 1023) if port < 1024 else (1024, 65535)


def _no_rule_forbids(protocol: str, internal: Endpoint, external: Endpoint, now: int) -> bool:
    """miniupnpd looks at its own rules only, never at conntrack: a port in use may be leased all the same."""
    return True
