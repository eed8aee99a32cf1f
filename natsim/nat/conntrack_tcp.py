"""How conntrack follows a TCP connection: its states, and how long each may last.

The tables are the program.  `NEXT[direction][state][kind]` is the state after a segment of that kind (SYN; SYN,ACK;
FIN; ACK) in that direction; a RST always leads to CLOSE.  The direction is ORIGINAL for whoever sent the flow's first
packet, REPLY for the other.  Two words stand beside the states:

* IGNORED: the segment passes, but the flow stays as it is.  If the other side agrees to it, conntrack follows.
* a kind that is absent is *invalid*: the segment is not of this flow, whatever its addresses say, and no NAT
  translates it.

So a simultaneous open is allowed (a SYN in REPLY leads from SYN_SENT to SYN_SENT2), a SYN from outside into an
established connection is not, and a RST that is the first answer takes the flow away at once, with the hole.

Sources: nf_conntrack_proto_tcp.c, and the real kernel, segment for segment (`tests/kernel/test_kernel_nat_facts.py`).
Nothing here acts; next: `conntrack_tracking.py`, which obeys these tables.
"""

from __future__ import annotations

import enum

from ..packet import ACK, FIN, PSH, RST, SYN, Packet


class TcpState(enum.Enum):
    """What has been seen, in the order in which it usually is."""

    NONE = "NONE"
    SYN_SENT = "SYN_SENT"  # a SYN
    SYN_SENT2 = "SYN_SENT2"  # a SYN each way: simultaneous open
    SYN_RECV = "SYN_RECV"  # a SYN,ACK
    ESTABLISHED = "ESTABLISHED"  # the ACK of it
    FIN_WAIT = "FIN_WAIT"  # a FIN
    CLOSE_WAIT = "CLOSE_WAIT"  # the ACK of it
    LAST_ACK = "LAST_ACK"  # the other FIN
    TIME_WAIT = "TIME_WAIT"  # the ACK of that
    CLOSE = "CLOSE"  # a RST
    IGNORED = "(ignored)"  # in the tables only


ORIGINAL, REPLY = "original", "reply"
_S = TcpState

NEXT: dict[str, dict[TcpState, dict[str, TcpState]]] = {
    ORIGINAL: {
        _S.NONE: {
            "SYN": _S.SYN_SENT,
            "ACK": _S.ESTABLISHED,
        },  # an ACK: picked up in the middle (nf_conntrack_tcp_loose)
        _S.SYN_SENT: {"SYN": _S.SYN_SENT},
        _S.SYN_SENT2: {"SYN": _S.SYN_SENT2, "SYN,ACK": _S.SYN_RECV},
        _S.SYN_RECV: {"SYN": _S.IGNORED, "SYN,ACK": _S.SYN_RECV, "FIN": _S.FIN_WAIT, "ACK": _S.ESTABLISHED},
        _S.ESTABLISHED: {"SYN": _S.IGNORED, "FIN": _S.FIN_WAIT, "ACK": _S.ESTABLISHED},
        _S.FIN_WAIT: {"SYN": _S.IGNORED, "FIN": _S.LAST_ACK, "ACK": _S.CLOSE_WAIT},
        _S.CLOSE_WAIT: {"SYN": _S.IGNORED, "FIN": _S.LAST_ACK, "ACK": _S.CLOSE_WAIT},
        _S.LAST_ACK: {"SYN": _S.IGNORED, "FIN": _S.LAST_ACK, "ACK": _S.TIME_WAIT},
        _S.TIME_WAIT: {"SYN": _S.SYN_SENT, "FIN": _S.TIME_WAIT, "ACK": _S.TIME_WAIT},
        _S.CLOSE: {"SYN": _S.SYN_SENT, "FIN": _S.CLOSE, "ACK": _S.CLOSE},
    },
    REPLY: {
        _S.SYN_SENT: {"SYN": _S.SYN_SENT2, "SYN,ACK": _S.SYN_RECV, "ACK": _S.IGNORED},
        _S.SYN_SENT2: {"SYN": _S.SYN_SENT2, "SYN,ACK": _S.SYN_RECV, "ACK": _S.IGNORED},
        _S.SYN_RECV: {"SYN,ACK": _S.IGNORED, "FIN": _S.FIN_WAIT, "ACK": _S.SYN_RECV},
        _S.ESTABLISHED: {"SYN,ACK": _S.IGNORED, "FIN": _S.FIN_WAIT, "ACK": _S.ESTABLISHED},
        _S.FIN_WAIT: {"SYN,ACK": _S.IGNORED, "FIN": _S.LAST_ACK, "ACK": _S.CLOSE_WAIT},
        _S.CLOSE_WAIT: {"SYN,ACK": _S.IGNORED, "FIN": _S.LAST_ACK, "ACK": _S.CLOSE_WAIT},
        _S.LAST_ACK: {"SYN,ACK": _S.IGNORED, "FIN": _S.LAST_ACK, "ACK": _S.TIME_WAIT},
        _S.TIME_WAIT: {"SYN": _S.SYN_SENT, "SYN,ACK": _S.IGNORED, "FIN": _S.TIME_WAIT, "ACK": _S.TIME_WAIT},
        _S.CLOSE: {"SYN,ACK": _S.IGNORED, "FIN": _S.CLOSE, "ACK": _S.CLOSE},
    },
}

#: The setting for each state.  SYN_SENT2 has none, it is 120 s in every Linux.
TIMEOUT: dict[TcpState, str] = {
    state: f"tcp_{state.value.lower()}" for state in _S if state not in (_S.NONE, _S.SYN_SENT2, _S.IGNORED)
}
SYN_SENT2_TIMEOUT = 120

#: How often a segment is repeated until `tcp_max_retrans` counts (nf_conntrack_tcp_max_retrans).
MAX_RETRANSMISSIONS = 3

#: Over, or nearly: a RST is believed without a look at its numbers.
ENDING = frozenset({_S.FIN_WAIT, _S.CLOSE_WAIT, _S.LAST_ACK, _S.TIME_WAIT, _S.CLOSE})
OVER = frozenset({_S.TIME_WAIT, _S.CLOSE})

#: Flags that make sense together; PSH is never looked at.
_KINDS = {SYN: "SYN", SYN | ACK: "SYN,ACK", FIN | ACK: "FIN", ACK: "ACK", RST: "RST", RST | ACK: "RST"}


def kind_of(segment: Packet) -> str | None:
    """SYN; SYN,ACK; FIN; ACK; RST; or None for flags that no TCP would set together."""
    return _KINDS.get(segment.flags & ~PSH)
