"""Questions to a Linux NAT about ports, filters, its own answers, leases, UDP and ICMP.

Each function takes a `MakeBench`, which puts a behavior on the bench, and returns a few words: `Bench` asks the model,
and the kernel's tests have a bench that asks a real kernel.  What the answers should be is in `linux_facts.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from ..packet import ICMP, UDP, Endpoint, Packet, flag_text
from ..scheduler import SECOND
from .bench import ALICE, BOB, S1, S1_OTHER, S2, Bench
from .leases import Lease
from .linux import LinuxNat
from .linux_behavior import LinuxBehavior, Masquerade, WanInput
from .verdict import Verdict

#: Puts a behavior on the bench.
MakeBench = Callable[[LinuxBehavior], Bench]

PLAIN = LinuxBehavior()
RANDOM = LinuxBehavior(masquerade=Masquerade.FULLY_RANDOM)


#: Alice's endpoint outside if her port is kept.
KEPT = Endpoint("198.51.100.1", ALICE.port)


def engine_of(bench: Bench) -> LinuxNat:
    """Here only Linux is on the bench."""
    return cast(LinuxNat, bench.engine)


# -- Ports -------------------------------------------------------------------------------------------------------------


def ports_for_three(behavior: LinuxBehavior, make: MakeBench) -> str:
    """How many ports one socket gets towards three destinations."""
    bench = make(behavior)
    ends = {bench.outside(ALICE, remote) for remote in (S1, S1_OTHER, S2)}
    if len(ends) == 1:
        return "the inside port" if ends == {KEPT} else "one other port"
    return f"{len(ends - {KEPT})} other ports"


def one_port_for_two_hosts(make: MakeBench) -> str:
    """Two hosts with the same port, which talk to different destinations."""
    bench = make(PLAIN)
    ends = {bench.outside(ALICE, S1), bench.outside(BOB, S2)}
    told_apart = (bench.enters(S1, KEPT), bench.enters(S2, KEPT)) == (ALICE, BOB)
    return f"{len(ends)} outside port, answers {'told apart' if told_apart else 'mixed up'}"


def clash(make: MakeBench) -> str:
    """Two hosts with the same port, which talk to the same destination; then the second one talks to another."""
    bench = make(PLAIN)
    first, second, other = bench.outside(ALICE, S1), bench.outside(BOB, S1), bench.outside(BOB, S2)
    if first != KEPT or second is None or second == KEPT:
        return "nobody moves"
    in_class = 1024 <= second.port <= 65535
    return f"the second moves {'within its class' if in_class else 'away'}{', for good' if other == second else ''}"


def port_classes(make: MakeBench) -> str:
    """The range of random ports, from many draws, for each inside port at the edge of a class."""
    bench, words = make(RANDOM), []
    for port in (1, 511, 512, 1023, 1024, 65535):
        inside = ALICE._replace(port=port)
        ends = [bench.outside(inside, S1._replace(port=remote)) for remote in range(1, 500)]
        words.append(f"{port}: {_range_of({end.port for end in ends if end is not None})}")
    return ", ".join(words)


def _range_of(ports: set[int]) -> str:
    """The range over which these are strewn: none is outside, and both ends are nearly reached."""
    for first, last in ((1, 511), (600, 1023), (1024, 65535)):
        margin = (last - first) // 20
        if first <= min(ports) <= first + margin and last - margin <= max(ports) <= last:
            return f"{first}-{last}"
    return f"{min(ports)}-{max(ports)}, of no class"


# -- Filters -----------------------------------------------------------------------------------------------------------


def three_probes(make: MakeBench) -> str:
    """After a datagram to S1: who may enter?"""
    bench = make(PLAIN)
    bench.out(ALICE, S1)
    probes = {"same endpoint": S1, "other port": S1_OTHER, "other address": S2}
    words = [f"{name} {'passes' if bench.enters(probe, KEPT) else 'filtered'}" for name, probe in probes.items()]
    return ", ".join(words)


def hairpin(make: MakeBench) -> str:
    """A packet from inside to the outside address of another inside host."""
    bench = make(PLAIN)
    bench.out(BOB, S1)
    verdict = bench.out(ALICE, KEPT)
    return f"{'passes' if verdict.passed else 'none'}, {answer_in_words(verdict)}"


def answer_in_words(verdict: Verdict) -> str:
    """What the router itself says."""
    reply = verdict.reply
    if reply is None:
        return "silence"
    return f"ICMP {reply.icmp[0]}/{reply.icmp[1]}" if reply.icmp else f"RST ({flag_text(reply.flags)})"


def early_datagram(wan_input: WanInput, make: MakeBench) -> str:
    """The peer's datagram comes first; then Alice sends to the peer."""
    bench = make(LinuxBehavior(wan_input=wan_input))
    answer = answer_in_words(bench.back(S1, KEPT))
    end = bench.outside(ALICE, S1)
    heard = bench.enters(S1, KEPT) == ALICE
    return f"{answer}, port {'kept' if end == KEPT else 'moved'}, punch {'succeeds' if heard else 'fails'}"


