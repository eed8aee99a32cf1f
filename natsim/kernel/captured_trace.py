"""The trace of a run on real interfaces: it is heard while the story runs, and put together when that has ended.

Packet sockets listen in the namespaces of all hosts and of the kernel's NATs (`capture.py`); simulated routers write
down themselves what they do (`boxes.py`).  `end` makes one trace of both (`assembly.py`), with the same types, words
and table rows as the simulator's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice

from ..internet import Internet
from ..scheduler import MILLISECOND, Scheduler
from ..trace import Entry, Trace
from .assembly import Assembly
from .capture import Ear, Seen, monotonic_to_real
from .namespace import Namespace
from .wall_clock import WallClock

#: Nanoseconds after which all ears have heard of a packet, and after which all is known that became of it at a NAT.
HEARD, SETTLED = 100 * MILLISECOND, 300 * MILLISECOND

#: Later than anything.
END = 1 << 62


class CapturedTrace(Trace):
    """A trace that fills when it ends.  `clock` is that of the world; what befalls a node is noted at once."""

    def __init__(self, net: Internet, clock: WallClock, boxes: Trace) -> None:
        self._moment = Scheduler()
        super().__init__(self._moment)
        self._wall = clock
        self._boxes = boxes
        self._ears: list[Ear] = []
        self._assembly = Assembly(net)
        self._waiting: list[Seen | Entry] = []
        self._boxes_taken = 0
        self._ended = False

    def listen(self, loop: asyncio.AbstractEventLoop, namespaces: Iterable[Namespace]) -> None:
        """Begin to hear what happens in these namespaces."""
        began = self._wall.began + monotonic_to_real()
        self._ears = [Ear(loop, namespace, began) for namespace in namespaces]

    def happened(self, node: str, words: str) -> None:
        """Note what has befallen `node`, now."""
        self._moment.now = self._wall.elapsed
        super().happened(node, words)

    def update(self) -> None:
        """Put together what was heard until a moment ago, so that the trace can be read while the story goes on."""
        now = self._wall.elapsed
        self._take(now - HEARD)
        self._assembly.write(self, self._moment, now - SETTLED)

    def end(self) -> None:
        """The story is told: put together all that was heard."""
        if self._ended:
            return
        self._ended = True
        self._boxes.end()
        self._take(END)
        self._assembly.lose(self._wall.elapsed)
        self._assembly.write(self, self._moment, END)
        self.rows.merge(self._boxes.rows)
        if missed := sum(ear.missed for ear in self._ears):
            self.happened("capture", f"{missed} packets came too fast to be heard, so this trace has gaps")
        super().end()

    def _take(self, until: int) -> None:
        """Hand over what was heard up to that time; what came later may not be all there yet."""
        for ear in self._ears:
            self._waiting += ear.take()
        entries = list(islice(self._boxes, self._boxes_taken, None))
        self._boxes_taken += len(entries)
        self._waiting += entries
        self._waiting.sort(key=_when)
        ripe = [item for item in self._waiting if item.when < until]
        self._waiting = self._waiting[len(ripe) :]
        for item in ripe:
            self._assembly.take(item)

    def close(self) -> None:
        """Hear no more."""
        for ear in self._ears:
            ear.close()


def _when(item: Seen | Entry) -> int:
    return item.when
