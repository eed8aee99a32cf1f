"""What a NAT decides about a packet, and the words for it.

A NAT engine takes a packet and returns a `Verdict`: pass it on translated, drop it, answer it, hold it.  The
verdict names the rule, the table row, and what to look up; it prints as the sentence that `run.why()`, the
ladder's tooltips and the tables show.  No engine formats anything itself.

Next: `engine.py` and `linux.py`, which make verdicts.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..packet import Packet


class Rule(enum.Enum):
    """The rule that decided; its value is the label that pictures show."""

    TRANSLATED = "translated"
    HAIRPINNED = "hairpinned"
    NO_MAPPING = "no mapping"
    FILTERED = "filtered"
    POLICY = "policy"
    SYN_HELD = "stray SYN held"
    FRAGMENT_HELD = "fragment held"
    TAKEN_LOCALLY = "taken by the NAT itself"
    PORTS_EXHAUSTED = "no port left"
    LIMIT = "limit reached"
    NO_HAIRPIN = "no hairpinning"
    INVALID = "invalid"


@dataclass(slots=True)
class Verdict:
    """What happens to one packet at one NAT.

    `packet` is what goes on (None: it ends here), `reply` what the NAT sends back to where it came from, `row`
    the line of the NAT's table that decided or was made, `why` the sentence with `{}` for each of `facts`.  `released`
    are packets that were held back until this one came, each with its own verdict.
    """

    rule: Rule
    why: str
    facts: tuple[object, ...] = ()
    packet: Packet | None = None
    reply: Packet | None = None
    row: object | None = None
    new: bool = False
    until: int | None = None
    released: tuple[tuple[Packet, Verdict], ...] = ()

    @property
    def passed(self) -> bool:
        """True if the packet goes on."""
        return self.packet is not None

    @property
    def label(self) -> str:
        """The rule in a word or two, for pictures and fingerprints."""
        return self.rule.value

    def __str__(self) -> str:
        return f"{self.rule.value.upper()}: {self.why.format(*self.facts)}"
