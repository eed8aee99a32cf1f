"""RFC 5382 (BCP 142), NAT behavior for TCP: its requirements, each as a question to a NAT on the bench.

In the order of the RFC.  Conversations are played segment by segment (`segments.py`); REQ-4 has a file of its own
(`stray_syns.py`).  Not here: REQ-3a, 3b and 5a, which are choices, and REQ-4a, which lets a NAT be silent where its
policy says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ..nat.bench import ALICE, BOB, S1, S1_OTHER, S2, S2_OTHER, Bench
from ..packet import SYN, TCP, Endpoint
from .check import Behavior, Requirement
from .icmp_errors import EVERY_ERROR, NET_ROUTER, UNREACHABLES, error_from_outside
from .segments import BOTH_CLOSED, HANDSHAKE, Conversation, idle_limit
from .stray_syns import matched, silence, unmatched, unmatched_neighbour
from .words import at_least, many

# -- Mapping and packets: REQ-1 and 2 ------------------------------------------------------------------------------


def mapping(behavior: Behavior) -> str:
    """REQ-1: one socket, a SYN to each of four destinations."""
    bench = Bench(behavior)
    ends = {bench.outside(ALICE, remote, SYN) for remote in (S1, S1_OTHER, S2, S2_OTHER)}
    return many("endpoint", ends, "for 4 destinations")


#: Valid sequences of RFC 793, by what happens in them (the notation: `segments.py`).
FROM_INSIDE = {
    "a handshake": ">S <S. >.",
    "repeated SYNs": ">S >S <S. <S. >.",
    "data": ">S <S. >. >P. <. <P. >. >P. <P.",
    "the inside closes, the outside goes on": ">S <S. >. >F. <. <P. >. <P. >. <F. >.",
    "the outside closes, the inside goes on": ">S <S. >. <F. >. >P. <. >P. <. >F. <.",
    "both close at once": ">S <S. >. >F. <F. >. <.",
    "a refusal": ">S <R.",
    "a RST from inside": ">S <S. >. >P. >R.",
    "a RST from outside": ">S <S. >. <P. <R",
    "opened again": ">S <S. >. >F. <F. >. <. >S <S. >. >P. <P.",
}
FROM_OUTSIDE = {
    "a handshake": "<S >S. <.",
    "data": "<S >S. <. <P. >. >P. <.",
    "the outside closes": "<S >S. <. <F. >. >P. <. >F. <.",
    "the inside closes": "<S >S. <. >F. <. <P. >. <F. >.",
    "a RST": "<S >S. <. <P. >R",
}
SIMULTANEOUS = {
    "the inside first": ">S <S >S. <S. >. <. >P. <P. >F. <F. >. <.",
    "the outside first": "?<S >S <S >S. <S. >. <. >P. <P. >F. <F. >. <.",
    "the outside first, and the inside late": "?<S ?<S >S <S. >. >P. <P. >F. <F. >. <.",
}


def carries(scripts: Mapping[str, str], behavior: Behavior) -> str:
    """REQ-2: conversations that begin inside, or on both sides at once."""
    for name, script in scripts.items():
        conversation = Conversation(Bench(behavior), external=_row_of_alice(behavior))
        stopped = conversation.play(script)
        if stopped is not None:
            return f"{stopped} is stopped: {name}"
    return "every segment passes"


def carries_from_outside(behavior: Behavior) -> str:
    """REQ-2: conversations that begin outside, with somebody who may come in since alice has spoken to that host."""
    for name, script in FROM_OUTSIDE.items():
        bench = Bench(behavior)
        first = Conversation(bench)
        first.play(HANDSHAKE)
        stopped = Conversation(bench, remote=S1_OTHER, external=first.external).play(script)
        if stopped == "<S":
            return "no connection is permitted from outside"
        if stopped is not None:
            return f"{stopped} is stopped: {name}"
    return "every segment passes"


def _row_of_alice(behavior: Behavior) -> Endpoint | None:
    """Where alice's first SYN to S1 comes out: where S1 will send its own, if that is the first to come."""
    return Bench(behavior).outside(ALICE, S1, SYN)