def strays(wan_input: WanInput, make: MakeBench) -> str:
    """The router's answers to packets that nobody asked for."""
    bench = make(LinuxBehavior(wan_input=wan_input))
    kinds = {"SYN": "S", "SYN,ACK": "S.", "ACK": ".", "FIN": "F.", "RST": "R"}
    words = [f"{name}: {answer_in_words(bench.back(S1, KEPT, _flags(letters)))}" for name, letters in kinds.items()]
    words.append(f"datagram: {answer_in_words(bench.back(S1, KEPT))}")
    words.append(f"echo: {answer_in_words(_echo_from_outside(bench))}")
    return ", ".join(words)


def _flags(letters: str) -> int:
    return next(flags for flags in range(32) if flag_text(flags) == letters)


def _echo_from_outside(bench: Bench) -> Verdict:
    echo = Packet(ICMP, Endpoint(S1.address, 7), Endpoint(KEPT.address, 0), icmp=(8, 0))
    return engine_of(bench).inbound(echo, bench.now)


# -- Leases ------------------------------------------------------------------------------------------------------------


def leased_port(alice_speaks_first: bool, make: MakeBench) -> str:
    """A stranger comes by a leased port, and Alice answers; perhaps she has already sent to it by herself."""
    bench = make(PLAIN)
    leased = KEPT._replace(port=7000)
    engine_of(bench).lease(Lease(UDP, ALICE, leased, expires=3600 * SECOND), bench.now)
    if alice_speaks_first:
        bench.out(ALICE, S1)
    arrived = bench.back(S1, leased).packet
    if arrived is None:
        return "filtered"
    back = bench.outside(arrived.dst, arrived.src)
    seen = "itself" if arrived.src == S1 else "itself with another port"
    return f"seen as {seen}, answered from the {'leased' if back == leased else 'inside'} port"


# -- UDP and ICMP ------------------------------------------------------------------------------------------------------


def datagram_lifetime(answered: bool, last: float, make: MakeBench) -> str:
    """A datagram, perhaps an answer at once, another datagram `last` seconds later: how long the flow lives then."""
    bench = make(PLAIN)
    bench.out(ALICE, S1)
    if answered:
        bench.enters(S1, KEPT)
    bench.wait(last)
    bench.out(ALICE, S1)
    return f"{bench.seconds_alive():g} s"


def late_first_reply(make: MakeBench) -> str:
    """A reply that comes after 2.1 s, and another: the first does not make a stream yet."""
    bench = make(PLAIN)
    bench.out(ALICE, S1)
    bench.wait(2.1)
    lives = []
    for _ in range(2):
        bench.enters(S1, KEPT)
        lives.append(f"{bench.seconds_alive():g} s")
    return ", then ".join(lives)


def echo(make: MakeBench) -> str:
    """Two hosts ping the same address with the same identifier."""
    bench = make(PLAIN)
    first, second = (bench.ping(host, S1.address).packet for host in (ALICE, BOB))
    if first is None or second is None:
        return "filtered"
    back = [bench.pong(S1.address, packet.src).packet for packet in (first, second)]
    right = [packet.dst if packet is not None else None for packet in back] == [ALICE, BOB]
    moved = first.src == KEPT and second.src != KEPT
    words = "the second identifier moves" if moved else "nobody moves"
    return f"{words}, answers {'told apart' if right else 'mixed up'}, {bench.seconds_alive():g} s"
