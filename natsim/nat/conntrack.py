"""Conntrack: the table of flows that Linux keeps, whether it translates them or not.

A *flow* has two tuples: how its packets look when they come in the original direction, and how replies look when they
come.  A packet belongs to the flow that has its tuple, and leaves as the other tuple turned round: that is all there is
to translation.  No two flows share a tuple, and nothing but whole tuples is ever compared.

A flow dies when it has been idle for its time.  Nothing is swept: what has expired is thrown away when somebody
stumbles upon it.  Times are integer nanoseconds.  Sources: nf_conntrack_core.c, nf_conntrack_proto_udp.c and _icmp.c.
TCP is in `conntrack_tcp.py` and `conntrack_tracking.py`; next: `linux.py`, which decides what a new flow looks like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..packet import ICMP, TCP, Endpoint, Packet
from ..scheduler import SECOND, nanoseconds
from .conntrack_tcp import NEXT, ORIGINAL, REPLY, TcpState, kind_of
from .conntrack_tracking import Fate, TcpTracking
from .linux_behavior import LinuxTimeouts
from .table_row import TableRow

#: ICMP messages that ask, and the answer to each, by the version of IP: echo and timestamp (RFC 792), echo (RFC 4443).
QUERIES = {4: {8: 0, 13: 14}, 6: {128: 129}}

#: A UDP flow counts as a stream if it still has something to say so long after its first packet.
STREAM_AFTER = 2 * SECOND

#: Protocol, ICMP type (of others None), source and destination.
Tuple = tuple[str, int | None, Endpoint, Endpoint]

#: What goes the other way, for each ICMP type that may belong to a flow.
OPPOSITE: dict[int | None, int] = {
    one: other for queries in QUERIES.values() for pair in queries.items() for one, other in (pair, pair[::-1])
}


@dataclass(slots=True, eq=False)
class Flow:
    """One line of conntrack: the tuple of the original direction (`src`, `dst`), and that of replies.

    `replied`: something has come back; `stream`: and two seconds after the first packet they still talked.
    """

    protocol: str
    src: Endpoint
    dst: Endpoint
    reply_src: Endpoint
    reply_dst: Endpoint
    started: int
    expires: int = 0
    replied: bool = False
    stream: bool = False
    tcp: TcpTracking | None = None
    #: The ICMP type of the original direction; to conntrack it is a part of the tuple, as ports are.
    query: int | None = None
    #: An outsider's, with the router itself.
    local: bool = False

    @property
    def state(self) -> str:
        """The state in conntrack's words; for UDP and ICMP, how much has been seen."""
        if self.tcp is not None:
            return self.tcp.state.value
        return "STREAM" if self.stream else "REPLIED" if self.replied else "UNREPLIED"

    @property
    def tuples(self) -> tuple[Tuple, Tuple]:
        """The flow's two tuples: that of its original direction, and that of replies."""
        answer = OPPOSITE.get(self.query)
        return (
            (self.protocol, self.query, self.src, self.dst),
            (self.protocol, answer, self.reply_src, self.reply_dst),
        )

    def direction_of(self, packet: Packet) -> str:
        """Does this packet go with the flow's first packet, or against it?"""
        return ORIGINAL if (packet.src, packet.dst) == (self.src, self.dst) else REPLY

    def comes_as(self, direction: str) -> tuple[Endpoint, Endpoint]:
        """Source and destination of packets of that direction when they come."""
        return (self.src, self.dst) if direction == ORIGINAL else (self.reply_src, self.reply_dst)

    def leaves_as(self, direction: str) -> tuple[Endpoint, Endpoint]:
        """And when they leave: as replies would have to come, turned round."""
        return (self.reply_dst, self.reply_src) if direction == ORIGINAL else (self.dst, self.src)

    def as_row(self) -> TableRow:
        """For showing: the inside and the outside name of the socket here, and the one remote that it is about."""
        if self.local or self.reply_src != self.dst:  # from outside: to the router itself, or by a lease to a host
            inside, outside, remote = None if self.local else self.reply_src, self.dst, self.src
        else:
            inside, outside, remote = self.src, self.reply_dst, self.dst
        return TableRow(self.protocol, inside, outside, remote, (remote,), self.state, self.expires)

    def __str__(self) -> str:
        return f"{self.protocol} {self.src} > {self.dst} (replies: {self.reply_src} > {self.reply_dst})"


