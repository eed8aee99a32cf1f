"""What a real Linux did with one more segment, from every state of a TCP flow: `linux_transitions.txt`.

Each line is a conversation, the segment that follows, whether it passed (or was invalid), and where it left the flow:
its state and the seconds that it then had to live.  Recorded on Linux 6.18 by `tests/kernel/test_kernel_nat_model.py`,
which also checks that the kernel still does the same; `test_nat_linux_tcp.py` asks the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

#: Conversations that reach every state, in each way that matters later.
BEGINNINGS = (
    *("", ">.", ">. <.", ">S <S. >.", ">S", ">S <.", ">S <S", ">S <S >S.", ">S <S >S. <S.", ">S <S >S. <.", ">S <S <R"),
    *(">S <S.", ">S <S. >S", ">S <S. >. >S", ">S <S. >. >P.", ">S <S. >. >F.", ">S <S. >. >F. <.", ">S <S. >. <F. >F."),
    *(">S <S. >. <F. >F. >S", ">S <S. >. <F. >F. <.", ">S <S. >. >F. <F. >.", ">S <S. >. <R", ">S <S. >. >R"),
    *(">S <S. >. <R >S", ">S <S <R >S"),
)

#: What may follow: each kind of segment, a RST that is not exact, and data beyond the window.
SEGMENTS = ("S", "S.", ".", "F.", "R", "R+", "P.!")

RECORD = Path(__file__).with_suffix(".txt")


class Transition(NamedTuple):
    """One line of the record; "no flow" and 0 seconds if it was gone."""

    conversation: str
    segment: str
    passed: bool
    state: str
    seconds: int

    def __str__(self) -> str:
        word = "passed" if self.passed else "invalid"
        return f"{self.conversation:22} | {self.segment:5} | {word:7} | {self.state} {self.seconds}"


def scripts() -> Iterable[tuple[str, str]]:
    """Every conversation with every segment that may follow."""
    return ((beginning, way + word) for beginning in BEGINNINGS for way in "><" for word in SEGMENTS)


def recorded() -> list[Transition]:
    """The record."""
    transitions = []
    for line in RECORD.read_text().splitlines():
        conversation, segment, word, flow = (part.strip() for part in line.split("|"))
        state, _, seconds = flow.rpartition(" ")
        transitions.append(Transition(conversation, segment, word == "passed", state, int(seconds)))
    return transitions
