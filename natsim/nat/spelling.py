"""Names that people type: what they meant, if they mistyped.

Used by everything that has knobs or names (`behavior.py`, `linux.py`, `devices/`, `predict.py`): a wrong name is
answered with the nearest right ones, never with a guess.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known names as the end of a sentence; all of them if none is near.

    >>> did_you_mean("fitlering", ["mapping", "filtering"])
    'did you mean filtering?'
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)
    return f"did you mean {', '.join(near)}?"


def named(what: str, value: object, choices: Mapping[str, T]) -> T:
    """The choice of that name; ValueError with the nearest names if there is none.  "_" and "-" are alike."""
    if isinstance(value, str) and value.replace("_", "-") in choices:
        return choices[value.replace("_", "-")]
    raise ValueError(f"{what} cannot be {value!r}; {did_you_mean(str(value), choices)}")


class Knobs:
    """A base for frozen dataclasses of settings: a keyword that they do not have gets the nearest one that they do."""

    def __new__(cls, *_positional: Any, **keywords: Any) -> Any:
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        for keyword in keywords:
            if keyword not in known:
                raise TypeError(f"a {cls.__name__} has no {keyword!r}; {did_you_mean(keyword, known)}")
        return super().__new__(cls)
