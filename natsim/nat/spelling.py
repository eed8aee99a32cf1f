"""Settings that people type: what they meant, if they mistyped, and how a setting is shown.

Used by everything that has knobs or names (`behavior.py`, `linux_behavior.py`, `ports.py`, `devices/`, `predict.py`): a
wrong name is answered with the nearest right ones, never with a guess.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
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
    """A base for frozen dataclasses of settings (made with `repr=False`).

    A keyword that they do not have gets the nearest one that they do.  They print as the call that makes them, with
    those settings that are not the defaults.
    """

    def __new__(cls, *_positional: Any, **keywords: Any) -> Any:
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        for keyword in keywords:
            if keyword not in known:
                raise TypeError(f"a {cls.__name__} has no {keyword!r}; {did_you_mean(keyword, known)}")
        return super().__new__(cls)

    def __repr__(self) -> str:
        shown = []
        for knob in fields(self):  # type: ignore[arg-type]
            value = getattr(self, knob.name)
            usual = knob.default_factory() if knob.default_factory is not MISSING else knob.default
            if value != usual:
                shown.append(f"{knob.name}={rule_name(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


def rule_name(rule: Any) -> str:
    """The name by which a rule or a choice is shown: that of its function, or its own words."""
    name = getattr(rule, "__name__", None)
    return name if isinstance(name, str) else str(rule) if isinstance(rule, enum.Enum) else repr(rule)
