"""The ladder diagram of a run: who sent what to whom, when, and what became of it.

    run.ladder()                      # in a notebook, it shows itself
    run.ladder().save("story.svg")
    python -m natsim.view.ladder      # a demonstration in the terminal

`Ladder` is the door to four rooms that hand rows on: `story.py` (trace to hops), `folding.py` (which hops are shown),
`ladder_svg.py` and `ladder_text.py` (drawing them); `words.py` has all sentences.  Nothing here changes a trace, and
nothing of the simulator knows that it is drawn.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from ..trace import Entry, NoTrace
from . import ladder_svg, ladder_text, words
from .columns import Columns
from .folding import Row, rows
from .ladder_layout import Layout
from .svg import element, escape

if TYPE_CHECKING:
    from ..internet import Internet
    from ..run import Run


class Ladder:
    """A trace as a ladder: `svg`, `text`, `table_html`, and `rows` for whoever draws it otherwise."""

    def __init__(self, trace: Iterable[Entry], net: Internet) -> None:
        self._entries = list(trace)
        self.columns = Columns(net)

    @classmethod
    def of(cls, run: Run) -> Ladder:
        """The ladder of a run.  `NoTrace` if its packets were not captured."""
        if run.trace is None:
            raise NoTrace(f"this run has no trace, so there is no ladder: {run.untraced}")
        return cls(run.trace, run.net)

    @cached_property
    def rows(self) -> list[Row]:
        """What is drawn: arrows, bands and pauses (see `folding.py`)."""
        return rows(self._entries, self.columns)

    @cached_property
    def layout(self) -> Layout:
        """Where everything goes in the picture."""
        return ladder_svg.plan(self.rows, self.columns)

    @cached_property
    def summary(self) -> str:
        """The run in a few sentences."""
        return words.summary(self._entries, self.columns)

    @cached_property
    def svg(self) -> str:
        """A standalone SVG document."""
        return ladder_svg.svg(self.layout, self.summary)

    @cached_property
    def text(self) -> str:
        """The ladder for a terminal, about 120 characters wide."""
        return ladder_text.text(self.rows, self.columns, self.summary)

    @cached_property
    def table_html(self) -> str:
        """The ladder as an HTML table: one line for each hop, with the whole reason."""
        heads = ("time", "packet", "way", "addresses on this way", "what became of it")
        head = element("tr", "".join(element("th", name, scope="col") for name in heads))
        lines = [line for row in self.rows for line in words.lines(row, self.columns)]
        body = "\n".join(element("tr", "".join(element("td", escape(cell)) for cell in line)) for line in lines)
        caption = element("caption", escape(f"{words.title(self.columns)}. {self.summary}"))
        return element("table", caption + element("thead", head) + element("tbody", body), class_="natsim-ladder")

    def save(self, path: str | pathlib.Path) -> None:
        """Write the SVG, or the text if the name ends in `.txt`."""
        path = pathlib.Path(path)
        path.write_text(self.text if path.suffix == ".txt" else self.svg, encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        summary = element("summary", "The same as a table")
        return element("div", self.svg + element("details", summary + self.table_html), class_="natsim-ladder")

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Ladder: {self.summary}>"


def main() -> None:
    """Show a small story; with the name of a file, save its picture too."""
    from .ladder_demo import demonstration

    ladder = demonstration().ladder()
    sys.stdout.write(ladder.text)
    for path in sys.argv[1:]:
        ladder.save(path)


if __name__ == "__main__":
    main()
