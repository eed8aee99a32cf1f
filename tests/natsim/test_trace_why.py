"""Asking a trace: which entries fit, and why a packet, or a pair of hosts, ended as it did."""

from __future__ import annotations

import asyncio

import pytest
from sim_tools import datagrams, s, udp
from trace_stories import STORIES, run_of

import natsim
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import ICMP, TCP, UDP, Endpoint
from natsim.scheduler import Scheduler
from natsim.trace import ANSWERED, DELIVERED, DROPPED, HELD, SENT, TRANSLATED, Entry, Trace
from natsim.view.ladder import NoTrace


def label_of(entry: Entry) -> str:
    """The rule that decided, as its sentence begins."""
    reason = entry.reason
    return reason.label.upper() if isinstance(reason, Verdict) else str(reason).partition(":")[0]


# -- Every ending has its reason --------------------------------------------------------------------------------------


@pytest.mark.parametrize("story", STORIES)
def test_every_drop_can_say_why_with_its_addresses_rule_and_row(story: str) -> None:
    run = run_of(story)
    assert run.trace is not None
    for entry in run.trace.drops():
        why = run.why(entry)
        assert why == run.why(entry.packet) == run.trace.why(entry.packet.uid)
        first = run.trace.of(entry.packet)[0].packet
        assert why.startswith(f"#{entry.packet.uid} is {first.protocol} ")
        for packet in (first, entry.packet):
            assert f"{packet.src.address}" in why
            assert f"{packet.dst.address}" in why
            assert packet.quoted is not None or f"{packet.src} > {packet.dst}" in why
        assert label_of(entry)
        assert label_of(entry) in why
        assert f"{entry.node} " in why
        if isinstance(entry.reason, Verdict):
            row = entry.reason.row
            assert (str(row) if row is not None else "No row of its table") in why


def test_the_stories_have_every_kind_of_ending() -> None:
    """So that the test above says something."""
    seen = {label_of(entry) for story in STORIES for entry in run_of(story).trace.drops()}
    assert seen >= {
        "FILTERED", "NO MAPPING", "NO PORT LEFT", "NO HAIRPINNING", "POLICY", "PORT CLOSED", "NO ROUTE", "LOST", "CUT",
        "QUEUE FULL", "REASSEMBLY",
    }  # fmt: skip


# -- The words --------------------------------------------------------------------------------------------------------


def the_drop_of(story: str) -> tuple[natsim.Run, Entry]:
    run = run_of(story)
    (entry,) = run.trace.drops()
    return run, entry


def test_the_story_of_a_packet_line_by_line() -> None:
    run, entry = the_drop_of("linux")
    inside, outside, peer = "192.168.1.2:5000", "198.51.100.1:5000", "198.51.100.2:6000"
    flow = f"tcp {inside} > {peer} (replies: {peer} > {outside})"
    assert run.why(entry).splitlines() == [
        f"#13 is tcp S seq={entry.packet.seq} {inside} > {peer}.",
        "0.120000 s: alice sent it.",
        f"0.120100 s: nat_a passed it on as {outside} > {peer}; it came as {inside} > {peer}. "
        f"TRANSLATED: new flow {flow}: {inside} keeps the port.",
        f"0.139900 s: nat_b dropped it as {outside} > {peer}. FILTERED: no flow {outside} > {peer}: conntrack knows "
        "whole flows only, so it filters by address and port (RFC 4787 section 5). No row of its table was for it.",
    ]


def test_the_row_that_decided_has_its_maker() -> None:
    run = run_of("strangers")
    (entry,) = [entry for entry in run.trace.drops() if entry.node == "nat_b" and label_of(entry) == "FILTERED"]
    why = run.why(entry)
    made = "That row was made by #1 at 0.000100 s."
    assert "Its row is udp 192.168.2.2:6000 <-> 198.51.100.2:6000. " + made in why
    (first, *_) = run.trace.of(1)
    assert (first.node, first.packet.src) == ("bob", Endpoint("192.168.2.2", 6000))


def test_a_row_that_no_packet_has_made_has_no_maker() -> None:
    """It was asked for: a lease."""
    trace, row = Trace(Scheduler()), "udp 192.168.1.2:5000 <-> 198.51.100.1:5000"
    for _ in range(2):
        packet = udp("203.0.113.10:1", "198.51.100.1:5000")
        trace.sent("server", packet)
        trace.add("nat_a", DROPPED, packet, Verdict(Rule.POLICY, "not today", row=row))
    assert trace.why(packet).endswith(f"POLICY: not today. Its row is {row}.")


