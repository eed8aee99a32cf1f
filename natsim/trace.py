"""What happened to every packet, where, and why.

The trace is an append-only list of plain tuples, one for each thing that a node did with a packet.  Nothing is
formatted while the simulation runs: an entry keeps the packet itself (packets never change, see `packet.py`)
and, where a rule decided, the `Verdict` that names the rule.  Entries get the names of their fields when somebody
looks at them, and sentences are made when somebody asks.

The trace of a run reads the same for the same seed, in any process: `digest()` is its fingerprint.  Payload
bytes are left out of it, since keys are drawn from the operating system; their sizes are in.

Next: `nat/verdict.py`, where reasons come from, and `view/`, which draws this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from .packet import Packet
from .scheduler import Scheduler, seconds

# What a node can do with a packet.
SENT = "sent"  # a host made it
TRANSLATED = "translated"  # a NAT passed it on, under other addresses or (a firewall) the same
FRAGMENTED = "fragmented"  # it is a part of a packet that was too large for the next link
DELIVERED = "delivered"  # a host's socket, or its TCP, took it
ANSWERED = "answered"  # nobody took it, and the node answered with a RST or an ICMP error
DUPLICATED = "duplicated"  # a link made a second one of it, which has the same number
HELD = "held"  # it is kept back for a while: a SYN (RFC 5382 REQ-4), or a fragment until others have come
DROPPED = "dropped"  # it ends here


class Reason(Protocol):
    """Anything that can say in a sentence why it decided as it did."""

    def __str__(self) -> str: ...


class Entry(NamedTuple):
    """One line of the trace.  `packet` is as it left the node; `before` as it came (None when it was not changed)."""

    when: int
    node: str
    action: str
    packet: Packet
    reason: Reason | None
    before: Packet | None

    def __str__(self) -> str:
        line = f"{seconds(self.when):10.6f} {self.node:<10} {self.action:<10} {self.packet!r}"
        if self.before is not None:
            line += f" (was {self.before.src} > {self.before.dst})"
        return f"{line}  {self.reason}" if self.reason is not None else line


class Event(NamedTuple):
    """Something that befell a node, and not a packet: a fault (`faults.py`)."""

    when: int
    node: str
    words: str

    def __str__(self) -> str:
        return f"{seconds(self.when):10.6f} {self.node:<10} {self.words}"


class Trace:
    """All entries of a run, in order; `trace.of(packet)` is the story of one packet.  `events` are the faults."""

    def __init__(self, clock: Scheduler) -> None:
        self._clock = clock
        self._next_uid = 1
        #: The fields of each `Entry`.
        self._kept: list[tuple[int, str, str, Packet, Reason | None, Packet | None]] = []
        self.events: list[Event] = []

    def sent(self, node: str, packet: Packet) -> None:
        """A host or a NAT made this packet: it gets its number here."""
        packet.uid = self._next_uid
        self._next_uid += 1
        self.add(node, SENT, packet)

    def fragmented(self, node: str, packet: Packet, pieces: list[Packet], reason: Reason) -> None:
        """A node has cut a packet: the first piece keeps its number, the others get theirs here."""
        for piece in pieces[1:]:
            piece.uid = self._next_uid
            self._next_uid += 1
        for piece in pieces:
            self.add(node, FRAGMENTED, piece, reason, packet)

    def add(
        self, node: str, action: str, packet: Packet, reason: Reason | None = None, before: Packet | None = None
    ) -> None:
        """Note what `node` did with `packet`, now."""
        self._kept.append((self._clock.now, node, action, packet, reason, before))

    def happened(self, node: str, words: str) -> None:
        """Note what has befallen `node`, now."""
        self.events.append(Event(self._clock.now, node, words))

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry._make, self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, packet: Packet | int) -> list[Entry]:
        """The story of one packet (or of the one with that uid), from the first node to the last."""
        uid = packet if isinstance(packet, int) else packet.uid
        return [entry for entry in self if entry.packet.uid == uid]

    def drops(self) -> list[Entry]:
        """Every entry in which a packet ended before it reached anybody."""
        return [entry for entry in self if entry.action in (DROPPED, ANSWERED)]

    def digest(self) -> str:
        """A fingerprint of the run: equal for equal seeds, whatever the process or its hash seed.

        It covers when, where, what and by which rule for every entry, with all header fields and the payload's length;
        and every event, if there are any.
        """
        sha = hashlib.sha256()
        for when, node, action, packet, reason, before in self._kept:
            p = packet
            fields = (when, node, action, p.uid, p.cause, p.protocol, p.src, p.dst, p.ttl, len(p.payload))
            tcp = (p.flags, p.seq, p.ack, p.window, p.mss, p.wscale, p.icmp)
            size = (p.df, p.fragment) if p.df or p.fragment is not None else ()
            was = (before.src, before.dst) if before is not None else None
            why = str(getattr(reason, "label", reason))  # not repr(): that may be an address in memory
            sha.update(repr((fields, tcp, why, was, *size)).encode())
        for event in self.events:
            sha.update(repr(tuple(event)).encode())
        return sha.hexdigest()


class Untraced(Trace):
    """Stands where a trace would, in a run that keeps none: packets get their numbers, and nothing is noted."""

    def add(
        self, node: str, action: str, packet: Packet, reason: Reason | None = None, before: Packet | None = None
    ) -> None:
        """Nobody will ask."""

    def happened(self, node: str, words: str) -> None:
        """Nobody will ask."""
