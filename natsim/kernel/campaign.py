"""A campaign: thousands of random scripts through the kernel's NAT and through its model, and every difference told.

    for progress in Campaign(10_000, seed=1).run(): ...

Many NATs are asked at the same time, each in a namespace of its own, since most of a script's time is waiting.  A
script that shows a difference is shortened until nothing can be left out, and told with what both did.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from ..nat.linux_behavior import LinuxBehavior
from .scripts import Player, Script, behaviors, random_script
from .side_by_side import Difference, SideBySide

#: How many NATs of each behavior are asked at the same time.
LANES = 4

#: So many differences are enough to stop, and so many seconds go into shortening one.
ENOUGH, PATIENCE = 5, 60.0


@dataclass(frozen=True)
class Found:
    """A difference: the NAT, the shortest script that shows it, and what both did."""

    number: int
    behavior: LinuxBehavior
    script: Script
    words: str

    def __str__(self) -> str:
        steps = "\n".join(f"    {step!r}," for step in self.script)
        return (
            f"script {self.number}, through {self.behavior}:\n{self.words}\nThe shortest that shows it:\n[\n{steps}\n]"
        )


@dataclass
class Report:
    """How far a campaign has come.  `seconds` is wall-clock time."""

    scripts: int = 0
    packets: int = 0
    seconds: float = 0.0
    differences: list[Found] = field(default_factory=list)


class _Lane:
    """One NAT beside its model, and the script that it is playing."""

    def __init__(self, behavior: LinuxBehavior) -> None:
        self.both = SideBySide(behavior)
        self.number = 0
        self.script: Script = []
        self.player = Player(self.both)
        self.playing: Iterator[float] = iter(())

    def begin(self, number: int, script: Script) -> None:
        self.number, self.script = number, script
        self.player = Player(self.both)
        self.playing = self.player.play(script)


class Campaign:
    """`count` scripts drawn from `seed`: the same seed asks the same."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.count = count
        self.seed = seed
        self.report = Report()
        self._next = 0

    def run(self) -> Iterator[Report]:
        """Play all scripts; yields the report now and then, and at the end."""
        began = time.monotonic()
        with contextlib.ExitStack() as built:
            lanes = [_Lane(behavior) for behavior in behaviors()[: self.count] for _ in range(self._lanes_each())]
            for lane in lanes:
                built.callback(lane.both.close)
            waiting = [(0.0, place, lane) for place, lane in enumerate(lanes) if self._begin(lane)]
            heapify(waiting)
            while waiting and len(self.report.differences) < ENOUGH:
                due, place, lane = heappop(waiting)
                time.sleep(max(0.0, due - time.monotonic()))
                pause = self._go_on(lane)
                if pause is not None:
                    heappush(waiting, (time.monotonic() + pause, place, lane))
                self.report.seconds = time.monotonic() - began
                yield self.report
        yield self.report

    def _lanes_each(self) -> int:
        return max(1, min(LANES, self.count // len(behaviors())))

    def _begin(self, lane: _Lane) -> bool:
        """Give a lane its next script; False if there is none left."""
        if self._next == self.count:
            return False
        lane.begin(self._next, random_script(random.Random(f"{self.seed}:{self._next}")))
        self._next += 1
        return True

    def _go_on(self, lane: _Lane) -> float | None:
        """Play on until there is something to wait for; None if there is nothing more to do."""
        try:
            return next(lane.playing)
        except StopIteration:
            pass
        except Difference as difference:
            self.report.differences.append(_told(lane, difference))
        self.report.scripts += 1
        self.report.packets += lane.player.packets
        return 0.0 if self._begin(lane) else None


def _told(lane: _Lane, difference: Difference) -> Found:
    """The difference, by the shortest script that still shows one."""
    script, words = list(lane.script), str(difference)
    end = time.monotonic() + PATIENCE
    place = failures = 0
    while failures < len(script) and time.monotonic() < end:  # until nothing can be left out any more
        place %= len(script)
        shorter = script[:place] + script[place + 1 :]
        again = play_through(lane.both, shorter)
        if again is None:
            place, failures = place + 1, failures + 1
        else:
            script, words, failures = shorter, again, 0
    return Found(lane.number, lane.both.behavior, script, words)


def play_through(both: SideBySide, script: Script) -> str | None:
    """Play one script with its pauses; returns the difference that it shows, if any."""
    try:
        for pause in Player(both).play(script):
            time.sleep(pause)
    except Difference as difference:
        return str(difference)
    return None
