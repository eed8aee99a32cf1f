"""What happened to every packet, where, and why.

The trace is an append-only list of plain tuples, one for each thing that a node did with a packet.  Nothing is
formatted while the simulation runs: an entry keeps the packet itself (packets never change, see `packet.py`)
and, where a rule decided, the `Verdict` that names the rule.  Entries get the names of their fields when somebody
looks at them, and sentences are made when somebody asks.

The trace of a run reads the same for the same seed, in any process: `digest()` is its fingerprint.  Payload
bytes are left out of it, since keys are drawn from the operating system; their sizes are in.

Next: `nat/verdict.py`, where reasons come from; `why_packet.py`, which tells them; and `view/`, which draws this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import product
from typing import NamedTuple, Protocol

from .nat.spelling import named
from .packet import ICMP, TCP, UDP, Endpoint, Packet
from .row_log import NoRows, RowLog
from .scheduler import Scheduler, nanoseconds, seconds

# What a node can do with a packet.
SENT = "sent"  # a host made it
TRANSLATED = "translated"  # a NAT passed it on, under other addresses or (a firewall) the same
FRAGMENTED = "fragmented"  # it is a part of a packet that was too large for the next link
DELIVERED = "delivered"  # a host's socket, or its TCP, took it
ANSWERED = "answered"  # nobody took it, and the node answered with a RST or an ICMP error
DUPLICATED = "duplicated"  # a link made a second one of it, which has the same number
HELD = "held"  # it is kept back for a while: a SYN (RFC 5382 REQ-4), or a fragment until others have come
DROPPED = "dropped"  # it ends here

ACTIONS = (SENT, TRANSLATED, FRAGMENTED, DELIVERED, ANSWERED, DUPLICATED, HELD, DROPPED)


class Reason(Protocol):
    """Anything that can say in a sentence why it decided as it did."""

    def __str__(self) -> str: ...


class Entry(NamedTuple):
    """One line of the trace.  `packet` is as it left the node; `before` as it came (None when it was not changed).

    Only `packet.ttl` goes on changing, since routers count it down: `ttl` is what it was then.
    """

    when: int
    node: str
    action: str
    packet: Packet
    reason: Reason | None
    before: Packet | None
    ttl: int = 64

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


class NoTrace(ValueError):
    """The run has no trace to tell or to draw."""


class Trace:
    """All entries of a run, in order; `trace.of(packet)` is the story of one packet.  `events` are the faults."""

    def __init__(self, clock: Scheduler) -> None:
        self._clock = clock
        self._next_uid = 1
        #: The fields of each `Entry`.
        self._kept: list[tuple[int, str, str, Packet, Reason | None, Packet | None, int]] = []
        self.events: list[Event] = []
        #: How the rows of the NATs' tables looked.
        self.rows = RowLog(clock)
        #: Where the next entry and the next event go: into these lists, until the run is over.
        self._entry_pen, self._event_pen = self._kept, self.events

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
        self._entry_pen.append((self._clock.now, node, action, packet, reason, before, packet.ttl))

    def happened(self, node: str, words: str) -> None:
        """Note what has befallen `node`, now."""
        self._event_pen.append(Event(self._clock.now, node, words))

    def end(self) -> None:
        """The story is told.  How programs say goodbye when they are cancelled is no part of it.

        (And what asyncio makes of that depends on the version of Python.)
        """
        self._entry_pen, self._event_pen = [], []
        self.rows.end()

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

    def where(
        self,
        *,
        node: str | None = None,
        action: str | None = None,
        protocol: str | None = None,
        between: tuple[str | Endpoint, str | Endpoint] | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[Entry]:
        """The entries that fit everything that is asked for, in order.

        node: what this host, NAT or link did.  action: one of `ACTIONS`.  protocol: "udp", "tcp" or "icmp".
        between: packets from one of these two to the other, or back; each is an address, or an endpoint such as
            "203.0.113.10:7711".  A packet that has had such a source and destination anywhere on its way fits, with
            all its entries.
        since, until: in seconds of the world's clock; `until` itself is not included.

        Raises ValueError for an unknown action or protocol, and for ends that are no addresses.

            trace.where(node="nat_b", action="dropped", since=0.4)
            trace.where(between=(net.alice.address, net.nat_b.address), protocol="tcp")
        """
        action = action and named("the action of an entry", action, _ACTIONS)
        protocol = protocol and named("the protocol of a packet", protocol, _PROTOCOLS)
        start = nanoseconds(since) if since is not None else 0
        end = nanoseconds(until) if until is not None else None
        uids = self._between(*between) if between is not None else None
        return [
            entry
            for entry in self
            if (node is None or entry.node == node)
            and (action is None or entry.action == action)
            and (protocol is None or entry.packet.protocol == protocol)
            and (uids is None or entry.packet.uid in uids)
            and start <= entry.when
            and (end is None or entry.when < end)
        ]

    def _between(self, one: str | Endpoint, other: str | Endpoint) -> set[int]:
        """The packets that have been from one end to the other, or back, before a NAT or after it."""
        for end in (one, other):
            _check_is_address(str(end))
        ends = {(str(one), str(other)), (str(other), str(one))}
        return {
            entry.packet.uid
            for entry in self
            if not ends.isdisjoint(product(_spellings(entry.packet.src), _spellings(entry.packet.dst)))
        }

    def why(self, packet: Packet | Entry | int) -> str:
        """The whole story of one packet in words: its way, its end, and the reasons.  Give itself, an entry or its uid.

        Raises ValueError if this trace knows no such packet.
        """
        from .why_packet import why_packet

        if isinstance(packet, Entry):
            packet = packet.packet
        return why_packet(self, packet if isinstance(packet, int) else packet.uid)

    def digest(self) -> str:
        """A fingerprint of the run: equal for equal seeds, whatever the process or its hash seed.

        It covers when, where, what and by which rule for every entry, with all header fields and the payload's length;
        and every event, if there are any.
        """
        sha = hashlib.sha256()
        for when, node, action, packet, reason, before, ttl in self._kept:
            p = packet
            fields = (when, node, action, p.uid, p.cause, p.protocol, p.src, p.dst, ttl, len(p.payload))
            tcp = (p.flags, p.seq, p.ack, p.window, p.mss, p.wscale, p.icmp)
            size: tuple[object, ...] = (p.df, p.fragment) if p.df or p.fragment is not None else ()
            size += (p.mtu,) if p.mtu is not None else ()
            was = (before.src, before.dst) if before is not None else None
            why = str(getattr(reason, "label", reason))  # not repr(): that may be an address in memory
            sha.update(repr((fields, tcp, why, was, *size)).encode())
        for event in self.events:
            sha.update(repr(tuple(event)).encode())
        return sha.hexdigest()


class Untraced(Trace):
    """Stands where a trace would, in a run that keeps none: packets get their numbers, and nothing is noted."""

    def __init__(self, clock: Scheduler) -> None:
        super().__init__(clock)
        self.rows = NoRows(clock)

    def add(
        self, node: str, action: str, packet: Packet, reason: Reason | None = None, before: Packet | None = None
    ) -> None:
        """Nobody will ask."""

    def happened(self, node: str, words: str) -> None:
        """Nobody will ask."""


_ACTIONS = {action: action for action in ACTIONS}
_PROTOCOLS = {protocol: protocol for protocol in (UDP, TCP, ICMP)}


def _spellings(end: Endpoint) -> tuple[str, str]:
    """How somebody may name an end of a packet: the endpoint, or its address alone."""
    return str(end), end.address


def _check_is_address(end: str) -> None:
    bracketed = end.startswith("[")  # "[2001:db8::1]:80"; and "2001:db8::1" is an address without a port
    address = end[1:].partition("]")[0] if bracketed else end if end.count(":") > 1 else end.partition(":")[0]
    try:
        ip_address(address)
    except ValueError:
        raise ValueError(
            f'between two addresses, or endpoints such as "203.0.113.10:7711"; {end!r} is neither. The address of a '
            "host or NAT is net.alice.address, net.nat_a.address"
        ) from None
