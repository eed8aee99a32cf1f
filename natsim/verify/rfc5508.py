"""RFC 5508 (BCP 148), NAT behavior for ICMP, and what RFC 4787 has to say of ICMP (its REQ-12), in that order.

Not here: REQ-2a and 9, which are choices; REQ-3, which is about checksums, options and extensions, since a simulated
packet is never damaged; queries that turn round at a NAT without ports (REQ-7, Basic NAT); and most of what REQ-10
asks of a NAT as a router that sends ICMP itself.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ..nat.behavior import NatBehavior
from ..nat.bench import ALICE, BOB, S1, S2, Bench
from ..packet import ICMP, SYN, TCP, UDP, Endpoint, Packet
from .check import Behavior, Requirement
from .icmp_errors import (
    EVERY_ERROR,
    NET_ROUTER,
    PROTOCOLS,
    TIME_EXCEEDED,
    UNREACHABLES,
    answer,
    as_alice_sent_it,
    as_s1_sent_it,
    error_from_inside,
    error_from_outside,
    hairpinned_error,
    incoming,
    outer_destination,
    outer_source,
    outgoing,
    question,
    type_and_code,
)
from .limits import limit
from .words import at_least, many

# -- Queries: REQ-1 and 2 ------------------------------------------------------------------------------------------


def queries(behavior: Behavior) -> str:
    """REQ-1: alice and bob ping S1, with the same identifier; each gets the answer to her own."""
    bench = Bench(behavior)
    asked = {host: bench.ping(host, S1.address).packet for host in (ALICE, BOB)}
    for host, ping in asked.items():
        reply = bench.pong(S1.address, ping.src).packet if ping is not None else None
        if reply is None or reply.dst != host:
            return f"{host.address} gets no answer"
    return "answered"


def query_mapping(behavior: Behavior) -> str:
    """REQ-1a: one identifier, two destinations."""
    bench = Bench(behavior)
    pings = [bench.ping(ALICE, remote.address).packet for remote in (S1, S2)]
    return many("identifier", {ping.src for ping in pings if ping is not None}, "for 2 destinations")


def query_lifetime(behavior: Behavior) -> str:
    """REQ-2: for how long the answer to a ping comes in."""

    def comes_in(delay: float) -> bool:
        bench = Bench(behavior)
        ping = bench.ping(ALICE, S1.address).packet
        bench.wait(delay)
        return ping is not None and bench.pong(S1.address, ping.src).passed

    return at_least(limit(comes_in), 60)


# -- Errors from outside, and from inside: REQ-4 and 5 -------------------------------------------------------------


def unknown_from_outside(behavior: Behavior) -> str:
    """REQ-4: errors about packets that never went out."""
    for protocol in PROTOCOLS:
        bench = Bench(behavior)
        if bench.error(Packet(protocol, Endpoint(bench.addresses[0], 9), S1), NET_ROUTER).passed:
            return f"an error about {protocol} comes in"
    return "dropped"


def unknown_from_inside(behavior: Behavior) -> str:
    """REQ-5: errors about packets that never came in."""
    for protocol in PROTOCOLS:
        if Bench(behavior).error(Packet(protocol, S1, ALICE), ALICE.address, outbound=True).passed:
            return f"an error about {protocol} goes out"
    return "dropped"


# -- What errors leave alone, and errors that turn round: REQ-6 and 7 ----------------------------------------------


def query_after_error(behavior: Behavior) -> str:
    """REQ-6: errors about a ping, and about its reply, half-way through its session's life."""
    bench = Bench(behavior)
    ping = question(bench, ICMP)
    if ping is None:
        return "no ping gets out"
    bench.wait(bench.seconds_alive() / 2)
    before = bench.seconds_alive()
    for kind in EVERY_ERROR:
        bench.error(ping, NET_ROUTER, kind)
        bench.error(Packet(ICMP, Endpoint(S1.address, 0), ALICE, icmp=(0, 0)), ALICE.address, kind, outbound=True)
    after = bench.seconds_alive()
    return "untouched" if after == before else "deleted" if after < before else "refreshed"


