"""Each published figure is reproduced, and its row says so when the rule behind it is broken."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import pytest

from natsim import NatBehavior, Wish, address_and_port_dependent, random_port, refuse_syn
from natsim.cli import retransmissions
from natsim.nat import bench, engine, port_blocks, rules, unsolicited
from natsim.nat.engine import NatEngine
from natsim.nat.linux_facts import FACTS
from natsim.nat.port_blocks import BlockLog, DeterministicBlocks
from natsim.nat.ports import RandomPort, Sequential, upwards
from natsim.nat.ports_rfc6056 import DoubleHash, RandomIncrements, SimpleHash, SimplePortRandomization
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import ACK, SYN, Endpoint
from natsim.tcp import State, TcpConnection
from natsim.tcp_receiver import Receiver
from natsim.verify import classification, ford, halkes, linux, odds, port_rules, tcp_open
from natsim.verify.check import Check
from natsim.verify.classification import CHANGE_IP, CHANGE_PORT, NINE, Client
from natsim.verify.halkes import TYPES
from punchkit.retransmission import Schedule

Patch = pytest.MonkeyPatch
Mutation = Callable[[Patch], None]

CHECKS: dict[str, Check] = {
    check.name: check
    for module in (classification, port_rules, halkes, odds, ford, tcp_open, retransmissions)
    for check in module.CHECKS
}


# -- What can be broken ----------------------------------------------------------------------------------------------


def sets(owner: Any, name: str, value: Any) -> Mutation:
    """Replace a function, a property or a number of the model."""
    return lambda patch: patch.setattr(owner, name, value)


def another(which: str) -> Mutation:
    """The engine takes a behavior's scope for another one: the strict ones for lax, the lax ones for strict."""

    def ask(behavior: NatBehavior, field: str, remote: Endpoint) -> Hashable:
        if field != which:
            return rules.ask_scope(behavior, field, remote)
        return () if getattr(behavior, field) is address_and_port_dependent else remote

    return sets(engine, "ask_scope", ask)


another_mapping, another_filter = another("mapping"), another("filtering")


def next_ports(rule: Any, wish: Wish) -> Iterator[int]:
    """Ports that are easy to guess."""
    return upwards(wish.previous + 1)


def any_port(rule: Any, wish: Wish) -> Iterator[int]:
    """Ports that are hard to guess."""
    return RANDOM(wish)


RANDOM = random_port.__call__


def hairpins_anything(nat: NatEngine, packet: Any, translated: Any, mapping: Any, now: int) -> Verdict:
    return nat.inbound(translated, now)


def hairpins_nothing(nat: NatEngine, packet: Any, translated: Any, mapping: Any, now: int) -> Verdict:
    return Verdict(Rule.NO_HAIRPIN, "")


def numbers_its_syn_anew(connection: TcpConnection, cause: int | None = None) -> None:
    flags = SYN if connection.state is State.SYN_SENT else SYN | ACK
    connection._emit(flags, connection.snd.iss + 1, cause=cause)


def is_open_at_once(patch: Patch) -> None:
    """A TCP that takes a bare SYN for the whole handshake."""
    whole = TcpConnection._segment_in_syn_sent

    def segment_in_syn_sent(connection: TcpConnection, packet: Any, now: int) -> None:
        whole(connection, packet, now)
        connection.state = State.ESTABLISHED

    patch.setattr(TcpConnection, "_segment_in_syn_sent", segment_in_syn_sent)


answers_syns = sets(engine, "ask_syn_policy", lambda behavior, syn: refuse_syn(syn))
ignores_syns = sets(engine, "ask_syn_policy", lambda behavior, syn: None)
naive_odds = sets(odds, "birthday", lambda sockets, probes: sockets * probes / 64_511)
naive_odds_for_both = sets(odds, "both_random", lambda sockets, probes: sockets * probes / 64_511)


def nobody_enters(patch: Patch) -> None:
    """A filter without doors; to see that, a few games are enough."""
    patch.setattr(odds, "GAMES", 20)
    patch.setattr(NatEngine, "_may_enter", lambda nat, mapping, remote, now: False)


SEARCH = "probes for 256 random ports"
NAT_CHECK = "NAT Check over"
OPEN = "simultaneous open,"

