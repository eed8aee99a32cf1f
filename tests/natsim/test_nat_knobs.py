"""The knobs of a NAT beyond mapping and filtering, one by one, on the bench."""

from __future__ import annotations

from typing import Any

import pytest

from natsim import (
    Hairpin,
    NatBehavior,
    Overloading,
    RandomPort,
    Timeouts,
    WhenFull,
    address_and_port_dependent,
    address_dependent,
    arbitrary,
    endpoint_independent,
    hold_syn,
    paired,
    random_port,
)
from natsim.nat.bench import ALICE, BOB, S1, S1_OTHER, S2, Bench
from natsim.nat.leases import Lease
from natsim.nat.verdict import Rule
from natsim.packet import ACK, FIN, RST, SYN, Endpoint
from natsim.scheduler import SECOND


def sockets(host: Endpoint, count: int) -> list[Endpoint]:
    return [host._replace(port=host.port + number) for number in range(count)]


# -- Several outside addresses: RFC 4787 REQ-2 ------------------------------------------------------------------------


def test_paired_pooling_gives_a_host_one_address_for_everything() -> None:
    bench = Bench(NatBehavior(addresses=4, pooling=paired))
    hosts = [Endpoint(f"192.168.1.{number}", 5000) for number in range(2, 10)]
    seen = {host: {bench.outside(socket, S1).address for socket in sockets(host, 5)} for host in hosts}
    assert all(len(addresses) == 1 for addresses in seen.values())
    assert len(set.union(*seen.values())) == 4, "and all of them are used"


def test_arbitrary_pooling_does_not() -> None:
    bench = Bench(NatBehavior(addresses=4, pooling=arbitrary))
    ends = [bench.outside(socket, S1) for socket in sockets(ALICE, 40)]
    assert {end.address for end in ends} == set(bench.addresses)
    assert [bench.enters(S1, end) for end in ends] == sockets(ALICE, 40)
    assert bench.outside(ALICE, S2) == ends[0], "but a mapping keeps its address"


def test_the_same_port_is_free_once_on_each_address() -> None:
    bench = Bench(NatBehavior(addresses=2, pooling=arbitrary, ports=RandomPort(7000, 7000)), seed=1)
    ends = {bench.outside(socket, S1) for socket in sockets(ALICE, 20)} - {None}
    assert ends == {Endpoint(address, 7000) for address in bench.addresses}


# -- Overloading: RFC 4787 REQ-3, RFC 7857 section 3 ------------------------------------------------------------------


def test_a_port_may_serve_two_hosts_towards_different_destinations() -> None:
    apdm = {"mapping": address_and_port_dependent, "overloading": Overloading.OTHER_DESTINATIONS}
    bench = Bench(NatBehavior(**apdm))
    assert bench.outside(ALICE, S1) == bench.outside(BOB, S2), "both keep their port"
    end = bench.outside(ALICE, S1)
    assert (bench.enters(S1, end), bench.enters(S2, end)) == (ALICE, BOB), "and each gets its own answers"
    assert bench.outside(BOB, S1) != end, "towards the same destination they cannot share it"


def test_a_mapping_for_the_whole_world_shares_its_port_with_nobody() -> None:
    bench = Bench(NatBehavior(overloading=Overloading.OTHER_DESTINATIONS))
    assert bench.outside(ALICE, S1) != bench.outside(BOB, S2)


def test_port_overloading_gives_what_comes_in_to_the_newest() -> None:
    bench = Bench(NatBehavior(overloading=Overloading.ALWAYS))
    end = bench.outside(ALICE, S1)
    assert bench.enters(S1, end) == ALICE
    assert bench.outside(BOB, S1) == end
    assert bench.enters(S1, end) == BOB


# -- Limits: RFC 6888 REQ-4, RFC 5508 REQ-8 ---------------------------------------------------------------------------


