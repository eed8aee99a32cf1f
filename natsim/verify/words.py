"""How measurements are put into words, so that they read like what was expected."""

from __future__ import annotations

from collections.abc import Sized


def many(noun: str, things: Sized, rest: str) -> str:
    """How many different ones.

    >>> many("address", {"198.51.100.1", "198.51.100.2"}, "for 16 sockets")
    '2 addresses for 16 sockets'
    """
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{len(things)} {noun if len(things) == 1 else plural} {rest}"


def duration(seconds: float) -> str:
    """A time, to the nanosecond.

    >>> duration(240), duration(239.999999999)
    ('240 s', '239.999999999 s')
    """
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + " s"


def at_least(seconds: float, least: float) -> str:
    """A duration as the requirement that it meets, or as what it is.

    >>> at_least(7440, 7440), at_least(30, 120)
    ('at least 7440 s', '30 s')
    """
    return f"at least {least:g} s" if seconds >= least else duration(seconds)
