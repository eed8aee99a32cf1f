"""Which types of NAT let two peers meet?  A measurement in the wild, and what the model makes of it.

Halkes and Pouwelse (UDP NAT and Firewall Puncturing in the Wild, 2011) let peers behind all kinds of NATs punch holes
to each other.  Their success rates fall into two: about .7 to .9, where what is missing is loss and blocked UDP, and
.03 to .05 for an A(P)DM NAT that meets another, or one that filters by address and port.  Here the same pairs exchange
simulated datagrams (`natsim/nat/exchange.py`), so a pair works or does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..nat.behavior import (
    NatBehavior,
    address_and_port_dependent,
    address_dependent,
    endpoint_independent,
)
from ..nat.exchange import udp_exchange
from ..nat.ports import random_port
from .check import Check

#: The types of the paper's table 1.  A(P)DM is two types, and each must do what the table says.
TYPES: dict[str, list[NatBehavior]] = {
    "EIM-EIF": [NatBehavior(filtering=endpoint_independent)],
    "EIM-APDF": [NatBehavior(filtering=address_and_port_dependent)],
    "EIM-ADF": [NatBehavior(filtering=address_dependent)],
    "A(P)DM": [
        NatBehavior(mapping=address_dependent, ports=random_port),
        NatBehavior(mapping=address_and_port_dependent, ports=random_port),
    ],
}

#: Table 1 without what loss and blocked UDP took from it: from (rows) to (columns, in the order of `TYPES`).
TABLE_1 = {
    "EIM-EIF": "yes yes yes yes",
    "EIM-APDF": "yes yes yes no",
    "EIM-ADF": "yes yes yes yes",
    "A(P)DM": "yes no yes no",
}

#: Figure 3: the share of peers behind each type.  They sum to .988; with those of no type, nobody meets.
SHARES = {"EIM-EIF": 0.206, "EIM-APDF": 0.566, "EIM-ADF": 0.07, "A(P)DM": 0.102, "no type": 0.044}


def meets(a: str, b: str) -> str:
    """Do peers behind these two types meet: "yes", "no", or "sometimes"?"""
    outcomes = {udp_exchange([one], [other]) for one in TYPES[a] for other in TYPES[b]}
    return "sometimes" if len(outcomes) == 2 else "yes" if outcomes.pop() else "no"


def row(a: str) -> Callable[[], str]:
    """One row of table 1."""
    return lambda: " ".join(meets(a, b) for b in TYPES)


def random_pairs(shares: Mapping[str, float]) -> float:
    """The share of pairs that meet, if both peers are drawn at random from such a population."""
    met = sum(
        shares[a] * shares[b] for a in shares for b in shares if a in TYPES and b in TYPES and meets(a, b) == "yes"
    )
    return met / sum(shares.values()) ** 2


CHECKS = [
    *(
        Check(
            f"{name} meets {', '.join(TYPES)}",
            "Halkes and Pouwelse 2011, table 1 (the pattern)",
            expected,
            row(name),
        )
        for name, expected in TABLE_1.items()
    ),
    Check(
        "random pairs of peers that can meet",
        "Halkes and Pouwelse 2011, table 1 weighted by figure 3",
        "0.78",
        lambda: f"{random_pairs(SHARES):.2f}",
    ),
]
