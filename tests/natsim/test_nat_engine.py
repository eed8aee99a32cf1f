"""The NAT of the RFCs, rule by rule: packets and times in, verdicts out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from sim_tools import at, error_about, s, tcp, udp

from natsim import (
    NatBehavior,
    RuleError,
    Sequential,
    Timeouts,
    Wish,
    address_and_port_dependent,
    address_dependent,
    drop_syn,
    endpoint_independent,
    preserve,
    random_port,
    refuse_syn,
    sequential,
    unreachable_syn,
)
from natsim.nat.engine import NatEngine
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import ACK, FIN, RST, SYN, Endpoint, Packet

OUTSIDE = "198.51.100.1"
ALICE, BOB = at("192.168.1.2:5000"), at("192.168.1.3:5000")
S1, S1_OTHER, S2 = at("203.0.113.10:80"), at("203.0.113.10:81"), at("203.0.113.11:80")
SCOPES = [endpoint_independent, address_dependent, address_and_port_dependent]


def nat(seed: int = 0, **behavior: Any) -> NatEngine:
    return NatEngine(NatBehavior(**behavior), OUTSIDE, random.Random(seed))


def outside(engine: NatEngine, src: Endpoint, dst: Endpoint, now: float = 0) -> Endpoint:
    """Send a datagram out; the endpoint that the world sees."""
    verdict = engine.outbound(udp(src, dst), s(now))
    assert verdict.packet is not None, verdict
    return verdict.packet.src


def enters(engine: NatEngine, src: Endpoint, dst: Endpoint, now: float = 0) -> Endpoint | None:
    """Where a datagram from outside is delivered, or None."""
    verdict = engine.inbound(udp(src, dst), s(now))
    return verdict.packet.dst if verdict.packet else None


# -- Mapping and filtering: RFC 4787 sections 4.1 and 5 ---------------------------------------------------------------


@pytest.mark.parametrize("filtering", SCOPES)
@pytest.mark.parametrize("mapping", SCOPES)
def test_the_nine_boxes(mapping: Any, filtering: Any) -> None:
    engine = nat(mapping=mapping, filtering=filtering, ports=random_port)
    first = outside(engine, ALICE, S1)
    assert outside(engine, ALICE, S1) == first, "a mapping is kept"
    assert (outside(engine, ALICE, S1_OTHER) == first) == (mapping is not address_and_port_dependent)
    assert (outside(engine, ALICE, S2) == first) == (mapping is endpoint_independent)

    engine = nat(mapping=mapping, filtering=filtering, ports=random_port)
    first = outside(engine, ALICE, S1)
    from_s1, from_other_port, from_other_address = (enters(engine, src, first) for src in (S1, S1_OTHER, S2))
    assert from_s1 == ALICE
    assert (from_other_port == ALICE) == (filtering is not address_and_port_dependent)
    assert (from_other_address == ALICE) == (filtering is endpoint_independent)
    for remote, came in ((S1_OTHER, from_other_port), (S2, from_other_address)):
        if came is not None:
            assert outside(engine, ALICE, remote) == first, "an answer leaves by the row through which it was asked"


@pytest.mark.parametrize("mapping", SCOPES)
def test_another_socket_never_shares_a_mapping(mapping: Any) -> None:
    engine = nat(mapping=mapping)
    ends = [outside(engine, src, S1) for src in (ALICE, BOB, ALICE._replace(port=5001))]
    assert len(set(ends)) == 3
    assert [enters(engine, S1, end) for end in ends] == [ALICE, BOB, ALICE._replace(port=5001)]


def test_protocols_have_tables_of_their_own() -> None:
    engine = nat()
    outside(engine, ALICE, S1)
    syn = engine.inbound(tcp(S1, Endpoint(OUTSIDE, 5000)), 0)
    assert syn.rule is Rule.NO_MAPPING
    assert engine.outbound(tcp(BOB, S1), 0).packet.src == Endpoint(OUTSIDE, 5000), "TCP's port is still free"


def test_verdicts_name_the_rule_the_row_and_the_packet() -> None:
    engine = nat()
    new = engine.outbound(udp(ALICE, S1), 0)
    assert (new.rule, new.new, new.row) == (Rule.TRANSLATED, True, engine.table(0)[0])
    assert not engine.outbound(udp(ALICE, S1), 0).new
    assert str(new.row) == "udp 192.168.1.2:5000 <-> 198.51.100.1:5000"
    filtered = engine.inbound(udp(S2, Endpoint(OUTSIDE, 5000)), 0)
    assert str(filtered) == (
        "FILTERED: no session of 192.168.1.2:5000 with 203.0.113.11:80; "
        "this NAT filters by address and port (RFC 4787 section 5)"
    )
    assert filtered.row is new.row


# -- Ports: RFC 4787 section 4.2 --------------------------------------------------------------------------------------


def test_the_port_is_preserved_and_a_clash_takes_the_next() -> None:
    engine = nat(ports=preserve)
    assert outside(engine, ALICE, S1).port == 5000
    assert outside(engine, BOB, S1).port == 5001
    assert outside(engine, ALICE._replace(port=80), S1).port == 80
    assert outside(engine, BOB._replace(port=80), S1).port >= 1024, "well-known ports are not handed out"


@pytest.mark.parametrize("step", [1, 2, -3])
def test_sequential_ports_step_from_the_port_given_last(step: int) -> None:
    engine = nat(mapping=address_and_port_dependent, ports=Sequential(step))
    ports = [outside(engine, ALICE, S1._replace(port=port)).port for port in range(1, 6)]
    assert [b - a for a, b in pairwise(ports)] == [step] * 4


def test_sequential_ports_go_round_in_their_range() -> None:
    for first, second in ((65535, 1024), (65534, 65535)):
        wish = Wish("udp", ALICE, S1, first - 1, random.Random(0))
        ports = sequential(wish)
        assert [next(ports), next(ports)] == [first, second]


def test_random_ports_come_from_the_seed() -> None:
    def ports(seed: int) -> list[int]:
        engine = nat(seed, mapping=address_and_port_dependent, ports=random_port)
        return [outside(engine, ALICE, S1._replace(port=port)).port for port in range(1, 20)]

    assert ports(1) == ports(1) != ports(2)
    assert len(set(ports(1))) == 19
    assert all(1024 <= port <= 65535 for port in ports(1))


def only(*ports: int) -> Any:
    def a_few_ports(wish: Wish) -> Iterator[int]:
        return iter(ports)

    return a_few_ports


def test_a_nat_without_a_free_port_says_so_until_one_expires() -> None:
    engine = nat(ports=only(7000), timeouts=Timeouts(udp=10))
    assert outside(engine, ALICE, S1).port == 7000
    verdict = engine.outbound(udp(BOB, S1), 0)
    assert (verdict.rule, verdict.packet) == (Rule.PORTS_EXHAUSTED, None)
    assert "a_few_ports" in str(verdict)
    assert outside(engine, BOB, S1, now=10).port == 7000
    assert enters(engine, S1, Endpoint(OUTSIDE, 7000), now=10) == BOB
    assert engine.outbound(udp(ALICE, S1), s(11)).rule is Rule.PORTS_EXHAUSTED


# -- Bad rules --------------------------------------------------------------------------------------------------------


def returns(value: Any) -> Any:
    def my_rule(anything: Any) -> Any:
        return value

    return my_rule


@pytest.mark.parametrize(
    "behavior",
    [
        {"ports": returns(["x"])},
        {"ports": returns([0])},
        {"ports": returns([65536])},
        {"ports": returns(None)},
        {"mapping": returns([])},
    ],
)
def test_a_rule_that_returns_nonsense_is_named(behavior: dict[str, Any]) -> None:
    with pytest.raises(RuleError, match="my_rule"):
        nat(**behavior).outbound(udp(ALICE, S1), 0)


def test_a_syn_policy_that_returns_nonsense_is_named() -> None:
    with pytest.raises(RuleError, match="my_rule returned 'RST'"):
        nat(unsolicited_syn=returns("RST")).inbound(tcp(S1, Endpoint(OUTSIDE, 80)), 0)


# -- Timers: RFC 4787 REQ-5 and 6, RFC 5382 REQ-5 ---------------------------------------------------------------------


def test_a_row_lives_to_the_last_nanosecond_of_its_timeout() -> None:
    for age, alive in ((s(120) - 1, True), (s(120), False)):
        engine = nat()
        end = outside(engine, ALICE, S1)
        assert engine.inbound(udp(S1, end), age).passed is alive
        assert bool(engine.table(age)) is alive


def test_an_expired_row_gives_its_port_to_whoever_comes_first() -> None:
    engine = nat()
    end = outside(engine, ALICE, S1)
    assert outside(engine, BOB, S1, now=120) == end
    assert enters(engine, S1, end, now=120) == BOB
    assert outside(engine, ALICE, S1, now=121).port == 5001
    assert len(engine.table(s(121))) == 2


def test_packets_from_inside_refresh_a_row() -> None:
    engine = nat()
    end = outside(engine, ALICE, S1, now=0)
    outside(engine, ALICE, S1, now=100)
    assert enters(engine, S1, end, now=219) == ALICE
    assert enters(engine, S1, end, now=220) is None


@pytest.mark.parametrize("filtering", SCOPES)
@pytest.mark.parametrize("refresh", [True, False])
def test_packets_from_outside_refresh_only_if_the_behavior_says_so(refresh: bool, filtering: Any) -> None:
    engine = nat(refresh_inbound=refresh, filtering=filtering)
    end = outside(engine, ALICE, S1, now=0)
    assert enters(engine, S1, end, now=100) == ALICE
    assert (enters(engine, S1, end, now=150) == ALICE) is refresh


@pytest.mark.parametrize("refresh", [True, False])
def test_nor_do_strangers_that_an_open_filter_lets_in(refresh: bool) -> None:
    engine = nat(refresh_inbound=refresh, filtering=endpoint_independent)
    end = outside(engine, ALICE, S1, now=0)
    assert enters(engine, S2, end, now=119) == ALICE
    assert bool(engine.table(s(121))) is refresh


def test_a_filter_forgets_a_remote_that_was_not_spoken_to_for_long() -> None:
    engine = nat()
    end = outside(engine, ALICE, S1, now=0)
    outside(engine, ALICE, S2, now=100)
    assert enters(engine, S1, end, now=130) is None
    assert enters(engine, S2, end, now=130) == ALICE


OPEN = [("out", SYN), ("in", SYN | ACK), ("out", ACK)]


@pytest.mark.parametrize(
    ("packets", "lifetime"),
    [
        (OPEN[:1], 240),
        (OPEN, 7440),
        ([("out", SYN), ("in", SYN), ("out", SYN | ACK), ("in", ACK)], 7440),
        ([*OPEN, ("out", FIN | ACK)], 7440),
        ([*OPEN, ("out", FIN | ACK), ("in", FIN | ACK)], 240),
        ([*OPEN, ("in", RST)], 240),
        ([*OPEN, ("in", RST), ("out", ACK)], 7440),
        ([*OPEN, ("out", FIN | ACK), ("in", FIN | ACK), ("out", SYN), ("in", SYN | ACK)], 7440),
    ],
    ids=["syn", "open", "simultaneous", "half-closed", "closed", "reset", "forged-reset", "reopened"],
)
def test_tcp_rows_live_as_long_as_their_state_says(packets: list[tuple[str, int]], lifetime: int) -> None:
    engine = nat()
    for direction, flags in packets:
        if direction == "out":
            assert engine.outbound(tcp(ALICE, S1, flags), 0).passed
        else:
            assert engine.inbound(tcp(S1, Endpoint(OUTSIDE, 5000), flags), 0).passed
    assert engine.table(s(lifetime) - 1)
    assert not engine.table(s(lifetime))


# -- Unsolicited SYNs: RFC 5382 REQ-4 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False], ids=["filtered", "no row"])
@pytest.mark.parametrize("policy", [drop_syn, refuse_syn, unreachable_syn])
def test_a_stray_syn_is_answered_as_the_policy_says(policy: Any, known: bool) -> None:
    engine = nat(unsolicited_syn=policy)
    if known:
        engine.outbound(tcp(ALICE, S1), 0)
    syn = tcp(S2, Endpoint(OUTSIDE, 5000), seq=2**32 - 1)
    syn.uid = 77
    verdict = engine.inbound(syn, 0)
    assert (verdict.rule, verdict.packet) == (Rule.FILTERED if known else Rule.NO_MAPPING, None)
    answer = verdict.reply
    if policy is drop_syn:
        assert answer is None
        return
    assert answer is not None
    assert (answer.dst, answer.cause) == (S2, 77)
    assert policy.__name__ in str(verdict)
    if policy is refuse_syn:
        assert (answer.flags, answer.seq, answer.ack, answer.src) == (RST | ACK, 0, 0, Endpoint(OUTSIDE, 5000))
    else:
        assert (answer.icmp, answer.quoted) == ((3, 3), syn)


@pytest.mark.parametrize("flags", [ACK, RST, SYN | ACK])
def test_only_an_initial_syn_is_answered(flags: int) -> None:
    assert nat(unsolicited_syn=refuse_syn).inbound(tcp(S1, Endpoint(OUTSIDE, 5000), flags), 0).reply is None


# -- Hairpinning: RFC 4787 section 6 ----------------------------------------------------------------------------------


def test_without_hairpinning_a_packet_to_the_own_outside_ends() -> None:
    engine = nat()
    bob = outside(engine, BOB, S1)
    verdict = engine.outbound(udp(ALICE, bob), 0)
    assert (verdict.rule, verdict.packet) == (Rule.NO_HAIRPIN, None)


def hairpinned(engine: NatEngine, src: Endpoint, dst: Endpoint) -> Verdict:
    return engine.outbound(udp(src, dst), 0)


def test_hairpinning_shows_the_external_source_and_obeys_the_filter() -> None:
    engine = nat(hairpin=True)
    alice, bob = outside(engine, ALICE, S1), outside(engine, BOB, S1)
    assert hairpinned(engine, ALICE, bob).rule is Rule.FILTERED
    back = hairpinned(engine, BOB, alice)
    assert (back.rule, back.packet.src, back.packet.dst) == (Rule.HAIRPINNED, bob, ALICE)
    there = hairpinned(engine, ALICE, bob)
    assert (there.packet.src, there.packet.dst) == (alice, BOB)


def test_answers_to_hairpinned_packets_turn_back_too() -> None:
    engine = nat(hairpin=True, filtering=endpoint_independent, unsolicited_syn=refuse_syn)
    refused = engine.outbound(tcp(ALICE, Endpoint(OUTSIDE, 9)), 0)
    assert (refused.reply.dst, refused.reply.flags) == (ALICE, RST | ACK)
    alice, bob = outside(engine, ALICE, S1), outside(engine, BOB, S1)
    arrived = hairpinned(engine, ALICE, bob).packet
    error = engine.outbound(error_about(arrived, BOB.address), 0).packet
    assert error.dst.address == ALICE.address
    assert (error.quoted.src, error.quoted.dst) == (ALICE, bob)
    assert alice.address == OUTSIDE


# -- ICMP errors: RFC 5508 section 4 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mapping", SCOPES)
def test_an_error_from_outside_finds_the_socket_that_it_is_about(mapping: Any) -> None:
    engine = nat(mapping=mapping, ports=random_port)
    sent = engine.outbound(udp(ALICE, S1), 0).packet
    error = engine.inbound(error_about(sent, "203.0.113.1", (11, 0)), 1).packet
    assert (error.src.address, error.dst.address, error.icmp) == ("203.0.113.1", ALICE.address, (11, 0))
    assert (error.quoted.src, error.quoted.dst) == (ALICE, S1)


@pytest.mark.parametrize("mapping", SCOPES)
def test_an_error_from_inside_hides_the_inside(mapping: Any) -> None:
    engine = nat(mapping=mapping, ports=random_port)
    end = outside(engine, ALICE, S1)
    arrived = engine.inbound(udp(S1, end), 0).packet
    error = engine.outbound(error_about(arrived, ALICE.address), 1).packet
    assert (error.src.address, error.dst.address) == (OUTSIDE, S1.address)
    assert (error.quoted.src, error.quoted.dst) == (S1, end)


def test_errors_about_unknown_packets_end_and_none_refreshes_a_row() -> None:
    engine = nat()
    stranger = udp(Endpoint(OUTSIDE, 9), S1)
    assert engine.inbound(error_about(stranger, "203.0.113.1"), 0).rule is Rule.NO_MAPPING
    assert engine.outbound(error_about(stranger, ALICE.address), 0).rule is Rule.NO_MAPPING
    empty = Packet("icmp", Endpoint("203.0.113.1", 0), Endpoint(OUTSIDE, 0), icmp=(8, 0))
    assert not engine.inbound(empty, 0).passed
    assert not engine.outbound(empty, 0).passed

    sent = engine.outbound(udp(ALICE, S1), 0).packet
    error = error_about(sent, "203.0.113.1")
    assert engine.inbound(error, s(119)).passed
    assert not engine.inbound(error, s(120)).passed
    assert not engine.table(s(120))
