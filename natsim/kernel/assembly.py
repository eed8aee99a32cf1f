"""From what was heard on interfaces to a trace: who sent what, what each NAT made of it, and why.

A packet is heard several times: where it leaves its host, on both sides of each NAT, where it arrives.  Put in the
order of time, a packet that comes in somewhere is the oldest one under way that looks like it; one that leaves a NAT is
the oldest that came in and may have become this.  What came in and did not leave was stopped there.

The kernel does not say why.  So the model of its NAT (`nat/linux.py`), which `natsim campaign` has held against it, is
asked about every packet in turn, with the random ports that the kernel has drawn, and its verdict is the reason.  Where
it would have done otherwise, that is what the trace says.

Pure: sightings and entries in, a filled trace out.  Next: `captured_trace.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..internet import Internet
from ..nat.linux import LinuxBehavior, LinuxNat
from ..nat.verdict import Verdict
from ..packet import TCP, Packet
from ..scheduler import MILLISECOND, Scheduler
from ..tcp import reset_for
from ..trace import ANSWERED, DELIVERED, DROPPED, SENT, TRANSLATED, Entry, Trace
from .capture import Seen
from .nftables import WAN
from .side_by_side import Drawn

#: An answer comes at once; what is older has not caused it.
AT_ONCE = 50 * MILLISECOND

#: A packet that has been under way for so long is lost.
LONG_AGO = 1000 * MILLISECOND

#: So much of a payload is compared; captures keep no more of it.
COMPARED = 96

Look = tuple[object, ...]


@dataclass(eq=False)
class Flight:
    """One packet on its way, under whatever addresses.  `uid` is given when its sending is written.

    `left` is from where it left last: when, the node, and as what.
    """

    uid: int = 0
    cause: Flight | None = None
    left: tuple[int, str, Packet] | None = None


@dataclass(eq=False)
class Happening:
    """One line of the trace to be: what `node` did with `flight`, which came as `packet`."""

    when: int
    node: str
    what: str
    flight: Flight
    packet: Packet
    reason: object = None
    outward: bool = False
    #: What left a NAT instead, and what it answered.
    after: Packet | None = None
    before: Packet | None = None
    answer: Packet | None = None


@dataclass
class Assembly:
    """Puts sightings together.  `take` them in the order of time, and `write` when they are settled."""

    net: Internet
    lines: list[Happening] = field(default_factory=list)
    _models: dict[tuple[str, int], _Model] = field(default_factory=dict)
    _under_way: dict[Look, deque[Flight]] = field(default_factory=dict)
    _inside: dict[tuple[str, Look], deque[Happening]] = field(default_factory=dict)
    _of_boxes: dict[int, Flight] = field(default_factory=dict)

    def take(self, item: Seen | Entry) -> None:
        """The next thing that was heard, or that a simulated router did."""
        if isinstance(item, Entry):
            self._take_of_box(item)
        elif item.node in self.net.hosts:
            self._take_at_host(item)
        else:
            self._take_at_nat(item)

    # -- Hosts -------------------------------------------------------------------------------------------------------

    def _take_at_host(self, seen: Seen) -> None:
        if seen.leaves:
            self._send(seen.when, seen.node, seen.packet, self._cause_at(seen))
            return
        flight = self._arrive(seen.packet)
        if flight is not None:
            self.lines.append(Happening(seen.when, seen.node, DELIVERED, flight, seen.packet))

    def _cause_at(self, seen: Seen) -> Flight | None:
        """The packet that this one refuses, if it is a RST or an ICMP error: that one was not delivered, then."""
        for line in self._lately(seen.when):
            if line.node == seen.node and line.what == DELIVERED and _refuses(seen.packet, line.packet):
                line.what, line.reason = ANSWERED, "PORT CLOSED: no socket; the kernel answers"
                return line.flight
        return None

    # -- The kernel's NATs -------------------------------------------------------------------------------------------

    def _take_at_nat(self, seen: Seen) -> None:
        outward = (seen.interface == WAN) == seen.leaves
        if not seen.leaves:
            flight = self._arrive(seen.packet)
            if flight is not None:
                line = Happening(seen.when, seen.node, TRANSLATED, flight, seen.packet, outward=outward)
                self.lines.append(line)
                self._inside.setdefault((seen.node, _core(seen.packet)), deque()).append(line)
            return
        waiting = self._inside.get((seen.node, _core(seen.packet)), deque())
        for line in waiting:
            if _may_become(line.packet, seen.packet, outward):
                waiting.remove(line)
                line.after = seen.packet
                self._depart(seen.when, seen.node, line.flight, seen.packet)
                return
        self._answer_of_nat(seen)

    def _answer_of_nat(self, seen: Seen) -> None:
        """Nothing that came in has become this: the router itself has made it."""
        cause = None
        for line in self._lately(seen.when):
            if (
                line.node == seen.node
                and line.after is None
                and line.answer is None
                and _refuses(seen.packet, line.packet)
            ):
                line.answer, cause = seen.packet, line.flight
                break
        self._send(seen.when, seen.node, seen.packet, cause)

    # -- Simulated routers -------------------------------------------------------------------------------------------

    def _take_of_box(self, entry: Entry) -> None:
        """What a box has written of its own: it knows what it did, and only not which packet that was elsewhere."""
        uid, packet = entry.packet.uid, entry.packet.rewritten()
        if entry.action == SENT and entry.node not in self.net.nats:
            flight = self._arrive(packet)  # it came out of a device
            if flight is None:
                flight = self._send(entry.when, entry.node, packet, None, under_way=False)
            self._of_boxes[uid] = flight
            return
        if entry.action == SENT:
            cause = self._of_boxes.get(entry.packet.cause or 0)
            self._of_boxes[uid] = self._send(entry.when, entry.node, packet, cause)
            return
        flight = self._of_boxes.setdefault(uid, Flight())
        line = Happening(entry.when, entry.node, entry.action, flight, packet, entry.reason, before=entry.before)
        self.lines.append(line)
        if entry.action == TRANSLATED:
            self._depart(entry.when, entry.node, flight, packet)

    # -- Under way ---------------------------------------------------------------------------------------------------

    def _send(self, when: int, node: str, packet: Packet, cause: Flight | None, *, under_way: bool = True) -> Flight:
        flight = Flight(cause=cause)
        self.lines.append(Happening(when, node, SENT, flight, packet))
        if under_way:
            self._depart(when, node, flight, packet)
        return flight

    def _depart(self, when: int, node: str, flight: Flight, packet: Packet) -> None:
        flight.left = when, node, packet
        self._under_way.setdefault(_look(packet), deque()).append(flight)

    def _arrive(self, packet: Packet) -> Flight | None:
        """The oldest one under way that looks like this; None for a copy of one that has arrived already."""
        waiting = self._under_way.get(_look(packet))
        return waiting.popleft() if waiting else None

    def _lately(self, when: int) -> Iterable[Happening]:
        for line in reversed(self.lines):
            if line.when < when - AT_ONCE:
                return
            yield line

    def lose(self, now: int) -> None:
        """What has been under way for too long will not come any more: it was lost, on whatever link was next."""
        for flight in [flight for waiting in self._under_way.values() for flight in waiting]:
            assert flight.left is not None
            when, node, packet = flight.left
            if when < now - LONG_AGO:
                link = f"{node}>{self._next_after(node, packet)}"
                self.lines.append(Happening(when, link, DROPPED, flight, packet, NEVER_HEARD))

    def _next_after(self, node: str, packet: Packet) -> str:
        """Where a packet goes next: to the host that has the address, if that is below; else upwards."""
        for host in self.net.hosts.values():
            if packet.dst.address in host._addresses and host.behind is not None and host.behind.name == node:
                return host.name
        here = self.net.hosts.get(node) or self.net.nats.get(node)
        return here.behind.name if here is not None and here.behind is not None else "internet"

    # -- Writing -----------------------------------------------------------------------------------------------------

    def write(self, trace: Trace, clock: Scheduler, until: int) -> None:
        """Write the lines up to that time into a trace, in order; `clock` is the trace's own, which is put to each."""
        settled = sorted((line for line in self.lines if line.when < until), key=lambda line: line.when)
        self.lines = [line for line in self.lines if line.when >= until]
        for line in settled:
            clock.now = line.when
            packet = line.packet
            packet.uid = line.flight.uid
            if line.what == SENT:
                packet.cause = line.flight.cause.uid if line.flight.cause is not None else None
                trace.sent(line.node, packet)
                line.flight.uid = packet.uid
            elif line.what == TRANSLATED and line.node in self.net.nats and line.before is None:
                self._write_of_nat(trace, line, self._model(line.node, packet.version))
            else:
                if line.before is not None:
                    line.before.uid = packet.uid
                trace.add(line.node, line.what, packet, line.reason, line.before)

    def _model(self, node: str, version: int) -> _Model:
        """The model of a router's NAT, or of its firewall for IPv6."""
        if (node, version) not in self._models:
            nat = self.net.nats[node]
            behavior, address = nat.behavior, nat.address
            if version == 6 and nat.ipv6 is not None:
                behavior, address = nat.ipv6.firewall, nat.ipv6.address
            assert isinstance(behavior, LinuxBehavior)
            self._models[node, version] = _Model(behavior, address)
        return self._models[node, version]

    def _write_of_nat(self, trace: Trace, line: Happening, model: _Model) -> None:
        verdict, agrees = model.judge(line)
        reason: object = verdict if agrees else UNEXPLAINED
        if verdict.row is not None and agrees:
            trace.rows.used(line.node, verdict.row)
        if line.after is not None:
            line.after.uid = line.flight.uid
            trace.add(line.node, TRANSLATED, line.after, reason, line.packet)
        else:
            action = ANSWERED if line.answer is not None else DROPPED
            trace.add(line.node, action, line.packet, reason)


