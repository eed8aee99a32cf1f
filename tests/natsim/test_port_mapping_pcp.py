"""PCP, byte by byte (RFC 6887), and what its mappings mean for packets."""

from __future__ import annotations

import random
import struct

import pytest
from port_mapping_tools import (
    ALICE,
    BOB,
    NONCE,
    OTHER_NONCE,
    OUTSIDE,
    PREFER_FAILURE,
    STRANGER,
    TCP_NUMBER,
    Lab,
    PcpAnswer,
    mapped,
    natpmp_map,
    natpmp_mapped,
    option,
    pcp_answer,
    pcp_filter,
    pcp_map,
    pcp_peer,
    pcp_request,
    third_party,
)
from sim_tools import s, udp

from natsim import NatBehavior, WhenFull, endpoint_independent
from natsim.nat.linux import LinuxBehavior, LinuxNat
from natsim.nat.port_mapping.gateway import MOST_PER_HOST, Gateway
from natsim.nat.port_mapping.pcp import MOST_FILTERS, Pcp
from natsim.nat.port_mapping.pcp_messages import Result
from natsim.packet import Endpoint

LONG, SHORT = 1800, 30
DAY = 86_400


def asked(lab: Lab, datagram: bytes, host: str = ALICE, now: float = 0) -> PcpAnswer:
    return pcp_answer(lab.ask(datagram, host, now))


def result(lab: Lab, datagram: bytes, host: str = ALICE, now: float = 0) -> Result:
    """The result of a request; an error returns what was asked."""
    reply = asked(lab, datagram, host, now)
    if reply.result:
        padded = datagram + bytes(-len(datagram) % 4)
        assert reply.rest == padded[24:1100]
        assert (reply.version, reply.opcode) == (2, datagram[1] | 0x80)
    return Result(reply.result)


# -- Bytes ------------------------------------------------------------------------------------------------------------


def test_a_mapping() -> None:
    answer = Lab().ask(pcp_map(5000, suggested=6000), now=9)
    assert answer == (
        bytes.fromhex("02 81 00 00  00000e10  00000009  000000000000000000000000")
        + NONCE
        + bytes.fromhex("11 000000  1388 1770  00000000000000000000ffff c6336401")
    )


def test_announce() -> None:
    lab = Lab()
    assert lab.ask(pcp_request(0, 0), now=77) == bytes.fromhex("02 80 00 00 00000000 0000004d") + bytes(12)
    assert result(lab, pcp_request(0, 0) + bytes(2)) is Result.MALFORMED_REQUEST
    assert result(lab, pcp_request(0, 0, b"", third_party(BOB))) is Result.MALFORMED_OPTION


@pytest.mark.parametrize("version", [1, 3, 255])
def test_another_version_is_answered_with_ours(version: int) -> None:
    request = bytes([version]) + pcp_map(5000)[1:]
    for lab in (Lab(), Lab(protocols=["pcp"])):
        reply = asked(lab, request)
        assert (reply.version, reply.opcode, reply.result, reply.lifetime) == (2, 0x81, 1, LONG)
        assert reply.rest == request[24:]
        assert not lab.gateway.leases(0)


def test_natpmp_hears_that_this_router_speaks_pcp_only_and_the_other_way_round() -> None:
    """Both formats have the version first and the result in the fourth byte (RFC 6887 appendix A)."""
    only_pcp, only_natpmp = Lab(protocols=["pcp"]), Lab(protocols=["nat-pmp"])
    for request in (b"\x00\x00", natpmp_map(5000)):
        answer = only_pcp.ask(request)
        assert answer is not None
        assert answer[:4] == bytes([2, 128 + request[1], 0, 1])
        assert len(answer) == 24
    assert only_natpmp.ask(pcp_map(5000)) == bytes([0, 0x81, 0, 1, 0, 0, 0, 0])


