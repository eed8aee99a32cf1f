"""Packets as bytes: known packets octet by octet, any packet there and back, and garbage that is refused in words."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sim_tools import error_about, tcp, udp

from natsim.fragmentation import fragments_of
from natsim.packet import ACK, FIN, ICMP, PSH, RST, SYN, TCP, UDP, Endpoint, Fragment, Packet
from natsim.packet_bytes import ERRORS, QUERIES, REPLIES, UnreadablePacket, checksum, from_bytes, to_bytes
from natsim.reassembly import Datagram

# -- RFC 1071 ---------------------------------------------------------------------------------------------------------


def sum_of_words(octets: bytes) -> int:
    """The ones' complement sum as RFC 1071 section 4.1 describes it: word by word, carries added at the end."""
    octets += bytes(len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=2000))
@example(b"")
@example(bytes(40))
@example(b"\xff\xff" * 20)
@example(b"\x80\x00\x7f\xff")
def test_the_checksum_is_that_of_rfc_1071(octets: bytes) -> None:
    assert checksum(octets) == 0xFFFF - sum_of_words(octets)


@given(st.binary(min_size=1, max_size=200))
def test_over_its_own_checksum_it_is_zero(octets: bytes) -> None:
    octets += bytes(len(octets) % 2)
    if any(octets):
        assert checksum(octets + checksum(octets).to_bytes(2, "big")) == 0


# -- Octet by octet ---------------------------------------------------------------------------------------------------


def header_of(octets: bytes) -> dict[str, int]:
    names = ("version", "service", "length", "identification", "fragment", "ttl", "protocol", "checksum")
    return dict(zip(names, struct.unpack("!BBHHHBBH", octets[:12]), strict=True))


def test_a_datagram_octet_by_octet() -> None:
    packet = udp("192.168.1.2:5000", "203.0.113.10:80", payload=b"hi", ttl=63, df=True)
    packet.uid = 0x1_0007
    octets = to_bytes(packet)
    assert header_of(octets) == {
        "version": 0x45, "service": 0, "length": 30, "identification": 7, "fragment": 0x4000, "ttl": 63, "protocol": 17,
        "checksum": header_of(octets)["checksum"],
    }  # fmt: skip
    assert sum_of_words(octets[:20]) == 0xFFFF
    assert octets[12:20] == bytes([192, 168, 1, 2, 203, 0, 113, 10])
    assert octets[20:26] == struct.pack("!HHH", 5000, 80, 10)
    assert octets[28:] == b"hi"
    pseudo_header = octets[12:20] + bytes([0, 17, 0, 10])
    assert sum_of_words(pseudo_header + octets[20:]) == 0xFFFF


def test_a_segment_octet_by_octet() -> None:
    packet = tcp("192.168.1.2:5000", "203.0.113.10:80", SYN | ACK, seq=1, ack=2, window=3, mss=1460, wscale=7)
    octets = to_bytes(packet)
    assert octets[20:36] == struct.pack("!HHIIBBH", 5000, 80, 1, 2, 0x70, 0x12, 3)
    assert octets[40:] == bytes([2, 4, 1460 >> 8, 1460 & 255, 1, 3, 3, 7])
    pseudo_header = octets[12:20] + bytes([0, 6, 0, 28])
    assert sum_of_words(pseudo_header + octets[20:]) == 0xFFFF


def test_an_error_quotes_the_header_and_eight_bytes_of_what_it_is_about() -> None:
    about = tcp("198.51.100.1:5000", "203.0.113.10:80", seq=9, ttl=3, payload=b"a long story")
    about.uid = 5
    octets = to_bytes(error_about(about, "203.0.113.10", (3, 13)))
    assert (len(octets), octets[9], octets[20:22]) == (20 + 8 + 28, 1, bytes([3, 13]))
    assert octets[28:] == to_bytes(about)[:28]
    assert sum_of_words(octets[20:]) == 0xFFFF


@pytest.mark.parametrize(("kind", "src", "dst"), [((8, 0), 77, 0), ((0, 0), 0, 77)])
def test_an_identifier_is_the_port_of_who_asks(kind: tuple[int, int], src: int, dst: int) -> None:
    octets = to_bytes(Packet(ICMP, Endpoint("1.1.1.1", src), Endpoint("2.2.2.2", dst), b"abc", icmp=kind))
    assert octets[24:28] == bytes([0, 77, 0, 0])
    assert sum_of_words(octets[20:]) == 0xFFFF
    again = from_bytes(octets)
    assert (again.src.port, again.dst.port, again.icmp) == (src, dst, kind)


