"""The whole table of `natsim verify`, before it is measured.

First the RFCs' requirements, put to a NAT that obeys them and to those that are known to break them; then what RFCs
and papers have published in figures and drawings.  Everything in it is measured by driving the model.
"""

from __future__ import annotations

from ..nat.devices import find
from . import (
    classification,
    ford,
    halkes,
    large_packets,
    linux,
    odds,
    port_rules,
    rfc4787,
    rfc5382,
    rfc5508,
    rfc6888,
    rfc7857,
    tcp_open,
    violations,
)
from .check import Check


def all_checks() -> list[Check]:
    """Every row, in the order in which they are read."""
    (rfc,) = find("rfc").layers
    for_all = (rfc4787, large_packets, rfc5382, rfc5508, rfc7857)
    return [
        *(requirement.of("rfc", rfc) for module in for_all for requirement in module.REQUIREMENTS),
        *(requirement.of("carrier", rfc6888.CARRIER) for requirement in rfc6888.REQUIREMENTS),
        *violations.CHECKS,
        *classification.CHECKS,
        *port_rules.CHECKS,
        *halkes.CHECKS,
        *odds.CHECKS,
        *ford.CHECKS,
        *tcp_open.CHECKS,
        *linux.CHECKS,
    ]
