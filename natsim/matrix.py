"""NAT against NAT: what a table of all pairs consists of.

A `Cell` is one pair over one transport: in which share of its runs data went directly, and what `predict` says on
paper.  Running the pairs is the business of `cli/matrix.py`, which knows punchkit; drawing them of
`view/matrix_svg.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement


@dataclass(frozen=True)
class Cell:
    """`direct_share` and `predicted` go from 0 (relayed) to 1 (direct); between them luck decides.

    `simulated` is the share in the simulator, where `direct_share` is that of another world.
    """

    nat_a: str
    nat_b: str
    transport: str
    direct_share: float
    predicted: float
    runs: int
    simulated: float | None = None

    @property
    def agrees(self) -> bool:
        """Are the shares what was predicted?  Where luck decides, within four standard deviations of it.

        >>> Cell("linux", "linux", "tcp", 0.9, 1.0, 10).agrees, Cell("a", "b", "udp", 0.4, 0.5, 100).agrees
        (False, True)
        """
        deviation = math.sqrt(self.predicted * (1 - self.predicted) / self.runs)
        shares = [self.direct_share] if self.simulated is None else [self.direct_share, self.simulated]
        return all(abs(share - self.predicted) <= 4 * deviation + 1e-9 for share in shares)

    @property
    def word(self) -> str:
        """What happened, in a word."""
        return {0.0: "relayed", 1.0: "direct"}.get(self.direct_share, f"{self.direct_share:.0%} direct")


def pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Every NAT with every other and with itself, each pair once: who is alice and who is bob does not matter.

    >>> pairs(["none", "linux"])
    [('none', 'none'), ('none', 'linux'), ('linux', 'linux')]
    """
    return list(combinations_with_replacement(names, 2))
