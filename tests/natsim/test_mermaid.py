"""Mermaid diagrams: what stands in them, in which order, that nothing in them is taken for markup, and their length."""

from __future__ import annotations

import asyncio
import re

import pytest
from sim_tools import at, datagrams, tcp
from trace_stories import STORIES, run_of, send

import natsim
from natsim import NatBehavior, Run
from natsim.packet import ACK
from natsim.scheduler import MILLISECOND, Scheduler
from natsim.trace import Trace
from natsim.view.mermaid import mermaid

#: All that a line of a diagram may be.
PARTICIPANT = re.compile(r"    participant ([\w.]+)(?: as (\w+)<br/>([\d.]+))?")
ARROW = re.compile(r"    ([\w.]+)(->>|-x|-\))([\w.]+): ([^;#<>{}%$]|#\d+;)+")
NOTE = re.compile(r"    Note over ([\w.]+)(?:,([\w.]+))?: (([^;#<>{}%$]|#\d+;)|<br/>)+")


def lines_of(text: str) -> list[str]:
    """The lines after the participants, each of which is an arrow or a note between participants."""
    head, *lines = text.splitlines()
    assert head == "sequenceDiagram"
    assert text.endswith("\n")
    known = [match[1] for line in lines if (match := PARTICIPANT.fullmatch(line))]
    assert len(known) == len(set(known))
    rest = lines[len(known) :]
    for line in rest:
        match = ARROW.fullmatch(line) or NOTE.fullmatch(line)
        assert match, line
        ends = (match[1], match[3]) if ARROW.fullmatch(line) else (match[1], match[2] or match[1])
        assert set(ends) <= set(known)
    return [line.strip() for line in rest]


# -- What stands there ------------------------------------------------------------------------------------------------


def test_nodes_take_part_in_the_order_of_the_ladder() -> None:
    text = run_of("linux").mermaid()
    assert [line.strip() for line in text.splitlines()[1:6]] == [
        "participant alice as alice<br/>192.168.1.2",
        "participant nat_a as nat_a<br/>198.51.100.1",
        "participant server as server<br/>203.0.113.10",
        "participant nat_b as nat_b<br/>198.51.100.2",
        "participant bob as bob<br/>192.168.2.2",
    ]


def test_a_packet_has_an_arrow_for_each_hop_with_the_addresses_that_it_has_there() -> None:
    lines = lines_of(run_of("linux").mermaid())
    assert lines[0] == "alice->>nat_a: 0.0001 s SYN, 192.168.1.2:5000 #62; 203.0.113.10:7711"
    assert lines[2] == "nat_a->>server: 0.0200 s SYN, 198.51.100.1:5000 #62; 203.0.113.10:7711"
    assert "nat_b->>bob: 0.0800 s data 18 B" in lines


def test_a_drop_is_a_cross_with_its_reason_beneath() -> None:
    lines = lines_of(run_of("linux").mermaid())
    (cross,) = [number for number, line in enumerate(lines) if "-x" in line]
    assert lines[cross] == "nat_a-xnat_b: 0.1399 s SYN, 198.51.100.1:5000 #62; 198.51.100.2:6000"
    assert lines[cross + 1].startswith("Note over nat_b: FILTERED: no flow 198.51.100.1:5000 #62; 198.51.100.2:6000:")
    assert lines[cross + 1].endswith("(RFC 4787 section 5)")


def test_an_arrow_stands_where_it_arrives_beneath_what_let_it_in() -> None:
    """bob's SYN leaves nat_b before alice's second one gets there, although it was sent later than that."""
    lines = lines_of(run_of("linux").mermaid())
    times = [float(found[1]) for line in lines if (found := re.search(r": (\d+\.\d+) s ", line)) and "Note" not in line]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("story", "line"),
    [
        ("strangers", "nat_a-xinternet: 2.0100 s UDP 5 B, 198.51.100.1:5000 #62; 203.0.113.99:9"),
        ("strangers", "Note over internet: NO ROUTE: the internet knows no such address"),
        ("strangers", "alice-xalice: 3.5000 s UDP 5 B, 192.168.1.2:5000 #62; 192.168.1.2:9"),
        ("strangers", "alice->>alice: 3.5000 s ICMP port unreachable"),
        ("lossy", "Note over nat_b: on the link internet#62;nat_b: LOST: this link loses packets"),
        ("holding", "nat_a->>nat_b: 0.1399 s SYN, 198.51.100.1:5000 #62; 198.51.100.2:6000"),
        ("hairpin", "home->>bob: 1.0200 s UDP 2 B, 198.51.100.1:5000 #62; 192.168.1.3:6000"),
    ],
)
def test_what_happens_elsewhere_stands_there_too(story: str, line: str) -> None:
    assert line in lines_of(run_of(story).mermaid())


def test_a_packet_that_is_held_has_a_note() -> None:
    (note,) = [line for line in lines_of(run_of("holding").mermaid()) if "STRAY SYN HELD" in line]
    assert note.startswith("Note over nat_b: ")


def test_the_internet_takes_part_only_if_something_ends_there_and_stands_in_the_middle() -> None:
    assert "internet" not in run_of("linux").mermaid()
    order = re.findall(r"participant (\w+)", run_of("strangers").mermaid())
    assert order == ["alice", "nat_a", "internet", "server", "nat_b", "bob"]


