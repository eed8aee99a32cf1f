"""Fragments: how packets are cut, how NATs pass the pieces on, and how hosts put them together again."""

from __future__ import annotations

import asyncio
import errno
import itertools
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim_tools import at, datagrams, s, tcp, udp

import natsim
from natsim import Link, NatBehavior, address_dependent, endpoint_independent
from natsim.fragmentation import fragments_of, span
from natsim.kernel import available
from natsim.nat import fragments as bounds
from natsim.nat.engine import NatEngine
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import ACK, SYN, Endpoint, Fragment, Packet
from natsim.reassembly import DATAGRAMS, Reassembly
from natsim.scheduler import Scheduler
from natsim.sim_world import SimWorld
from natsim.trace import ANSWERED, DELIVERED, DROPPED, FRAGMENTED, HELD, SENT, TRANSLATED, Trace

OUTSIDE = "198.51.100.1"
ALICE, BOB = at("192.168.1.2:5000"), at("192.168.1.3:6000")
S1, S2 = at("203.0.113.10:80"), at("203.0.113.11:80")
TEXT = bytes(number % 251 for number in range(4000))


def nat(**behavior: Any) -> NatEngine:
    return NatEngine(NatBehavior(**behavior), OUTSIDE, random.Random(0))


def pieces_of(src: Endpoint, dst: Endpoint, identification: int = 7, text: bytes = TEXT) -> list[Packet]:
    """A datagram in fragments, as they travel on Ethernet."""
    datagram = udp(src, dst, payload=text)
    datagram.uid = identification
    return fragments_of(datagram, 1500)


def ends(verdict: Verdict) -> tuple[str, str] | None:
    """From where to where a packet goes on, if it does."""
    return (str(verdict.packet.src), str(verdict.packet.dst)) if verdict.packet else None


def put_together(pieces: Iterable[Packet]) -> list[Packet]:
    """What a host makes of these fragments."""
    clock = Scheduler()
    wholes: list[Packet] = []
    reassembly = Reassembly(clock, Trace(clock), "host")
    for piece in pieces:
        reassembly.receive(piece, wholes.append)
    return wholes


def run_out(world: SimWorld) -> None:
    while world.clock.step():
        pass


# -- Cutting: RFC 791 section 3.2 --------------------------------------------------------------------------------------


def test_a_packet_knows_its_size_on_the_wire() -> None:
    assert udp(ALICE, S1, payload=bytes(100)).size == 20 + 8 + 100
    assert tcp(ALICE, S1, ACK, payload=bytes(100)).size == 20 + 20 + 100
    assert tcp(ALICE, S1, SYN, mss=1460, wscale=7).size == 20 + 28
    assert Packet("icmp", ALICE, S1, bytes(56), icmp=(8, 0)).size == 20 + 8 + 56
    large = udp(ALICE, S1, payload=bytes(5000))
    assert Packet("icmp", S1, ALICE, icmp=(3, 3), quoted=large).size == 20 + 8 + 28, "errors never need to be cut"


def test_only_the_first_fragment_has_ports() -> None:
    first, second, third = pieces_of(ALICE, S1)
    assert [piece.fragment for piece in (first, second, third)] == [
        Fragment(7, 0, True),
        Fragment(7, 1480, True),
        Fragment(7, 2960, False),
    ]
    assert (first.src, first.dst) == (ALICE, S1)
    assert {(piece.src, piece.dst) for piece in (second, third)} == {(at("192.168.1.2:0"), at("203.0.113.10:0"))}
    assert first.payload + second.payload + third.payload == TEXT
    assert (first.uid, second.cause, third.cause) == (7, 7, 7)
    assert [piece.ttl for piece in fragments_of(udp(ALICE, S1, payload=TEXT, ttl=9), 1500)] == [9, 9, 9]
    assert (first.is_later_fragment, second.is_later_fragment) == (False, True)


