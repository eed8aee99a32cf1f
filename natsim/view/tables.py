"""NAT tables as HTML: all rows at one moment, or those rows that decided what became of the peers' packets.

    run.tables()                     # in a notebook: every NAT's table as it was at the end
    python -m natsim.view.tables     # the tables of a small story, as text

Pure functions of a run.  The columns are those of `nat/table_row.py`; the keys show what RFC 4787's names mean.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

from ..nat.table_row import COLUMNS
from ..nat.verdict import Verdict
from ..scheduler import nanoseconds, seconds
from .columns import Columns
from .svg import element, escape
from .table_life import Life, lives
from .words import time

if TYPE_CHECKING:
    from ..run import Run
    from ..trace import Trace


class Tables:
    """Every NAT's table at one moment, in seconds of the world's clock.  Shows itself, and prints."""

    def __init__(self, trace: Trace, columns: Columns, when: float) -> None:
        self.when = when
        now = nanoseconds(when)
        #: For each NAT, its rows at that moment: the cells, and the seconds that are left.
        self.rows: dict[str, list[tuple[str, ...]]] = {column.name: [] for column in columns.all if column.is_nat}
        for life in lives(trace.rows.seen):
            row = life.at(now)
            if row is not None and life.node in self.rows:
                self.rows[life.node].append((*row.cells(), f"{seconds(row.expires - now):.1f} s"))

    @property
    def html(self) -> str:
        """One table for each NAT."""
        heads = (*COLUMNS, "time left")
        return "".join(_table(f"Table of {nat} at {self.when:.4f} s", heads, rows) for nat, rows in self.rows.items())

    def _repr_html_(self) -> str:
        return self.html

    def __str__(self) -> str:
        return "\n\n".join(_text(f"Table of {nat} at {self.when:.4f} s", rows) for nat, rows in self.rows.items())


def deciding_rows(run: Run) -> str:
    """The rows by which packets between the peers passed or were refused, and how many of them."""
    trace = run.trace
    if trace is None:
        return ""
    columns = Columns(run.net)
    did: dict[int, Counter[str]] = {}
    for entry in trace:
        if not isinstance(entry.reason, Verdict):
            continue
        number = trace.rows.number_of(entry.reason.row)
        ends = {entry.packet.src.address, entry.packet.dst.address}
        if number is not None and columns.server_addresses.isdisjoint(ends):
            did.setdefault(number, Counter())[entry.reason.label] += 1
    shown = [(life, did[life.number]) for life in lives(trace.rows.seen) if life.number in did]
    if not shown:
        return element("p", "No NAT had a row for the peers' packets.")
    rows = [(life.node, *_look(life), _counted(counts)) for life, counts in shown]
    return _table("The rows that decided", ("NAT", "from", *COLUMNS, "packets"), rows)


def _look(life: Life) -> tuple[str, ...]:
    return time(life.began), *life.looks[-1][1].cells()


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))


def _table(caption: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = element("tr", "".join(element("th", escape(name), scope="col") for name in heads))
    body = "".join(element("tr", "".join(element("td", escape(cell)) for cell in row)) for row in rows)
    if not rows:
        body = element("tr", element("td", "no rows", colspan=len(heads)))
    parts = element("caption", escape(caption)) + element("thead", head) + element("tbody", body)
    return element("table", parts, class_="natsim-table")


def _text(caption: str, rows: list[tuple[str, ...]]) -> str:
    lines = [(*COLUMNS, "time left"), *rows] if rows else [("no rows",)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join([caption, *("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)])


def main() -> None:
    """Print the tables of a small story."""
    from .ladder_demo import demonstration

    sys.stdout.write(f"{demonstration().tables()}\n")


if __name__ == "__main__":
    main()
