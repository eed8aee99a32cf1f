"""The matrix as a picture: every NAT against every other, direct or relayed, as simulated and as predicted.

A pure function from cells to SVG: the same cells give the same bytes.  Each cell has its colour *and* its sign, and its
story as a title, which browsers show on hover and screen readers read.  A ring marks what was not as predicted.
Next: `natsim/matrix.py`, the cells.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..matrix import Cell
from .palette import DIRECT, DROPPED, INK, PAPER, RELAYED, SANS
from .svg import element, escape

#: Pixels: the side of a cell, the width of a character of a name, and the margin.
SIDE, CHARACTER, MARGIN = 22.0, 7.2, 16.0


def matrix_svg(cells: Sequence[Cell]) -> str:
    """One grid for each transport, side by side."""
    names = list(dict.fromkeys(name for cell in cells for name in (cell.nat_a, cell.nat_b)))
    transports = list(dict.fromkeys(cell.transport for cell in cells))
    label = max(map(len, names)) * CHARACTER + 8
    grid = label + SIDE * len(names) + MARGIN
    width, height = MARGIN + grid * len(transports), 2 * MARGIN + label + SIDE * len(names) + 56
    parts = [
        element("title", "NAT against NAT: who meets directly"),
        element("desc", escape(_summary(cells))),
        element("rect", width=width, height=height, fill=PAPER[0]),
    ]
    for number, transport in enumerate(transports):
        here = {(c.nat_a, c.nat_b): c for c in cells if c.transport == transport}
        parts.append(_grid(names, here, transport, MARGIN + number * grid, label))
    parts.append(_legend(MARGIN, height - MARGIN))
    return element(
        "svg",
        "".join(parts),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=round(width),
        height=round(height),
        role="img",
        font_family=SANS,
        font_size=12,
    )


def _summary(cells: Sequence[Cell]) -> str:
    direct = sum(cell.direct_share == 1 for cell in cells)
    surprises = sum(not cell.agrees for cell in cells)
    said = f"{surprises} are not as predicted" if surprises else "all are as predicted"
    return f"{len(cells)} pairs: {direct} always go direct; {said}."


def _grid(names: Sequence[str], cells: dict[tuple[str, str], Cell], transport: str, left: float, label: float) -> str:
    """Rows and columns in the same order, so the picture is symmetric."""
    top = MARGIN + 28 + label
    parts = [
        element("text", escape(f"over {transport.upper()}"), x=left, y=MARGIN + 14, font_weight="bold", fill=INK[0])
    ]
    for number, name in enumerate(names):
        middle = SIDE * (number + 0.5)
        turned = f"rotate(-90 {left + label + middle + 4:.1f} {top - 6:.1f})"
        parts.append(
            element("text", escape(name), x=left + label - 6, y=top + middle + 4, text_anchor="end", fill=INK[0])
        )
        parts.append(
            element("text", escape(name), x=left + label + middle + 4, y=top - 6, transform=turned, fill=INK[0])
        )
    for row, a in enumerate(names):
        for column, b in enumerate(names):
            cell = cells.get((a, b)) or cells[b, a]
            parts.append(_cell(cell, left + label + SIDE * column, top + SIDE * row))
    return element("g", "".join(parts))


def _cell(cell: Cell, x: float, y: float) -> str:
    """A square whose filled part is the share of direct runs, with a sign, and a ring if it is a surprise."""
    inner = SIDE - 2
    filled = inner * cell.direct_share
    sign = DIRECT.sign if cell.direct_share == 1 else RELAYED.sign if cell.direct_share == 0 else "◐"
    runs = "1 run" if cell.runs == 1 else f"{cell.runs} runs"
    said = f"{cell.nat_a} and {cell.nat_b} over {cell.transport}: {cell.word} in {runs}"
    parts = [
        element("title", escape(f"{said}; predicted {cell.predicted:.0%} direct")),
        element("rect", x=x + 1, y=y + 1, width=inner, height=inner, fill=RELAYED.colour),
        element("rect", x=x + 1, y=y + 1 + inner - filled, width=inner, height=filled, fill=DIRECT.colour),
        element("text", sign, x=x + SIDE / 2, y=y + SIDE / 2 + 4, text_anchor="middle", fill=_ink_on(cell)),
    ]
    if not cell.agrees:
        ring = {"fill": "none", "stroke": DROPPED.colour, "stroke_width": 3}
        parts.append(element("rect", x=x + 2, y=y + 2, width=inner - 2, height=inner - 2, **ring))
    return element("g", "".join(parts))


def _ink_on(cell: Cell) -> str:
    """Signs are light on blue and dark on orange."""
    return PAPER[0] if cell.direct_share > 0.5 else INK[0]


def _legend(x: float, y: float) -> str:
    parts = []
    for look, word in ((DIRECT, "direct"), (RELAYED, "relayed")):
        parts.append(element("rect", x=x, y=y - 11, width=14, height=14, fill=look.colour))
        sign_ink = PAPER[0] if look is DIRECT else INK[0]
        parts.append(element("text", look.sign, x=x + 7, y=y, text_anchor="middle", fill=sign_ink, font_size=10))
        parts.append(element("text", word, x=x + 20, y=y, fill=INK[0]))
        x += 90
    outline = {"fill": "none", "stroke": DROPPED.colour, "stroke_width": 3}
    parts.append(element("rect", x=x + 1, y=y - 10, width=12, height=12, **outline))
    parts.append(element("text", "not as predicted", x=x + 20, y=y, fill=INK[0]))
    return element("g", "".join(parts))
