"""RFC 7857 (BCP 127), which updates the RFCs on UDP, TCP and ICMP: its requirements, put to a NAT on the bench.

In the order of its sections; the TCP machine of section 2 has a file of its own (`session_states.py`).

Not here: sections 3 and 8 (choices), 10 (simulated packets have no IPv4 identification) and 11 (a choice).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise

from ..nat.behavior import NatBehavior
from ..nat.bench import ALICE, S1, S2, Bench
from ..nat.ports import Wish
from ..nat.verdict import Verdict
from ..packet import SYN, TCP, UDP, Endpoint
from .check import Behavior, Requirement
from .icmp_errors import TIME_EXCEEDED, UNREACHABLES, answer, hairpinned_error, question
from .limits import limit
from .segments import BOTH_CLOSED, HANDSHAKE, Conversation, idle_limit, played
from .session_states import ARROWS, runs, runs_from_outside
from .words import at_least, duration, many

# -- Sections 2.1 and 2.2: transitory timers, and RST --------------------------------------------------------------


def transitory_timers(behavior: Behavior) -> str:
    """Section 2.1: the timer for opening is set to a minute more; does that for closing stay as it is?"""
    if isinstance(behavior, NatBehavior):
        timers = replace(behavior.timeouts, tcp_opening=behavior.timeouts.tcp_opening + 60)
        other: Behavior = replace(behavior, timeouts=timers)
    else:
        flows = replace(behavior.timeouts, tcp_syn_sent=behavior.timeouts.tcp_syn_sent + 60)
        other = replace(behavior, timeouts=flows)
    opens, closes = (
        played(other, script).bench.seconds_alive() - played(behavior, script).bench.seconds_alive()
        for script in (">S", BOTH_CLOSED)
    )
    return "two timers" if (opens, closes) == (60, 0) else "one timer"


def transitory_default(behavior: Behavior) -> str:
    """Section 2.1: for how long a connection may be silent while it opens, and when it is closed."""
    return at_least(min(idle_limit(behavior, ">S", "<S."), idle_limit(behavior, BOTH_CLOSED, "<.")), 240)


def rst_passes(behavior: Behavior) -> str:
    """Section 2.2: a RST from either side, in an open connection and in one that opens."""
    for script in (f"{HANDSHAKE} >R.", f"{HANDSHAKE} <R.", ">S <R.", ">S >R"):
        if Conversation(Bench(behavior)).play(script) is not None:
            return "stopped"
    return "translated"


def rst_wait(behavior: Behavior) -> str:
    """Section 2.2: for how long packets of the session still come in after a RST, from either side."""
    waits = {idle_limit(behavior, f"{HANDSHAKE} {rst}", "<P.") for rst in (">R.", "<R.")}
    return " or ".join(duration(wait) for wait in sorted(waits))


def rst_survived(behavior: Behavior) -> str:
    """Section 2.2: in the last nanosecond of these four minutes a segment comes; do more come four minutes later?"""
    conversation = played(behavior, f"{HANDSHAKE} <R.")
    conversation.bench.wait(240 - 1e-9)
    if conversation.play("<P.") is not None:
        return "the session is gone"
    conversation.bench.wait(240)
    return "the session lives on" if conversation.play("<P.") is None else "the session goes all the same"


# -- Section 4: pooling --------------------------------------------------------------------------------------------


def one_port(wish: Wish) -> Iterator[int]:
    """A NAT that has a single port on each address."""
    yield 2000


def paired_pool_used_up(behavior: Behavior) -> str:
    """Section 4: alice's address has no port left, another has; eight of her sockets ask for one."""
    pool = replace(behavior, addresses=2, ports=one_port) if isinstance(behavior, NatBehavior) else behavior
    bench = Bench(pool)
    out = [bench.outside(ALICE._replace(port=port), S1) for port in range(5000, 5008)]
    return f"{sum(end is not None for end in out)} of 8 sockets"


def pooling_for_tcp(behavior: Behavior) -> str:
    """Section 4: one host, sixteen TCP sockets, four outside addresses."""
    pool = replace(behavior, addresses=4) if isinstance(behavior, NatBehavior) else behavior
    bench = Bench(pool)
    ends = [bench.outside(ALICE._replace(port=port), S1, SYN) for port in range(5000, 5016)]
    return many("address", {end.address for end in ends if end is not None}, "for 16 sockets of one host")


