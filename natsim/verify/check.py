"""What `natsim verify` checks, and how: claims that can be measured.

A `Check` has a name, a source, what is expected according to that source, and a function that measures it.  What is
measured is a short text in the same words, so that a reader can compare the two, and so that they can differ.

A `Requirement` is a check that every NAT can be put to: one of an RFC's REQs.  `natsim verify` puts the `rfc` device to
all of them, and others to those that they are known to violate (`violations.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..nat.behavior import NatBehavior
from ..nat.linux import LinuxBehavior

Behavior = NatBehavior | LinuxBehavior


@dataclass(frozen=True)
class Check:
    """One row of the table, before it is measured.  `rule` is the claim in words, where the name does not say it."""

    name: str
    source: str
    expected: str
    measure: Callable[[], str]
    rule: str = ""


@dataclass(frozen=True)
class Result:
    """One row of the table: `ok` if what was measured is what was expected."""

    name: str
    source: str
    expected: str
    measured: str
    rule: str = ""

    @property
    def ok(self) -> bool:
        """Do they agree?"""
        return self.measured == self.expected


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


def measured(checks: Iterable[Check]) -> Iterator[Result]:
    """The checks' results, one after the other as they are measured.  One that breaks has measured how it broke."""
    for check in checks:
        try:
            found = check.measure()
        except Exception as exc:
            found = f"{type(exc).__name__}: {exc}"
        yield Result(check.name, check.source, check.expected, found, check.rule)
