"""The ladder in words: one set of phrases for tooltips, table, alternative text and the text ladder.

Every function turns a row of `folding.py`, or a part of one, into plain text; escaping is the business of whoever
writes markup.  So what a picture shows and what a screen reader says cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..packet import FIN, ICMP, TCP, UDP, Packet
from ..scheduler import seconds
from ..trace import Entry, Reason
from .columns import Columns
from .folding import Arrow, Fold, Gap, Row
from .story import ENDED, Fate, Hop
from .story import kind as sort_of

_ICMP = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed",
    (3, 9): "network prohibited",
    (3, 10): "host prohibited",
    (3, 13): "prohibited",
    (8, 0): "echo request",
    (0, 0): "echo reply",
    (11, 0): "time exceeded",
}

_ICMPV6 = {
    (1, 0): "no route",
    (1, 1): "prohibited",
    (1, 3): "address unreachable",
    (1, 4): "port unreachable",
    (2, 0): "packet too big",
    (3, 0): "time exceeded",
    (128, 0): "echo request",
    (129, 0): "echo reply",
}


class Line(NamedTuple):
    """One line of the table."""

    time: str
    packet: str
    way: str
    addresses: str
    outcome: str

    def sentence(self) -> str:
        """The same as one sentence."""
        parts = [part for part in (self.packet, self.way, self.addresses) if part]
        return f"{self.time}: {', '.join(parts)}: {self.outcome}."


def time(when: int) -> str:
    """A time of the run, to a tenth of a millisecond.

    >>> time(1_204_500_000)
    '1.2045 s'
    """
    return f"{seconds(when):.4f} s"


def duration(nanoseconds: int) -> str:
    """How long something took, in three digits or so.

    >>> duration(20_000_000), duration(1_204_500_000), duration(0)
    ('20 ms', '1.20 s', '0 ms')
    """
    value = seconds(nanoseconds)
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1000:.3g} ms"


def size(octets: int) -> str:
    """A number of bytes, for people.

    >>> size(20), size(1_740_000)
    ('20 B', '1.7 MB')
    """
    if octets < 10_000:
        return f"{octets} B"
    return f"{octets / 1000:.0f} kB" if octets < 1_000_000 else f"{octets / 1_000_000:.1f} MB"


def kind(packet: Packet) -> str:
    """What a packet is, in the words of a textbook: "SYN,ACK", "data 1460 B", "ICMP port unreachable"."""
    if packet.protocol == ICMP:
        number = packet.icmp or (0, 0)
        name, known = ("ICMP", _ICMP) if packet.version == 4 else ("ICMPv6", _ICMPV6)
        return f"{name} {known.get(number, f'type {number[0]} code {number[1]}')}"
    if packet.protocol == UDP:
        return f"UDP {size(len(packet.payload))}"
    sort = sort_of(packet)
    if packet.payload and sort in ("data", "FIN"):
        data = f"data {size(len(packet.payload))}"
        return f"{data}, FIN" if packet.flags & FIN else data
    return sort


def family(relayed: bool) -> str:
    """Relayed or not."""
    return "relayed" if relayed else "peer to peer"


def label(arrow: Arrow) -> str:
    """What is written on an arrow."""
    return kind(arrow.packet) + (" again" if arrow.again else "")


def addresses(packet: Packet) -> str:
    """From where to where; ICMP has no ports."""
    if packet.protocol == ICMP:
        return f"{packet.src.address} > {packet.dst.address}"
    return f"{packet.src} > {packet.dst}"


def rule(reason: Reason | None, fate: Fate) -> str:
    """The short label of a reason: the rule's own, or what its sentence starts with in capitals."""
    named = getattr(getattr(reason, "rule", None), "value", None)
    if named is not None:
        return str(named)
    head, colon, _ = str(reason or "").partition(": ")
    return head.lower() if colon and head.isupper() else fate.value


def why(reason: Reason | None) -> str:
    """A reason's sentence, without the label that it starts with."""
    text = "" if reason is None else str(reason)
    head, colon, rest = text.partition(": ")
    return rest if colon and head.isupper() else text


def changes(hop: Hop) -> list[tuple[str, str]]:
    """The endpoints that were changed at the end of a hop: (was, now), source first."""
    if hop.became is None:
        return []
    pairs = [(hop.packet.src, hop.became.src), (hop.packet.dst, hop.became.dst)]
    if hop.packet.protocol == ICMP:
        return [(was.address, now.address) for was, now in pairs if was != now]
    return [(str(was), str(now)) for was, now in pairs if was != now]


