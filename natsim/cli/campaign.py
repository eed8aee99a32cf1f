"""`natsim campaign`: random scripts through the real kernel's NAT and through its model, and every difference told."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict

from natsim.kernel import available
from natsim.kernel.campaign import Campaign, Report

#: Seconds between two lines of progress.
NEWS_EVERY = 0.2


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "campaign",
        help="the model of Linux's NAT against the real kernel, thousands of random scripts long (needs root)",
        description="Plays random scripts (who sends what to whom, and when) to NATs of the real kernel and to the "
        "model of them, and compares what comes out and what their tables say after every packet. A difference is told "
        "with the shortest script that shows it. Status 0 if there is none, else 1.",
    )
    parser.add_argument("--scripts", type=_count, default=1000, metavar="N", help="how many scripts (default 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="other scripts for another seed (default 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError("must be from 1 to 1000000")
    return value


def run(options: argparse.Namespace) -> int:
    """Play the scripts.  Status 0 if kernel and model agree about everything."""
    if problem := available():
        raise RuntimeError(problem)
    report = _with_progress(Campaign(options.scripts, options.seed))
    if options.json:
        differences = [
            {
                "script": found.number,
                "nat": repr(found.behavior),
                "steps": list(map(repr, found.script)),
                "why": found.words,
            }
            for found in report.differences
        ]
        print(json.dumps({**asdict(report), "seed": options.seed, "differences": differences}))
    else:
        for found in report.differences:
            print(found, end="\n\n")
        verdict = f"{len(report.differences)} differences" if report.differences else "no difference"
        print(f"{report.scripts:,} scripts, {report.packets:,} packets, {report.seconds:.0f} s: {verdict}")
    return 1 if report.differences else 0


def _with_progress(campaign: Campaign) -> Report:
    """The final report; on a terminal, a line that counts the scripts."""
    terminal, told = sys.stderr.isatty(), 0.0
    for report in campaign.run():
        if terminal and time.monotonic() >= told + NEWS_EVERY:
            told = time.monotonic()
            print(
                f"\r{report.scripts:,} of {campaign.count:,} scripts, {report.packets:,} packets, "
                f"{len(report.differences)} differences",
                end="",
                file=sys.stderr,
                flush=True,
            )
    if terminal:
        print(f"\r{'':80}\r", end="", file=sys.stderr, flush=True)
    return campaign.report
