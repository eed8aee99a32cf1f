"""From story to rows: which packets are drawn one by one, and which are folded into one band.

A run may have hundreds of thousands of packets; a picture that one can read has some sixty.  Each packet belongs to
a *class*: same connection and direction, same sort, same end.  Of bulk (data, acknowledgements and datagrams that
simply arrive) the first few of each class are shown, and the first few again after the data has changed its path.  Of
all else, SYNs, resets, FINs, ICMP and everything that is dropped or makes a new row, *all* is shown, until that would
be too much; then the first ones of each class, as many as fit.  What is not shown is folded, by class, and counted.

`rows` is a pure function from a trace to `Arrow`, `Fold` and `Gap`; every renderer reads these rows and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..packet import ICMP, Packet
from ..scheduler import MILLISECOND
from ..trace import Entry, Reason
from .columns import Columns
from .story import ENDED, Fate, Flight, Hop, flights

#: At most so many packets are drawn one by one; a run of few packets is not folded at all.
BUDGET, PLAIN = 64, 40

#: A pause of all packets that is worth a remark, and one after which a connection's band may end.
SILENCE = 150 * MILLISECOND
PAUSE = 300 * MILLISECOND

#: So often a packet that opens the same way shows its addresses.
OPENINGS = 2

#: Payloads smaller than this are no sign that the data has moved to another path.
SMALL = 100

#: Of bulk, so many of each class are shown.  A band of few is not folded if there is room; a large one has many.
FIRST_DATA, FIRST_ACKS, FEW, MANY = 2, 1, 6, 20

#: If there were more bands, ports are disregarded.  One class is not cut into more than so many.
BANDS, PIECES = 24, 6

#: Of all packets, so many of each class, and of each class without its ports.  The first pair that fits is used.
_NO_LIMIT = 10**9
_LIMITS = [(_NO_LIMIT, _NO_LIMIT), *((n, _NO_LIMIT) for n in (12, 8, 6, 4, 3, 2))]
_LIMITS += [(2, 12), (2, 6), (1, 4), (1, 2), (1, 1)]


@dataclass(frozen=True)
class Arrow:
    """One packet, hop by hop.  `full`: its addresses are worth showing."""

    when: int
    number: int
    packet: Packet
    hops: tuple[Hop, ...]
    relayed: bool
    again: bool
    full: bool

    @property
    def bulk(self) -> bool:
        """True if it carries data."""
        return bool(self.packet.payload)


@dataclass(frozen=True)
class Fold:
    """Many packets of one class, between the columns `left` and `right`, from `when` to `until`.

    `number` and `last` order it among the arrows.  If `fate` is not DELIVERED, `what` of them were stopped at `node`.
    """

    when: int
    number: int
    until: int
    last: int
    left: float
    right: float
    packets: int
    payload: int
    relayed: bool
    what: str
    fate: Fate
    node: str
    reason: Reason | None


@dataclass(frozen=True)
class Gap:
    """Nothing moves, from `when` to `until`; `number` is the entry that ends it."""

    when: int
    number: int
    until: int


Row = Arrow | Fold | Gap


def rows(trace: Iterable[Entry], columns: Columns, budget: int = BUDGET) -> list[Row]:
    """The rows of a picture, in the order of their beginnings; at most `budget` of them are arrows."""
    story = flights(trace, columns)
    shown = _choose(story, budget)
    room = budget - len(shown)
    folds: list[Fold] = []
    for members in sorted(_bands(story, shown), key=len):
        if len(members) <= min(FEW, room):
            room -= len(members)
            shown.update(flight.numbers[0] for flight in members)
        else:
            folds.append(_fold(members, columns))
    result: list[Row] = [*_arrows(story, shown, columns), *folds, *_gaps(story, folds)]
    return sorted(result, key=lambda row: (row.number, isinstance(row, Arrow)))


# -- Classes ----------------------------------------------------------------------------------------------------------


_FIRST = {"data": FIRST_DATA, "UDP": FIRST_DATA, "ACK": FIRST_ACKS}


@dataclass(slots=True)
class _Candidate:
    """A packet that may be shown, its rank in its class, and in its class without ports; the first has rank 0."""

    flight: Flight
    rank: int
    coarse_rank: int


def _is_bulk(flight: Flight) -> bool:
    """True for what is not worth an arrow once one has seen the first ones."""
    passing = flight.fate is Fate.DELIVERED or flight.fate is Fate.FLYING
    return passing and flight.kind in _FIRST and not flight.new_row and not flight.again


def _route(flight: Flight) -> tuple[object, ...]:
    """The class of a packet without its ports."""
    last = flight.last
    rule = (getattr(last.reason, "rule", None) or str(last.reason)) if flight.fate in ENDED else None
    return (flight.kind, flight.fate, last.node, rule, flight.origin, flight.again, flight.relayed)


def _candidates(story: list[Flight]) -> Iterator[_Candidate]:
    """The packets that may be shown: everything but the bulk of the bulk."""
    counts: dict[tuple[object, ...], int] = {}
    moves = _Moves()
    for flight in story:
        if moves.to_another_path(flight):
            again = [key for key in counts if key[-1] == "bulk" and key[-2] == flight.relayed and key[1] != "ACK"]
            for key in again:
                del counts[key]
        if _is_bulk(flight):
            fine: tuple[object, ...] = (flight.connection, flight.kind, flight.origin, flight.relayed, "bulk")
            rank = counts.get(fine, 0)
            if rank >= _FIRST[flight.kind]:
                continue
            coarse = _route(flight)
        else:
            coarse = _route(flight)
            fine = (flight.connection, coarse)
            rank = counts.get(fine, 0)
        coarse_rank = counts.get(coarse, 0)
        counts[fine], counts[coarse] = rank + 1, coarse_rank + 1
        yield _Candidate(flight, rank, coarse_rank)


class _Moves:
    """Notices when data moves to another path: relayed to direct, direct to relayed, one connection to another."""

    def __init__(self) -> None:
        self._last: dict[object, int] = {}
        self._current: object = None

    def to_another_path(self, flight: Flight) -> bool:
        """True for the first data on a path that has carried none for a while, although another path did."""
        if len(flight.packet.payload) < SMALL or flight.packet.protocol == ICMP:
            return False
        path: object = "relayed" if flight.relayed else flight.connection
        quiet = flight.left - self._last.get(path, -SILENCE) >= SILENCE
        moved = quiet and self._current is not None and self._current != path
        self._last[path] = flight.left
        if quiet or self._current is None:
            self._current = path
        return moved


def _choose(story: list[Flight], budget: int) -> set[int]:
    """The packets that are drawn one by one, by the number of their first entry."""
    if len(story) <= min(PLAIN, budget):
        return {flight.numbers[0] for flight in story}
    candidates = list(_candidates(story))
    for fine, coarse in _LIMITS:
        chosen = [c for c in candidates if c.rank < fine and c.coarse_rank < coarse]
        if len(chosen) <= budget:
            break
    return {c.flight.numbers[0] for c in chosen[:budget]}


# -- Bands ------------------------------------------------------------------------------------------------------------


def _bands(story: list[Flight], shown: set[int]) -> list[list[Flight]]:
    """What is not shown, in bands.

    A band ends with a pause if something that is shown happens meanwhile, or if much comes before and after it.
    """
    shown_at = [flight.left for flight in story if flight.numbers[0] in shown]
    folded = [flight for flight in story if flight.numbers[0] not in shown]
    by_class: dict[object, list[Flight]] = {}
    for flight in folded:
        key = flight.connection if _is_bulk(flight) else (flight.connection, _route(flight))
        by_class.setdefault(key, []).append(flight)
    if len(by_class) > BANDS:
        by_class = {}
        for flight in folded:
            ends = frozenset((flight.origin, flight.last.node))
            by_class.setdefault((ends, flight.relayed) if _is_bulk(flight) else _route(flight), []).append(flight)
    result: list[list[Flight]] = []
    for members in by_class.values():
        bursts = list(_bursts(members))
        bands = bursts[:1]
        for burst in bursts[1:]:
            before, after = bands[-1][-1].arrived, burst[0].left
            both_large = len(bands[-1]) > MANY and len(burst) > MANY
            if both_large or any(before < when < after for when in shown_at):
                bands.append(burst)
            else:
                bands[-1].extend(burst)
        result += bands if len(bands) <= PIECES else [members]
    return sorted(result, key=lambda members: members[0].numbers[0])


def _bursts(members: list[Flight]) -> Iterator[list[Flight]]:
    """Cut the packets of one class at its pauses."""
    burst: list[Flight] = []
    for flight in members:
        if burst and flight.left - burst[-1].arrived >= PAUSE:
            yield burst
            burst = []
        burst.append(flight)
    yield burst


def _fold(members: list[Flight], columns: Columns) -> Fold:
    first, last = members[0], max(members, key=lambda flight: flight.numbers[-1])
    hops = first.hops(columns)
    ends = [hops[0].start, *(hop.end for hop in hops)]
    kinds = {flight.kind for flight in members}
    return Fold(
        when=first.left,
        number=first.numbers[0],
        until=last.arrived,
        last=last.numbers[-1],
        left=min(ends),
        right=max(ends),
        packets=len(members),
        payload=sum(len(flight.packet.payload) for flight in members),
        relayed=first.relayed,
        what=kinds.pop() if len(kinds) == 1 else "",
        fate=first.fate,
        node=first.last.node,
        reason=first.last.reason,
    )


# -- Arrows and gaps --------------------------------------------------------------------------------------------------


def _arrows(story: list[Flight], shown: set[int], columns: Columns) -> Iterator[Arrow]:
    """The packets that are shown.  Addresses are worth showing where they are news: new flows and rows, and endings."""
    told: dict[tuple[object, ...], int] = {}
    for flight in story:
        if flight.numbers[0] not in shown:
            continue
        hops = flight.hops(columns)
        packet = flight.packet
        flow = (flight.origin, packet.protocol, packet.src, packet.dst)
        way = (flow, *((hop.packet.src, hop.packet.dst) for hop in hops))
        ending = (flow, flight.kind, flight.fate, hops[-1].target)
        opening = (flight.kind == "SYN" and not flight.again) or flight.new_row
        news = flow not in told or (flight.fate in ENDED and ending not in told)
        news |= opening and told.get(way, 0) < OPENINGS
        if news:
            told |= {flow: 1, ending: 1, way: told.get(way, 0) + 1}
        full = news and packet.protocol != ICMP
        yield Arrow(flight.left, flight.numbers[0], packet, hops, flight.relayed, flight.again, full)


def _gaps(story: list[Flight], folds: list[Fold]) -> Iterator[Gap]:
    """The times when no packet was on its way, and none was about to be in a band."""
    busy = sorted((fold.when, fold.until) for fold in folds)
    end: int | None = None
    for flight in story:
        start = flight.left
        if end is not None and start - end >= SILENCE and not any(a < start and end < b for a, b in busy):
            yield Gap(end, flight.numbers[0], start)
        end = max(end or 0, flight.arrived)
