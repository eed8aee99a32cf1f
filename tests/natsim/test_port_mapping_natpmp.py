"""NAT-PMP, byte by byte (RFC 6886), and what its mappings mean for packets."""

from __future__ import annotations

import pytest
from port_mapping_tools import (
    ALICE,
    BOB,
    NONCE,
    OUTSIDE,
    STRANGER,
    TCP_OPCODE,
    UDP_OPCODE,
    Lab,
    natpmp_map,
    natpmp_mapped,
    pcp_answer,
    pcp_map,
)

from natsim import NatBehavior
from natsim.nat.leases import Lease
from natsim.nat.port_mapping.gateway import FOREVER, MOST_PER_HOST
from natsim.packet import Endpoint


def external(answer: bytes | None) -> int:
    reply = natpmp_mapped(answer)
    assert reply.result == 0
    return reply.external


# -- Bytes ------------------------------------------------------------------------------------------------------------


def test_the_external_address() -> None:
    assert Lab().ask(b"\x00\x00", now=5.9) == bytes.fromhex("0080 0000 00000005 c6336401")


def test_a_mapping() -> None:
    lab = Lab()
    assert lab.ask(natpmp_map(5000, suggested=6000), now=7) == bytes.fromhex("0081 0000 00000007 1388 1770 00001c20")
    assert lab.ask(natpmp_map(5000, opcode=TCP_OPCODE, suggested=6000), now=7) == bytes.fromhex(
        "0082 0000 00000007 1388 1770 00001c20"
    )


@pytest.mark.parametrize("opcode", [0, 1, 2, 3, 127])
def test_another_version_is_answered_with_ours(opcode: int) -> None:
    lab = Lab(protocols=["nat-pmp"])
    for version in (1, 2, 255):
        answer = lab.ask(bytes([version, opcode]) + bytes(22), now=3)
        assert answer == bytes([0, 128 + opcode, 0, 1, 0, 0, 0, 3])


def test_an_unknown_opcode_is_returned_with_the_request() -> None:
    lab = Lab()
    assert lab.ask(b"\x00\x03\x00\x00hello!") == b"\x00\x83\x00\x05hello!"
    assert lab.ask(b"\x00\x7f") == b"\x00\xff\x00\x05"


@pytest.mark.parametrize("opcode", [128, 129, 130, 255])
@pytest.mark.parametrize("version", [0, 1, 9])
def test_answers_are_not_answered(version: int, opcode: int) -> None:
    for protocols in (["nat-pmp"], ["pcp"], ["nat-pmp", "pcp"]):
        assert Lab(protocols=protocols).ask(bytes([version, opcode]) + bytes(22)) is None


@pytest.mark.parametrize("datagram", [b"", b"\x00", natpmp_map(5000)[:11]])
def test_what_is_cut_off_is_ignored(datagram: bytes) -> None:
    lab = Lab()
    assert lab.ask(datagram) is None
    assert lab.gateway.leases(0) == []


def test_a_router_without_an_address_says_so() -> None:
    lab = Lab(outside="0.0.0.0")
    assert lab.ask(b"\x00\x00") == bytes.fromhex("0080 0003 00000000 00000000")
    reply = natpmp_mapped(lab.ask(natpmp_map(5000)))
    assert (reply.result, reply.internal, reply.external, reply.lifetime) == (3, 5000, 0, 0)


# -- What a mapping does ----------------------------------------------------------------------------------------------


def test_anybody_may_come_in_by_a_mapped_port_and_answers_leave_by_it() -> None:
    lab = Lab()
    inside = Endpoint(ALICE, 5000)
    assert lab.lets_in("udp", 6000) is None
    port = external(lab.ask(natpmp_map(5000, suggested=6000)))
    assert lab.lets_in("udp", port) == inside
    assert lab.lets_in("tcp", port) is None, "protocols are mapped one by one"
    assert lab.sends_as(inside) == Endpoint(OUTSIDE, 6000)
    assert lab.sends_as(inside, Endpoint("203.0.113.5", 1)) == Endpoint(OUTSIDE, 6000), "also in an APDM NAT"


def test_the_same_port_asked_for_twice_is_the_same_mapping() -> None:
    lab = Lab()
    assert external(lab.ask(natpmp_map(5000, suggested=6000))) == 6000
    assert external(lab.ask(natpmp_map(5000, suggested=7000), now=10)) == 6000
    assert external(lab.ask(natpmp_map(5000), now=20)) == 6000
    assert len(lab.gateway.leases(0)) == 1


def test_without_a_suggestion_the_inside_port_is_kept_if_it_can_be() -> None:
    lab = Lab()
    assert external(lab.ask(natpmp_map(5000))) == 5000
    assert external(lab.ask(natpmp_map(5000), BOB)) == 5001
    assert external(lab.ask(natpmp_map(6000, suggested=5000), BOB)) == 6000, "a suggestion is no more than that"


def test_a_port_by_which_packets_leave_already_becomes_the_mapping() -> None:
    """RFC 6887 section 11.3: what STUN has shown stays true."""
    lab = Lab()
    seen = lab.sends_as(Endpoint(ALICE, 5000))
    assert seen.port != 5000
    assert external(lab.ask(natpmp_map(5000))) == seen.port
    assert external(lab.ask(natpmp_map(5001))) == 5001


def test_a_port_in_use_is_not_given_to_somebody_else() -> None:
    lab = Lab(NatBehavior())
    assert lab.sends_as(Endpoint(BOB, 5000)).port == 5000
    assert external(lab.ask(natpmp_map(5000))) == 5001
    assert lab.sends_as(Endpoint(BOB, 5001), now=1).port == 5002, "nor is a leased one given to packets"