def test_a_checksum_of_zero_is_sent_as_all_ones_and_none_at_all_is_accepted() -> None:
    """RFC 768: to UDP, 0 means that there is no checksum."""
    plain = to_bytes(udp("1.1.1.1:1", "2.2.2.2:2", payload=b"\0\0"))
    octets = to_bytes(udp("1.1.1.1:1", "2.2.2.2:2", payload=plain[26:28]))
    assert octets[26:28] == b"\xff\xff"
    assert from_bytes(octets).payload == plain[26:28]
    assert from_bytes(plain[:26] + b"\0\0" + plain[28:]).payload == b"\0\0"


# -- There and back ---------------------------------------------------------------------------------------------------

ADDRESSES = st.ip_addresses(v=4).map(str)
PORTS = st.integers(0, 65535)
WORDS = st.integers(0, 2**32 - 1)
PAYLOADS = st.binary(max_size=300)
HEADERS = {"ttl": st.integers(0, 255), "df": st.booleans()}
ENDS = st.builds(Endpoint, ADDRESSES, PORTS)
NO_PORTS = st.builds(Endpoint, ADDRESSES, st.just(0))

DATAGRAMS = st.builds(Packet, st.just(UDP), ENDS, ENDS, PAYLOADS, **HEADERS)
SEGMENTS = st.builds(
    Packet,
    st.just(TCP),
    ENDS,
    ENDS,
    PAYLOADS,
    flags=st.sampled_from([SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK, 0, 255]),
    seq=WORDS,
    ack=WORDS,
    window=PORTS,
    mss=st.none() | PORTS,
    wscale=st.none() | st.integers(0, 255),
    **HEADERS,
)
CODES = st.integers(0, 255)
ECHOES = st.builds(
    Packet, st.just(ICMP), ENDS, NO_PORTS, PAYLOADS, icmp=st.tuples(st.sampled_from(QUERIES), CODES), **HEADERS
)
ANSWERS = st.builds(
    Packet, st.just(ICMP), NO_PORTS, ENDS, PAYLOADS, icmp=st.tuples(st.sampled_from(REPLIES), CODES), **HEADERS
)
LATER_FRAGMENTS = st.builds(
    Packet,
    st.sampled_from([UDP, TCP, ICMP]),
    NO_PORTS,
    NO_PORTS,
    PAYLOADS,
    fragment=st.builds(Fragment, PORTS, st.integers(1, 8191).map(lambda unit: unit * 8), st.booleans()),
    **HEADERS,
)
WHOLE = DATAGRAMS | SEGMENTS | ECHOES | ANSWERS


def fields(packet: Packet) -> dict[str, Any]:
    """All that a packet says, without its number in the trace."""
    found = {name: getattr(packet, name) for name in Packet.__slots__ if name not in ("uid", "cause")}
    if packet.quoted is not None:
        found["quoted"] = fields(packet.quoted)
    return found


@given(WHOLE | LATER_FRAGMENTS)
def test_any_packet_comes_back_as_it_was(packet: Packet) -> None:
    octets = to_bytes(packet)
    assert len(octets) == packet.size
    assert fields(from_bytes(octets)) == fields(packet)
    assert to_bytes(from_bytes(octets)) == octets


@given(WHOLE, ADDRESSES, st.sampled_from(ERRORS), st.integers(0, 255))
def test_an_error_comes_back_with_what_eight_bytes_say_of_its_quotation(
    about: Packet, source: str, kind: int, code: int
) -> None:
    error = error_about(about, source, (kind, code))
    octets = to_bytes(error)
    assert len(octets) == error.size
    again = from_bytes(octets)
    assert again.is_icmp_error
    quoted = again.quoted
    assert quoted is not None
    assert (again.icmp, again.src, again.dst, again.payload) == (error.icmp, error.src, error.dst, b"")
    known = ("protocol", "src", "dst", "ttl", "df", "icmp", "fragment")
    assert [getattr(quoted, name) for name in known] == [getattr(about, name) for name in known]
    assert quoted.seq == about.seq


