"""How likely is a guess?  The arithmetic of the birthday search for a port that cannot be predicted.

One side's NAT gives every socket a random outside port.  It opens many sockets towards the peer; the peer probes many
ports of that NAT's address.  If one probe meets one socket, both NATs know the pair, and data flows.  Few are needed,
for the reason for which few people at a party share a birthday.  Pure functions.  Next: `predict.py`.
"""

from __future__ import annotations

import math

#: The ports from 1025 to 65535, in which a published calculator for this search counts.
ALL_PORTS = 64_511


def birthday(sockets: int, probes: int, ports: int = ALL_PORTS) -> float:
    """The chance that at least one of `probes` different ports, drawn at random, is one of `sockets` open ones.

    P = 1 - product of (1 - sockets / (ports - i)) for each probe i.  Raises ValueError for impossible numbers.

    >>> [round(birthday(256, probes), 4) for probes in (174, 256, 1024, 2048)]
    [0.4998, 0.6394, 0.9835, 0.9997]
    """
    if not 0 <= sockets <= ports or not 0 <= probes <= ports:
        raise ValueError(f"{sockets} sockets and {probes} probes do not fit into {ports} ports")
    if sockets + probes > ports:
        return 1.0
    missed = sum(math.log1p(-sockets / (ports - i)) for i in range(probes))
    return -math.expm1(missed)


def both_random(sockets: int, probes: int, ports: int = ALL_PORTS) -> float:
    """The chance when both sides' ports are random, so that a probe must guess a pair of ports.

    >>> f"{both_random(256, 2048):.4%}", round(both_random(54_000, 54_000), 2), f"{both_random(170_000, 170_000):.2%}"
    ('0.0126%', 0.5, '99.90%')
    """
    pairs = ports * ports
    if not 0 <= sockets <= pairs or not 0 <= probes <= pairs:
        raise ValueError(f"{sockets} sockets and {probes} probes do not fit into {pairs} pairs of ports")
    # For each probe i: the chance to miss all `sockets` of the `pairs - i` pairs that are left.
    missed = sum(math.log1p(-sockets / (pairs - i)) for i in range(probes))
    return -math.expm1(missed)
