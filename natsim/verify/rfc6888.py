"""RFC 6888 (BCP 127), carriers' NATs: its requirements, each as a question to a carrier's NAT on the bench.

In the order of the RFC; alice and bob are subscribers here.  Not here: REQ-5 (this model does not count sessions),
REQ-6 (it translates for all destinations alike), REQ-9 (PCP has tests of its own), and what is about the carrier's
office: REQ-10 (management), 11c (alarms), 12 and 14 (logs) and 13 (how well ports are used).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from ..nat.behavior import NatBehavior
from ..nat.bench import ALICE, BOB, S1, S2, Bench, make_engine
from ..nat.devices import find
from ..packet import ICMP, SYN, UDP, Endpoint, Packet
from . import rfc4787, rfc5382, rfc5508, rfc7857
from .check import Behavior, Requirement
from .limits import limit
from .words import at_least, many

#: The carrier's NAT that is put to these: the outer layer of the device `cgnat`.
CARRIER = find("cgnat").layers[-1]


def other_rfcs(behavior: Behavior) -> str:
    """REQ-1: whatever is a MUST of the RFCs on UDP, TCP and ICMP."""
    missed = [
        requirement.name
        for rfc in (rfc4787, rfc5382, rfc5508, rfc7857)
        for requirement in rfc.REQUIREMENTS
        if requirement.level.startswith("MUST") and requirement.measure(behavior) != requirement.expected
    ]
    return f"not {', '.join(missed)}" if missed else "all of them"


# -- Pools: REQ-2 and 3 --------------------------------------------------------------------------------------------


def pooling(behavior: Behavior) -> str:
    """REQ-2: one subscriber, datagrams, connections and pings, four outside addresses."""
    bench = Bench(replace(behavior, addresses=4) if isinstance(behavior, NatBehavior) else behavior)
    seen: set[str] = set()
    for port in range(5000, 5008):
        alice = ALICE._replace(port=port)
        ping = bench.ping(alice, S1.address).packet
        ends = [bench.outside(alice, S1), bench.outside(alice, S1, SYN), ping.src if ping is not None else None]
        seen |= {end.address for end in ends if end is not None}
    return many("address", seen, "for UDP, TCP and ICMP")


def scattered_pool(behavior: Behavior) -> str:
    """REQ-3: sixty subscribers, and three outside addresses that have nothing to do with one another."""
    pool = ["198.51.100.7", "198.51.100.130", "192.0.2.1"]
    if isinstance(behavior, NatBehavior):
        behavior = replace(behavior, addresses=len(pool))
    engine = make_engine(behavior, pool, random.Random(0))
    packets = [engine.outbound(Packet(UDP, Endpoint(f"100.64.1.{n}", 5000), S1), 0).packet for n in range(1, 61)]
    return many("address", {packet.src.address for packet in packets if packet is not None} & set(pool), "in use")


# -- Limits: REQ-4 -------------------------------------------------------------------------------------------------


def limit_per_subscriber(behavior: Behavior) -> str:
    """REQ-4: each subscriber may have three mappings; alice and then bob ask for ten."""
    if isinstance(behavior, NatBehavior):
        behavior = replace(behavior, max_mappings_per_host=3)
    bench = Bench(behavior)
    counts = [
        sum(bench.out(host._replace(port=port), S1).passed for port in range(5000, 5010)) for host in (ALICE, BOB)
    ]
    return " and ".join(str(count) for count in counts)


# -- Filtering: REQ-7 ----------------------------------------------------------------------------------------------


def filtering(behavior: Behavior) -> str:
    """REQ-7: after a packet to S1, may S2 come in, by UDP and by TCP?"""
    let_in = []
    for flags in (None, SYN):
        bench = Bench(behavior)
        let_in.append(bench.enters(S2, bench.outside(ALICE, S1, flags), flags) is not None)
    return {(True, True): "anybody", (False, False): "not anybody"}.get((let_in[0], let_in[1]), "not alike")


# -- Ports that were freed: REQ-8 ----------------------------------------------------------------------------------


def port_rest(behavior: Behavior) -> str:
    """REQ-8: alice's mapping has expired; how much later does bob get her port, if there is no other?"""
    if isinstance(behavior, NatBehavior):
        behavior = replace(behavior, addresses=1, ports=rfc7857.one_port)

    def rests(delay: float) -> bool:
        bench = Bench(behavior)
        hers = bench.outside(ALICE, S1)
        bench.wait(bench.seconds_alive() + delay)
        return bench.outside(BOB, S1) != hers

    return at_least(limit(rests), 120)


