"""The virtual clock: one order of everything, and one source of chance for each name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sim_tools import udp

from natsim.scheduler import MILLISECOND, SECOND, Scheduler, nanoseconds, seconds
from natsim.trace import ANSWERED, DELIVERED, DROPPED, Trace, Untraced


def run_all(clock: Scheduler) -> None:
    while clock.step():
        pass


@given(st.lists(st.integers(0, 5)))
def test_events_happen_by_time_and_then_by_plan(delays: list[int]) -> None:
    clock = Scheduler()
    seen: list[tuple[int, int]] = []
    for number, delay in enumerate(delays):
        clock.after(delay, lambda n: seen.append((clock.now, n)), number)
    run_all(clock)
    assert seen == sorted((delay, number) for number, delay in enumerate(delays))


def test_what_cannot_be_compared_can_be_planned_for_one_instant() -> None:
    clock, seen = Scheduler(), []
    for thing in (object(), {}, 1j):
        clock.at(5, seen.append, thing)
    run_all(clock)
    assert len(seen) == 3


def test_the_past_is_now_and_comes_after_what_was_planned_for_now() -> None:
    clock, seen = Scheduler(), []

    def now(_: object) -> None:
        clock.at(clock.now, seen.append, "planned first")
        clock.at(0, seen.append, "planned for the past")

    clock.at(10, now)
    run_all(clock)
    assert seen == ["planned first", "planned for the past"]
    assert clock.now == 10


def test_stepping_an_empty_clock_says_so_and_leaves_the_time_alone() -> None:
    clock = Scheduler()
    assert not clock.step()
    assert (clock.now, clock.idle) == (0, True)


def test_events_that_do_not_count_leave_the_clock_idle() -> None:
    clock = Scheduler()
    clock.at(5, print)
    assert not clock.idle
    clock.uncounted += 1
    assert clock.idle


def test_random_streams_depend_on_seed_and_name_only() -> None:
    def draw(seed: int, names: list[str]) -> dict[str, list[float]]:
        clock = Scheduler(seed)
        return {name: [clock.random(name).random() for _ in range(3)] for name in names}

    alone, among_others = draw(7, ["bob"]), draw(7, ["alice", "bob", "carol"])
    assert alone["bob"] == among_others["bob"], "a new host must not reshuffle the others"
    assert among_others["alice"] != among_others["bob"]
    assert draw(8, ["bob"]) != alone


@given(st.integers(0, 10**6 * SECOND))
def test_seconds_and_nanoseconds_agree(now: int) -> None:
    assert nanoseconds(seconds(now)) == now
    assert nanoseconds(0.02) == 20 * MILLISECOND


# -- The trace, which numbers packets by this clock -----------------------------------------------------------------


def test_the_trace_tells_the_story_of_each_packet() -> None:
    clock = Scheduler()
    trace = Trace(clock)
    one, two = udp("1.1.1.1:1", "2.2.2.2:2", payload=b"x"), udp("1.1.1.1:1", "2.2.2.2:3")
    trace.sent("alice", one)
    trace.sent("alice", two)
    clock.after(SECOND, lambda _: trace.add("bob", DELIVERED, one))
    run_all(clock)
    trace.add("bob", DROPPED, two, "PORT CLOSED")
    assert (one.uid, two.uid) == (1, 2)
    assert [(entry.node, entry.action, entry.when) for entry in trace.of(one)] == [
        ("alice", "sent", 0),
        ("bob", DELIVERED, SECOND),
    ]
    assert [entry.packet for entry in trace.drops()] == [two]
    assert "PORT CLOSED" in str(trace.of(2)[-1])
    assert len(trace) == len(list(trace)) == 4


def test_where_no_trace_is_kept_packets_still_get_their_numbers() -> None:
    """They are more than a number for the trace: fragments are known by it."""
    trace = Untraced(Scheduler())
    whole, first, later = (udp("1.1.1.1:1", "2.2.2.2:2") for _ in range(3))
    trace.sent("alice", whole)
    first.uid = whole.uid
    trace.fragmented("alice", whole, [first, later], "too large")
    trace.add("bob", DELIVERED, first)
    assert (whole.uid, first.uid, later.uid) == (1, 1, 2)
    assert list(trace) == []


def test_the_digest_covers_headers_sizes_and_reasons_but_no_payload() -> None:
    def digest(payload: bytes = b"abc", ttl: int = 64, node: str = "a", reason: str = "r", when: int = 0) -> str:
        clock = Scheduler()
        trace = Trace(clock)
        packet = udp("1.1.1.1:1", "2.2.2.2:2", payload=payload, ttl=ttl)
        trace.sent(node, packet)
        clock.at(when, lambda _: trace.add(node, ANSWERED, packet, reason))
        clock.step()
        return trace.digest()

    base = digest()
    assert digest(payload=b"xyz") == base
    others = [digest(payload=b"four"), digest(ttl=63), digest(node="b"), digest(reason="s"), digest(when=1)]
    assert len({base, *others}) == 6


def test_the_digest_of_a_reason_is_its_words_not_where_it_lies_in_memory() -> None:
    class Reason:
        def __str__(self) -> str:
            return "CUT"

    def digest(reason: Reason) -> str:
        trace = Trace(Scheduler())
        trace.add("a", DROPPED, udp("1.1.1.1:1", "2.2.2.2:2"), reason)
        return trace.digest()

    one, other = Reason(), Reason()
    assert digest(one) == digest(other)
