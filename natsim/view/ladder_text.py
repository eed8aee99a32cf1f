"""The ladder for terminals: Unicode lines, one for each packet, and its addresses and reasons beneath.

    0.0000 s   ◆──SYN──────────┼───────────────▶│   +20 ms

Reads rows (`folding.py`) and words (`words.py`); writes text, without colours.
"""

from __future__ import annotations

from . import words
from .columns import Columns
from .folding import Arrow, Fold, Gap, Row
from .palette import ANSWERED, DIRECT, DROPPED, RELAYED
from .story import ENDED, Fate, Hop
from .svg import wrap

#: Characters for the time, between two columns (at most and at least), and altogether.
_TIME, _WIDE, _NARROW, _TOTAL = 12, 24, 14, 118


def text(rows: list[Row], columns: Columns, summary: str) -> str:
    """The whole ladder."""
    return "\n".join(_Terminal(columns).draw(rows, summary)) + "\n"


class _Terminal:
    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        count = len(columns.all)
        self.step = max(_NARROW, min(_WIDE, (_TOTAL - _TIME - 16) // max(1, count - 1)))
        self.told: set[tuple[str, str]] = set()
        self.width = _TIME + 4 + self.step * (count - 1) + 12

    def x(self, place: float) -> int:
        """The character in which a place lies."""
        return _TIME + 4 + round(place * self.step)

    def draw(self, rows: list[Row], summary: str) -> list[str]:
        lines = [
            *wrap(summary, self.width, 9),
            _LEGEND,
            "",
            self._names("name"),
            self._names("address"),
            self._lifelines(),
        ]
        for row in rows:
            if isinstance(row, Arrow):
                lines += self._arrow(row)
            elif isinstance(row, Fold):
                lines += self._fold(row)
            else:
                lines += self._gap(row)
        return [*(line.rstrip() for line in lines), self._names("name").rstrip()]

    def _names(self, attribute: str) -> str:
        canvas = [" "] * (self.width + 12)
        for column in self.columns.all:
            word = str(getattr(column, attribute))
            self._write(canvas, self.x(self.columns.place[column.name]) - len(word) // 2, word)
        return "".join(canvas)

    def _write(self, canvas: list[str], start: int, word: str) -> None:
        start = max(0, start)
        canvas.extend(" " * (start + len(word) - len(canvas)))
        canvas[start : start + len(word)] = word

    def _lifelines(self) -> str:
        canvas = [" "] * self.width
        for place, column in enumerate(self.columns.all):
            canvas[self.x(place)] = "║" if column.is_nat else "│"
        return "".join(canvas)

    def _arrow(self, arrow: Arrow) -> list[str]:
        canvas = list(self._lifelines())
        self._write(canvas, 0, f"{words.time(arrow.when):>{_TIME - 1}}")
        stroke = "┄" if arrow.again else ("─" if arrow.bulk is False else "═")
        for hop in arrow.hops:
            self._hop(canvas, hop, stroke)
        first, last = arrow.hops[0], arrow.hops[-1]
        canvas[self.x(first.start)] = RELAYED.sign if arrow.relayed else DIRECT.sign
        if last.fate in (Fate.DROPPED, Fate.LOST):
            canvas[self.x(last.end)] = DROPPED.sign
        elif last.fate is Fate.ANSWERED:
            canvas[self.x(last.end)] = ANSWERED.sign
        self._label(canvas, arrow)
        after = last.arrived - arrow.when
        self._write(canvas, len("".join(canvas).rstrip()) + 2, f"+{words.duration(after)}" if after else "")
        return ["".join(canvas), *self._details(arrow)]

    def _hop(self, canvas: list[str], hop: Hop, stroke: str) -> None:
        start, end = self.x(hop.start), self.x(hop.end)
        walls = {self.x(place) for place in range(len(self.columns.all))}
        for x in range(min(start, end) + 1, max(start, end)):
            canvas[x] = "┼" if x in walls else stroke
        if hop.fate in (Fate.PASSED, Fate.HELD):
            canvas[end] = "╫"
        if start != end:
            canvas[end + (1 if end < start else -1)] = "◀" if end < start else "▶"
        if hop.fate is Fate.FLYING:
            canvas[end] = "…"

    def _label(self, canvas: list[str], arrow: Arrow) -> None:
        """Write on the first hop what the packet is; on the longest, if that one is too short."""
        label, hop = words.label(arrow), arrow.hops[0]
        if hop.start == hop.end:
            self._write(canvas, self.x(hop.start) + 2, f"{label} to itself")
            return
        if abs(hop.end - hop.start) * self.step < len(label) + 4:
            hop = max(arrow.hops, key=lambda hop: abs(hop.end - hop.start))
        low, high = sorted((self.x(hop.start), self.x(hop.end)))
        room = high - low - 4
        label = label if len(label) <= room else label[: max(1, room - 1)] + "…"
        self._write(canvas, low + 2 if hop.start < hop.end else max(low + 2, high - 1 - len(label)), label)

    def _details(self, arrow: Arrow) -> list[str]:
        """Addresses where they are news, and reasons where a packet ends."""
        parts: list[str] = []
        if arrow.full:
            parts.append(words.addresses(arrow.packet))
            for hop in arrow.hops:
                parts += [f"{hop.target}: was {was}, now {now}" for was, now in words.changes(hop)]
        result = self._indented("; ".join(parts))
        last = arrow.hops[-1]
        if last.fate in ENDED:
            sign = ANSWERED.sign if last.fate is Fate.ANSWERED else DROPPED.sign
            where = "on the way" if last.fate is Fate.LOST else f"at {last.target}"
            reason = words.why(last.reason)
            sentence = f"{sign} {words.rule(last.reason, last.fate)} {where}"
            result += self._indented(sentence + (", as before" if (where, reason) in self.told else f": {reason}"))
            self.told.add((where, reason))
        return result

    def _indented(self, sentence: str) -> list[str]:
        if not sentence:
            return []
        return [" " * (_TIME + 6) + line for line in wrap(sentence, max(60, self.width - _TIME - 6), 9)]

    def _fold(self, fold: Fold) -> list[str]:
        canvas = list(self._lifelines())
        self._write(canvas, 0, f"{words.time(fold.when):>{_TIME - 1}}")
        left, right = self.x(fold.left), self.x(fold.right)
        for x in range(left + 1, right):
            canvas[x] = "▒"
        phrase = f" ⋯ {words.fold_words(fold)} "
        self._write(canvas, max(left + 1, (left + right - len(phrase)) // 2), phrase)
        return ["".join(canvas)]

    def _gap(self, gap: Gap) -> list[str]:
        canvas = list(self._lifelines())
        for place in range(len(self.columns.all)):
            canvas[self.x(place)] = "⋮"
        self._write(canvas, 2, f"⋮ {words.gap_words(gap)} ")
        return ["".join(canvas)]


_LEGEND = (
    f"{RELAYED.sign} to or from the server (relayed)  {DIRECT.sign} peer to peer  ═ data  ┄ sent again  "
    f"╫ passes a NAT  {DROPPED.sign} dropped  {ANSWERED.sign} refused with an answer"
)
