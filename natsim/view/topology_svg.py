"""The topology as SVG: who is connected to whom, behind which NATs.

    python -m natsim.view.topology_svg > topology.svg

A standalone picture; the player (`player.py`) moves packets over it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .columns import Columns
from .palette import FAINT, INK, MONO, PAPER, SANS, WALL
from .svg import element, escape
from .topology import HEIGHT, TOP, Point, Spot, Topology

if TYPE_CHECKING:
    from ..internet import Internet


def topology_svg(net: Internet) -> str:
    """The picture of an internet.  Equal internets give equal bytes."""
    return draw(Topology(net, Columns(net)))


def draw(topology: Topology, extra: str = "") -> str:
    """The picture; `extra` is markup that goes on top of the links and under nothing."""
    spots = topology.spots.values()
    sites = ", ".join(f"{spot.name} at {spot.address}" for spot in spots)
    x, y = topology.cloud
    parts = [
        element("title", "Hosts, NATs and the internet between them"),
        element("desc", escape(f"From left to right: {sites}.")),
        element("rect", class_="paper", width=topology.width, height=HEIGHT, fill=PAPER[0]),
        *(_link(one, other) for one, other in topology.links),
        element("ellipse", class_="wall", cx=x, cy=y, rx=58, ry=24, fill=WALL[0]),
        _text(x, y + 4, "the internet", font_size=11, fill=INK[0], class_="ink"),
        *(_spot(spot) for spot in spots),
        extra,
    ]
    size = {"viewBox": f"0 0 {topology.width:.0f} {HEIGHT:.0f}", "width": topology.width, "height": HEIGHT}
    return element("svg", "".join(parts), xmlns="http://www.w3.org/2000/svg", role="img", font_family=SANS, **size)


def _link(one: Point, other: Point) -> str:
    ends = {"x1": one[0], "y1": one[1], "x2": other[0], "y2": other[1]}
    return element("line", class_="faint-line", stroke=FAINT[0], stroke_width=1.2, **ends)


def _spot(spot: Spot) -> str:
    """A host is a screen, a NAT a wall with a door."""
    x, y = spot.x, spot.y
    if spot.is_nat:
        shape = element("rect", class_="wall", x=x - 9, y=y - 26, width=18, height=52, rx=2, fill=WALL[0])
        shape += element("rect", class_="paper", x=x - 9, y=y - 6, width=18, height=12, fill=PAPER[0])
    else:
        frame = {"stroke": INK[0], "stroke_width": 1.4, "class_": "paper ink-line"}
        shape = element("rect", x=x - 19, y=y - 14, width=38, height=25, rx=3, fill=PAPER[0], **frame)
        shape += element("path", d=f"M{x - 10:.0f} {y + 16:.0f}h20", stroke=INK[0], stroke_width=2, class_="ink-line")
    aside = spot.y == TOP  # its link leaves downwards
    left, below = (x + 70, y) if aside else (x, y + (40 if spot.is_nat else 32))
    names = _text(left, below, spot.name, font_size=12, font_weight="bold", fill=INK[0], class_="ink")
    names += _text(left, below + 13, spot.address, font_size=10, font_family=MONO, fill=FAINT[0], class_="faint")
    return element("g", element("title", escape(f"{spot.name}: {spot.address}")) + shape + names)


def _text(x: float, y: float, text: str, **look: object) -> str:
    return element("text", escape(text), x=x, y=y, text_anchor="middle", **look)


def main() -> None:
    """Print the picture of two sites."""
    from .. import two_nats

    sys.stdout.write(topology_svg(two_nats("linux", "eim-apdf")) + "\n")


if __name__ == "__main__":
    main()
