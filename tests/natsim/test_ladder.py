"""Ladders: what is drawn and said, never where.  Traces are made by hand, or by the demonstration's real runs."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from typing import Any

import pytest

import natsim
from natsim.internet import Internet
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import ACK, FIN, ICMP, PSH, RST, SYN, TCP, UDP, Endpoint, Packet
from natsim.run import Run
from natsim.scheduler import MILLISECOND, SECOND
from natsim.trace import ANSWERED, DELIVERED, DROPPED, HELD, SENT, TRANSLATED, Entry, NoTrace, Reason
from natsim.view import folding, story, words
from natsim.view.columns import Columns
from natsim.view.folding import Arrow, Fold, Gap
from natsim.view.ladder import Ladder
from natsim.view.ladder_demo import demonstration
from natsim.view.ladder_layout import Layout

SVG = "{http://www.w3.org/2000/svg}"
ALICE, BOB = Endpoint("192.168.1.2", 5000), Endpoint("192.168.2.2", 6000)
NAT_A, NAT_B = Endpoint("198.51.100.1", 5000), Endpoint("198.51.100.2", 6000)
SERVER = Endpoint("203.0.113.10", 7711)
FILTERED = Verdict(Rule.FILTERED, "no session of {} with {}", (BOB, NAT_A))


class Book:
    """Writes a trace by hand, entry by entry."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.now = 0
        self.uid = 0

    def note(
        self, node: str, action: str, packet: Packet, reason: Reason | None = None, before: Packet | None = None
    ) -> None:
        self.entries.append(Entry(self.now, node, action, packet, reason, before))

    def send(self, node: str, packet: Packet) -> Packet:
        self.uid += 1
        packet.uid = self.uid
        self.note(node, SENT, packet)
        return packet

    def wait(self, milliseconds: float) -> None:
        self.now += round(milliseconds * MILLISECOND)

    def to_server(self, flags: int = ACK, payload: bytes = b"", seq: int = 0, new: bool = False) -> None:
        """alice > nat_a > server."""
        out = self.send("alice", Packet(TCP, ALICE, SERVER, payload, flags=flags, seq=seq))
        self.wait(0.1)
        there = out.rewritten(src=NAT_A)
        self.note("nat_a", TRANSLATED, there, Verdict(Rule.TRANSLATED, "by a row", new=new), out)
        self.wait(9.9)
        self.note("server", DELIVERED, there)

    def direct(self, flags: int = ACK, payload: bytes = b"", seq: int = 0, stopped: bool = False) -> None:
        """alice > nat_a > nat_b > bob."""
        out = self.send("alice", Packet(TCP, ALICE, NAT_B, payload, flags=flags, seq=seq))
        between = out.rewritten(src=NAT_A)
        self.note("nat_a", TRANSLATED, between, Verdict(Rule.TRANSLATED, "by a row"), out)
        self.wait(10)
        if stopped:
            self.note("nat_b", DROPPED, between, FILTERED)
            return
        inside = between.rewritten(dst=BOB)
        self.note("nat_b", TRANSLATED, inside, Verdict(Rule.TRANSLATED, "by a row"), between)
        self.note("bob", DELIVERED, inside)

    def ladder(self, net: Internet | None = None) -> Ladder:
        return Ladder(self.entries, net or natsim.two_nats("linux", "linux"))


def arrows(ladder: Ladder) -> list[Arrow]:
    return [row for row in ladder.rows if isinstance(row, Arrow)]


def folds(ladder: Ladder) -> list[Fold]:
    return [row for row in ladder.rows if isinstance(row, Fold)]


def names(net: Internet) -> list[str]:
    return [column.name for column in Columns(net).all]


@pytest.fixture(scope="module")
def demo() -> Ladder:
    return demonstration().ladder()


# -- Columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("linux", "linux", ["alice", "nat_a", "server", "nat_b", "bob"]),
        ("cgnat", "linux", ["alice", "nat_a", "carrier_a", "server", "nat_b", "bob"]),
        ("none", "cgnat", ["alice", "server", "carrier_b", "nat_b", "bob"]),
        ("firewall", "none", ["alice", "nat_a", "server", "bob"]),
    ],
)
def test_columns_go_from_the_inside_outwards_with_the_server_in_the_middle(a: str, b: str, expected: list[str]) -> None:
    assert names(natsim.two_nats(a, b)) == expected


