"""Linux as a NAT, beyond the table of facts: ports, strays, leases, UDP, ICMP and policies, packet by packet."""

from __future__ import annotations

import pytest
from linux_tools import KEPT, PEER, S1, S2, S3, A, B, enters, linux, outside
from sim_tools import at, s, tcp, udp

from natsim import Masquerade, WanInput
from natsim.nat.linux import LinuxNat
from natsim.nat.verdict import Rule
from natsim.packet import ACK, FIN, ICMP, RST, SYN, Endpoint, Packet

# -- Ports ------------------------------------------------------------------------------------------------------------


def test_one_socket_keeps_its_port_towards_three_destinations() -> None:
    nat = linux()
    assert [outside(nat, A, remote) for remote in (S1, S2, S3)] == [KEPT] * 3


def test_fully_random_takes_another_port_for_each_destination() -> None:
    nat = linux(Masquerade.FULLY_RANDOM)
    ports = {outside(nat, A, remote).port for remote in (S1, S2, S3)}
    assert len(ports | {5000}) == 4
    assert outside(nat, A, S1).port in ports, "a flow keeps what it got"
    assert outside(linux(Masquerade.FULLY_RANDOM), A, S1) == outside(linux(Masquerade.FULLY_RANDOM), A, S1)
    assert outside(linux(Masquerade.FULLY_RANDOM, seed=1), A, S1) != outside(linux(Masquerade.FULLY_RANDOM), A, S1)


def test_two_hosts_share_a_port_towards_different_destinations() -> None:
    nat = linux()
    assert outside(nat, A, S1) == outside(nat, B, S2) == KEPT
    assert (enters(nat, S1, KEPT), enters(nat, S2, KEPT)) == (A, B)


def test_towards_the_same_destination_the_second_one_moves() -> None:
    nat = linux()
    outside(nat, A, S1)
    moved = outside(nat, B, S1)
    assert moved != KEPT
    assert 1024 <= moved.port <= 65535
    assert (enters(nat, S1, KEPT), enters(nat, S1, moved)) == (A, B)
    assert outside(nat, B, S2) == moved, "and uses its new port towards others, too"


def test_a_moved_socket_keeps_its_new_port_as_long_as_one_flow_of_it_lives() -> None:
    nat = linux()
    outside(nat, A, S1)
    moved = outside(nat, B, S1)
    outside(nat, B, S2, now=20)
    assert nat.outbound(udp(B, S1), s(31)).new, "the first flow has expired"
    assert outside(nat, B, S3, now=32) == moved
    assert outside(nat, B, at("198.51.100.7:1"), now=200) == KEPT, "all have expired"


def test_when_a_class_is_full_nothing_leaves_until_a_flow_has_expired() -> None:
    nat = linux()
    hosts = [Endpoint(f"10.0.1.{number}", port) for number in range(200) for port in range(100, 110)]
    verdicts = [nat.outbound(udp(host, S1), 0) for host in hosts]
    ports = [verdict.packet.src.port for verdict in verdicts if verdict.packet]
    assert len(ports) == len(set(ports)) <= 511
    assert verdicts[-1].rule is Rule.PORTS_EXHAUSTED
    assert nat.outbound(udp(hosts[-1], S2), 0).passed, "another destination has all ports again"
    assert nat.outbound(udp(hosts[-1], S1), s(30)).passed


def test_a_privileged_port_is_replaced_by_a_privileged_one() -> None:
    nat = linux(Masquerade.FULLY_RANDOM)
    assert outside(nat, A._replace(port=53), S1).port < 512
    assert 600 <= outside(nat, A._replace(port=600), S1).port < 1024


def test_an_expired_flow_gives_its_tuple_away_for_good() -> None:
    nat = linux()
    assert outside(nat, A, S1) == KEPT
    assert outside(nat, B, S1, now=31) == KEPT
    moved = outside(nat, A, S1, now=32)
    assert moved != KEPT
    assert (enters(nat, S1, KEPT, now=33), enters(nat, S1, moved, now=33)) == (B, A)


# -- Filtering --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sender", "passes"), [(S1, True), (S3, False), (S2, False)])
def test_only_the_endpoint_that_was_spoken_to_may_enter(sender: Endpoint, passes: bool) -> None:
    nat = linux()
    outside(nat, A, S1)
    verdict = nat.inbound(udp(sender, KEPT), 0)
    assert verdict.passed is passes
    assert verdict.rule is (Rule.TRANSLATED if passes else Rule.FILTERED)


def test_there_is_no_hairpin() -> None:
    nat = linux()
    outside(nat, A, S1)
    verdict = nat.outbound(udp(B, KEPT), 0)
    assert (verdict.rule, verdict.packet, verdict.reply.icmp) == (Rule.NO_HAIRPIN, None, (3, 3))
    refused = nat.outbound(tcp(B, KEPT), 0)
    assert (refused.reply.flags, refused.reply.dst) == (RST | ACK, B)


@pytest.mark.parametrize(
    ("wan_input", "syn_gets", "datagram_gets"),
    [(WanInput.DROP, None, None), (WanInput.REJECT, RST | ACK, (3, 3)), (WanInput.ACCEPT, RST | ACK, (3, 3))],
)
def test_strays_are_answered_as_the_input_chain_says(
    wan_input: WanInput, syn_gets: int | None, datagram_gets: tuple[int, int] | None
) -> None:
    nat = linux(wan_input=wan_input)
    to_syn, to_datagram = nat.inbound(tcp(PEER, KEPT, seq=8), 0).reply, nat.inbound(udp(PEER, KEPT), 0).reply
    assert (to_syn and to_syn.flags) == syn_gets
    assert (to_datagram and to_datagram.icmp) == datagram_gets
    assert to_syn is None or (to_syn.ack, to_syn.dst) == (9, PEER)


