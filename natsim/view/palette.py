"""The colours, lines and signs of every picture: one meaning, one look.

The colours are those of Okabe and Ito, which people with any kind of colour vision can tell apart.  No meaning rests
on colour alone: each has a line style and a sign too.  Ink and paper follow JupyterLab's theme where there is one.

Used by everything in `view/` that draws; knows nothing of packets.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """How one meaning is drawn: `dash` is an SVG dash pattern ("" is a solid line), `sign` a character."""

    colour: str
    dash: str
    sign: str


RELAYED = Look("#E69F00", "9 3", "◆")
DIRECT = Look("#0072B2", "", "●")
DROPPED = Look("#D55E00", "4 3", "✗")
ANSWERED = Look("#D55E00", "4 3", "↩")
AGAIN_DASH = "10 3 2 3"
UNFINISHED_DASH = "1 4"

#: Ink, faint ink, paper, and the wall that a NAT is: (on white, on black, JupyterLab's variable).
INK = ("#222222", "#e8e8e8", "--jp-ui-font-color1")
FAINT = ("#5f5f5f", "#b0b0b0", "--jp-ui-font-color2")
PAPER = ("#ffffff", "#111111", "--jp-layout-color0")
WALL = ("#d8d8d8", "#4a4a4a", "--jp-border-color1")

SANS = "system-ui, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
