"""Linux as a NAT: netfilter's connection tracking with masquerade, as measured on Linux 6.18.

Linux is not one of the nine boxes of RFC 4787.  It has one table of *flows*, and each flow has two tuples: how its
packets look in the original direction, and how replies look.  A packet belongs to the flow that has its tuple;
nothing else may enter, so the filter is address-and-port-dependent.  A new flow's outside port is

1. that of another flow of the same inside socket, if the tuple is free (so it *looks* endpoint-independent);
2. else the inside port itself, if the tuple is free.  The tuple, not the port: two inside hosts may share an
   outside port towards different destinations;
3. else random.  With `masquerade random` or `fully-random`, always this.

And the trap: a datagram from outside that the NAT host itself *accepts* makes a flow too.  If the peer's punch comes
early and is accepted, its tuple is taken, our own flow towards the peer gets another port, and the punch fails.
A dropped or rejected packet makes no flow; and a SYN that is answered with a RST leaves none behind either.

Sources: nf_nat_core.c (`get_unique_tuple`), nf_conntrack_proto_tcp.c and _udp.c, and measurements.
The kernel world (`natsim/kernel/`) builds the same `LinuxBehavior` from nftables.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass

from ..packet import ACK, FIN, ICMP, RST, SYN, TCP, Endpoint, Packet
from ..scheduler import nanoseconds
from .unsolicited import refuse_syn
from .verdict import Rule, Verdict


class Masquerade(enum.Enum):
    """How the source is translated: nft's `masquerade`, `masquerade fully-random`, or not at all (a firewall)."""

    PLAIN = "plain"
    FULLY_RANDOM = "fully-random"
    NONE = "none"


class WanInput(enum.Enum):
    """What the router does with packets from outside that are addressed to itself (the INPUT chain)."""

    DROP = "drop"
    REJECT = "reject"  # a RST for TCP, ICMP port unreachable for UDP; OpenWrt's default
    ACCEPT = "accept"  # its own TCP/IP answers, since no service listens: the early-packet trap


@dataclass(frozen=True)
class LinuxBehavior:
    """A Linux router.  Every value of this can also be built from the real kernel's nftables."""

    masquerade: Masquerade = Masquerade.PLAIN
    wan_input: WanInput = WanInput.DROP
    block_udp: bool = False


#: Idle seconds until a flow is forgotten, by state (nf_conntrack sysctl defaults).
TCP_TIMEOUTS = {
    "SYN_SENT": 120,
    "SYN_SENT2": 120,
    "SYN_RECV": 60,
    "ESTABLISHED": 432_000,
    "FIN_WAIT": 120,
    "CLOSE_WAIT": 60,
    "LAST_ACK": 30,
    "TIME_WAIT": 120,
    "CLOSE": 10,
}
UDP_UNREPLIED, UDP_STREAM, UDP_STREAM_AFTER = 30, 120, 2

#: Next TCP state by (state, direction, what the packet carries); anything absent changes nothing.
ORIGINAL, REPLY = "original", "reply"
TCP_NEXT = {
    ("NONE", ORIGINAL, "SYN"): "SYN_SENT",
    ("NONE", ORIGINAL, "ACK"): "ESTABLISHED",  # picked up in the middle (nf_conntrack_tcp_loose)
    ("SYN_SENT", REPLY, "SYN"): "SYN_SENT2",  # simultaneous open
    ("SYN_SENT", REPLY, "SYN,ACK"): "SYN_RECV",
    ("SYN_SENT2", ORIGINAL, "SYN,ACK"): "SYN_RECV",
    ("SYN_SENT2", REPLY, "SYN,ACK"): "SYN_RECV",
    ("SYN_RECV", ORIGINAL, "ACK"): "ESTABLISHED",
    ("SYN_RECV", ORIGINAL, "FIN"): "FIN_WAIT",
    ("SYN_RECV", REPLY, "FIN"): "FIN_WAIT",
    ("ESTABLISHED", ORIGINAL, "FIN"): "FIN_WAIT",
    ("ESTABLISHED", REPLY, "FIN"): "FIN_WAIT",
    ("FIN_WAIT", ORIGINAL, "ACK"): "CLOSE_WAIT",
    ("FIN_WAIT", REPLY, "ACK"): "CLOSE_WAIT",
    ("FIN_WAIT", ORIGINAL, "FIN"): "LAST_ACK",
    ("FIN_WAIT", REPLY, "FIN"): "LAST_ACK",
    ("CLOSE_WAIT", ORIGINAL, "FIN"): "LAST_ACK",
    ("CLOSE_WAIT", REPLY, "FIN"): "LAST_ACK",
    ("LAST_ACK", ORIGINAL, "ACK"): "TIME_WAIT",
    ("LAST_ACK", REPLY, "ACK"): "TIME_WAIT",
}