@pytest.mark.parametrize(
    ("flags", "answer"),
    [(ACK, (RST, 9, 0)), (SYN | ACK, (RST, 9, 0)), (FIN | ACK, (RST, 9, 0)), (RST, None), (0, (RST | ACK, 0, 5))],
)
@pytest.mark.parametrize("wan_input", [WanInput.REJECT, WanInput.ACCEPT])
def test_stray_segments_get_the_rst_of_a_closed_port(
    wan_input: WanInput, flags: int, answer: tuple[int, int, int] | None
) -> None:
    nat = linux(wan_input=wan_input)
    reply = nat.inbound(tcp(PEER, KEPT, flags, seq=5, ack=9, window=100), 0).reply
    assert (reply and (reply.flags, reply.seq, reply.ack)) == answer
    assert not nat.table(0), "and nothing is left of it"
    assert nat.outbound(tcp(A, PEER), 0).packet.src == KEPT


# -- The early-packet trap --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wan_input", WanInput)
def test_an_early_datagram_takes_the_tuple_only_if_it_is_accepted(wan_input: WanInput) -> None:
    nat = linux(wan_input=wan_input)
    early = nat.inbound(udp(PEER, KEPT), 0)
    assert not early.passed
    kept = outside(nat, A, PEER, now=1) == KEPT
    assert kept is (wan_input is not WanInput.ACCEPT)
    assert (enters(nat, PEER, KEPT, now=2) == A) is kept
    if wan_input is WanInput.ACCEPT:
        assert early.rule is Rule.TAKEN_LOCALLY
        assert "now owns that tuple" in str(early)
        assert outside(nat, A, S1, now=2) != KEPT, "it now uses the moved port"
        assert outside(nat, B, PEER, now=40) == KEPT, "the trap expires too"


@pytest.mark.parametrize("wan_input", WanInput)
def test_an_early_syn_leaves_nothing_behind_whoever_answers_it(wan_input: WanInput) -> None:
    nat = linux(wan_input=wan_input)
    nat.inbound(tcp(PEER, KEPT), 0)
    assert nat.outbound(tcp(A, PEER), s(1)).packet.src == KEPT


# -- UDP timers -------------------------------------------------------------------------------------------------------


def lives_until(nat: LinuxNat, last: float) -> float:
    """After the last packet at `last`: for how many seconds the flow lives."""
    for seconds in (30, 120):
        if not nat.table(s(last + seconds)):
            assert nat.table(s(last + seconds) - 1)
            return seconds
    raise AssertionError("it lives too long")


def test_an_unanswered_datagram_keeps_a_flow_for_30_seconds_each_time() -> None:
    nat = linux()
    outside(nat, A, S1)
    assert lives_until(nat, 0) == 30
    outside(nat, A, S1, now=29)
    assert lives_until(nat, 29) == 30, "also after two seconds: nobody has answered"


def test_the_first_reply_makes_no_stream_however_late_it_comes() -> None:
    nat = linux()
    outside(nat, A, S1)
    assert enters(nat, S1, KEPT, now=5) == A
    assert lives_until(nat, 5) == 30
    assert enters(nat, S1, KEPT, now=5) == A
    assert lives_until(nat, 5) == 120


@pytest.mark.parametrize(("last", "seconds"), [(1.0, 30), (2.0, 30), (2.000_000_001, 120), (20.0, 120)])
@pytest.mark.parametrize("direction", ["out", "in"])
def test_an_answered_flow_becomes_a_stream_after_more_than_two_seconds(
    last: float, seconds: int, direction: str
) -> None:
    nat = linux()
    outside(nat, A, S1)
    assert enters(nat, S1, KEPT, now=0.04) == A
    if direction == "out":
        outside(nat, A, S1, now=last)
    else:
        assert enters(nat, S1, KEPT, now=last) == A, "the other side refreshes it too"
    assert lives_until(nat, last) == seconds


# -- Policies ---------------------------------------------------------------------------------------------------------


def test_blocked_udp_does_not_leave_and_everything_else_does() -> None:
    nat = linux(block_udp=True)
    assert nat.outbound(udp(A, S1), 0).rule is Rule.POLICY
    assert nat.outbound(tcp(A, S1), 0).passed
    assert linux(block_udp=True).outbound(Packet(ICMP, A, S1, icmp=(8, 0)), 0).passed
    assert [flow.protocol for flow in nat.table(0)] == ["tcp"]


def test_a_firewall_changes_no_address_and_lets_in_what_was_asked_for() -> None:
    nat = linux(Masquerade.NONE)
    inside = at("192.0.2.18:5000")
    sent = nat.outbound(udp(inside, S1), 0).packet
    assert (sent.src, sent.dst) == (inside, S1)
    assert nat.inbound(udp(S1, inside), 0).packet.dst == inside
    for stray in (udp(S3, inside), udp(S2, inside), tcp(S1, inside)):
        verdict = nat.inbound(stray, 0)
        assert (verdict.rule, verdict.reply) == (Rule.FILTERED, None)
    assert not nat.inbound(udp(S1, inside), s(31)).passed


def test_a_firewall_lets_a_simultaneous_open_through() -> None:
    nat, inside = linux(Masquerade.NONE), at("192.0.2.18:5000")
    assert nat.outbound(tcp(inside, PEER), 0).passed
    assert nat.inbound(tcp(PEER, inside), 0).passed
    assert [flow.state for flow in nat.table(0)] == ["SYN_SENT2"]
