"""`natsim matrix`: every named NAT against every other, simulated (or on the kernel's NATs) and predicted.

Each pair is run with as many seeds as wanted, over TCP by `punchkit.connect` and over UDP by one round of punching
(`attempt.py`), and compared with the verdict on paper (`natsim/nat/predict.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from natsim.cli.attempt import attempt
from natsim.matrix import Cell, pairs
from natsim.nat.devices import DEVICES, find
from natsim.nat.predict import predict
from natsim.packet import TCP, UDP
from natsim.ready_made import two_nats
from natsim.sweep import sweep

#: Runs on the kernel's NATs at the same time: nearly all of their time is waiting.
KERNEL_PROCESSES = 8

TRANSPORTS = {"auto": (TCP, UDP), TCP: (TCP,), UDP: (UDP,)}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "matrix",
        help="every NAT against every other: relayed or direct, and what was predicted",
        description="Runs every pair of the named NATs (all of them, unless some are named) and compares what happens "
        "with what is predicted on paper. Status 1 if they differ anywhere.",
    )
    parser.add_argument("nats", nargs="*", metavar="NAT", help="only these (default: all; see `natsim devices`)")
    parser.add_argument(
        "--transport", choices=list(TRANSPORTS), default="auto", help="tcp, udp, or auto for both (default)"
    )
    parser.add_argument(
        "--world", choices=["sim", "kernel"], default="sim", help="the simulator, or real Linux NATs (needs root)"
    )
    parser.add_argument("--seeds", type=_count, default=1, metavar="N", help="runs of each pair (default 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else")
    parser.add_argument("--svg", type=Path, metavar="F", help="save the picture")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 10_000:
        raise argparse.ArgumentTypeError("must be from 1 to 10000")
    return value


def run(options: argparse.Namespace) -> int:
    """Run all pairs and tell what happened.  Status 0 if everything is as predicted."""
    if options.svg is not None and not options.svg.parent.is_dir():
        raise ValueError(f"--svg: there is no directory {options.svg.parent}")
    names = [find(name).name for name in dict.fromkeys(options.nats)] or list(DEVICES)
    cells = []
    for transport in TRANSPORTS[options.transport]:
        cells += list(_cells(names, transport, options.world, options.seeds))
    if options.svg is not None:
        from natsim.view.matrix_svg import matrix_svg

        options.svg.write_text(matrix_svg(cells), encoding="utf-8")
    if options.json:
        print(json.dumps({"cells": [as_json(cell) for cell in cells]}))
    else:
        print(table(names, cells))
    return 0 if all(cell.agrees for cell in cells) else 1


def as_json(cell: Cell) -> dict[str, Any]:
    """A cell in the words of the command-line contract, and what the simulator did beside another world."""
    return {name: value for name, value in asdict(cell).items() if value is not None}


class Job(NamedTuple):
    """One run of one pair."""

    nat_a: str
    nat_b: str
    transport: str
    world: str
    seed: int


def goes_direct(job: Job) -> bool:
    """Run one pair once."""
    net = two_nats(job.nat_a, job.nat_b, seed=job.seed)
    return attempt(net, job.transport, job.world).direct


def _cells(names: Sequence[str], transport: str, world: str, seeds: int) -> Iterator[Cell]:
    """The cells of one transport.  In another world than the simulator, each pair runs in both."""
    shares = [_shares(names, transport, where, seeds) for where in dict.fromkeys((world, "sim"))]
    for (a, b), share, *simulated in zip(pairs(names), *shares, strict=True):
        yield Cell(a, b, transport, share, predict(a, b, transport).probability, seeds, *simulated)


def _shares(names: Sequence[str], transport: str, world: str, seeds: int) -> Iterator[float]:
    """For each pair, in how many of its runs data went directly."""
    jobs = [Job(a, b, transport, world, seed) for a, b in pairs(names) for seed in range(seeds)]
    processes = KERNEL_PROCESSES if world == "kernel" else None
    results = _with_progress(sweep(goes_direct, jobs, processes), f"{transport}, {world}", len(jobs))
    if world == "kernel":
        results = _looked_at_twice(jobs, results)
    for _ in pairs(names):
        yield sum(next(results) for _ in range(seeds)) / seeds


def _looked_at_twice(jobs: Sequence[Job], results: Iterator[bool]) -> Iterator[bool]:
    """The same results, but what surprises on paper is run again, alone, once all others are done.

    Time is real there: a machine that is busy with other runs may miss the moment at which two SYNs have to cross.
    """
    for job, direct in zip(jobs, list(results), strict=True):
        surprising = predict(job.nat_a, job.nat_b, job.transport).probability == (0 if direct else 1)
        yield goes_direct(job) if surprising else direct


def _with_progress(results: Iterator[bool], what: str, total: int) -> Iterator[bool]:
    """The same results; on a terminal, a line that counts them."""
    terminal = sys.stderr.isatty()
    for number, result in enumerate(results, 1):
        if terminal:
            print(f"\r{what}: {number} of {total} runs", end="", file=sys.stderr, flush=True)
        yield result
    if terminal:
        print(f"\r{'':40}\r", end="", file=sys.stderr, flush=True)


# -- The table -----------------------------------------------------------------------------------------------------


def table(names: Sequence[str], cells: Sequence[Cell]) -> str:
    """The cells as text: a grid for each transport, and then whatever was not as predicted."""
    lines = []
    for transport in dict.fromkeys(cell.transport for cell in cells):
        here = {(cell.nat_a, cell.nat_b): cell for cell in cells if cell.transport == transport}
        lines += [f"Over {transport.upper()}:  ● direct   · relayed   ◐ sometimes   ! not as predicted", ""]
        lines += [*_grid(names, here), ""]
    surprises = [cell for cell in cells if not cell.agrees]
    for cell in surprises:
        predicted = f"predicted {cell.predicted:.0%}, seen {cell.direct_share:.0%} direct in {cell.runs} runs"
        if cell.simulated is not None:
            predicted += f", simulated {cell.simulated:.0%}"
        lines.append(f"! {cell.nat_a} and {cell.nat_b} over {cell.transport}: {predicted}")
    direct = sum(cell.direct_share for cell in cells)
    verdict = f"{len(surprises)} not as predicted" if surprises else "all as predicted"
    return "\n".join([*lines, f"{len(cells)} pairs: {direct:g} direct, {len(cells) - direct:g} relayed; {verdict}."])


def _grid(names: Sequence[str], cells: dict[tuple[str, str], Cell]) -> Iterator[str]:
    """A row for each NAT; the columns have the rows' numbers."""
    width = max(map(len, names))
    yield " " * (width + 4) + "".join(f"{number:3}" for number in range(1, len(names) + 1))
    for number, row in enumerate(names, 1):
        marks = (_mark(cells.get((row, column)) or cells[column, row]) for column in names)
        yield f"{number:3} {row:{width}}" + "".join(marks)


def _mark(cell: Cell) -> str:
    sign = {0.0: "·", 1.0: "●"}.get(cell.direct_share, "◐")
    return f"{'' if cell.agrees else '!':>2}{sign}"