def test_what_caused_a_packet_and_what_it_caused() -> None:
    run = run_of("strangers")
    closed = next(entry for entry in run.trace.drops() if entry.node == "server")
    reply = next(entry.packet for entry in run.trace if entry.packet.cause == closed.packet.uid)
    assert reply.protocol == ICMP
    assert f"It caused #{reply.uid} (icmp 3/3 203.0.113.10:0 > 198.51.100.1:0), which server sent." in run.why(closed)
    why = run.why(reply)
    assert f"It answers #{closed.packet.uid} (udp 192.168.1.2:5000 > 203.0.113.10:10 5 bytes) of alice." in why
    about = "about 192.168.1.2:5000 > 203.0.113.10:10"
    assert f"nat_a passed it on as 203.0.113.10 > 192.168.1.2, {about}; it came as 203.0.113.10 > 198.51.100.1" in why
    assert why.endswith(f"alice took it as 203.0.113.10 > 192.168.1.2, {about}.")


def test_what_befell_a_node_before_it_dropped_a_packet() -> None:
    run = run_of("faults")
    forgotten = run.trace.where(node="nat_a", action=DROPPED)[0]
    assert run.why(forgotten).splitlines()[-1].startswith("Before that, at 0.500000 s: FLUSH: nat_a forgets")
    clock = Scheduler()
    trace = Trace(clock)
    packet = udp("1.1.1.1:1", "2.2.2.2:2")
    trace.happened("nat_a", "FLUSH: once")
    trace.happened("nat_a", "FLUSH: again")
    trace.happened("nat_b", "FLUSH: elsewhere")
    trace.sent("nat_a", packet)
    trace.add("nat_a", DROPPED, packet, "NO LINK: nowhere to go")
    clock.now += s(1)
    trace.happened("nat_a", "FLUSH: later")
    assert trace.why(packet).splitlines()[-1] == "Before that, at 0.000000 s: FLUSH: again."


def test_pieces_of_a_packet_name_each_other() -> None:
    run = run_of("fragments")
    pieces = [entry.packet for entry in run.trace.where(node="alice", action="fragmented")][:4]
    assert [piece.uid for piece in pieces] == [1, 2, 3, 4]
    assert all(f"Another piece of it is #{piece.uid} (udp fragment 1@" in run.why(1) for piece in pieces[1:])
    assert "It is a part of #1 (udp 192.168.1.2:" in run.why(2)
    assert "the whole has the number of the first part" in run.why(2)
    assert "the link nat_a>internet made two of it as 198.51.100.1:" in run.why(1)


def test_packets_that_reach_nobody_and_do_not_end_say_so() -> None:
    run = run_of("holding")
    (held,) = run.trace.where(action=HELD)
    assert "STRAY SYN HELD" in run.why(held)
    assert run.why(held).endswith("It went no further.")
    clock = Scheduler()
    trace = Trace(clock)
    flying = udp("1.1.1.1:1", "2.2.2.2:2")
    trace.sent("alice", flying)
    assert trace.why(flying).endswith("Nobody has seen it since: it was on its way when the run ended.")


def test_a_firewall_passes_packets_on_as_they_came() -> None:
    run = run_of("firewall")
    assert "nat_a passed it on as it came, 192.0.2.18:5000 > 203.0.113.10:7711." in run.why(1)


def test_packets_of_another_run_are_unknown() -> None:
    run = run_of("linux")
    for unknown in (0, 9999, udp("1.1.1.1:1", "2.2.2.2:2")):
        with pytest.raises(ValueError, match=r"knows no packet #(0|9999): .* when it is sent, in its own run"):
            run.why(unknown)


# -- Pairs ------------------------------------------------------------------------------------------------------------


def test_one_pair_by_its_names_or_its_hosts() -> None:
    run = run_of("linux")
    assert run.why("alice", "bob") == run.why() == run.why(run.net.alice, run.net.bob)
    assert "went direct" in run.why("bob", "alice")


def test_of_three_peers_a_pair_is_not_told_of_the_third() -> None:
    net = natsim.two_nats("eim-apdf", "eim-apdf", seed=3)
    net.host("carol")

    async def story() -> None:
        for host in (net.carol, net.bob):
            await host.start(datagrams(("0.0.0.0", 9)))
        mine = await net.alice.start(datagrams(("0.0.0.0", 5000)))
        for port in (9, 10, 10):
            mine.transport.sendto(b"hello", (net.carol.address, port))
        await asyncio.sleep(1)
        mine.transport.sendto(b"hello", (net.nat_b.address, 9))
        await asyncio.sleep(1)

    run = net.run(story)
    assert run.why("alice", "carol").startswith("alice and carol went direct: data from alice (192.168.1.2:5000)")
    alice_and_bob = run.why("alice", "bob")
    assert alice_and_bob.startswith("alice and bob stayed relayed.\nalice sent to 198.51.100.2:9, and its packet ended")
    assert run.why("bob", "carol") == "bob and carol stayed relayed: neither has sent anything to the other's address."
    assert run.why().splitlines() == [*alice_and_bob.splitlines(), run.why("alice", "carol"), run.why("bob", "carol")]