def test_what_is_cut_off_or_an_answer_is_ignored() -> None:
    lab = Lab()
    for datagram in (b"\x02", b"\x02\x01", pcp_map(5000)[:23], pcp_answer_bytes()):
        assert lab.ask(datagram) is None


def pcp_answer_bytes() -> bytes:
    answer = Lab().ask(pcp_map(5000))
    assert answer is not None
    return answer


@pytest.mark.parametrize("opcode", [3, 64, 127])
def test_an_unknown_opcode_is_returned_with_the_request(opcode: int) -> None:
    reply = asked(Lab(), pcp_request(opcode, 5, b"whatever"))
    assert (reply.opcode, reply.result, reply.lifetime, reply.rest) == (opcode | 0x80, 4, LONG, b"whatever")


@pytest.mark.parametrize("length", [24, 25, 56, 59, 61, 1101, 1104, 5000])
def test_a_message_of_a_wrong_length_is_malformed(length: int) -> None:
    request = (pcp_map(5000) + bytes(5000))[:length]
    lab = Lab()
    assert result(lab, request) is Result.MALFORMED_REQUEST
    answer = lab.ask(request)
    assert answer is not None
    assert len(answer) <= 1100


def test_a_nat_between_client_and_server_is_noticed() -> None:
    lab = Lab()
    assert result(lab, pcp_map(5000, client="10.0.0.7")) is Result.ADDRESS_MISMATCH
    native = pcp_map(5000)
    native = native[:8] + bytes.fromhex("20010db8000000000000000000000001") + native[24:]
    assert result(lab, native) is Result.ADDRESS_MISMATCH
    assert not lab.gateway.leases(0)


# -- MAP: RFC 6887 section 11 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "granted"), [(1, 120), (119, 120), (120, 120), (3600, 3600), (DAY, DAY), (2**32 - 1, DAY)]
)
def test_lifetimes_have_bounds(wanted: int, granted: int) -> None:
    lab = Lab()
    assert asked(lab, pcp_map(5000, lifetime=wanted)).lifetime == granted
    assert lab.lets_in("udp", 5000, now=granted - 1) == Endpoint(ALICE, 5000)
    assert lab.lets_in("udp", 5000, Endpoint("203.0.113.1", 1), now=granted) is None


def test_a_mapping_is_renewed_with_its_nonce_only() -> None:
    lab = Lab()
    assert asked(lab, pcp_map(5000, suggested=6000, lifetime=1000)).external == Endpoint(OUTSIDE, 6000)
    renewed = asked(lab, pcp_map(5000, suggested=7000, lifetime=2000), now=100)
    assert (renewed.external, renewed.lifetime) == (Endpoint(OUTSIDE, 6000), 2000)
    stolen = asked(lab, pcp_map(5000, suggested=6000, nonce=OTHER_NONCE), now=600)
    assert (Result(stolen.result), stolen.lifetime) == (Result.NOT_AUTHORIZED, 1500), "as long as the mapping lives"
    assert stolen.external == Endpoint("0.0.0.0", 6000), "as it was suggested"
    assert result(lab, pcp_map(5000, nonce=OTHER_NONCE), now=2100) is Result.SUCCESS


def test_what_natpmp_has_mapped_pcp_takes_over() -> None:
    lab = Lab()
    natpmp_mapped(lab.ask(natpmp_map(5000, suggested=6000)))
    assert asked(lab, pcp_map(5000)).external.port == 6000
    assert natpmp_mapped(lab.ask(natpmp_map(5000, lifetime=0))).result == 2


