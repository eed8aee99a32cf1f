"""Where somebody who listens on every interface of an internet would have seen its packets: from a trace to a capture.

A trace has a line for each thing that a node did.  Here that becomes one `Sighting` for each time that a packet left or
reached an interface: a host has one, a NAT has two ("nat_a inside", "nat_a outside").  Two more kinds are no real
interfaces.  "internet" shows what ends in the middle of the internet, or is sent from there; a link such as
"nat_a>internet" shows what it lost or doubled.

A reason stands with the arrival of the packet that was decided about.  Pure functions, for `pcapng.py` and
`scapy_packets.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from .multicast import is_multicast
from .packet import Packet
from .packet_bytes import to_bytes
from .trace import FRAGMENTED, HELD, SENT, TRANSLATED, Entry

if TYPE_CHECKING:
    from .internet import Internet

#: The node that is everything public, and its interface.
INTERNET = "internet"


@dataclass(slots=True, eq=False)
class Sighting:
    """A packet on an interface, as it was there.  `when` is in nanoseconds.

    `leaves`: from the node into the link; otherwise it arrives.  `datagram` is the payload of the whole datagram, if
    the packet is a fragment of one.  `comments` is what the node decided, and why.
    """

    when: int
    interface: str
    leaves: bool
    packet: Packet
    datagram: bytes | None
    comments: list[str]

    @property
    def octets(self) -> bytes:
        """The packet's bytes, from its IP header on."""
        return to_bytes(self.packet, self.datagram)


def sightings(net: Internet, trace: Iterable[Entry]) -> list[Sighting]:
    """Every sighting of a run, in the order of time."""
    return _Watch(net, list(trace)).result


def interfaces(net: Internet, seen: Iterable[Sighting]) -> list[str]:
    """The names of all interfaces: those of the internet's nodes, and after them whatever else packets were seen on."""
    names = [*net.hosts, *(side for nat in net.nats for side in _sides(nat))]
    return list(dict.fromkeys([*names, *(sighting.interface for sighting in seen)]))


def _sides(nat: str) -> tuple[str, str]:
    return f"{nat} inside", f"{nat} outside"


class _Place(NamedTuple):
    """One end of a link.  `public`: it is on the internet, and not on a LAN."""

    interface: str
    public: bool


class _Places:
    """At which interface of its node a packet leaves, and at which it arrives.  It is the addresses that tell."""

    def __init__(self, net: Internet) -> None:
        self._nats = net.nats
        self._is_on_lan = cache(lambda nat, address: net.nats[nat].has_inside(address))

    def exit(self, node: str, packet: Packet) -> _Place:
        """Where it leaves: a NAT sends inside what is for its LAN."""
        if node in self._nats:
            to = packet.dst.address
            return self._side(node, inside=is_multicast(to) or self._is_on_lan(node, to))
        return self._host(node, packet.src.address)

    def entrance(self, node: str, packet: Packet) -> _Place:
        """Where it arrives: at a NAT's inside, if it comes from the LAN."""
        if node in self._nats:
            return self._side(node, inside=self._is_on_lan(node, packet.src.address))
        return self._host(node, packet.dst.address)

    def _side(self, nat: str, inside: bool) -> _Place:
        names = _sides(nat)
        return _Place(names[0], public=False) if inside else _Place(names[1], self._nats[nat].behind is None)

    def _host(self, name: str, address: str) -> _Place:
        """A host is where its address is: it may have moved since it was described."""
        return _Place(name, name != INTERNET and not any(self._is_on_lan(nat, address) for nat in self._nats))


class _Departure(NamedTuple):
    """How a packet has left a node.  `ttl` is what it had then; `seen` is None if it was too large, and so was cut."""

    node: str
    place: _Place
    ttl: int
    seen: Sighting | None


