"""A run as a Mermaid sequence diagram: text that Markdown renderers, GitHub's and JupyterLab's among them, draw.

    print(run.mermaid())

The same rows as in the ladder (`folding.py`), hop by hop.  Mermaid has no axis of time, only an order: a hop stands
where it arrives, so that whatever a node had seen before it decided is above.  Crosses are packets that end there, and
the note beneath says why.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from math import ceil, floor
from typing import TYPE_CHECKING

from ..trace import Entry
from . import words
from .columns import Columns
from .folding import Arrow, Fold, Row, rows
from .story import ENDED, Fate, Hop

if TYPE_CHECKING:
    from ..internet import Internet

#: The participant that has no column: for packets that end in the middle of the internet, or on a link to it.
ELSEWHERE = "internet"

#: How many characters of a note stand in one line.
NOTE_WIDTH = 60

#: Characters that mean nothing to Mermaid, wherever they are in a text; of all others, `#;%$<>{}` may.
_PLAIN = re.compile(r"[^\w .,:()/+=?!'-]")

#: Words that begin something else than a message, so no participant can be called so.
_KEYWORDS = re.compile(
    "activate|actor|alt|and|autonumber|box|break|create|critical|deactivate|destroy|details|else|end|links?|loop|note|"
    "off|opt|option|over|par|par_over|participant|properties|rect|title",
    re.IGNORECASE,
)

#: When, the number of the entry in the trace, and the line.
Line = tuple[int, int, str]


def mermaid(net: Internet, trace: Iterable[Entry], limit: int) -> str:
    """The diagram, with at most `limit` arrows and notes, and one note more that counts what had no room.

    So that the end of a long run is not cut off, packets that are much alike are folded into notes first.  Raises
    ValueError for a limit below 1.
    """
    if limit < 1:
        raise ValueError(f"a diagram has at least one arrow: limit={limit}")
    columns = Columns(net)
    drawn = rows(trace, columns, budget=max(1, limit // len(columns.all)))  # a packet has an arrow for each hop
    diagram = _Diagram(columns)
    lines = sorted((line for row in drawn for line in diagram.lines(row)), key=lambda line: line[:2])
    return "\n".join([*diagram.head(), *diagram.body(lines, limit)]) + "\n"


class _Diagram:
    """Writes lines, and knows who takes part."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._elsewhere = False

    def head(self) -> list[str]:
        """The kind of diagram, and who takes part, from left to right.  To be asked for when the lines are written."""
        parts = [f"{_identifier(column.name)} as {column.name}<br/>{column.address}" for column in self._columns.all]
        if self._elsewhere:
            parts.insert(self._columns.middle, ELSEWHERE)
        return ["sequenceDiagram", *(f"    participant {part}" for part in parts)]

    def body(self, lines: list[Line], limit: int) -> list[str]:
        """The first `limit` lines, and how many others there are."""
        shown = [f"    {text}" for _, _, text in lines[:limit]]
        more = len(lines) - limit
        if more > 0:
            rest = f"{more:,} more arrows and notes, until {words.time(lines[-1][0])}, are left out here"
            shown.append("    " + self._note(self._span(0, self._columns.last), rest))
        return shown

    def lines(self, row: Row) -> Iterator[Line]:
        """A row of the ladder: an arrow has a line for each hop, and a note for its end."""
        if isinstance(row, Arrow):
            for hop in row.hops:
                yield hop.arrived, hop.finish, self._arrow(row, hop)
                if hop.fate in (*ENDED, Fate.HELD) and hop.reason is not None:
                    where = f"on the link {hop.target}: " if hop.fate is Fate.LOST else ""
                    yield hop.arrived, hop.finish, self._note(self._end_of(hop), f"{where}{hop.reason}")
        else:
            left, right = (row.left, row.right) if isinstance(row, Fold) else (0, self._columns.last)
            outcome = words.lines(row, self._columns)[0].outcome
            yield row.when, row.number, self._note(self._span(left, right), outcome)

    def _arrow(self, arrow: Arrow, hop: Hop) -> str:
        stroke = "-x" if hop.fate in ENDED else "-)" if hop.fate is Fate.FLYING else "->>"
        label = f"{words.time(hop.arrived)} {words.label(arrow)}"
        if arrow.full:
            label += f", {words.addresses(hop.packet)}"
        if hop.fate is Fate.FLYING:
            label += f", {hop.fate.value}"
        return f"{self._participant(hop.origin.partition('>')[0])}{stroke}{self._end_of(hop)}: {_escaped(label)}"

    def _end_of(self, hop: Hop) -> str:
        """Where a hop ends; for a packet that is still on its way, whom it is for."""
        if hop.fate is Fate.FLYING:
            return self._participant(self._columns.all[self._columns.owner(hop.packet.dst.address)].name)
        return self._participant(hop.target.rpartition(">")[2])

    def _participant(self, node: str) -> str:
        if node in self._columns.place:
            return _identifier(node)
        self._elsewhere = True
        return ELSEWHERE

    def _span(self, left: float, right: float) -> str:
        """The participants between which a note stands.  A place between two columns, or beside one, reaches both."""
        ends = max(0, floor(left)), min(self._columns.last, ceil(right))
        names = [_identifier(self._columns.all[end].name) for end in ends]
        return ",".join(dict.fromkeys(names))

    def _note(self, over: str, text: str) -> str:
        return f"Note over {over}: {'<br/>'.join(map(_escaped, textwrap.wrap(text, NOTE_WIDTH)))}"


def _identifier(name: str) -> str:
    """A node's name as Mermaid can read it."""
    return f"node.{name}" if _KEYWORDS.fullmatch(name) else name


def _escaped(text: str) -> str:
    """Text in which nothing is Mermaid, HTML or mathematics; other characters are named by their number.

    >>> _escaped("a > b; #3")
    'a #62; b#59; #35;3'
    """
    return _PLAIN.sub(lambda character: f"#{ord(character[0])};", " ".join(text.split()))