def test_a_taken_port_is_replaced_unless_failure_is_preferred() -> None:
    lab = Lab()
    assert asked(lab, pcp_map(5000, client=BOB), BOB).external.port == 5000
    reply = asked(lab, pcp_map(5000, PREFER_FAILURE, suggested=5000))
    assert (Result(reply.result), reply.lifetime) == (Result.CANNOT_PROVIDE_EXTERNAL, SHORT)
    assert asked(lab, pcp_map(5000, suggested=5000)).external.port == 5001
    assert result(lab, pcp_map(5000, PREFER_FAILURE, suggested=5000)) is Result.CANNOT_PROVIDE_EXTERNAL, "it has 5001"
    for suggested in (0, 5001):
        same = asked(lab, pcp_map(5000, PREFER_FAILURE, suggested=suggested, address=OUTSIDE))
        assert (same.result, same.external.port, same.rest[36:]) == (0, 5001, PREFER_FAILURE)


def test_an_address_that_is_not_the_routers_cannot_be_insisted_on() -> None:
    lab = Lab()
    elsewhere = "198.51.100.77"
    assert result(lab, pcp_map(5000, PREFER_FAILURE, address=elsewhere)) is Result.CANNOT_PROVIDE_EXTERNAL
    assert asked(lab, pcp_map(5000, address=elsewhere)).external.address == OUTSIDE


def test_the_companion_port_is_reserved() -> None:
    lab = Lab()
    assert asked(lab, pcp_map(5000)).external.port == 5000
    assert asked(lab, pcp_map(5000, protocol=TCP_NUMBER, client=BOB), BOB).external.port == 5001
    assert lab.lets_in("tcp", 5000) is None, "reserved is not mapped (RFC 6887 section 11.3)"


@pytest.mark.parametrize(
    ("protocol", "port", "expected"),
    [
        (132, 5000, Result.UNSUPP_PROTOCOL),  # SCTP
        (17, 0, Result.UNSUPP_PROTOCOL),  # all of UDP
        (0, 0, Result.UNSUPP_PROTOCOL),  # everything
        (0, 5000, Result.MALFORMED_REQUEST),
    ],
)
def test_wildcards_and_other_protocols_are_refused(protocol: int, port: int, expected: Result) -> None:
    assert result(Lab(), pcp_map(port, protocol=protocol)) is expected


def test_a_host_has_a_quota() -> None:
    lab = Lab()
    for port in range(5000, 5000 + MOST_PER_HOST):
        assert result(lab, pcp_map(port)) is Result.SUCCESS
    reply = asked(lab, pcp_map(4000))
    assert (Result(reply.result), reply.lifetime) == (Result.USER_EX_QUOTA, SHORT)
    assert result(lab, pcp_map(4000, client=BOB), BOB) is Result.SUCCESS


def test_a_router_without_an_address_says_so() -> None:
    reply = asked(Lab(outside="0.0.0.0"), pcp_map(5000))
    assert (Result(reply.result), reply.lifetime) == (Result.NETWORK_FAILURE, SHORT)


def test_a_router_without_a_free_port_says_so() -> None:
    lab = Lab(NatBehavior())
    for port in range(1024, 65_536):
        lab.engine.outbound(udp(Endpoint(BOB, port), STRANGER), s(1000))
    assert result(lab, pcp_map(5000)) is Result.NO_RESOURCES


def test_a_firewall_opens_a_door_and_translates_nothing() -> None:
    lab = Lab(NatBehavior(translate=False))
    host = "192.0.2.18"
    reply = asked(lab, pcp_map(5000, suggested=6000, client=host), host)
    assert reply.external == Endpoint(host, 5000)
    assert result(lab, pcp_map(5001, PREFER_FAILURE, suggested=6000, client=host), host) is (
        Result.CANNOT_PROVIDE_EXTERNAL
    )
    inside = Endpoint(host, 5000)
    assert lab.engine.inbound(udp(STRANGER, inside), s(1000)).packet is not None
    assert lab.engine.inbound(udp(STRANGER, inside._replace(port=5001)), s(1000)).packet is None


# -- Deleting: RFC 6887 section 15 ------------------------------------------------------------------------------------