def test_columns_of_one_site() -> None:
    assert names(natsim.same_nat("cgnat")) == ["alice", "bob", "home", "carrier", "server"]


def test_columns_without_a_server() -> None:
    net = Internet()
    net.host("anna", behind=net.nat("box", natsim.NatBehavior()))
    net.host("ben")
    assert names(net) == ["anna", "box", "ben"]


# -- Hops -------------------------------------------------------------------------------------------------------------


def test_a_packet_goes_hop_by_hop_with_its_addresses_before_and_after() -> None:
    book = Book()
    book.to_server(SYN, new=True)
    ladder = book.ladder()
    (arrow,) = arrows(ladder)
    assert [(hop.start, hop.end) for hop in arrow.hops] == [(0, 1), (1, 2)]
    assert [hop.packet.src for hop in arrow.hops] == [ALICE, NAT_A]
    assert [hop.arrived - hop.left for hop in arrow.hops] == [100_000, 9_900_000]
    for text in (ladder.svg, ladder.text, ladder.table_html):
        assert f"was {ALICE}" in text
        assert f"now {NAT_A}" in text
        assert "SYN" in text


def test_a_drop_has_its_rule_and_its_reason_everywhere() -> None:
    book = Book()
    book.direct(SYN, stopped=True)
    ladder = book.ladder()
    assert arrows(ladder)[0].hops[-1].fate is story.Fate.DROPPED
    for text in (ladder.svg, ladder.text, ladder.table_html):
        assert "filtered" in text.lower()
        assert f"no session of {BOB} with {NAT_A}" in " ".join(text.split())
    assert "✗ filtered at nat_b" in ladder.text
    assert "1 dropped or lost" in ladder.summary


def test_what_ends_on_the_internet_ends_between_columns_and_its_answer_starts_there() -> None:
    book = Book()
    lost = book.send("alice", Packet(UDP, ALICE, Endpoint("8.8.8.8", 9), b"x" * 20))
    outside = lost.rewritten(src=NAT_A)
    book.note("nat_a", TRANSLATED, outside, None, lost)
    book.note("internet", ANSWERED, outside, "NO ROUTE: the internet knows no such address")
    core = Endpoint("203.0.113.1", 0)
    error = Packet(ICMP, core, NAT_A._replace(port=0), icmp=(3, 0), quoted=outside, cause=1)
    book.send("internet", error)
    book.note("nat_a", DROPPED, error, "UNKNOWN: no row")
    ladder = book.ladder()
    there, back = arrows(ladder)
    assert there.hops[-1].end == back.hops[0].start == 1.5
    assert "ICMP network unreachable" in ladder.svg
    assert "UDP 20 B" in ladder.svg
    assert "↩ no route at internet: the internet knows no such address" in ladder.text


def test_a_packet_lost_on_a_link_ends_midway() -> None:
    book = Book()
    for node, link, far in (("alice", "alice>internet", NAT_B), ("server", "internet>nat_a", NAT_A)):
        book.note(link, DROPPED, book.send(node, Packet(UDP, ALICE, far)), "LOST: this link loses packets")
    one, other = (arrow.hops[-1] for arrow in arrows(book.ladder()))
    assert (one.fate, one.end) == (story.Fate.LOST, 0.5)
    assert (other.start, other.end) == (2, 1.5)
    assert "lost on the way: LOST: this link" in book.ladder().table_html


def test_packets_that_nobody_saw_again_are_still_on_their_way() -> None:
    book = Book()
    out = book.send("alice", Packet(UDP, ALICE, SERVER))
    book.note("nat_a", TRANSLATED, out.rewritten(src=NAT_A), None, out)
    book.send("bob", Packet(UDP, BOB, SERVER))
    ladder = book.ladder()
    assert [arrow.hops[-1].fate for arrow in arrows(ladder)] == [story.Fate.FLYING] * 2
    assert [arrow.hops[-1].end for arrow in arrows(ladder)] == [1.5, 3.5]
    assert "still on its way when the run ended" in ladder.table_html


