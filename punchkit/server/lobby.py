"""Who meets whom: the rooms of a server, without I/O.

A room is for two.  The first to come waits; the second makes a pair; a third is turned away.  Once a pair has met,
the room is burned, whatever came of it: an attacker who guesses at a code spoils it with the first guess, and its
owners see that (RFC 9382 needs no more than that for a short password to be enough).

Time is an argument, in seconds.  Peers are opaque objects.  Next: `server.py`, which gives them sockets.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from punchkit import wire

#: How long somebody may wait alone, in seconds.
WAIT_LIMIT = 600.0

#: How long a room stays burned, in seconds, and how many burned rooms are remembered at most.
BURN_TIME = 3600.0
MAX_BURNED = 100_000

#: How many may wait at the same time.
MAX_WAITING = 10_000


@dataclass(frozen=True)
class Refused:
    """No room: `code` is one of `wire`'s, `say` is the reason in words."""

    code: str
    say: str


@dataclass(frozen=True)
class Paired:
    """Both are here.  The one who came first leads."""

    leader: Hashable
    follower: Hashable


class Lobby:
    """The rooms of one server."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Hashable, float]] = {}
        self._busy: dict[str, set[Hashable]] = {}
        self._burned: OrderedDict[str, float] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait alone."""
        return len(self._waiting)

    @property
    def pairs(self) -> int:
        """How many pairs are together."""
        return len(self._busy)

    def allocate(self, now: float) -> str:
        """The smallest number that no room has."""
        self._forget_burned(now)
        return next(
            name
            for name in map(str, itertools.count(1))
            if name not in self._waiting and name not in self._busy and name not in self._burned
        )

    def enter(self, room: str, peer: Hashable, now: float) -> Paired | Refused | None:
        """`peer` comes to a room: it is paired, refused, or (None) it waits."""
        self._forget_burned(now)
        if room in self._busy:
            return Refused(wire.CROWDED, f"two others are in room {room} already")
        if room in self._burned:
            return Refused(wire.USED, f"room {room} has been used, and a room is good for one meeting")
        if room in self._waiting:
            first, _ = self._waiting.pop(room)
            self._busy[room] = {first, peer}
            return Paired(first, peer)
        if len(self._waiting) >= MAX_WAITING:
            return Refused(wire.BUSY, f"{MAX_WAITING} others wait here already; try again later")
        self._waiting[room] = (peer, now + WAIT_LIMIT)
        return None

    def leave(self, room: str, peer: Hashable, now: float) -> None:
        """`peer` is gone.  A room in which it waited alone is free again; one in which it met somebody is burned."""
        if self._waiting.get(room, (None, 0))[0] is peer:
            del self._waiting[room]
        elif peer in self._busy.get(room, ()):
            self._busy[room].discard(peer)
            if not self._busy[room]:
                del self._busy[room]
                self._burned[room] = now + BURN_TIME
                if len(self._burned) > MAX_BURNED:
                    self._burned.popitem(last=False)

    def _forget_burned(self, now: float) -> None:
        while self._burned and next(iter(self._burned.values())) <= now:
            self._burned.popitem(last=False)
