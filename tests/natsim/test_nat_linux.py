"""Linux as a NAT: each fact that was measured on Linux 6.18, and the timers of nf_conntrack."""

from __future__ import annotations

import random

import pytest
from sim_tools import at, error_about, s, tcp, udp

from natsim import LinuxBehavior, Masquerade, WanInput
from natsim.nat.linux import LinuxNat
from natsim.nat.verdict import Rule
from natsim.packet import ACK, FIN, RST, SYN, Endpoint, Packet

OUTSIDE = "203.0.113.1"
A, B = at("10.0.0.2:5000"), at("10.0.0.3:5000")
S1, S2, S3 = at("198.51.100.1:80"), at("198.51.100.2:80"), at("198.51.100.1:81")
PEER = at("198.51.100.9:6000")
KEPT = Endpoint(OUTSIDE, 5000)


def linux(
    masquerade: Masquerade = Masquerade.PLAIN,
    wan_input: WanInput = WanInput.DROP,
    block_udp: bool = False,
    seed: int = 0,
) -> LinuxNat:
    return LinuxNat(LinuxBehavior(masquerade, wan_input, block_udp), OUTSIDE, random.Random(seed))


def outside(nat: LinuxNat, src: Endpoint, dst: Endpoint, now: float = 0) -> Endpoint:
    verdict = nat.outbound(udp(src, dst), s(now))
    assert verdict.packet is not None, verdict
    return verdict.packet.src


def enters(nat: LinuxNat, src: Endpoint, dst: Endpoint, now: float = 0) -> Endpoint | None:
    verdict = nat.inbound(udp(src, dst), s(now))
    return verdict.packet.dst if verdict.packet else None


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


# -- TCP --------------------------------------------------------------------------------------------------------------


def after(nat: LinuxNat, *packets: tuple[str, int]) -> str:
    """The state of A's flow to PEER after these packets: "out" or "in", and flags."""
    for direction, flags in packets:
        out = direction == "out"
        verdict = nat.outbound(tcp(A, PEER, flags), 0) if out else nat.inbound(tcp(PEER, KEPT, flags), 0)
        assert verdict.passed, verdict
    (flow,) = nat.table(0) or [None]
    return flow.state if flow else "gone"


OPEN = (("out", SYN), ("in", SYN | ACK), ("out", ACK))
CROSSED = (("out", SYN), ("in", SYN), ("out", SYN | ACK), ("in", SYN | ACK))
OUT_FIN = (*OPEN, ("out", FIN | ACK))


@pytest.mark.parametrize(
    ("packets", "state", "seconds"),
    [
        (OPEN[:1], "SYN_SENT", 120),
        (OPEN[:2], "SYN_RECV", 60),
        (OPEN, "ESTABLISHED", 432_000),
        (CROSSED[:2], "SYN_SENT2", 120),
        (CROSSED[:3], "SYN_RECV", 60),
        ((*CROSSED, ("out", ACK)), "ESTABLISHED", 432_000),
        (OUT_FIN, "FIN_WAIT", 120),
        ((*OUT_FIN, ("in", ACK)), "CLOSE_WAIT", 60),
        ((*OUT_FIN, ("in", ACK), ("in", FIN | ACK)), "LAST_ACK", 30),
        ((*OUT_FIN, ("in", FIN | ACK), ("out", ACK)), "TIME_WAIT", 120),
        ((*OPEN, ("in", RST)), "CLOSE", 10),
        ((*OPEN, ("out", RST | ACK)), "CLOSE", 10),
        ((("out", ACK),), "ESTABLISHED", 432_000),
    ],
)
def test_states_and_their_timeouts(packets: tuple[tuple[str, int], ...], state: str, seconds: int) -> None:
    nat = linux()
    assert after(nat, *packets) == state
    assert nat.table(s(seconds) - 1)
    assert not nat.table(s(seconds))


def test_a_refusal_of_the_first_syn_takes_the_flow_and_the_hole_away() -> None:
    nat = linux()
    assert after(nat, ("out", SYN), ("in", RST | ACK)) == "gone"
    assert not nat.inbound(tcp(PEER, KEPT), 0).passed
    assert after(nat, ("out", SYN), ("out", RST)) == "gone"


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ((("out", FIN | ACK), ("in", FIN | ACK), ("out", ACK)), "SYN_SENT"),
        ((("out", RST),), "SYN_SENT"),
        ((("in", RST),), "CLOSE"),  # conntrack lets the SYN pass, but does not begin anew
    ],
)
def test_a_flow_that_is_over_can_be_opened_again(end: tuple[tuple[str, int], ...], state: str) -> None:
    assert after(linux(), *OPEN, *end, ("out", SYN)) == state


def test_a_syn_from_outside_enters_only_while_the_flow_opens() -> None:
    nat = linux()
    after(nat, *OPEN)
    assert nat.inbound(tcp(PEER, KEPT), 0).rule is Rule.INVALID


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


def test_blocked_udp_does_not_leave_and_tcp_does() -> None:
    nat = linux(block_udp=True)
    assert nat.outbound(udp(A, S1), 0).rule is Rule.POLICY
    assert nat.outbound(tcp(A, S1), 0).passed
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


# -- ICMP errors ------------------------------------------------------------------------------------------------------


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


def test_errors_about_unknown_flows_are_invalid() -> None:
    nat = linux()
    stray = error_about(udp(KEPT, S1), "203.0.113.254")
    assert nat.inbound(stray, 0).rule is nat.outbound(stray, 0).rule is Rule.INVALID
    query = Packet("icmp", Endpoint("203.0.113.254", 0), Endpoint(OUTSIDE, 0), icmp=(8, 0))
    assert not nat.inbound(query, 0).passed
    outside(nat, A, S1)
    assert not nat.inbound(stray, s(30)).passed, "the flow has expired"
