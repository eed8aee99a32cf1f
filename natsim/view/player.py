"""The player: a run that can be played, paused, stepped and dragged through, in a notebook or as a page of its own.

    run.player()                          # in a notebook, it shows itself
    run.player().save("story.html")
    python -m natsim.view.player story.html

Map, ladder and tables show the same moment: packets move over the map, arrows appear in the ladder, rows appear,
change and expire in each NAT's table.  All of it is in the page, which asks neither a kernel nor the network.  Where
scripts do not run (a code host's preview, print) the whole ladder and its table are to be read.

Keys, while the player has the focus: space plays and pauses; left and right step from event to event; up and down go
from packet to packet and tell its whole story; Home and End.

`player_data.py` has what the page is given, `player.js` what it does with it.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING

from ..nat.table_row import COLUMNS
from .ladder import Ladder
from .player_data import player_data
from .svg import element, escape
from .topology import Topology
from .topology_svg import draw

if TYPE_CHECKING:
    from ..internet import Internet
    from ..run import Run
    from ..trace import Trace

#: How fast it can play.
SPEEDS = {"¼ speed": 0.25, "½ speed": 0.5, "speed 1": 1.0, "speed 2": 2.0, "speed 5": 5.0}


class Player:
    """A run as a page: `html` for a notebook, `page` for a file."""

    def __init__(self, trace: Trace, net: Internet) -> None:
        self.ladder = Ladder(trace, net)
        self._trace = trace
        self._topology = Topology(net, self.ladder.columns)

    @classmethod
    def of(cls, run: Run) -> Player:
        """The player of a run.  `NoTrace` if its packets were not captured."""
        ladder = Ladder.of(run)
        assert run.trace is not None
        player = cls(run.trace, run.net)
        player.ladder = ladder
        return player

    @cached_property
    def html(self) -> str:
        """The player as a piece of HTML, with its style and its script."""
        data = json.dumps(
            player_data(self._trace, self.ladder.layout, self._topology), ensure_ascii=False, separators=(",", ":")
        ).replace("</", "<\\/")
        name = "player-" + hashlib.sha256(data.encode()).hexdigest()[:12]
        # A notebook may show the same run twice, so each script starts every player of that name that has not begun.
        script = (
            f"(function(start){{document.querySelectorAll('.{name}:not([data-live])')"
            f".forEach(function(root){{start(root,{data})}})}})({_asset('player.js')});"
        )
        return element(
            "div",
            element("style", _asset("player.css"))
            + _controls()
            + element("div", draw(self._topology), data_part="map", class_="map")
            + element("div", escape(self.ladder.summary), data_part="says", class_="says", aria_live="polite")
            + element("div", "".join(self._table(c.name) for c in self.ladder.columns.all if c.is_nat), class_="tables")
            + element("div", self.ladder.svg, data_part="ladder", class_="ladder", tabindex="0", aria_label=_LADDER)
            + element("details", element("summary", "The same as a table") + self.ladder.table_html)
            + f"<script>{script}</script>",
            class_=f"natsim-player {name}",
            role="group",
            aria_label="Player: a run, moment by moment",
        )

    @property
    def page(self) -> str:
        """A whole HTML page."""
        head = element("meta", charset="utf-8") + element("title", escape(self.ladder.summary))
        return f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{self.html}</body></html>\n'

    def save(self, path: str | pathlib.Path) -> None:
        """Write the page."""
        pathlib.Path(path).write_text(self.page, encoding="utf-8")

    def _table(self, nat: str) -> str:
        heads = "".join(element("th", name, scope="col") for name in (*COLUMNS, "time left"))
        caption = element("caption", escape(f"Table of {nat}"))
        return element("table", caption + element("thead", element("tr", heads)) + '<tbody data-part="rows"></tbody>')

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"<Player: {self.ladder.summary}>"


_LADDER = "The ladder of the run; up and down go from packet to packet"


def _controls() -> str:
    """Hidden until the script is there."""
    buttons = [("first", "⇤", "To the beginning"), ("back", "←", "One event back"), ("play", "▶ Play", "Play")]
    buttons += [("next", "→", "One event on"), ("last", "⇥", "To the end")]
    shown = [
        element("button", text, type="button", data_part=part, aria_label=label, title=label)
        for part, text, label in buttons
    ]
    options = "".join(
        element("option", text, value=f"{speed:g}", selected="selected" if speed == 1 else None)
        for text, speed in SPEEDS.items()
    )
    shown.append(element("select", options, data_part="speed", aria_label="Speed"))
    shown.append(element("input", type="range", data_part="time", aria_label="Time"))
    shown.append(element("span", "", data_part="clock", class_="clock"))
    return element("div", "".join(shown), data_part="controls", class_="controls", hidden="hidden")


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def main() -> None:
    """Write the page of a small story to the file that is named."""
    from .ladder_demo import demonstration

    if len(sys.argv) != 2:
        sys.exit("usage: python -m natsim.view.player FILE.html")
    Player.of(demonstration()).save(sys.argv[1])


if __name__ == "__main__":
    main()
