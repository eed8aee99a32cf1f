"""`natsim verify`: what RFCs require and what has been published, measured against the model, and the real kernel.

The rows come from `natsim/verify/table.py`, and those about punchkit from `retransmissions.py`.  Rows with the same
source stand together; each is printed as soon as it is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from natsim.cli import retransmissions
from natsim.nat.linux_questions import MakeBench
from natsim.verify.check import Check, Result, measured
from natsim.verify.table import all_checks

#: How wide the line may be that names a source.
WIDTH = 100


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "verify",
        help="the RFCs' requirements and published figures: expected and measured",
        description="Measures what the RFCs require and what has been published, one row after the other. Status 0 if "
        "everything is as expected, else 1.",
    )
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="only rows that have TEXT in their name, rule or source"
    )
    parser.add_argument(
        "--world",
        choices=["sim", "kernel"],
        default="sim",
        help="kernel: ask real Linux NATs, too, where the row is about Linux (needs root)",
    )
    parser.add_argument("--failed", action="store_true", help="show only rows that are not as expected")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print the table.  Status 0 if all rows are as expected."""
    checks = chosen(options.only)
    table = Table(checks)
    shown, failures, asked = [], 0, 0
    for result in with_progress(checks, real=options.world == "kernel"):
        asked += result.real is not None
        failures += not result.ok
        if options.failed and result.ok:
            continue
        shown.append(result)
        if not options.json:
            table.add(result)
    if options.json:
        print(json.dumps({"checks": [as_json(result, options.world) for result in shown]}))
    else:
        blank = "\n" if shown else ""
        verdict = f"{failures} of {len(checks)} rows are not" if failures else f"all {len(checks)} rows are"
        print(f"{blank}{verdict} as expected")
        if options.world == "kernel":
            print(f"{asked} of them were asked of the real kernel, too: those about Linux, but for what takes too long")
    return 1 if failures else 0


def chosen(text: str) -> list[Check]:
    """The rows that have `text` in their name or source.  Raises ValueError if there are none."""
    found = [
        check
        for check in [*all_checks(), *retransmissions.CHECKS]
        if text.casefold() in f"{check.name}\n{check.source}\n{check.rule}".casefold()
    ]
    if not found:
        raise ValueError(f"no row has {text!r} in its name or source; without --only, `natsim verify` shows them all")
    return by_source(found)


def by_source(checks: Sequence[Check]) -> list[Check]:
    """The same rows, those of one source together."""
    sources = list(dict.fromkeys(check.source for check in checks))
    return sorted(checks, key=lambda check: sources.index(check.source))


def with_progress(checks: Sequence[Check], real: bool = False) -> Iterator[Result]:
    """The results as they are measured; on a terminal, a line that says what is under way.

    `real`: measured on the kernel's NATs, too.
    """
    terminal = sys.stderr.isatty()
    with contextlib.ExitStack() as benches:
        results = measured(checks, _real_benches(benches) if real else None)
        for number, check in enumerate(checks, 1):
            if terminal:
                print(f"\r{number} of {len(checks)}: {check.name:.60}", end="", file=sys.stderr, flush=True)
            result = next(results)
            benches.close()
            if terminal:
                print(f"\r{'':80}\r", end="", file=sys.stderr, flush=True)
            yield result


def _real_benches(benches: contextlib.ExitStack) -> MakeBench:
    """What puts NATs of the kernel on the bench, until `benches` are closed.  RuntimeError where that cannot be."""
    from natsim.kernel import available
    from natsim.kernel.kernel_nat import KernelBench

    if problem := available():
        raise RuntimeError(problem)
    return lambda behavior: benches.enter_context(contextlib.closing(KernelBench(behavior)))


def as_json(result: Result, world: str = "sim") -> dict[str, Any]:
    """A row in the words of the command-line contract; in the kernel world with what the kernel did, or null."""
    source = f"{result.source}, {result.rule}" if result.rule else result.source
    row = {
        "name": result.name,
        "source": source,
        "expected": result.expected,
        "measured": result.measured,
        "ok": result.ok,
    }
    return row | {"real": result.real} if world == "kernel" else row


class Table:
    """The table, printed row by row: a line for each source, and below it what was measured."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._source = ""
        self._widths: dict[str, int] = {}
        for check in checks:
            self._widths[check.source] = max(len(check.name), self._widths.get(check.source, 0))

    def add(self, result: Result) -> None:
        """Print one row.  What was expected is printed only if it is not what was measured."""
        if result.source != self._source:
            print(("\n" if self._source else "") + textwrap.fill(result.source, WIDTH, subsequent_indent="    "))
            self._source = result.source
        width = self._widths[result.source]
        print(f"  {'ok' if result.ok else 'FAILED':6}  {result.name:{width}}  {result.measured}")
        if not result.ok:
            print(f"  {'':6}  {'expected:':>{width}}  {result.expected}")
        if result.real is not None:
            same = "the same" if result.real == result.measured else result.real
            print(f"  {'':6}  {'the kernel:':>{width}}  {same}")
        if result.rule:
            print(textwrap.fill(result.rule, WIDTH, initial_indent=" " * 12, subsequent_indent=" " * 16))
        sys.stdout.flush()
