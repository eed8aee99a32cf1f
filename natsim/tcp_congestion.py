"""How long a TCP waits before it sends again, and how much it keeps under way.

What lives here: `RetransmissionTimer`, the estimate of the round trip and the timeout that follows from it
(RFC 6298), and `NewReno`, the congestion window (RFC 5681, RFC 6582).  Both are plain arithmetic: they hold no
data, send nothing and read no clock.  `tcp.py` feeds them with what it observes and obeys them.
"""

from __future__ import annotations

MILLISECOND = 1_000_000
SECOND = 1_000 * MILLISECOND

INITIAL_RTO = 1 * SECOND  # RFC 6298 (2.1)
RTO_AFTER_LOST_SYN = 3 * SECOND  # RFC 6298 (5.7)
RTO_MARGIN = 200 * MILLISECOND  # RFC 6298 (2.4) says that RTO is at least 1 s; Linux: at least SRTT + 200 ms
MAXIMUM_RTO = 120 * SECOND

INITIAL_WINDOW = 10  # segments, RFC 6928
DUPLICATE_ACK_THRESHOLD = 3  # RFC 5681 section 3.2


class RetransmissionTimer:
    """The retransmission timeout: the smoothed round trip, and four times its deviation on top.

    >>> timer = RetransmissionTimer()
    >>> timer.sample(100 * MILLISECOND); timer.rto // MILLISECOND
    300
    >>> timer.back_off(); timer.rto // MILLISECOND
    600
    """

    __slots__ = ("rto", "rttvar", "srtt")

    def __init__(self) -> None:
        self.rto = INITIAL_RTO
        self.srtt: int | None = None
        self.rttvar = 0

    def sample(self, rtt: int) -> None:
        """A segment that was sent only once has been acknowledged after `rtt` (Karn's algorithm)."""
        if self.srtt is None:  # (2.2)
            self.srtt = rtt
            self.rttvar = rtt // 2
        else:  # (2.3) with alpha = 1/8 and beta = 1/4
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) // 4
            self.srtt += (rtt - self.srtt) // 8
        self.rto = min(self.srtt + max(4 * self.rttvar, RTO_MARGIN), MAXIMUM_RTO)

    def back_off(self) -> None:
        """Nobody answered: wait twice as long (5.5).  The next valid sample ends this."""
        self.rto = min(2 * self.rto, MAXIMUM_RTO)


class NewReno:
    """The congestion window: it doubles each round trip up to `ssthresh`, then grows by one segment.

    Three duplicate ACKs say that one segment is lost and later ones arrive: repeat that one and halve the window
    (fast retransmit).  Until everything is acknowledged that was under way at that moment (`recover`), an ACK
    that covers only a part says that the next segment is lost too, and that one is repeated (fast recovery).
    A timeout says that nothing arrives any more: begin again with one segment.

    `flight` is always the number of octets sent and not acknowledged; `recover` is a position, counted like
    `acknowledged` in octets since the connection began.
    """

    __slots__ = ("acknowledged", "credit", "cwnd", "duplicates", "in_recovery", "mss", "recover", "ssthresh")

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = INITIAL_WINDOW * mss
        self.ssthresh = 1 << 40  # "arbitrarily high", RFC 5681 section 3.1
        self.acknowledged = 0
        self.credit = 0  # octets acknowledged that have not yet made the window grow
        self.duplicates = 0
        self.in_recovery = False
        self.recover = -1

    @property
    def window(self) -> int:
        """How many octets may be under way.  The first duplicates let one new segment go each (RFC 3042)."""
        if self.in_recovery:
            return self.cwnd
        return self.cwnd + min(self.duplicates, DUPLICATE_ACK_THRESHOLD - 1) * self.mss

    def on_ack(self, acked: int, flight: int) -> bool:
        """`acked` octets out of `flight` are acknowledged.  True: the segment after them is lost, repeat it."""
        self.acknowledged += acked
        self.duplicates = 0
        if not self.in_recovery:
            if 2 * flight >= self.cwnd:  # a window that is not used proves nothing about the path (RFC 7661)
                self._grow(acked)
            return False
        if self.acknowledged >= self.recover:  # a full acknowledgment, RFC 6582 section 3.2 step 3
            self.in_recovery = False
            self.cwnd = min(self.ssthresh, max(flight - acked, self.mss) + self.mss)
            return False
        self.cwnd = max(self.cwnd - acked, 0) + self.mss  # a partial one
        return True

    def on_duplicate_ack(self, flight: int) -> bool:
        """An ACK that says nothing new, hence a segment has left the network.  True: repeat the first one."""
        self.duplicates += 1
        if self.in_recovery:
            self.cwnd += self.mss
            return False
        if self.duplicates != DUPLICATE_ACK_THRESHOLD or self.acknowledged <= self.recover:
            return False
        self._remember_loss(flight)
        self.in_recovery = True
        self.cwnd = self.ssthresh + DUPLICATE_ACK_THRESHOLD * self.mss
        return True

    def on_timeout(self, flight: int) -> None:
        """The retransmission timer has run out, RFC 5681 section 3.1 and RFC 6582 section 3.2 step 4."""
        self._remember_loss(flight)
        self.in_recovery = False
        self.cwnd = self.mss

    def _remember_loss(self, flight: int) -> None:
        self.ssthresh = max(flight // 2, 2 * self.mss)
        self.recover = self.acknowledged + flight
        self.credit = 0

    def _grow(self, acked: int) -> None:
        if self.cwnd < self.ssthresh:  # slow start, counted in octets as Linux does (RFC 3465)
            self.cwnd += acked
            return
        self.credit += acked  # congestion avoidance: one segment for each window acknowledged
        if self.credit >= self.cwnd:
            self.credit -= self.cwnd
            self.cwnd += self.mss
