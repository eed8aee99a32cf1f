"""Captures: what is seen on which interface, the format block by block, and what scapy and tshark make of it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sim_tools import udp
from trace_stories import LARGE, STORIES, punching, run_of, send

import natsim
from natsim import NatBehavior
from natsim.packet import ICMP, SYN, Packet
from natsim.packet_bytes import checksum, from_bytes, to_bytes
from natsim.pcapng import enhanced_packet, pcapng
from natsim.scapy_packets import to_scapy
from natsim.sightings import INTERNET, Sighting, interfaces, sightings
from natsim.trace import DROPPED, DUPLICATED, HELD, TRANSLATED, NoTrace

# -- A reader of pcapng, as small as can be ---------------------------------------------------------------------------


@dataclass
class Frame:
    """One packet of a file."""

    interface: str
    when: int
    leaves: bool
    octets: bytes
    comments: list[str]

    @property
    def packet(self) -> Packet:
        return from_bytes(self.octets)

    @property
    def identification(self) -> int:
        return int.from_bytes(self.octets[4:6], "big")


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert length % 4 == 0
        assert struct.unpack_from("<I", data, length - 4) == (length,)
        yield kind, data[8 : length - 4]
        data = data[length:]


def options(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while (code := struct.unpack_from("<H", data)[0]) != 0:
        (length,) = struct.unpack_from("<H", data, 2)
        found.append((code, data[4 : 4 + length]))
        data = data[4 + length + -length % 4 :]
    assert data == bytes(4), "and nothing follows the end of the options"
    return found


def read(data: bytes) -> tuple[list[str], list[Frame]]:
    """The interfaces and packets of a file."""
    (first, header), *rest = blocks(data)
    assert (first, header[:8]) == (0x0A0D0D0A, struct.pack("<IHH", 0x1A2B3C4D, 1, 0))
    names, frames = [], []
    for kind, body in rest:
        if kind == 1:
            assert not frames
            assert struct.unpack_from("<HHI", body) == (101, 0, 0)
            described = dict(options(body[8:]))
            assert described[9] == b"\x09", "nanoseconds"
            names.append(described[2].decode())
        else:
            assert kind == 6
            number, high, low, length, original = struct.unpack_from("<IIIII", body)
            assert length == original
            told = options(body[20 + length + -length % 4 :])
            direction = int.from_bytes(dict(told)[2], "little")
            comments = [value.decode() for code, value in told if code == 1]
            when = high << 32 | low
            frames.append(Frame(names[number], when, direction == 2, body[20 : 20 + length], comments))
    return names, frames


def captured(story: str) -> list[Frame]:
    run = run_of(story)
    seen = sightings(run.net, run.trace)
    return read(b"".join(pcapng(interfaces(run.net, seen), seen)))[1]


def way(frames: list[Frame], identification: int) -> list[tuple[str, str, str]]:
    """Where one packet was seen, and from and for whom it was there."""
    found = []
    for frame in frames:
        if frame.identification == identification:
            found.append((frame.interface, str(frame.packet.src), str(frame.packet.dst)))
    return found


# -- What is seen where -----------------------------------------------------------------------------------------------


def test_a_packet_is_on_every_interface_that_it_crosses_with_the_addresses_that_it_has_there(tmp_path: Path) -> None:
    run = run_of("linux")
    run.save_pcap(tmp_path / "run.pcapng")
    names, frames = read((tmp_path / "run.pcapng").read_bytes())
    assert names == [
        "server", "alice", "bob", "nat_a inside", "nat_a outside", "nat_b inside", "nat_b outside",
    ]  # fmt: skip
    inside, outside, server = "192.168.1.2:5000", "198.51.100.1:5000", "203.0.113.10:7711"
    assert way(frames, 1) == [
        ("alice", inside, server), ("nat_a inside", inside, server),
        ("nat_a outside", outside, server), ("server", outside, server),
    ]  # fmt: skip
    assert way(frames, 3) == [
        ("server", server, outside), ("nat_a outside", server, outside),
        ("nat_a inside", server, inside), ("alice", server, inside),
    ]  # fmt: skip
    first = [frame for frame in frames if frame.identification == 1]
    assert [frame.leaves for frame in first] == [True, False, True, False]
    assert [frame.when for frame in first] == [0, 100_000, 100_000, 20_000_000]
    assert [frame.packet.ttl for frame in first] == [64, 64, 63, 62]
    assert [len(frame.comments) for frame in first] == [0, 1, 0, 0]
    assert first[1].comments[0].startswith("TRANSLATED: new flow tcp 192.168.1.2:5000")


def test_a_dropped_packet_is_where_it_arrived_with_the_reason() -> None:
    frames = captured("linux")
    assert [frame.interface for frame in frames if frame.identification == 13] == [
        "alice", "nat_a inside", "nat_a outside", "nat_b outside",
    ]  # fmt: skip
    last = [frame for frame in frames if frame.identification == 13][-1]
    assert (last.leaves, last.packet.ttl, last.when) == (False, 62, 139_900_000)
    (entry,) = run_of("linux").trace.drops()
    assert last.comments == [str(entry.reason)]
    assert last.comments[0].startswith("FILTERED: no flow 198.51.100.1:5000")


@pytest.mark.parametrize("story", STORIES)
def test_every_reason_of_the_trace_is_in_the_capture_and_every_packet_is_right(story: str) -> None:
    run = run_of(story)
    frames = captured(story)
    reasons = Counter(str(entry.reason) for entry in run.trace if entry.reason is not None)
    assert Counter(comment for frame in frames for comment in frame.comments) == reasons
    assert [frame.when for frame in frames] == sorted(frame.when for frame in frames)
    for frame in frames:
        assert 0 < frame.packet.ttl <= 64
        assert checksum(frame.octets[:20]) == 0


@pytest.mark.parametrize(
    "story", ["linux", "refusing", "holding", "carrier", "firewall", "strangers", "neighbours", "hairpin", "exhausted"]
)
def test_the_ttl_tells_which_routers_a_packet_has_passed(story: str) -> None:
    """It is one less behind each NAT, and one less behind the internet; and a link has both ends on one network."""
    run = run_of(story)
    network = {host.name: host.behind for host in run.net.hosts.values()}
    network |= {f"{nat.name} outside": nat.behind for nat in run.net.nats.values()}
    network |= {f"{nat.name} inside": nat for nat in run.net.nats.values()}
    last: dict[int, Frame] = {}
    steps = set()
    for frame in captured(story):
        before = last.get(frame.identification)
        last[frame.identification] = frame
        if before is None or INTERNET in (before.interface, frame.interface):
            continue
        counted = before.packet.ttl - frame.packet.ttl
        if frame.leaves:
            steps.add(("node", counted, before.interface.split()[0] == frame.interface.split()[0]))
        else:
            steps.add(("link", counted, network[before.interface] is network[frame.interface]))
            assert counted == (network[frame.interface] is None)
    assert steps <= {("node", 1, True), ("link", 0, True), ("link", 1, True)}
    assert ("node", 1, True) in steps or story == "neighbours"


def test_what_is_lost_or_doubled_is_seen_on_the_link() -> None:
    run, frames = run_of("lossy"), captured("lossy")
    for action, label in ((DROPPED, ("LOST", "QUEUE FULL")), (DUPLICATED, ("DUPLICATED",))):
        entries = [entry for entry in run.trace.where(action=action) if ">" in entry.node]
        seen = [frame for frame in frames if frame.comments and frame.comments[0].startswith(label)]
        assert [frame.interface for frame in seen] == [entry.node for entry in entries]
        assert entries


def test_both_copies_of_a_doubled_packet_are_seen() -> None:
    run, frames = run_of("lossy"), captured("lossy")
    doubled = next(e for e in run.trace.where(action=DUPLICATED, protocol="tcp") if e.node == "internet>nat_a")
    assert [entry.node for entry in run.trace.of(doubled.packet)] == [
        "server", "internet>nat_a", "nat_a", "alice", "nat_a", "alice",
    ]  # fmt: skip
    assert [(frame.interface, frame.packet.ttl) for frame in frames if frame.identification == doubled.packet.uid] == [
        ("server", 64), ("internet>nat_a", 63), ("nat_a outside", 63), ("nat_a inside", 62), ("alice", 62),
        ("nat_a outside", 63), ("nat_a inside", 62), ("alice", 62),
    ]  # fmt: skip


def test_what_is_doubled_behind_a_nat_has_left_the_nat() -> None:
    run, frames = run_of("lossy"), captured("lossy")
    stories = [run.trace.of(e.packet) for e in run.trace.where(node="nat_a>internet", action=DUPLICATED)]
    whole = next(story for story in stories if [entry.node for entry in story].count("server") == 2)
    ttls = [frame.packet.ttl for frame in frames if frame.identification == whole[0].packet.uid]
    assert ttls == [64, 64, 63, 63, 62, 62]


def test_what_ends_in_the_internet_is_seen_there_and_so_is_its_answer() -> None:
    frames = [frame for frame in captured("strangers") if frame.interface == "internet"]
    assert [(frame.leaves, frame.packet.protocol, frame.packet.ttl) for frame in frames] == [
        (False, "udp", 63), (True, ICMP, 64),
    ]  # fmt: skip
    assert frames[0].comments == ["NO ROUTE: the internet knows no such address"]
    quoted = frames[1].packet.quoted
    assert quoted is not None
    assert str(quoted.dst) == "203.0.113.99:9"


def test_a_packet_that_turns_round_in_a_nat_comes_and_goes_inside() -> None:
    turned = [entry.packet for entry in run_of("hairpin").trace if "HAIRPINNED" in str(entry.reason)]
    ways = way(captured("hairpin"), turned[0].uid)
    assert ways == [
        ("alice", "192.168.1.2:5000", "198.51.100.1:6000"), ("home inside", "192.168.1.2:5000", "198.51.100.1:6000"),
        ("home inside", "198.51.100.1:5000", "192.168.1.3:6000"), ("bob", "198.51.100.1:5000", "192.168.1.3:6000"),
    ]  # fmt: skip


def test_neighbours_meet_no_router_and_who_speaks_to_himself_no_link() -> None:
    to_bob = run_of("neighbours").trace.where(between=("192.168.1.2", "192.168.1.3"))[0].packet
    assert [interface for interface, *_ in way(captured("neighbours"), to_bob.uid)] == ["alice", "bob"]
    to_herself = run_of("strangers").trace.where(between=("192.168.1.2", "192.168.1.2"))[0].packet
    assert [interface for interface, *_ in way(captured("strangers"), to_herself.uid)] == ["alice"]


def test_what_goes_from_home_to_home_behind_a_carrier_does_not_pass_the_internet() -> None:
    net = natsim.Internet(1)
    carrier = net.nat("carrier", NatBehavior(), lan="100.64.1.0/24")
    for name, home in (("alice", "home_a"), ("bob", "home_b")):
        net.host(name, behind=net.nat(home, NatBehavior(), behind=carrier))

    async def story() -> None:
        await send(net.alice, b"hello", (net.home_b.address, 9))

    run = net.run(story)
    seen = sightings(net, run.trace)
    assert [(sighting.interface, sighting.packet.ttl) for sighting in seen] == [
        ("alice", 64), ("home_a inside", 64), ("home_a outside", 63), ("home_b outside", 63),
    ]  # fmt: skip


def test_a_host_that_has_moved_is_seen_where_it_is() -> None:
    """The TTL counts the internet, which it now reaches directly."""
    frames = [frame for frame in captured("faults") if frame.packet.src.address.startswith("203.0.113.")]
    moved = [frame for frame in frames if frame.interface == "alice" and frame.leaves]
    assert moved
    arrived = [f for f in frames if f.identification == moved[0].identification and f.interface == "server"]
    assert [frame.packet.ttl for frame in (moved[0], *arrived)] == [64, 63]


# -- Fragments --------------------------------------------------------------------------------------------------------


def put_together(frames: list[Frame]) -> bytes:
    """The datagram of which these are fragments, from their bytes."""
    offsets = {(int.from_bytes(frame.octets[6:8], "big") & 0x1FFF) * 8: frame.octets[20:] for frame in frames}
    body = b"".join(offsets[offset] for offset in sorted(offsets))
    first = min(frames, key=lambda frame: int.from_bytes(frame.octets[6:8], "big") & 0x1FFF)
    head = first.octets[:2] + (20 + len(body)).to_bytes(2, "big") + first.octets[4:6] + bytes(2) + first.octets[8:10]
    header = head + bytes(2) + first.octets[12:20]
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + body


@pytest.mark.parametrize("story", ["fragments", "fragments-linux"])
@pytest.mark.parametrize("interface", ["alice", "nat_a inside", "nat_a outside", "server"])
def test_only_what_fits_is_on_a_link_and_its_pieces_are_a_right_datagram(story: str, interface: str) -> None:
    frames = [frame for frame in captured(story) if frame.interface == interface and frame.packet.protocol == "udp"]
    assert max(len(frame.octets) for frame in frames) <= (600 if "outside" in interface else 900)
    outwards = [frame for frame in frames if frame.packet.dst.address == "203.0.113.10" and frame.identification == 1]
    datagram = from_bytes(put_together(outwards))  # which looks at every length and checksum
    assert datagram.payload == LARGE
    assert datagram.src.address == ("192.168.1.2" if interface in ("alice", "nat_a inside") else "198.51.100.1")


def test_what_is_put_together_has_its_reason_at_the_first_part() -> None:
    run, frames = run_of("fragments"), captured("fragments")
    refused = next(entry for entry in run.trace.drops() if "PORT CLOSED" in str(entry.reason))
    first = next(f for f in frames if f.interface == "server" and f.identification == refused.packet.uid)
    assert [comment.partition(":")[0] for comment in first.comments] == ["REASSEMBLY", "PORT CLOSED"]
    linux = run_of("fragments-linux")
    whole = next(entry for entry in linux.trace.where(node="nat_a", action=TRANSLATED))
    first = next(f for f in captured("fragments-linux") if f.interface == "nat_a inside" and f.identification == 1)
    assert [first.packet.fragment is not None, first.comments[-1]] == [True, str(whole.reason)]


def test_a_fragment_that_waits_is_seen_once_whatever_becomes_of_it() -> None:
    run, frames = run_of("fragments-linux"), captured("fragments-linux")
    late = [entry for entry in run.trace.where(action=DROPPED) if "have not come within 30 s" in str(entry.reason)]
    assert late
    for entry in late:
        waiting = [frame for frame in frames if str(entry.reason) in frame.comments and holds(frame, entry.packet)]
        assert [frame.comments[0].partition(":")[0] for frame in waiting] == ["REASSEMBLY"]
        assert len(waiting[0].comments) == 2
    early, frames = run_of("fragments-early"), captured("fragments-early")
    held = early.trace.where(node="nat_a", action=HELD)
    assert held
    for entry in held:
        inside = [frame for frame in frames if frame.interface == "nat_a inside" and holds(frame, entry.packet)]
        assert [[comment.partition(":")[0] for comment in frame.comments] for frame in inside] == [
            ["FRAGMENT HELD", "TRANSLATED"]
        ]


def holds(frame: Frame, piece: Packet) -> bool:
    """Is this fragment in the frame?"""
    return frame.packet.fragment == piece.fragment and frame.packet.src == piece.src


# -- The format -------------------------------------------------------------------------------------------------------


def test_a_time_is_in_nanoseconds_and_a_long_comment_is_cut() -> None:
    when = (7 << 32) + 5
    sighting = Sighting(when, "here", True, udp("1.1.1.1:1", "2.2.2.2:2"), None, ["\N{SNOWMAN}" * 70_000, "short"])
    names, (frame,) = read(b"".join(pcapng(["there", "here"], [sighting])))
    assert (names, frame.interface, frame.when, frame.leaves) == (["there", "here"], "here", when, True)
    assert [len(comment) for comment in frame.comments] == [16_383, 5]
    assert len(enhanced_packet(sighting, 1)) % 4 == 0


def test_a_run_without_a_trace_cannot_be_saved_and_says_why(tmp_path: Path) -> None:
    async def story() -> None:
        return

    run = natsim.two_nats("none", "none").run(story, trace=False)
    with pytest.raises(NoTrace, match=r"no capture: .*trace=False"):
        run.save_pcap(tmp_path / "none.pcapng")
    assert not list(tmp_path.iterdir())
    with pytest.raises(NoTrace, match=r"no list of packets: "):
        run.scapy()


def test_the_same_seed_gives_the_same_bytes() -> None:
    run = punching("linux", "linux")()
    seen = sightings(run.net, run.trace)
    assert read(b"".join(pcapng(interfaces(run.net, seen), seen)))[1] == captured("linux")


# -- scapy ------------------------------------------------------------------------------------------------------------


@pytest.fixture(name="scapy")
def scapy_itself() -> Any:
    """Importing it warns of what is old in what it imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy import all as scapy
    return scapy


