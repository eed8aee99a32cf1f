"""The states of a TCP connection, and how it is closed in them (RFC 9293 section 3.3.2, figure 5).

What lives here: names and tables, nothing that acts.  How a connection is opened is not a table, it depends on what
the segments say: that is in `tcp.py`, which also obeys the tables.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """RFC 9293 section 3.3.2.  LISTEN is missing: listening is the host's business."""

    CLOSED = "CLOSED"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"


HANDSHAKE = frozenset({State.SYN_SENT, State.SYN_RECEIVED})
PEER_MAY_SEND = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})
WE_MAY_SEND = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK})

#: Both have finished, or the connection has not begun: nobody would miss it.
NOTHING_TO_RESET = frozenset({State.CLOSED, State.SYN_SENT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT})

#: A connection is closed by two FINs, one from each side.  Each of three events leads on from some of the states.
WE_FINISH = {
    State.ESTABLISHED: State.FIN_WAIT_1,
    State.CLOSE_WAIT: State.LAST_ACK,
}
PEER_FINISHES = {
    State.ESTABLISHED: State.CLOSE_WAIT,
    State.FIN_WAIT_1: State.CLOSING,  # simultaneous close
    State.FIN_WAIT_2: State.TIME_WAIT,
}
OUR_FIN_IS_ACKNOWLEDGED = {
    State.FIN_WAIT_1: State.FIN_WAIT_2,
    State.CLOSING: State.TIME_WAIT,
    State.LAST_ACK: State.CLOSED,
}
