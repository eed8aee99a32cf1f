"""Packets of IPv6 as bytes: octet by octet, there and back, what is refused, and what tshark and scapy make of them."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ipv6_tools import alive, send
from sim_tools import error_about, tcp, udp
from test_packet_bytes import CODES, DATAGRAMS, ECHOES, PAYLOADS, SEGMENTS, fields, sum_of_words

import natsim
from natsim.fragmentation import fragments_of
from natsim.icmp_error import PORT_UNREACHABLE, TOO_LARGE, icmp_error
from natsim.ip_headers import NUMBERS
from natsim.nat.devices import find
from natsim.packet import ACK, ICMP, SYN, TCP, UDP, Endpoint, Fragment, Packet
from natsim.packet_bytes import ERRORS6, UnreadablePacket, checksum, from_bytes, to_bytes
from natsim.pcapng import save_pcapng
from natsim.reassembly import Datagram
from natsim.scapy_packets import scapy_packets, to_scapy

A, B = Endpoint("2001:db8::10", 5000), Endpoint("2001:db8:1::2", 80)
ADDRESSES = bytes.fromhex("20010db8 0000 0000 0000 0000 0000 0010  20010db8 0001 0000 0000 0000 0000 0002")


def covered(octets: bytes) -> bytes:
    """The pseudo-header of RFC 8200 section 8.1 and the rest, of a packet without extension headers."""
    return octets[8:40] + struct.pack("!II", len(octets) - 40, octets[6]) + octets[40:]


# -- Octet by octet ---------------------------------------------------------------------------------------------------


def test_a_datagram_octet_by_octet() -> None:
    octets = to_bytes(udp(A, B, payload=b"hi", ttl=63))
    assert octets[:8] == struct.pack("!IHBB", 0x6000_0000, 10, 17, 63)
    assert octets[8:40] == ADDRESSES
    assert octets[40:46] == struct.pack("!HHH", 5000, 80, 10)
    assert octets[48:] == b"hi"
    assert sum_of_words(covered(octets)) == 0xFFFF


def test_a_segment_octet_by_octet() -> None:
    octets = to_bytes(tcp(A, B, SYN | ACK, seq=1, ack=2, window=3, mss=1440))
    assert octets[4:8] == struct.pack("!HBB", 24, 6, 64)
    assert octets[40:56] == struct.pack("!HHIIBBH", 5000, 80, 1, 2, 0x60, 0x12, 3)
    assert octets[60:] == bytes([2, 4, 1440 >> 8, 1440 & 255])
    assert sum_of_words(covered(octets)) == 0xFFFF


def test_the_checksum_of_icmpv6_covers_the_addresses() -> None:
    octets = to_bytes(Packet(ICMP, A, B._replace(port=0), b"abc", icmp=(128, 0)))
    assert octets[6] == 58
    assert octets[40:42] + octets[44:] == bytes([128, 0, 5000 >> 8, 5000 & 255, 0, 0]) + b"abc"
    assert sum_of_words(covered(octets)) == 0xFFFF


def test_packet_too_big_names_the_mtu_and_quotes_what_there_is_room_for() -> None:
    about = udp(A, B, payload=bytes(range(200)) * 10)
    error = icmp_error("2001:db8::1", about, TOO_LARGE, mtu=100_000)
    assert error is not None
    octets = to_bytes(error)
    assert octets[40:42] + octets[44:48] == bytes([2, 0]) + (100_000).to_bytes(4, "big")
    assert octets[48:] == to_bytes(about)[: 1280 - 48]
    again = from_bytes(octets)
    assert again.mtu == 100_000
    assert again.quoted is not None
    assert again.quoted.payload == about.payload[: 1280 - 48 - 48]
    assert again.size == error.size == 1280


def test_fragmentation_needed_names_the_mtu_in_ipv4() -> None:
    about = udp("192.0.2.1:1", "192.0.2.2:2", df=True)
    error = icmp_error("192.0.2.9", about, TOO_LARGE, mtu=1400)
    assert error is not None
    octets = to_bytes(error)
    assert octets[24:28] == struct.pack("!HH", 0, 1400)
    assert from_bytes(octets).mtu == 1400


def test_a_fragment_octet_by_octet() -> None:
    piece = udp(A, B, payload=bytes(8), fragment=Fragment(0xABCDEF01, 16, more=True))
    octets = to_bytes(piece)
    assert octets[4:7] == bytes([0, 16, 44])
    assert octets[40:48] == bytes([17, 0, 0, 16 | 1]) + bytes.fromhex("abcdef01")


# -- There and back ---------------------------------------------------------------------------------------------------

SIX = st.ip_addresses(v=6).map(str)
BARE = st.builds(Endpoint, SIX, st.just(0))


@st.composite
def of_ipv6(draw: st.DrawFn, packets: st.SearchStrategy[Packet]) -> Packet:
    """A packet of IPv4 turned into one of IPv6."""
    packet = draw(packets)
    packet.src, packet.dst = packet.src._replace(address=draw(SIX)), packet.dst._replace(address=draw(SIX))
    packet.df = False
    if packet.protocol == ICMP and packet.icmp is not None:
        packet.icmp = (128, packet.icmp[1])
    return packet


WHOLE = of_ipv6(DATAGRAMS | SEGMENTS | ECHOES)
LATER = st.builds(
    Packet,
    st.sampled_from([UDP, TCP, ICMP]),
    BARE,
    BARE,
    PAYLOADS,
    fragment=st.builds(
        Fragment, st.integers(0, 2**32 - 1), st.integers(1, 8191).map(lambda unit: unit * 8), st.booleans()
    ),
    ttl=st.integers(0, 255),
)


@given(WHOLE | LATER)
def test_any_packet_comes_back_as_it_was(packet: Packet) -> None:
    octets = to_bytes(packet)
    assert len(octets) == packet.size
    assert fields(from_bytes(octets)) == fields(packet)
    assert to_bytes(from_bytes(octets)) == octets


@given(WHOLE | LATER, SIX, st.sampled_from(ERRORS6), CODES)
def test_an_error_comes_back_with_the_whole_packet_that_it_quotes(
    about: Packet, source: str, kind: int, code: int
) -> None:
    error = error_about(about, source, (kind, code))
    octets = to_bytes(error)
    assert len(octets) == error.size
    again = from_bytes(octets)
    error.mtu = 0 if kind == 2 else None
    assert fields(again) == fields(error)


@given(WHOLE, st.integers(104, 240), st.randoms(use_true_random=False))
def test_fragments_come_back_and_are_put_together_to_the_same_datagram(
    packet: Packet, mtu: int, order: random.Random
) -> None:
    pieces = fragments_of(packet, mtu)
    wire = [to_bytes(piece, packet.payload) for piece in pieces]
    assert b"".join(octets[48:] for octets in wire) == to_bytes(packet)[40:]
    assert [fields(from_bytes(octets)) for octets in wire] == [fields(piece) for piece in pieces]
    assert all(len(octets) <= mtu for octets in wire)
    order.shuffle(wire)
    datagram = Datagram()
    assert all(datagram.put(from_bytes(octets)) for octets in wire)
    whole = datagram.whole()
    assert whole is not None
    assert fields(whole) == fields(packet)


# -- What is refused ---------------------------------------------------------------------------------------------------


def with_right_checksum(octets: bytes) -> bytes:
    place = 40 + {17: 6, 6: 16, 58: 2}[octets[6]]
    bare = octets[:place] + b"\0\0" + octets[place + 2 :]
    return octets[:place] + checksum(covered(bare)).to_bytes(2, "big") + octets[place + 2 :]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    packet = draw(WHOLE | LATER | st.builds(error_about, WHOLE, SIX, st.just((1, 4))))
    octets = bytearray(to_bytes(packet))
    for _ in range(draw(st.integers(1, 4))):
        octets[draw(st.integers(0, min(len(octets), 120) - 1))] = draw(st.integers(0, 255))
    length = draw(st.integers(0, len(octets) + 8))
    whole = bytes(octets[:length]) + bytes(max(0, length - len(octets)))
    if draw(st.booleans()) and len(whole) > 60:
        whole = b"\x60" + whole[1:4] + (len(whole) - 40).to_bytes(2, "big") + whole[6:]
        whole = with_right_checksum(whole) if whole[6] in NUMBERS[6].values() else whole
    return whole


@given(damaged())
def test_garbage_is_refused_or_read_and_nothing_else_happens(octets: bytes) -> None:
    try:
        packet = from_bytes(octets)
    except UnreadablePacket:
        return
    half_a_header = packet.quoted is not None and packet.quoted.protocol == TCP
    assert half_a_header or packet.size <= len(octets)
    assert repr(packet)


@given(WHOLE, st.data())
def test_one_wrong_byte_after_the_ip_header_is_noticed(packet: Packet, data: st.DataObject) -> None:
    octets = bytearray(to_bytes(packet))
    octets[data.draw(st.integers(40, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UnreadablePacket):
        from_bytes(bytes(octets))


DATAGRAM = udp(A, B, payload=b"text")
ERROR = error_about(DATAGRAM, "2001:db8::1", (1, 4))


def edited(packet: Packet, place: int, new: bytes) -> bytes:
    octets = to_bytes(packet)
    return octets[:place] + new + octets[place + len(new) :]


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (to_bytes(DATAGRAM)[:39], "at least 40 bytes"),
        (to_bytes(DATAGRAM)[:-1], "52 bytes, and there are 51"),
        (edited(DATAGRAM, 6, b"\x3b"), "protocol 59 is not one of UDP, TCP and ICMPv6"),
        (edited(DATAGRAM, 6, b"\x01"), "protocol 1 is not one"),
        (edited(DATAGRAM, 46, b"\0\0"), "no checksum, which IPv6 demands"),
        (edited(DATAGRAM, 51, b"!"), "UDP checksum"),
        (edited(ERROR, 99, b"!"), "ICMP checksum"),
        (edited(DATAGRAM, 6, b"\0\x40") + b"", "IPv6 headers of"),
        (with_right_checksum(edited(ERROR, 48, b"\x45")), "an IP header of 20 bytes|quotes a packet of IPv4"),
        (with_right_checksum(edited(ERROR, 48, b"\x75")), "IP version 7"),
    ],
)
def test_what_is_wrong_is_said(octets: bytes, words: str) -> None:
    with pytest.raises(UnreadablePacket, match=words):
        from_bytes(octets)


def test_a_packet_has_one_version() -> None:
    with pytest.raises(ValueError, match="from one version of IP to the other"):
        to_bytes(Packet(UDP, Endpoint("192.0.2.1", 1), B))


def test_other_extension_headers_are_skipped() -> None:
    """Hop-by-hop options of 8 bytes, and destination options of 16, before the datagram."""
    plain = to_bytes(DATAGRAM)
    extensions = bytes([60, 0, 1, 4, 0, 0, 0, 0, 17, 1, 1, 12]) + bytes(12)
    octets = plain[:4] + (12 + 24).to_bytes(2, "big") + bytes([0]) + plain[7:40] + extensions + plain[40:]
    assert fields(from_bytes(octets)) == fields(DATAGRAM)


# -- Captures ----------------------------------------------------------------------------------------------------------

LARGE = bytes(range(256)) * 12


def capture(tmp_path: Path) -> tuple[natsim.Internet, Path, natsim.sim_world.SimWorld]:
    """Two routers of different kinds, and between them whatever may go wrong: errors, fragments, a link of 1280."""
    net = natsim.two_nats("linux", "cgnat", link=natsim.Link(mtu=1280), ipv6=find("firewall"))
    net.alice.link = net.bob.link = natsim.Link(mtu=1500)
    alice, bob, server = (Endpoint(host.address6, 5000) for host in (net.alice, net.bob, net.server))
    with alive(net) as world:
        send(world, "alice", udp(alice, server), udp(alice, server, payload=LARGE), udp(alice, bob), tcp(alice, server))
        send(world, "bob", udp(bob, alice), udp(bob, server, payload=bytes(1300)), udp(bob, server, ttl=2))
        send(world, "bob", *fragments_of(udp(bob, server, payload=LARGE), 1280))
        send(world, "alice", Packet(ICMP, alice, server._replace(port=0), b"echo", icmp=(128, 0)))
    path = tmp_path / "run.pcapng"
    save_pcapng(path, net, world.trace)
    return net, path, world


def tshark(path: Path, *fields: str, keep: str = "frame") -> list[list[str]]:
    command = ["tshark", "-n", "-r", str(path), "-Y", keep, "-T", "fields", "-E", "separator=/t", "-E", "aggregator=|"]
    command += ["-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    command += [word for field in fields for word in ("-e", field)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="there is no tshark (Debian package tshark)")
def test_tshark_finds_every_length_and_checksum_right(tmp_path: Path) -> None:
    _, path, _ = capture(tmp_path)
    rows = tshark(path, "frame.len", "ipv6.plen", *(f"{name}.checksum.status" for name in ("icmpv6", "udp", "tcp")))
    assert len(rows) > 30
    for frame, length, *statuses in rows:
        assert int(length.split("|")[0]) + 40 == int(frame)
        # What an error quotes stands behind it, and cannot be verified.
        assert [status[0] for status in statuses if status][:1] in ([], ["1"])
    warnings = tshark(path, "_ws.expert.message", keep="_ws.expert.severity >= 6291456")
    assert {message.split("|")[-1] for (message,) in warnings} <= {"Connection reset (RST)"}


def test_scapy_reads_the_same_packets(tmp_path: Path) -> None:
    pytest.importorskip("scapy")
    net, _, world = capture(tmp_path)
    packets = scapy_packets(net, world.trace)
    assert {packet.version for packet in packets} == {6}
    error = icmp_error("2001:db8::1", DATAGRAM, PORT_UNREACHABLE)
    assert error is not None
    assert to_scapy(error).summary().count("UDP") == 1
