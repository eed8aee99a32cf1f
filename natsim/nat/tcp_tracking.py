"""How a NAT follows a TCP connection that it carries, to know how long its row may sit idle.

The machine of RFC 7857 section 2, figure 1; the figure's "client" is whoever sent the first SYN, and since that can
be either side, its INIT is two states here.  The table is the program: `NEXT[state][direction, what]` is the next
state; whatever is not in it changes nothing.

RFC 5382 REQ-2: a NAT carries every valid sequence, so nothing here ever forbids a packet.
Next: `engine.py`, which asks `advance` for every TCP packet that it translates.
"""

from __future__ import annotations

import enum

from ..packet import ACK, FIN, RST, SYN


class Tracking(enum.Enum):
    """States of RFC 7857 figure 1, with the figure's names where they differ."""

    CLOSED = "no SYN seen"
    OUT_SYN = "SYN from inside"  # INIT
    IN_SYN = "SYN from outside"  # INIT
    ESTABLISHED = "established"
    OUT_FIN = "inside closed"  # C FIN RCV, or S FIN RCV
    IN_FIN = "outside closed"  # S FIN RCV, or C FIN RCV
    BOTH_FIN = "both closed"  # C FIN + S FIN RCV
    TRANS = "reset"  # TRANS: a RST has passed; data brings the session back


OUT, IN = "out", "in"
T = Tracking
NEXT: dict[Tracking, dict[tuple[str, str], Tracking]] = {
    T.CLOSED: {(OUT, "SYN"): T.OUT_SYN, (IN, "SYN"): T.IN_SYN},
    # A SYN each way is an open, whether the second is a SYN,ACK or the bare SYN of a simultaneous open.
    T.OUT_SYN: {(IN, "SYN"): T.ESTABLISHED, (IN, "RST"): T.TRANS, (OUT, "RST"): T.TRANS},
    T.IN_SYN: {(OUT, "SYN"): T.ESTABLISHED, (OUT, "RST"): T.TRANS, (IN, "RST"): T.TRANS},
    T.ESTABLISHED: {
        (OUT, "FIN"): T.OUT_FIN,
        (IN, "FIN"): T.IN_FIN,
        (OUT, "RST"): T.TRANS,
        (IN, "RST"): T.TRANS,
    },
    T.OUT_FIN: {(IN, "FIN"): T.BOTH_FIN, (OUT, "RST"): T.TRANS, (IN, "RST"): T.TRANS},
    T.IN_FIN: {(OUT, "FIN"): T.BOTH_FIN, (OUT, "RST"): T.TRANS, (IN, "RST"): T.TRANS},
    # Anything but a SYN leaves a finished row to its short timer; a SYN opens a new life on the same ports.
    T.BOTH_FIN: {(OUT, "SYN"): T.OUT_SYN, (IN, "SYN"): T.IN_SYN},
    # A forged RST must not cut a living connection: data after it revives the row (RFC 7857 section 2.2).
    T.TRANS: {
        (OUT, "SYN"): T.OUT_SYN,
        (IN, "SYN"): T.IN_SYN,
        (OUT, "data"): T.ESTABLISHED,
        (IN, "data"): T.ESTABLISHED,
    },
}


def advance(state: Tracking, direction: str, flags: int) -> Tracking:
    """The state after a packet with these TCP flags has passed in this direction ("out" or "in").

    >>> advance(Tracking.OUT_SYN, "in", SYN).value        # simultaneous open
    'established'
    """
    return NEXT[state].get((direction, _kind(flags)), state)


def _kind(flags: int) -> str:
    if flags & RST:
        return "RST"
    if flags & SYN:
        return "SYN"
    if flags & FIN:
        return "FIN"
    return "data" if flags & ACK else "other"
