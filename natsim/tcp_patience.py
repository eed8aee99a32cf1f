"""How long a TCP believes in a peer that says nothing.

What lives here: when a SYN is sent again, when a silent peer is probed to see whether it is still there, and how
often we try before giving up.  All of it is plain arithmetic, as in Linux: nothing here sends or reads a clock.
How long to wait for the ACK of data is measured, not fixed; that is `tcp_congestion.py`.
"""

from __future__ import annotations

from natsim.tcp_congestion import SECOND

#: When a SYN is sent again, in nanoseconds after the first.  Linux since 6.5 repeats it four times at the same
#: distance (tcp_syn_linear_timeouts) and then six times at doubling distances (tcp_syn_retries): ten repeats.
LINUX_SYN_SCHEDULE = tuple(t * SECOND for t in (1, 2, 3, 4, 5, 7, 11, 19, 35, 67))
CLASSIC_SYN_SCHEDULE = tuple(t * SECOND for t in (1, 3, 7, 15, 31, 63))
SYN_ACK_SCHEDULE = tuple(t * SECOND for t in (1, 3, 7, 15, 31))

MAXIMUM_RETRIES = 15  # of data and of window probes, Linux tcp_retries2


def syn_deadline(schedule: tuple[int, ...], repeats: int) -> int:
    """After `repeats` repeats, when the next SYN is due; when there is none left, when to give up.

    >>> [syn_deadline(CLASSIC_SYN_SCHEDULE, repeats) // SECOND for repeats in range(7)]
    [1, 3, 7, 15, 31, 63, 127]
    """
    if repeats < len(schedule):
        return schedule[repeats]
    return schedule[-1] + 2 * (schedule[-1] - schedule[-2])


class Silence:
    """Since when the peer has said nothing, and how often it has been probed since: for keepalive or for its window.

    `keepalive` is (idle, interval, count), or None if it is off.

    >>> silence = Silence(); silence.broken(0); silence.next_probe((15, 5, 3))
    15
    >>> silence.probed(15); silence.next_probe((15, 5, 3))
    20
    """

    __slots__ = ("_heard_at", "_probed_at", "probes")

    def __init__(self) -> None:
        self.probes = 0
        self._heard_at = 0
        self._probed_at = 0

    def broken(self, now: int) -> None:
        """The peer has been heard."""
        self._heard_at = now
        self.probes = 0

    def probed(self, now: int) -> None:
        self._probed_at = now
        self.probes += 1

    def next_probe(self, keepalive: tuple[int, int, int] | None) -> int | None:
        """When keepalive is to probe: `idle` after the peer was heard, then each `interval`."""
        if keepalive is None:
            return None
        idle, interval, _ = keepalive
        due = self._heard_at + idle
        return max(due, self._probed_at + interval) if self.probes else due

    def is_hopeless(self, keepalive: tuple[int, int, int] | None, user_timeout: int | None, now: int) -> bool:
        """As many probes as keepalive allows are unanswered; or, with a user timeout, that time has passed."""
        if keepalive is None or not self.probes:
            return False
        if user_timeout is not None:
            return now - self._heard_at >= user_timeout
        return self.probes >= keepalive[2]
