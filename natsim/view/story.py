"""From trace to story: the hops of each packet, between columns.

A trace is a list of things that nodes did.  Here its entries are put together again by packet (`Flight`), and each
flight is cut into hops: left here, arrived there, with these addresses, and this became of it.  Nothing is left out
here and nothing is drawn; `folding.py` chooses what is shown, and makes the rows that every renderer reads.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from ..packet import FIN, ICMP, SYN, TCP, Packet
from ..trace import ANSWERED, DELIVERED, DROPPED, HELD, Entry, Reason
from .columns import Columns


class Fate(enum.Enum):
    """What became of a packet at the end of a hop."""

    PASSED = "passed on"
    DELIVERED = "delivered"
    DROPPED = "dropped"
    ANSWERED = "refused"
    LOST = "lost"
    HELD = "held back"
    FLYING = "still on its way"


_FATES = {DELIVERED: Fate.DELIVERED, DROPPED: Fate.DROPPED, ANSWERED: Fate.ANSWERED, HELD: Fate.HELD}

#: The fates that are an ending before anybody got the packet.
ENDED = (Fate.DROPPED, Fate.ANSWERED, Fate.LOST)


@dataclass(frozen=True)
class Hop:
    """One packet from one node to the next.

    `start` and `end` are columns; a half, such as 1.5, lies between two.  `left` and `arrived` are nanoseconds,
    `begin` and `finish` the numbers of the trace's entries, which order what happens at one instant.  `packet` is as
    it travelled, `became` what the node at the end sent on instead.
    """

    start: float
    end: float
    left: int
    arrived: int
    begin: int
    finish: int
    origin: str
    target: str
    packet: Packet
    fate: Fate
    reason: Reason | None
    became: Packet | None

    @property
    def translated(self) -> bool:
        """True if the node at the end changed an address."""
        return self.became is not None and (self.became.src, self.became.dst) != (self.packet.src, self.packet.dst)

    @property
    def new_row(self) -> bool:
        """True if the packet made a new row in the table of the NAT at the end."""
        return bool(getattr(self.reason, "new", False))


class Flight:
    """One packet and all that happened to it.

    `numbers` are those of its entries in the trace.  `left` and `arrived` say when it was sent and when it was last
    seen, `kind` what it is, `new_row` whether it made a row in a NAT's table.  A run has very many of these.
    """

    __slots__ = (
        "_trace", "again", "arrived", "connection", "fate", "kind", "left", "new_row", "numbers", "packet", "relayed",
    )  # fmt: skip

    def __init__(self, trace: list[Entry], number: int) -> None:
        self._trace = trace
        self.numbers = [number]
        self.new_row = False

    def finish(self, columns: Columns) -> None:
        """All its entries are known: note what is asked of it most."""
        first, last = self._trace[self.numbers[0]], self._trace[self.numbers[-1]]
        self.packet = first.packet
        self.left, self.arrived = first.when, last.when
        self.kind = kind(self.packet)
        self.fate = Fate.DELIVERED if last.action == DELIVERED else _fate(last)
        if self.fate is Fate.PASSED:
            self.fate = Fate.FLYING
        self.relayed = _with_server(self.packet, columns)
        self.connection = self._connection(columns.public)
        self.again = False

    @property
    def entries(self) -> list[Entry]:
        """Its entries in the trace."""
        return [self._trace[number] for number in self.numbers]

    @property
    def origin(self) -> str:
        """The node that sent it."""
        return self._trace[self.numbers[0]].node

    @property
    def last(self) -> Entry:
        """Where it was last seen."""
        return self._trace[self.numbers[-1]]

    def _connection(self, public: set[str]) -> tuple[object, ...]:
        """The connection that it belongs to: the addresses as the internet sees them, in either direction."""
        for number in self.numbers:
            packet = self._trace[number].packet
            if packet.src.address in public and packet.dst.address in public:
                break
        else:
            packet = self.packet
        if packet.protocol == ICMP and packet.quoted is not None:
            packet = packet.quoted
        src, dst = packet.src, packet.dst
        return (packet.protocol, src, dst) if src < dst else (packet.protocol, dst, src)

    def hops(self, columns: Columns) -> tuple[Hop, ...]:
        """The packet's way through the columns."""
        hops: list[Hop] = []
        entries = self.entries
        where = _origin(columns, entries)
        for (number, entry), (next_number, after) in pairwise(zip(self.numbers, entries, strict=True)):
            end = _end(columns, where, after)
            became = after.packet if after.before is not None else None
            times = (entry.when, after.when, number, next_number)
            names = (entry.node, after.node)
            hops.append(Hop(where, end, *times, *names, entry.packet, _fate(after), after.reason, became))
            where = end
        last = self.last
        if _fate(last) is Fate.PASSED:  # nobody has seen it since
            end = where + columns.direction(int(where), last.packet.dst.address) / 2
            times = (last.when, last.when, self.numbers[-1], self.numbers[-1])
            hops.append(Hop(where, end, *times, last.node, "?", last.packet, Fate.FLYING, None, None))
        return tuple(hops)


