"""Port assignments, asked directly and through a NAT: RFC 4787 section 4.2, RFC 6056, RFC 7422, carriers' blocks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_tools import at, s, tcp, udp

from natsim import (
    BulkBlocks,
    DeterministicBlocks,
    DoubleHash,
    Endpoint,
    KeepClass,
    KeepParity,
    NatBehavior,
    PreserveElse,
    RandomIncrements,
    RandomPort,
    RuleError,
    Sequential,
    SimpleHash,
    SimplePortRandomization,
    Timeouts,
    Wish,
    address_and_port_dependent,
    preserve,
)
from natsim.nat.engine import NatEngine
from natsim.nat.ports import TRIES
from natsim.nat.verdict import Rule

ALICE, BOB, S1, S2 = at("192.168.1.2:5000"), at("192.168.1.3:5000"), at("203.0.113.10:80"), at("203.0.113.11:80")
LAN = "192.168.1.0/29"


def wish(memory: dict[str, Any] | None = None, **changes: Any) -> Wish:
    """What a NAT asks; its memory is empty unless given."""
    usual = {"protocol": "udp", "internal": ALICE, "remote": S1, "previous": 30_000, "random": random.Random(1)}
    return Wish(**{**usual, **changes}, memory={} if memory is None else memory)


def nat(rule: Any, seed: int = 0, **behavior: Any) -> NatEngine:
    behavior = {"mapping": address_and_port_dependent, **behavior}
    return NatEngine(NatBehavior(ports=rule, **behavior), "198.51.100.1", random.Random(seed))


def port_of(engine: NatEngine, src: Endpoint, dst: Endpoint = S1, now: float = 0) -> int:
    """The outside port that a datagram gets."""
    verdict = engine.outbound(udp(src, dst), s(now))
    assert verdict.packet is not None, verdict
    return verdict.packet.src.port


def new_ports(engine: NatEngine, count: int, dst: Endpoint = S1, host: Endpoint = ALICE, first: int = 1) -> list[int]:
    """The outside ports of so many sockets of one host, towards one destination."""
    return [port_of(engine, host._replace(port=first + number), dst) for number in range(count)]


def steps(ports: list[int], count: int = TRIES) -> list[int]:
    """From each port to the next one, round a range of so many."""
    return [(b - a) % count for a, b in pairwise(ports)]


# -- ports.py ---------------------------------------------------------------------------------------------------------


def test_preserve_goes_up_and_round_from_the_inside_port() -> None:
    assert list(islice(preserve(wish(internal=at("10.0.0.1:65534"))), 4)) == [65534, 65535, 1024, 1025]
    assert list(islice(preserve(wish(internal=at("10.0.0.1:80"))), 2)) == [80, 64592], "a low port just once"


@pytest.mark.parametrize(
    ("step", "previous", "expected"),
    [(1, 65534, [65535, 1024, 1025]), (-1, 1025, [1024, 65535, 65534]), (1000, 65000, [1488, 2488, 3488])],
)
def test_a_sequence_goes_round_within_1024_to_65535(step: int, previous: int, expected: list[int]) -> None:
    assert list(islice(Sequential(step)(wish(previous=previous)), 3)) == expected


def test_a_sequence_needs_a_step() -> None:
    with pytest.raises(ValueError, match="step"):
        Sequential(0)


def test_random_ports_reach_both_ends_of_their_range_and_nothing_beyond() -> None:
    assert set(islice(RandomPort(7000, 7004)(wish()), 200)) == {7000, 7001, 7002, 7003, 7004}


def test_preserve_else_asks_the_other_rule_for_what_follows() -> None:
    rule = PreserveElse(RandomPort(7000, 7000))
    assert list(islice(rule(wish()), 3)) == [5000, 7000, 7000]
    assert next(rule(wish(internal=at("192.168.1.2:0")))) == 7000, "0 is no port"
    engine = nat(rule)
    assert [port_of(engine, ALICE), port_of(engine, BOB)] == [5000, 7000]


@pytest.mark.parametrize(("inside", "expected"), [(5000, {7000, 7002}), (5001, {7001, 7003})])
def test_parity_is_that_of_the_inside_port(inside: int, expected: set[int]) -> None:
    ports = KeepParity(RandomPort(7000, 7003))(wish(internal=ALICE._replace(port=inside)))
    assert set(islice(ports, 100)) == expected


def only(port: int) -> Any:
    def one_port_for_ever(wish: Wish) -> Iterator[int]:
        while True:
            yield port

    return one_port_for_ever


def test_filters_give_up_when_nothing_fits() -> None:
    assert list(KeepParity(only(7001))(wish())) == []
    assert list(KeepClass(only(80))(wish())) == []
    assert nat(KeepParity(only(7001))).outbound(udp(ALICE, S1), 0).rule is Rule.PORTS_EXHAUSTED


def test_low_ports_stay_low_and_high_ports_high() -> None:
    rule = KeepClass(PreserveElse(RandomPort(1, 65535)))
    low = list(islice(rule(wish(internal=at("192.168.1.2:80"))), 300))
    assert low[0] == 80
    assert len(set(low)) > 100
    assert all(0 < port < 1024 for port in low)
    high = list(islice(rule(wish()), 3000))
    assert high[0] == 5000
    assert min(high) >= 1024


# -- RFC 6056 ---------------------------------------------------------------------------------------------------------

ALGORITHMS = [SimplePortRandomization, SimpleHash, DoubleHash, RandomIncrements]
ROUND = [SimplePortRandomization, SimpleHash, DoubleHash]


@pytest.mark.parametrize("algorithm", ROUND)
def test_one_mapping_is_offered_each_port_once(algorithm: Any) -> None:
    rule = algorithm(7000, 7099)
    for memory in ({}, {}):
        ports = list(rule(wish(memory)))
        assert set(steps(ports, 100)) == {1}
        assert sorted(ports) == list(range(7000, 7100))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_port_of_the_range_is_the_first_choice_some_day(algorithm: Any) -> None:
    rule, asked, chance = algorithm(7000, 7015), {}, random.Random(1)
    assert {next(rule(wish(asked, random=chance))) for _ in range(300)} == set(range(7000, 7016))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_ports_come_from_the_seed(algorithm: Any) -> None:
    def ports(seed: int) -> list[int]:
        return new_ports(nat(algorithm(), seed), 20)

    assert ports(1) == ports(1) != ports(2)
    assert len(set(ports(1))) == 20


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nats_may_share_a_rule_and_know_nothing_of_each_other(algorithm: Any) -> None:
    rule = algorithm()
    alone = new_ports(nat(rule, 1), 20)
    one, other = nat(rule, 1), nat(rule, 2)
    together = [(new_ports(one, 1, first=port)[0], new_ports(other, 1, first=port)[0]) for port in range(1, 21)]
    assert [port for port, _ in together] == alone
    assert [port for _, port in together] == new_ports(nat(rule, 2), 20)


@pytest.mark.parametrize("algorithm", ROUND)
def test_the_last_free_port_is_found_and_then_there_is_none(algorithm: Any) -> None:
    engine = nat(algorithm(7000, 7003), timeouts=Timeouts(udp=10))
    assert set(new_ports(engine, 4)) == {7000, 7001, 7002, 7003}
    verdict = engine.outbound(udp(BOB, S1), 0)
    assert (verdict.rule, verdict.packet) == (Rule.PORTS_EXHAUSTED, None)
    assert algorithm.__name__ in str(verdict)
    assert port_of(engine, BOB, now=10) in range(7000, 7004)


def test_a_random_start_goes_up_so_a_full_stretch_gives_away_what_follows_it() -> None:
    rule = SimplePortRandomization(7000, 7099)
    starts = [next(rule(wish(random=random.Random(seed)))) for seed in range(100)]
    assert len(set(starts)) > 40
    full = set(range(7000, 7090))
    found = [next(port for port in rule(wish(random=random.Random(seed))) if port not in full) for seed in range(100)]
    assert found.count(7090) > 80, "all that begin below it end there"


DESTINATIONS = [Endpoint(f"203.0.113.{number}", 80) for number in range(1, 101)]


@pytest.mark.parametrize("algorithm", [SimpleHash, DoubleHash])
def test_a_hash_makes_ports_contiguous_for_each_destination(algorithm: Any) -> None:
    engine = nat(algorithm())
    assert set(steps(new_ports(engine, 10, S1))) == {1}
    assert set(steps(new_ports(engine, 10, S2))) == {1}


@pytest.mark.parametrize("algorithm", [SimpleHash, DoubleHash])
@pytest.mark.parametrize("what", ["remote address", "remote port", "inside address", "NAT"])
def test_a_hash_lets_each_begin_elsewhere(algorithm: Any, what: str) -> None:
    rule, memory, ports = algorithm(), {}, []
    for number in range(100):
        match what:
            case "remote address":
                asked = wish(memory, remote=S1._replace(address=f"203.0.113.{number}"))
            case "remote port":
                asked = wish(memory, remote=S1._replace(port=1 + number))
            case "inside address":
                asked = wish(memory, internal=ALICE._replace(address=f"192.168.1.{number}"))
            case _:
                asked = wish({}, random=random.Random(number))
        ports.append(next(rule(asked)))
    assert len(set(ports)) > 95
    assert max(ports) - min(ports) > TRIES * 3 / 4, "scattered over the whole range"
    assert len([step for step in steps(ports) if step < 1000]) < 10


@pytest.mark.parametrize("algorithm", [SimpleHash, DoubleHash])
def test_how_far_two_destinations_are_apart_is_each_nats_secret(algorithm: Any) -> None:
    distances = set()
    for seed in range(50):
        memory: dict[str, Any] = {}
        chance = random.Random(seed)
        first, second = (next(algorithm()(wish(memory, remote=remote, random=chance))) for remote in (S1, S2))
        distances.add((second - first) % TRIES // 1000)
    assert len(distances) > 20


def test_counters_begin_at_random() -> None:
    asked = wish()
    next(DoubleHash()(asked))
    (memory,) = asked.memory.values()
    assert len(set(memory.table)) == 10


def test_the_inside_port_changes_nothing_but_whose_turn_it_is() -> None:
    memory: dict[str, Any] = {}
    ports = [next(SimpleHash()(wish(memory, internal=ALICE._replace(port=port)))) for port in (1, 50_000, 7)]
    assert steps(ports) == [1, 1]


def undisturbed(rule: Any) -> int:
    """For how many of 99 other destinations a port given to one of them moves on the ports towards the first?"""
    memory: dict[str, Any] = {}
    count = 0
    for other in DESTINATIONS[1:]:
        before = next(rule(wish(memory, remote=DESTINATIONS[0])))
        next(rule(wish(memory, remote=other)))
        step = (next(rule(wish(memory, remote=DESTINATIONS[0]))) - before) % TRIES
        assert step in (1, 2)
        count += step == 1
    return count


def test_one_counter_tells_a_destination_of_all_others_and_a_table_of_few() -> None:
    assert undisturbed(SimpleHash()) == 0
    assert undisturbed(DoubleHash(table_length=1)) == 0
    assert 75 <= undisturbed(DoubleHash()) < 99, "one in ten shares its counter"
    assert undisturbed(DoubleHash(table_length=5000)) > 95


@pytest.mark.parametrize("n", [1, 2, 500])
def test_increments_are_1_to_n_whatever_the_destination(n: int) -> None:
    engine = nat(RandomIncrements(n=n))
    ports = [port_of(engine, ALICE, remote) for remote in DESTINATIONS]
    seen = set(steps(ports))
    assert min(seen) >= 1
    assert max(seen) <= n
    assert len(seen) == n if n < 3 else len(seen) > 50
    assert n == 1 or max(seen) > n / 2


def test_increments_go_round_and_use_the_whole_range() -> None:
    memory: dict[str, Any] = {}
    ports = [next(RandomIncrements()(wish(memory, random=random.Random(seed)))) for seed in range(2000)]
    assert set(steps(ports)) <= set(range(1, 501))
    assert max(steps(ports)) > 450
    assert max(ports) > 65000 > 1600 > min(ports)


def test_increments_begin_anywhere() -> None:
    starts = [next(RandomIncrements()(wish(random=random.Random(seed)))) for seed in range(100)]
    assert min(starts) < 10_000 < 55_000 < max(starts)


def test_increments_may_miss_a_free_port_yet_not_for_long() -> None:
    engine = nat(RandomIncrements(7000, 7003))
    ports = set()
    for number in range(1, 200):
        verdict = engine.outbound(udp(ALICE._replace(port=number), S1), 0)
        if verdict.packet is None:
            assert verdict.rule is Rule.PORTS_EXHAUSTED
        else:
            ports.add(verdict.packet.src.port)
    assert ports == {7000, 7001, 7002, 7003}


def test_two_rules_in_one_nat_remember_apart() -> None:
    low, high, memory = RandomIncrements(7000, 7999, n=1), RandomIncrements(8000, 8999, n=1), {}
    first = [next(low(wish(memory))), next(high(wish(memory)))]
    assert [next(low(wish(memory))), next(high(wish(memory)))] == [
        7000 + (first[0] - 6999) % 1000,
        8000 + (first[1] - 7999) % 1000,
    ]
    first_half, second_half = BulkBlocks(7000, 7003, size=4), BulkBlocks(7004, 7007, size=4)
    assert set(first_half(wish(memory))) == set(range(7000, 7004))
    assert set(second_half(wish(memory))) == set(range(7004, 7008))


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("simple-random", SimplePortRandomization()),
        ("simple-hash", SimpleHash()),
        ("double-hash", DoubleHash()),
        ("random-increments", RandomIncrements()),
    ],
)
def test_the_algorithms_have_names(name: str, rule: Any) -> None:
    assert NatBehavior(ports=name).ports == rule
    assert repr(rule) in repr(NatBehavior(ports=name))


# -- RFC 7422 ---------------------------------------------------------------------------------------------------------

#: The table of RFC 7422 section 2.3: the last octet of 198.51.100.0/28, and its ports on 192.0.2.1.
RFC_7422_TABLE = {
    **{1: (1024, 5055), 2: (5056, 9087), 3: (9088, 13119), 4: (13120, 17151), 5: (17152, 21183)},
    **{6: (21184, 25215), 7: (25216, 29247), 8: (29248, 33279), 9: (33280, 37311), 10: (37312, 41343)},
    **{11: (41344, 45375), 12: (45376, 49407), 13: (49408, 53439), 14: (53440, 57471)},
}
EXAMPLE = DeterministicBlocks("198.51.100.0/28", dynamic_pool_factor=2, maximum_ports=5040)


def subscriber(number: int, memory: dict[str, Any] | None = None) -> Wish:
    return wish(memory, internal=Endpoint(f"198.51.100.{number}", 5000))


def test_the_table_of_rfc_7422() -> None:
    assert (EXAMPLE.compression_ratio, EXAMPLE.ports_per_subscriber) == (14, 4032)
    ranges = {number: EXAMPLE.range_of(f"198.51.100.{number}") for number in range(1, 15)}
    assert {number: (ports[0], ports[-1]) for number, ports in ranges.items()} == RFC_7422_TABLE
    assert (EXAMPLE.dynamic_ports[0], EXAMPLE.dynamic_ports[-1]) == (57472, 65535)


def test_each_port_of_the_table_is_its_subscribers() -> None:
    for number, (first, last) in RFC_7422_TABLE.items():
        assert {EXAMPLE.subscriber_of(port) for port in range(first, last + 1)} == {f"198.51.100.{number}"}
    assert {EXAMPLE.subscriber_of(port) for port in range(1024)} == {None}
    assert EXAMPLE.subscriber_of(65536) is None
    assert EXAMPLE.subscriber_of(2001) == "198.51.100.1", "the RFC's first report of abuse"


def test_the_rfcs_second_subscriber_gets_1008_ports_more_and_the_log_finds_it() -> None:
    memory: dict[str, Any] = {}
    log = EXAMPLE.log(memory)
    list(islice(EXAMPLE(subscriber(1, memory)), 4032 + 500))  # somebody had 57500 to 57999 before
    ports = list(islice(EXAMPLE(subscriber(2, memory)), 5032))
    assert sorted(ports[:4032]) == list(range(5056, 9088)), "at first its own"
    assert sorted(ports[4032:]) == list(range(58000, 59000))
    assert [str(entry) for entry in log.entries[5:]] == [
        f"{first}-{first + 99}: 198.51.100.2" for first in range(58000, 59000, 100)
    ]
    assert str(log).splitlines()[4:6] == ["57900-57999: 198.51.100.1", "58000-58099: 198.51.100.2"]
    assert EXAMPLE.subscriber_of(58204, log) == "198.51.100.2", "the RFC's second report of abuse"
    assert EXAMPLE.subscriber_of(57999, log) == "198.51.100.1"
    assert EXAMPLE.subscriber_of(59000, log) is None, "nobody has it yet"
    assert EXAMPLE.subscriber_of(57472, log) is None, "a rest that makes no whole block"

    everything = list(EXAMPLE(subscriber(2, memory)))
    assert len(set(everything)) == len(everything) == 5040 == 4032 + 1008
    assert sorted(everything)[-8:] == list(range(59000, 59008)), "of the eleventh block, what the maximum leaves"
    assert len(log.entries) == 5 + 11
    assert len(list(EXAMPLE(subscriber(2, memory)))) == 5040, "and no more"
    assert len(log.entries) == 5 + 11


def test_a_dynamic_port_needs_a_log() -> None:
    with pytest.raises(ValueError, match=r"58204 is in the dynamic pool, so only the log knows: log\(wish.memory\)"):
        EXAMPLE.subscriber_of(58204)


def test_a_maximum_of_the_own_ports_takes_nothing_from_the_pool() -> None:
    rule, memory = DeterministicBlocks("198.51.100.0/28", maximum_ports=4032), {}
    assert len(list(rule(subscriber(1, memory)))) == 4032
    assert rule.log(memory).entries == []


def test_without_a_maximum_the_pool_is_the_limit() -> None:
    rule, memory = DeterministicBlocks("198.51.100.0/28"), {}
    ports = list(rule(subscriber(1, memory)))
    assert sorted(ports[4032:]) == list(range(57500, 65500))
    assert len(list(rule(subscriber(2, memory)))) == 4032, "now the pool is empty"
    to_the_end = DeterministicBlocks("198.51.100.0/28", block_size=64)
    assert to_the_end.log({}).free[-1] == range(65472, 65536)


def test_no_dynamic_pool_means_own_ports_only() -> None:
    rule = DeterministicBlocks("198.51.100.0/28", dynamic_pool_factor=0)
    assert (rule.ports_per_subscriber, len(rule.dynamic_ports)) == (4608, 0)
    assert set(rule(subscriber(14))) == set(rule.range_of("198.51.100.14")) == set(range(60928, 65536))
    odd = DeterministicBlocks("198.51.100.0/29", dynamic_pool_factor=0, reserved_ports=65000, block_size=1)
    assert list(odd.dynamic_ports) == []
    assert odd.subscriber_of(65535) is None, "536 = 6 * 89 + 2"


def test_ports_are_random_within_the_range() -> None:
    starts = {next(EXAMPLE(wish(internal=at("198.51.100.3:1"), random=random.Random(seed)))) for seed in range(50)}
    assert len(starts) > 45
    assert starts <= set(range(9088, 13120))


@pytest.mark.parametrize(("network", "hosts"), [("10.0.0.0/30", 2), ("10.0.0.0/31", 2), ("10.0.0.7/32", 1)])
def test_small_networks(network: str, hosts: int) -> None:
    rule = DeterministicBlocks(network)
    assert rule.compression_ratio == hosts
    first = {"10.0.0.0/30": "10.0.0.1", "10.0.0.0/31": "10.0.0.0"}.get(network, "10.0.0.7")
    assert rule.range_of(first)[0] == 1024
    assert rule.subscriber_of(1024) == first


@pytest.mark.parametrize("stranger", ["198.51.100.0", "198.51.100.15", "192.168.1.2", "2001:db8::1", "::c633:6401"])
def test_a_stranger_to_the_inside_network_is_told(stranger: str) -> None:
    with pytest.raises(ValueError, match=rf"{stranger} is no subscriber: .* the 14 hosts of 198.51.100.0/28"):
        EXAMPLE.range_of(stranger)
    with pytest.raises(RuleError, match=r"DeterministicBlocks.*no subscriber"):
        nat(EXAMPLE).outbound(udp(Endpoint(stranger, 5000), S1), 0)


#: Nine ports each for 192.168.1.1 to .6 from 65464 on, 18 in the pool from 65518, and three blocks of five in it.
SMALL = DeterministicBlocks(LAN, reserved_ports=65464, block_size=5, maximum_ports=16)


def test_a_nat_with_deterministic_blocks_says_when_a_subscriber_has_its_share() -> None:
    engine = nat(SMALL)
    assert set(new_ports(engine, 9)) == set(SMALL.range_of(ALICE.address)) == set(range(65473, 65482))
    assert set(new_ports(engine, 7, first=100)) == set(range(65520, 65527))
    verdict = engine.outbound(udp(ALICE._replace(port=300), S1), 0)
    assert verdict.rule is Rule.PORTS_EXHAUSTED
    assert "DeterministicBlocks" in str(verdict)
    assert set(new_ports(engine, 9, host=BOB)) == set(range(65482, 65491)), "the others have theirs"
    assert set(new_ports(engine, 5, host=BOB, first=100)) == set(range(65530, 65535))
    assert engine.outbound(udp(BOB._replace(port=300), S1), 0).rule is Rule.PORTS_EXHAUSTED, "the pool is empty"
    assert engine.outbound(tcp(ALICE, S1), 0).packet.src.port in range(65473, 65482), "TCP has ports of its own"


def test_two_nats_with_deterministic_blocks_have_a_pool_each() -> None:
    one, other = nat(SMALL), nat(SMALL)
    new_ports(one, 16)
    assert set(new_ports(other, 14, host=BOB)[9:]) == set(range(65520, 65525))


# -- Bulk blocks ------------------------------------------------------------------------------------------------------


def test_a_host_gets_a_block_at_its_first_mapping_and_another_when_it_is_full() -> None:
    rule, memory = BulkBlocks(size=512), {}
    ports = list(islice(rule(wish(memory)), 513))
    log = rule.log(memory)
    assert sorted(ports[:512]) == list(log.entries[0].ports)
    assert ports[512] in log.entries[1].ports
    assert [len(entry.ports) for entry in log.entries] == [512, 512]
    assert {log.subscriber_of(port) for port in ports} == {ALICE.address}
    assert log.subscriber_of(log.free[0][0]) is None
    next(rule(wish(memory, internal=BOB)))
    assert [entry.subscriber for entry in log.entries] == [ALICE.address, ALICE.address, BOB.address]
    assert len(log.entries) + len(log.free) == 126, "all blocks of 512 from 1024 to 65535"
    assert next(rule(wish(memory))) in log.entries[0].ports, "freed ports of the first block come first"


def test_blocks_begin_at_random() -> None:
    starts = set()
    for seed in range(50):
        memory: dict[str, Any] = {}
        rule = BulkBlocks()
        next(rule(wish(memory, random=random.Random(seed))))
        starts.add(rule.log(memory).entries[0].ports[0])
    assert len(starts) > 25
    assert {start % 512 for start in starts} == {0}


def test_within_a_block_ports_are_random_or_sequential() -> None:
    in_turn = new_ports(nat(BulkBlocks(sequential=True)), 512)
    assert set(steps(in_turn)) == {1}
    at_random = new_ports(nat(BulkBlocks()), 50)
    assert max(at_random) - min(at_random) in range(100, 512)
    assert steps(at_random).count(1) < 25


def test_a_nat_with_bulk_blocks_limits_each_host_and_says_so() -> None:
    engine = nat(BulkBlocks(7000, 7019, size=4, blocks_per_host=2), timeouts=Timeouts(udp=10))
    alice, bob = new_ports(engine, 8), new_ports(engine, 8, host=BOB)
    assert len({*alice, *bob}) == 16
    assert len({(port - 7000) // 4 for port in alice}) == 2
    for host in (ALICE, BOB):
        verdict = engine.outbound(udp(host._replace(port=300), S1), 0)
        assert verdict.rule is Rule.PORTS_EXHAUSTED
        assert "BulkBlocks" in str(verdict)
    assert len({*alice, *bob, *new_ports(engine, 4, host=at("192.168.1.4:1"))}) == 20
    assert engine.outbound(udp(at("192.168.1.5:1"), S1), 0).rule is Rule.PORTS_EXHAUSTED, "no block is left for a fifth"
    assert engine.outbound(tcp(ALICE, S1), 0).packet.src.port in alice, "a block is for all protocols"
    assert port_of(engine, ALICE, now=11) in alice, "a block stays with its host when its mappings are gone"
    assert engine.outbound(udp(at("192.168.1.5:1"), S1), s(11)).rule is Rule.PORTS_EXHAUSTED


def test_a_rest_that_makes_no_whole_block_is_left_out() -> None:
    rule = BulkBlocks(7000, 7010, size=4)
    assert rule.log({}).free == [range(7000, 7004), range(7004, 7008)]
    assert sorted(rule(wish())) == list(range(7000, 7008))


def test_two_nats_with_bulk_blocks_keep_a_log_each() -> None:
    rule = BulkBlocks(7000, 7003, size=4)
    one, other = nat(rule), nat(rule)
    assert set(new_ports(one, 4)) == set(new_ports(other, 4, host=BOB)) == set(range(7000, 7004))


# -- All of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "why"),
    [
        *((lambda rule=rule: rule(0, 5), "0 to 5") for rule in [*ALGORITHMS, RandomPort, BulkBlocks]),
        *((lambda rule=rule: rule(9, 5), "9 to 5") for rule in [*ALGORITHMS, RandomPort]),
        (lambda: DoubleHash(1, 65536), "1 to 65536"),
        (lambda: DoubleHash(table_length=0), "not 0"),
        (lambda: RandomIncrements(n=0), "not 0"),
        (lambda: BulkBlocks(7000, 7003, size=5), "1 to 4 of the ports 7000 to 7003, not 5"),
        (lambda: BulkBlocks(size=0), "not 0"),
        (lambda: BulkBlocks(blocks_per_host=0), "not 0"),
        (lambda: DeterministicBlocks("10.0.0.0/8"), "16777214 hosts.*smaller network"),
        (lambda: DeterministicBlocks("198.51.100.1/28"), "host bits"),
        (lambda: DeterministicBlocks(LAN, reserved_ports=0), "0 is no port"),
        (lambda: DeterministicBlocks(LAN, reserved_ports=65536), "65536"),
        (lambda: DeterministicBlocks(LAN, dynamic_pool_factor=-1), "not -1 and 100"),
        (lambda: DeterministicBlocks(LAN, block_size=0), "not 2 and 0"),
        (lambda: DeterministicBlocks(LAN, maximum_ports=8063), "has 8064 ports.*8063"),
    ],
)
def test_impossible_numbers_are_told(make: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make()


ports = st.integers(1, 65535)
ranges = st.tuples(ports, ports).map(sorted)
small_ranges = st.tuples(st.integers(1, 65000), st.integers(0, 300)).map(lambda pair: (pair[0], pair[0] + pair[1]))
wishes = st.builds(
    Wish,
    protocol=st.sampled_from(["udp", "tcp", "icmp"]),
    internal=st.builds(Endpoint, st.sampled_from([f"192.168.1.{number}" for number in range(1, 7)]), ports),
    remote=st.builds(Endpoint, st.ip_addresses().map(str), st.integers(0, 65535)),
    previous=ports,
    random=st.integers(0, 2**32).map(random.Random),
)


@settings(deadline=None)
@given(st.sampled_from([*ALGORITHMS, RandomPort]), ranges, wishes)
def test_proposals_lie_within_the_range(rule: Any, range_of_ports: list[int], asked: Wish) -> None:
    first, last = range_of_ports
    proposed = list(islice(rule(first, last)(asked), 50))
    assert proposed
    assert all(first <= port <= last for port in proposed)


@settings(deadline=None)
@given(st.sampled_from(ALGORITHMS), small_ranges, st.lists(wishes, min_size=1, max_size=4))
def test_algorithms_propose_no_more_than_there_are_ports(rule: Any, bounds: tuple[int, int], asked: list[Wish]) -> None:
    first, last = bounds
    for one in asked:
        assert len(list(rule(first, last)(one))) == last - first + 1


@settings(deadline=None)
@given(st.integers(64000, 65500), st.integers(0, 3), st.integers(1, 40), st.integers(1, 300), wishes)
def test_deterministic_blocks_stay_within_the_own_range_and_the_pool(
    reserved: int, factor: int, size: int, more: int, asked: Wish
) -> None:
    own = DeterministicBlocks(LAN, factor, None, reserved, size).range_of(asked.internal.address)
    rule = DeterministicBlocks(LAN, factor, len(own) + more, reserved, size)
    proposed = list(rule(asked))
    assert len(set(proposed)) == len(proposed) <= len(own) + more
    assert sorted(proposed[: len(own)]) == list(own)
    assert all(port in rule.dynamic_ports for port in proposed[len(own) :])
    log = rule.log(asked.memory)
    assert {rule.subscriber_of(port, log) for port in proposed} == {asked.internal.address}


@settings(deadline=None)
@given(small_ranges, st.integers(1, 300), st.integers(1, 4), st.booleans(), st.lists(wishes, min_size=1, max_size=6))
def test_bulk_blocks_are_whole_and_nobody_shares_one(
    bounds: tuple[int, int], size: int, most: int, sequential: bool, asked: list[Wish]
) -> None:
    first, last = bounds
    size = min(size, last - first + 1)
    rule, memory = BulkBlocks(first, last, size, most, sequential), asked[0].memory
    owners: dict[int, str] = {}
    for one in asked:
        shared = Wish(one.protocol, one.internal, one.remote, one.previous, one.random, memory)
        proposed = list(rule(shared))
        assert len(set(proposed)) == len(proposed) <= size * most
        assert len(proposed) % size == 0
        for port in proposed:
            assert first <= port <= last
            assert owners.setdefault(port, one.internal.address) == one.internal.address
            assert rule.log(memory).subscriber_of(port) == one.internal.address
