"""Packets of IPv6: their sizes and versions, who may cut them, how they are put together, what is complained about."""

from __future__ import annotations

import errno

import pytest
from sim_tools import s, tcp, udp

from natsim.fragmentation import fragments_of, span
from natsim.icmp_error import (
    NO_HOST,
    NO_ROUTE,
    PORT_UNREACHABLE,
    PROHIBITED,
    TIME_EXCEEDED,
    TOO_LARGE,
    Complaint,
    icmp_error,
)
from natsim.nat.unsolicited import unreachable_syn
from natsim.packet import ACK, UDP, Endpoint, Fragment, Packet, canonical
from natsim.reassembly import Reassembly
from natsim.scheduler import Scheduler
from natsim.tcp import TcpConnection
from natsim.trace import DROPPED, Trace

A, B, ROUTER = Endpoint("2001:db8::10", 5000), Endpoint("2001:db8:1::2", 80), "2001:db8::1"


def test_a_packet_is_of_the_family_of_its_addresses() -> None:
    assert (udp(A, B).version, udp("192.0.2.1:1", "192.0.2.2:2").version) == (6, 4)


def test_the_headers_of_ipv6_are_larger() -> None:
    assert udp(A, B, payload=b"four").size == 40 + 8 + 4
    assert tcp(A, B, mss=1440).size == 40 + 20 + 4
    assert udp(A, B, payload=bytes(8), fragment=Fragment(1, 0, more=True)).size == 40 + 8 + 8 + 8
    assert udp(A, B, payload=bytes(8), fragment=Fragment(1, 16, more=False)).size == 40 + 8 + 8


def test_an_icmpv6_error_quotes_as_much_as_1280_bytes_allow() -> None:
    small, large = udp(A, B, payload=bytes(10)), udp(A, B, payload=bytes(4000))
    sizes = [packet.size for packet in (error(small), error(large))]
    assert sizes == [40 + 8 + 40 + 8 + 10, 1280]


def test_addresses_have_one_spelling() -> None:
    assert canonical("2001:DB8::00:1") == "2001:db8::1"
    with pytest.raises(ValueError, match="does not appear to be"):
        canonical("2001:db8::1::1")


def test_packets_print_their_family() -> None:
    assert repr(udp(A, B)) == "<#0 udp [2001:db8::10]:5000 > [2001:db8:1::2]:80>"
    assert "icmpv6 1/4" in repr(error(udp(A, B)))


# -- Fragments ---------------------------------------------------------------------------------------------------------


def test_only_hosts_cut_packets_of_ipv6() -> None:
    assert not udp(A, B).may_be_cut
    four = "192.0.2.1:1", "192.0.2.2:2"
    assert [udp(*four).may_be_cut, udp(*four, df=True).may_be_cut] == [True, False]


def test_every_fragment_has_two_headers_and_the_rest_of_the_datagram() -> None:
    datagram = udp(A, B, payload=bytes(range(250)) * 16)
    datagram.uid = 70_000
    pieces = fragments_of(datagram, 1280)
    assert [(piece.size, span(piece)) for piece in pieces] == [
        (1280, (0, 1232)),
        (1280, (1232, 2464)),
        (1280, (2464, 3696)),
        (48 + 312, (3696, 4008)),
    ]
    assert {piece.fragment.identification for piece in pieces if piece.fragment} == {70_000}, "32 bits"
    assert b"".join(piece.payload for piece in pieces) == datagram.payload


def test_fragments_come_together_in_any_order() -> None:
    whole = []
    datagram = udp(A, B, payload=bytes(range(250)) * 16)
    reassembly = Reassembly(Scheduler(0), Trace(Scheduler(0)), "bob")
    for piece in reversed(fragments_of(datagram, 1280)):
        reassembly.receive(piece, whole.append)
    assert [(packet.payload, packet.fragment) for packet in whole] == [(datagram.payload, None)]


def test_a_datagram_may_be_longer_by_the_header_than_one_of_ipv4() -> None:
    for ends, whole in (((A, B), True), ((Endpoint("192.0.2.1", 1), Endpoint("192.0.2.2", 2)), False)):
        taken: list[Packet] = []
        reassembly = Reassembly(Scheduler(0), Trace(Scheduler(0)), "bob")
        for piece in fragments_of(Packet(UDP, *ends, bytes(65_535 - 8)), 1280):
            reassembly.receive(piece, taken.append)
        assert bool(taken) is whole


def test_a_host_waits_60_seconds_for_the_other_fragments() -> None:
    clock = Scheduler(0)
    trace = Trace(clock)
    reassembly = Reassembly(clock, trace, "bob")
    reassembly.receive(fragments_of(udp(A, B, payload=bytes(4000)), 1280)[0], print)
    while clock.step():
        pass
    [drop] = trace.drops()
    assert (drop.when, drop.action) == (s(60), DROPPED)
    assert "RFC 8200" in str(drop.reason)


# -- ICMPv6 ------------------------------------------------------------------------------------------------------------


def error(packet: Packet, complaint: Complaint = PORT_UNREACHABLE) -> Packet:
    made = icmp_error(ROUTER, packet, complaint)
    assert made is not None
    return made


def test_a_complaint_has_the_numbers_of_its_family() -> None:
    complaints = (NO_ROUTE, PROHIBITED, NO_HOST, PORT_UNREACHABLE, TOO_LARGE, TIME_EXCEEDED)
    assert [error(udp(A, B), complaint).icmp for complaint in complaints] == [
        (1, 0),
        (1, 1),
        (1, 3),
        (1, 4),
        (2, 0),
        (3, 0),
    ]
    assert unreachable_syn(tcp(A, B)).icmp == (1, 4)


def test_nobody_complains_about_an_error() -> None:
    assert icmp_error(ROUTER, error(udp(A, B)), NO_ROUTE) is None


def test_about_a_group_there_is_only_packet_too_big() -> None:
    to_group = udp(A, Endpoint("ff02::1", 9))
    assert icmp_error(ROUTER, to_group, PORT_UNREACHABLE) is None
    told = icmp_error(ROUTER, to_group, TOO_LARGE, mtu=1280)
    assert told is not None
    assert told.mtu == 1280


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ((1, 0), errno.ENETUNREACH),
        ((1, 1), errno.EACCES),
        ((1, 3), errno.EHOSTUNREACH),
        ((1, 4), errno.ECONNREFUSED),
        ((3, 0), errno.EHOSTUNREACH),
    ],
)
def test_an_error_ends_an_attempt_to_connect(kind: tuple[int, int], code: int) -> None:
    """(3, 0) is "network unreachable" to IPv4, and here the hop limit."""
    connection = TcpConnection(A, B, 1)
    connection.open(0)
    connection.icmp_in(*kind, 0)
    assert connection.closed
    assert connection.error == code


def test_errors_mean_nothing_to_an_established_connection() -> None:
    connection = TcpConnection(A, B, 1)
    connection.open(0)
    connection.segment_in(tcp(B, A, 0x12, seq=8, ack=2), 0)
    connection.icmp_in(1, 4, 0)
    assert connection.connected
    assert connection.outbox[-1].flags & ACK
