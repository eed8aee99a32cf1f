"""The language of `socket_cases.txt` and `bind_conflicts.txt`, and what their rows are.

`socket_player.py` carries them out.

A case is a title and the steps below it, one to a line: who, what, and after the arrow what comes of it (an errno's
name, or a value; no arrow: "ok").  The same program runs it on simulated and on real sockets: whatever host it runs on
makes the sockets.

Names of sockets are small letters; those with an "@" are made on another host.  Ports are capital letters: the runner
gives each case numbers of its own, so that cases can run side by side.  In results, a port that nobody has named is
"*".  A step that comes too early for its result (EAGAIN, no error yet, not ready yet) is tried again for a while.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One line of a case: `words` is what is done, `expected` what comes of it."""

    words: tuple[str, ...]
    expected: str

    def __str__(self) -> str:
        return f"{' '.join(self.words)} -> {self.expected}"


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    title: str
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def is_alone(self) -> bool:
        """It counts the ports that Linux gives away, so nothing else may take one meanwhile."""
        return any("ports" in step.words for step in self.steps)

    @property
    def hosts(self) -> set[str]:
        """The hosts beside the first that it needs; none: it can run on plain loopback."""
        return set(re.findall(r"\b(alice|bob2?|nobody)\b", " ".join(map(str, self.steps))))


def read_cases(path: Path) -> list[Case]:
    """The cases of a file: a line that is not indented begins one; "#" begins a comment."""
    cases: list[Case] = []
    title, steps = "", []
    for line in [*path.read_text().splitlines(), "end"]:
        line = line.split("#")[0].rstrip()
        if not line:
            continue
        if line[0].isspace():
            words, _, expected = line.partition("->")
            steps.append(Step(tuple(words.split()), expected.strip() or "ok"))
        else:
            if steps:
                cases.append(Case(title, tuple(steps)))
            title, steps = line, []
    return cases


# -- The table of bind conflicts ---------------------------------------------------------------------------------------

#: The sets of options that the columns of `bind_conflicts.txt` stand for.
CHOICES = {"n": (), "a": ("reuseaddr",), "p": ("reuseport",), "b": ("reuseaddr", "reuseport")}

#: In what state the first socket is: the socket's kind, and the steps that lead there.
STATES_OF_THE_FIRST = {
    "bound": ("tcp", ()),
    "listening": ("tcp", ("a listen",)),
    "connected": ("tcp", ("a connect l",)),
    "time-wait": ("tcp", ("a connect l", "l accept b", "a close", "b recv 9", "b close", "pause")),
    "udp": ("udp", ()),
    "udp connected": ("udp", ("a connect l",)),
}


@dataclass(frozen=True)
class Row:
    """One row of the table: does a second socket get the port, for all 16 pairs of options?"""

    state: str
    first: str
    second: str
    outcomes: str

    def cases(self) -> Iterator[Case]:
        """One for each cell, from left to right."""
        kind, steps = STATES_OF_THE_FIRST[self.state]
        for ours, theirs in itertools.product(CHOICES.values(), CHOICES.values()):
            lines = [
                f"l tcp{family_of(self.first)}",
                f"l bind {peer_of(self.first)}:Q",
                "l listen",
                f"a {kind}{family_of(self.first)} {' '.join((*ours, *v6only(self.first)))}",
                f"a bind {bare(self.first)}:P",
                *steps,
                f"s {kind}{family_of(self.second)} {' '.join((*theirs, *v6only(self.second)))}",
                f"s bind {bare(self.second)}:P",
            ]
            yield Case(
                f"{self.state} {self.first} {self.second}", tuple(Step(tuple(line.split()), "") for line in lines)
            )


def read_conflicts(path: Path) -> list[Row]:
    """The rows of the table; cells are separated by spaces."""
    rows = []
    for line in path.read_text().splitlines():
        line = line.split("#")[0]
        if "|" in line:
            state, first, second, cells = (part.strip() for part in line.split("|"))
            if state in STATES_OF_THE_FIRST:
                rows.append(Row(state, first, second, "".join(cells.split())))
    return rows


def family_of(address: str) -> str:
    return "6" if ":" in address else "4"


def bare(address: str) -> str:
    """The address without the word behind it, in brackets if it is one of IPv6."""
    word = address.split()[0]
    return f"[{word}]" if ":" in word else word


def peer_of(address: str) -> str:
    """Whom a socket of that address can connect to."""
    if family_of(address) == "4":
        return "127.0.0.1"
    return "[::ffff:127.0.0.1]" if "ffff" in address else "[::1]"


def v6only(address: str) -> tuple[str, ...]:
    return ("v6only",) if address.endswith("only") else ()
