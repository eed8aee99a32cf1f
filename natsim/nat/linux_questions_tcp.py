"""Questions to a Linux NAT about TCP, asked by two ends that talk through it segment by segment.

A script is a row of segments: `>` from Alice inside, `<` from S1 outside, then the flags as tcpdump writes them, with
`P.` for ten octets of data.  As in `linux_questions.py`, `MakeBench` decides who is asked.
"""

from __future__ import annotations

from ..packet import ACK, FIN, PSH, RST, SYN, TCP, Packet
from .bench import ALICE, S1, Bench
from .linux_behavior import LinuxBehavior, WanInput
from .linux_questions import KEPT, PLAIN, MakeBench, answer_in_words, engine_of
from .verdict import Verdict

OPEN = ">S <S. >."
CROSSED = ">S <S >S. <S."

_FLAGS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, ".": ACK}
_AHEAD = {"+": 100, "!": 1_000_000}
_DATA = b"ten octets"


class TwoEnds:
    """Two TCPs that hear each other, as far as numbers go.  `window` is what both announce.

    A SYN after data has another initial number.
    """

    def __init__(self, window: int = 65535) -> None:
        self.window = window
        self._first = {">": 1000, "<": 5000}
        self._next = dict(self._first)

    def segment(self, word: str) -> Packet:
        """The next segment of a script; a `+` at its end puts its number 100 too high, a `!` a million."""
        way, other = ("<", ">") if word[0] == "<" else (">", "<")
        flags = sum(_FLAGS[letter] for letter in word[1:].rstrip("+!"))
        if flags & SYN:
            if self._next[way] > self._first[way] + 1:
                self._first[way] = self._next[way] + 1000
            self._next[way] = self._first[way]
        ends = (ALICE, S1) if way == ">" else (S1, KEPT)
        seq = self._next[way] + _AHEAD.get(word[-1], 0)
        packet = Packet(TCP, *ends, _DATA if flags & PSH else b"", flags=flags, seq=seq, window=self.window)
        packet.ack = self._next[other] if flags & ACK else 0
        self._next[way] += packet.segment_length
        return packet


class Talk:
    """A conversation of Alice with S1, by way of a NAT."""

    def __init__(self, bench: Bench, window: int = 65535) -> None:
        self.bench = bench
        self._ends = TwoEnds(window)

    def play(self, script: str) -> list[Verdict]:
        """Segments in turn, each handed to the NAT from the side where its sender is."""
        return [self._hand_over(self._ends.segment(word)) for word in script.split()]

    def say(self, word: str) -> Verdict:
        """One segment."""
        return self.play(word)[0]

    def _hand_over(self, segment: Packet) -> Verdict:
        engine, now = engine_of(self.bench), self.bench.now
        return engine.outbound(segment, now) if segment.src == ALICE else engine.inbound(segment, now)


def flow_in_words(bench: Bench) -> str:
    """The state of the flow, and how long it lives."""
    flows = engine_of(bench).table(bench.now)
    return f"{flows[0].state}, {bench.seconds_alive():g} s" if flows else "no flow"


def state_after(script: str, make: MakeBench) -> str:
    """Where a conversation leaves the flow."""
    bench = make(PLAIN)
    Talk(bench).play(script)
    return flow_in_words(bench)


def last_of(script: str, make: MakeBench) -> str:
    """What becomes of a conversation's last segment, and where it leaves the flow."""
    bench = make(PLAIN)
    *_, last = Talk(bench).play(script)
    return f"{'passes' if last.passed else 'invalid'}; {flow_in_words(bench)}"


def early_syn(wan_input: WanInput, make: MakeBench) -> str:
    """The peer's SYN comes first; then Alice dials, and the peer's SYN comes again."""
    bench = make(LinuxBehavior(wan_input=wan_input))
    talk = Talk(bench)
    answer = answer_in_words(talk.say("<S"))
    left = "no flow left" if not engine_of(bench).table(bench.now) else "a flow left"
    dialled = talk.say(">S").packet
    kept = "kept" if dialled is not None and dialled.src == KEPT else "moved"
    talk.play("<S >S. <S.")
    return f"{answer}, {left}; then port {kept}, {flow_in_words(bench)}"


def repeated_syn(make: MakeBench) -> str:
    """A SYN, and the same again some seconds later: does the flow live longer for it?"""
    bench = make(PLAIN)
    talk = Talk(bench)
    talk.say(">S")
    whole = bench.seconds_alive()
    bench.wait(1.5)
    talk.say(">S")
    return "renewed" if bench.seconds_alive() >= whole else "not renewed"


def closed_window(make: MakeBench) -> str:
    """An established connection whose ends announce no window."""
    bench = make(PLAIN)
    Talk(bench, window=0).play(OPEN)
    return flow_in_words(bench)


def repeated_ack(make: MakeBench) -> str:
    """The same ACK four times, as from a keep-alive or a retransmission."""
    bench = make(PLAIN)
    talk = Talk(bench)
    talk.play(OPEN)
    lives = []
    for _ in range(3):
        talk.say(">.")
        lives.append(f"{bench.seconds_alive():g} s")
    return ", ".join(lives)


def reopened_from_outside(wan_input: WanInput, make: MakeBench) -> str:
    """In TIME_WAIT a SYN comes from outside."""
    bench = make(LinuxBehavior(wan_input=wan_input))
    *_, last = Talk(bench).play(f"{OPEN} >F. <F. >. <S")
    return f"{answer_in_words(last)}, {flow_in_words(bench)}"


def without_a_flow(make: MakeBench) -> str:
    """Segments from inside that belong to no flow: which of them may begin one?"""
    words = ("S", ".", "S.", "F.", "R")
    passed = [word for word in words if Talk(make(PLAIN)).say(f">{word}").passed]
    return f"{' '.join(passed)} may leave"
