"""The ladder as SVG: one standalone picture, without scripts, that also follows JupyterLab's theme.

Draws what `ladder_layout.py` has placed, in layers: bands, columns, lines, tags, texts.  Everything has its sentence as
a tooltip; the whole has a title and a description.  Colours are given twice: as plain attributes, for programs that
know no style sheets, and as theme variables.
"""

from __future__ import annotations

import hashlib
import math

from . import words
from .columns import Column, Columns
from .folding import Arrow, Fold, Gap, Row
from .ladder_layout import LINE, Layout, PlacedFold, PlacedHop, Text
from .palette import AGAIN_DASH, DIRECT, DROPPED, FAINT, INK, MONO, PAPER, RELAYED, SANS, UNFINISHED_DASH, WALL
from .story import ENDED, Fate, Hop
from .svg import element, escape, number

HEAD, LEGEND_TOP, FIRST = 84, 42, 120


def plan(rows: list[Row], columns: Columns) -> Layout:
    """Where everything goes."""
    return Layout(rows, columns, FIRST)


def svg(layout: Layout, summary: str) -> str:
    """The picture.  Equal rows give equal bytes.  `data-hop` is the number of a hop in the layout, for scripts."""
    columns = layout.columns
    picture = _Picture(layout)
    body = picture.body()
    name = "ladder-" + hashlib.sha256((summary + body).encode()).hexdigest()[:12]
    title, desc = f"{name}-title", f"{name}-desc"
    width, height = number(picture.layout.width), number(picture.height)
    content = (
        element("title", escape(words.title(columns)), id=title)
        + element("desc", escape(summary), id=desc)
        + element("style", _style(name))
        + body
    )
    return element(
        "svg",
        content,
        xmlns="http://www.w3.org/2000/svg",
        id=name,
        role="img",
        aria_labelledby=title,
        aria_describedby=desc,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        font_family=SANS,
        style="max-width:100%;height:auto",
    )


def _style(name: str) -> str:
    """The theme: on paper, in the dark, and in JupyterLab, whose variables win."""

    def rules(index: int) -> str:
        fill = {"ink": INK, "faint": FAINT, "paper": PAPER, "wall": WALL}
        return "".join(
            f"#{name} .{key}{{fill:{shades[index]};fill:var({shades[2]},{shades[index]})}}"
            for key, shades in fill.items()
        ) + "".join(
            f"#{name} .{key}-line{{stroke:{shades[index]};stroke:var({shades[2]},{shades[index]})}}"
            for key, shades in {"paper": PAPER, "faint": FAINT}.items()
        )

    return f"{rules(0)}@media (prefers-color-scheme:dark){{{rules(1)}}}"


