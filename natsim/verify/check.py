"""What `natsim verify` checks, and how: claims that can be measured.

A `Check` has a name, a source, what is expected according to that source, and a function that measures it.  What is
measured is a short text in the same words, so that a reader can compare the two, and so that they can differ.

A `Requirement` is a check that every NAT can be put to: one of an RFC's REQs.  `natsim verify` puts the `rfc` device to
all of them, and others to those that they are known to violate (`violations.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from ..nat.behavior import NatBehavior
from ..nat.linux import LinuxBehavior
from ..nat.linux_questions import MakeBench

Behavior = NatBehavior | LinuxBehavior


@dataclass(frozen=True)
class Check:
    """One row of the table, before it is measured.  `rule` is the claim in words, where the name does not say it.

    `ask` puts the same question to whatever is on the bench, a real NAT of the kernel for one; None where only the
    model can be asked.
    """

    name: str
    source: str
    expected: str
    measure: Callable[[], str]
    rule: str = ""
    ask: Callable[[MakeBench], str] | None = None


@dataclass(frozen=True)
class Result:
    """One row of the table: `ok` if what was measured is what was expected.

    `real` is what a real kernel did, if one was asked.
    """

    name: str
    source: str
    expected: str
    measured: str
    rule: str = ""
    real: str | None = None

    @property
    def ok(self) -> bool:
        """Do they agree?"""
        return self.measured == self.expected and self.real in (None, self.expected)


@dataclass(frozen=True)
class Requirement:
    """One REQ: `level` is the RFC's word (MUST, SHOULD, ...), `expected` what a NAT that obeys it shows."""

    name: str
    level: str
    rule: str
    expected: str
    measure: Callable[[Behavior], str]

    def of(self, device: str, behavior: Behavior, expected: str | None = None) -> Check:
        """This requirement, put to one NAT; `expected` differs for a NAT that is known to violate it."""
        document = " ".join(self.name.split()[:2])
        rule = f"{self.level}: {self.rule}"
        return Check(f"{self.name} {device}", document, expected or self.expected, lambda: self.measure(behavior), rule)


def measured(checks: Iterable[Check], make: MakeBench | None = None) -> Iterator[Result]:
    """The checks' results, one after the other as they are measured; with `make`, real NATs are asked, too."""
    for check in checks:
        real = _found(partial(check.ask, make)) if make is not None and check.ask is not None else None
        yield Result(check.name, check.source, check.expected, _found(check.measure), check.rule, real)


def _found(measure: Callable[[], str]) -> str:
    """What was measured.  A check that breaks has measured how it broke."""
    try:
        return measure()
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"