def test_the_companion_port_is_reserved_for_the_same_host() -> None:
    lab = Lab()
    assert external(lab.ask(natpmp_map(5000, suggested=6000))) == 6000
    stolen = natpmp_map(5000, opcode=TCP_OPCODE, suggested=6000)
    assert external(lab.ask(stolen, BOB)) != 6000
    assert external(lab.ask(natpmp_map(5000, opcode=TCP_OPCODE))) == 6000, "and it is the first choice there"


def test_a_mapping_ends_with_its_lifetime_and_is_renewed_by_asking() -> None:
    lab = Lab()
    lab.ask(natpmp_map(5000, lifetime=100))
    assert lab.lets_in("udp", 5000, now=99)
    assert natpmp_mapped(lab.ask(natpmp_map(5000, lifetime=100), now=99)).lifetime == 100
    assert lab.lets_in("udp", 5000, Endpoint("203.0.113.1", 1), now=198.9)
    assert lab.lets_in("udp", 5000, Endpoint("203.0.113.2", 1), now=199) is None


def test_a_lifetime_is_never_longer_than_asked_for_or_than_a_day() -> None:
    lab = Lab()
    assert natpmp_mapped(lab.ask(natpmp_map(5000, lifetime=1))).lifetime == 1
    assert natpmp_mapped(lab.ask(natpmp_map(5000, lifetime=2**32 - 1))).lifetime == 86_400


# -- Deleting: RFC 6886 section 3.4 -----------------------------------------------------------------------------------


def test_a_deleted_mapping_is_gone_and_deleting_it_again_is_no_error() -> None:
    lab = Lab()
    lab.ask(natpmp_map(5000))
    lab.ask(natpmp_map(5000, opcode=TCP_OPCODE))
    for _ in range(2):
        answer = lab.ask(natpmp_map(5000, lifetime=0, suggested=5000), now=1)
        assert answer == bytes.fromhex("0081 0000 00000001 1388 0000 00000000")
    assert lab.lets_in("udp", 5000, now=1) is None
    assert lab.lets_in("tcp", 5000, now=1) == Endpoint(ALICE, 5000)


def test_all_mappings_of_a_host_and_protocol_are_deleted_at_once() -> None:
    lab = Lab()
    for port in (5000, 5001):
        lab.ask(natpmp_map(port))
    lab.ask(natpmp_map(5002, opcode=TCP_OPCODE))
    lab.ask(natpmp_map(5003), BOB)
    assert lab.ask(natpmp_map(0, lifetime=0)) == bytes.fromhex("0081 0000 00000000 0000 0000 00000000")
    assert [str(lease.internal) for lease in lab.gateway.leases(0)] == [f"{ALICE}:5002", f"{BOB}:5003"]


def test_a_host_deletes_only_what_is_its_own() -> None:
    lab = Lab()
    lab.ask(natpmp_map(5000))
    assert natpmp_mapped(lab.ask(natpmp_map(5000, lifetime=0), BOB)).result == 0, "bob has no such mapping"
    assert lab.lets_in("udp", 5000) == Endpoint(ALICE, 5000)


# -- Refusals ---------------------------------------------------------------------------------------------------------


def test_port_0_is_no_port() -> None:
    reply = natpmp_mapped(Lab().ask(natpmp_map(0)))
    assert (reply.result, reply.external, reply.lifetime) == (2, 0, 0)


def test_a_host_may_have_so_many_mappings_and_no_more() -> None:
    lab = Lab()
    for port in range(5000, 5000 + MOST_PER_HOST):
        external(lab.ask(natpmp_map(port)))
    reply = natpmp_mapped(lab.ask(natpmp_map(9000)))
    assert (reply.result, reply.internal, reply.external, reply.lifetime) == (4, 9000, 0, 0)
    external(lab.ask(natpmp_map(5000)))  # to renew is no more
    external(lab.ask(natpmp_map(9000), BOB))
    lab.ask(natpmp_map(5000, lifetime=0))
    external(lab.ask(natpmp_map(9000)))


def test_a_router_without_a_free_port_says_so() -> None:
    lab = Lab()
    for port in range(1024, 65_536):
        lab.engine.lease(Lease("udp", Endpoint(ALICE, port), Endpoint(OUTSIDE, port), FOREVER), 0)
    assert natpmp_mapped(lab.ask(natpmp_map(5000), BOB)).result == 4
    assert external(lab.ask(natpmp_map(80), BOB)) == 80, "it asks for one that is not handed out otherwise"


def test_what_pcp_protects_by_a_nonce_natpmp_cannot_touch() -> None:
    lab = Lab()
    assert pcp_answer(lab.ask(pcp_map(5000, nonce=NONCE))).result == 0
    for request in (natpmp_map(5000), natpmp_map(5000, lifetime=0), natpmp_map(0, lifetime=0)):
        reply = natpmp_mapped(lab.ask(request, now=1))
        assert (reply.result, reply.external, reply.lifetime) == (2, 0, 0)
    assert lab.lets_in("udp", 5000, STRANGER, now=1) == Endpoint(ALICE, 5000)


def test_protocols_that_are_off_do_not_answer() -> None:
    assert Lab(protocols=["upnp"]).ask(b"\x00\x00") is None
    assert Lab(protocols=["nat-pmp"]).ask(natpmp_map(5000, opcode=UDP_OPCODE)) is not None