def filtering(behavior: Behavior) -> str:
    """REQ-3: after a connection with S1, who else may open one to alice?"""
    conversation = Conversation(Bench(behavior))
    conversation.play(HANDSHAKE)
    bench, external = conversation.bench, conversation.external
    if bench.enters(S2, external, SYN) is not None:
        return "anybody"
    return "the same address" if bench.enters(S1_OTHER, external, SYN) is not None else "the same endpoint"


# -- Timers: REQ-5 -------------------------------------------------------------------------------------------------


def idle(script: str, probe: str, least: float, behavior: Behavior) -> str:
    """REQ-5: how long a connection may be silent in the state that `script` leads to."""
    return at_least(idle_limit(behavior, script, probe), least)


# -- Payloads, ports, hairpinning: REQ-6 to 8 ----------------------------------------------------------------------


def payload(behavior: Behavior) -> str:
    """REQ-6: payloads that hold the inside and the outside address."""
    conversation = Conversation(Bench(behavior))
    conversation.play(HANDSHAKE)
    assert conversation.external is not None
    for segment, end in ((">P.", ALICE), ("<P.", conversation.external)):
        words = bytes(int(part) for part in end.address.split(".")) + end.address.encode()
        packet = conversation.send(segment, words).packet
        if packet is None or packet.payload != words:
            return "rewritten"
    return "untouched"


def overloading(behavior: Behavior) -> str:
    """REQ-7: two hosts, the same inside port, the same destination."""
    bench = Bench(behavior)
    return many("endpoint", {bench.outside(host, S1, SYN) for host in (ALICE, BOB)}, "for 2 hosts")


def hairpin(behavior: Behavior) -> str:
    """REQ-8: alice and bob connect to each other's outside endpoint, from within the same NAT."""
    ends = _hairpinned(behavior)
    return "they connect" if ends is not None else "they do not connect"


def hairpin_source(behavior: Behavior) -> str:
    """REQ-8a: under which sources they see each other."""
    ends = _hairpinned(behavior)
    if ends is None:
        return "they do not connect"
    return "the inside endpoints" if {ALICE, BOB} & set(ends) else "the outside endpoints"


def _hairpinned(behavior: Behavior) -> list[Endpoint] | None:
    """The sources that arrive when they open both at once (the first SYN may be filtered); None if one is lost."""
    bench = Bench(behavior)
    alice, bob = bench.outside(ALICE, S1, SYN), bench.outside(BOB, S1, SYN)
    if alice is None or bob is None:
        return None
    bench.out(BOB, alice, SYN)
    arrived = [bench.out(ALICE, bob, SYN).packet, bench.out(BOB, alice, SYN).packet]
    if not all(packet is not None and packet.dst == host for packet, host in zip(arrived, (BOB, ALICE), strict=True)):
        return None
    return [packet.src for packet in arrived if packet is not None]


# -- ICMP: REQ-9 and 10 --------------------------------------------------------------------------------------------


def unreachable(behavior: Behavior) -> str:
    """REQ-9: destination unreachable, of every code, about a SYN of alice's."""
    for kind in UNREACHABLES:
        error = error_from_outside(behavior, TCP, kind)
        if error is None or error.quoted is None or error.icmp != kind:
            return f"type 3 code {kind[1]} is dropped"
        if (error.dst.address, error.quoted.src, error.quoted.dst) != (ALICE.address, ALICE, S1):
            return f"type 3 code {kind[1]} is not translated"
    return "translated"


