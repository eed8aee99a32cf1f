"""How the rows of every NAT's table looked while a story ran: they appear, change, live on, and are gone.

A NAT's rows are objects that change; here is noted, each time that a packet has used one, how it looks, unless it looks
as it did a moment ago and only lives a little longer.  Of a row that is not used any more the last look says when it
will have expired.

Part of the trace (`trace.py`), filled by `router.py`; read by the pictures of `view/`.
"""

from __future__ import annotations

from typing import NamedTuple

from .nat.table_row import TableRow
from .scheduler import MILLISECOND, Scheduler

#: A row that only lives a little longer is no news so soon after it was noted.
NEWS = 100 * MILLISECOND


class RowSeen(NamedTuple):
    """A row of `node`'s table as it looked at `when`; `number` is the same for the same row, and counts from 1."""

    when: int
    node: str
    number: int
    row: TableRow


class Emptied(NamedTuple):
    """At `when`, `node` lost its whole table."""

    when: int
    node: str


class RowLog:
    """What was to be seen in the tables, in order."""

    def __init__(self, clock: Scheduler) -> None:
        self._clock = clock
        self.seen: list[RowSeen | Emptied] = []
        self._pen = self.seen
        self._last: dict[object, RowSeen] = {}

    def used(self, node: str, row: object) -> None:
        """The NAT has made this row, or passed a packet by it, or would not."""
        as_row = getattr(row, "as_row", None)
        if as_row is None:
            return  # the NAT is somebody's own, and keeps its table in its own way
        now, looks = self._clock.now, as_row()
        last = self._last.get(row)
        if last is not None and looks[:-1] == last.row[:-1] and now - last.when < NEWS:
            return
        number = last.number if last is not None else len(self._last) + 1
        self._last[row] = RowSeen(now, node, number, looks)
        self._pen.append(self._last[row])

    def merge(self, other: RowLog) -> None:
        """Take over what another log has seen, in the order of time.  Its rows get numbers behind ours."""
        ours = len(self._last)
        theirs = [s._replace(number=s.number + ours) if isinstance(s, RowSeen) else s for s in other.seen]
        self._last |= {row: seen._replace(number=seen.number + ours) for row, seen in other._last.items()}
        self.seen[:] = sorted([*self.seen, *theirs], key=lambda seen: seen.when)

    def number_of(self, row: object) -> int | None:
        """The number of a NAT's row; None for what was never noted."""
        last = self._last.get(row) if row is not None else None
        return last.number if last is not None else None

    def emptied(self, node: str) -> None:
        """The NAT has forgotten all its rows."""
        self._pen.append(Emptied(self._clock.now, node))

    def end(self) -> None:
        """The story is told; what comes now is no part of it."""
        self._pen = []


class NoRows(RowLog):
    """In a run without a trace."""

    def used(self, node: str, row: object) -> None:
        """Nobody will ask."""

    def emptied(self, node: str) -> None:
        """Nobody will ask."""