def test_a_packet_to_itself_and_one_held_back_are_drawn_too() -> None:
    book = Book()
    book.note("bob", DELIVERED, book.send("bob", Packet(UDP, BOB, BOB)))
    syn = book.send("alice", Packet(TCP, ALICE, NAT_B, flags=SYN))
    held = Verdict(Rule.SYN_HELD, "it waits")
    book.note("nat_b", HELD, syn, held)
    book.wait(6000)
    book.note("nat_b", DROPPED, syn, held)
    ladder = book.ladder()
    assert "to itself" in ladder.text
    assert [hop.fate for hop in arrows(ladder)[1].hops] == [story.Fate.HELD, story.Fate.DROPPED]
    ET.fromstring(ladder.svg)


def test_sent_again_is_told_from_sent_anew() -> None:
    book = Book()
    for flags, seq, payload in ((SYN, 7, b""), (SYN, 7, b""), (SYN | ACK, 7, b""), (SYN, 90, b"")):
        book.to_server(flags, payload, seq)
    for seq in (91, 95, 91):
        book.to_server(ACK | PSH, b"four", seq)
    book.to_server(ACK, b"", 91)
    ladder = book.ladder()
    assert [arrow.again for arrow in arrows(ladder)] == [False, True, False, False, False, False, True, False]
    assert ladder.text.count("again") == 3  # the legend says it too
    assert "SYN again" in ladder.svg


# -- Words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (Packet(TCP, ALICE, SERVER, flags=SYN), "SYN"),
        (Packet(TCP, ALICE, SERVER, flags=SYN | ACK), "SYN,ACK"),
        (Packet(TCP, ALICE, SERVER, flags=ACK), "ACK"),
        (Packet(TCP, ALICE, SERVER, flags=RST | ACK), "RST"),
        (Packet(TCP, ALICE, SERVER, flags=FIN | ACK), "FIN"),
        (Packet(TCP, ALICE, SERVER, b"abc", flags=FIN | PSH | ACK), "data 3 B, FIN"),
        (Packet(TCP, ALICE, SERVER, b"x" * 1460, flags=PSH | ACK), "data 1460 B"),
        (Packet(UDP, ALICE, SERVER, b"x" * 20), "UDP 20 B"),
        (Packet(ICMP, ALICE, SERVER, icmp=(3, 3)), "ICMP port unreachable"),
        (Packet(ICMP, ALICE, SERVER, icmp=(5, 1)), "ICMP type 5 code 1"),
    ],
)
def test_packets_are_named_as_students_know_them(packet: Packet, expected: str) -> None:
    assert words.kind(packet) == expected


def test_table_and_tooltips_say_the_same(demo: Ladder) -> None:
    titles = [title.text for title in ET.fromstring(demo.svg).iter(f"{SVG}title")]
    table = ET.fromstring(demo.table_html)
    cells = [[cell.text or "" for cell in row] for row in table.iter("tr")][1:]
    assert len(cells) > 50
    for row in cells:
        assert len(row) == 5
        if row[1]:  # all but pauses
            assert words.Line(*row).sentence() in titles


# -- Folding ----------------------------------------------------------------------------------------------------------


def bulk(book: Book, packets: int, relayed: bool, first: int = 0, size: int = 1000) -> None:
    for number in range(packets):
        start = book.now
        (book.to_server if relayed else book.direct)(ACK, b"x" * size, 1 + (first + number) * size)
        book.now = start + MILLISECOND


def test_bulk_is_folded_and_counted() -> None:
    book = Book()
    book.to_server(SYN, new=True)
    bulk(book, 1000, relayed=True)
    book.wait(20)
    book.to_server(FIN | ACK, seq=1_000_001)
    ladder = book.ladder()
    (fold,) = folds(ladder)
    assert (fold.packets, fold.payload, fold.relayed, fold.left, fold.right) == (998, 998_000, True, 0, 2)
    assert [words.label(arrow) for arrow in arrows(ladder)] == ["SYN", "data 1000 B", "data 1000 B", "FIN"]
    for text in (ladder.svg, ladder.text, ladder.table_html):
        assert "998 packets, 998 kB relayed, 1.01 s" in text