#: States in which a SYN from inside may open the same tuple anew, and those in which one from outside is invalid.
OVER = ("TIME_WAIT", "CLOSE")
NO_REPLY_SYN = ("SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "CLOSE")


@dataclass(slots=True, eq=False)
class Flow:
    """One line of conntrack: the tuple of the original direction, and that of replies."""

    protocol: str
    src: Endpoint
    dst: Endpoint
    reply_src: Endpoint
    reply_dst: Endpoint
    started: int
    state: str = "NONE"
    replied: bool = False
    closing: bool = False  # somebody has sent a FIN
    reset_by: str = ""  # the direction of the RST that ended it
    expires: int = 0

    @property
    def may_reopen(self) -> bool:
        """May a SYN from inside begin anew?  Not after a RST from outside, until the flow has expired."""
        return self.state in OVER and (self.closing or self.reset_by == ORIGINAL)

    def __str__(self) -> str:
        return f"{self.protocol} {self.src} > {self.dst} (replies: {self.reply_src} > {self.reply_dst})"


Tuple = tuple[str, Endpoint, Endpoint]


class LinuxNat:
    """Connection tracking and masquerade of one router with one outside address."""

    def __init__(self, behavior: LinuxBehavior, external: str, chance: random.Random) -> None:
        self.behavior = behavior
        self.external = external
        self._random = chance
        self._flows: dict[Tuple, Flow] = {}
        #: The flows of each inside socket, oldest first: rule 1 above.
        self._by_source: dict[tuple[str, Endpoint], list[Flow]] = {}

    # -- Packets ---------------------------------------------------------------------------------------------------

    def outbound(self, packet: Packet, now: int) -> Verdict:
        """A packet from inside."""
        if packet.protocol == ICMP:
            return self._icmp_error(packet, now)
        if self.behavior.block_udp and packet.protocol != TCP:
            return Verdict(Rule.POLICY, "this firewall lets no UDP out")
        if packet.dst.address == self.external:
            why = "{} is this router's own address; Linux does not hairpin without extra rules"
            return Verdict(Rule.NO_HAIRPIN, why, (packet.dst,), reply=self._local_answer(packet))
        flow = self._find(packet, now)
        if flow is not None and packet.is_initial_syn and flow.may_reopen:
            self._forget(flow)
            flow = None
        new = flow is None
        if flow is None:
            outside = self._choose_source(packet, now)
            if outside is None:
                return Verdict(Rule.PORTS_EXHAUSTED, "no outside port is free for {} > {}", (packet.src, packet.dst))
            flow = self._add(Flow(packet.protocol, packet.src, packet.dst, packet.dst, outside, now))
        return self._along(flow, packet, now, new)

    def inbound(self, packet: Packet, now: int) -> Verdict:
        """A packet from outside."""
        if packet.protocol == ICMP:
            return self._icmp_error(packet, now)
        flow = self._find(packet, now)
        if flow is not None and packet.is_initial_syn and flow.state in NO_REPLY_SYN and not self._is_local(flow):
            why = "conntrack takes no SYN from outside for flow {}, which is in state {} and not yet forgotten"
            return Verdict(Rule.INVALID, why, (flow, flow.state), row=flow)
        if flow is not None and not self._is_local(flow):
            return self._along(flow, packet, now, False)
        if self.behavior.masquerade is Masquerade.NONE and packet.dst.address != self.external:
            why = "no flow {} > {}; this firewall lets in only what was asked for (address and port)"
            return Verdict(Rule.FILTERED, why, (packet.src, packet.dst))
        why = (
            "no flow {} > {}: conntrack knows whole flows only, so it filters by address and port (RFC 4787 section 5)"
        )
        facts = (packet.src, packet.dst)
        match self.behavior.wan_input:
            case WanInput.DROP:
                return Verdict(Rule.FILTERED, why, facts)
            case WanInput.REJECT:
                return Verdict(Rule.FILTERED, why + "; and rejects it", facts, reply=self._local_answer(packet))
            case WanInput.ACCEPT:
                return self._taken_locally(flow, packet, now)

    def overdue(self, now: int) -> list[Verdict]:
        """Linux holds no packet back, so there is never anything to say later."""
        return []

    def reboot(self) -> None:
        """Forget every flow: the power was off."""
        self._flows.clear()
        self._by_source.clear()

    def table(self, now: int) -> list[Flow]:
        """The flows that are alive, oldest first."""
        return [flow for flow in dict.fromkeys(self._flows.values()) if flow.expires > now]

    # -- The table -------------------------------------------------------------------------------------------------

    def _find(self, packet: Packet, now: int) -> Flow | None:
        flow = self._flows.get((packet.protocol, packet.src, packet.dst))
        if flow is not None and flow.expires <= now:
            self._forget(flow)
            return None
        return flow

    def _add(self, flow: Flow) -> Flow:
        self._flows[flow.protocol, flow.src, flow.dst] = flow
        self._flows[flow.protocol, flow.reply_src, flow.reply_dst] = flow
        if not self._is_local(flow):
            self._by_source.setdefault((flow.protocol, flow.src), []).append(flow)
        return flow

    def _forget(self, flow: Flow) -> None:
        self._flows.pop((flow.protocol, flow.src, flow.dst), None)
        self._flows.pop((flow.protocol, flow.reply_src, flow.reply_dst), None)
        siblings = [other for other in self._by_source.pop((flow.protocol, flow.src), ()) if other is not flow]
        if siblings:
            self._by_source[flow.protocol, flow.src] = siblings

    def _is_local(self, flow: Flow) -> bool:
        """A flow of an outsider with the router itself."""
        return flow.dst.address == self.external

    def _along(self, flow: Flow, packet: Packet, now: int, new: bool) -> Verdict:
        """Pass a packet along its flow, in the direction that it goes, and note the state."""
        original = (packet.src, packet.dst) == (flow.src, flow.dst)
        self._track(flow, packet, ORIGINAL if original else REPLY, now)
        if original:
            translated = packet.rewritten(src=flow.reply_dst, dst=flow.reply_src)
        else:
            translated = packet.rewritten(src=flow.dst, dst=flow.src)
        if new:
            kept = "keeps the port" if flow.src.port == flow.reply_dst.port else "gets another port"
            return Verdict(
                Rule.TRANSLATED, "new flow {}: {} {}", (flow, flow.src, kept), translated, row=flow, new=True
            )
        return Verdict(Rule.TRANSLATED, "by flow {}", (flow,), translated, row=flow)

    # -- Ports -----------------------------------------------------------------------------------------------------

    def _choose_source(self, packet: Packet, now: int) -> Endpoint | None:
        """The outside source of a new flow (`get_unique_tuple`)."""
        if self.behavior.masquerade is Masquerade.NONE:
            return packet.src
        if self.behavior.masquerade is Masquerade.PLAIN:
            flows = self._by_source.get((packet.protocol, packet.src), ())
            same_socket = next((flow.reply_dst for flow in reversed(flows) if flow.expires > now), None)
            kept = Endpoint(self.external, packet.src.port)
            for candidate in (same_socket, kept):
                if candidate is not None and self._is_free(packet, candidate, now):
                    return candidate
        return self._random_source(packet, now)

    def _random_source(self, packet: Packet, now: int) -> Endpoint | None:
        """A random start, then upwards: 128 tries, then 64, 32 and 16 from fresh starts."""
        first, last = _port_class(packet.src.port)
        for tries in (128, 64, 32, 16):
            start = self._random.randint(first, last)
            for step in range(tries):
                candidate = Endpoint(self.external, first + (start - first + step) % (last - first + 1))
                if self._is_free(packet, candidate, now):
                    return candidate
        return None

    def _is_free(self, packet: Packet, candidate: Endpoint, now: int) -> bool:
        taken = self._flows.get((packet.protocol, packet.dst, candidate))
        if taken is not None and taken.expires <= now:
            self._forget(taken)  # both its tuples, lest its second one be taken for the new flow's
            return True
        return taken is None

    # -- The router's own TCP/IP --------------------------------------------------------------------------------------

    def _taken_locally(self, flow: Flow | None, packet: Packet, now: int) -> Verdict:
        """INPUT accepts: the packet makes a flow of its own, and the router's kernel answers."""
        if flow is None:
            flow = self._add(Flow(packet.protocol, packet.src, packet.dst, packet.dst, packet.src, now))
        self._track(flow, packet, ORIGINAL, now)
        answer = self._local_answer(packet)
        if answer is not None and packet.protocol == TCP:
            self._track(flow, answer, REPLY, now)
        if packet.protocol == TCP:
            why = "the router itself accepts {} > {}, and no service listens there"
        else:
            why = "the router itself accepts {} > {}, which now owns that tuple: a flow from inside gets another port"
        facts = (packet.src, packet.dst)
        return Verdict(Rule.TAKEN_LOCALLY, why, facts, reply=answer, row=flow, new=True)

    def _local_answer(self, packet: Packet) -> Packet | None:
        """What a kernel without that service says: RST to a SYN, ICMP port unreachable to a datagram."""
        if packet.protocol != TCP:
            return Packet(
                ICMP,
                Endpoint(packet.dst.address, 0),
                Endpoint(packet.src.address, 0),
                icmp=(3, 3),
                quoted=packet,
                cause=packet.uid,
            )
        return refuse_syn(packet) if packet.is_initial_syn else None

    def _icmp_error(self, error: Packet, now: int) -> Verdict:
        """An ICMP error is RELATED to the flow of the packet that it quotes, seen from the far side."""
        quoted = error.quoted
        flow = self._flows.get((quoted.protocol, quoted.dst, quoted.src)) if quoted is not None else None
        if quoted is None or flow is None or flow.expires <= now:
            return Verdict(Rule.INVALID, "an ICMP error about {}, of which no flow knows", (quoted,))
        if (quoted.src, quoted.dst) == (flow.reply_dst, flow.reply_src):  # about a packet that went out
            inner = quoted.rewritten(src=flow.src, dst=flow.dst)
            translated = error.rewritten(dst=Endpoint(flow.src.address, error.dst.port), quoted=inner)
        else:
            inner = quoted.rewritten(src=flow.reply_src, dst=flow.reply_dst)
            translated = error.rewritten(src=Endpoint(flow.reply_dst.address, error.src.port), quoted=inner)
        return Verdict(Rule.TRANSLATED, "an ICMP error about flow {}", (flow,), translated, row=flow)

    # -- States and timers -------------------------------------------------------------------------------------------

    def _track(self, flow: Flow, packet: Packet, direction: str, now: int) -> None:
        if packet.protocol == TCP and packet.flags & RST and not flow.replied:
            # The only answer is a refusal: forget the flow at once, and with it the hole (nf_conntrack_proto_tcp.c).
            self._forget(flow)
            return
        flow.replied = flow.replied or direction == REPLY
        if packet.protocol == TCP:
            if packet.flags & RST:
                flow.state, flow.reset_by = "CLOSE", direction
            elif packet.is_initial_syn and flow.state in OVER:
                return  # ignored: the packet passes, the flow stays as it is and goes on expiring
            else:
                flow.closing = flow.closing or bool(packet.flags & FIN)
                flow.state = TCP_NEXT.get((flow.state, direction, _kind(packet.flags)), flow.state)
            idle: float = TCP_TIMEOUTS.get(flow.state, UDP_UNREPLIED)
        else:
            stream = flow.replied and now - flow.started > nanoseconds(UDP_STREAM_AFTER)
            flow.state = "STREAM" if stream else "REPLIED" if flow.replied else "UNREPLIED"
            idle = UDP_STREAM if stream else UDP_UNREPLIED
        flow.expires = now + nanoseconds(idle)


def _kind(flags: int) -> str:
    if flags & SYN:
        return "SYN,ACK" if flags & ACK else "SYN"
    if flags & FIN:
        return "FIN"
    return "ACK" if flags & ACK else "none"


def _port_class(port: int) -> tuple[int, int]:
    """The range from which the kernel draws: privileged ports stay privileged."""
    if port < 512:
        return 1, 511
    return (600, 1023) if port < 1024 else (1024, 65535)