def test_a_mapping_is_deleted_with_its_nonce_only_and_once_more_is_no_error() -> None:
    lab = Lab()
    asked(lab, pcp_map(5000, lifetime=1000))
    refused = asked(lab, pcp_map(5000, lifetime=0, nonce=OTHER_NONCE), now=100)
    assert (Result(refused.result), refused.lifetime) == (Result.NOT_AUTHORIZED, 900)
    for _ in range(2):
        reply = asked(lab, pcp_map(5000, lifetime=0, suggested=1234, address="192.0.2.9"), now=100)
        assert (reply.result, reply.lifetime, reply.internal_port) == (0, 0, 5000)
        assert reply.external == Endpoint("192.0.2.9", 1234), "as it came"
    assert lab.lets_in("udp", 5000, now=100) is None


@pytest.mark.parametrize(
    ("protocol", "left"),
    [
        (17, ["tcp 5000", "udp 5002", "udp 5003"]),
        (6, ["udp 5000", "udp 5001", "udp 5002", "udp 5003"]),
        (0, ["udp 5002", "udp 5003"]),
        (132, ["udp 5000", "udp 5001", "tcp 5000", "udp 5002", "udp 5003"]),
    ],
)
def test_port_0_deletes_all_that_the_nonce_covers(protocol: int, left: list[str]) -> None:
    lab = Lab()
    asked(lab, pcp_map(5000))
    asked(lab, pcp_map(5001))
    asked(lab, pcp_map(5000, protocol=TCP_NUMBER))
    asked(lab, pcp_map(5002, nonce=OTHER_NONCE))
    asked(lab, pcp_map(5003, client=BOB), BOB)
    assert result(lab, pcp_map(0, protocol=protocol, lifetime=0)) is Result.SUCCESS
    assert [f"{lease.protocol} {lease.internal.port}" for lease in lab.gateway.leases(0)] == left


def test_a_deletion_needs_a_protocol_for_its_port_and_takes_no_options() -> None:
    lab = Lab()
    assert result(lab, pcp_map(5000, protocol=0, lifetime=0)) is Result.MALFORMED_REQUEST
    for choice in (PREFER_FAILURE, pcp_filter(STRANGER.address)):
        assert result(lab, pcp_map(5000, choice, lifetime=0)) is Result.MALFORMED_OPTION


# -- Options: RFC 6887 sections 7.3 and 13 ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([option(4)], Result.UNSUPP_OPTION),
        ([option(127, b"12345")], Result.UNSUPP_OPTION),
        ([option(128, b"12345")], Result.SUCCESS),
        ([option(255)], Result.SUCCESS),
        ([option(0)], Result.UNSUPP_OPTION),
        ([option(2, b"1")], Result.MALFORMED_OPTION),
        ([option(3, bytes(19))], Result.MALFORMED_OPTION),
        ([option(1, bytes(4))], Result.MALFORMED_OPTION),
        ([PREFER_FAILURE, PREFER_FAILURE], Result.MALFORMED_OPTION),
        ([third_party(BOB), third_party(BOB)], Result.MALFORMED_OPTION),
        ([struct.pack(">BxH", 3, 24)], Result.MALFORMED_OPTION),
        ([struct.pack(">BxH", 200, 1)], Result.MALFORMED_OPTION),
        ([option(200, b"x"), option(4)], Result.UNSUPP_OPTION),
    ],
)
def test_options_are_known_or_optional_and_well_formed(options: list[bytes], expected: Result) -> None:
    lab = Lab()
    assert result(lab, pcp_map(5000, *options)) is expected
    assert bool(lab.gateway.leases(0)) == (expected is Result.SUCCESS)


def test_optional_options_are_not_in_the_answer() -> None:
    reply = asked(Lab(), pcp_map(5000, option(200, b"x"), PREFER_FAILURE))
    assert reply.rest[36:] == PREFER_FAILURE