@pytest.mark.parametrize("when_full", WhenFull)
@pytest.mark.parametrize(
    "limit", [{"max_mappings_per_host": 2}, {"max_mappings": 2}, {"ports": RandomPort(7000, 7001)}]
)
def test_a_full_nat_drops_answers_or_evicts(limit: Any, when_full: WhenFull) -> None:
    bench = Bench(NatBehavior(when_full=when_full, **limit))
    first, second, third = sockets(ALICE, 3)
    bench.out(first, S1)
    bench.wait(1)
    end = bench.outside(second, S1)
    verdict = bench.out(third, S1)
    if when_full is WhenFull.EVICT:
        assert verdict.passed
        assert bench.rows() == 2
        assert bench.enters(S1, end) == second, "the one that was idle for longer has gone"
        return
    assert verdict.rule is (Rule.PORTS_EXHAUSTED if "ports" in limit else Rule.LIMIT)
    assert bench.rows() == 2
    if when_full is WhenFull.DROP:
        assert verdict.reply is None
    else:
        assert (verdict.reply.icmp, verdict.reply.dst.address, verdict.reply.quoted.src) == (
            (3, 13),
            ALICE.address,
            third,
        )
    bench.wait(120)
    assert bench.out(third, S1).passed, "as soon as a row has expired there is room again"


def test_the_limit_of_one_host_is_no_limit_of_another() -> None:
    bench = Bench(NatBehavior(max_mappings_per_host=1))
    assert bench.out(ALICE, S1).passed
    assert str(bench.out(sockets(ALICE, 2)[1], S1)).startswith("LIMIT REACHED: 192.168.1.2 has 1 mappings")
    assert bench.out(BOB, S1).passed


def test_a_freed_port_is_held_back_from_others() -> None:
    bench = Bench(NatBehavior(port_hold=60))
    end = bench.outside(ALICE, S1)
    bench.wait(120 + 59)
    assert bench.outside(BOB, S1) != end
    bench.wait(1)
    assert bench.outside(Endpoint("192.168.1.4", 5000), S1) == end
    bench = Bench(NatBehavior(port_hold=60))
    bench.out(ALICE, S1)
    bench.wait(130)
    assert bench.outside(ALICE, S1) == end, "its own host may have it at once"


# -- Hairpins and held SYNs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hairpin", "seen"), [(Hairpin.EXTERNAL, "198.51.100.1"), (Hairpin.INTERNAL, ALICE.address)])
def test_a_hairpin_shows_the_outside_source_or_the_inside_one(hairpin: Hairpin, seen: str) -> None:
    bench = Bench(NatBehavior(hairpin=hairpin, filtering=endpoint_independent))
    bob = bench.outside(BOB, S1)
    arrived = bench.out(ALICE, bob)
    assert (arrived.rule, arrived.packet.src.address, arrived.packet.dst) == (Rule.HAIRPINNED, seen, BOB)


def test_a_hairpin_finds_any_of_the_outside_addresses() -> None:
    bench = Bench(NatBehavior(hairpin=True, filtering=endpoint_independent, addresses=8, pooling=arbitrary), seed=3)
    ends = [bench.outside(socket, S1) for socket in sockets(BOB, 20)]
    assert len({end.address for end in ends}) > 4
    assert all(bench.out(ALICE, end).rule is Rule.HAIRPINNED for end in ends)


def test_a_stray_syn_is_held_for_six_seconds_and_then_answered() -> None:
    bench = Bench(NatBehavior(unsolicited_syn=hold_syn))
    held = bench.back(S1, Endpoint("198.51.100.1", 5000), SYN)
    assert (held.rule, held.until, held.reply) == (Rule.SYN_HELD, 6 * SECOND, None)
    again = bench.back(S1, Endpoint("198.51.100.1", 5000), SYN)
    assert again.until == held.until, "a repetition begins no new wait"
    assert bench.engine.overdue(6 * SECOND - 1) == []
    (late,) = bench.engine.overdue(6 * SECOND)
    assert (late.reply.icmp, late.reply.dst) == ((3, 3), S1)
    assert bench.engine.overdue(60 * SECOND) == [], "once"


def test_a_held_syn_is_forgotten_when_one_from_inside_matches() -> None:
    bench = Bench(NatBehavior(unsolicited_syn=hold_syn))
    bench.back(S1, Endpoint("198.51.100.1", ALICE.port), SYN)
    bench.back(S2, Endpoint("198.51.100.1", ALICE.port), SYN)
    assert bench.outside(ALICE, S1, SYN) == Endpoint("198.51.100.1", ALICE.port)
    (other,) = bench.engine.overdue(7 * SECOND)
    assert other.reply.dst == S2, "the other one is still unwelcome"


