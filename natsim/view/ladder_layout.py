"""Where everything in a ladder goes, so that no text covers another.

Time runs down, but not to scale: every entry of the trace that is shown gets its own height, in order, further below
the one before the more time has passed; pauses shrink to a remark.  Whatever carries text claims a box, and an entry
moves down until its boxes are free.  That is all there is to it: one pass, from the first entry to the last.

Reads rows (`folding.py`); makes `Placed` things with coordinates.  Next: `ladder_svg.py`, which draws them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from ..scheduler import MILLISECOND
from . import words
from .columns import Columns
from .folding import Arrow, Fold, Gap, Row
from .story import ENDED, Fate, Hop
from .svg import wrap

#: Pixels: left of the first column, right of the last, the least and greatest width between columns, and the whole.
LEFT, RIGHT, NARROW, WIDE, WIDTH = 140, 72, 185, 330, 1000
#: Pixels of one line of text, and of one character of a label, an address (monospaced) and a reason.
LINE, BOLD, MONO, SANS = 13, 7.2, 6.1, 5.8
#: The most lines that a reason gets; all of it is in the tooltip and in the table.
REASON_LINES = 6


class Box(NamedTuple):
    """A place that is taken."""

    left: float
    top: float
    right: float
    bottom: float

    def down(self, y: float) -> Box:
        """The same box, lower."""
        return Box(self.left, self.top + y, self.right, self.bottom + y)

    def meets(self, other: Box) -> bool:
        """True if the two overlap."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


class Text(NamedTuple):
    """A line of text; `style` is "label", "address" or "reason"; `anchor` as in SVG."""

    x: float
    y: float
    anchor: str
    style: str
    text: str

    def down(self, y: float) -> Text:
        """The same text, lower."""
        return self._replace(y=self.y + y)


@dataclass
class PlacedHop:
    """A hop with its two ends, its texts, and the tag at the NAT where it ends, if that is shown."""

    arrow: Arrow
    hop: Hop
    x1: float
    x2: float
    y1: float = 0.0
    y2: float = 0.0
    texts: list[Text] = field(default_factory=list)
    tag: Box | None = None
    tag_lines: list[str] = field(default_factory=list)


@dataclass
class PlacedFold:
    """A band, and its label's box."""

    fold: Fold
    left: float
    right: float
    label: Box
    top: float = 0.0
    bottom: float = 0.0


@dataclass
class _Event:
    """What one entry of the trace puts into the picture: boxes and texts relative to its own height."""

    when: int
    boxes: list[Box] = field(default_factory=list)
    ends: list[PlacedHop] = field(default_factory=list)
    starts: list[PlacedHop] = field(default_factory=list)
    texts: list[tuple[PlacedHop, Text]] = field(default_factory=list)
    opens: list[PlacedFold] = field(default_factory=list)
    closes: list[PlacedFold] = field(default_factory=list)
    gap: Gap | None = None
    shows_time: bool = False