def test_what_an_error_brings_beyond_eight_bytes_is_its_payload() -> None:
    about = udp("198.51.100.1:5000", "203.0.113.10:80", payload=b"the whole text")
    error = error_about(about, "203.0.113.10")
    error.payload = about.payload
    assert fields(from_bytes(to_bytes(error)))["payload"] == b"the whole text"


@given(WHOLE, st.integers(68, 200), st.randoms(use_true_random=False))
def test_fragments_come_back_and_are_put_together_to_the_same_datagram(
    packet: Packet, mtu: int, order: random.Random
) -> None:
    pieces = fragments_of(packet, mtu)
    if len(pieces) == 1:
        return
    wire = [to_bytes(piece, packet.payload) for piece in pieces]
    assert b"".join(octets[20:] for octets in wire) == to_bytes(packet)[20:]
    assert [len(octets) for octets in wire] == [piece.size for piece in pieces]
    assert [fields(from_bytes(octets)) for octets in wire] == [fields(piece) for piece in pieces]
    order.shuffle(wire)
    datagram = Datagram()
    assert all(datagram.put(from_bytes(octets)) for octets in wire)
    whole = datagram.whole()
    assert whole is not None
    assert fields(whole) == fields(packet)


def test_a_quoted_later_fragment_has_no_ports() -> None:
    piece = udp("1.1.1.1:0", "2.2.2.2:0", payload=b"0123456789", fragment=Fragment(7, 16, more=True))
    quoted = from_bytes(to_bytes(error_about(piece, "2.2.2.2"))).quoted
    assert quoted is not None
    assert (quoted.fragment, quoted.payload, quoted.src.port) == (piece.fragment, b"01234567", 0)


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (Packet(UDP, Endpoint("2001:db8::1", 1), Endpoint("1.1.1.1", 1)), "2001:db8::1"),
        (udp("1.1.1.1:1", "2.2.2.2:2", payload=bytes(65508)), "65536 bytes"),
        (udp("1.1.1.1:0", "2.2.2.2:0", fragment=Fragment(1, 12, more=False)), "multiple of 8"),
        (Packet(ICMP, Endpoint("1.1.1.1", 0), Endpoint("2.2.2.2", 0)), "no ICMP type"),
    ],
)
def test_a_packet_without_such_a_form_is_refused_in_words(packet: Packet, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_bytes(packet)


# -- Bytes from anywhere ----------------------------------------------------------------------------------------------


def with_right_checksums(octets: bytes) -> bytes:
    """Garbage that gets past the first door: the IP header's checksum, and of its protocol the checksum too."""
    start = min(octets[0] % 16 * 4, len(octets))
    octets = octets[:10] + b"\0\0" + octets[12:]
    octets = octets[:10] + checksum(octets[:start]).to_bytes(2, "big") + octets[12:]
    body = octets[start:]
    place = {17: 6, 6: 16, 1: 2}.get(octets[9])
    if place is None or len(body) < place + 2:
        return octets
    body = body[:place] + b"\0\0" + body[place + 2 :]
    pseudo = b"" if octets[9] == 1 else octets[12:20] + struct.pack("!HH", octets[9], len(body))
    return octets[:start] + body[:place] + checksum(pseudo + body).to_bytes(2, "big") + body[place + 2 :]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A packet in which some bytes are others, or which is cut short or goes on; its checksums may be right again."""
    packet = draw(WHOLE | LATER_FRAGMENTS | st.builds(error_about, WHOLE, ADDRESSES))
    octets = bytearray(to_bytes(packet))
    for _ in range(draw(st.integers(1, 4))):
        octets[draw(st.integers(0, min(len(octets), 60) - 1))] = draw(st.integers(0, 255))
    length = draw(st.integers(0, len(octets) + 8))
    whole = bytes(octets[:length]) + bytes(max(0, length - len(octets)))
    if draw(st.booleans()) and len(whole) >= 20:
        whole = whole[:2] + len(whole).to_bytes(2, "big") + whole[4:]
        whole = with_right_checksums(whole)
    return whole


@given(st.binary(max_size=120) | damaged())
def test_garbage_is_refused_or_read_and_nothing_else_happens(octets: bytes) -> None:
    try:
        packet = from_bytes(octets)
    except UnreadablePacket:
        return
    assert packet.size <= len(octets)
    assert repr(packet)


@given(WHOLE, st.data())
def test_one_wrong_byte_is_noticed(packet: Packet, data: st.DataObject) -> None:
    """A ones' complement sum notices any change of one byte, in the IP header and in what its protocol covers."""
    octets = bytearray(to_bytes(packet))
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    if packet.protocol == UDP and octets[26:28] == b"\0\0":
        return  # that says that there is no checksum
    with pytest.raises(UnreadablePacket):
        from_bytes(bytes(octets))


def edited(packet: Packet, place: int, new: bytes) -> bytes:
    octets = to_bytes(packet)
    return with_right_checksums(octets[:place] + new + octets[place + len(new) :])


DATAGRAM = udp("1.1.1.1:1", "2.2.2.2:2", payload=b"text")
SEGMENT = tcp("1.1.1.1:1", "2.2.2.2:2", mss=1460, wscale=7)
ERROR = error_about(DATAGRAM, "2.2.2.2")


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "at least 20 bytes"),
        (edited(DATAGRAM, 0, b"\x75"), "IP version 7"),
        (edited(DATAGRAM, 0, b"\x44"), "header of 16 bytes"),
        (edited(DATAGRAM, 0, b"\x4f"), "header of 60 bytes"),
        (edited(DATAGRAM, 9, b"\x2f"), "protocol 47"),
        (edited(DATAGRAM, 2, b"\xff\xff"), "65535 bytes, and there are 32"),
        (to_bytes(DATAGRAM)[:10] + b"\1\1" + to_bytes(DATAGRAM)[12:], "checksum of the IP header"),
        (edited(DATAGRAM, 24, b"\0\7"), "UDP header speaks of 7"),
        (edited(DATAGRAM, 24, b"\0\xff"), "UDP header speaks of 255"),
        (to_bytes(DATAGRAM)[:-1] + b"!", "UDP checksum"),
        (to_bytes(SEGMENT)[:-1] + b"!", "TCP checksum"),
        (to_bytes(ERROR)[:-1] + b"!", "ICMP checksum"),
        (edited(SEGMENT, 32, b"\x40"), "TCP header of 16 bytes"),
        (edited(SEGMENT, 32, b"\xf0"), "TCP header of 60 bytes"),
        (edited(SEGMENT, 41, b"\0"), "TCP option 2 has the length 0"),
        (edited(SEGMENT, 41, b"\x09"), "TCP option 2 has the length 9"),
        (edited(SEGMENT, 44, b"\1\1\1\3"), "TCP option 3 has the length 0, and 1 bytes"),
        (edited(ERROR, 28, b"\x75"), "IP version 7"),
        (edited(ERROR, 28, b"\x46"), "what an ICMP error quotes"),
        (with_right_checksums(to_bytes(ERROR)[:2] + b"\0\x20" + to_bytes(ERROR)[4:32]), "an IP header"),
    ],
)
def test_what_is_wrong_is_said(octets: bytes, words: str) -> None:
    with pytest.raises(UnreadablePacket, match=words):
        from_bytes(octets)


def test_options_that_nobody_here_has_are_skipped() -> None:
    """A record route option in the IP header, timestamps and SACK permitted in TCP's."""
    plain = to_bytes(tcp("1.1.1.1:1", "2.2.2.2:2", ACK, payload=b"text"))
    tcp_options = bytes([4, 2, 8, 10, *range(8), 1, 3, 3, 7, 0, 99])
    ip_options = bytes([7, 7, 4, 0, 0, 0, 0, 0])
    segment = plain[20:32] + bytes([0xA0]) + plain[33:40] + tcp_options + b"\0\0" + plain[40:]
    octets = bytes([0x47]) + plain[1:20] + ip_options + segment
    packet = from_bytes(with_right_checksums(octets[:2] + len(octets).to_bytes(2, "big") + octets[4:]))
    assert (packet.wscale, packet.mss, packet.payload) == (7, None, b"text")


def test_what_follows_a_packet_is_ignored() -> None:
    """Ethernet fills short frames up."""
    assert fields(from_bytes(to_bytes(DATAGRAM) + bytes(14))) == fields(DATAGRAM)
