"""Routers of the simulator: the one that is "the internet", and the one that has a NAT in it.

Both pass packets from pipe to pipe and count the TTL down.  What a NAT decides is not here but in `nat/`: this file
only carries its verdicts out, and writes them into the trace.  Next: `host.py`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from .link import Pipe
from .nat.verdict import Verdict
from .packet import ICMP, TCP, Endpoint, Packet
from .scheduler import Scheduler
from .tcp import reset_for
from .trace import ANSWERED, DROPPED, HELD, TRANSLATED, Trace


class Engine(Protocol):
    """Any NAT: `NatEngine`, `LinuxNat`, or your own."""

    def outbound(self, packet: Packet, now: int) -> Verdict: ...

    def inbound(self, packet: Packet, now: int) -> Verdict: ...

    def overdue(self, now: int) -> list[Verdict]: ...

    def reboot(self) -> None: ...


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

    def __init__(self, clock: Scheduler, trace: Trace, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.routes: dict[str, Pipe] = {}
        self.cuts: list[Cut] = []
        self._trace = trace

    def receive(self, packet: Packet) -> None:
        """Pass a packet on towards its destination."""
        for cut in self.cuts:
            if cut.hits(packet):
                self._end(packet, cut, reset_for(packet) if cut.how == "reset" and packet.protocol == TCP else None)
                return
        packet.ttl -= 1
        pipe = self.routes.get(packet.dst.address)
        if packet.ttl <= 0:
            self._end(packet, EXPIRED, icmp_error(self.address, packet, 11, 0))
        elif pipe is None:
            self._end(packet, "NO ROUTE: the internet knows no such address", icmp_error(self.address, packet, 3, 0))
        else:
            pipe.carry(packet)

    def _end(self, packet: Packet, reason: object, reply: Packet | None) -> None:
        back = self.routes.get(reply.dst.address) if reply else None
        self._trace.add(self.name, ANSWERED if back else DROPPED, packet, reason)
        if reply and back:
            self._trace.sent(self.name, reply)
            back.carry(reply)


class NatBox:
    """A router with a NAT or firewall in it: one pipe to the outside, one to each node inside.

    `external` is its address outside; inside it is the first address of `lan`.
    """

    def __init__(
        self, trace: Trace, clock: Scheduler, name: str, engine: Engine, external: str, lan: IPv4Network
    ) -> None:
        self.name = name
        self.engine = engine
        self.external = external
        self.lan = lan
        self.gateway = str(lan[1])
        self.outside: Pipe | None = None
        self.inside: dict[str, Pipe] = {}
        self._trace = trace
        self._clock = clock
        self._in_lan: dict[str, bool] = {}

    def receive_inside(self, packet: Packet) -> None:
        """A packet from the LAN: to a neighbour as it is, to the world through the NAT."""
        neighbour = self.inside.get(packet.dst.address)
        if neighbour is not None:
            neighbour.carry(packet)
        elif packet.dst.address == self.gateway:
            answer = reset_for(packet) if packet.protocol == TCP else icmp_error(self.gateway, packet, 3, 3)
            self._end(packet, "PORT CLOSED: this router itself has no such service", answer)
        elif self._is_local(packet.dst.address):
            self._end(packet, "NO HOST: nobody has that address here", icmp_error(self.gateway, packet, 3, 1))
        elif packet.ttl <= 1:
            self._end(packet, EXPIRED, icmp_error(self.gateway, packet, 11, 0))
        else:
            packet.ttl -= 1
            self._carry_out(packet, self.engine.outbound(packet, self._clock.now))

    def receive_outside(self, packet: Packet) -> None:
        """A packet from the world.  Its TTL counts only if it goes further than to this router."""
        verdict = self.engine.inbound(packet, self._clock.now)
        if verdict.packet is not None and packet.ttl <= 1:
            self._end(packet, EXPIRED, icmp_error(self.external, packet, 11, 0))
            return
        if verdict.packet is not None:
            packet.ttl -= 1
            verdict.packet.ttl -= 1
        self._carry_out(packet, verdict)

    def _is_local(self, address: str) -> bool:
        if address not in self._in_lan:
            self._in_lan[address] = IPv4Address(address) in self.lan
        return self._in_lan[address]

    def _end(self, packet: Packet, reason: object, reply: Packet | None) -> None:
        self._trace.add(self.name, ANSWERED if reply else DROPPED, packet, reason)
        if reply is not None:
            self._trace.sent(self.name, reply)
            self._route(reply)

    def _carry_out(self, packet: Packet, verdict: Verdict) -> None:
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

    def _route(self, packet: Packet) -> None:
        pipe = self.inside.get(packet.dst.address, self.outside)
        if pipe is not None:
            pipe.carry(packet)


EXPIRED = "TTL: it ran out here (RFC 1812 section 5.3.1)"


def icmp_error(source: str, packet: Packet, icmp_type: int, code: int) -> Packet | None:
    """An ICMP error about a packet; never about another error (RFC 1122 section 3.2.2)."""
    if packet.protocol == ICMP:
        return None
    to = Endpoint(packet.src.address, 0)
    return Packet(ICMP, Endpoint(source, 0), to, icmp=(icmp_type, code), quoted=packet, cause=packet.uid)