# -- Timers -----------------------------------------------------------------------------------------------------------

TIMEOUTS = Timeouts(
    udp=100,
    udp_first=10,
    udp_unreplied=20,
    udp_well_known=5,
    tcp_opening=30,
    tcp_established=1000,
    tcp_half_closed=200,
    tcp_closing=40,
    tcp_reset=3,
    icmp=7,
)
OPEN = [("out", SYN), ("in", SYN | ACK), ("out", ACK)]


@pytest.mark.parametrize(
    ("packets", "lives"),
    [
        ([("out", None)], 10),
        ([("out", None), ("out", None)], 20),
        ([("out", None), ("in", None), ("out", None)], 100),
        (OPEN[:1], 30),
        (OPEN, 1000),
        ([*OPEN, ("out", FIN | ACK)], 200),
        ([*OPEN, ("in", FIN | ACK)], 200),
        ([*OPEN, ("out", FIN | ACK), ("in", FIN | ACK)], 40),
        ([*OPEN, ("in", RST)], 3),
        ([*OPEN, ("out", RST)], 3),
        ([*OPEN, ("in", RST), ("in", ACK)], 1000),
    ],
)
def test_every_state_has_its_own_timer(packets: list[tuple[str, int | None]], lives: float) -> None:
    bench = Bench(NatBehavior(timeouts=TIMEOUTS))
    end = Endpoint("198.51.100.1", ALICE.port)
    for direction, flags in packets:
        assert (bench.out(ALICE, S1, flags) if direction == "out" else bench.back(S1, end, flags)).passed
    assert bench.seconds_alive() == lives


def test_well_known_services_and_queries_have_timers_of_their_own() -> None:
    bench = Bench(NatBehavior(timeouts=TIMEOUTS))
    bench.out(ALICE, S1._replace(port=53))
    assert bench.seconds_alive() == 5
    bench = Bench(NatBehavior(timeouts=TIMEOUTS))
    bench.ping(ALICE, S1.address)
    assert bench.seconds_alive() == 7


def test_a_reset_never_lengthens_a_life() -> None:
    bench = Bench(NatBehavior(timeouts=Timeouts(tcp_opening=30, tcp_reset=240)))
    bench.out(ALICE, S1, SYN)
    bench.wait(10)
    bench.out(ALICE, S1, RST)
    assert bench.seconds_alive() == 20


@pytest.mark.parametrize(("refresh", "lives"), [(True, 120), (False, 20)])
def test_packets_from_inside_refresh_only_if_the_behavior_says_so(refresh: bool, lives: float) -> None:
    bench = Bench(NatBehavior(refresh_outbound=refresh))
    bench.out(ALICE, S1)
    bench.wait(100)
    bench.out(ALICE, S1)
    assert bench.seconds_alive() == lives


# -- Queries, firewalls, helpers, leases ------------------------------------------------------------------------------


def test_pings_go_out_and_come_back() -> None:
    bench = Bench(NatBehavior())
    here, there = (bench.ping(host, S1.address).packet.src for host in (ALICE, BOB))
    assert here != there, "two hosts with one identifier get two"
    assert [bench.pong(S1.address, end).packet.dst for end in (here, there)] == [ALICE, BOB]
    assert not bench.pong(S2.address, here).passed


def test_a_firewall_filters_and_leaves_addresses_alone() -> None:
    bench = Bench(NatBehavior(translate=False, filtering=address_dependent))
    assert bench.outside(ALICE, S1) == ALICE
    assert bench.enters(S1_OTHER, ALICE) == ALICE
    assert bench.enters(S2, ALICE) is None
    bench.wait(120)
    assert bench.enters(S1, ALICE) is None


def test_an_alg_rewrites_what_packets_say() -> None:
    bench = Bench(NatBehavior(alg=True))
    sent = bench.out(ALICE, S1, payload=b"I am \xc0\xa8\x01\x02, 192.168.1.2").packet
    assert sent.payload == b"I am \xc6\x33\x64\x01, 198.51.100.1"
    came = bench.back(S1, sent.src, payload=b"you are \xc6\x33\x64\x01").packet
    assert came.payload == b"you are \xc0\xa8\x01\x02"