def test_the_first_data_after_a_change_of_path_is_shown() -> None:
    book = Book()
    bulk(book, 100, relayed=True)
    book.wait(200)
    bulk(book, 100, relayed=False)
    book.wait(200)
    bulk(book, 100, relayed=True, first=100)
    ladder = book.ladder()
    assert [arrow.relayed for arrow in arrows(ladder)] == [True, True, False, False, True, True]
    assert [(fold.packets, fold.relayed) for fold in folds(ladder)] == [(98, True), (98, False), (98, True)]


def test_few_packets_are_not_folded(demo: Ladder) -> None:
    assert not folds(demo)
    assert len(arrows(demo)) == len({entry.packet.uid for entry in demonstration().trace or ()})


def test_whatever_is_interesting_shows_amid_bulk() -> None:
    book = Book()
    bulk(book, 500, relayed=True)
    book.direct(SYN, seq=5, stopped=True)
    bulk(book, 500, relayed=True, first=500)
    book.direct(SYN, seq=5)
    book.direct(RST, seq=6)
    shown = [words.label(arrow) for arrow in arrows(book.ladder())]
    assert shown == ["data 1000 B", "data 1000 B", "SYN", "SYN again", "RST"]
    assert sum(fold.packets for fold in folds(book.ladder())) == 998


def test_too_many_interesting_packets_are_folded_too_and_none_is_uncounted() -> None:
    book = Book()
    for port in range(1024):
        probe = Packet(UDP, ALICE, Endpoint(NAT_B.address, 20_000 + port), b"x" * 20)
        sent = book.send("alice", probe)
        outside = sent.rewritten(src=Endpoint(NAT_A.address, 30_000 + port))
        book.note("nat_a", TRANSLATED, outside, Verdict(Rule.TRANSLATED, "a row", new=True), sent)
        book.wait(3)
        book.note("nat_b", DROPPED, outside, FILTERED)
    ladder = book.ladder()
    assert 1 <= len(arrows(ladder)) <= folding.BUDGET
    assert len(ladder.rows) <= 2 * folding.BUDGET
    assert len(arrows(ladder)) + sum(fold.packets for fold in folds(ladder)) == 1024
    assert (
        "more UDP, refused at nat_b: filtered" in ladder.text or "more UDP, dropped at nat_b: filtered" in ladder.text
    )


def test_silence_is_shortened() -> None:
    book = Book()
    book.to_server(SYN)
    book.wait(1200)
    book.to_server(SYN)
    ladder = book.ladder()
    (gap,) = [row for row in ladder.rows if isinstance(row, Gap)]
    assert gap.until - gap.when == 1.2 * SECOND
    for text in (ladder.svg, ladder.text, ladder.table_html):
        assert "1.20 s of silence" in text
    height = float(ET.fromstring(ladder.svg).attrib["height"])
    assert height < 600


def test_a_big_trace_is_drawn_quickly_and_stays_small() -> None:
    book = Book()
    bulk(book, 60_000, relayed=True)
    bulk(book, 20_000, relayed=False)
    start = time.process_time()
    ladder = book.ladder()
    assert len(ladder.svg) < 300_000
    assert len(arrows(ladder)) <= folding.BUDGET
    assert time.process_time() - start < 5  # 1 s on an ordinary machine


# -- The picture ------------------------------------------------------------------------------------------------------


def test_the_svg_stands_alone_and_is_described(demo: Ladder) -> None:
    root = ET.fromstring(demo.svg)
    assert root.tag == f"{SVG}svg"
    assert root.attrib["role"] == "img"
    by_id = {element.attrib["id"]: element for element in root.iter() if "id" in element.attrib}
    assert by_id[root.attrib["aria-labelledby"]].text == "Packets between alice, nat_a, server, nat_b and bob"
    assert by_id[root.attrib["aria-describedby"]].text == demo.summary
    assert not list(root.iter(f"{SVG}script"))
    assert "var(--jp-ui-font-color1" in demo.svg
    hops = sum(len(arrow.hops) for arrow in arrows(demo))
    assert len([g for g in root.iter(f"{SVG}g") if g.attrib["class"].startswith("hop")]) == hops
    assert all(g.find(f"{SVG}title") is not None for g in root.iter(f"{SVG}g"))


