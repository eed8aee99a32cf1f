"""The player: what it is given, and what is to be read where no script runs.  `tests/browser` sees it play."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from sim_tools import datagrams

import natsim
from natsim.nat.table_row import ANYBODY, TableRow
from natsim.packet import Endpoint
from natsim.row_log import Emptied, RowSeen
from natsim.trace import NoTrace
from natsim.view.columns import Columns
from natsim.view.ladder_demo import demonstration
from natsim.view.player import Player
from natsim.view.table_life import lives
from natsim.view.topology import Topology
from natsim.view.topology_svg import topology_svg

INSIDE, OUTSIDE = Endpoint("192.168.1.2", 5000), Endpoint("198.51.100.1", 5000)
REMOTE, OTHER = Endpoint("203.0.113.7", 80), Endpoint("203.0.113.8", 80)


def row(expires: int, remote: Endpoint = REMOTE, state: str = "") -> TableRow:
    return TableRow("udp", INSIDE, OUTSIDE, remote, (remote,), state, expires)


# -- The life of a row ------------------------------------------------------------------------------------------------


def test_a_row_lives_until_it_expires_and_looks_as_it_was_last_seen() -> None:
    (life,) = lives([RowSeen(10, "nat", 1, row(40, state="new")), RowSeen(20, "nat", 1, row(50, state="old"))])
    assert [look and look.state for look in map(life.at, (9, 10, 19, 20, 49, 50))] == [
        *(None, "new", "new"),
        *("old", "old", None),
    ]


def test_an_emptied_table_ends_the_rows_of_its_nat_only() -> None:
    one, other = lives([RowSeen(0, "a", 1, row(99)), RowSeen(0, "b", 2, row(99)), Emptied(30, "a")])
    assert (one.ended, other.ended) == (30, 99)


def test_a_row_that_expired_before_is_not_revived_by_that() -> None:
    (life,) = lives([RowSeen(0, "a", 1, row(20)), Emptied(30, "a")])
    assert life.ended == 20


def test_another_row_in_its_place_ends_a_row() -> None:
    rows = [RowSeen(0, "a", 1, row(99)), RowSeen(5, "a", 2, row(99, OTHER)), RowSeen(30, "a", 3, row(99))]
    assert [life.ended for life in lives(rows)] == [30, 99, 99]


def test_keys_in_words() -> None:
    shown = TableRow("udp", None, OUTSIDE, ANYBODY, (), "", 1).cells()
    assert shown == ("udp", "the NAT itself", "198.51.100.1:5000", "anybody", "nobody", "")


# -- The topology -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def topology() -> Topology:
    net = natsim.two_nats("cgnat", "linux")
    return Topology(net, Columns(net))


def test_packets_go_by_the_internet_unless_one_is_behind_the_other(topology: Topology) -> None:
    place = topology.columns.place
    ways = {
        pair: topology.way(place[pair[0]], place[pair[1]])
        for pair in (("alice", "nat_a"), ("nat_a", "carrier_a"), ("carrier_a", "server"), ("carrier_a", "nat_b"))
    }
    assert [topology.cloud in way for way in ways.values()] == [False, False, True, True]
    assert topology.way(place["nat_b"], place["nat_b"] - 0.5)[-1] == topology.cloud


def test_two_behind_one_nat_go_through_it() -> None:
    net = natsim.same_nat("linux")
    topology = Topology(net, Columns(net))
    place = topology.columns.place
    home = topology.spots["home"]
    assert topology.way(place["alice"], place["bob"])[1] == (home.x, home.y)


def test_the_map_names_everybody_in_pictures_and_in_words() -> None:
    net = natsim.two_nats("cgnat", "linux")
    root = ET.fromstring(topology_svg(net))
    texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"alice", "nat_a", "carrier_a", "server", "nat_b", "bob", net.bob.address} <= texts
    (description,) = [e.text for e in root.iter("{http://www.w3.org/2000/svg}desc")]
    assert description is not None
    assert description.index("alice") < description.index("server") < description.index("bob")


# -- The page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def player() -> Player:
    return demonstration().player()


@pytest.fixture(scope="module")
def data(player: Player) -> dict[str, Any]:
    (text,) = re.findall(r"start\(root,(\{.*?\})\)\}\)\}\)\(", player.html, re.DOTALL)
    return json.loads(text.replace("<\\/", "</"))  # type: ignore[no-any-return]


def test_time_and_height_rise_together(data: dict[str, Any]) -> None:
    heights, times = zip(*data["clock"], strict=True)
    assert list(heights) == sorted(heights)
    assert list(times) == sorted(times)
    assert times[-1] > times[0]


def test_every_hop_of_the_ladder_is_there_and_says_its_sentence(player: Player, data: dict[str, Any]) -> None:
    assert len(data["hops"]) == len(player.ladder.layout.hops)
    shapes = {int(number) for number in re.findall(r'data-hop="(\d+)"', player.ladder.svg)}
    assert shapes == set(range(len(data["hops"])))
    refused = [hop for hop in data["hops"] if hop["ends"]]
    assert refused
    assert all("dropped" in hop["says"] for hop in refused)
    assert all("dropped" not in hop["leaves"] for hop in refused), "nobody knows yet"


def test_hops_at_a_nat_name_the_row_of_its_table(data: dict[str, Any]) -> None:
    rows = {row["number"]: row["looks"][0]["cells"] for table in data["tables"] for row in table["rows"]}
    named = {hop["row"] for hop in data["hops"]} - {None}
    assert named == set(rows)
    translated = [hop for hop in data["hops"] if hop["row"] and "was 192.168.1.2" in hop["says"]]
    assert all(rows[hop["row"]][1].startswith("192.168.1.2:") for hop in translated)


def test_without_a_script_the_ladder_and_its_table_are_to_be_read(player: Player) -> None:
    html = re.sub(r"<script>.*?</script>", "", player.html, flags=re.DOTALL)
    assert player.ladder.svg in html
    assert player.ladder.table_html in html
    assert player.ladder.summary in html
    assert 'data-part="controls" class="controls" hidden' in html, "and no button that does nothing"


def test_nothing_comes_from_elsewhere(player: Player) -> None:
    page = player.page.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_equal_runs_make_equal_pages() -> None:
    assert demonstration().player().page == demonstration().player().page


def test_what_a_rule_returns_cannot_become_markup() -> None:
    def mapping(remote: Endpoint) -> str:
        return "</script><b>"

    net = natsim.two_nats(natsim.NatBehavior(mapping=mapping), "none")

    async def story() -> None:
        async def hello() -> None:
            (await datagrams()).transport.sendto(b"hello", ("203.0.113.10", 80))

        await net.alice.start(hello())

    html = net.run(story).player().html
    assert "for packets to" in html
    assert html.count("</script>") == 1
    assert "<b>" not in html.replace("<\\/script><b>", "")


async def _nothing() -> None:
    return


def test_a_run_without_a_trace_has_no_player() -> None:
    net = natsim.two_nats("none", "none")
    with pytest.raises(NoTrace):
        net.run(_nothing, trace=False).player()


def test_it_demonstrates_itself(tmp_path: Path) -> None:
    path = tmp_path / "story.html"
    subprocess.run([sys.executable, "-m", "natsim.view.player", str(path)], check=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    drawn = subprocess.run([sys.executable, "-m", "natsim.view.topology_svg"], check=True, capture_output=True)
    ET.fromstring(drawn.stdout)