def outlives_icmp(behavior: Behavior) -> str:
    """REQ-10: every ICMP error, about segments of either side, in an open connection."""
    bench = Bench(behavior)
    conversation = Conversation(bench)
    conversation.play(HANDSHAKE)
    there, here = conversation.send(">P.").packet, conversation.send("<P.").packet
    assert there is not None
    assert here is not None
    before = bench.seconds_alive()
    for kind in EVERY_ERROR:
        bench.error(there, NET_ROUTER, kind)
        bench.error(here, ALICE.address, kind, outbound=True)
    same = bench.seconds_alive() == before
    return "the connection goes on" if same and conversation.play(">P. <P.") is None else "the connection has ended"


# -- The table -----------------------------------------------------------------------------------------------------

REQUIREMENTS = [
    Requirement(
        "RFC 5382 REQ-1", "MUST", "the mapping is endpoint-independent", "1 endpoint for 4 destinations", mapping
    ),
    Requirement(
        "RFC 5382 REQ-2",
        "MUST",
        "carries every valid sequence of segments of a connection from inside",
        "every segment passes",
        partial(carries, FROM_INSIDE),
    ),
    Requirement(
        "RFC 5382 REQ-2 from outside",
        "MUST",
        "the same for a connection from outside, once that is permitted",
        "every segment passes",
        carries_from_outside,
    ),
    Requirement(
        "RFC 5382 REQ-2a",
        "MUST",
        "the same for a simultaneous open, whoever begins",
        "every segment passes",
        partial(carries, SIMULTANEOUS),
    ),
    Requirement(
        "RFC 5382 REQ-3",
        "RECOMMENDED",
        "endpoint-independent filtering, or address-dependent where strictness matters more",
        "the same address",
        filtering,
    ),
    Requirement("RFC 5382 REQ-4", "MUST NOT", "an unsolicited SYN is answered within 6 s", "at least 6 s", silence),
    Requirement(
        "RFC 5382 REQ-4 matched",
        "MUST",
        "if a SYN from inside matches it within 6 s, it is forgotten",
        "dropped without a word",
        matched,
    ),
    Requirement(
        "RFC 5382 REQ-4 unmatched",
        "SHOULD",
        "if none does, it is answered with ICMP port unreachable",
        "ICMP type 3 code 3",
        unmatched,
    ),
    Requirement(
        "RFC 5382 REQ-4 hairpinned",
        "SHOULD",
        "so is a neighbour's, and the neighbour hears of it",
        "ICMP type 3 code 3 to her",
        unmatched_neighbour,
    ),
    Requirement(
        "RFC 5382 REQ-5 established",
        "MUST NOT",
        "an open connection is abandoned after less than 2 hours and 4 minutes of silence",
        "at least 7440 s",
        partial(idle, HANDSHAKE, "<P.", 7440),
    ),
    Requirement(
        "RFC 5382 REQ-5 opening",
        "MUST NOT",
        "one that opens, after less than 4 minutes",
        "at least 240 s",
        partial(idle, ">S", "<S.", 240),
    ),
    Requirement(
        "RFC 5382 REQ-5 closing",
        "MUST NOT",
        "one that closes, after less than 4 minutes",
        "at least 240 s",
        partial(idle, BOTH_CLOSED, "<.", 240),
    ),
    Requirement("RFC 5382 REQ-6", "RECOMMENDED", "TCP ALGs are off, but for FTP", "untouched", payload),
    Requirement("RFC 5382 REQ-7", "MUST NOT", "port overloading", "2 endpoints for 2 hosts", overloading),
    Requirement("RFC 5382 REQ-8", "MUST", "hairpinning", "they connect", hairpin),
    Requirement(
        "RFC 5382 REQ-8a",
        "MUST",
        "a hairpinned segment has the outside source",
        "the outside endpoints",
        hairpin_source,
    ),
    Requirement("RFC 5382 REQ-9", "SHOULD", "translates ICMP type 3", "translated", unreachable),
    Requirement(
        "RFC 5382 REQ-10", "MUST NOT", "an ICMP message ends a connection", "the connection goes on", outlives_icmp
    ),
]
