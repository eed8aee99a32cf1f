"""The trace of a run on real interfaces: it is heard while the story runs, and put together when that has ended.

Packet sockets listen in the namespaces of all hosts and of the kernel's NATs (`capture.py`); simulated routers write
down themselves what they do (`boxes.py`).  `end` makes one trace of both (`assembly.py`), with the same types, words
and table rows as the simulator's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from ..internet import Internet
from ..scheduler import Scheduler
from ..trace import Entry, Trace
from .assembly import Assembly
from .capture import Ear, Seen, monotonic_to_real
from .namespace import Namespace
from .wall_clock import WallClock


class CapturedTrace(Trace):
    """A trace that fills when it ends.  `clock` is that of the world; what befalls a node is noted at once."""

    def __init__(self, net: Internet, clock: WallClock, boxes: Trace) -> None:
        self._moment = Scheduler()
        super().__init__(self._moment)
        self._net = net
        self._wall = clock
        self._boxes = boxes
        self._ears: list[Ear] = []
        self._ended = False

    def listen(self, loop: asyncio.AbstractEventLoop, namespaces: Iterable[Namespace]) -> None:
        """Begin to hear what happens in these namespaces."""
        began = self._wall.began + monotonic_to_real()
        self._ears = [Ear(loop, namespace, began) for namespace in namespaces]

    def happened(self, node: str, words: str) -> None:
        """Note what has befallen `node`, now."""
        self._moment.now = time.monotonic_ns() - self._wall.began
        super().happened(node, words)

    def end(self) -> None:
        """The story is told: put together what was heard."""
        if self._ended:
            return
        self._ended = True
        heard = [seen for ear in self._ears for seen in ear.all()]
        missed = sum(ear.missed for ear in self._ears)
        self._boxes.end()
        assembly = Assembly(self._net)
        for item in sorted([*heard, *self._boxes], key=_when):
            assembly.take(item)
        assembly.lose(time.monotonic_ns() - self._wall.began)
        assembly.write(self, self._moment)
        self.rows.merge(self._boxes.rows)
        if missed:
            self.happened("capture", f"{missed} packets came too fast to be heard, so this trace has gaps")
        super().end()

    def close(self) -> None:
        """Hear no more."""
        for ear in self._ears:
            ear.close()


def _when(item: Seen | Entry) -> int:
    return item.when
