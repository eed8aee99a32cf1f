"""Leased ports on Linux: rules for DNAT, as miniupnpd makes them, and what conntrack makes of those."""

from __future__ import annotations

import pytest
from linux_tools import KEPT, OUTSIDE, PEER, S1, A, B, enters, linux, outside
from sim_tools import s, tcp, udp

from natsim import WanInput
from natsim.nat.leases import Lease
from natsim.nat.linux import LinuxNat
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import ACK, FIN, RST, SYN, Endpoint

LEASED = Endpoint(OUTSIDE, 7000)


def leased(
    allowed: tuple[tuple[str, int], ...] = (), protocol: str = "udp", wan_input: WanInput = WanInput.DROP
) -> LinuxNat:
    nat = linux(wan_input=wan_input)
    nat.lease(Lease(protocol, A, LEASED, s(3600), allowed=list(allowed)), 0)
    return nat


def test_a_stranger_comes_in_by_a_leased_port_and_is_answered_from_it() -> None:
    nat = leased()
    came = nat.inbound(udp(PEER, LEASED), 0)
    assert (came.packet.src, came.packet.dst, came.new) == (PEER, A, True)
    assert f"by udp {A} <-> {LEASED} (leased): {PEER} keeps the port" in str(came)
    assert outside(nat, A, PEER) == LEASED
    assert [str(flow) for flow in nat.table(0)] == [f"udp {PEER} > {LEASED} (replies: {A} > {PEER})"]


def test_whoever_the_inside_socket_speaks_to_first_sees_the_inside_port_as_ever() -> None:
    assert outside(leased(), A, PEER) == KEPT


def test_a_lease_is_respected_by_whole_tuples_only() -> None:
    nat = leased()
    other = B._replace(port=7000)
    assert outside(nat, other, PEER) == LEASED, "masquerade knows nothing of DNAT rules"
    assert enters(nat, PEER, LEASED) == other
    assert enters(nat, S1, LEASED) == A
    assert outside(nat, other, S1) != LEASED, "that tuple is now taken"


def test_a_remote_that_the_socket_knows_already_comes_by_the_lease_with_another_port() -> None:
    nat = leased()
    outside(nat, A, PEER)
    came = nat.inbound(udp(PEER, LEASED), 0).packet
    assert (came.src.address, came.dst) == (PEER.address, A)
    assert came.src.port != PEER.port
    assert came.src.port >= 1024
    assert nat.inbound(udp(PEER, LEASED), 0).packet.src == came.src, "and keeps it"
    assert outside(nat, A, came.src) == LEASED
    assert (outside(nat, A, PEER), enters(nat, PEER, KEPT)) == (KEPT, A), "the first flow is as it was"


def test_an_early_packet_to_a_leased_port_is_no_trap() -> None:
    nat = leased(wan_input=WanInput.ACCEPT)
    assert nat.inbound(udp(PEER, LEASED), 0).rule is Rule.TRANSLATED


@pytest.mark.parametrize(("remote", "passes"), [(PEER, True), (PEER._replace(port=1), False), (S1, False)])
def test_a_lease_may_name_who_comes_in(remote: Endpoint, passes: bool) -> None:
    assert leased(allowed=((f"{PEER.address}/32", PEER.port),)).inbound(udp(remote, LEASED), 0).passed is passes


def test_a_lease_is_for_its_protocol_and_for_packets_that_may_begin_a_flow() -> None:
    assert not leased().inbound(tcp(PEER, LEASED), 0).passed
    nat = leased(protocol="tcp", wan_input=WanInput.REJECT)
    strays: list[Verdict] = [nat.inbound(tcp(PEER, LEASED, flags), 0) for flags in (RST, FIN | ACK, SYN | ACK)]
    assert [(stray.passed, bool(stray.reply)) for stray in strays] == [(False, False), (False, True), (False, True)]
    assert nat.inbound(tcp(PEER, LEASED), 0).packet.dst == A
    assert [flow.state for flow in nat.table(0)] == ["SYN_SENT"]


def test_a_lease_ends_and_what_it_let_in_goes_on() -> None:
    nat = leased()
    assert enters(nat, PEER, LEASED, now=3599) == A
    assert enters(nat, S1, LEASED, now=3600) is None
    assert enters(nat, PEER, LEASED, now=3601) == A


def test_any_port_can_be_leased_since_miniupnpd_asks_its_own_rules_only() -> None:
    nat = leased()
    outside(nat, B, S1)
    assert nat.leases.grantable("udp", A, KEPT.port, 0)
    assert not nat.leases.grantable("udp", B, LEASED.port, 0), "but for those that another has leased"


def test_a_reboot_takes_flows_and_leases_away() -> None:
    nat = leased()
    outside(nat, A, S1)
    nat.reboot()
    assert (nat.table(0), nat.leases.rows(0)) == ([], [])
    assert enters(nat, PEER, LEASED) is None
    assert enters(nat, S1, KEPT) is None