def test_what_is_still_on_its_way_points_to_whom_it_is_for() -> None:
    net = natsim.two_nats("linux", "none")
    trace = Trace(Scheduler())
    trace.sent("alice", tcp("192.168.1.2:5000", at(f"{net.server.address}:80")))
    (line,) = lines_of(mermaid(net, trace, 10))
    assert line.startswith("alice-)server: 0.0000 s SYN, ")
    assert line.endswith(", still on its way")


def test_silence_has_a_note() -> None:
    (pause, *_) = [line for line in lines_of(run_of("faults").mermaid()) if "of silence" in line]
    assert re.fullmatch(r"Note over alice,bob: \d\.\d\d s of silence", pause)


# -- Nothing is taken for markup --------------------------------------------------------------------------------------

NASTY = "style: a;b #3; <b>x</b> %%{init: {}}%% $$x$$ & end\nloop `q` \\n x->>y"


def nasty_run() -> Run:
    """Names that are Mermaid's own words, and a rule with a name full of its signs."""

    def ports(wish: natsim.Wish) -> list[int]:
        return []

    ports.__name__ = NASTY
    net = natsim.Internet(3)
    net.host("server")
    nat = net.nat("end", NatBehavior(ports=ports))
    for name in ("loop", "Note", "participan"):
        net.host(name, behind=nat)

    async def story() -> None:
        for host in net.hosts.values():
            mine = await host.start(datagrams(("0.0.0.0", 9)))
            mine.transport.sendto(b"hi", (net.server.address, 9))
        await asyncio.sleep(1)

    return net.run(story)


def test_names_and_reasons_are_never_markup() -> None:
    text = nasty_run().mermaid()
    lines = lines_of(text)
    assert "    participant node.end as end<br/>198.51.100.1" in text.splitlines()
    assert "    participant node.Note as Note<br/>192.168.1.3" in text.splitlines()
    assert "    participant participan as participan<br/>192.168.1.4" in text.splitlines()
    reason = next(line for line in lines if "NO PORT LEFT" in line)
    plain = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), reason.replace("<br/>", " "))
    assert " ".join(NASTY.split()) in plain


@pytest.mark.parametrize("story", STORIES)
def test_every_line_of_every_diagram_is_an_arrow_or_a_note(story: str) -> None:
    assert lines_of(run_of(story).mermaid())


# -- Its length -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("story", ["linux", "lossy", "fragments", "faults"])
@pytest.mark.parametrize("limit", [1, 7, 40, 150])
def test_a_diagram_is_no_longer_than_wanted_and_counts_what_it_leaves_out(story: str, limit: int) -> None:
    run = run_of(story)
    lines = lines_of(run.mermaid(limit))
    assert len(lines) <= limit + 1
    if len(lines) == limit + 1:
        left_out = re.fullmatch(
            r"Note over \w+,\w+: (\d+) more arrows and notes, until .* s, are left out here", lines[-1]
        )
        assert left_out
        assert int(left_out[1]) > 0


def test_what_is_left_out_is_counted_exactly() -> None:
    net = natsim.two_nats("none", "none")
    clock = Scheduler()
    trace = Trace(clock)
    for number in range(3):
        packet = tcp(f"{net.alice.address}:{number}", f"{net.bob.address}:80")
        trace.sent("alice", packet)
        clock.now += 20 * MILLISECOND
        trace.add("bob", "dropped", packet, "PORT CLOSED: no socket")
    assert len(lines_of(mermaid(net, trace, 100))) == 6
    assert lines_of(mermaid(net, trace, 9)) == lines_of(mermaid(net, trace, 100))
    lines = lines_of(mermaid(net, trace, 5))
    assert len(lines) <= 6
    whole = sum(int(found[1]) if (found := re.search(r"(\d+) more SYN", line)) else "-x" in line for line in lines)
    assert whole == 3


def test_a_long_run_is_folded_before_it_is_cut() -> None:
    """So that its end is there."""
    net = natsim.two_nats("none", "none")
    clock = Scheduler()
    trace = Trace(clock)
    for number in range(5000):
        packet = tcp(f"{net.alice.address}:5000", f"{net.bob.address}:80", ACK, seq=number * 1000, payload=bytes(1000))
        trace.sent("alice", packet)
        clock.now += 20 * MILLISECOND
        trace.add("bob", "delivered", packet)
    trace.add("bob", "dropped", packet, "PORT CLOSED: the last one")
    text = mermaid(net, trace, 20)
    lines = lines_of(text)
    assert len(text) < 5000
    assert any(re.search("packets, 5.0 MB peer to peer", line) for line in lines)
    assert "PORT CLOSED: the last one" in text


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one arrow: limit=0"):
        run_of("linux").mermaid(0)


def test_one_host_alone_with_the_internet() -> None:
    net = natsim.Internet(1)
    net.host("alice")

    async def story() -> None:
        for port in range(1, 31):
            await send(net.alice, b"anybody", ("203.0.113.99", port))

    lines = lines_of(net.run(story).mermaid(40))
    assert lines[0].startswith("alice-xinternet: 0.0000 s UDP 7 B, ")
    assert lines[1] == "Note over internet: NO ROUTE: the internet knows no such address"
    short = lines_of(net.run(story).mermaid(4))
    assert short[-1].startswith("Note over alice: "), "and what is folded has no neighbour to be between"
