"""Fragments through a NAT that does not put datagrams together (RFC 4787 section 11, REQ-14).

Theory of operation
-------------------
Only the first fragment of a datagram has ports.  It is translated like any other packet, and the **way** that it went
is remembered: the verdict, and the addresses that it got.  The later ones have the same source and destination address,
protocol and identification (RFC 791 section 2.3), and go the same way.  Those that come before the first one are held
until it comes.

*Floods* (REQ-14a).  Each kind of memory is a store of its own, bounded in number and time; if it is full, the oldest
goes.  Fragments without a first one fill only the store of those that wait, first fragments that may not pass only that
of the refused, and a datagram whose fragments come in order needs neither.  Packets that are no fragments do not come
here at all.

Times are integer nanoseconds.  One translator serves one direction; called by `engine.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..fragmentation import LIFETIME, DatagramId, datagram_of
from ..packet import Packet
from .verdict import Rule, Verdict

#: So many datagrams, the newest ones, are known to pass, and to be refused.
PASSING, REFUSED = 1024, 256

#: So many may wait for their first fragment, and so many fragments of each: a datagram of 64 kB has 45 on Ethernet.
WAITING, HELD_OF_EACH = 64, 64


@dataclass(frozen=True, slots=True)
class Way:
    """The verdict on a first fragment, and until when it holds for the others."""

    until: int
    first: Verdict

    def of(self, piece: Packet) -> Verdict:
        """The verdict on a later fragment of the same datagram."""
        rule, why, facts, row = self.first.rule, self.first.why, self.first.facts, self.first.row
        why = "as the first fragment of its datagram (RFC 4787 REQ-14): " + why
        if self.first.packet is None:
            return Verdict(rule, why, facts, row=row)
        src, dst = self.first.packet.src, self.first.packet.dst
        return Verdict(rule, why, facts, piece.rewritten(src._replace(port=0), dst._replace(port=0)), row=row)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The fragments of a datagram that have come before the first one, and until when they are kept."""

    until: int
    held: list[Packet] = field(default_factory=list)


V = TypeVar("V", Way, Waiting)


class Newest(Generic[V]):
    """What is known of the newest datagrams, at most `limit` of them, until its time has come."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: dict[DatagramId, V] = {}  # oldest first, as in every dict

    def get(self, key: DatagramId, now: int) -> V | None:
        """What is known of a datagram now."""
        value = self._values.get(key)
        return value if value is not None and value.until > now else None

    def put(self, key: DatagramId, value: V) -> None:
        """Know this of a datagram, and forget the oldest one if there are too many."""
        self._values.pop(key, None)
        if len(self._values) == self._limit:
            del self._values[next(iter(self._values))]
        self._values[key] = value

    def forget(self, key: DatagramId) -> None:
        """Know nothing of a datagram."""
        self._values.pop(key, None)

    def clear(self) -> None:
        """Know nothing at all."""
        self._values.clear()


class FragmentTranslator:
    """The fragments of one direction.  `translate` is what the engine does with whole packets of that direction."""

    def __init__(self, translate: Callable[[Packet, int], Verdict]) -> None:
        self._translate = translate
        self._passing: Newest[Way] = Newest(PASSING)
        self._refused: Newest[Way] = Newest(REFUSED)
        self._waiting: Newest[Waiting] = Newest(WAITING)

    def judge(self, piece: Packet, now: int) -> Verdict:
        """What becomes of a fragment; the verdict on a first one brings with it those on the ones that were held."""
        key = datagram_of(piece)
        if not piece.is_later_fragment:
            return self._first(key, piece, now)
        way = self._passing.get(key, now) or self._refused.get(key, now)
        return way.of(piece) if way is not None else self._hold(key, piece, now)

    def clear(self) -> None:
        """Forget everything, as a NAT does that loses its power."""
        self._passing.clear()
        self._refused.clear()
        self._waiting.clear()

    def _first(self, key: DatagramId, piece: Packet, now: int) -> Verdict:
        """Translate it as if it were a whole datagram, which is what the engine understands."""
        like_a_whole = piece.rewritten()
        like_a_whole.fragment = None
        verdict = self._translate(like_a_whole, now)
        way = Way(now + LIFETIME[piece.version], verdict)
        if verdict.packet is None:
            self._passing.forget(key)
            self._refused.put(key, way)
        else:
            verdict.packet.fragment = piece.fragment
            verdict.packet.payload = piece.payload  # whatever an ALG did: another length would tear it from the rest
            self._refused.forget(key)
            self._passing.put(key, way)
        waiting = self._waiting.get(key, now)
        if waiting is not None:
            verdict.released = tuple((held, way.of(held)) for held in waiting.held)
            self._waiting.forget(key)
        return verdict

    def _hold(self, key: DatagramId, piece: Packet, now: int) -> Verdict:
        """Keep a fragment whose first one has not come."""
        waiting = self._waiting.get(key, now)
        if waiting is None:
            waiting = Waiting(now + LIFETIME[piece.version])
            self._waiting.put(key, waiting)
        if len(waiting.held) == HELD_OF_EACH:
            why = "{} fragments of this datagram are held already, and the first one has not come (RFC 4787 REQ-14a)"
            return Verdict(Rule.LIMIT, why, (HELD_OF_EACH,))
        waiting.held.append(piece)
        why = "the first fragment of its datagram, which has the ports, has not come yet (RFC 4787 REQ-14)"
        return Verdict(Rule.FRAGMENT_HELD, why, until=waiting.until)
