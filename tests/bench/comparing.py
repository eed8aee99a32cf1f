"""Measuring several ways to do the same thing, so that the figures can be compared.

The ways take turns, round by round, so that whatever else slows the machine down strikes them all.  A rate is the
median of the rounds, with the slowest and the fastest beside it; a ratio is the median of the ratios within a round.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

ROUNDS = 7


@dataclass(frozen=True)
class Way:
    """One way to do it: `work` does it, and returns how many units it has done."""

    name: str
    work: Callable[[], int]


def compare(title: str, first: Way, *others: Way) -> None:
    """Measure all, and print what each does in a second of the wall clock, and how many times as much as the first."""
    print(f"\n{title}")
    ways = (first, *others)
    for way in ways:
        way.work()  # whoever comes first shall not pay for imports and caches
    rounds = [[_rate(way) for way in ways] for _ in range(ROUNDS)]
    for number, way in enumerate(ways):
        line = f"  {way.name:<58} {_spread([rates[number] for rates in rounds])}"
        if number:
            line += f"   x {_spread([rates[number] / rates[0] for rates in rounds])}"
        print(line, flush=True)


def _rate(way: Way) -> float:
    gc.collect()  # nor shall anybody pay for what the one before has left
    begun = time.perf_counter()
    done = way.work()
    return done / (time.perf_counter() - begun)


def _spread(values: list[float]) -> str:
    middle = median(values)
    style = ",.0f" if middle >= 1000 else ".1f" if middle >= 10 else ".2f"
    return f"{middle:{style}} ({min(values):{style}} to {max(values):{style}})"
