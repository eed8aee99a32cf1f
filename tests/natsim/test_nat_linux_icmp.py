"""ICMP through Linux: queries, which are flows with an identifier for a port, and errors."""

from __future__ import annotations

import pytest
from linux_tools import KEPT, OUTSIDE, PEER, S1, S2, A, B, linux, outside
from sim_tools import at, error_about, s, udp

from natsim import Masquerade, WanInput
from natsim.nat.verdict import Rule
from natsim.packet import ICMP, Endpoint, Packet


def echo(src: Endpoint, dst: Endpoint) -> Packet:
    """An echo request; its identifier is the port of `src`."""
    return Packet(ICMP, src, Endpoint(dst.address, 0), b"abc", icmp=(8, 0))


def echo_reply(src: Endpoint, dst: Endpoint) -> Packet:
    return Packet(ICMP, Endpoint(src.address, 0), dst, icmp=(0, 0))


def test_an_echo_has_its_identifier_for_a_port() -> None:
    nat = linux()
    sent = nat.outbound(echo(A, S1), 0)
    assert (sent.new, sent.packet.src, sent.packet.dst) == (True, KEPT, Endpoint(S1.address, 0))
    back = nat.inbound(echo_reply(S1, KEPT), s(29))
    assert (back.packet.src, back.packet.dst) == (Endpoint(S1.address, 0), A)
    assert nat.inbound(echo_reply(S1, KEPT), s(58)).passed, "each packet gives 30 seconds"
    assert nat.inbound(echo_reply(S2, KEPT), s(58)).rule is Rule.FILTERED
    assert not nat.table(s(88))


def test_a_second_host_with_the_same_identifier_gets_any_other() -> None:
    nat = linux()
    low = A._replace(port=7), B._replace(port=7)
    first, second = (nat.outbound(echo(host, S1), 0).packet.src for host in low)
    assert first.port == 7 != second.port
    assert nat.inbound(echo_reply(S1, second), 0).packet.dst == low[1]
    ids = {
        linux(seed=seed, masquerade=Masquerade.FULLY_RANDOM).outbound(echo(low[0], S1), 0).packet.src.port
        for seed in range(99)
    }
    assert max(ids) > 50_000, "identifiers have no classes"


@pytest.mark.parametrize("packet", [echo_reply(A, S1), Packet(ICMP, A, S1, icmp=(5, 0))])
def test_only_a_query_begins_a_flow(packet: Packet) -> None:
    nat = linux()
    assert nat.outbound(packet, 0).rule is Rule.INVALID
    assert not nat.table(0)


@pytest.mark.parametrize(
    ("wan_input", "kind", "answer"),
    [
        (WanInput.DROP, 8, None),
        (WanInput.REJECT, 8, (3, 3)),
        (WanInput.ACCEPT, 8, (0, 0)),
        (WanInput.ACCEPT, 13, (14, 0)),
        (WanInput.ACCEPT, 0, None),
    ],
)
def test_a_router_answers_pings_only_if_it_accepts_them(
    wan_input: WanInput, kind: int, answer: tuple[int, int] | None
) -> None:
    nat = linux(wan_input=wan_input)
    stray = Packet(ICMP, Endpoint(PEER.address, 9), Endpoint(OUTSIDE, 0), b"abc", icmp=(kind, 0))
    reply = nat.inbound(stray, 0).reply
    assert (reply and reply.icmp) == answer
    if answer in ((0, 0), (14, 0)):
        assert (reply.src, reply.dst, reply.payload) == (Endpoint(OUTSIDE, 0), Endpoint(PEER.address, 9), b"abc")
        assert [str(flow) for flow in nat.table(0)], "and conntrack has seen it"


def test_errors_are_translated_both_ways_and_change_nothing() -> None:
    nat = linux(Masquerade.FULLY_RANDOM)
    sent = nat.outbound(udp(A, S1), 0).packet
    came = nat.inbound(error_about(sent, "203.0.113.254", (11, 0)), s(29)).packet
    assert (came.dst.address, came.src.address, came.icmp) == (A.address, "203.0.113.254", (11, 0))
    assert (came.quoted.src, came.quoted.dst) == (A, S1)
    answer = nat.inbound(udp(S1, sent.src), s(1)).packet
    left = nat.outbound(error_about(answer, A.address), s(29)).packet
    assert (left.src.address, left.dst.address) == (OUTSIDE, S1.address)
    assert (left.quoted.src, left.quoted.dst) == (S1, sent.src)
    assert not nat.table(s(31)), "no error has refreshed the flow"


def test_an_error_about_a_ping_finds_who_pinged() -> None:
    nat = linux()
    sent = nat.outbound(echo(A, S1), 0).packet
    came = nat.inbound(error_about(sent, "203.0.113.254", (11, 0)), 0).packet
    assert (came.dst.address, came.quoted.src) == (A.address, A)


def test_a_firewall_leaves_the_source_of_an_error_alone() -> None:
    nat, inside = linux(Masquerade.NONE), at("192.0.2.18:5000")
    nat.outbound(udp(inside, S1), 0)
    answer = nat.inbound(udp(S1, inside), 0).packet
    assert nat.outbound(error_about(answer, "192.0.2.17", (11, 0)), 0).packet.src.address == "192.0.2.17"


def test_errors_about_unknown_flows_are_invalid() -> None:
    nat = linux(wan_input=WanInput.REJECT)
    stray = error_about(udp(KEPT, S1), "203.0.113.254")
    assert nat.inbound(stray, 0).rule is nat.outbound(stray, 0).rule is Rule.INVALID
    assert nat.inbound(stray, 0).reply is None, "nobody answers an error"
    outside(nat, A, S1)
    elsewhere = stray.rewritten(dst=Endpoint("203.0.113.2", 0))
    assert nat.inbound(elsewhere, 0).rule is Rule.INVALID, "it is not for who sent what it quotes"
    assert not nat.inbound(stray, s(30)).passed, "the flow has expired"


def test_an_error_about_what_the_router_said_itself_goes_nowhere() -> None:
    nat = linux(wan_input=WanInput.ACCEPT)
    nat.inbound(Packet(ICMP, Endpoint(PEER.address, 9), Endpoint(OUTSIDE, 0), icmp=(8, 0)), 0)
    about = Packet(ICMP, Endpoint(OUTSIDE, 0), Endpoint(PEER.address, 9), icmp=(0, 0))
    assert nat.inbound(error_about(about, "203.0.113.254"), 0).packet is None


def test_a_timestamp_is_no_echo() -> None:
    """The type is a part of the tuple: both have an identifier, and neither is taken for the other (RFC 792)."""
    nat = linux()
    inside, remote = Endpoint(A.address, 7), Endpoint(S1.address, 0)
    outside = Endpoint(KEPT.address, 7)
    for query in (8, 13):
        left = nat.outbound(Packet(ICMP, inside, remote, icmp=(query, 0)), 0).packet
        assert left is not None
        assert left.src == outside, "the identifier is free: it is that of another type"
        replies = [nat.inbound(Packet(ICMP, remote, outside, icmp=(reply, 0)), 0).passed for reply in (0, 14)]
        assert replies == [True, query == 13]
    assert len(nat.table(0)) == 2