class _Watch:
    """Reads a trace once, and remembers of each packet what it needs for the entries to come.

    Of a packet that was doubled there are two with one uid, so what has left, and what is held back, is known by the
    object itself: a packet that leaves one node is the same object when it arrives at the next.
    """

    def __init__(self, net: Internet, entries: list[Entry]) -> None:
        self.result: list[Sighting] = []
        self._places = _Places(net)
        self._left: dict[int, _Departure] = {}
        #: The same by uid, for the copies that a router makes of a datagram to a group.
        self._sent: dict[int, _Departure] = {}
        self._held: dict[tuple[str, int], Sighting] = {}
        #: First fragments by uid, which is that of the datagram when its parts are put together.
        self._first_parts: dict[tuple[str, int], Sighting] = {}
        #: The payloads of datagrams that were cut, by uid.
        self._datagrams: dict[int, bytes] = {}
        self._too_large = {id(entry.before) for entry in entries if entry.action == FRAGMENTED}
        for entry in entries:
            self._read(entry)

    def _read(self, entry: Entry) -> None:
        before = entry.before
        if ">" in entry.node:
            self._see(entry, entry.node, entry.packet, entry.ttl, leaves=True)
            if before is not None:  # doubled
                self._left[id(entry.packet)] = self._departure(before)
        elif entry.action in (SENT, FRAGMENTED):
            if before is not None and before.fragment is None:
                self._datagrams[before.uid] = before.payload
            self._leaves(entry)
        elif before is not None:
            self._arrives(entry, before)
            self._leaves(entry)
        else:
            self._arrives(entry, entry.packet)

    def _leaves(self, entry: Entry) -> None:
        packet = entry.packet
        place = self._places.exit(entry.node, packet)
        seen = None
        if id(packet) not in self._too_large:
            seen = self._see(entry, place.interface, packet, entry.ttl, leaves=True)
        self._left[id(packet)] = departure = _Departure(entry.node, place, entry.ttl, seen)
        self._sent.setdefault(packet.uid, departure)

    def _arrives(self, entry: Entry, packet: Packet) -> None:
        """`packet` is as it came.  What has come before, or has never left, is not seen again: it gets its comment."""
        known = self._known(entry.node, packet)
        if known is not None:
            known.comments += _comments(entry)
            return
        left = self._departure(packet)
        place = self._places.entrance(entry.node, packet)
        # Routers count the TTL down before they decide, so their entries do not say with which one it came.
        crossed = place.public and left.place.public
        seen = self._see(entry, place.interface, packet, left.ttl - crossed, leaves=False)
        if entry.action == HELD:
            self._held[entry.node, id(packet)] = seen
            if packet.fragment is not None and not packet.is_later_fragment:
                self._first_parts[entry.node, packet.uid] = seen

    def _departure(self, packet: Packet) -> _Departure:
        return self._left.get(id(packet)) or self._sent[packet.uid]

    def _known(self, node: str, packet: Packet) -> Sighting | None:
        """The sighting of a packet that was held back here, of which a part was, or that was sent here."""
        if (node, id(packet)) in self._held:
            return self._held[node, id(packet)]
        if packet.fragment is None and (node, packet.uid) in self._first_parts:
            return self._first_parts.pop((node, packet.uid))
        left = self._left.get(id(packet))
        return left.seen if left is not None and left.node == node else None

    def _see(self, entry: Entry, interface: str, packet: Packet, ttl: int, *, leaves: bool) -> Sighting:
        """Note a picture of the packet, with the TTL that it had there."""
        picture = packet.rewritten()
        picture.ttl = ttl
        datagram = self._datagrams.get(packet.uid) if packet.fragment is not None else None
        comments = [] if leaves and entry.action == TRANSLATED else _comments(entry)
        sighting = Sighting(entry.when, interface, leaves, picture, datagram, comments)
        self.result.append(sighting)
        return sighting


def _comments(entry: Entry) -> list[str]:
    return [str(entry.reason)] if entry.reason is not None else []
