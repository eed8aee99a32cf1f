"""The Copilot story on real Linux NATs: relayed, then direct past the server, and back when the way is cut."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

import natsim
from natsim.kernel.world import KernelWorld

sys.path.insert(0, str(Path(__file__).parent.parent / "story"))
from talk import Talk, until

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("nats", [("linux", "linux"), ("linux-reject", "linux-reject"), ("firewall", "linux")])
def test_direct_bytes_do_not_pass_the_server(nats: tuple[str, str]) -> None:
    net = natsim.two_nats(*nats, delay=5)
    talk = Talk(net, pieces=100, size=20_000, pace=0.005)
    passed = []

    async def story() -> None:
        assert isinstance(net.world, KernelWorld)
        await talk.meet()
        await asyncio.gather(*(link.settled() for link in talk.links.values()))
        await until(lambda: all(link.direct for link in talk.links.values()), 10)
        before = sum(net.world.traffic("server"))
        await talk.converse()
        passed.append(sum(net.world.traffic("server")) - before)

    net.run(story, world="kernel")
    talk.assert_intact()
    assert all(link.bytes_direct > 3_900_000 for link in talk.links.values())
    # Four megabytes went direct; what the server's interface carried meanwhile is the end of the relayed connection.
    assert passed[0] < 100_000


def test_pairs_that_cannot_stay_relayed() -> None:
    net = natsim.two_nats("linux-random", "linux", delay=5)
    talk = Talk(net, pieces=50)

    async def story() -> None:
        await talk.meet()
        await talk.converse()

    net.run(story, world="kernel")
    talk.assert_intact()
    assert talk.moves("alice") == talk.moves("bob") == []


@pytest.mark.parametrize("how", ["drop", "reset"])
def test_a_cut_direct_path_is_replaced_and_comes_back(how: str) -> None:
    net = natsim.two_nats("linux", "linux", delay=5)
    talk = Talk(net, pieces=550, pace=0.02)

    async def strike() -> None:
        links = talk.links.values()
        await until(lambda: all(link.direct for link in links), 10)
        net.cut("nat_a", "nat_b", how)
        await until(lambda: not any(link.direct for link in links), 10)
        await asyncio.sleep(2.5)  # long enough that it does not come back by itself
        net.heal("nat_a", "nat_b")
        await until(lambda: all(link.direct for link in links), 25)

    async def story() -> None:
        await talk.meet()
        await talk.converse(strike)

    net.run(story, world="kernel")
    talk.assert_intact()
    assert talk.moves("alice") == talk.moves("bob") == ["direct", "lost", "direct"]