# -- Sections 5 to 7: protocols apart, and what refreshes nothing --------------------------------------------------


def protocols_map_apart(behavior: Behavior) -> str:
    """Section 5: alice uses the same port for UDP and TCP, and then only for TCP; does her UDP mapping expire?"""
    bench = Bench(behavior)
    outside = bench.outside(ALICE, S1)
    lifetime = bench.seconds_alive()
    conversation = Conversation(bench)
    conversation.play(HANDSHAKE)
    bench.wait(lifetime / 2)
    conversation.play(">P.")
    bench.wait(lifetime / 2)
    udp, tcp = bench.enters(S1, outside) is not None, conversation.play("<P.") is None
    return "one for each protocol" if (udp, tcp) == (False, True) else "one for both protocols"


def protocols_filter_apart(behavior: Behavior) -> str:
    """Section 6: alice has spoken to S1 by UDP only, or by TCP only; may S1 come in by the other?"""
    for spoken, other in ((None, SYN), (SYN, None)):
        bench = Bench(behavior)
        if bench.enters(S1, bench.outside(ALICE, S1, spoken), other) is not None:
            return "one for both protocols"
    return "one for each protocol"


def filtered(protocol: str, behavior: Behavior) -> str:
    """Section 7: half-way through a mapping's life S2 knocks, who may not come in.  Does S1 come in for longer?"""
    bench = Bench(behavior)
    asked = question(bench, protocol)
    half = bench.seconds_alive() / 2
    if asked is None or _knock(bench, asked.src, protocol).passed:
        return "nobody is filtered"
    undisturbed, disturbed = (limit(partial(_is_heard, behavior, protocol, half, knocks)) for knocks in (False, True))
    return "not refreshed" if disturbed <= undisturbed else "refreshed"


def _knock(bench: Bench, outside: Endpoint, protocol: str) -> Verdict:
    return bench.back(S2, outside, SYN if protocol == TCP else None)


def _is_heard(behavior: Behavior, protocol: str, half: float, knocks: bool, delay: float) -> bool:
    """Does S1's first answer come in so long after the half of the mapping's life?"""
    bench = Bench(behavior)
    conversation = Conversation(bench)
    asked = conversation.send(">S").packet if protocol == TCP else question(bench, protocol)
    if asked is None:
        return False
    bench.wait(half)
    if knocks:
        _knock(bench, asked.src, protocol)
    bench.wait(delay)
    return conversation.play("<S.") is None if protocol == TCP else bench.back(S1, asked.src).passed


def icmp_errors_sent(behavior: Behavior) -> str:
    """Section 7.1: alice answers packets from outside with ICMP errors."""
    said = set()
    for protocol in (UDP, TCP):
        bench = Bench(behavior)
        about = answer(bench, protocol)
        bench.wait(bench.seconds_alive() / 2)
        before = bench.seconds_alive()
        if about is None or not bench.error(about, ALICE.address, outbound=True).passed:
            return f"{protocol}: no error gets out"
        said.add("not refreshed" if bench.seconds_alive() <= before else f"{protocol}: refreshed")
    return ", ".join(sorted(said))


def rst_sent(behavior: Behavior) -> str:
    """Section 7.1: shortly before the end alice sends a RST: while the session opens, is open, or has been reset."""
    for script in (">S", HANDSHAKE, f"{HANDSHAKE} <R."):
        conversation = played(behavior, script)
        bench = conversation.bench
        bench.wait(bench.seconds_alive() * 0.99)
        before = bench.seconds_alive()
        conversation.send(">R")
        if bench.seconds_alive() > before:
            return "refreshed"
    return "not refreshed"


# -- Section 9: ports that are hard to guess -----------------------------------------------------------------------


def kept_if_free(behavior: Behavior) -> str:
    """Section 9: twenty sockets with ports of their own; how many of these are kept?"""
    bench = Bench(behavior)
    ends = {port: bench.outside(ALICE._replace(port=port), S1) for port in range(5000, 5040, 2)}
    kept = sum(end is not None and end.port == port for port, end in ends.items())
    return {20: "always kept", 0: "never kept"}.get(kept, f"{kept} of 20 are kept")