def icmp_type(packet: Packet) -> int | None:
    """The part of a packet's tuple that only ICMP has."""
    return packet.icmp[0] if packet.icmp is not None else None


def may_begin(packet: Packet) -> bool:
    """Can this packet be the first of a flow?  If not, and it belongs to none, it is invalid."""
    if packet.protocol == TCP:
        return kind_of(packet) in NEXT[ORIGINAL][TcpState.NONE]
    return packet.protocol != ICMP or (packet.icmp is not None and packet.icmp[0] in QUERIES[packet.version])


class Conntrack:
    """All flows of one router."""

    def __init__(self, timeouts: LinuxTimeouts) -> None:
        self._timeouts = timeouts
        self._flows: dict[Tuple, Flow] = {}
        #: The flows of each source, oldest first.
        self._by_source: dict[tuple[str, Endpoint], list[Flow]] = {}

    # -- The table -------------------------------------------------------------------------------------------------

    def find(self, wanted: Tuple, now: int) -> Flow | None:
        """The flow that has this tuple, in either direction."""
        flow = self._flows.get(wanted)
        if flow is not None and flow.expires <= now:
            self.forget(flow)  # both its tuples, lest its other one be taken for a later flow's
            return None
        return flow

    def add(self, packet: Packet, leaves_as: tuple[Endpoint, Endpoint], now: int) -> Flow:
        """A new flow, whose packets come as this one and leave as said."""
        reply_dst, reply_src = leaves_as
        flow = Flow(packet.protocol, packet.src, packet.dst, reply_src, reply_dst, now, query=icmp_type(packet))
        if packet.protocol == TCP:
            flow.tcp = TcpTracking(self._timeouts)
        for each in flow.tuples:
            self._flows[each] = flow
        self._by_source.setdefault((packet.protocol, packet.src), []).append(flow)
        return flow

    def forget(self, flow: Flow) -> None:
        """Delete a flow."""
        for each in flow.tuples:
            self._flows.pop(each, None)
        siblings = [other for other in self._by_source.pop((flow.protocol, flow.src), ()) if other is not flow]
        if siblings:
            self._by_source[flow.protocol, flow.src] = siblings

    def of_source(self, protocol: str, src: Endpoint, now: int) -> Iterator[Flow]:
        """The flows that this source has begun, the newest first."""
        return (flow for flow in reversed(self._by_source.get((protocol, src), [])) if flow.expires > now)

    def rows(self, now: int) -> list[Flow]:
        """The flows that are alive, oldest first."""
        return [flow for flow in dict.fromkeys(self._flows.values()) if flow.expires > now]

    def clear(self) -> None:
        """Forget everything."""
        self._flows.clear()
        self._by_source.clear()

    # -- Packets ---------------------------------------------------------------------------------------------------

    def follow(self, flow: Flow, packet: Packet, now: int) -> Fate:
        """Note a packet of a flow: its state, and for how long it may be idle."""
        direction = flow.direction_of(packet)
        if flow.tcp is not None:
            left = (flow.expires - now) / SECOND
            fate, idle = flow.tcp.follow(packet, direction, replied=flow.replied, left=left)
        else:
            fate, idle = Fate.PASSES, self._idle(flow, now)
        if idle is not None:
            flow.expires = now + nanoseconds(idle)
        if fate in (Fate.LAST, Fate.ANEW):
            self.forget(flow)
            flow.expires = now
        elif fate is Fate.PASSES and direction == REPLY:
            flow.replied = True
        return fate

    def _idle(self, flow: Flow, now: int) -> float:
        """UDP and ICMP.  The first reply does not make a stream yet, whenever it comes: only what follows it does."""
        if flow.protocol == ICMP:
            return self._timeouts.icmp
        flow.stream = flow.stream or (flow.replied and now > flow.started + STREAM_AFTER)
        return self._timeouts.udp_stream if flow.stream else self._timeouts.udp
