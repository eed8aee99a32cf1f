"""Each requirement holds for the NAT that should obey it, and its row says so when the rule behind it is broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rfc_mutations import RFC5382, RFC5508, RFC6888, RFC7857, Mutation

from natsim import NatBehavior
from natsim.nat.bench import ALICE, S1, S2, Bench
from natsim.nat.devices import DEVICES, find
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import Packet
from natsim.verify import rfc5382, rfc5508, rfc6888, rfc7857, violations
from natsim.verify.check import Requirement, measured
from natsim.verify.limits import limit
from natsim.verify.segments import Conversation

RFC = find("rfc").layers[0]
assert isinstance(RFC, NatBehavior)

TABLES: list[tuple[Any, NatBehavior, dict[str, list[Mutation]]]] = [
    (rfc5382, RFC, RFC5382),
    (rfc5508, RFC, RFC5508),
    (rfc7857, RFC, RFC7857),
    (rfc6888, rfc6888.CARRIER, RFC6888),
]


def rows() -> Iterator[Any]:
    for module, obedient, mutations in TABLES:
        for requirement in module.REQUIREMENTS:
            for number, mutation in enumerate(mutations[requirement.name]):
                yield pytest.param(requirement, obedient, mutation, id=f"{requirement.name} {number}")


@pytest.mark.parametrize(("module", "obedient", "mutations"), TABLES, ids=lambda table: getattr(table, "__name__", ""))
def test_every_requirement_has_its_mutations(module: Any, obedient: Any, mutations: dict[str, list[Mutation]]) -> None:
    names = [requirement.name for requirement in module.REQUIREMENTS]
    assert sorted(names) == sorted(mutations)
    assert all(mutations.values())
    assert all(requirement.level and requirement.rule for requirement in module.REQUIREMENTS)


@pytest.mark.parametrize(("requirement", "obedient", "mutation"), list(rows()))
def test_a_requirement_holds_and_is_missed_when_it_is_broken(
    requirement: Requirement, obedient: NatBehavior, mutation: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert requirement.measure(obedient) == requirement.expected
    if isinstance(mutation, dict):
        obedient = replace(obedient, **mutation)
    else:
        mutation(monkeypatch)
    assert requirement.measure(obedient) != requirement.expected


# -- Other NATs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEVICES)
def test_every_nat_can_be_put_to_every_requirement(name: str) -> None:
    for layer in find(name).layers:
        for module in (rfc5382, rfc5508, rfc7857):
            for requirement in module.REQUIREMENTS:
                assert requirement.measure(layer), requirement.name


@pytest.mark.parametrize("name", ["cgnat", "carrier-blocks", "carrier-symmetric"])
def test_every_carrier_can_be_put_to_its_requirements(name: str) -> None:
    assert all(requirement.measure(find(name).layers[-1]) for requirement in rfc6888.REQUIREMENTS)


def test_the_known_violations_are_measured() -> None:
    assert [result for result in measured(violations.CHECKS) if not result.ok] == []


def test_a_violation_violates_and_somebody_says_so() -> None:
    for name, claims in violations.KNOWN.items():
        for claim, texts in claims.items():
            assert not find(name).claims[claim].startswith("from memory"), (name, claim)
            for requirement, text in texts.items():
                assert text != violations.REQUIREMENTS[requirement].expected, (name, requirement)


def test_a_violation_names_its_device_its_rule_and_its_source() -> None:
    check = next(check for check in violations.CHECKS if check.name == "RFC 4787 REQ-5 carrier-blocks")
    assert check.rule == "known to break MUST NOT: a mapping expires in less than 2 minutes"
    assert check.source.startswith("carrier-blocks: ")
    assert "35 s" in check.source
    assert check.measure() == "35 s", "it is the carrier's layer that is meant, not the router at home"


def test_nobody_is_on_the_list_who_does_not_belong_there(monkeypatch: pytest.MonkeyPatch) -> None:
    obedient = replace(find("rfc"), claims=find("home-overload").claims)
    monkeypatch.setattr(violations, "find", lambda name: obedient)
    monkeypatch.setattr(violations, "KNOWN", {"home-overload": violations.KNOWN["home-overload"]})
    assert not any(result.ok for result in measured(violations._checks()))


# -- The tools -------------------------------------------------------------------------------------------------------


class Wire:
    """An engine that passes everything, and keeps it."""

    def __init__(self) -> None:
        self.seen: list[Packet] = []

    def outbound(self, packet: Packet, now: int) -> Verdict:
        self.seen.append(packet)
        return Verdict(Rule.TRANSLATED, "", packet=packet)

    inbound = outbound


def test_a_conversation_numbers_its_segments_as_two_hosts_would() -> None:
    bench = Bench(NatBehavior())
    bench.engine = wire = Wire()  # type: ignore[assignment]
    assert Conversation(bench).play(">S <S >S. <S. >P. <P. >F. <F. >. >S <S.") is None
    numbers = [(segment.seq, segment.ack) for segment in wire.seen]
    assert numbers == [
        *((1000, 0), (5000, 0), (1000, 5001), (5000, 1001)),
        *((1001, 5001), (5001, 1011), (1011, 5011), (5011, 1012), (1012, 5012)),
        *((2012, 0), (6012, 2013)),
    ]


def test_a_conversation_says_where_it_was_stopped() -> None:
    conversation = Conversation(Bench(NatBehavior()))
    assert conversation.play(">S <S. >.") is None
    stranger = Conversation(conversation.bench, ALICE, S2, conversation.external)
    assert stranger.play("?<S <S. >S") == "<S."
    with pytest.raises(ValueError, match="nothing has gone out"):
        Conversation(Bench(NatBehavior()), remote=S1).play("<S")


@pytest.mark.parametrize("first", [0, 1, 10**9, 7440 * 10**9 - 1, 432_000 * 10**9 + 1])
def test_a_limit_is_right_to_the_nanosecond(first: int) -> None:
    assert round(limit(lambda delay: round(delay * 10**9) < first) * 10**9) == first


def test_a_limit_that_is_never_reached() -> None:
    assert limit(lambda delay: True, 60) == 60