def test_scapy_reads_the_file_with_its_interfaces_and_comments(tmp_path: Path, scapy: Any) -> None:
    path = tmp_path / "run.pcapng"
    run_of("strangers").save_pcap(path)
    frames = captured("strangers")
    packets = scapy.rdpcap(str(path))
    assert len(packets) == len(frames)
    for packet, frame in zip(packets, frames, strict=True):
        assert isinstance(packet, scapy.IP)
        assert (packet.sniffed_on, int(packet.time * 10**9)) == (frame.interface, frame.when)
        assert (bytes(packet), packet.direction) == (frame.octets, 2 if frame.leaves else 1)
        assert [comment.decode() for comment in packet.comments or []] == frame.comments


@pytest.mark.parametrize("story", STORIES)
def test_scapy_would_compute_the_same_lengths_and_checksums(story: str, scapy: Any) -> None:
    for packet in run_of(story).scapy():
        again = packet.copy()
        if again.frag or again.flags.MF:
            continue
        for layer in (scapy.IP, scapy.UDP, scapy.TCP, scapy.ICMP):
            if layer in again:
                del again[layer].chksum
        del again[scapy.IP].len
        assert bytes(again) == bytes(packet)


def test_a_run_as_scapy_packets(scapy: Any) -> None:
    packets, frames = run_of("linux").scapy(), captured("linux")
    assert [bytes(packet) for packet in packets] == [frame.octets for frame in frames]
    syn = packets[0]
    assert (syn.sniffed_on, syn.time, syn[scapy.TCP].flags, syn[scapy.TCP].dport) == ("alice", 0.0, "S", 7711)
    assert dict(syn[scapy.TCP].options)["MSS"] == 1460
    (dropped,) = [packet for packet in packets if packet.comment and packet.comment.startswith(b"FILTERED")]
    assert (dropped.sniffed_on, dropped.time) == ("nat_b outside", pytest.approx(0.1399))


