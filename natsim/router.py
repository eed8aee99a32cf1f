"""Routers of the simulator: the one that is "the internet", and the one that has a NAT in it.

Both pass packets from pipe to pipe, count the TTL down, and cut what is too large for the next pipe
(`fragmentation.py`).  What a NAT decides is not here but in `nat/`: this file only carries its verdicts out, and writes
them into the trace.  Next: `host.py`.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol

from .host import SimHost
from .icmp_error import NO_HOST, NO_ROUTE, PORT_UNREACHABLE, TIME_EXCEEDED, TOO_LARGE, Complaint, icmp_error
from .multicast import is_multicast
from .nat.verdict import Verdict
from .packet import TCP, UDP, Packet
from .pipe import AGAIN, Pipe, too_large
from .reassembly import Reassembly
from .scheduler import Scheduler
from .tcp import reset_for
from .trace import ANSWERED, DROPPED, HELD, TRANSLATED, Trace


class Engine(Protocol):
    """Any NAT: `NatEngine`, `LinuxNat`, or your own."""

    def outbound(self, packet: Packet, now: int) -> Verdict: ...

    def inbound(self, packet: Packet, now: int) -> Verdict: ...

    def overdue(self, now: int) -> list[Verdict]: ...

    def flush(self) -> None: ...

    def reboot(self) -> None: ...

    def renumber(self, address: str) -> None: ...


class Cut:
    """A fault: the way between two sets of addresses is cut, silently or with a RST to every TCP segment."""

    def __init__(self, one: frozenset[str], other: frozenset[str], how: str, text: str) -> None:
        self.one, self.other, self.how, self.text = one, other, how, text

    def hits(self, packet: Packet) -> bool:
        """True for a packet that would cross the cut."""
        src, dst = packet.src.address, packet.dst.address
        return (src in self.one and dst in self.other) or (src in self.other and dst in self.one)

    def __str__(self) -> str:
        return self.text


class Router:
    """The internet: it knows where every public address is, and no private one."""

    def __init__(self, trace: Trace, name: str, address: str, address6: str) -> None:
        self.name = name
        self.address = address
        self.address6 = address6
        self.routes: dict[str, Pipe] = {}
        self.cuts: list[Cut] = []
        self._trace = trace

    def receive(self, packet: Packet) -> None:
        """Pass a packet on towards its destination."""
        for cut in self.cuts:
            if cut.hits(packet):
                self._end(packet, cut, tcp_reset(packet) if cut.how == "reset" else None)
                return
        packet.ttl -= 1
        pipe = self.routes.get(packet.dst.address)
        if packet.ttl <= 0:
            self._end(packet, expired(packet), self._error(packet, TIME_EXCEEDED))
        elif pipe is None:
            self._end(packet, "NO ROUTE: the internet knows no such address", self._error(packet, NO_ROUTE))
        elif pipe.takes(packet):
            pipe.carry(packet)
        elif not packet.may_be_cut:
            self._end(packet, too_large(packet), self._error(packet, TOO_LARGE, pipe.mtu))
        else:
            pipe.carry_fragments(packet, self.name)

    def _error(self, packet: Packet, complaint: Complaint, mtu: int | None = None) -> Packet | None:
        return icmp_error(self.address if packet.version == 4 else self.address6, packet, complaint, mtu=mtu)

    def _end(self, packet: Packet, reason: object, reply: Packet | None) -> None:
        back = self.routes.get(reply.dst.address) if reply else None
        self._trace.add(self.name, ANSWERED if back else DROPPED, packet, reason)
        if reply and back:
            self._trace.sent(self.name, reply)
            back.carry(reply)


class NatBox:
    """A router with a NAT or firewall in it: one pipe to the outside, one to each node inside.  It is of one family.

    `external` is its address outside; inside it is the first address of `lan`.  `reassembles`: whatever passes is put
    together first, for an engine that knows no fragments.  `stack` is the router's own TCP/IP on the LAN, if it runs
    programs: what is for the router itself, and multicast, goes there.
    """

    def __init__(
        self,
        trace: Trace,
        clock: Scheduler,
        name: str,
        engine: Engine,
        external: str,
        lan: IPv4Network | IPv6Network,
        reassembles: bool = False,
    ) -> None:
        self.name = name
        self.engine = engine
        self.external = external
        self.lan = lan
        self.gateway = str(lan[1])
        self.outside: Pipe | None = None
        self.inside: dict[str, Pipe] = {}
        self.stack: SimHost | None = None
        self._trace = trace
        self._clock = clock
        self._reassembly = Reassembly(clock, trace, name) if reassembles else None
        self._is_ipv6 = lan.version == 6
        self._in_lan: dict[str, bool] = {}

    def receive_inside(self, packet: Packet) -> None:
        """A packet from the LAN: to a neighbour as it is, to the world through the NAT."""
        if packet.fragment is not None and self._reassembly is not None:
            self._reassembly.receive(packet, self.receive_inside)
        elif packet.dst.address in self.inside:
            if self._may_go(packet, packet):
                self._route(packet)
        elif self.stack is not None and self._is_mine(packet):
            self.stack.receive(packet)
        elif packet.dst.address == self.gateway:
            answer = tcp_reset(packet) if packet.protocol == TCP else icmp_error(self.gateway, packet, PORT_UNREACHABLE)
            self._end(packet, "PORT CLOSED: this router itself has no such service", answer)
        elif self._is_local(packet.dst.address):
            self._end(packet, "NO HOST: nobody has that address here", icmp_error(self.gateway, packet, NO_HOST))
        elif self._is_ipv6 and is_multicast(packet.dst.address):
            self._trace.add(self.name, DROPPED, packet, GROUP)
        elif packet.ttl <= 1:
            self._end(packet, expired(packet), icmp_error(self.gateway, packet, TIME_EXCEEDED))
        else:
            packet.ttl -= 1
            verdict = self.engine.outbound(packet, self._clock.now)
            self._carry_out(packet, verdict)
            for held, its_verdict in verdict.released:
                self._carry_out(held, its_verdict)

    def send_inside(self, packet: Packet) -> None:
        """A packet from the router's own programs: to one host of the LAN, or to all of them."""
        if is_multicast(packet.dst.address):
            pipes = dict.fromkeys(pipe for address, pipe in self.inside.items() if self._is_local(address))
            for number, pipe in enumerate(pipes):
                copy = packet.rewritten()
                if number:  # each arrives by itself, so each needs a number of its own
                    copy.cause = packet.uid
                    self._trace.sent(self.name, copy)
                pipe.carry(copy)
        elif packet.dst.address in self.inside:
            self._route(packet)
        else:
            self._trace.add(self.name, DROPPED, packet, "NO HOST: the router's own programs speak to its LAN only")

    def _is_mine(self, packet: Packet) -> bool:
        """Is this for the router's own programs?"""
        to = packet.dst.address
        return to == self.gateway or (packet.protocol == UDP and is_multicast(to))

    def receive_outside(self, packet: Packet) -> None:
        """A packet from the world."""
        if is_multicast(packet.dst.address):
            self._trace.add(self.name, DROPPED, packet, GROUP)
            return
        if packet.fragment is not None and self._reassembly is not None:
            self._reassembly.receive(packet, self.receive_outside)
            return
        verdict = self.engine.inbound(packet, self._clock.now)
        self._let_in(packet, verdict)
        for held, its_verdict in verdict.released:
            self._let_in(held, its_verdict)

    def _let_in(self, packet: Packet, verdict: Verdict) -> None:
        """Carry out a verdict on a packet from the world.  Its TTL counts only if it goes further than here."""
        if verdict.packet is not None and packet.ttl <= 1:
            self._end(packet, expired(packet), icmp_error(self.external, packet, TIME_EXCEEDED))
            return
        if verdict.packet is not None:
            packet.ttl -= 1
            verdict.packet.ttl -= 1
        self._carry_out(packet, verdict)

    def _is_deserted(self, address: str) -> bool:
        return address not in self.inside and self._is_local(address) and address != self.gateway

    def _is_local(self, address: str) -> bool:
        if address not in self._in_lan:
            self._in_lan[address] = ip_address(address) in self.lan
        return self._in_lan[address]

    def _end(self, packet: Packet, reason: object, reply: Packet | None) -> None:
        self._trace.add(self.name, ANSWERED if reply else DROPPED, packet, reason)
        if reply is not None:
            self._trace.sent(self.name, reply)
            self._route(reply)

    def _carry_out(self, packet: Packet, verdict: Verdict) -> None:
        if verdict.row is not None:
            self._trace.rows.used(self.name, verdict.row)
        if verdict.packet is not None and self._is_deserted(verdict.packet.dst.address):
            self._end(packet, "NO HOST: who had that address here has left", icmp_error(self.external, packet, NO_HOST))
            return
        if verdict.packet is not None and not self._may_go(packet, verdict.packet):
            return
        if verdict.packet is not None:
            self._trace.add(self.name, TRANSLATED, verdict.packet, verdict, packet)
            self._route(verdict.packet)
        else:
            action = HELD if verdict.until is not None else ANSWERED if verdict.reply else DROPPED
            self._trace.add(self.name, action, packet, verdict)
        if verdict.reply is not None:
            self._trace.sent(self.name, verdict.reply)
            self._route(verdict.reply)
        if verdict.until is not None:
            self._clock.at(verdict.until, self._answer_overdue)

    def _answer_overdue(self, _: None) -> None:
        """Packets that the engine has held back get their answer."""
        for verdict in self.engine.overdue(self._clock.now):
            if verdict.reply is not None:
                self._trace.sent(self.name, verdict.reply)
                self._route(verdict.reply)

    def _may_go(self, packet: Packet, translated: Packet) -> bool:
        """False for one that is too large to go on and must not be cut; its sender hears of it (RFC 4787 REQ-13)."""
        pipe = self._pipe_to(translated) if not packet.may_be_cut else None
        if pipe is None or pipe.mtu is None or pipe.takes(translated):
            return True
        if (largest := self._largest_part_of(packet)) is not None and largest <= pipe.mtu:
            return True
        speaker = self.gateway if packet.src.address in self.inside else self.external
        self._end(packet, too_large(packet), icmp_error(speaker, packet, TOO_LARGE, mtu=pipe.mtu))
        return False

    def _pipe_to(self, packet: Packet) -> Pipe | None:
        return self.inside.get(packet.dst.address, self.outside)

    def _route(self, packet: Packet) -> None:
        pipe = self._pipe_to(packet)
        if pipe is None:
            return
        if (largest := self._largest_part_of(packet)) is not None:
            pipe.carry_in_pieces(packet, self.name, largest, AGAIN)
        elif pipe.takes(packet):
            pipe.carry(packet)
        else:
            pipe.carry_fragments(packet, self.name)

    def _largest_part_of(self, packet: Packet) -> int | None:
        """The size of the largest fragment in which a packet of IPv6 came that this router itself has put together.

        Such a packet it may cut, as far as that is how it came.
        """
        return self._reassembly.largest_part_of(packet) if self._reassembly is not None and self._is_ipv6 else None


def expired(packet: Packet) -> str:
    """Why a packet goes no further that has passed too many routers."""
    return EXPIRED if packet.version == 4 else HOP_LIMIT


GROUP = "MULTICAST: it goes no further than its LAN"
EXPIRED = "TTL: it ran out here (RFC 1812 section 5.3.1)"
HOP_LIMIT = "HOP LIMIT: it ran out here (RFC 8200 section 3)"


def tcp_reset(packet: Packet) -> Packet | None:
    """The RST for a segment; None for what is no TCP, and for a fragment without the TCP header."""
    return reset_for(packet) if packet.protocol == TCP and not packet.is_later_fragment else None
