"""Pairing codes such as "7-amber-falcon".

The number is the *nameplate*: it tells the server which room the two peers meet in, and is public. The words are the
*password*: 16 bits that never leave the machine, which is enough because the PAKE in `crypto.py` allows an attacker
one guess per room. The idea is magic-wormhole's. Pure functions; go to `crypto.py` for what a code becomes.

>>> parse("  7 Amber_Falcon ")
Code(nameplate='7')
>>> str(parse("007\\u2014AMBER__falcon"))
'7-amber-falcon'
"""

import random
import re
import secrets
import unicodedata
from dataclasses import dataclass, field

from punchkit.errors import CodeError
from punchkit.words import ADJECTIVES, NOUNS

MAX_CODE = 100  # characters: more is a paste of something else
MAX_NAMEPLATE = 9  # digits
_SEPARATORS = re.compile(r"[\s_\-\u00ad\u058a\u2010-\u2015\u2043\u2053\u207b\u208b\u2212\u2e3a\u2e3b]+")


@dataclass(frozen=True, slots=True)
class Code:
    """A pairing code in its normal form. The password is kept out of `repr`, and so out of logs."""

    nameplate: str
    password: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.nameplate}-{self.password}"


def parse(text: str) -> Code:
    """Read a code as people type it: any case, spaces or underscores or any Unicode dash between the parts.

    Whatever follows the number is the password, so codes of other programs and self-made ones work too.
    Raises CodeError, naming what is wrong.
    """
    if len(text) > MAX_CODE:
        raise CodeError(f"it is {len(text)} characters long, more than {MAX_CODE}")
    nameplate, _, password = normalise(text).partition("-")
    if not nameplate:
        raise CodeError("it is empty")
    if not nameplate.isdecimal():
        raise CodeError(f"it begins with {nameplate!r} where the number should be")
    if len(nameplate) > MAX_NAMEPLATE:
        raise CodeError(f"its number has {len(nameplate)} digits, more than {MAX_NAMEPLATE}")
    if not password:
        raise CodeError(f"there are no words after the number {nameplate}")
    if not password.isprintable():
        raise CodeError("it has invisible characters in it")
    return Code(str(int(nameplate)), password)


def make(nameplate: str, rng: random.Random | None = None) -> str:
    """A new code for the room `nameplate` (digits), with two words drawn from `rng` (by default the system's)."""
    rng = rng or secrets.SystemRandom()
    return str(parse(f"{nameplate}-{rng.choice(ADJECTIVES)}-{rng.choice(NOUNS)}"))


def normalise(text: str) -> str:
    """One spelling for all the ways of typing the same code: NFKC, lower case, single hyphens between the parts."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _SEPARATORS.sub("-", folded).strip("-")