def test_one_packet_as_scapys(scapy: Any) -> None:
    packet = natsim.Packet("tcp", natsim.Endpoint("1.1.1.1", 1), natsim.Endpoint("2.2.2.2", 2), b"hi", flags=SYN)
    made = to_scapy(packet)
    assert (made.src, made[scapy.TCP].dport, bytes(made[scapy.TCP].payload)) == ("1.1.1.1", 2, b"hi")
    assert bytes(made) == to_bytes(packet)


def test_without_scapy_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scapy.layers.inet", None)
    with pytest.raises(ImportError, match="pip install scapy"):
        run_of("linux").scapy()


def test_scapy_is_imported_only_when_asked_for() -> None:
    program = "import sys, natsim.scapy_packets, natsim.run; sys.exit('scapy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


# -- tshark -----------------------------------------------------------------------------------------------------------

CHECKS = [option for name in ("ip", "tcp", "udp") for option in ("-o", f"{name}.check_checksum:TRUE")]


@pytest.fixture(name="tshark")
def tshark_itself() -> str:
    path = shutil.which("tshark")
    if path is None and os.environ.get("PUNCHKIT_REQUIRE_ALL") == "1":
        pytest.fail("PUNCHKIT_REQUIRE_ALL=1, but there is no tshark (Debian package tshark)")
    if path is None:
        pytest.skip("there is no tshark (Debian package tshark)")
    return path


