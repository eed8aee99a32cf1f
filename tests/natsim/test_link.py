"""What links do to packets: loss, bursts, jitter, order, duplicates, rate, queue.  Next: `test_link_stories.py`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sim_tools import udp

import natsim
from natsim import Bursts, HeldBack, Internet, Link, RuleError
from natsim.bottleneck import QUEUE, Bottleneck
from natsim.crossing import Crossing
from natsim.pipe import EventfulPipe, Pipe
from natsim.scheduler import MILLISECOND
from natsim.sim_world import SimWorld
from natsim.trace import ANSWERED, DROPPED, DUPLICATED, Entry

MANY = 40_000


class NoChance(random.Random):
    """A source of chance that nobody may ask."""

    def random(self) -> float:
        raise AssertionError("chance was asked")

    def getrandbits(self, k: int) -> int:
        raise AssertionError("chance was asked")


def every_tenth(chance: random.Random) -> Iterator[bool]:
    """A loss rule of one's own."""
    while True:
        yield from [False] * 9 + [True]


def gilbert_elliott(chance: random.Random) -> Iterator[bool]:
    """Another: the whole model, where an ill link still lets some packets through, and a well one loses some."""
    ill = False
    while True:
        yield chance.random() < (0.5 if ill else 0.01)
        ill = chance.random() < (0.8 if ill else 0.05)


def lost(link: Link, seed: int = 1) -> list[bool]:
    """Of many packets, whether each is lost."""
    crossing = Crossing(link, random.Random(seed))
    return [crossing.copies() == 0 for _ in range(MANY)]


def arrivals(link: Link, count: int = MANY, *, apart: int = MILLISECOND, size: int = 1000, seed: int = 1) -> list[int]:
    """How long after it has entered each packet arrives: `count` of them, `apart` from each other."""
    crossing = Crossing(link, random.Random(seed))
    times = [crossing.arrival(size, number * apart) for number in range(count)]
    assert None not in times
    return [when - number * apart for number, when in enumerate(times) if when is not None]


def send(link: Link, count: int, *, apart: float = 0, size: int = 1000, seed: int = 1) -> SimWorld:
    """Let a send `count` packets of that size over a link of this kind to b, who hears of nobody; and see."""
    net = Internet(seed)
    net.host("a", link=link)
    net.host("b")
    with SimWorld(net) as world:
        for number in range(count):
            packet = udp("203.0.113.10:1", "203.0.113.11:2", payload=bytes(size - 28))
            world.clock.at(round(number * apart * MILLISECOND), world.hosts["a"].send, packet)
        while world.clock.step():
            pass
    return world


def at_b(world: SimWorld) -> list[Entry]:
    return [entry for entry in world.trace if entry.node == "b" and entry.action == ANSWERED]


# -- Loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_independent_loss_takes_its_share_each_packet_by_itself(share: float, seed: int) -> None:
    fates = lost(Link(loss=share), seed)
    assert sum(fates) / MANY == pytest.approx(share, abs=4 * (share * (1 - share) / MANY) ** 0.5)
    after_a_loss = [b for a, b in pairwise(fates) if a]
    assert sum(after_a_loss) / len(after_a_loss) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("share", "length"), [(0.05, 4), (0.3, 10), (0.5, 1.5), (0.5, 1)])
def test_bursts_have_their_share_and_their_length(share: float, length: float, seed: int) -> None:
    fates = lost(Link(loss=Bursts(share, length)), seed)
    assert sum(fates) / MANY == pytest.approx(share, rel=0.15)
    bursts = [len(list(run)) for is_lost, run in groupby(fates) if is_lost]
    assert sum(bursts) / len(bursts) == pytest.approx(length, rel=0.15)


def test_bursts_of_the_length_that_chance_makes_are_independent_loss() -> None:
    fates = lost(Link(loss=Bursts(0.3, 1 / (1 - 0.3))))
    after = Counter(pairwise(fates))
    assert after[True, True] / (after[True, True] + after[True, False]) == pytest.approx(0.3, abs=0.02)
    assert after[False, True] / (after[False, True] + after[False, False]) == pytest.approx(0.3, abs=0.02)


def test_the_first_packet_meets_a_burst_as_often_as_any_other() -> None:
    first = [next(Bursts(0.4, 20)(random.Random(seed))) for seed in range(2000)]
    assert sum(first) / 2000 == pytest.approx(0.4, abs=0.05)


