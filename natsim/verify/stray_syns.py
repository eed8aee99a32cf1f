"""RFC 5382 REQ-4: what a NAT says, and when, to a SYN that nobody inside has asked for.

The rule is silence for six seconds, in case that a SYN from inside makes the first one welcome, and then ICMP port
unreachable.  Each question is put twice: the stray SYN is for a port that has no row, or for one whose row filters it.
Part of `rfc5382.py`.
"""

from __future__ import annotations

from functools import partial

from ..nat.bench import ALICE, BOB, S2, Bench
from ..nat.verdict import Verdict
from ..packet import SYN, Packet
from .check import Behavior
from .limits import limit
from .segments import HANDSHAKE, Conversation
from .words import duration

#: For how long an answer is waited for, in seconds.
PATIENCE = 3600.0


def _stray(behavior: Behavior, row: bool) -> tuple[Conversation, Verdict]:
    """A SYN of S2 that nobody has asked for: to alice's outside endpoint, or to one that has no row yet.

    Returns the connection that it could become, and what the NAT makes of it.
    """
    bench = Bench(behavior)
    external = Bench(behavior).outside(ALICE, S2, SYN)  # where she would come out: chance is the same on every bench
    if row:
        first = Conversation(bench)
        first.play(HANDSHAKE)
        external = first.external
    stray = Conversation(bench, ALICE, S2, external)
    return stray, stray.send("<S")


def _answer(behavior: Behavior, row: bool, delay: float = PATIENCE) -> Packet | None:
    """What the NAT has answered to it within so many seconds."""
    stray, verdict = _stray(behavior, row)
    return verdict.reply or _late_answer(stray.bench, delay)


def _late_answer(bench: Bench, delay: float = PATIENCE) -> Packet | None:
    bench.wait(delay)
    return next((verdict.reply for verdict in bench.engine.overdue(bench.now)), None)


def _is_quiet(behavior: Behavior, row: bool, delay: float) -> bool:
    return _answer(behavior, row, delay) is None


def silence(behavior: Behavior) -> str:
    """For how long nothing is answered."""
    for row in (False, True):
        quiet = limit(partial(_is_quiet, behavior, row), PATIENCE)
        if quiet < 6:
            return f"{_named(_answer(behavior, row, quiet))} after {duration(quiet)}"
    return "at least 6 s"


def matched(behavior: Behavior) -> str:
    """In the last nanosecond of these six seconds alice sends a SYN to S2 herself."""
    for row in (False, True):
        stray, verdict = _stray(behavior, row)
        if verdict.reply or _late_answer(stray.bench, 6 - 1e-9):
            return "it was answered before"
        if stray.play(">S <S >S. <S.") is not None:
            return "the SYN from inside does not match it"
        if _late_answer(stray.bench):
            return "it is answered all the same"
    return "dropped without a word"


def unmatched(behavior: Behavior) -> str:
    """What it hears if alice does not."""
    refused = [row for row in (False, True) if not _stray(behavior, row)[1].passed]
    answers = [_answer(behavior, row) for row in refused]
    if any(answer is not None and answer.dst.address != S2.address for answer in answers):
        return "an answer to somebody else"
    return " or ".join(sorted({_named(answer) for answer in answers}))


def unmatched_neighbour(behavior: Behavior) -> str:
    """With REQ-8: the SYN is alice's, to bob's outside endpoint; the answer is for her."""
    bench = Bench(behavior)
    bob = Conversation(bench, BOB)
    bob.play(HANDSHAKE)
    if bob.external is None:
        return "no port is left for bob"
    verdict = bench.out(ALICE, bob.external, SYN)
    answer = verdict.reply or _late_answer(bench, 6)
    if answer is None:
        return _named(answer)
    hers = answer.dst.address == ALICE.address and (answer.quoted is None or answer.quoted.src == ALICE)
    return f"{_named(answer)} to {'her' if hers else answer.dst.address}"


def _named(answer: Packet | None) -> str:
    if answer is None:
        return "no answer"
    return "a RST" if answer.icmp is None else f"ICMP type {answer.icmp[0]} code {answer.icmp[1]}"