#: As Wireshark counts: 0 is bad, 1 good, 2 not verified.
GOOD = "1"


def dissect(tshark: str, path: Path, *fields: str, keep: str = "") -> list[list[str]]:
    command = [tshark, "-n", "-r", str(path), *CHECKS, "-T", "fields", "-E", "separator=/t", "-E", "aggregator=|"]
    command += [argument for field in fields for argument in ("-e", field)] + (["-Y", keep] if keep else [])
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("story", STORIES)
def test_tshark_finds_every_length_and_checksum_right(story: str, tshark: str, tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"
    run_of(story).save_pcap(path)
    fields = ("frame.len", "ip.len", *(f"{name}.checksum.status" for name in ("ip", "icmp", "udp", "tcp")))
    rows = dissect(tshark, path, *fields)
    assert len(rows) == len(captured(story))
    for length, ip_length, ip, *others in rows:
        assert ip_length.split("|")[0] == length
        assert ip.split("|")[0] == GOOD
        checked = [status for status in others if status]
        # What an ICMP error quotes stands behind it, and cannot be verified; nor can a fragment before the last one.
        assert checked[:1] in ([], [GOOD])
        assert len(checked) == 1 or others[0] or "fragments" in story


def test_tshark_shows_the_translation_and_the_reasons(tshark: str, tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"
    run_of("linux").save_pcap(path)
    fields = ("frame.interface_name", "ip.src", "tcp.srcport", "ip.dst", "ip.ttl", "frame.time_epoch", "frame.comment")
    rows = dissect(tshark, path, *fields, keep="ip.id == 13")
    peer = "198.51.100.2"
    assert [row[:6] for row in rows] == [
        ["alice", "192.168.1.2", "5000", peer, "64", "0.120000000"],
        ["nat_a inside", "192.168.1.2", "5000", peer, "64", "0.120100000"],
        ["nat_a outside", "198.51.100.1", "5000", peer, "63", "0.120100000"],
        ["nat_b outside", "198.51.100.1", "5000", peer, "62", "0.139900000"],
    ]
    (entry,) = run_of("linux").trace.drops()
    assert [row[6] for row in rows][2:] == ["", str(entry.reason)]
    outside = dissect(tshark, path, "ip.src", keep='frame.interface_name == "nat_b outside"')
    assert len(outside) == sum(frame.interface == "nat_b outside" for frame in captured("linux"))


def test_tshark_follows_the_cause_of_an_error_and_puts_fragments_together(tshark: str, tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"
    run_of("fragments").save_pcap(path)
    whole = dissect(tshark, path, "udp.length", "udp.checksum.status", keep='frame.interface_name == "alice" && udp')
    assert {tuple(row) for row in whole} >= {(str(8 + len(LARGE)), "1")}
    errors = dissect(tshark, path, "icmp.type", "icmp.code", "ip.dst", keep="icmp")
    assert errors[0] == ["3", "3", "198.51.100.1|203.0.113.10"]