def test_a_loss_rule_of_ones_own_decides() -> None:
    assert [number for number, is_lost in enumerate(lost(Link(loss=every_tenth))) if is_lost][:3] == [9, 19, 29]
    fates = lost(Link(loss=gilbert_elliott))
    assert sum(fates) / MANY == pytest.approx(0.2 * 0.5 + 0.8 * 0.01, rel=0.1)
    assert repr(Link(loss=every_tenth)) == "Link(loss=every_tenth)"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda chance: iter([False, False]), r"loss rule <lambda> came to an end; it must yield True or False for ev"),
        (lambda chance: iter([0.5]), r"loss rule <lambda> yielded 0.5; True is lost"),
    ],
)
def test_a_wrong_loss_rule_is_named(rule: Any, said: str) -> None:
    with pytest.raises(RuleError, match=said):
        send(Link(loss=rule), 3)


def test_each_direction_and_each_run_asks_the_rule_anew() -> None:
    asked = []

    def rule(chance: random.Random) -> Iterator[bool]:
        asked.append(chance)
        return iter([True] + [False] * 100)

    link = Link(loss=rule)
    for _ in range(2):
        assert len(at_b(send(link, 5))) == 4
    assert len(set(map(id, asked))) == 4, "two directions, two runs"


# -- Jitter and order -------------------------------------------------------------------------------------------------


def test_jitter_is_even_from_nothing_to_all_of_it() -> None:
    extra = [delay - 20 * MILLISECOND for delay in arrivals(Link(20, jitter=8), apart=9 * MILLISECOND)]
    assert 0 <= min(extra) < max(extra) <= 8 * MILLISECOND
    quarters = Counter(delay // (2 * MILLISECOND + 1) for delay in extra)
    assert set(quarters) == {0, 1, 2, 3}
    assert all(count / MANY == pytest.approx(0.25, abs=0.01) for count in quarters.values())


def test_with_jitter_packets_keep_their_order_unless_they_may_overtake() -> None:
    def came(reorder: bool) -> list[int]:
        world = send(Link(20, jitter=8, reorder=reorder), 200, apart=1)
        return [entry.packet.uid for entry in at_b(world)]

    assert came(False) == sorted(came(False))
    assert came(True) != sorted(came(True))
    assert len(came(True)) == len(came(False)) == 200, "nothing is lost by it"


def test_a_fast_packet_waits_for_a_slow_one_ahead_of_it_and_no_longer() -> None:
    free = arrivals(Link(20, jitter=8, reorder=True), 1000)
    kept = arrivals(Link(20, jitter=8), 1000)
    latest = 0
    for number, (alone, waited) in enumerate(zip(free, kept, strict=True)):
        latest = max(latest, number * MILLISECOND + alone)
        assert number * MILLISECOND + waited == latest


def test_some_are_held_back_by_exactly_so_much_and_the_others_not_at_all() -> None:
    delays = arrivals(Link(20, reorder=HeldBack(0.1, delay=5)))
    assert set(delays) == {20 * MILLISECOND, 25 * MILLISECOND}
    assert delays.count(25 * MILLISECOND) / MANY == pytest.approx(0.1, abs=0.01)


def test_who_is_held_back_is_overtaken_by_the_others_only() -> None:
    delays = arrivals(Link(20, jitter=2, reorder=HeldBack(0.3, delay=50)), 2000)
    came = [number * MILLISECOND + delay for number, delay in enumerate(delays)]
    late = [delay >= 70 * MILLISECOND for delay in delays]
    for kind in (True, False):
        times = [when for when, is_late in zip(came, late, strict=True) if is_late is kind]
        assert times == sorted(times)
        assert len(times) > 400
    assert came != sorted(came)


# -- Duplicates -------------------------------------------------------------------------------------------------------


def test_a_share_of_packets_comes_twice_under_the_same_number_and_the_trace_says_so() -> None:
    world = send(Link(5, duplicate=0.2), 2000)
    times = Counter(entry.packet.uid for entry in at_b(world))
    noted = [entry for entry in world.trace if entry.action == DUPLICATED and entry.node == "a>internet"]
    assert set(times.values()) == {1, 2}
    assert {uid for uid, count in times.items() if count == 2} == {entry.packet.uid for entry in noted}
    assert len(noted) / 2000 == pytest.approx(0.2, abs=0.03)
    assert {str(entry.reason) for entry in noted} == {"DUPLICATED: this link makes two of some packets"}


def test_routers_count_down_the_ttl_of_each_copy_by_itself() -> None:
    world = send(Link(5, duplicate=1), 10)
    assert [entry.packet.ttl for entry in at_b(world)] == [63] * 20
    assert len({id(entry.packet) for entry in at_b(world)}) == 20


def test_each_copy_queues_and_travels_by_itself() -> None:
    world = send(Link(5, duplicate=1, rate=8), 1)
    assert [entry.when for entry in at_b(world)] == [6 * MILLISECOND, 7 * MILLISECOND]
    spread = [entry.when for entry in at_b(send(Link(5, duplicate=1, jitter=3, reorder=True), 1))]
    assert len(set(spread)) == 2


# -- Rate and queue ---------------------------------------------------------------------------------------------------


def test_packets_leave_one_after_the_other_exact_to_the_nanosecond() -> None:
    """1,000 bytes at 10 Mbit/s take 800 microseconds, so the n-th of a bunch arrives after n times that, and 5 ms."""
    world = send(Link(5, rate=10), 50)
    assert [entry.when for entry in at_b(world)] == [5_000_000 + 800_000 * number for number in range(1, 51)]


def test_who_comes_later_than_the_last_has_left_does_not_wait() -> None:
    assert arrivals(Link(rate=8), 5, apart=MILLISECOND) == [MILLISECOND] * 5
    assert arrivals(Link(rate=8), 5, apart=MILLISECOND // 2) == [MILLISECOND + n * MILLISECOND // 2 for n in range(5)]


def test_sizes_count_with_their_ip_header_and_not_more() -> None:
    assert arrivals(Link(rate=1), 1, size=1500) == [12 * MILLISECOND]
    (heard,) = at_b(send(Link(rate=1), 1, size=1500))
    assert (heard.when, heard.packet.size) == (12 * MILLISECOND, 1500)


@pytest.mark.parametrize(("queue", "room"), [(0, 0), (1, 1), (7, 7), (None, QUEUE)])
def test_what_finds_the_queue_full_is_dropped_and_the_trace_names_the_link(queue: int | None, room: int) -> None:
    world = send(Link(5, rate=0.5, queue=queue), room + 5)
    dropped = [entry for entry in world.trace if entry.action == DROPPED]
    assert [entry.packet.uid for entry in at_b(world)] == list(range(1, room + 2)), "one is sent, the others wait"
    assert [entry.packet.uid for entry in dropped] == list(range(room + 2, room + 6)), "and the tail is dropped"
    assert {(entry.node, entry.when) for entry in dropped} == {("a>internet", 0)}
    assert {str(entry.reason) for entry in dropped} == {
        f"QUEUE FULL: {room} packets wait for a>internet already, which takes 0.5 Mbit/s"
    }


def test_each_direction_has_a_queue_of_its_own() -> None:
    world = send(Link(rate=1, queue=3), 4)  # b answers each with an ICMP error of 56 bytes
    assert len(at_b(world)) == 4
    back = [entry for entry in world.trace if entry.node == "a" and entry.action == "delivered"]
    assert [entry.when for entry in back] == [8 * MILLISECOND * n + 448_000 for n in range(1, 5)]


@example([(0, 1000), (0, 1000), (8000, 1000)], 1, 1)  # the third comes just when it is the second one's turn
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(20, 1500)), max_size=60),
    st.integers(0, 5),
    st.sampled_from([1, 3, 10]),
)
def test_the_bottleneck_is_a_queue_and_a_sender(packets: list[tuple[int, int]], queue: int, rate: int) -> None:
    """Against the plainest model there is: a list of who waits, looked at whenever somebody comes."""
    bottleneck, now = Bottleneck(rate, queue), 0
    waiting: list[tuple[int, int]] = []  # from when to when each packet is sent
    for pause, size in packets:
        now += pause * 1000
        waiting = [(begin, end) for begin, end in waiting if end > now]
        begin = waiting[-1][1] if waiting else now
        is_full = sum(starts > now for starts, _ in waiting) >= queue if waiting else False
        end = begin + round(size * 8000 / rate)
        assert bottleneck.sent(size, now) == (None if is_full else end)
        if not is_full:
            waiting.append((begin, end))


