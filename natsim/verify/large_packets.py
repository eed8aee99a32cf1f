"""RFC 4787 section 11, packets that are too large: REQ-13 and 14, each as a question to a router with a NAT in it.

What is cut, and where, is the router's business (`natsim/router.py`); what a NAT does with the pieces is in
`natsim/nat/fragments.py`.
"""

from __future__ import annotations

import random
from ipaddress import IPv4Network

from ..fragmentation import fragments_of
from ..link import Link
from ..nat.bench import ALICE, S1, Bench, make_engine
from ..nat.fragments import WAITING
from ..packet import UDP, Packet
from ..pipe import make_pipe
from ..router import NatBox
from ..scheduler import Scheduler
from ..trace import Trace
from .check import Behavior, Requirement

#: What the link outside takes, and a datagram that it does not (bytes).
MTU, TOO_LARGE = 1500, bytes(4000)


def with_df(behavior: Behavior) -> str:
    """REQ-13: a datagram that is too large for the link outside, and must not be cut."""
    outside, inside = _sent_out(behavior, df=True)
    if len(inside) == 1 and inside[0].icmp == (3, 4):
        return "answered with ICMP type 3 code 4" + (", and sent" if outside else "")
    return f"{len(outside)} packets sent, {len(inside)} answers"


def without_df(behavior: Behavior) -> str:
    """REQ-13a: the same, but it may be cut."""
    outside, _ = _sent_out(behavior, df=False)
    offsets = [packet.fragment.offset for packet in outside if packet.fragment is not None]
    if len(offsets) < 2 or any(packet.size > MTU for packet in outside):
        return f"{len(outside)} packets, no fragments"
    return "fragments, in order" if offsets == sorted(offsets) else "fragments, out of order"


def _sent_out(behavior: Behavior, *, df: bool) -> tuple[list[Packet], list[Packet]]:
    """What comes out of a router on either side when alice sends a datagram that is too large for the other."""
    clock = Scheduler()
    trace = Trace(clock)
    outside: list[Packet] = []
    inside: list[Packet] = []
    engine = make_engine(behavior, ["198.51.100.1"], random.Random(0))
    box = NatBox(trace, clock, "nat", engine, "198.51.100.1", IPv4Network("192.168.1.0/24"))
    box.outside = make_pipe(clock, trace, "outside", Link(mtu=MTU), outside.append)
    box.inside[ALICE.address] = make_pipe(clock, trace, "inside", Link(), inside.append)
    box.receive_inside(Packet(UDP, ALICE, S1, TOO_LARGE, df=df))
    while clock.step():
        pass
    return outside, inside


def out_of_order(behavior: Behavior) -> str:
    """REQ-14: an answer in three fragments, whose last one comes first."""
    bench = Bench(behavior)
    return "all delivered" if _arrived(bench, 7) == 3 else "not all delivered"


def flooded(behavior: Behavior) -> str:
    """REQ-14a: the same for somebody who sends in order, amid more pieces without a first one than can be kept."""
    bench = Bench(behavior)
    end = bench.outside(ALICE, S1)
    assert end is not None
    for number in range(4 * WAITING):
        stray = Packet(UDP, S1._replace(address=f"192.0.2.{number % 250 + 1}"), end, TOO_LARGE)
        stray.uid = number
        for piece in fragments_of(stray, MTU)[1:]:
            bench.engine.inbound(piece, bench.now)
    return "all delivered" if _arrived(bench, 60_000, in_order=True) == 3 else "not all delivered"


def _arrived(bench: Bench, identification: int, *, in_order: bool = False) -> int:
    """How many of the three fragments of a datagram from S1 reach alice."""
    end = bench.outside(ALICE, S1)
    assert end is not None
    datagram = Packet(UDP, S1, end, TOO_LARGE)
    datagram.uid = identification
    pieces = fragments_of(datagram, MTU)
    through = 0
    for piece in pieces if in_order else reversed(pieces):
        verdict = bench.engine.inbound(piece, bench.now)
        arrived = [verdict, *(released for _, released in verdict.released)]
        through += sum(v.packet is not None and v.packet.dst.address == ALICE.address for v in arrived)
    return through


REQUIREMENTS = [
    Requirement(
        "RFC 4787 REQ-13",
        "MUST",
        "what is too large and must not be cut gets an ICMP answer",
        "answered with ICMP type 3 code 4",
        with_df,
    ),
    Requirement(
        "RFC 4787 REQ-13a", "MUST", "what may be cut is sent in fragments, in order", "fragments, in order", without_df
    ),
    Requirement("RFC 4787 REQ-14", "MUST", "fragments may come out of order", "all delivered", out_of_order),
    Requirement("RFC 4787 REQ-14a", "MUST", "fragments cannot be used to harm others", "all delivered", flooded),
]