def test_relayed_and_direct_and_dropped_differ_in_more_than_colour() -> None:
    book = Book()
    book.to_server(SYN)
    book.direct(SYN)
    book.direct(SYN, seq=99, stopped=True)
    strokes = {
        (path.attrib["stroke"], path.attrib.get("stroke-dasharray"))
        for group in ET.fromstring(book.ladder().svg).iter(f"{SVG}g")
        for path in group.findall(f"{SVG}path")
        if group.attrib["class"].startswith("hop") and "stroke" in path.attrib
    }
    assert {("#E69F00", "9 3"), ("#0072B2", None), ("#D55E00", "4 3")} <= strokes


@pytest.mark.parametrize(("a", "b"), [("linux", "linux"), ("eim-apdf-rst", "eim-apdf-rst"), ("cgnat", "apdm-apdf")])
def test_no_text_covers_another(a: str, b: str) -> None:
    run = demonstration(a, b)
    columns = Columns(run.net)
    layout = Layout(folding.rows(run.trace or (), columns), columns, 120)
    boxes = []
    for placed in layout.hops:
        for text in placed.texts:
            width = len(text.text) * 5.5
            left = {"start": text.x, "end": text.x - width, "middle": text.x - width / 2}[text.anchor]
            boxes.append((left, text.y - 9, left + width, text.y + 1, text.text))
        if placed.tag:
            boxes.append((*placed.tag, "tag"))
    for number, (left, top, right, bottom, _) in enumerate(boxes):
        for other in boxes[:number]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top, (
                boxes[number],
                other,
            )


def test_equal_runs_give_equal_bytes_in_any_process(demo: Ladder) -> None:
    assert demonstration().ladder().svg == demo.svg
    code = "from natsim.view.ladder_demo import demonstration as d; print(d().ladder().svg, end='')"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert other.stdout == demo.svg
    assert len({demonstration("apdm-apdf", "linux", seed).ladder().svg for seed in (1, 2)}) == 2


def test_hostile_text_stays_text() -> None:
    book = Book()
    syn = book.send("alice", Packet(TCP, ALICE, SERVER, flags=SYN))
    book.note("nat_a", DROPPED, syn, 'EVIL: </text><script>alert("1")</script>\x00 ]]> & {} <!--')
    ladder = book.ladder()
    for markup in (ladder.svg, ladder.table_html, ladder._repr_html_()):
        assert "<script" not in markup
        ET.fromstring(markup)
    assert "<script>alert" in ladder.text


def test_text_ladder_of_the_demonstration(demo: Ladder) -> None:
    lines = demo.text.splitlines()
    assert max(map(len, lines)) <= 130
    heads = next(line for line in lines if line.split()[:1] == ["alice"])
    assert heads.split() == ["alice", "nat_a", "server", "nat_b", "bob"]
    assert any("●─SYN──" in line and "✗" in line for line in lines)
    assert any("◆═data 25 B══" in line for line in lines)
    assert not any(line != line.rstrip() for line in lines)


# -- Using it ---------------------------------------------------------------------------------------------------------


def test_a_run_draws_itself(tmp_path: pathlib.Path) -> None:
    run = demonstration("eim-apdf-rst", "eim-apdf-rst")
    ladder = run.ladder()
    assert run.result == ("hello without it",) * 2
    assert "refused: filtered" in ladder.svg
    assert "RST" in ladder.svg
    assert "<details>" in ladder._repr_html_()
    assert ladder._repr_svg_() == ladder.svg
    ladder.save(tmp_path / "story.svg")
    ladder.save(str(tmp_path / "story.txt"))
    assert (tmp_path / "story.svg").read_text(encoding="utf-8") == ladder.svg
    assert (tmp_path / "story.txt").read_text(encoding="utf-8") == str(ladder)


def test_a_run_without_a_trace_says_so() -> None:
    run: Any = Run(natsim.two_nats("none", "none"), "loopback", None, 1.0, None)
    with pytest.raises(NoTrace, match="loopback has no NATs"):
        run.ladder()


def test_an_empty_trace_is_an_empty_ladder() -> None:
    ladder = Book().ladder()
    ET.fromstring(ladder.svg)
    assert ladder.rows == []
    assert "0 packets" in ladder.text


def test_it_is_a_command_too(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "demo.svg"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "natsim.view.ladder", str(path)],
        capture_output=True,
        check=True,
        encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(pathlib.Path(natsim.__file__).parents[1])},
    )
    assert "filtered at nat_b" in done.stdout
    ET.parse(path)