def _fate(entry: Entry) -> Fate:
    if entry.action == DROPPED and ">" in entry.node:  # the node is a link: "alice>internet"
        return Fate.LOST
    return _FATES.get(entry.action, Fate.PASSED)


def _origin(columns: Columns, entries: list[Entry]) -> float:
    """Where a flight starts.  The internet stands between columns, on the way to whom the packet answers."""
    first = entries[0]
    if first.node in columns.place:
        return columns.place[first.node]
    following = columns.place.get(entries[1].node) if len(entries) > 1 else None
    if following is None:
        following = columns.owner(first.packet.dst.address)
    quoted = first.packet.quoted
    far = quoted.dst if quoted is not None else first.packet.src
    return following + columns.direction(following, far.address) / 2


def _end(columns: Columns, where: float, entry: Entry) -> float:
    """Where a hop ends: at the node's column, or between columns on the internet and on links."""
    if entry.node in columns.place:
        return columns.place[entry.node]
    start, _, end = entry.node.partition(">")
    if end in columns.place and start not in columns.place:  # lost on the last link, close to the end
        place = columns.place[end]
        rest = 0.5 if abs(where - place) > 0.5 else 0.25
        return place - rest if where < place else place + rest
    return where + columns.direction(int(where), entry.packet.dst.address) / 2


def flights(trace: Iterable[Entry], columns: Columns) -> list[Flight]:
    """Every packet of a trace, in the order in which they were sent."""
    entries = list(trace)
    by_uid: dict[int, Flight] = {}
    for number, entry in enumerate(entries):
        uid = entry.packet.uid
        flight = by_uid.get(uid)
        if flight is None:
            flight = by_uid[uid] = Flight(entries, number)
        else:
            flight.numbers.append(number)
        if entry.reason is not None and getattr(entry.reason, "new", False):
            flight.new_row = True
    sent: dict[tuple[object, ...], int] = {}
    for flight in by_uid.values():
        flight.finish(columns)
        if flight.packet.protocol == TCP:
            flight.again = _is_again(flight.origin, flight.packet, sent)
    return list(by_uid.values())


def _with_server(packet: Packet, columns: Columns) -> bool:
    if packet.quoted is not None:
        packet = packet.quoted
    return not columns.server_addresses.isdisjoint((packet.src.address, packet.dst.address))


def _is_again(node: str, packet: Packet, sent: dict[tuple[object, ...], int]) -> bool:
    """Has the sender sent all of this before?  `sent` holds, for each flow, the end of what it has sent."""
    length = packet.segment_length
    if not length:
        return False
    flow = (node, packet.src, packet.dst)
    end = (packet.seq + length) % 2**32
    highest = sent.get(flow)
    if packet.flags & SYN:  # a new socket with old addresses draws another first sequence number
        again = sent.get((*flow, packet.flags)) == packet.seq
        sent[(*flow, packet.flags)] = packet.seq
        if not again:
            sent[flow] = end
        return again
    if highest is not None and (highest - end) % 2**32 < 2**31:
        return True
    sent[flow] = end
    return False


def kind(packet: Packet) -> str:
    """What sort of packet this is, without its size; `words.kind` is for people."""
    if packet.protocol == TCP:
        for bit, name in ((0x04, "RST"), (SYN, "SYN,ACK" if packet.flags & 0x10 else "SYN"), (FIN, "FIN")):
            if packet.flags & bit:
                return name
        return "data" if packet.payload else "ACK"
    return packet.protocol.upper()