def test_an_address_that_neighbours_share_is_nobodys_alone() -> None:
    net = natsim.same_nat("linux", seed=3)
    net.host("carol", behind=net.home)

    async def story() -> None:
        mine = await net.alice.start(datagrams(("0.0.0.0", 5000)))
        mine.transport.sendto(b"hello", (net.home.address, 9))
        await asyncio.sleep(1)

    run = net.run(story)
    for peer in ("bob", "carol"):
        assert "alice sent to 198.51.100.1:9, and its packet ended at home" in run.why("alice", peer)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("alice", "server"), "server is no peer: it relays; ask about two of alice, bob"),
        (("alise", "bob"), "no host 'alise'; did you mean alice"),
        (("alice", "alice"), "are one host"),
    ],
)
def test_a_pair_that_is_none_is_refused_in_words(pair: tuple[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run_of("linux").why(*pair)


def test_why_says_what_can_be_asked() -> None:
    with pytest.raises(TypeError, match=r"why\(a, b\) about two hosts"):
        run_of("linux").why("alice")
    with pytest.raises(TypeError, match=r"why\(packet\) about one packet"):
        run_of("linux").why(1, 2, 3)


def test_without_a_trace_it_says_why_there_is_none() -> None:
    async def story() -> None:
        return

    run = natsim.two_nats("none", "none").run(story, trace=False)
    assert "trace=False" in run.why("alice", "bob")
    assert "trace=False" in run.why(1)
    with pytest.raises(NoTrace, match=r"no diagram: .*trace=False"):
        run.mermaid()


# -- Filters ----------------------------------------------------------------------------------------------------------


@pytest.fixture(name="trace")
def a_trace() -> Trace:
    trace = run_of("strangers").trace
    assert trace is not None
    return trace


def test_entries_by_node_action_and_protocol(trace: Trace) -> None:
    assert trace.where() == list(trace)
    (stray,) = trace.where(node="nat_a", action=DROPPED)
    assert (stray.node, stray.action, label_of(stray)) == ("nat_a", DROPPED, "FILTERED")
    assert {entry.packet.protocol for entry in trace.where(protocol="icmp")} == {ICMP}
    assert len(trace.where(protocol=ICMP)) + len(trace.where(protocol=UDP)) == len(trace)
    assert trace.where(protocol=TCP) == trace.where(node="nobody") == []


def test_entries_by_time(trace: Trace) -> None:
    early, late = trace.where(until=1.0), trace.where(since=1.0)
    assert early + late == list(trace)
    assert early[-1].when < s(1) == late[0].when


def test_entries_between_two_ends_are_those_of_the_whole_way_there_and_back(trace: Trace) -> None:
    echo = trace.where(between=("192.168.1.2:5000", Endpoint("203.0.113.10", 9)))
    assert [(entry.node, entry.action) for entry in echo] == [
        ("alice", SENT), ("nat_a", TRANSLATED), ("server", DELIVERED),
        ("server", SENT), ("nat_a", TRANSLATED), ("alice", DELIVERED),
    ]  # fmt: skip
    assert trace.where(between=("203.0.113.10:9", "192.168.1.2:5000")) == echo
    assert trace.where(between=("198.51.100.1", "203.0.113.10:9")) == echo, "and by the addresses after the NAT"
    to_peer = trace.where(between=("192.168.1.2", "198.51.100.2"))
    assert [(entry.node, entry.action) for entry in to_peer] == [
        ("alice", SENT), ("nat_a", TRANSLATED), ("nat_b", DROPPED),
    ]  # fmt: skip
    assert trace.where(between=("192.168.1.2", "198.51.100.2"), node="nat_b", action=DROPPED) == to_peer[-1:]


def test_what_cannot_be_is_refused_in_words(trace: Trace) -> None:
    with pytest.raises(ValueError, match="'droped'; did you mean dropped"):
        trace.where(action="droped")
    with pytest.raises(ValueError, match="protocol of a packet cannot be 'tcpp'"):
        trace.where(protocol="tcpp")
    with pytest.raises(ValueError, match=r"'alice' is neither.*net\.alice\.address"):
        trace.where(between=("alice", "203.0.113.10"))


def test_an_entry_keeps_the_ttl_of_its_moment() -> None:
    """Routers go on counting down in the same packet."""
    run = run_of("linux")
    sent, translated, dropped = run.trace.of(13)
    assert (sent.ttl, translated.ttl, dropped.ttl) == (64, 63, 62)
    assert sent.packet.ttl == 63, "which nat_a has counted down"
    assert (dropped.action, dropped in run.trace.where(action=ANSWERED)) == (DROPPED, False)