def outcome(hop: Hop) -> str:
    """What became of a packet at the end of a hop, with the whole reason."""
    because = f": {hop.reason}" if hop.reason is not None else ""
    match hop.fate:
        case Fate.PASSED if hop.translated:
            return "; ".join(f"was {was}, now {now}" for was, now in changes(hop)) + because
        case Fate.PASSED:
            return "passed on" + because
        case Fate.FLYING:
            return "still on its way when the run ended"
        case Fate.LOST:
            return "lost on the way" + because
        case _:
            return str(hop.fate.value) + because


# -- Lines ------------------------------------------------------------------------------------------------------------


def hop_line(arrow: Arrow, hop: Hop) -> Line:
    """One hop of one packet."""
    what = f"{label(arrow)} ({family(arrow.relayed)}, packet {arrow.packet.uid})"
    way = f"{hop.origin} → {hop.target}" if hop.fate is not Fate.FLYING else f"from {hop.origin}"
    if hop.fate is Fate.LOST:
        way = f"from {hop.origin}, on the link {hop.target}"
    return Line(time(hop.left), what, way, addresses(hop.packet), outcome(hop))


def fold_words(fold: Fold) -> str:
    """A band in a few words: "1,204 packets, 1.7 MB relayed, 0.31 s"."""
    if fold.fate in ENDED:
        where = "on the way" if fold.fate is Fate.LOST else f"at {fold.node}: {rule(fold.reason, fold.fate)}"
        return f"{fold.packets:,} more {fold.what}, {fold.fate.value} {where}, {duration(fold.until - fold.when)}"
    what = "packets" if fold.what in ("", "data") else f"more {fold.what}"
    payload = f"{size(fold.payload)} " if fold.payload else ""
    return f"{fold.packets:,} {what}, {payload}{family(fold.relayed)}, {duration(fold.until - fold.when)}"


def gap_words(gap: Gap) -> str:
    """A pause: "1.20 s of silence"."""
    return f"{duration(gap.until - gap.when)} of silence"


def lines(row: Row, columns: Columns) -> list[Line]:
    """A row as lines of the table: an arrow has one for each hop."""
    if isinstance(row, Arrow):
        return [hop_line(row, hop) for hop in row.hops]
    if isinstance(row, Gap):
        return [Line(time(row.when), "", "", "", gap_words(row))]
    left, right = columns.all[int(row.left)].name, columns.all[min(columns.last, round(row.right + 0.01))].name
    reason = f"; the first: {why(row.reason)}" if row.fate in ENDED and row.reason is not None else ""
    return [Line(time(row.when), "folded together", f"between {left} and {right}", "", fold_words(row) + reason)]


# -- The whole --------------------------------------------------------------------------------------------------------


def title(columns: Columns) -> str:
    """Whose ladder this is."""
    return "Packets between " + _listed([column.name for column in columns.all])


def summary(trace: Iterable[Entry], columns: Columns) -> str:
    """The run in a few sentences, counted over all packets, shown or folded."""
    sent, ended, answered, again_to = 0, 0, 0, {True: 0, False: 0}
    last = 0
    for entry in trace:
        last = max(last, entry.when)
        if entry.action == "sent":
            sent += 1
            if entry.packet.protocol in (TCP, UDP) and entry.packet.payload:
                relayed = not columns.server_addresses.isdisjoint((entry.packet.src.address, entry.packet.dst.address))
                if not relayed or entry.packet.dst.address in columns.server_addresses:
                    again_to[relayed] += len(entry.packet.payload)
        ended += entry.action == "dropped"
        answered += entry.action == "answered"
    hosts = [column.name for column in columns.all if not column.is_nat]
    nats = [column.name for column in columns.all if column.is_nat]
    behind = f", with {_listed(nats)} between them" if nats else ""
    data = ""
    if sum(again_to.values()):
        data = f" Data: {size(again_to[True])} to the server, {size(again_to[False])} peer to peer."
    return (
        f"{_listed(hosts)}{behind}: {sent:,} packets in {duration(last)}; {ended:,} dropped or lost, "
        f"{answered:,} refused with an answer.{data}"
    )


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