def test_tcp_may_be_treated_otherwise() -> None:
    strict = NatBehavior(mapping=address_and_port_dependent, ports=random_port)
    bench = Bench(NatBehavior(filtering=endpoint_independent, tcp=strict))
    assert bench.outside(ALICE, S1) == bench.outside(ALICE, S2)
    assert bench.outside(ALICE, S1, SYN) != bench.outside(ALICE, S2, SYN)
    assert bench.enters(S2, bench.outside(BOB, S1)) == BOB
    assert bench.enters(S2, bench.outside(BOB, S1, SYN), SYN) is None


def test_a_lease_opens_a_port_to_anybody_and_answers_leave_by_it() -> None:
    bench = Bench(NatBehavior(mapping=address_and_port_dependent, ports=random_port))
    leased = Endpoint("198.51.100.1", 7000)
    bench.engine.lease(Lease("udp", ALICE, leased, 600 * SECOND), bench.now)
    assert bench.enters(S1, leased) == bench.enters(S2, leased) == ALICE
    assert bench.outside(ALICE, S1) == bench.outside(ALICE, S1_OTHER) == leased
    assert bench.outside(BOB, S1) != leased
    bench.wait(600)
    assert bench.enters(Endpoint("203.0.113.99", 9), leased) is None


def test_a_reboot_forgets_everything() -> None:
    bench = Bench(NatBehavior(unsolicited_syn=hold_syn))
    end = bench.outside(ALICE, S1)
    bench.engine.lease(Lease("udp", BOB, Endpoint("198.51.100.1", 7000), 600 * SECOND), bench.now)
    bench.back(S2, Endpoint("198.51.100.1", 9), SYN)
    bench.engine.reboot()
    assert bench.rows() == 0
    assert bench.enters(S1, end) is None
    assert bench.enters(S1, Endpoint("198.51.100.1", 7000)) is None
    assert bench.engine.overdue(60 * SECOND) == []


# -- Nonsense ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fitlering": address_dependent}, "a NatBehavior has no 'fitlering'; did you mean filtering"),
        (
            {"mapping": "endpoint-independant"},
            "mapping cannot be 'endpoint-independant'; did you mean endpoint-independent",
        ),
        ({"ports": "sequentail"}, "did you mean sequential"),
        ({"unsolicited_syn": "rts"}, "did you mean rst"),
        ({"hairpin": "extrenal"}, "did you mean external"),
        ({"filtering": 5}, "filtering cannot be 5"),
        ({"overloading": True}, "overloading cannot be True"),
        ({"when_full": "evikt"}, "did you mean evict"),
        ({"addresses": 0}, "addresses is a number from 1 up, not 0"),
        ({"max_mappings": -1}, "max_mappings is a number from 1 up"),
        ({"port_hold": -1}, "port_hold is in seconds"),
        ({"timeouts": 120}, "timeouts are a Timeouts"),
        ({"port_mapping": ("ucp",)}, "did you mean pcp, upnp"),
        ({"tcp": NatBehavior(tcp=NatBehavior())}, "without a tcp of its own"),
    ],
)
def test_nonsense_gets_an_error_with_the_nearest_right_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said.replace("(", "\\(")):
        NatBehavior(**settings)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Timeouts(ucp=1), "a Timeouts has no 'ucp'; did you mean udp"),
        (lambda: Timeouts(udp=-1), "the timeout udp is a number of seconds"),
        (lambda: Timeouts(udp=None), "the timeout udp is a number of seconds"),
        (lambda: RandomPort(9, 8), "ephemeral ports go from 1"),
    ],
)
def test_so_do_timeouts_and_ranges(make: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        make()


def test_a_behavior_prints_as_the_call_that_makes_it() -> None:
    behavior = NatBehavior(
        mapping="address-dependent", ports="random", hairpin=True, timeouts=Timeouts(udp=30), tcp=NatBehavior()
    )
    assert repr(behavior) == (
        "NatBehavior(mapping=address_dependent, ports=RandomPort(), hairpin=Hairpin.EXTERNAL, "
        "timeouts=Timeouts(udp=30), tcp=NatBehavior())"
    )
    import natsim

    assert eval(repr(behavior), vars(natsim)) == behavior
