"""Packets: what a NAT's copy keeps, and what a person reads."""

from __future__ import annotations

import pytest
from sim_tools import at, tcp, udp

from natsim.packet import ACK, FIN, PSH, RST, SYN, Endpoint, Packet, flag_text


def test_a_rewritten_packet_is_a_copy_with_the_same_number_and_other_addresses() -> None:
    syn = tcp("192.168.1.2:5000", "203.0.113.10:80", seq=7, window=9, mss=1460, wscale=5, ttl=9, cause=3)
    syn.uid = 12
    copy = syn.rewritten(src=at("198.51.100.1:6000"))
    assert (copy.src, copy.dst) == (at("198.51.100.1:6000"), at("203.0.113.10:80"))
    assert syn.src == at("192.168.1.2:5000"), "the original stays, for the trace"
    same = set(Packet.__slots__) - {"src"}
    assert {name: getattr(copy, name) for name in same} == {name: getattr(syn, name) for name in same}


def test_the_destination_and_the_quotation_can_be_rewritten() -> None:
    inner = udp("1.1.1.1:1", "2.2.2.2:2")
    outer = Packet("icmp", Endpoint("2.2.2.2", 0), Endpoint("1.1.1.1", 0), icmp=(3, 3), quoted=inner)
    other = udp("3.3.3.3:3", "2.2.2.2:2")
    copy = outer.rewritten(dst=Endpoint("3.3.3.3", 0), quoted=other)
    assert (copy.dst.address, copy.quoted, outer.quoted) == ("3.3.3.3", other, inner)


@pytest.mark.parametrize(
    ("flags", "is_syn"),
    [(SYN, True), (SYN | PSH, True), (SYN | ACK, False), (SYN | RST, False), (ACK, False), (RST, False)],
)
def test_an_initial_syn_is_a_syn_without_ack_or_rst(flags: int, is_syn: bool) -> None:
    assert tcp("1.1.1.1:1", "2.2.2.2:2", flags).is_initial_syn is is_syn


def test_a_datagram_is_never_a_syn() -> None:
    assert not udp("1.1.1.1:1", "2.2.2.2:2", flags=SYN).is_initial_syn


@pytest.mark.parametrize(("flags", "length"), [(ACK, 3), (SYN, 4), (ACK | FIN, 4), (SYN | FIN, 5)])
def test_syn_and_fin_take_a_sequence_number_each(flags: int, length: int) -> None:
    assert tcp("1.1.1.1:1", "2.2.2.2:2", flags, payload=b"abc").segment_length == length


def test_flags_read_as_tcpdump_writes_them() -> None:
    cases = {
        SYN: "S",
        SYN | ACK: "S.",
        ACK: ".",
        PSH | ACK: "P.",
        FIN | ACK: "F.",
        RST: "R",
        RST | ACK: "R.",
        0: "none",
    }
    assert {flags: flag_text(flags) for flags in cases} == cases


def test_packets_print_their_essentials() -> None:
    segment = tcp("1.1.1.1:1", "2.2.2.2:2", SYN | ACK, seq=5, ack=6, payload=b"abc")
    segment.uid = 4
    assert repr(segment) == "<#4 tcp S. seq=5 ack=6 1.1.1.1:1 > 2.2.2.2:2 3 bytes>"
    assert repr(udp("1.1.1.1:1", "2.2.2.2:2")) == "<#0 udp 1.1.1.1:1 > 2.2.2.2:2>"
    assert "icmp 3/1" in repr(Packet("icmp", Endpoint("1.1.1.1", 0), Endpoint("2.2.2.2", 0), icmp=(3, 1)))