# -- What is off costs nothing ----------------------------------------------------------------------------------------


def test_what_a_link_does_not_do_draws_no_chance() -> None:
    crossing = Crossing(Link(5, rate=10, queue=3, loss=every_tenth, reorder=True), NoChance())
    for number in range(100):
        if crossing.copies():
            crossing.arrival(100, number * MILLISECOND)


@pytest.mark.parametrize("link", [Link(), Link(5), Link(5, mtu=1400)])
def test_a_plain_link_has_a_plain_pipe_without_chance(link: Link) -> None:
    net = Internet()
    net.host("a", link=link)
    with SimWorld(net) as world:
        assert type(world.hosts["a"].uplink) is Pipe
        assert not [name for name in world.clock._streams if name.startswith("link")]


@pytest.mark.parametrize(
    "knob",
    [
        {"loss": 0.1},
        {"loss": Bursts(0.1, 2)},
        {"jitter": 1},
        {"reorder": HeldBack(0.1, 1)},
        {"duplicate": 0.1},
        {"rate": 1},
        {"rate": 1, "queue": 5},
    ],
)
def test_a_link_that_does_anything_else_is_not_plain(knob: Any) -> None:
    assert not Link(5, mtu=1400, **knob).is_plain
    net = Internet()
    net.host("a", link=Link(5, **knob))
    with SimWorld(net) as world:
        assert type(world.hosts["a"].uplink) is EventfulPipe


