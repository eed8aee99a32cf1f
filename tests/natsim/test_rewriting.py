"""Real packets through a NAT: what it changes is changed in the bytes, and everything else stays."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from test_packet_bytes import ANSWERS, DATAGRAMS, ECHOES, ENDS, LATER_FRAGMENTS, SEGMENTS

from natsim.ip_headers import checksum
from natsim.kernel.offload import PLAIN, covered, uncovered
from natsim.kernel.rewriting import adjusted, rewritten_bytes
from natsim.packet import ACK, ICMP, TCP, UDP, Endpoint, Fragment, Packet
from natsim.packet_bytes import from_bytes, to_bytes

A, B = Endpoint("192.168.1.2", 4000), Endpoint("203.0.113.7", 80)
OUTSIDE = Endpoint("198.51.100.1", 61_234)


def through(packet: Packet, src: Endpoint | None = None, dst: Endpoint | None = None) -> Packet:
    """What a NAT makes of it."""
    now = packet.rewritten(src=src, dst=dst)
    now.ttl = max(packet.ttl - 1, 0)
    return now


@given(DATAGRAMS | SEGMENTS, ENDS, ENDS)
def test_datagrams_and_segments_are_as_if_written_anew(packet: Packet, src: Endpoint, dst: Endpoint) -> None:
    now = through(packet, src, dst)
    assert rewritten_bytes(to_bytes(packet), packet, now) == to_bytes(now)


@given(ECHOES | ANSWERS, ENDS)
def test_the_identifier_of_an_echo_is_its_port(packet: Packet, end: Endpoint) -> None:
    assume(packet.icmp != (0, 0))  # of nothing but zeros there are two right checksums
    now = through(packet, src=end) if packet.src.port or not packet.dst.port else through(packet, dst=end)
    assert rewritten_bytes(to_bytes(packet), packet, now) == to_bytes(now)


@given(LATER_FRAGMENTS, ENDS)
def test_a_later_fragment_has_no_ports_to_change(packet: Packet, src: Endpoint) -> None:
    now = through(packet, src._replace(port=0))
    assert rewritten_bytes(to_bytes(packet), packet, now) == to_bytes(now)


@given(DATAGRAMS | SEGMENTS, ENDS, ENDS)
def test_what_an_error_quotes_is_translated_back(quoted: Packet, src: Endpoint, dst: Endpoint) -> None:
    error = Packet(ICMP, B._replace(port=0), OUTSIDE._replace(port=0), icmp=(3, 3), quoted=quoted)
    octets = to_bytes(error)
    was = from_bytes(octets)
    assert was.quoted is not None
    now = was.rewritten(dst=A._replace(port=0), quoted=was.quoted.rewritten(src=src, dst=dst))
    patched = rewritten_bytes(octets, was, now)
    again = from_bytes(patched)
    assert again.quoted is not None
    assert (again.quoted.src, again.quoted.dst, again.dst.address) == (src, dst, A.address)
    assert checksum(patched[28:48]) == 0, "the checksum of the quoted IP header"


@given(st.binary(min_size=2, max_size=60), st.binary(min_size=2, max_size=60), st.integers(0, 20))
def test_a_corrected_checksum_is_the_one_of_the_new_bytes(one: bytes, other: bytes, place: int) -> None:
    place = min(place * 2, len(one) // 2 * 2)
    changed = one[:place] + other[: len(one) - place].ljust(len(one) - place, b"\1")
    given_sum = checksum(b"\xab\xcd" + one)  # never all zeros, as no pseudo-header is
    assert adjusted(given_sum, one[place:], changed[place:]) == checksum(b"\xab\xcd" + changed)


def test_damage_on_the_way_stays_visible() -> None:
    packet = Packet(UDP, A, B, b"hello")
    octets = bytearray(to_bytes(packet))
    octets[-1] ^= 0x20
    with pytest.raises(ValueError, match="checksum is wrong"):
        from_bytes(rewritten_bytes(bytes(octets), packet, through(packet, OUTSIDE)))


def test_a_datagram_without_a_checksum_stays_without() -> None:
    packet = Packet(UDP, A, B, b"hello")
    octets = bytearray(to_bytes(packet))
    octets[26:28] = b"\0\0"
    patched = rewritten_bytes(bytes(octets), packet, through(packet, OUTSIDE))
    assert patched[26:28] == b"\0\0"
    assert from_bytes(patched).src == OUTSIDE


def test_an_alg_may_change_the_text() -> None:
    packet = Packet(UDP, A, B, b"I am \xc0\xa8\x01\x02")
    now = through(packet, OUTSIDE).rewritten(payload=b"I am \xc6\x33\x64\x01")
    assert rewritten_bytes(to_bytes(packet), packet, now) == to_bytes(now)


def test_options_that_a_packet_does_not_know_survive() -> None:
    """Timestamps, SACK, the urgent pointer, IP options, type of service and identification; scapy is the judge."""
    inet = pytest.importorskip("scapy.layers.inet")
    options = [("Timestamp", (7, 8)), ("SAckOK", b""), ("SAck", (1, 2)), ("MSS", 1400)]
    ip = {"dst": B.address, "tos": 0x28, "id": 4711, "flags": "DF", "options": [inet.IPOption(b"\x94\x04\0\0")]}
    tcp = {"dport": B.port, "seq": 9, "flags": "PAU", "urgptr": 3, "options": options}
    octets = bytes(inet.IP(src=A.address, ttl=64, **ip) / inet.TCP(sport=A.port, **tcp) / b"text")
    expected = inet.IP(src=OUTSIDE.address, ttl=63, **ip) / inet.TCP(sport=OUTSIDE.port, **tcp) / b"text"
    was = from_bytes(octets)
    assert rewritten_bytes(octets, was, through(was, OUTSIDE)) == bytes(expected)


def test_a_first_fragment_keeps_the_checksum_of_its_whole_datagram() -> None:
    whole = Packet(UDP, A, B, bytes(range(200)))
    part = Packet(UDP, A, B, whole.payload[:40], fragment=Fragment(7, 0, True))
    now = through(part, OUTSIDE)
    patched = rewritten_bytes(to_bytes(part, whole.payload), part, now)
    assert patched == to_bytes(now, whole.payload)


# -- Offload ----------------------------------------------------------------------------------------------------------


def unfinished(packet: Packet) -> tuple[bytes, bytes]:
    """A segment as a TUN device hands it over: with the sum of the pseudo-header where the checksum should be."""
    octets = to_bytes(packet)
    length = len(octets) - 20
    pseudo = octets[12:20] + bytes([0, 6]) + length.to_bytes(2, "big")
    header = bytes([1, 1]) + (40).to_bytes(2, "little") + (1460).to_bytes(2, "little")
    header += (20).to_bytes(2, "little") + (16).to_bytes(2, "little")
    return header, octets[:36] + (0xFFFF - checksum(pseudo)).to_bytes(2, "big") + octets[38:]


@given(ENDS, ENDS, st.binary(max_size=4000))
def test_a_checksum_is_done_and_undone(src: Endpoint, dst: Endpoint, text: bytes) -> None:
    packet = Packet(TCP, src, dst, text, flags=ACK, seq=1, ack=2, window=3)
    header, octets = unfinished(packet)
    same, done = covered(header, octets)
    assert (same, done) == (header, to_bytes(packet))
    frame = uncovered(header, done)
    assert frame[: len(PLAIN)] == header
    assert (int.from_bytes(frame[46:48], "big") - int.from_bytes(octets[36:38], "big")) % 0xFFFF == 0
    assert frame[10:46] + frame[48:] == octets[:36] + octets[38:]


def test_a_finished_packet_is_left_alone() -> None:
    octets = to_bytes(Packet(UDP, A, B, b"hello"))
    assert covered(PLAIN, octets) == (PLAIN, octets)
    assert uncovered(PLAIN, octets) == PLAIN + octets
