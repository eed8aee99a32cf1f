"""The narrowest place on a way: a sender that takes its time for each packet, and a queue before it.

This is where delay comes from that no distance explains: whoever fills the queue waits for all of it.  Without I/O:
sizes and times go in, times come out.  Used by `crossing.py`.
"""

from __future__ import annotations

from collections import deque

from .scheduler import SECOND

#: So many packets may wait, unless the link says otherwise: at 10 Mbit/s and 1,500 bytes each, for 120 ms.
QUEUE = 100


class Bottleneck:
    """Sends one packet after the other, at `rate` Mbit/s; so many as `queue` says may wait, the rest is dropped.

    At 1 Mbit/s, 1,000 bytes take 8 ms.  Of three that come at once, one is sent, one waits, and one finds no place:

    >>> bottleneck = Bottleneck(rate=1, queue=1)
    >>> [bottleneck.sent(1000, now=0) for _ in range(3)]
    [8000000, 16000000, None]
    >>> bottleneck.sent(1000, now=8_000_000)
    24000000
    """

    def __init__(self, rate: float, queue: int | None) -> None:
        self.rate = rate
        self.queue = QUEUE if queue is None else queue
        self._per_byte = 8 * SECOND / (rate * 1_000_000)
        self._idle_from = 0
        #: When it is the turn of each packet that waits, the first one first.
        self._turns: deque[int] = deque()

    def sent(self, size: int, now: int) -> int | None:
        """When the last bit of a packet that comes now has been sent; None if there is no place for it."""
        while self._turns and self._turns[0] <= now:
            self._turns.popleft()
        if now < self._idle_from:
            if len(self._turns) >= self.queue:
                return None
            self._turns.append(self._idle_from)
        self._idle_from = max(now, self._idle_from) + round(size * self._per_byte)
        return self._idle_from