def hairpinned_errors(behavior: Behavior) -> str:
    """REQ-7: alice's packet has turned round to bob, who complains of it; does she hear of it?"""
    for protocol in (UDP, TCP):
        error = hairpinned_error(behavior, protocol)
        if error is None or error.quoted is None:
            return f"{protocol}: she does not hear of it"
        if error.quoted.src != ALICE:
            return f"{protocol}: she cannot know which packet is meant"
    return "she hears of it"


def hairpinned_destination(behavior: Behavior) -> str:
    """REQ-7a: to whom such an error is addressed."""
    errors = [hairpinned_error(behavior, protocol) for protocol in (UDP, TCP)]
    if any(error is None or error.quoted is None for error in errors):
        return "nobody"
    same = all(error.dst.address == error.quoted.src.address for error in errors)  # type: ignore[union-attr]
    return "the embedded source" if same else "another"


# -- No room for a session: REQ-8 ----------------------------------------------------------------------------------


def no_room(behavior: Behavior) -> str:
    """REQ-8: bob asks for a session while the only one that there may be is alice's."""
    if isinstance(behavior, NatBehavior):
        behavior = replace(behavior, max_mappings=1)
    said = set()
    for protocol in PROTOCOLS:
        bench = Bench(behavior)
        question(bench, protocol)
        refused = bench.ping(BOB, S1.address) if protocol == ICMP else bench.out(BOB, S1, _first_flags(protocol))
        answer = refused.reply
        if refused.passed:
            said.add(f"{protocol}: there is always room")
        elif answer is None or answer.icmp is None or answer.dst.address != BOB.address:
            said.add("dropped without a word")
        else:
            said.add("dropped, ICMP type {} code {}".format(*answer.icmp))
    return ", ".join(sorted(said))


def _first_flags(protocol: str) -> int | None:
    return SYN if protocol == TCP else None


# -- Which types: REQ-10 -------------------------------------------------------------------------------------------


def supported(behavior: Behavior) -> str:
    """REQ-10a: destination unreachable and time exceeded both ways, and echo."""
    for kind in (*UNREACHABLES, *TIME_EXCEEDED):
        if error_from_outside(behavior, UDP, kind) is None or error_from_inside(behavior, UDP, kind) is None:
            return f"type {kind[0]} code {kind[1]} is dropped"
    return "pass" if queries(behavior) == "answered" else "echo is dropped"


SOURCE_QUENCH = (4, 0)


def outdated(behavior: Behavior) -> str:
    """REQ-10c: source quench, from either side."""
    passed = [complain(behavior, UDP, SOURCE_QUENCH) for complain in (error_from_outside, error_from_inside)]
    return "passes" if any(passed) else "dropped"


# -- RFC 4787 REQ-12 -----------------------------------------------------------------------------------------------


def outlived(behavior: Behavior) -> str:
    """RFC 4787 REQ-12: every ICMP error, about datagrams of either side, half-way through the mapping's life."""
    bench = Bench(behavior)
    there, here = question(bench, UDP), answer(bench, UDP)
    if there is None or here is None:
        return "no datagram passes"
    bench.wait(bench.seconds_alive() / 2)
    before = bench.seconds_alive()
    for kind in EVERY_ERROR:
        bench.error(there, NET_ROUTER, kind)
        bench.error(here, ALICE.address, kind, outbound=True)
    return "the mapping stays" if bench.seconds_alive() >= before and bench.enters(S1, there.src) else "it is gone"


def from_anybody(behavior: Behavior) -> str:
    """RFC 4787 REQ-12a: errors from the destination, from a router on the way, and from somewhere else."""
    deaf = [
        source
        for source in (S1.address, NET_ROUTER, S2.address)
        if not error_from_outside(behavior, UDP, source=source)
    ]
    return f"filtered: {', '.join(deaf)}" if deaf else "from anybody"