def test_a_fragment_can_be_cut_again() -> None:
    pieces = [again for piece in pieces_of(ALICE, S1) for again in fragments_of(piece, 576)]
    assert all(piece.size <= 576 and piece.fragment.identification == 7 for piece in pieces)
    assert [piece.fragment.more for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert [whole.payload for whole in put_together(pieces)] == [TEXT]


@given(st.integers(0, 3000), st.integers(68, 1500), st.integers(68, 1500), st.sampled_from(["udp", "tcp", "icmp"]))
def test_fragments_fit_and_say_all_of_it_once(length: int, mtu: int, next_mtu: int, protocol: str) -> None:
    packet = Packet(protocol, ALICE, S1, TEXT[:length], icmp=(8, 0) if protocol == "icmp" else None)
    if packet.size <= mtu:
        return
    pieces = [again for piece in fragments_of(packet, mtu) for again in _cut_if_needed(piece, next_mtu)]
    assert all(piece.size <= min(mtu, next_mtu) for piece in pieces)
    assert all(start % 8 == 0 for start, _ in map(span, pieces)), "the header counts in units of 8 bytes"
    assert [end for _, end in map(span, pieces)][:-1] == [start for start, _ in map(span, pieces)][1:]
    assert b"".join(piece.payload for piece in pieces) == packet.payload


def _cut_if_needed(piece: Packet, mtu: int) -> list[Packet]:
    return fragments_of(piece, mtu) if piece.size > mtu else [piece]


@pytest.mark.parametrize("mtu", [0, 67, 65_536])
def test_a_link_refuses_a_senseless_mtu(mtu: int) -> None:
    with pytest.raises(ValueError, match=r"link's mtu is in bytes, from 68 .* to 65535"):
        Link(mtu=mtu)


# -- The NAT: RFC 4787 REQ-14 ------------------------------------------------------------------------------------------


def test_in_order_each_fragment_follows_the_first() -> None:
    engine = nat(ports=natsim.sequential)
    verdicts = [engine.outbound(piece, 0) for piece in pieces_of(ALICE, S1)]
    external = engine.table(0)[0].external
    assert ends(verdicts[0]) == (str(external), str(S1))
    assert [ends(verdict) for verdict in verdicts[1:]] == [(f"{OUTSIDE}:0", "203.0.113.10:0")] * 2
    assert [verdict.packet.fragment for verdict in verdicts] == [piece.fragment for piece in pieces_of(ALICE, S1)]
    assert all(verdict.row is engine.table(0)[0] and not verdict.released for verdict in verdicts)
    assert "REQ-14" in str(verdicts[1])


def test_early_fragments_wait_for_the_first_one() -> None:
    engine = nat()
    first, second, third = pieces_of(ALICE, S1)
    for early in (third, second):
        verdict = engine.outbound(early, 0)
        assert (verdict.rule, verdict.packet, verdict.until) == (Rule.FRAGMENT_HELD, None, s(30))
    assert not engine.table(0), "a fragment without ports makes no row"
    verdict = engine.outbound(first, s(1))
    assert ends(verdict) == (f"{OUTSIDE}:5000", str(S1))
    assert [held for held, _ in verdict.released] == [third, second], "in the order in which they came"
    assert {ends(its) for _, its in verdict.released} == {(f"{OUTSIDE}:0", "203.0.113.10:0")}
    assert not engine.outbound(first, s(1)).released, "they go on once"
    assert ends(engine.outbound(second, s(2))) == (f"{OUTSIDE}:0", "203.0.113.10:0")


def test_datagrams_are_told_apart_by_addresses_protocol_and_identification() -> None:
    engine = nat()
    engine.outbound(pieces_of(ALICE, S1)[0], 0)
    other_protocol = fragments_of(tcp(ALICE, S1, ACK, payload=TEXT), 1500)[1]
    other_protocol.fragment = pieces_of(ALICE, S1)[1].fragment
    for stranger in (
        pieces_of(BOB, S1)[1],
        pieces_of(ALICE, S2)[1],
        pieces_of(ALICE, S1, identification=8)[1],
        other_protocol,
    ):
        assert engine.outbound(stranger, 0).rule is Rule.FRAGMENT_HELD
    assert engine.outbound(pieces_of(ALICE, S1)[1], 0).rule is Rule.TRANSLATED


def test_inbound_fragments_go_where_the_first_one_may_go() -> None:
    engine = nat()
    external = engine.outbound(udp(ALICE, S1), 0).packet.src
    first, second, third = pieces_of(S1, external)
    assert engine.inbound(third, 0).rule is Rule.FRAGMENT_HELD
    verdict = engine.inbound(first, 0)
    assert ends(verdict) == (str(S1), str(ALICE))
    assert [ends(its) for _, its in verdict.released] == [("203.0.113.10:0", "192.168.1.2:0")]
    assert ends(engine.inbound(second, 0)) == ("203.0.113.10:0", "192.168.1.2:0")


def test_what_the_filter_says_to_the_first_fragment_holds_for_all() -> None:
    engine = nat(filtering=address_dependent)
    external = engine.outbound(udp(ALICE, S1), 0).packet.src
    first, second, third = pieces_of(S2, external)
    assert engine.inbound(third, 0).rule is Rule.FRAGMENT_HELD
    verdict = engine.inbound(first, 0)
    ((held, its),) = verdict.released
    after = engine.inbound(second, 0)
    assert held is third
    for refusal in (verdict, its, after):
        assert (refusal.rule, refusal.packet, refusal.until) == (Rule.FILTERED, None, None)
        assert "no session of 192.168.1.2:5000 with 203.0.113.11:80" in str(refusal)
    engine.outbound(udp(ALICE, S2), 0)
    assert ends(engine.inbound(first, 0)) == (str(S2), str(ALICE)), "now it may come in, and so may the others"
    assert ends(engine.inbound(second, 0)) == ("203.0.113.11:0", "192.168.1.2:0")
    engine.rows.clear()
    assert engine.inbound(first, 0).packet is None
    assert engine.inbound(second, 0).rule is Rule.NO_MAPPING, "the newest word on the first fragment counts"


@pytest.mark.parametrize(("hairpin", "source"), [("external", OUTSIDE), ("internal", "192.168.1.3")])
def test_fragments_turn_round_as_whole_packets_do(hairpin: str, source: str) -> None:
    engine = nat(hairpin=hairpin, filtering=endpoint_independent)
    external = engine.outbound(udp(ALICE, S1), 0).packet.src
    first, second, third = pieces_of(BOB, external)
    assert engine.outbound(third, 0).rule is Rule.FRAGMENT_HELD
    verdict = engine.outbound(first, 0)
    assert (verdict.rule, ends(verdict)) == (Rule.HAIRPINNED, (f"{source}:6000", str(ALICE)))
    assert verdict.packet.fragment == first.fragment
    for its in (verdict.released[0][1], engine.outbound(second, 0)):
        assert (its.rule, ends(its)) == (Rule.HAIRPINNED, (f"{source}:0", "192.168.1.2:0"))


def test_a_firewall_leaves_the_addresses_of_fragments_alone() -> None:
    engine = nat(translate=False)
    assert [ends(engine.outbound(piece, 0)) for piece in pieces_of(ALICE, S1)][1:] == [
        ("192.168.1.2:0", "203.0.113.10:0")
    ] * 2


def test_an_alg_cannot_tear_a_datagram_apart() -> None:
    text = b"I am 192.168.1.2." + TEXT
    wholes = put_together(_through(nat(alg=True), pieces_of(ALICE, S1, text=text)))
    assert [whole.payload for whole in wholes] == [text]


def _through(engine: NatEngine, pieces: Iterable[Packet], now: int = 0) -> list[Packet]:
    """What leaves the NAT for these fragments from inside, in order."""
    out = []
    for piece in pieces:
        verdict = engine.outbound(piece, now)
        out += [each.packet for each in (verdict, *(its for _, its in verdict.released)) if each.packet]
    return out


def test_a_nat_forgets_fragments_in_time_and_with_its_power() -> None:
    engine = nat()
    first, second, third = pieces_of(ALICE, S1)
    engine.outbound(first, 0)
    assert engine.outbound(second, s(29.9)).rule is Rule.TRANSLATED
    assert engine.outbound(second, s(30)).rule is Rule.FRAGMENT_HELD
    assert engine.outbound(third, s(59)).until == s(60), "what comes later does not make the earlier wait longer"
    assert not engine.outbound(first, s(60)).released


def test_a_nat_without_power_forgets_all_fragments() -> None:
    engine = nat()
    passing, early, refused = (pieces_of(ALICE, S1, 1), pieces_of(ALICE, S1, 2), pieces_of(S2, at(f"{OUTSIDE}:5000")))
    engine.outbound(passing[0], 0)
    engine.outbound(early[1], 0)
    assert engine.inbound(refused[0], 0).rule is engine.inbound(refused[1], 0).rule is Rule.FILTERED
    engine.reboot()
    assert engine.outbound(passing[1], 0).rule is engine.inbound(refused[1], 0).rule is Rule.FRAGMENT_HELD
    assert not engine.outbound(early[0], 0).released


# -- Floods: RFC 4787 REQ-14a ------------------------------------------------------------------------------------------


def test_a_flood_of_fragments_without_a_first_one_harms_nobody_who_sends_in_order() -> None:
    engine = nat(filtering=endpoint_independent)
    external = engine.outbound(udp(ALICE, S1), 0).packet.src
    first, second, _ = pieces_of(S1, external)
    assert engine.inbound(first, 0).packet is not None
    for number in range(5000):
        engine.inbound(pieces_of(S2, external, identification=number, text=TEXT[:1600])[1], 0)
    assert engine.inbound(second, 0).packet is not None
    assert engine.inbound(udp(S1, external), 0).packet is not None
    held = sum(len(waiting.held) for waiting in engine._fragments_in._waiting._values.values())
    assert held == bounds.WAITING, "and the newest are kept, in case that their first ones come"
    assert engine.inbound(pieces_of(S2, external, identification=4999)[0], 0).released
    assert not engine.inbound(pieces_of(S2, external, identification=10)[0], 0).released


def test_a_flood_of_first_fragments_that_may_not_enter_harms_nobody() -> None:
    engine = nat()
    external = engine.outbound(udp(ALICE, S1), 0).packet.src
    first, second, _ = pieces_of(S1, external)
    engine.inbound(first, 0)
    early = pieces_of(S1, external, identification=8)
    engine.inbound(early[1], 0)
    for number in range(5000):
        assert engine.inbound(pieces_of(S2, external, identification=number, text=TEXT[:1600])[0], 0).packet is None
    assert engine.inbound(second, 0).packet is not None
    assert engine.inbound(early[0], 0).released, "nor does it push out what waits"
    assert len(engine._fragments_in._refused._values) == bounds.REFUSED


def test_the_newest_datagrams_pass_when_there_are_too_many() -> None:
    engine = nat()

    def firsts(*numbers: int) -> None:
        for number in numbers:
            engine.outbound(pieces_of(ALICE, S1, identification=number)[0], 0)

    def passing(*numbers: int) -> list[bool]:
        return [engine.outbound(pieces_of(ALICE, S1, number)[1], 0).packet is not None for number in numbers]

    firsts(*range(bounds.PASSING), 1)
    assert passing(0, 1, 2) == [True, True, True], "one that comes again takes no room"
    firsts(bounds.PASSING, bounds.PASSING + 1)
    assert passing(0, 1, 2, 3) == [False, True, False, True], "and is among the newest"


def test_one_datagram_cannot_have_any_number_of_fragments_held() -> None:
    engine = nat()
    pieces = fragments_of(udp(ALICE, S1, payload=bytes(60_000)), 576)
    verdicts = [engine.outbound(piece, 0) for piece in pieces[1:]]
    rules = [verdict.rule for verdict in verdicts]
    assert rules == [Rule.FRAGMENT_HELD] * bounds.HELD_OF_EACH + [Rule.LIMIT] * (len(pieces) - 1 - bounds.HELD_OF_EACH)
    assert len(engine.outbound(pieces[0], 0).released) == bounds.HELD_OF_EACH


def test_a_flood_from_outside_does_not_touch_what_goes_out() -> None:
    engine = nat()
    first, second, _ = pieces_of(ALICE, S1)
    engine.outbound(second, 0)
    for number in range(5000):
        engine.inbound(pieces_of(S2, Endpoint(OUTSIDE, 0), identification=number, text=TEXT[:1600])[1], 0)
    assert engine.outbound(first, 0).released


# -- Putting together: RFC 791 section 3.2, RFC 1122 section 3.3.2 -----------------------------------------------------


@given(st.integers(68, 1500), st.integers(0, 4000), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_datagram_through_a_nat(mtu: int, length: int, order: random.Random) -> None:
    datagram = udp(ALICE, S1, payload=TEXT[:length])
    pieces = _cut_if_needed(datagram, mtu)
    order.shuffle(pieces)
    engine = nat()
    if len(pieces) > bounds.HELD_OF_EACH:
        return
    (whole,) = put_together(_through(engine, pieces)) if len(pieces) > 1 else _through(engine, pieces)
    assert (str(whole.src), whole.dst, whole.payload) == (f"{OUTSIDE}:5000", S1, TEXT[:length])
    assert (whole.fragment, whole.uid) == (None, datagram.uid)


class Reassembling:
    """A host's reassembly, its clock, and what it has put together."""

    def __init__(self) -> None:
        self.clock = Scheduler()
        self.trace = Trace(self.clock)
        self.wholes: list[Packet] = []
        self.reassembly = Reassembly(self.clock, self.trace, "host")

    def receive(self, *pieces: Packet) -> None:
        for piece in pieces:
            self.reassembly.receive(piece, self.wholes.append)

    def story(self) -> list[tuple[str, str]]:
        return [(entry.action, str(entry.reason).split(": ", 1)[1].split(",")[0]) for entry in self.trace]


def test_a_fragment_that_comes_twice_counts_once() -> None:
    host = Reassembling()
    first, second, third = pieces_of(ALICE, S1)
    host.receive(third, first, first, second)
    assert [whole.payload for whole in host.wholes] == [TEXT]
    assert [action for action, _ in host.story()] == [HELD, HELD, DROPPED, HELD]


def _part(offset: int, length: int, more: bool) -> Packet:
    piece = udp("192.168.1.2:0" if offset else ALICE, "203.0.113.10:0" if offset else S1)
    piece.fragment = Fragment(7, offset, more)
    piece.payload = bytes(length if offset else length - 8)
    return piece


@pytest.mark.parametrize(
    "parts",
    [
        [(0, 800, True), (400, 800, True)],
        [(400, 800, True), (0, 800, True)],
        [(0, 800, True), (8, 80, True)],
        [(8, 80, False), (800, 80, True)],
        [(800, 80, True), (8, 80, False)],
        [(0, 800, True), (800, 0, False)],
        [(0, 800, True), (65_528, 8, False)],
    ],
)
def test_fragments_that_contradict_each_other_are_thrown_away(parts: list[tuple[int, int, bool]]) -> None:
    host = Reassembling()
    host.receive(*(_part(*part) for part in parts))
    assert [action for action, _ in host.story()] == [HELD, DROPPED, DROPPED]
    host.receive(*pieces_of(ALICE, S1))
    assert [whole.payload for whole in host.wholes] == [TEXT], "and nothing of them is left"


def test_the_last_fragments_must_come_within_thirty_seconds() -> None:
    host = Reassembling()
    first, second, third = pieces_of(ALICE, S1)
    host.receive(first, third)
    while host.clock.step():
        pass
    assert host.clock.now == s(30)
    assert host.story()[2:] == [(DROPPED, "the other parts have not come within 30 s (RFC 1122 section 3.3.2)")] * 2
    host.receive(second)
    assert not host.wholes


def test_a_datagram_of_the_same_name_has_thirty_seconds_of_its_own() -> None:
    host = Reassembling()
    first, second, third = pieces_of(ALICE, S1)
    host.receive(first, second, third)
    for when, piece in ((20, first), (31, second), (32, third)):
        host.clock.at(s(when), host.receive, piece)
    while host.clock.step():
        pass
    assert [whole.payload for whole in host.wholes] == [TEXT, TEXT]


def test_incomplete_datagrams_are_bounded_in_number() -> None:
    host = Reassembling()
    for number in range(DATAGRAMS + 1):
        host.receive(pieces_of(ALICE, S1, identification=number)[0])
    assert [action for action, _ in host.story()].count(DROPPED) == 1
    for number in (1, 0):
        host.receive(*pieces_of(ALICE, S1, identification=number)[1:])
    assert [whole.uid for whole in host.wholes] == [1]


# -- Whole stories -----------------------------------------------------------------------------------------------------


def with_mtu(net: natsim.Internet, mtu: int, *names: str) -> natsim.Internet:
    """The same internet, but that the links of these nodes take only so many bytes."""
    for name in names:
        node = net.hosts.get(name) or net.nats[name]
        node.link = Link(node.link.delay, node.link.loss, mtu)
    return net


async def echo(net: natsim.Internet) -> tuple[int, list[bytes]]:
    """alice sends 4,000 bytes to the server, which echoes them: how much the server has heard, and what she has."""

    async def ask() -> list[bytes]:
        mine = await datagrams()
        mine.transport.sendto(TEXT, (net.server.address, 9))
        async with asyncio.timeout(2):
            heard = [(await mine.received.get())[0]]
        await asyncio.sleep(0.05)
        mine.transport.close()
        return heard + [mine.received.get_nowait()[0] for _ in range(mine.received.qsize())]

    server = await net.server.start(datagrams(("0.0.0.0", 9), echo=True))
    await asyncio.sleep(0.05)
    heard = await net.alice.start(ask())
    server.transport.close()
    await asyncio.sleep(0)
    return server.received.qsize(), heard


def echo_of_4000_bytes(net: natsim.Internet) -> natsim.Run:
    return net.run(lambda: echo(net))


KINDS = ["eim-apdf", "apdm-apdf", "linux", "cgnat", "firewall"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mtu", [1500, 576, 68])
def test_a_large_datagram_goes_through_nats_whole_and_once(kind: str, mtu: int) -> None:
    net = natsim.two_nats(kind, "none")
    small = [name for name in ("nat_a", "carrier_a") if name in net.nats]
    assert echo_of_4000_bytes(with_mtu(net, mtu, *small)).result == (1, [TEXT])


def test_a_large_datagram_between_two_nats_arrives_whole_and_once() -> None:
    net = with_mtu(natsim.two_nats("eim-eif", "linux"), 1500, "nat_a", "nat_b", "alice")
    net.nat_b.behavior = NatBehavior()  # and the other one puts no datagrams together either

    async def story() -> Any:
        alice = await net.alice.start(datagrams(("0.0.0.0", 5000)))
        bob = await net.bob.start(datagrams(("0.0.0.0", 6000)))
        bob.transport.sendto(b"open", (net.nat_a.address, 5000))
        alice.transport.sendto(TEXT, (net.nat_b.address, 6000))
        alice.transport.sendto(TEXT[:2000], (net.nat_b.address, 6000))
        texts = [(await bob.received.get())[0] for _ in range(2)]
        return texts, bob.received.qsize()

    run = net.run(story)
    assert run.result == ([TEXT, TEXT[:2000]], 0)
    assert run.trace is not None
    whole = next(entry.packet for entry in run.trace if len(entry.packet.payload) == 4000)
    # One number from end to end: that of the first fragment.
    assert [(e.node, e.action) for e in run.trace.of(whole)] == [
        ("alice", SENT),
        ("alice", FRAGMENTED),
        ("nat_a", TRANSLATED),
        ("nat_b", TRANSLATED),
        ("bob", HELD),
        ("bob", DELIVERED),
    ]
    cut = run.trace.of(whole)[1]
    assert ("REQ-13a" in str(cut.reason), cut.before) == (True, whole)
    assert run.ladder() is not None


def test_a_linux_router_puts_datagrams_together_before_it_looks_at_them() -> None:
    run = echo_of_4000_bytes(with_mtu(natsim.two_nats("linux", "none"), 1500, "nat_a", "alice"))
    assert run.result == (1, [TEXT])
    assert run.trace is not None
    actions = [entry.action for entry in run.trace if entry.node == "nat_a"]
    assert actions == [*[HELD] * 3, TRANSLATED, *[FRAGMENTED] * 3, *[HELD] * 3, TRANSLATED, *[FRAGMENTED] * 3]


@pytest.mark.parametrize("kind", ["eim-apdf", "linux"])
@pytest.mark.parametrize("inwards", [False, True])
def test_reordered_fragments_arrive_whole(kind: str, inwards: bool) -> None:
    net = natsim.two_nats(kind, "none")
    bob = Endpoint(net.bob.address, 6000)
    for order in itertools.permutations(range(3)):
        with SimWorld(net) as world:
            world.hosts["alice"].send(udp(ALICE, bob))
            run_out(world)
            box, outside = world.boxes["nat_a"], Endpoint(net.nat_a.address, 5000)
            datagram = udp(bob, outside, payload=TEXT) if inwards else udp(ALICE, bob, payload=TEXT)
            world.trace.sent("by hand", datagram)
            pieces = fragments_of(datagram, 1500)
            for index in order:
                (box.receive_outside if inwards else box.receive_inside)(pieces[index])
            run_out(world)
        end = "alice" if inwards else "bob"
        whole = [e.action for e in world.trace if e.packet.payload == TEXT and e.node == end]
        assert whole == [ANSWERED], f"{order}: no socket is there, but the datagram is"
        hops = {datagram.ttl - e.packet.ttl for e in world.trace if e.node == end and e.action == HELD}
        assert hops == ({1 if inwards else 2} if kind == "eim-apdf" else set()), "held or not, each router is a hop"


def test_a_held_fragment_is_in_the_trace_and_runs_out_of_hops_like_others() -> None:
    net = natsim.two_nats("eim-apdf", "none")
    bob, outside = Endpoint(net.bob.address, 6000), Endpoint(net.nat_a.address, 5000)
    with SimWorld(net) as world:
        world.hosts["alice"].send(udp(ALICE, bob))
        run_out(world)
        first, second, third = pieces_of(bob, outside)
        for number, piece in enumerate((second, third, first), start=100):
            piece.uid = number
        third.ttl = 1
        for piece in (second, third, first):
            world.boxes["nat_a"].receive_outside(piece)
        here = [(e.packet.uid, e.action) for e in world.trace if e.node == "nat_a" and e.packet.uid >= 100]
    assert here == [(100, HELD), (101, HELD), (102, TRANSLATED), (100, TRANSLATED), (101, DROPPED)]
    translated = [e for e in world.trace if e.packet.uid == 100][-1]
    assert (translated.before, translated.packet.dst.address) == (second, "192.168.1.2")


# -- Don't fragment: RFC 4787 REQ-13, RFC 1191 -------------------------------------------------------------------------


def story_of(net: natsim.Internet, sender: str, packet: Packet) -> SimWorld:
    with SimWorld(net) as world:
        world.hosts[sender].send(packet)
        run_out(world)
        return world


@pytest.mark.parametrize(
    ("kind", "small", "ends_at", "speaker"),
    [
        ("eim-apdf", "nat_a", "nat_a", "192.168.1.1"),
        ("linux", "nat_a", "nat_a", "192.168.1.1"),
        ("eim-apdf", "bob", "internet", "203.0.113.1"),
        ("linux", "bob", "internet", "203.0.113.1"),
    ],
)
def test_df_gets_the_answer_fragmentation_needed(kind: str, small: str, ends_at: str, speaker: str) -> None:
    net = with_mtu(natsim.two_nats(kind, "none"), 1000, small)
    packet = udp(ALICE, f"{net.bob.address}:6000", payload=bytes(1000), df=True)
    world = story_of(net, "alice", packet)
    end = next(entry for entry in world.trace.of(packet) if entry.action == ANSWERED)
    assert (end.node, "REQ-13" in str(end.reason)) == (ends_at, True)
    (error,) = [e.packet for e in world.trace if (e.node, e.action) == ("alice", DELIVERED)]
    assert (error.icmp, error.src.address, error.cause) == ((3, 4), speaker, packet.uid)
    assert (error.quoted.src, error.quoted.dst) == (packet.src, packet.dst), "the quotation is as alice sent it"
    fitting = udp(ALICE, f"{net.bob.address}:6000", payload=bytes(1000 - 28), df=True)
    assert "bob" in {entry.node for entry in story_of(net, "alice", fitting).trace}


def test_df_counts_on_the_way_in_and_between_neighbours_too() -> None:
    net = with_mtu(natsim.two_nats("eim-apdf", "none"), 1000, "alice")
    bob = f"{net.bob.address}:6000"
    with SimWorld(net) as world:
        world.hosts["alice"].send(udp(ALICE, bob))
        run_out(world)
        packet = udp(bob, f"{OUTSIDE}:5000", payload=bytes(1000), df=True)
        world.hosts["bob"].send(packet)
        run_out(world)
    (error,) = [e.packet for e in world.trace if e.node == "bob" and e.packet.cause == packet.uid]
    assert (error.icmp, error.src.address, str(error.quoted.dst)) == ((3, 4), OUTSIDE, f"{OUTSIDE}:5000")

    net = with_mtu(natsim.same_nat("eim-apdf"), 1000, "bob")
    packet = udp(ALICE, "192.168.1.3:6000", payload=bytes(1000), df=True)
    (error,) = [e.packet for e in story_of(net, "alice", packet).trace if e.action == DELIVERED]
    assert (error.icmp, error.src.address) == ((3, 4), "192.168.1.1")
    packet = udp(ALICE, "192.168.1.3:6000", payload=bytes(1000))
    assert ("bob", ANSWERED) in [(e.node, e.action) for e in story_of(net, "alice", packet).trace.of(packet)]


def test_nobody_complains_about_a_later_fragment() -> None:
    net = natsim.two_nats("eim-apdf", "none")
    for dst, ttl in (("203.0.113.99", 64), ("203.0.113.11", 2), ("192.168.1.99", 64), ("192.168.1.1", 64)):
        for packet in (udp, tcp):
            pieces = fragments_of(packet(ALICE, f"{dst}:80", payload=TEXT, ttl=ttl), 1500)
            with SimWorld(net) as world:
                for piece in pieces:
                    world.hosts["alice"].send(piece)
                run_out(world)
            causes = {e.packet.cause for e in world.trace if e.action == SENT and e.node != "alice"}
            assert causes == {pieces[0].uid}, "the first one gets the answer for all"


def test_a_host_says_so_when_its_own_link_is_too_small() -> None:
    net = with_mtu(natsim.two_nats("none", "none"), 1000, "alice")
    with SimWorld(net) as world:
        packet = udp(f"{net.alice.address}:1", S1, payload=bytes(1000), df=True)
        with pytest.raises(OSError) as caught:  # noqa: PT011 (its number is the point)
            world.hosts["alice"].send(packet)
    assert caught.value.errno == errno.EMSGSIZE
    assert [entry.action for entry in world.trace] == [SENT, DROPPED]


def test_a_connected_socket_hears_that_its_datagram_was_too_large() -> None:
    net = with_mtu(natsim.two_nats("eim-apdf", "none"), 1000, "nat_a")

    async def ask() -> Any:
        mine = await datagrams(("192.168.1.2", 5000), (net.server.address, 9))
        world: Any = net.world
        world.hosts["alice"].send(udp(ALICE, f"{net.server.address}:9", payload=bytes(1000), df=True))
        return (await mine.errors.get()).errno  # type: ignore[attr-defined]

    async def story() -> Any:
        return await net.alice.start(ask())

    assert net.run(story).result == errno.EMSGSIZE


def test_the_fingerprint_covers_fragments_and_df() -> None:
    def digest(**fields: Any) -> str:
        trace = Trace(Scheduler())
        trace.sent("alice", udp(ALICE, S1, **fields))
        return trace.digest()

    first, other = Fragment(1, 0, True), Fragment(2, 0, True)
    cases: list[dict[str, Any]] = [{}, {"fragment": first}, {"fragment": other}]
    assert len({digest(df=df, **case) for df in (False, True) for case in cases}) == 6


# -- TCP ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("small", "cut"), [("alice", False), ("nat_a", True), ("server", False)])
def test_tcp_goes_over_a_small_link_whole(small: str, cut: bool) -> None:
    """The ends choose segments that fit their own links; for those in the middle, routers cut."""
    net = with_mtu(natsim.two_nats("eim-apdf", "none"), 1000, small)

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()
        await writer.wait_closed()

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(net.server.address, 80)
        writer.write(TEXT * 10)
        writer.write_eof()
        heard = await reader.read()
        writer.close()
        await writer.wait_closed()
        return heard

    async def story() -> bytes:
        await net.server.start(asyncio.start_server(sink, "0.0.0.0", 80))
        return await net.alice.start(ask())

    run = net.run(story)
    assert run.result == TEXT * 10
    assert run.trace is not None
    assert any(entry.action == FRAGMENTED for entry in run.trace) == cut
    largest = {e.node: e.packet.size for e in sorted(run.trace, key=lambda e: e.packet.size) if e.action == SENT}
    assert set(largest.values()) == {1500 if cut else 1000}


# -- The kernel --------------------------------------------------------------------------------------------------------


@pytest.mark.kernel
@pytest.mark.parametrize(("delay", "link_header"), [(0, 14), (4, 0)], ids=["veth", "TUN"])
@pytest.mark.parametrize("mtu", [1500, 600])
def test_the_kernel_cuts_as_the_simulator_does(mtu: int, delay: float, link_header: int) -> None:
    if problem := available():
        pytest.skip(problem)
    net = with_mtu(natsim.two_nats("linux", "none", delay=delay), mtu, "nat_a")
    trace = echo_of_4000_bytes(net).trace
    assert trace is not None
    sizes = [e.packet.size for e in trace if e.action == FRAGMENTED and e.packet.src.address == net.nat_a.address]
    sent = []

    async def echo_and_count() -> Any:
        result = await echo(net)
        world: Any = net.world
        sent.append(world.traffic("nat_a")[1])
        return result

    assert net.run(echo_and_count, "kernel").result == (1, [TEXT])
    assert sent == [sum(sizes) + len(sizes) * link_header]
