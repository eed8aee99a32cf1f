"""RFC 7857 section 2: does a NAT follow a TCP session as figure 1 does (`natsim/nat/tcp_tracking.py`)?

A NAT's state cannot be seen, but how long the session then lives can; so the timers are set to times that tell which of
them runs.  One arrow of the figure is not looked for: from ESTABLISHED, when its timer has run out, to TRANS, which
gives another four minutes to a session that RFC 5382 REQ-5 would let go.  Part of `rfc7857.py`.
"""

from __future__ import annotations

from dataclasses import replace

from ..nat.behavior import NatBehavior, Timeouts
from ..nat.bench import S1_OTHER
from .check import Behavior
from .segments import BOTH_CLOSED, HANDSHAKE, Conversation, played
from .words import duration

#: Timers by which to tell the states apart, in seconds; that of a RST is the shortest, so that it hides no other.
TIMERS = {"opening": 400.0, "established": 7000.0, "closing": 300.0, "reset": 200.0}
_TELLING = Timeouts(
    tcp_opening=TIMERS["opening"],
    tcp_established=TIMERS["established"],
    tcp_closing=TIMERS["closing"],
    tcp_reset=TIMERS["reset"],
)

#: The arrows of figure 1 by name: the segments that lead there, and which timer then runs (C is inside, S outside).
ARROWS = {
    "CLOSED, C SYN": (">S", "opening"),
    "INIT, S SYN": (">S <S.", "established"),
    "INIT, S SYN, at once": (">S <S", "established"),
    "ESTABLISHED, C FIN": (f"{HANDSHAKE} >F.", "established"),
    "ESTABLISHED, S FIN": (f"{HANDSHAKE} <F.", "established"),
    "C FIN RCV, S FIN": (BOTH_CLOSED, "closing"),
    "S FIN RCV, C FIN": (f"{HANDSHAKE} <F. >. >F. <.", "closing"),
    "ESTABLISHED, C RST": (f"{HANDSHAKE} >R.", "reset"),
    "ESTABLISHED, S RST": (f"{HANDSHAKE} <R.", "reset"),
    "TRANS, C data": (f"{HANDSHAKE} <R. >P.", "established"),
    "TRANS, S data": (f"{HANDSHAKE} >R. <P.", "established"),
}


def runs(script: str, behavior: Behavior) -> str:
    """Which timer runs after these segments."""
    conversation = played(_telling(behavior), script)
    return _timer(conversation.bench.seconds_alive())


def runs_from_outside(behavior: Behavior) -> str:
    """The client is outside, on a host to which alice has spoken; her own session there was reset."""
    conversation = played(_telling(behavior), ">S >R")
    stranger = Conversation(conversation.bench, remote=S1_OTHER, external=conversation.external)
    said = []
    for segment in ("<S", ">S."):
        if not stranger.send(segment).passed:
            return "no connection is permitted from outside"
        said.append(_timer(conversation.bench.seconds_alive()))
    return ", then ".join(said)


def _telling(behavior: Behavior) -> Behavior:
    return replace(behavior, timeouts=_TELLING) if isinstance(behavior, NatBehavior) else behavior


def _timer(seconds: float) -> str:
    return next((name for name, length in TIMERS.items() if length == seconds), duration(seconds))