class Layout:
    """The finished plan: `hops`, `folds`, `gaps` and `times` with their coordinates, `width` and `height`."""

    def __init__(self, rows: list[Row], columns: Columns, top: float) -> None:
        self.columns = columns
        spaces = max(1, len(columns.all) - 1)
        self.space = min(WIDE, max(NARROW, (WIDTH - LEFT - RIGHT) / spaces))
        self.width = max(WIDTH, LEFT + RIGHT + self.space * spaces)
        self.left = LEFT + (self.width - LEFT - RIGHT - self.space * (len(columns.all) - 1)) / 2
        self.top = top
        self.hops: list[PlacedHop] = []
        self.folds: list[PlacedFold] = []
        self.gaps: list[tuple[Gap, float]] = []
        self.times: list[tuple[int, float]] = []
        self._events: dict[int, _Event] = {}
        self._reasons: set[tuple[object, ...]] = set()
        for row in rows:
            if isinstance(row, Arrow):
                self._plan_arrow(row)
            elif isinstance(row, Fold):
                self._plan_fold(row)
        for row in rows:
            if isinstance(row, Gap):
                later = min((number for number in self._events if number >= row.number), default=None)
                if later is not None:
                    self._events[later].gap = row
        self.bottom = self._place()

    def x(self, place: float) -> float:
        """The middle of a column."""
        return self.left + place * self.space

    def _event(self, number: int, when: int) -> _Event:
        return self._events.setdefault(number, _Event(when))

    # -- What claims which room ---------------------------------------------------------------------------------------

    def _plan_arrow(self, arrow: Arrow) -> None:
        inset = 0.0  # half the width of the tag from which a hop starts
        for index, hop in enumerate(arrow.hops):
            sign = 1 if hop.end > hop.start or hop.end == hop.start < self.columns.last else -1
            placed = PlacedHop(arrow, hop, self.x(hop.start) + sign * inset, self.x(hop.end))
            self.hops.append(placed)
            start = self._event(hop.begin, hop.left)
            start.starts.append(placed)
            start.shows_time |= index == 0
            self._plan_label(start, placed, sign, first=index == 0)
            if hop.fate is Fate.FLYING:
                placed.texts.append(Text(placed.x2 + sign * 10, 4, "middle", "label", "…"))
                continue
            end = self._event(hop.finish, hop.arrived)
            end.ends.append(placed)
            inset = self._plan_tag(end, placed, sign) if arrow.full and hop.translated else 0.0
            if hop.fate in ENDED:
                self._plan_reason(end, placed, sign)
            elif not inset:
                end.boxes.append(_box(placed.x2 + 6 * sign, placed.x2 - 24 * sign, -6, 6))

    def _plan_label(self, event: _Event, placed: PlacedHop, sign: int, *, first: bool) -> None:
        """What and from where to where: above the line, beginning where it begins."""
        hop, lines = placed.hop, []
        if placed.arrow.full:
            packet = hop.packet
            lines = [("label", words.label(placed.arrow)), ("address", str(packet.src)), ("address", f"> {packet.dst}")]
        elif first:
            lines = [("label", words.label(placed.arrow))]
        if not lines:
            event.boxes.append(_box(placed.x1, placed.x1 + 8 * sign, -4, 4))
            return
        x = placed.x1 + (6 if first else 5) * sign
        anchor = "start" if sign > 0 else "end"
        for up, (style, line) in enumerate(reversed(lines)):
            event.texts.append((placed, Text(x, -5 - up * LINE, anchor, style, line)))
        width = max(len(line) * (BOLD if style == "label" else MONO) for style, line in lines)
        event.boxes.append(_box(x, x + sign * width, -4 - LINE * len(lines), 2))

    def _plan_tag(self, event: _Event, placed: PlacedHop, sign: int) -> float:
        """Was and now, on the NAT's column; the line ends at its edge and goes on from the other."""
        changes = words.changes(placed.hop)
        placed.tag_lines = [line for was, now in changes for line in (f"was {was}", f"now {now}")]
        half = max(len(line) for line in placed.tag_lines) * MONO / 2 + 6
        tall = LINE * len(placed.tag_lines) / 2 + 3
        placed.tag = Box(placed.x2 - half, -tall, placed.x2 + half, tall)
        placed.x2 -= sign * half
        event.boxes.append(placed.tag)
        return half

    def _plan_reason(self, event: _Event, placed: PlacedHop, sign: int) -> None:
        """The rule and its reason: behind the wall that stopped the packet, or under the arrow where there is none."""
        hop = placed.hop
        label = words.rule(hop.reason, hop.fate)
        key = (hop.target, label, words.why(hop.reason))
        reason = "" if key in self._reasons else key[2]
        self._reasons.add(key)
        room = self.space - 24
        lines = [("label", f"refused: {label}" if hop.fate is Fate.ANSWERED else label)]
        lines += [("reason", line) for line in wrap(reason, int(room / SANS), REASON_LINES) if line]
        column = hop.end == int(hop.end)
        x, y, anchor = placed.x2 + 12 * sign, 4.0, "start" if sign > 0 else "end"
        if not column:
            x, y, anchor = placed.x2, 20.0, "middle"
        elif not 0 <= hop.end + sign <= self.columns.last:
            x, y, anchor = placed.x2 - 12 * sign, 22.0, "end" if sign > 0 else "start"
        width = max(len(line) * (BOLD if style == "label" else SANS) for style, line in lines)
        left = {"start": x, "end": x - width, "middle": x - width / 2}[anchor]
        event.boxes.append(Box(left, y - LINE, left + width, y + LINE * len(lines) - 8))
        event.boxes.append(Box(placed.x2 - 9, -9, placed.x2 + 9, 9))
        for down, (style, line) in enumerate(lines):
            event.texts.append((placed, Text(x, y + down * LINE, anchor, style, line)))

    def _plan_fold(self, fold: Fold) -> None:
        half = (len(words.fold_words(fold)) + 2) * BOLD / 2 + 6
        left, right = self.x(fold.left), self.x(fold.right)
        middle = min(max((left + right) / 2, half + 2), self.width - half - 2)
        placed = PlacedFold(fold, left, right, Box(middle - half, 6, middle + half, 28))
        self.folds.append(placed)
        start = self._event(fold.number, fold.when)
        start.opens.append(placed)
        start.boxes.append(Box(middle - half, 0, middle + half, 34))
        start.shows_time = True
        self._event(max(fold.last, fold.number + 1), fold.until).closes.append(placed)

    # -- Who goes where -----------------------------------------------------------------------------------------------

    def _place(self) -> float:
        taken: list[Box] = []
        y, deepest, before, last_time = self.top, self.top, None, -math.inf
        for _, event in sorted(self._events.items()):
            if event.gap is not None:
                y = max(y, deepest) + 22
                self.gaps.append((event.gap, y))
                deepest = y = y + 16
            elif before is not None:
                y += _step(event.when - before)
            for placed in event.closes:
                y = max(y, placed.label.bottom + 8)
            for placed_hop in event.ends:
                y = max(y, placed_hop.y1 + 4)
            y = _free(event.boxes, taken, y, deepest if event.gap else self.top)
            self._settle(event, y)
            taken = [box for box in taken if box.bottom > y - 150] + [box.down(y) for box in event.boxes]
            deepest = max([deepest, y, *(box.bottom + y for box in event.boxes)])
            if event.shows_time and y - last_time >= LINE:
                self.times.append((event.when, y))
                last_time = y
            before = event.when
        return deepest + 12

    def _settle(self, event: _Event, y: float) -> None:
        for placed in event.ends:
            placed.y2 = y
            if placed.tag is not None:
                placed.tag = placed.tag.down(y)
        for placed in event.starts:
            placed.y1, placed.y2 = y, y + 12
            placed.texts = [text.down(y + 12) for text in placed.texts]
        for placed, text in event.texts:
            placed.texts.append(text.down(y))
        for fold in event.opens:
            fold.top, fold.label = y, fold.label.down(y)
        for fold in event.closes:
            fold.bottom = y


def _box(x1: float, x2: float, top: float, bottom: float) -> Box:
    return Box(min(x1, x2), top, max(x1, x2), bottom)


def _step(passed: int) -> float:
    """How far below the entry before: in proportion up to 25 ms, then ever more slowly."""
    milliseconds = passed / MILLISECOND
    if milliseconds <= 25:
        return 3 + 1.2 * milliseconds
    return min(33 + 10 * math.log2(milliseconds / 25), 70)


def _free(boxes: list[Box], taken: list[Box], y: float, ceiling: float) -> float:
    """The first height from `y` downwards at which the boxes meet none that is taken, and stay below the ceiling."""
    y = max([y, *(ceiling - box.top for box in boxes)])
    while True:
        hits = [(box, other) for box in boxes for other in taken if box.down(y).meets(other)]
        if not hits:
            return y
        y = max(other.bottom - box.top + 0.1 for box, other in hits)
