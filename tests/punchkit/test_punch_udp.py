"""UDP punching without I/O: one machine alone, and two over a wire that delays and loses."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from punchkit.punch_udp import (
    FAREWELL,
    JITTER,
    MAX_LEARNED,
    MAX_PROBES,
    MAX_TARGETS,
    PACKET_SIZE,
    ROUND,
    UdpPunch,
)
from punchkit.sockets import Address
from punchkit.stun import Kind, Message, encode
from punchkit.wire import FOLLOWER, LEADER

#: What comes in at an instant: datagrams and their senders.
Heard = Callable[[float], list[tuple[bytes, Address]]]

KEY, SESSION = bytes(range(32)), b"session1"
ALICE, BOB, ELSEWHERE = ("198.51.100.1", 4000), ("198.51.100.2", 5000), ("198.51.100.9", 9000)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(1)


def alice(*targets: Address, now: float = 0.0) -> UdpPunch:
    return UdpPunch(LEADER, SESSION, KEY, targets or [BOB], now)


def bob(*targets: Address, now: float = 0.0, session: bytes = SESSION, key: bytes = KEY) -> UdpPunch:
    return UdpPunch(FOLLOWER, session, key, targets or [ALICE], now)


def probe_of(punch: UdpPunch, now: float = 0.0) -> bytes:
    """The next probe of a machine that has one target."""
    ((data, _),) = punch.datagrams_to_send(now)
    return data


def run_alone(punch: UdpPunch, heard: Heard = lambda now: []) -> list[tuple[float, bytes, Address]]:
    """Run one machine to its end, and `heard` says what comes in at each step: when it sends what, and where."""
    sent, now = [], 0.0
    while True:
        for data, source in heard(now):
            punch.receive_datagram(data, source, now)
        sent += [(now, data, to) for data, to in punch.datagrams_to_send(now)]
        timer = punch.get_timer()
        if timer is None:
            return sent
        assert timer > now, "a machine that asks for the present would be asked for ever"
        now = timer
        punch.handle_timer(now)


# -- One machine -------------------------------------------------------------------------------------------------------


def test_the_cadence_of_probes_that_nobody_answers() -> None:
    """Five probes 25 ms apart, then 50, 100, 200 and 400 ms, each more or less; after three seconds it is over."""
    punch = alice()
    sent = run_alone(punch)
    gaps = [later - earlier for (earlier, *_), (later, *_) in itertools.pairwise(sent)]
    nominal = [0.025] * 4 + [0.05, 0.1, 0.2] + [0.4] * 20
    for gap, wanted in zip(gaps, nominal, strict=False):
        assert wanted * (1 - JITTER) <= gap <= wanted * (1 + JITTER)
    assert len(set(gaps)) == len(gaps)
    assert 12 <= len(sent) <= 17
    assert {to for _, _, to in sent} == {BOB}
    assert punch.over
    assert punch.found is None
    assert punch.outcomes == {BOB: {"no answer": len(sent)}}


def test_no_two_probes_are_alike() -> None:
    datagrams = [data for _, data, _ in run_alone(alice())]
    assert len(set(datagrams)) == len(datagrams)
    assert {len(data) for data in datagrams} == {PACKET_SIZE} == {36}


def test_an_answer_is_as_long_as_its_probe_and_goes_where_it_came_from() -> None:
    one, other = alice(), bob()
    probe = probe_of(one)
    other.datagrams_to_send(0.0)
    other.receive_datagram(probe, ELSEWHERE, 0.001)
    answer, learned = other.datagrams_to_send(0.001)
    assert answer[1] == learned[1] == ELSEWHERE
    assert len(answer[0]) == len(learned[0]) == len(probe)


def test_an_answered_probe_makes_the_path() -> None:
    one, other = alice(), bob()
    other.receive_datagram(probe_of(one), ALICE, 0.0)
    one.receive_datagram(other.datagrams_to_send(0.0)[0][0], BOB, 0.05)
    assert one.found == BOB
    assert not one.over  # the peer does not know yet
    assert one.outcomes[BOB]["answered"] == 1


def test_what_only_comes_in_makes_no_path() -> None:
    """The peer reaches us, and we do not reach it: `outcomes` tells."""
    one, other = alice(), bob()
    sent = run_alone(one, lambda now: [(data, BOB) for data, _ in other.datagrams_to_send(now)])
    assert one.found is None
    assert one.outcomes[BOB]["heard"] > 10
    assert one.outcomes[BOB]["no answer"] == len(sent) - one.outcomes[BOB]["heard"]


def test_an_answer_from_elsewhere_makes_no_path() -> None:
    """A way there and another way back are two halves of nothing (RFC 8445 section 7.2.5.2.1)."""
    one, other = alice(), bob()
    other.receive_datagram(probe_of(one), ALICE, 0.0)
    answer = other.datagrams_to_send(0.0)[0][0]
    one.receive_datagram(answer, ELSEWHERE, 0.01)
    assert one.found is None
    assert one.outcomes == {BOB: {"no answer": 1, "answered from elsewhere": 1}}
    one.receive_datagram(answer, BOB, 0.02)  # the true one is none the worse for it
    assert one.found == BOB


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "stranger",
    [
        lambda: b"",
        lambda: b"hello",
        lambda: bytes(PACKET_SIZE),
        lambda: encode(Message(Kind.REQUEST)),
        lambda: probe_of(bob(session=b"session2")),
        lambda: probe_of(bob(key=b"another")),
        lambda: probe_of(alice()),  # our own, sent back to us
        lambda: probe_of(bob())[:-1],
        lambda: probe_of(bob()) + b"x",
        *(lambda at=at: damaged(probe_of(bob()), at) for at in range(PACKET_SIZE)),
    ],
)
def test_strangers_get_nothing(stranger: Callable[[], bytes]) -> None:
    one = alice()
    one.datagrams_to_send(0.0)
    one.receive_datagram(stranger(), ELSEWHERE, 0.001)
    assert one.datagrams_to_send(0.001) == []
    assert one.outcomes == {BOB: {"no answer": 1}}


def test_a_probe_counts_once() -> None:
    one = alice()
    one.datagrams_to_send(0.0)
    probe = probe_of(bob())
    one.receive_datagram(probe, BOB, 0.001)
    assert len(one.datagrams_to_send(0.001)) == 2  # an answer, and a probe of our own
    for source in (BOB, ELSEWHERE):
        one.receive_datagram(probe, source, 0.002)
    assert one.datagrams_to_send(0.002) == []
    assert ELSEWHERE not in one.outcomes


def test_an_answer_counts_once_and_only_to_a_probe_of_ours() -> None:
    one, other, third = alice(), bob(), alice()
    for _ in range(3):
        other.receive_datagram(third._packet(0, 7), ALICE, 0.0)
    answer = other.datagrams_to_send(0.0)[0][0]
    one.receive_datagram(answer, BOB, 0.0)  # we never sent a probe number 7
    assert one.found is None

    other.receive_datagram(probe_of(one), ALICE, 0.0)
    answer = other.datagrams_to_send(0.0)[0][0]
    for _ in range(2):
        one.receive_datagram(answer, BOB, 0.0)
    assert one.outcomes == {BOB: {"answered": 1}}


def test_what_a_peer_may_cost_others() -> None:
    """It names thirty addresses and speaks from thirty more, as often as it can, and never answers."""
    named, spoken = ([(f"203.0.113.{i}", port) for i in range(1, 31)] for port in (1000, 2000))
    one, other = alice(*named), bob()
    numbers, sources = itertools.count(), itertools.cycle(spoken)
    sent = run_alone(one, lambda now: [(other._packet(0, next(numbers)), next(sources)) for _ in range(5)])
    answers = [to for _, data, to in sent if data[3] & 1]
    probes = [to for _, data, to in sent if not data[3] & 1]
    assert len(probes) == MAX_PROBES
    assert len(answers) <= MAX_PROBES
    assert set(probes) == {*named[:MAX_TARGETS], *spoken[:MAX_LEARNED]}
    assert set(answers) == set(spoken)
    assert set(one.outcomes) == set(probes)


def test_whoever_has_an_answer_tells_the_peer_and_waits_for_its_word() -> None:
    """The word never comes.  Only the address that answered gets probes now, and a second later it is over."""
    one, other = alice(BOB, ELSEWHERE), bob()
    for data, to in one.datagrams_to_send(0.0):
        if to == BOB:
            other.receive_datagram(data, ALICE, 0.0)
    answer = other.datagrams_to_send(0.0)[0][0]
    one.receive_datagram(answer, BOB, 0.0)
    sent = run_alone(one)
    assert {to for _, _, to in sent} == {BOB}
    assert all(data[3] == 2 for _, data, _ in sent)  # "I have had an answer"
    assert 5 < len(sent) < 15
    assert sent[-1][0] < FAREWELL < ROUND
    assert one.over
    assert one.found == BOB


def test_a_peer_that_is_heard_in_the_last_moment_is_not_left() -> None:
    one = alice()
    one.receive_datagram(probe_of(bob()), BOB, 2.95)
    for moment, over in ((ROUND, False), (2.94 + FAREWELL, False), (2.95 + FAREWELL, True)):
        one.handle_timer(moment)
        assert one.over is over
    assert one.datagrams_to_send(4.0) == []
    assert one.get_timer() is None


def test_wrong_use() -> None:
    with pytest.raises(ValueError, match="7 bytes"):
        UdpPunch(LEADER, b"session", KEY, [BOB], 0.0)
    with pytest.raises(KeyError):
        UdpPunch("referee", SESSION, KEY, [BOB], 0.0)


# -- Two machines ------------------------------------------------------------------------------------------------------


@dataclass
class Wire:
    """Two machines, each at its address, and a way between them: one-way `delay` in seconds, and a share of `loss`."""

    delay: float = 0.04
    loss: float = 0.0
    skew: float = 0.0
    now: float = 0.0
    chance: random.Random = field(default_factory=random.Random)

    def run(self) -> tuple[UdpPunch, UdpPunch]:
        """Run both to the end; the second one starts `skew` seconds later, and is deaf until then."""
        machines = {ALICE: alice()}
        events: list[tuple[float, int, Address, bytes | None]] = [(0.0, 0, ALICE, None), (self.skew, 1, BOB, None)]
        order = itertools.count(2)
        while events:
            self.now, _, where, data = heapq.heappop(events)
            if where == BOB and self.now >= self.skew:
                machines.setdefault(BOB, bob(now=self.now))
            if where not in machines:
                continue
            machine, other = machines[where], ALICE if where == BOB else BOB
            if data is not None:
                machine.receive_datagram(data, other, self.now)
            machine.handle_timer(self.now)
            for packet, to in machine.datagrams_to_send(self.now):
                assert to == other
                if self.chance.random() >= self.loss:
                    heapq.heappush(events, (self.now + self.delay, next(order), other, packet))
            timer = machine.get_timer()
            if timer is not None:
                heapq.heappush(events, (timer, next(order), where, None))
        return machines[ALICE], machines[BOB]


def test_two_meet_in_a_round_trip_and_a_half() -> None:
    wire = Wire(delay=0.04)
    one, other = wire.run()
    assert (one.found, other.found) == (BOB, ALICE)
    assert one.over
    assert other.over
    assert sum(sum(punch.outcomes[to].values()) for punch, to in ((one, BOB), (other, ALICE))) < 40


def test_they_agree_although_packets_are_lost() -> None:
    """Each packet is lost with a chance of one in five, and the sides start up to 0.3 s apart."""
    for seed in range(200):
        chance = random.Random(seed)
        one, other = Wire(chance.choice([0.001, 0.04, 0.15]), 0.2, chance.uniform(0, 0.3), chance=chance).run()
        assert (one.found, other.found) == (BOB, ALICE), f"seed {seed}"


@pytest.mark.parametrize("delay", [0.001, 0.02, 0.2])
def test_they_agree_however_late_one_of_them_comes(delay: float) -> None:
    for skew in (step / 20 for step in range(90)):
        one, other = Wire(delay, skew=skew).run()
        assert (one.found is None) == (other.found is None), f"skew {skew}"
        assert one.found or skew > ROUND - 2 * delay