#: For each row, what makes it fail.
BROKEN: dict[str, list[Mutation]] = {
    **{f"discovery of {name}": [another_mapping, another_filter] for name in NINE},
    "discovery of a firewall": [another_filter],
    "discovery of a firewall against UDP": [
        sets(bench, "make_engine", lambda behavior, addresses, chance: NatEngine(NatBehavior(), addresses, chance))
    ],
    "response origin and OTHER-ADDRESS": [sets(classification, "response_origin", lambda asked, change: asked)],
    "discovery of hairpinning: external": [sets(NatEngine, "_hairpin", hairpins_nothing)],
    "discovery of hairpinning: none": [sets(NatEngine, "_hairpin", hairpins_anything)],
    "discovery of a lifetime of 120 s": [sets(NatEngine, "_lifetime", lambda nat, session, packet: 121)],
    "discovery of a lifetime of 300 s": [sets(NatEngine, "_lifetime", lambda nat, session, packet: 299)],
    "what was called full cone": [another_filter],
    "what was called restricted cone": [another_mapping, another_filter],
    "what was called port restricted cone": [another_mapping, another_filter],
    "what was called symmetric": [another_mapping, another_filter],
    "the example's ranges of ports": [sets(DeterministicBlocks, "ports_per_subscriber", property(lambda rule: 4031))],
    "the example, through a NAT": [sets(port_blocks, "random_within", lambda block, wish: RANDOM(wish))],
    "the most ports of a subscriber": [sets(BlockLog, "blocks_for", lambda log, subscriber, choose: iter(()))],
    "who had that port?": [sets(BlockLog, "subscriber_of", lambda log, port: None)],
    "the next port: algorithm 1, simple randomization": [sets(SimplePortRandomization, "__call__", next_ports)],
    "the next port: algorithm 2, random again and again": [sets(RandomPort, "__call__", next_ports)],
    "the next port: algorithm 3, simple hash": [sets(SimpleHash, "__call__", any_port)],
    "the next port: algorithm 4, double hash": [sets(DoubleHash, "__call__", any_port)],
    "the next port: algorithm 5, random increments": [
        sets(RandomIncrements, "__call__", any_port),
        sets(RandomIncrements, "__call__", next_ports),
    ],
    "the port above a full stretch: algorithm 1": [sets(SimplePortRandomization, "__call__", any_port)],
    "the port above a full stretch: algorithm 2": [sets(RandomPort, "__call__", lambda rule, wish: upwards(2000))],
    "another destination in between: algorithm 3": [
        sets(SimpleHash, "__call__", lambda rule, wish: rule.ports(wish, table_length=10))
    ],
    "another destination in between: algorithm 4": [
        sets(DoubleHash, "__call__", lambda rule, wish: rule.ports(wish, table_length=1))
    ],
    **{f"{name} meets {', '.join(TYPES)}": [another_filter] for name in TYPES},
    "random pairs of peers that can meet": [another_mapping, another_filter],
    f"174 {SEARCH} (50 %), by formula": [naive_odds],
    f"256 {SEARCH} (64 %), by formula": [naive_odds],
    f"1,024 {SEARCH} (98 %), by formula": [naive_odds],
    f"2,048 {SEARCH} (99.9 %), by formula": [naive_odds],
    f"174 {SEARCH}, 200 searches": [nobody_enters],
    f"256 {SEARCH}, 200 searches": [nobody_enters],
    f"1,024 {SEARCH}, 200 searches": [nobody_enters],
    f"2,048 {SEARCH}, 200 searches": [nobody_enters],
    "256 sockets and 2,048 probes, both random, by formula": [naive_odds_for_both],
    "54,000 sockets and 54,000 probes, both random, by formula": [naive_odds_for_both],
    "170,000 sockets and 170,000 probes, both random, by formula": [naive_odds_for_both],
    "48 sockets and 48 probes, both random with 64 ports, 300 searches": [another_filter],
    "the next port of a sequential NAT": [sets(Sequential, "__call__", any_port)],
    f"{NAT_CHECK} TCP: EIM, SYNs dropped": [another_mapping, answers_syns],
    f"{NAT_CHECK} TCP: EIM, SYNs held for 6 s": [another_mapping, sets(unsolicited, "HOLD_SECONDS", 4.9)],
    f"{NAT_CHECK} TCP: EIM, SYNs answered by RST": [another_mapping, ignores_syns],
    f"{NAT_CHECK} TCP: EIM, SYNs answered by ICMP": [another_mapping, ignores_syns],
    f"{NAT_CHECK} TCP: APDM": [another_mapping, answers_syns],
    f"{NAT_CHECK} UDP: EIM-APDF": [another_mapping, another_filter],
    f"{NAT_CHECK} UDP: EIM-EIF, hairpinning": [
        another_mapping,
        another_filter,
        sets(NatEngine, "_hairpin", hairpins_nothing),
    ],
    f"{NAT_CHECK} UDP: APDM": [another_mapping, another_filter],
    "pairs of peers that can meet over UDP, if .82 of NATs pass": [another_mapping, another_filter],
    "pairs of peers that can meet over TCP, if .64 of NATs pass": [another_mapping, answers_syns],
    f"{OPEN} line 2, A to B": [sets(TcpConnection, "_send_syn", numbers_its_syn_anew)],
    f"{OPEN} line 3, at A": [is_open_at_once],
    f"{OPEN} line 4, at B": [is_open_at_once],
    f"{OPEN} line 5, A to B": [sets(TcpConnection, "_send_syn", numbers_its_syn_anew)],
    f"{OPEN} line 6, at A": [sets(TcpConnection, "_enter_established", lambda connection, now: None)],
    f"{OPEN} line 7, at B": [sets(TcpConnection, "_enter_established", lambda connection, now: None)],
    f"{OPEN} both dial at once": [sets(Receiver, "owe_ack", lambda receiver, cause, now: None)],
    "a STUN request without an answer": [sets(Schedule, "waits", lambda schedule: iter([0.5] * 7))],
    "a NAT-PMP request without an answer": [sets(Schedule, "waits", lambda schedule: iter([0.25] * 9))],
}


