"""Which packets does a link lose?

A loss rule is a generator: given a source of chance, it says of one packet after the other whether that one is lost.
It goes on for ever, once for each direction of a link.  So your own is a few lines:

    def every_tenth(chance):
        while True:
            yield from [False] * 9 + [True]

    Link(loss=every_tenth)

Sources: E. N. Gilbert, "Capacity of a burst-noise channel", 1960; E. O. Elliott, "Estimates of error rates for codes on
burst-noise channels", 1963.  Next: `crossing.py`, which asks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, repeat

from .nat.rules import RuleError
from .nat.spelling import Knobs, rule_name

LossRule = Callable[[random.Random], Iterator[bool]]


def independent(share: float, chance: random.Random) -> Iterator[bool]:
    """True for that share of packets, each by itself.  Chance is asked only if there is something to decide."""
    return (chance.random() < share for _ in count()) if share else repeat(False)


@dataclass(frozen=True, repr=False)
class Bursts(Knobs):
    """Loss in bursts, as on radio: `share` of all packets is lost, and on average `length` of them in a row.

    The model of Gilbert and Elliott, in its simplest form: the link is well or ill, each packet may change that, and
    what finds it ill is lost.  A length of 1 / (1 - share) is independent loss; a longer one is worse for programs that
    send again what was lost, since the second try finds the same burst.  For bursts are counted in packets, not in
    time: to somebody who sends one packet in a second, a burst of ten lasts ten seconds.

    Raises ValueError if there are no such bursts.

    >>> lost = Bursts(share=0.2, length=5)(random.Random(1))
    >>> "".join(".x"[next(lost)] for _ in range(60))
    'x........x...xxxx..xxx....xxxxxxxxxx....................xxxx'
    """

    share: float
    length: float

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"bursts lose a share of the packets, from 0 up to (but not) 1, not {self.share!r}")
        if not self.length >= 1:
            raise ValueError(f"the mean length of bursts is a number of packets, from 1 up, not {self.length!r}")
        if self._falls_ill > 1:
            most = self.length / (self.length + 1)
            raise ValueError(
                f"bursts of {self.length:g} packets lose at most {most:.3g} of all, since at least one gets through "
                f"between two bursts; {self.share:g} needs longer ones"
            )

    @property
    def _falls_ill(self) -> float:
        """The chance that a burst begins with the next packet.

        Of all packets, `share` is in bursts and each of these ends one with a chance of 1 / length; as many must begin.
        """
        return self.share / self.length / (1 - self.share)

    def __call__(self, chance: random.Random) -> Iterator[bool]:
        ill = chance.random() < self.share
        while True:
            yield ill
            ill = chance.random() < (1 - 1 / self.length if ill else self._falls_ill)


def losses(loss: float | LossRule, chance: random.Random) -> Iterator[bool]:
    """For one packet after the other, whether it is lost: by that rule, or so many by chance."""
    return _told_by(loss, chance) if callable(loss) else independent(loss, chance)


def _told_by(rule: LossRule, chance: random.Random) -> Iterator[bool]:
    """What a rule says that a learner may have written.  `RuleError` if it says nothing more, or nonsense."""
    for lost in rule(chance):
        if not isinstance(lost, bool):
            raise RuleError(f"the loss rule {rule_name(rule)} yielded {lost!r}; True is lost, and False is not")
        yield lost
    raise RuleError(f"the loss rule {rule_name(rule)} came to an end; it must yield True or False for every packet")
