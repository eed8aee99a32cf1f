"""What the player knows of a run: hops, bands, tables and sentences as plain values, ready for JSON.

The player's time is the *height* in the ladder: there, pauses have shrunk already and each event has its own place, so
that a play at even speed shows everything.  `clock` turns a height into seconds.

A pure function of a run's ladder and its trace: equal runs give equal values.  Next: `player.py`, the page around it.
"""

from __future__ import annotations

from typing import Any

from ..nat.table_row import COLUMNS
from ..scheduler import seconds
from ..trace import Trace
from . import words
from .columns import Columns
from .ladder_layout import Layout, PlacedFold, PlacedHop
from .story import ENDED, Fate
from .table_life import Life, lives
from .topology import Topology


def player_data(trace: Trace, layout: Layout, topology: Topology) -> dict[str, Any]:
    """Everything that the page's script is given."""
    numbers = [trace.rows.number_of(getattr(placed.hop.reason, "row", None)) for placed in layout.hops]
    return {
        "top": layout.top,
        "bottom": layout.bottom,
        "clock": _clock(layout),
        "hops": [_hop(placed, row, topology) for placed, row in zip(layout.hops, numbers, strict=True)],
        "bands": [_band(placed, topology) for placed in layout.folds],
        "columns": list(COLUMNS),
        "tables": _tables(layout.columns, lives(trace.rows.seen)),
    }


def _clock(layout: Layout) -> list[tuple[float, float]]:
    """Heights and the seconds that they mean, both rising."""
    marks: list[tuple[float, int]] = [(layout.top, 0)]
    for hop in layout.hops:
        marks += [(hop.y1, hop.hop.left), (hop.y2, hop.hop.arrived)]
    for band in layout.folds:
        marks += [(band.top, band.fold.when), (band.bottom, band.fold.until)]
    rising: list[tuple[float, float]] = []
    latest = 0
    for y, when in sorted(marks):
        latest = max(latest, when)
        rising.append((round(y, 1), round(seconds(latest), 6)))
    return rising


def _hop(placed: PlacedHop, row: int | None, topology: Topology) -> dict[str, Any]:
    """One hop of one packet; `ends` if nobody got it."""
    hop = placed.hop
    line = words.hop_line(placed.arrow, hop)
    return {
        "packet": placed.arrow.packet.uid,
        "from": round(placed.y1, 1),
        "to": round(placed.y2, 1),
        "way": topology.way(hop.start, hop.end),
        "relayed": placed.arrow.relayed,
        "ends": hop.fate in ENDED,
        "lost": hop.fate in (Fate.LOST, Fate.DROPPED),
        "label": words.label(placed.arrow),
        "addresses": words.addresses(hop.packet),
        "leaves": line._replace(outcome="on its way").sentence(),
        "says": line.sentence(),
        "row": row,
    }


def _band(placed: PlacedFold, topology: Topology) -> dict[str, Any]:
    fold = placed.fold
    return {
        "from": round(placed.top, 1),
        "to": round(placed.bottom, 1),
        "way": topology.way(fold.left, fold.right),
        "relayed": fold.relayed,
        "says": words.fold_words(fold),
    }


def _tables(columns: Columns, rows: list[Life]) -> list[dict[str, Any]]:
    """The table of each NAT, left to right, with the looks of its rows."""
    return [
        {"nat": column.name, "rows": [_row(life) for life in rows if life.node == column.name]}
        for column in columns.all
        if column.is_nat
    ]


def _row(life: Life) -> dict[str, Any]:
    looks = [{"at": seconds(when), "cells": row.cells(), "until": seconds(row.expires)} for when, row in life.looks]
    return {"number": life.number, "ended": seconds(life.ended), "looks": looks}