def hard_to_guess(behavior: Behavior) -> str:
    """Section 9: twenty hosts that all want the same port.  Who gets another must not get one that can be told."""
    bench = Bench(behavior)
    hosts = [Endpoint(f"192.168.1.{number}", 5000) for number in range(10, 30)]
    ends = [bench.outside(host, S1) for host in hosts]
    ports = [end.port for end in ends if end is not None and end.port != 5000]
    if not ports:
        return "always kept"
    steps = {abs(later - earlier) for earlier, later in pairwise(ports)}
    return "random, unless kept" if len(steps) > len(ports) / 2 else "easy to guess"


# -- Section 12: hairpinned ICMP -----------------------------------------------------------------------------------


def hairpinned_icmp(behavior: Behavior) -> str:
    """Section 12: bob complains of a packet of alice's that has turned round, by every kind of error."""
    for protocol in (UDP, TCP):
        for kind in (*UNREACHABLES, *TIME_EXCEEDED):
            error = hairpinned_error(behavior, protocol, kind)
            if error is None or error.dst.address != ALICE.address:
                return f"{protocol}: type {kind[0]} code {kind[1]} does not arrive"
    return "arrives"


# -- The table -----------------------------------------------------------------------------------------------------

FIGURE = "follows a TCP session as figure 1 does"

REQUIREMENTS = [
    *(
        Requirement(f"RFC 7857 section 2: {arrow}", "SHOULD", FIGURE, timer, partial(runs, script))
        for arrow, (script, timer) in ARROWS.items()
    ),
    Requirement("RFC 7857 section 2: client outside", "SHOULD", FIGURE, "opening, then established", runs_from_outside),
    Requirement(
        "RFC 7857 section 2.1",
        "SHOULD",
        "has a timer for connections that open, and another for those that close",
        "two timers",
        transitory_timers,
    ),
    Requirement(
        "RFC 7857 section 2.1 default",
        "RECOMMENDED",
        "gives them 4 minutes, unless set otherwise",
        "at least 240 s",
        transitory_default,
    ),
    Requirement("RFC 7857 section 2.2", "MUST", "translates a RST", "translated", rst_passes),
    Requirement("RFC 7857 section 2.2 wait", "SHOULD", "keeps the session for 4 more minutes", "240 s", rst_wait),
    Requirement(
        "RFC 7857 section 2.2 revival",
        "SHOULD",
        "and deletes it only if nothing else comes",
        "the session lives on",
        rst_survived,
    ),
    Requirement(
        "RFC 7857 section 4",
        "SHOULD",
        "makes no session with another outside address when that of the host has no port left",
        "1 of 8 sockets",
        paired_pool_used_up,
    ),
    Requirement(
        "RFC 7857 section 4 TCP",
        "SHOULD",
        "a host's outside address is the same for TCP, too",
        "1 address for 16 sockets of one host",
        pooling_for_tcp,
    ),
    Requirement(
        "RFC 7857 section 5",
        "MUST",
        "TCP and UDP have mappings of their own, unless set otherwise",
        "one for each protocol",
        protocols_map_apart,
    ),
    Requirement(
        "RFC 7857 section 6",
        "MUST",
        "and filters of their own",
        "one for each protocol",
        protocols_filter_apart,
    ),
    Requirement(
        "RFC 7857 section 7",
        "SHOULD NOT",
        "a datagram that may not come in refreshes a mapping",
        "not refreshed",
        partial(filtered, UDP),
    ),
    Requirement(
        "RFC 7857 section 7 TCP",
        "SHOULD NOT",
        "nor does a SYN that may not come in",
        "not refreshed",
        partial(filtered, TCP),
    ),
    Requirement(
        "RFC 7857 section 7.1",
        "SHOULD NOT",
        "an ICMP error from inside refreshes a mapping",
        "not refreshed",
        icmp_errors_sent,
    ),
    Requirement("RFC 7857 section 7.1 RST", "SHOULD NOT", "nor does a RST from inside", "not refreshed", rst_sent),
    Requirement(
        "RFC 7857 section 9",
        "SHOULD",
        "outside ports are random, but for those that are the inside port",
        "random, unless kept",
        hard_to_guess,
    ),
    Requirement(
        "RFC 7857 section 9 preservation",
        "SHOULD",
        "a NAT that keeps inside ports takes another only if that one is taken",
        "always kept",
        kept_if_free,
    ),
    Requirement("RFC 7857 section 12", "MUST", "ICMP errors turn round as packets do", "arrives", hairpinned_icmp),
]