# -- Nothing left: REQ-11 ------------------------------------------------------------------------------------------


def _full(behavior: Behavior) -> Iterator[tuple[Bench, Endpoint | None, Endpoint]]:
    """A NAT whose only port is alice's, and one where she has her share: who asks next, and her endpoint outside."""
    for change, asks in (({"ports": rfc7857.one_port}, BOB), ({"max_mappings_per_host": 1}, ALICE._replace(port=5001))):
        if isinstance(behavior, NatBehavior):
            bench = Bench(replace(behavior, addresses=1, **change))
            yield bench, bench.outside(ALICE, S1), asks


def exhaustion(behavior: Behavior) -> str:
    """REQ-11a: the next packet that needs a mapping."""
    passed = [bench.out(asks, S1).passed for bench, _, asks in _full(behavior)]
    return "dropped" if passed == [False, False] else "passes"


def exhaustion_answer(behavior: Behavior) -> str:
    """REQ-11b: what its sender hears.  RFC 6888 asks for code 1, RFC 5508 REQ-8 for code 13; either will do."""
    said = set()
    for bench, _, asks in _full(behavior):
        reply = bench.out(asks, S1).reply
        hers = reply is not None and reply.protocol == ICMP and reply.dst.address == asks.address
        said.add("ICMP type 3" if hers and reply is not None and reply.icmp in ((3, 1), (3, 13)) else "nothing")
    return " or ".join(sorted(said)) or "nothing is ever full"


def exhaustion_spares(behavior: Behavior) -> str:
    """REQ-11d: what becomes of the mapping that is there."""
    for bench, hers, asks in _full(behavior):
        bench.out(asks, S1)
        if bench.enters(S1, hers) != ALICE:
            return "it has to go"
    return "it stays"


# -- The table -----------------------------------------------------------------------------------------------------

REQUIREMENTS = [
    Requirement("RFC 6888 REQ-1", "MUST", "obeys the RFCs on UDP, TCP and ICMP", "all of them", other_rfcs),
    Requirement(
        "RFC 6888 REQ-2",
        "MUST",
        "a subscriber's outside address is the same for all protocols",
        "1 address for UDP, TCP and ICMP",
        pooling,
    ),
    Requirement(
        "RFC 6888 REQ-3",
        "MUST",
        "takes a pool of addresses that are not in a row",
        "3 addresses in use",
        scattered_pool,
    ),
    Requirement("RFC 6888 REQ-4", "MUST", "can limit the ports of each subscriber", "3 and 3", limit_per_subscriber),
    Requirement("RFC 6888 REQ-7", "RECOMMENDED", "endpoint-independent filtering", "anybody", filtering),
    Requirement("RFC 6888 REQ-8", "SHOULD NOT", "a freed port is used again within 120 s", "at least 120 s", port_rest),
    Requirement("RFC 6888 REQ-11a", "MUST", "drops a packet for which no mapping can be made", "dropped", exhaustion),
    Requirement("RFC 6888 REQ-11b", "SHOULD", "tells its sender by ICMP type 3", "ICMP type 3", exhaustion_answer),
    Requirement("RFC 6888 REQ-11d", "MUST NOT", "a mapping goes to make room", "it stays", exhaustion_spares),
    Requirement(
        "RFC 6888 REQ-15",
        "SHOULD",
        "outside ports are hard to guess",
        "random, unless kept",
        rfc7857.hard_to_guess,
    ),
]