class _Picture:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.columns = layout.columns
        self.places = range(len(self.columns.all))
        self.height = layout.bottom + 46

    def body(self) -> str:
        layout = self.layout
        parts = [element("rect", class_="paper", width=layout.width, height=self.height, fill=PAPER[0])]
        parts += [self._column(column, x) for x, column in enumerate(self.columns.all)]
        parts += [_bridge(placed, layout.x(x)) for placed in layout.hops for x in self.places if _over(placed.hop, x)]
        parts += [self._band(placed) for placed in layout.folds]
        parts += [self._gap(gap, y) for gap, y in layout.gaps]
        numbered = list(enumerate(layout.hops))
        parts += [self._line(index, placed) for index, placed in numbered]
        parts += [self._tag(index, placed) for index, placed in numbered if placed.tag is not None]
        parts += [self._texts(index, placed) for index, placed in numbered if placed.texts]
        parts += [self._band_label(placed) for placed in layout.folds]
        parts += [_text(Text(70, y + 4, "end", "time", words.time(when))) for when, y in layout.times]
        parts += self._heads(HEAD) + self._heads(self.height - 20) + self._legend()
        return "\n".join(parts)

    # -- Columns ------------------------------------------------------------------------------------------------------

    def _column(self, column: Column, place: int) -> str:
        """A host is a thin line, a NAT a wall."""
        x, top, tall = self.layout.x(place), HEAD + 18.0, self.height - HEAD - 58
        if column.is_nat:
            return element("rect", class_="wall", x=x - 4, y=top, width=8, height=tall, fill=WALL[0])
        line = {"class_": "faint-line", "stroke": FAINT[0], "stroke_width": 1}
        return element("line", x1=x, y1=top, x2=x, y2=top + tall, **line)

    def _heads(self, y: float) -> list[str]:
        result = []
        for place, column in enumerate(self.columns.all):
            x = self.layout.x(place)
            result.append(_text(Text(x, y, "middle", "head", column.name)))
            result.append(_text(Text(x, y + LINE, "middle", "address", column.address)))
        return result

    def _gap(self, gap: Gap, y: float) -> str:
        phrase = f"⋮  {words.gap_words(gap)}  ⋮"
        blank = element("rect", class_="paper", y=y - 9, width=self.layout.width, height=18, fill=PAPER[0])
        text = Text(self.layout.width / 2, y + 4, "middle", "pause", phrase)
        return element("g", element("title", escape(phrase)) + blank + _text(text), class_="gap")

    # -- Packets ------------------------------------------------------------------------------------------------------

    def _line(self, index: int, placed: PlacedHop) -> str:
        hop, arrow = placed.hop, placed.arrow
        look = RELAYED if arrow.relayed else DIRECT
        colour, dash = look.colour, AGAIN_DASH if arrow.again else look.dash
        if hop.fate in ENDED:
            colour, dash = DROPPED.colour, AGAIN_DASH if arrow.again else DROPPED.dash
        elif hop.fate is Fate.FLYING:
            dash = UNFINISHED_DASH
        x1, y1, x2, y2 = placed.x1, placed.y1, placed.x2, placed.y2
        if hop.start == hop.end:  # to itself, or held back
            aside, half = (26 if hop.end < self.columns.last else -26), number((y2 - y1) / 2)
            path = f"M{number(x1)} {number(y1)}q{aside} 0 {aside} {half}t{-aside} {half}"
        else:
            path = f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}"
        width = 2.4 if arrow.bulk else 1.5
        shapes = [element("title", escape(words.hop_line(arrow, hop).sentence()))]
        shapes.append(element("path", d=path, stroke=colour, stroke_width=width, stroke_dasharray=dash, fill="none"))
        if hop is arrow.hops[0]:
            shapes.append(_start(x1, y1, arrow, colour))
        if hop.fate in (Fate.DROPPED, Fate.LOST):
            shapes.append(_cross(x2, y2))
        elif hop.fate is Fate.ANSWERED:
            shapes.append(_hook(x2, y2, 1 if x2 >= x1 else -1))
        elif hop.fate is not Fate.FLYING:
            shapes.append(_head(x1, y1, x2, y2, colour))
        return element("g", "".join(shapes), class_=f"hop {hop.fate.name.lower()}", data_hop=index)

    def _tag(self, index: int, placed: PlacedHop) -> str:
        """Was and now, at a NAT."""
        box = placed.tag
        assert box is not None
        look = RELAYED if placed.arrow.relayed else DIRECT
        size = {"width": box.right - box.left, "height": box.bottom - box.top}
        frame = {"fill": PAPER[0], "stroke": look.colour, "stroke_width": 1, "rx": 4}
        middle = (box.left + box.right) / 2
        texts = "".join(
            _text(Text(middle, box.top + 12 + index * LINE, "middle", "now" if index % 2 else "was", line))
            for index, line in enumerate(placed.tag_lines)
        )
        sentence = escape(f"{placed.hop.target}: {words.outcome(placed.hop)}")
        shape = element("rect", class_="paper", x=box.left, y=box.top, **size, **frame)
        return element("g", element("title", sentence) + shape + texts, class_="tag", data_hop=index)

    def _texts(self, index: int, placed: PlacedHop) -> str:
        title = element("title", escape(words.hop_line(placed.arrow, placed.hop).sentence()))
        return element("g", title + "".join(_text(text) for text in placed.texts), class_="words", data_hop=index)

    # -- Bands --------------------------------------------------------------------------------------------------------

    def _band(self, placed: PlacedFold) -> str:
        colour = _fold_colour(placed.fold)
        place = {"x": placed.left + 6, "y": placed.top, "width": placed.right - placed.left - 12}
        height = max(34.0, placed.bottom - placed.top)
        look = {"fill": colour, "fill_opacity": 0.2, "stroke": colour, "stroke_width": 1.2, "rx": 6}
        dash = DROPPED.dash if placed.fold.fate in ENDED else (RELAYED.dash if placed.fold.relayed else "")
        shape = element("rect", **place, height=height, stroke_dasharray=dash, **look)
        return element("g", element("title", self._sentence(placed.fold)) + shape, class_="fold")

    def _band_label(self, placed: PlacedFold) -> str:
        box = placed.label
        size = {"width": box.right - box.left, "height": box.bottom - box.top, "rx": 9}
        frame = {"fill": PAPER[0], "stroke": _fold_colour(placed.fold), "stroke_width": 1.2}
        shape = element("rect", class_="paper", x=box.left, y=box.top, **size, **frame)
        middle = (box.left + box.right) / 2
        text = Text(middle, box.top + 15, "middle", "label", f"⋯ {words.fold_words(placed.fold)}")
        return element("g", element("title", self._sentence(placed.fold)) + shape + _text(text), class_="words")

    def _sentence(self, fold: Fold) -> str:
        return escape(" ".join(line.sentence() for line in words.lines(fold, self.columns)))

    # -- Legend -------------------------------------------------------------------------------------------------------

    def _legend(self) -> list[str]:
        title = Text(20, 22, "start", "head", words.title(self.columns))
        samples = [
            ("to or from the server (relayed)", RELAYED.colour, RELAYED.dash, "start"),
            ("peer to peer", DIRECT.colour, DIRECT.dash, "start"),
            ("sent again", DIRECT.colour, AGAIN_DASH, ""),
            ("dropped, lost", DROPPED.colour, DROPPED.dash, "cross"),
            ("refused with an answer", DROPPED.colour, DROPPED.dash, "hook"),
        ]
        parts, x, y = [_text(title)], 20.0, float(LEGEND_TOP)
        for phrase, colour, dash, sign in samples:
            parts.append(
                element("line", x1=x, y1=y, x2=x + 34, y2=y, stroke=colour, stroke_width=2, stroke_dasharray=dash)
            )
            if sign == "start":
                parts.append(_diamond(x, y, colour) if colour == RELAYED.colour else _dot(x, y, colour))
            elif sign:
                parts.append(_cross(x + 34, y) if sign == "cross" else _hook(x + 34, y, 1))
            parts.append(_text(Text(x + 46, y + 4, "start", "reason", phrase)))
            x += 46 + len(phrase) * 6.2 + 22
        return parts


