"""The Copilot story in the simulator: relayed at once, then direct, and back; and which pairs cannot."""

from __future__ import annotations

import asyncio

import pytest
from talk import Talk, until

import natsim
import punchkit


@pytest.mark.parametrize("seed", range(5))
def test_two_linux_nats_go_direct_after_having_relayed(seed: int) -> None:
    net = natsim.two_nats("linux", "linux", seed=seed)
    talk = Talk(net)

    async def story() -> None:
        await talk.meet()
        assert {link.path for link in talk.links.values()} == {"relay"}
        await talk.converse()

    run = net.run(story)
    talk.assert_intact()
    for name, nat in (("alice", "198.51.100.2"), ("bob", "198.51.100.1")):
        link = talk.links[name]
        over_relay, over_direct = (link.first_data[path] for path in link.first_data)
        assert next(iter(link.first_data)) == "relay"
        assert over_relay < over_direct
        assert talk.moves(name) == ["direct"]
        assert link.bytes_direct > link.bytes_relayed > 0
        assert nat in next(path for path in link.first_data if path != "relay")
    assert "went direct" in run.why()
    # What went direct did not pass the server: it relayed little more than the payload that the links counted.
    relayed = talk.links["alice"].bytes_relayed
    assert relayed <= talk.server.stats.bytes_relayed < relayed * 1.1 + 3000


PAIRS = [
    ("eim-apdf", "eim-apdf", True),
    ("eim-eif", "apdm-apdf", True),
    ("eim-adf", "apdm-apdf", True),
    ("eim-apdf", "apdm-apdf", False),
    ("apdm-apdf", "apdm-apdf", False),
    ("linux", "linux-random", False),
    ("linux-random", "linux-random", False),
    ("none", "apdm-apdf", True),
    ("cgnat", "cgnat", True),
    ("firewall", "linux", True),
    ("udp-blocked", "linux-reject", True),
]


@pytest.mark.parametrize(("a", "b", "direct"), PAIRS)
def test_which_pairs_go_direct(a: str, b: str, direct: bool) -> None:
    net = natsim.two_nats(a, b, seed=3)
    talk = Talk(net, pieces=300)

    async def story() -> None:
        await talk.meet()
        await talk.converse()

    net.run(story)
    talk.assert_intact()
    assert all((talk.moves(name) == ["direct"]) is direct for name in talk.links)


def test_why_names_the_rule_that_made_it_impossible() -> None:
    net = natsim.two_nats("apdm-apdf", "apdm-apdf")
    talk = Talk(net, pieces=10)

    async def story() -> None:
        await talk.meet()
        await asyncio.gather(*(link.settled() for link in talk.links.values()))
        await talk.converse()

    why = net.run(story).why()
    assert "stayed relayed" in why
    assert "mapping is address-and-port-dependent" in why
    assert "filters by address and port (RFC 4787 section 5)" in why
    assert "refused" not in talk.links["alice"].why()
    assert "no answer" in talk.links["alice"].why()


@pytest.mark.parametrize("how", ["drop", "reset"])
@pytest.mark.parametrize("seed", range(10))
def test_a_cut_direct_path_is_replaced_by_the_relay_and_comes_back(how: str, seed: int) -> None:
    net = natsim.two_nats("linux", "linux", seed=seed)
    talk = Talk(net, pieces=400, pace=0.05)

    async def strike() -> None:
        links = talk.links.values()
        await until(lambda: all(link.direct for link in links))
        await asyncio.sleep(0.1 + 0.037 * seed)
        net.cut("nat_a", "nat_b", how)
        await until(lambda: not any(link.direct for link in links))
        await asyncio.sleep(1 + 0.1 * seed)
        net.heal("nat_a", "nat_b")
        await until(lambda: all(link.direct for link in links))

    async def story() -> None:
        await talk.meet()
        await talk.converse(strike)

    net.run(story)
    talk.assert_intact()
    for name, link in talk.links.items():
        assert talk.moves(name) == ["direct", "lost", "direct"]
        # The second direct path comes from a fresh port, which no NAT remembers.
        assert len({path for path in link.first_data if path != "relay"}) == 2


def test_the_relay_may_lose_packets_and_nothing_is_lost() -> None:
    net = natsim.two_nats("linux", "linux", seed=1, loss=0.02)
    talk = Talk(net)

    async def story() -> None:
        await talk.meet()
        await talk.converse()

    net.run(story)
    talk.assert_intact()


def test_same_nat_goes_direct_on_the_lan() -> None:
    net = natsim.same_nat("linux", seed=2)
    talk = Talk(net, pieces=100)

    async def story() -> None:
        await talk.meet()
        await talk.converse()

    net.run(story)
    talk.assert_intact()
    assert any(path.startswith("tcp 192.168.1.") for path in talk.links["alice"].first_data)


def test_relay_only_never_sends_to_the_peer() -> None:
    net = natsim.two_nats("linux", "linux")
    talk = Talk(net, pieces=20)

    async def story() -> None:
        await talk.meet(relay_only=True)
        await talk.converse()

    run = net.run(story)
    talk.assert_intact()
    assert talk.links["alice"].bytes_direct == 0
    assert "neither has sent anything" in run.why()
    assert "wants only the relay" in talk.links["alice"].why()


def test_direct_only_says_why_there_is_no_way() -> None:
    net = natsim.two_nats("apdm-apdf", "apdm-apdf")
    talk = Talk(net)

    async def story() -> None:
        with pytest.raises(punchkit.PunchkitError, match="no direct path") as caught:
            await talk.meet(direct_only=True)
        assert "no answer" in str(caught.value)

    net.run(story)


def test_a_direct_path_that_was_only_silent_for_a_moment_is_used_again() -> None:
    net = natsim.two_nats("linux", "linux", seed=4)
    talk = Talk(net, pieces=300, pace=0.05)

    async def strike() -> None:
        links = talk.links.values()
        await until(lambda: all(link.direct for link in links))
        await asyncio.sleep(0.5)
        net.cut("nat_a", "nat_b")
        await until(lambda: not any(link.direct for link in links))
        net.heal("nat_a", "nat_b")

    async def story() -> None:
        await talk.meet()
        await talk.converse(strike)

    net.run(story)
    talk.assert_intact()
    for name, link in talk.links.items():
        assert talk.moves(name) == ["direct", "lost", "direct"]
        # No second round was needed: the path is the same as before.
        assert len({path for path in link.first_data if path != "relay"}) == 1
