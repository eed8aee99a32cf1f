"""Checks of things that are left to chance: a game is played many times, and the wins are counted.

A game is a function of a seed, so a row never changes its mind.  What is measured is "as expected" if it lies within
three standard deviations, which an honest row misses once in 370 times, and with a fixed seed either never or always.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Game = Callable[[int], bool]


def within(probability: float) -> str:
    """What a game shows that is won with this probability.

    >>> within(0.5)
    '50.00% within 3 sigma'
    """
    return f"{probability:.2%} within 3 sigma"


def played(game: Game, games: int, expected: float) -> str:
    """How often a game is won, with the seeds from 0 up: in the words of `within` if as often as expected.

    >>> played(lambda seed: seed % 2 == 0, 100, 0.5), played(lambda seed: True, 100, 0.5)
    ('50.00% within 3 sigma', '100.00%')
    """
    won = sum(game(seed) for seed in range(games))
    deviation = math.sqrt(expected * (1 - expected) * games)
    return within(expected) if abs(won - expected * games) <= 3 * deviation else f"{won / games:.2%}"
