"""The tables of a NAT: mappings, and the sessions within them (RFC 7857 section 2, RFC 6146 section 3.1).

* A **mapping** ties an inside endpoint to an outside endpoint of the NAT.  It is found from inside under
  `(protocol, inside endpoint, scope of the destination)` and from outside under `(protocol, outside endpoint)`.
* A **session** is what a mapping knows of one remote endpoint.  It is found from inside under
  `(protocol, inside endpoint, remote endpoint)`, so that an answer leaves by the mapping through which the question
  came.  A mapping keeps its sessions sorted by the *filter's* scope of their remotes: those are its open doors.

A row is alive while any of its sessions is, or its lease (`leases.py`).  Nothing is swept: what has expired is
thrown away when somebody stumbles upon it.  Times are integer nanoseconds.  Next: `engine.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from ..packet import TCP, Endpoint
from .leases import Lease
from .table_row import ANYBODY, TableRow
from .tcp_tracking import Tracking


@dataclass(slots=True, eq=False)
class Session:
    """What a mapping knows of one remote endpoint.

    `opened`: somebody inside has sent to it, so it may come in.  `sent` and `received` count packets from inside and
    from outside.
    """

    mapping: Mapping
    remote: Endpoint
    expires: int
    opened: bool = False
    sent: int = 0
    received: int = 0
    tracking: Tracking = Tracking.CLOSED


@dataclass(slots=True, eq=False)
class Mapping:
    """One row of the NAT table: `internal` is known outside as `external`, to those remotes that `scope` covers."""

    protocol: str
    internal: Endpoint
    external: Endpoint
    scope: Hashable
    lease: Lease | None = None
    sessions: dict[Endpoint, Session] = field(default_factory=dict)
    #: The filter key: for each scope of remotes, the sessions that have opened the door to it.
    doors: dict[Hashable, dict[Endpoint, Session]] = field(default_factory=dict)

    def alive(self, now: int) -> bool:
        """True while any session or the lease has not expired."""
        if self.lease is not None and self.lease.expires > now:
            return True
        return any(session.expires > now for session in self.sessions.values())

    def expires(self) -> int:
        """When the last session or the lease will have expired, if nothing more happens."""
        lease = self.lease.expires if self.lease is not None else 0
        return max([lease, *(session.expires for session in self.sessions.values())])

    def door_is_open(self, scope: Hashable, now: int) -> bool:
        """Has somebody inside sent to a remote of this scope, and not too long ago?"""
        sessions = self.doors.get(scope)
        if not sessions:
            return False
        for remote, session in list(sessions.items()):
            if session.expires > now:
                return True
            del sessions[remote]
        return False

    def as_row(self) -> TableRow:
        """For showing: who has opened which door, and how far TCP has come with each remote."""
        doors = tuple(scope for scope, sessions in self.doors.items() if sessions)
        if self.lease is not None:
            doors = (*(str(network) for network, _ in self.lease.allowed or ()), *doors) or (ANYBODY,)
        stages = dict.fromkeys(s.tracking.value for s in self.sessions.values()) if self.protocol == TCP else ()
        return TableRow(
            self.protocol, self.internal, self.external, self.scope, doors, ", ".join(stages), self.expires()
        )

    def __str__(self) -> str:
        return f"{self.protocol} {self.internal} <-> {self.external}"


class NatTable:
    """All mappings and sessions of one NAT, and the ways to find them."""

    def __init__(self) -> None:
        self._from_inside: dict[tuple[str, Endpoint, Hashable], Mapping] = {}
        #: Newest last.  More than one only where ports are overloaded.
        self._from_outside: dict[tuple[str, Endpoint], list[Mapping]] = {}
        self._sessions: dict[tuple[str, Endpoint, Endpoint], Session] = {}
        self._of_host: dict[str, dict[Mapping, None]] = {}

    # -- Finding -----------------------------------------------------------------------------------------------------

    def inside(self, protocol: str, internal: Endpoint, scope: Hashable, now: int) -> Mapping | None:
        """The mapping of an inside endpoint for a scope of destinations."""
        mapping = self._from_inside.get((protocol, internal, scope))
        return mapping if mapping is not None and mapping.alive(now) else None

    def outside(self, protocol: str, external: Endpoint, scope: Hashable, now: int) -> Mapping | None:
        """The mapping behind an outside endpoint: that for this scope of remotes, or else the newest."""
        newest = None
        for mapping in reversed(self.at(protocol, external)):
            if mapping.alive(now):
                if mapping.scope == scope:
                    return mapping
                newest = newest or mapping
        return newest

    def session(self, protocol: str, internal: Endpoint, remote: Endpoint, now: int) -> Session | None:
        """What goes on between an inside and a remote endpoint."""
        session = self._sessions.get((protocol, internal, remote))
        return session if session is not None and session.expires > now else None

    def at(self, protocol: str, external: Endpoint) -> list[Mapping]:
        """Every mapping with that outside endpoint, also those that have expired and not yet been replaced."""
        return self._from_outside.get((protocol, external), [])

    def rows(self, now: int, host: str | None = None) -> Iterator[Mapping]:
        """The mappings that are alive, oldest first; of one inside host or of all."""
        if host is not None:
            return (mapping for mapping in self._of_host.get(host, ()) if mapping.alive(now))
        return (row for rows in self._from_outside.values() for row in rows if row.alive(now))

    # -- Changing ----------------------------------------------------------------------------------------------------

    def add(self, mapping: Mapping) -> None:
        """A new row; it replaces an expired one of the same inside endpoint and scope."""
        key = (mapping.protocol, mapping.internal, mapping.scope)
        if (old := self._from_inside.get(key)) is not None:
            self.remove(old)
        self._from_inside[key] = mapping
        self._from_outside.setdefault((mapping.protocol, mapping.external), []).append(mapping)
        self._of_host.setdefault(mapping.internal.address, {})[mapping] = None

    def remove(self, mapping: Mapping) -> None:
        """Forget a row and all its sessions."""
        del self._from_inside[mapping.protocol, mapping.internal, mapping.scope]
        outside = self._from_outside[mapping.protocol, mapping.external]
        outside.remove(mapping)
        if not outside:
            del self._from_outside[mapping.protocol, mapping.external]
        del self._of_host[mapping.internal.address][mapping]
        for session in mapping.sessions.values():
            key = (mapping.protocol, mapping.internal, session.remote)
            if self._sessions.get(key) is session:
                del self._sessions[key]

    def open_session(self, mapping: Mapping, remote: Endpoint, now: int) -> Session:
        """The living session of a mapping with a remote endpoint; a new one if there is none."""
        session = mapping.sessions.get(remote)
        if session is None or session.expires <= now:
            session = mapping.sessions[remote] = Session(mapping, remote, now)
            key = (mapping.protocol, mapping.internal, remote)
            known = self._sessions.get(key)
            if known is None or known.expires <= now:
                self._sessions[key] = session
        return session

    def clear(self) -> None:
        """Forget everything, as a NAT does that loses its power."""
        self.__init__()  # type: ignore[misc]
