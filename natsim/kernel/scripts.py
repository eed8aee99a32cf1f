"""Random scripts for a NAT: who sends what to whom, and when, sensible and mad alike.

A script is a list of plain steps, so that it can be shown, played again, and shortened.  A step names endpoints by
their place in a small cast, since it is ports in use, early packets and clashes that are interesting; the outside port
to which an answer goes is the one that the NAT has really chosen.  Next: `campaign.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from ..nat.bench import ALICE, BOB, S1, S1_OTHER, S2
from ..nat.linux_behavior import LinuxBehavior, LinuxTimeouts, Masquerade, WanInput
from ..nat.linux_questions_tcp import TwoEnds
from ..packet import ACK, ICMP, SYN, UDP, Endpoint, Packet
from ..scheduler import SECOND, seconds
from .side_by_side import EXTERNAL, SideBySide

#: Two sockets of a host that want the same outside port as one of another's, and a low port.
INSIDE = (ALICE, BOB, ALICE._replace(port=600), BOB._replace(port=7000))
REMOTE = (S1, S1_OTHER, S2)

#: Another outside port than the usual: nobody's, unless chance wills it.
ELSEWHERE = 7000

#: What segments are, the likely more often; the last ones make no sense.
FLAGS = [*("S " * 5 + "S. " * 4 + ". " * 6 + "P. " * 4 + "F. " * 3 + "R R R. F FS").split(), ""]

#: ICMP queries with their replies, and errors, by names for the scripts.
QUERIES = {"echo": (8, 0), "timestamp": (13, 14)}
ERRORS = {"port": (3, 3), "host": (3, 1), "too big": (3, 4), "expired": (11, 0)}

#: By how much a number may be wrong.
WRONG = (-1, 1, -100, 100, -1000, 1000, -70_000, 70_000, -1_000_000)

#: Ways to begin a TCP connection, that what follows meets flows in every state.
BEGINNINGS = (
    "",
    ">S",
    "<S",
    ">S <S.",
    ">S <S. >.",
    ">S <S. >. >P. <.",
    ">S <S",
    ">S <S >S. <S.",
    ">S <R.",
    ">S <S. >. >F. <.",
)

#: Pauses in seconds: within a flow's life, around the two seconds of a UDP stream, and longer than most lives.
PAUSES = (0.3, 0.7, 1.4, 2.3, 3.5)

#: conntrack's timeouts, short, and different where that makes a state visible.
TIMEOUTS = LinuxTimeouts(
    udp=1, udp_stream=3, icmp=1, tcp_syn_sent=2, tcp_syn_recv=1, tcp_established=4, tcp_fin_wait=2, tcp_close_wait=1,
    tcp_last_ack=1, tcp_time_wait=2, tcp_close=1, tcp_max_retrans=3, tcp_unacknowledged=3,
)  # fmt: skip

#: Nothing is sent so shortly before or after a moment at which something expires or changes: clocks differ.
MARGIN = SECOND // 4


class Step(NamedTuple):
    """One step.  `what` is "wait", "udp", "tcp", "ask", "answer" (ICMP queries and replies) or "error".

    wait: `number` seconds.  tcp: `word` is direction and flags (`linux_questions_tcp.py`), and the fields that are
    spoilt are in `spoilt`.  ask and answer: `word` is "echo" or "timestamp".  error: about the packet that got through
    `number` packets ago, `outward` as that went; `word` says which (`ERRORS`).
    `astray`: to an outside port that is not the one in use.
    """

    what: str
    outward: bool = True
    inside: int = 0
    remote: int = 0
    word: str = ""
    spoilt: tuple[tuple[str, int | None], ...] = ()
    number: float = 0
    astray: bool = False

    def __repr__(self) -> str:
        usual = Step("")
        shown = [repr(self.what)]
        shown += [f"{name}={now!r}" for name, now in self._asdict().items() if now != getattr(usual, name)][1:]
        return f"Step({', '.join(shown)})"


Script = list[Step]


def random_script(chance: random.Random) -> Script:
    """A script of some ten to thirty steps."""
    script: Script = []
    if chance.random() < 0.5:
        pair = chance.randrange(len(INSIDE)), chance.randrange(len(REMOTE))
        script += [Step("tcp", word[0] == ">", *pair, word) for word in chance.choice(BEGINNINGS).split()]
    elif chance.random() < 0.2:
        script += _lively_talk(chance)
    pauses = chance.choice((0, 0, 1, 2))
    length = chance.randrange(8, 24)
    when = {chance.randrange(1, length) for _ in range(pauses)}
    wildness = chance.choice((0.0, 0.05, 0.25))
    cast = chance.randrange(1, len(INSIDE) + 1), chance.randrange(1, len(REMOTE) + 1)
    for number in range(length):
        if number in when:
            script.append(Step("wait", number=chance.choice(PAUSES)))
        script.append(_random_step(chance, cast, wildness))
    return script


def _lively_talk(chance: random.Random) -> Iterator[Step]:
    """Datagrams to and fro, often enough to keep a flow alive, and long enough to make it a stream."""
    for _ in range(chance.randrange(2, 7)):
        yield Step("udp", chance.random() < 0.6)
        yield Step("wait", number=0.4)


def _random_step(chance: random.Random, cast: tuple[int, int], wildness: float) -> Step:
    what = chance.choice(("udp", "udp", "udp", "tcp", "tcp", "tcp", "tcp", "ask", "answer", "error"))
    outward = chance.random() < 0.5
    inside, remote = chance.randrange(cast[0]), chance.randrange(cast[1])
    step = Step(what, outward, inside, remote, astray=chance.random() < 0.08)
    if what == "tcp":
        word = (">" if outward else "<") + chance.choice(FLAGS)
        return step._replace(word=word, spoilt=tuple(_spoilt(chance, wildness)))
    if what == "error":
        return step._replace(number=chance.randrange(4), word=chance.choice(list(ERRORS)))
    if what in ("ask", "answer"):
        return step._replace(word=chance.choice(("echo", "echo", "timestamp")))
    return step


def _spoilt(chance: random.Random, wildness: float) -> Iterator[tuple[str, int | None]]:
    """Fields of a segment with something else than what would be right; seq and ack as how far they are off."""
    for field in ("seq", "ack"):
        if chance.random() < wildness:
            yield field, chance.choice((*WRONG, chance.randrange(2**32)))
    if chance.random() < wildness:
        yield "window", chance.choice((0, 1, 500, 2000))
    if chance.random() < wildness:
        yield "wscale", chance.choice((None, 0, 7, 14))


# -- Playing ----------------------------------------------------------------------------------------------------------


class Player:
    """Plays a script to a NAT and to its model.  `packets` counts what has been sent."""

    def __init__(self, both: SideBySide) -> None:
        self._both = both
        self._known: dict[tuple[str, Endpoint, Endpoint], Endpoint] = {}
        self._talks: dict[tuple[Endpoint, Endpoint], TwoEnds] = {}
        self._passed: list[tuple[Packet, bool]] = []
        self.packets = 0

    def play(self, script: Script) -> Iterator[float]:
        """Yields how many seconds to wait, whenever there is something to wait for.  Raises Difference."""
        self._both.forget()
        for step in script:
            if step.what == "wait":
                yield step.number
                continue
            while (wait := self._until_clear()) > 0:
                yield wait
            sent = self._packet(step)
            if sent is None:
                continue
            packet, outward = sent
            through = self._both.send(packet, outward)
            self.packets += 1
            if through is not None:
                self._passed.append((through, outward))
                if outward and packet.protocol != ICMP:
                    self._known[packet.protocol, packet.src, packet.dst] = through.src

    def _until_clear(self) -> float:
        """Seconds until no flow is about to expire, or to become a stream."""
        now = self._both.now
        wait = 0
        for flow in self._both.model.table(now - MARGIN):
            for moment in (flow.expires, flow.started + 2 * SECOND):
                if abs(moment - now) < MARGIN:
                    wait = max(wait, moment + MARGIN - now)
        return seconds(wait)

    def _packet(self, step: Step) -> tuple[Packet, bool] | None:
        """What a step sends, and whether outwards; nothing if there is nothing yet that an error could be about."""
        if step.what == "error":
            return self._error(step)
        inside, remote = INSIDE[step.inside], REMOTE[step.remote]
        protocol = {"ask": ICMP, "answer": ICMP}.get(step.what, step.what)
        ends = (inside, remote) if step.outward else (remote, self._outside(protocol, inside, remote, step.astray))
        if step.what == "udp":
            return Packet(UDP, *ends, b"x"), step.outward
        if step.what == "tcp":
            return self._segment(step, inside, remote, ends), step.outward
        src, dst = ends
        asks, answers = QUERIES[step.word]
        times = bytes(12 if asks == 13 else 0)
        if step.what == "ask":
            packet = Packet(ICMP, src._replace(port=inside.port), dst._replace(port=0), times, icmp=(asks, 0))
        else:
            packet = Packet(ICMP, src._replace(port=0), dst._replace(port=inside.port), times, icmp=(answers, 0))
        return packet, step.outward

    def _outside(self, protocol: str, inside: Endpoint, remote: Endpoint, astray: bool) -> Endpoint:
        usual = Endpoint(EXTERNAL, inside.port)
        if self._both.behavior.masquerade is Masquerade.NONE:
            return Endpoint(EXTERNAL, ELSEWHERE) if astray else inside
        return usual._replace(port=ELSEWHERE) if astray else self._known.get((protocol, inside, remote), usual)

    def _segment(self, step: Step, inside: Endpoint, remote: Endpoint, ends: tuple[Endpoint, Endpoint]) -> Packet:
        segment = self._talks.setdefault((inside, remote), TwoEnds()).segment(step.word)
        if segment.flags & SYN:
            segment.wscale = 7
        for field, value in step.spoilt:
            if field in ("seq", "ack") and value is not None:
                value = (getattr(segment, field) + value) % 2**32
            if field != "ack" or segment.flags & ACK:
                setattr(segment, field, value)
        return segment.rewritten(*ends)

    def _error(self, step: Step) -> tuple[Packet, bool] | None:
        if len(self._passed) <= step.number:
            return None
        about, went_out = self._passed[-1 - int(step.number)]
        source = "203.0.113.254" if went_out else about.dst.address
        target = S2.address if step.astray and not went_out else about.src.address
        error = Packet(ICMP, Endpoint(source, 0), Endpoint(target, 0), icmp=ERRORS[step.word], quoted=about)
        return error, not went_out


def behaviors() -> list[LinuxBehavior]:
    """Every NAT that a LinuxBehavior can be, with short timeouts."""
    return [
        LinuxBehavior(masquerade, wan_input, block_udp, TIMEOUTS)
        for masquerade in Masquerade
        for wan_input in WanInput
        for block_udp in (False, True)
    ]