def test_a_filter_admits_whom_it_names() -> None:
    lab = Lab()
    network = pcp_filter("203.0.113.0", 96 + 28, 4444)
    reply = asked(lab, pcp_map(5000, network))
    assert (reply.result, reply.rest[36:]) == (0, network)
    for address, port, enters in (
        ("203.0.113.15", 4444, True),
        ("203.0.113.15", 4445, False),
        ("203.0.113.16", 4444, False),
    ):
        assert bool(lab.lets_in("udp", 5000, Endpoint(address, port))) is enters


def test_filters_add_up_until_they_are_removed() -> None:
    lab = Lab()
    first, second, third = (Endpoint(f"203.0.113.{number}", 7) for number in (1, 2, 3))

    for options, expected in (
        ([pcp_filter(first.address)], [True, False, False]),
        ([pcp_filter(second.address)], [True, True, False]),
        ([], [True, True, False]),
        ([pcp_filter("0.0.0.0", 0), pcp_filter(third.address)], [False, False, True]),
        ([pcp_filter("0.0.0.0", 0)], [True, True, True]),
    ):
        assert result(lab, pcp_map(5000, *options)) is Result.SUCCESS
        lease = lab.gateway.leases(0)[0]
        assert [lease.admits(remote) for remote in (first, second, third)] == expected


@pytest.mark.parametrize("prefix", [1, 95, 129, 255])
def test_a_filter_of_no_ipv4_network_is_malformed(prefix: int) -> None:
    assert result(Lab(), pcp_map(5000, pcp_filter("203.0.113.1", prefix))) is Result.MALFORMED_OPTION


def test_a_filter_of_an_ipv6_network_is_malformed() -> None:
    native = option(3, struct.pack(">xBH", 128, 0) + bytes(15) + b"\x01")
    assert result(Lab(), pcp_map(5000, native)) is Result.MALFORMED_OPTION


def test_there_may_be_so_many_filters_and_no_more() -> None:
    lab = Lab()
    several = [pcp_filter(f"203.0.113.{number}") for number in range(MOST_FILTERS)]
    assert result(lab, pcp_map(5000, *several)) is Result.SUCCESS
    reply = asked(lab, pcp_map(5000, pcp_filter("203.0.113.200")))
    assert (Result(reply.result), reply.lifetime) == (Result.EXCESSIVE_REMOTE_PEERS, LONG)
    assert len(lab.gateway.leases(0)[0].allowed) == MOST_FILTERS


def test_only_a_trusted_host_may_ask_for_another() -> None:
    request = pcp_map(5000, third_party(BOB))
    assert result(Lab(), request) is Result.NOT_AUTHORIZED
    lab = Lab(trusted={ALICE})
    reply = asked(lab, request)
    assert (reply.result, reply.rest[36:]) == (0, third_party(BOB))
    assert lab.lets_in("udp", 5000) == Endpoint(BOB, 5000)
    assert result(lab, pcp_map(5000, nonce=OTHER_NONCE, client=BOB, lifetime=0), BOB) is Result.NOT_AUTHORIZED
    assert result(lab, pcp_map(5000, client=BOB, lifetime=0), BOB) is Result.SUCCESS, "it is bob's mapping, too"
    assert lab.lets_in("udp", 5000) is None
    assert result(lab, request) is Result.SUCCESS
    assert result(lab, pcp_map(0, third_party(BOB), lifetime=0, protocol=0)) is Result.SUCCESS
    assert lab.gateway.leases(0) == []


def test_a_third_party_is_somebody_else_and_has_an_ipv4_address() -> None:
    lab = Lab(trusted={ALICE})
    for address in (mapped(ALICE), bytes(15) + b"\x01"):
        assert result(lab, pcp_map(5000, option(1, address))) is Result.MALFORMED_REQUEST


# -- PEER: RFC 6887 section 12 ----------------------------------------------------------------------------------------


