"""ICMP errors about packets that have crossed a NAT on the bench: who complains of what, and what a NAT owes them.

An error quotes the packet that it is about as the complainer saw it.  From outside, that is a packet of alice's with
her outside endpoint for a source; from inside, a packet to her with her inside endpoint for a destination.  The NAT has
to turn both back, in the quotation and in the header (RFC 5508 section 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..nat.bench import ALICE, BOB, S1, Bench
from ..packet import ICMP, SYN, TCP, UDP, Endpoint, Packet
from .check import Behavior
from .segments import HANDSHAKE, Conversation

#: Who complains: a router of the internet, and one of the LAN.
NET_ROUTER, LAN_ROUTER = "203.0.113.1", "192.168.1.254"

#: Destination unreachable (RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1) and time exceeded.
UNREACHABLES = [(3, code) for code in range(16)]
TIME_EXCEEDED = [(11, 0), (11, 1)]

#: Every ICMP error there is; the others are source quench, redirect and parameter problem.
EVERY_ERROR = [*UNREACHABLES, *TIME_EXCEEDED, (4, 0), (5, 0), (5, 1), (12, 0)]

PROTOCOLS = (UDP, TCP, ICMP)


def question(bench: Bench, protocol: str) -> Packet | None:
    """Alice's first packet to S1 as it comes out: a datagram, a SYN, or a ping; None if it does not."""
    if protocol == ICMP:
        return bench.ping(ALICE, S1.address).packet
    return Conversation(bench).send(">S").packet if protocol == TCP else bench.out(ALICE, S1).packet


def answer(bench: Bench, protocol: str) -> Packet | None:
    """What S1 answers as alice gets it: a datagram, a segment of an open connection, or a ping's reply."""
    if protocol == TCP:
        conversation = Conversation(bench)
        return conversation.send("<P.").packet if conversation.play(HANDSHAKE) is None else None
    asked = question(bench, protocol)
    if asked is None:
        return None
    return (bench.pong(S1.address, asked.src) if protocol == ICMP else bench.back(S1, asked.src)).packet


def error_from_outside(
    behavior: Behavior, protocol: str, kind: tuple[int, int] = (3, 3), source: str = NET_ROUTER
) -> Packet | None:
    """An error about alice's question as it comes in; None if it does not."""
    bench = Bench(behavior)
    about = question(bench, protocol)
    return bench.error(about, source, kind).packet if about is not None else None


def error_from_inside(
    behavior: Behavior, protocol: str, kind: tuple[int, int] = (3, 3), source: str = ALICE.address
) -> Packet | None:
    """An error about S1's answer as it comes out; None if it does not."""
    bench = Bench(behavior)
    about = answer(bench, protocol)
    return bench.error(about, source, kind, outbound=True).packet if about is not None else None


def hairpinned_error(behavior: Behavior, protocol: str, kind: tuple[int, int] = (3, 3)) -> Packet | None:
    """An error of bob's about a packet of alice's that has turned round at the NAT, as she gets it; None if not."""
    bench = Bench(behavior)
    flags = SYN if protocol == TCP else None
    alice, bob = bench.outside(ALICE, S1, flags), bench.outside(BOB, S1, flags)
    if alice is None or bob is None:
        return None
    bench.out(BOB, alice, flags)
    about = bench.out(ALICE, bob, flags).packet
    return bench.error(about, BOB.address, kind, outbound=True).packet if about is not None else None


# -- What a NAT has made of an error: RFC 5508 REQ-4 and 5 ---------------------------------------------------------


@dataclass(frozen=True)
class Complaint:
    """An error as it was sent: its type and code, alice's outside endpoint, and the NAT's outside addresses."""

    kind: tuple[int, int]
    external: Endpoint | None
    own: list[str]


#: What can be said of an error that has passed, in a word.
Trait = Callable[[Packet, Complaint], str]


def incoming(trait: Trait, behavior: Behavior) -> str:
    """REQ-4: what is true of errors about alice's packets, from a router of the internet."""
    return _common(trait, behavior, partial(error_from_outside, behavior))


def outgoing(trait: Trait, behavior: Behavior) -> str:
    """REQ-5: what is true of errors about packets to alice, from herself and from a router of her LAN."""
    hers = _common(trait, behavior, partial(error_from_inside, behavior))
    routers = _common(trait, behavior, partial(error_from_inside, behavior, source=LAN_ROUTER))
    return hers if hers == routers else f"{hers}; from another router: {routers}"


def _common(trait: Trait, behavior: Behavior, complain: Callable[[str, tuple[int, int]], Packet | None]) -> str:
    said = set()
    for protocol in PROTOCOLS:
        bench = Bench(behavior)
        about = question(bench, protocol)  # it comes out at the same endpoint on every bench, chance being the same
        for kind in (*UNREACHABLES, *TIME_EXCEEDED):
            error = complain(protocol, kind)
            complaint = Complaint(kind, about.src if about is not None else None, bench.addresses)
            said.add(f"{protocol}: dropped" if error is None else trait(error, complaint))
    return ", ".join(sorted(said))


def as_alice_sent_it(error: Packet, complaint: Complaint) -> str:
    """Is the quotation of her packet as she has sent it, her inside endpoint included?"""
    quoted = error.quoted
    reverted = quoted is not None and quoted.src == ALICE and quoted.dst.address == S1.address
    return "as alice has sent it" if reverted else "changed"


def as_s1_sent_it(error: Packet, complaint: Complaint) -> str:
    """Is the quotation of S1's packet as that has sent it, to alice's outside endpoint?"""
    quoted = error.quoted
    reverted = quoted is not None and quoted.dst == complaint.external and quoted.src.address == S1.address
    return "as S1 has sent it" if reverted else "changed"


def type_and_code(error: Packet, complaint: Complaint) -> str:
    """Are these as they were?"""
    return "kept" if error.icmp == complaint.kind else "changed"


def outer_destination(error: Packet, complaint: Complaint) -> str:
    """To whom it goes."""
    return "alice" if error.dst.address == ALICE.address else "another"


def outer_source(error: Packet, complaint: Complaint) -> str:
    """From whom it seems to come."""
    return "the NAT" if error.src.address in complaint.own else "another"
