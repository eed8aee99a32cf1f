"""The life of every row of the NATs' tables: from when to when it was there, and how it looked.

`trace.rows` has what was noted while the story ran; a row's end is not noted but follows: it expires, its table is
emptied, or another row takes its place.  A pure function from the log to `Life`s; read by the player and the tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..nat.table_row import TableRow
from ..row_log import Emptied, RowSeen


@dataclass
class Life:
    """One row: `looks` are (when, row), the first one when it appeared; `ended` is in nanoseconds."""

    node: str
    number: int
    looks: list[tuple[int, TableRow]] = field(default_factory=list)
    cut_short: int | None = None

    @property
    def began(self) -> int:
        """When it appeared."""
        return self.looks[0][0]

    @property
    def ended(self) -> int:
        """When it was gone; that may be long after the run."""
        expires = self.looks[-1][1].expires
        return expires if self.cut_short is None else min(expires, self.cut_short)

    def at(self, when: int) -> TableRow | None:
        """How it looked, or None if it was not there."""
        if not self.began <= when < self.ended:
            return None
        return [row for seen, row in self.looks if seen <= when][-1]


def lives(log: Iterable[RowSeen | Emptied]) -> list[Life]:
    """Every row of every table, in the order in which they appeared."""
    found: dict[int, Life] = {}
    current: dict[tuple[object, ...], Life] = {}
    for seen in log:
        if isinstance(seen, Emptied):
            for life in found.values():
                if life.node == seen.node and life.ended > seen.when:
                    life.cut_short = seen.when
            continue
        life = found.setdefault(seen.number, Life(seen.node, seen.number))
        life.looks.append((seen.when, seen.row))
        row = seen.row
        key = (seen.node, row.protocol, row.outside, row.mapping_key)
        before = current.get(key)
        if before is not None and before is not life and before.ended > seen.when:
            before.cut_short = seen.when
        current[key] = life
    return list(found.values())