def test_peer_tells_the_outside_endpoint_and_opens_the_way_for_one_remote() -> None:
    lab = Lab()
    reply = asked(lab, pcp_peer(5000, STRANGER), now=1)
    assert (reply.result, reply.lifetime, len(reply.rest)) == (0, 120, 56), "the NAT's own timer"
    assert reply.rest[36:] == struct.pack(">H2x", STRANGER.port) + mapped(STRANGER.address)
    inside = Endpoint(ALICE, 5000)
    assert lab.sends_as(inside, STRANGER, now=2) == reply.external
    assert lab.lets_in("udp", reply.external.port, STRANGER, now=3) == inside
    assert lab.lets_in("udp", reply.external.port, Endpoint("203.0.113.1", 1), now=3) is None


def test_peer_tells_of_a_mapping_that_packets_have_made() -> None:
    lab = Lab()
    seen = lab.sends_as(Endpoint(ALICE, 5000), STRANGER)
    assert asked(lab, pcp_peer(5000, STRANGER), now=1).external == seen


def test_peer_for_tcp_lasts_as_long_as_a_half_open_connection() -> None:
    reply = asked(Lab(), pcp_peer(5000, STRANGER, protocol=TCP_NUMBER))
    assert (reply.result, reply.lifetime) == (0, 240)


def test_peer_works_through_a_lease_and_its_nonce() -> None:
    lab = Lab()
    asked(lab, pcp_map(5000, suggested=6000, nonce=NONCE))
    assert asked(lab, pcp_peer(5000, STRANGER)).external.port == 6000
    asked(lab, pcp_map(5001, lifetime=1000, nonce=OTHER_NONCE))
    reply = asked(lab, pcp_peer(5001, STRANGER), now=1)
    assert (Result(reply.result), reply.lifetime) == (Result.NOT_AUTHORIZED, 999)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (pcp_peer(0, STRANGER), Result.MALFORMED_REQUEST),
        (pcp_peer(5000, STRANGER, protocol=0), Result.MALFORMED_REQUEST),
        (pcp_peer(5000, STRANGER._replace(port=0)), Result.MALFORMED_REQUEST),
        (pcp_peer(5000, STRANGER)[:-16] + bytes(15) + b"\x01", Result.MALFORMED_REQUEST),
        (pcp_peer(5000, STRANGER)[:-4], Result.MALFORMED_REQUEST),
        (pcp_peer(5000, STRANGER, protocol=132), Result.UNSUPP_PROTOCOL),
        (pcp_peer(5000, STRANGER, lifetime=0), Result.NOT_AUTHORIZED),
        (pcp_peer(5000, STRANGER, PREFER_FAILURE), Result.MALFORMED_OPTION),
        (pcp_peer(5000, STRANGER, pcp_filter("203.0.113.1")), Result.MALFORMED_OPTION),
        (pcp_peer(5000, Endpoint(OUTSIDE, 9)), Result.NO_RESOURCES),
    ],
)
def test_peer_needs_both_ends(request_: bytes, expected: Result) -> None:
    lab = Lab()
    assert result(lab, request_) is expected


def test_peer_is_about_the_outside_only() -> None:
    lab = Lab(NatBehavior(hairpin=True, filtering=endpoint_independent))
    neighbour = lab.sends_as(Endpoint(BOB, 9))
    assert result(lab, pcp_peer(5000, neighbour)) is Result.NO_RESOURCES


def test_peer_tells_why_the_nat_makes_no_mapping() -> None:
    limited = Lab(NatBehavior(max_mappings_per_host=1, when_full=WhenFull.DROP))
    limited.sends_as(Endpoint(ALICE, 4000))
    assert result(limited, pcp_peer(5000, STRANGER)) is Result.USER_EX_QUOTA
    nat = LinuxNat(LinuxBehavior(block_udp=True), OUTSIDE, random.Random(0))
    blocked = Pcp(Gateway(nat, 0)).answer(pcp_peer(5000, STRANGER), Endpoint(ALICE, 50_000), 0)
    assert Result(pcp_answer(blocked).result) is Result.NOT_AUTHORIZED