# -- Signs ------------------------------------------------------------------------------------------------------------


def _fold_colour(fold: Fold) -> str:
    if fold.fate in ENDED:
        return DROPPED.colour
    return RELAYED.colour if fold.relayed else DIRECT.colour


def _start(x: float, y: float, arrow: Arrow, colour: str) -> str:
    return _diamond(x, y, colour) if arrow.relayed else _dot(x, y, colour)


def _over(hop: Hop, place: int) -> bool:
    """True if the packet passes by this column, without touching the node."""
    return min(hop.start, hop.end) < place < max(hop.start, hop.end)


def _bridge(placed: PlacedHop, x: float) -> str:
    """A gap in the column that a packet passes by."""
    y = placed.y1 + (placed.y2 - placed.y1) * (x - placed.x1) / (placed.x2 - placed.x1)
    return element("rect", class_="paper", x=x - 5, y=y - 5, width=10, height=10, fill=PAPER[0])


def _dot(x: float, y: float, colour: str) -> str:
    return element("circle", cx=x, cy=y, r=3.4, fill=colour)


def _diamond(x: float, y: float, colour: str) -> str:
    return element("path", d=f"M{number(x)} {number(y - 5)}l5 5l-5 5l-5-5z", fill=colour)


def _cross(x: float, y: float) -> str:
    path = f"M{number(x - 5)} {number(y - 5)}l10 10m0-10l-10 10"
    return element("path", d=path, stroke=DROPPED.colour, stroke_width=2.6, fill="none")


def _hook(x: float, y: float, sign: int) -> str:
    """The packet comes in and turns round."""
    path = f"M{number(x - 2 * sign)} {number(y)}h{4 * sign}q{6 * sign} 0 {6 * sign} 4.5t{-6 * sign} 4.5h{-10 * sign}"
    tip = f"m{4 * sign}-4l{-4 * sign} 4l{4 * sign} 4"
    return element("path", d=path + tip, stroke=DROPPED.colour, stroke_width=1.8, fill="none")


def _head(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    """An arrow's head at (x2, y2)."""
    if x1 == x2:
        x1, y1 = x2, y2 - 1
    angle = math.atan2(y2 - y1, x2 - x1)
    corners = [(x2 - 9 * math.cos(angle + turn), y2 - 9 * math.sin(angle + turn)) for turn in (-0.4, 0.4)]
    path = f"M{number(x2)} {number(y2)}" + "".join(f"L{number(x)} {number(y)}" for x, y in corners) + "z"
    return element("path", d=path, fill=colour)


_TEXT_STYLES: dict[str, tuple[str, tuple[str, str, str], dict[str, object]]] = {
    "head": ("ink", INK, {"font_size": 14, "font_weight": "bold"}),
    "label": ("ink", INK, {"font_size": 11, "font_weight": "bold"}),
    "address": ("ink", INK, {"font_size": 10, "font_family": MONO}),
    "now": ("ink", INK, {"font_size": 10, "font_family": MONO, "font_weight": "bold"}),
    "was": ("faint", FAINT, {"font_size": 10, "font_family": MONO}),
    "reason": ("ink", INK, {"font_size": 10.5}),
    "time": ("faint", FAINT, {"font_size": 10.5}),
    "pause": ("faint", FAINT, {"font_size": 11, "font_style": "italic"}),
}


def _text(text: Text) -> str:
    """A line of text, with a rim of paper around it where lines may pass beneath."""
    name, shades, font = _TEXT_STYLES[text.style]
    rim: dict[str, object] = {}
    if text.style in ("label", "address", "reason"):
        name += " paper-line"
        rim = {"stroke": PAPER[0], "stroke_width": 3, "paint_order": "stroke", "stroke_linejoin": "round"}
    attributes: dict[str, object] = {"class_": name, "fill": shades[0], "text_anchor": text.anchor, **rim, **font}
    return element("text", escape(text.text), x=text.x, y=text.y, **attributes)