def test_every_row_has_a_mutation_and_every_mutation_a_row() -> None:
    assert BROKEN.keys() == CHECKS.keys()
    assert len(CHECKS) == sum(
        len(module.CHECKS) for module in (classification, port_rules, halkes, odds, ford, tcp_open, retransmissions)
    )


@pytest.mark.parametrize("name", CHECKS)
def test_a_row_holds(name: str) -> None:
    assert CHECKS[name].measure() == CHECKS[name].expected


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, mutations in BROKEN.items() for number in range(len(mutations))]
)
def test_a_row_fails_when_the_rule_behind_it_is_broken(name: str, number: int, monkeypatch: Patch) -> None:
    BROKEN[name][number](monkeypatch)
    assert CHECKS[name].measure() != CHECKS[name].expected


def test_every_fact_about_linux_is_a_row() -> None:
    asked = [None if fact.exact else fact.ask for fact in FACTS]
    rows = [(fact.name, fact.source, fact.expected, fact.measure) for fact in FACTS]
    assert [Check(*row, ask=ask) for row, ask in zip(rows, asked, strict=True)] == linux.CHECKS
    assert len(linux.CHECKS) > 50


# -- What the rows rest on -------------------------------------------------------------------------------------------


def test_asking_for_the_filter_first_on_one_port_spoils_the_question_for_the_mapping() -> None:
    """Why each test begins on a fresh port: a lax filter lets an answer in, and the way back is that row's."""
    client = Client(NINE["APDM-EIF"])
    port = client.fresh_port()
    first = client.ask(port, classification.S1)
    assert first is not None
    assert client.ask(port, classification.S1, CHANGE_IP | CHANGE_PORT)
    again = client.ask(port, first.other)
    assert again is not None
    assert again.mapped == first.mapped, "looks endpoint-independent, and is not"
    assert classification.mapping(client) == "APDM"


def test_a_changed_port_is_answered_from_the_same_address() -> None:
    response = Client(NINE["EIM-ADF"]).ask(classification.ALICE, classification.S1, CHANGE_PORT)
    assert response is not None
    assert (response.origin, response.other) == (classification.S1_OTHER, classification.S2_OTHER)