NEVER_HEARD = "LOST: it left, and nobody on its way has heard it"
UNEXPLAINED = "KERNEL: so it did; the model of its NAT would have done otherwise, so no rule is known"


class _Model:
    """The model of one NAT, which is shown everything that the real one saw."""

    def __init__(self, behavior: LinuxBehavior, address: str) -> None:
        self._chance = Drawn(0)
        self._nat = LinuxNat(behavior, address, self._chance)

    def judge(self, line: Happening) -> tuple[Verdict, bool]:
        """What the model does with the packet of a line, and whether that is what the kernel did."""
        before, after = line.packet, line.after
        self._chance.port = after.src.port if after is not None and line.outward else None
        verdict = (self._nat.outbound if line.outward else self._nat.inbound)(before, line.when)
        passed = verdict.packet
        if before.fragment is not None or passed is None or after is None:
            return verdict, (passed is None) == (after is None)
        return verdict, (passed.src, passed.dst) == (after.src, after.dst)


# -- Which packet is which ---------------------------------------------------------------------------------------------


def _core(packet: Packet) -> Look:
    """What no NAT changes.  An echo's identifier is a port to a NAT; what an error quotes is translated, too."""
    text = b"" if packet.quoted is not None else packet.payload[:COMPARED]
    numbers = packet.seq, packet.ack, packet.flags
    return packet.version, packet.protocol, packet.icmp, numbers, packet.fragment, len(packet.payload), text


def _look(packet: Packet) -> Look:
    """How it is to be recognised on its way between two nodes."""
    return packet.src, packet.dst, _core(packet)


def _may_become(before: Packet, after: Packet, outward: bool) -> bool:
    """Outwards a NAT changes the source, inwards the destination; the other end stays."""
    return before.dst == after.dst if outward else before.src == after.src


def _refuses(answer: Packet, refused: Packet) -> bool:
    """Is this the RST for that segment, or the ICMP error about that packet?"""
    if answer.quoted is not None:
        about = answer.quoted
        return (about.protocol, about.src, about.dst) == (refused.protocol, refused.src, refused.dst)
    if answer.protocol != TCP or refused.protocol != TCP or refused.fragment is not None:
        return False
    reset = reset_for(refused)
    return reset is not None and (reset.src, reset.dst, reset.flags, reset.seq, reset.ack) == (
        answer.src, answer.dst, answer.flags, answer.seq, answer.ack,
    )  # fmt: skip