# -- Describing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Link(delay=-1), r"a link's delay is in milliseconds, from 0 up, not -1"),
        (lambda: Link(delay=float("nan")), r"a link's delay is in milliseconds"),
        (lambda: Link(delay=float("inf")), r"a link's delay is in milliseconds"),
        (lambda: Link("20"), r"a link's delay is in milliseconds, from 0 up, not '20'"),
        (lambda: Link(None), r"a link's delay is in milliseconds, from 0 up, not None"),
        (lambda: Link(loss=1.0), r"a link's loss is a share of the packets, from 0 up to \(but not\) 1, or a loss"),
        (lambda: Link(loss=-0.1), r"a link's loss is a share"),
        (lambda: Link(loss="5%"), r"a link's loss is a share .*, not '5%'"),
        (lambda: Link(jitter=-1), r"a link's jitter is in milliseconds"),
        (lambda: Link(jitter=every_tenth), r"a link's jitter is in milliseconds"),
        (lambda: Link(duplicate=1.1), r"a link's duplicate is a share of the packets, from 0 to 1, not 1.1"),
        (lambda: Link(duplicate=True), r"a link's duplicate is a share"),
        (lambda: Link(rate=0), r"a link's rate is in Mbit/s, above 0, or None for no limit, not 0"),
        (lambda: Link(rate=float("inf")), r"a link's rate is in Mbit/s"),
        (lambda: Link(rate=1, queue=-1), r"a link's queue is a whole number of packets, from 0 up, not -1"),
        (lambda: Link(rate=1, queue=2.5), r"a link's queue is a whole number of packets"),
        (lambda: Link(queue=10), r"a link has a queue only where it has a rate, .*: give both"),
        (lambda: Link(reorder=0.1), r"a link's reorder is False, True or HeldBack\(share, delay\), not 0.1"),
        (lambda: HeldBack(2, 5), r"share of packets held back is a share of the packets, from 0 to 1, not 2"),
        (lambda: HeldBack(0.1, -5), r"delay of packets held back is in milliseconds, from 0 up, not -5"),
        (lambda: Bursts(1, 5), r"bursts lose a share of the packets, from 0 up to \(but not\) 1, not 1"),
        (lambda: Bursts(0.1, 0.5), r"mean length of bursts is a number of packets, from 1 up, not 0.5"),
        (lambda: Bursts(0.8, 2), r"bursts of 2 packets lose at most 0.667 of all, .*; 0.8 needs longer ones"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_what_would_be_right(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Link(latency=5), r"a Link has no 'latency'; did you mean"),
        (lambda: Link(dealy=5), r"a Link has no 'dealy'; did you mean delay\?"),
        (lambda: Link(re_order=True), r"a Link has no 're_order'; did you mean reorder\?"),
        (lambda: Bursts(share=0.1, lenght=5), r"a Bursts has no 'lenght'; did you mean length\?"),
        (lambda: HeldBack(shares=0.1, delay=5), r"a HeldBack has no 'shares'; did you mean share\?"),
    ],
)
def test_a_mistyped_knob_gets_the_nearest_one(make: Callable[[], object], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        make()


def test_a_link_prints_as_the_call_that_makes_it() -> None:
    link = Link(20, loss=Bursts(0.1, 3), reorder=HeldBack(0.1, 5), rate=10)
    assert repr(link) == (
        "Link(delay=20, loss=Bursts(share=0.1, length=3), reorder=HeldBack(share=0.1, delay=5), rate=10)"
    )
    assert eval(repr(link), {"Link": Link, "Bursts": Bursts, "HeldBack": HeldBack}) == link


def test_two_nats_have_links_of_that_kind_on_both_sites_and_the_delay_stays() -> None:
    net = natsim.two_nats("cgnat", "linux", delay=50, loss=every_tenth, link=Link(jitter=3, rate=10, mtu=1400))
    for node in (net.carrier_a, net.nat_b):
        link = node.link
        assert (link.loss, link.jitter, link.rate, link.mtu) == (every_tenth, 3, 10, 1400)
    assert net.nat_a.link.is_plain
    assert net.server.link == Link(25)
    assert sum(node.link.delay for node in (net.carrier_a, net.nat_a, net.alice)) == pytest.approx(25)


def test_two_nats_take_delay_and_loss_in_one_place_only() -> None:
    with pytest.raises(ValueError, match=r"delay= is the delay between any two hosts, .* Link\(delay=5\) has its own"):
        natsim.two_nats("linux", "linux", link=Link(5))
    with pytest.raises(ValueError, match=r"by loss=0.2 or as Link\(loss=0.1\) says, not both"):
        natsim.two_nats("linux", "linux", loss=0.2, link=Link(loss=0.1))
    assert natsim.two_nats("linux", "none", link=Link(loss=0.1)).bob.link == Link(10, loss=0.1)