def unreachable(behavior: Behavior) -> str:
    """RFC 4787 REQ-12b: destination unreachable, of every code, both ways."""
    for kind in UNREACHABLES:
        if error_from_outside(behavior, UDP, kind) is None or error_from_inside(behavior, UDP, kind) is None:
            return f"code {kind[1]} is dropped"
    return "every code passes"


# -- The table -----------------------------------------------------------------------------------------------------

REQUIREMENTS = [
    Requirement("RFC 5508 REQ-1", "MUST", "permits queries from inside, and the answers to them", "answered", queries),
    Requirement(
        "RFC 5508 REQ-1a",
        "SHOULD",
        "the identifier of a query is mapped alike for every destination",
        "1 identifier for 2 destinations",
        query_mapping,
    ),
    Requirement(
        "RFC 5508 REQ-2", "MUST NOT", "a query session expires in less than 60 s", "at least 60 s", query_lifetime
    ),
    Requirement(
        "RFC 5508 REQ-4",
        "SHOULD",
        "drops errors from outside about packets of which it knows nothing",
        "dropped",
        unknown_from_outside,
    ),
    Requirement(
        "RFC 5508 REQ-4a",
        "MUST",
        "turns the packet that is quoted back into what it was inside",
        "as alice has sent it",
        partial(incoming, as_alice_sent_it),
    ),
    Requirement("RFC 5508 REQ-4b", "MUST", "keeps type and code", "kept", partial(incoming, type_and_code)),
    Requirement(
        "RFC 5508 REQ-4c",
        "MUST",
        "sends the error to where the quoted packet has come from",
        "alice",
        partial(incoming, outer_destination),
    ),
    Requirement(
        "RFC 5508 REQ-5",
        "SHOULD",
        "drops errors from inside about packets of which it knows nothing",
        "dropped",
        unknown_from_inside,
    ),
    Requirement(
        "RFC 5508 REQ-5a",
        "MUST",
        "turns the packet that is quoted back into what it was outside",
        "as S1 has sent it",
        partial(outgoing, as_s1_sent_it),
    ),
    Requirement("RFC 5508 REQ-5b", "MUST", "keeps type and code", "kept", partial(outgoing, type_and_code)),
    Requirement(
        "RFC 5508 REQ-5c",
        "MUST",
        "gives its own outside address for the source",
        "the NAT",
        partial(outgoing, outer_source),
    ),
    Requirement(
        "RFC 5508 REQ-6",
        "MUST NOT",
        "an error about a query refreshes or deletes its session",
        "untouched",
        query_after_error,
    ),
    Requirement("RFC 5508 REQ-7", "MUST", "errors turn round, too", "she hears of it", hairpinned_errors),
    Requirement(
        "RFC 5508 REQ-7a",
        "MUST",
        "an error that turns round goes to where the quoted packet has come from",
        "the embedded source",
        hairpinned_destination,
    ),
    Requirement(
        "RFC 5508 REQ-8",
        "SHOULD",
        "drops a packet for which it can make no session, and says so",
        "dropped, ICMP type 3 code 13",
        no_room,
    ),
    Requirement(
        "RFC 5508 REQ-10a", "MUST", "supports destination unreachable, time exceeded and echo", "pass", supported
    ),
    Requirement("RFC 5508 REQ-10c", "SHOULD NOT", "support source quench", "dropped", outdated),
    Requirement("RFC 4787 REQ-12", "MUST NOT", "an ICMP message ends a mapping", "the mapping stays", outlived),
    Requirement("RFC 4787 REQ-12a", "SHOULD NOT", "filter ICMP by where it comes from", "from anybody", from_anybody),
    Requirement(
        "RFC 4787 REQ-12b", "RECOMMENDED", "supports destination unreachable", "every code passes", unreachable
    ),
]
