"""A transfer in the middle of which something breaks: it ends intact, or with a clear error, and never hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from talk import Talk, until

import natsim
import punchkit

Net = natsim.Internet
Strike = Callable[[Net], Awaitable[None]]

#: Seconds within which a link that cannot be saved has to say so: TCP gives a silent path up after thirty.
SOON = 60.0


async def flush(net: Net) -> None:
    net.flush("nat_a")


async def reboot(net: Net) -> None:
    net.reboot("nat_a")


async def partition(net: Net) -> None:
    net.partition("alice")
    await asyncio.sleep(3)
    net.heal("alice")


async def long_partition(net: Net) -> None:
    net.partition("alice")
    await asyncio.sleep(12)
    net.heal("alice")


async def flap(net: Net) -> None:
    await net.flap("alice", down=0.5, up=1.5, times=3)


async def crash_of_the_server(net: Net) -> None:
    net.crash("server")


async def crash_of_the_peer(net: Net) -> None:
    net.crash("bob")


async def renumber(net: Net) -> None:
    net.renumber("nat_a")


async def roam_behind_the_peers_nat(net: Net) -> None:
    net.roam("alice", "nat_b")


async def roam_into_the_open(net: Net) -> None:
    net.roam("alice", None)


async def strike_in_mid_transfer(talk: Talk, strike: Strike, relayed: bool) -> None:
    """Wait until data goes the way that is wanted, and a moment more; then strike."""
    links = talk.links.values()
    await until(lambda: all(link.bytes_relayed if relayed else link.bytes_direct for link in links))
    assert relayed or all(link.direct for link in links)
    await asyncio.sleep(0.3 + 0.037 * talk.net.seed)
    await strike(talk.net)


# -- What it survives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relayed", [True, False], ids=["relayed", "direct"])
@pytest.mark.parametrize("behavior", ["linux", "eim-apdf"])
@pytest.mark.parametrize("strike", [flush, reboot, partition, long_partition, flap])
@pytest.mark.parametrize("seed", range(3))
def test_the_transfer_survives(seed: int, strike: Strike, behavior: str, relayed: bool) -> None:
    net = natsim.two_nats(behavior, behavior, seed=seed)
    talk = Talk(net, pieces=100, pace=0.05)

    async def story() -> float:
        await talk.meet(relay_only=relayed)
        await talk.converse(lambda: strike_in_mid_transfer(talk, strike, relayed))
        return asyncio.get_running_loop().time()

    run = net.run(story)
    talk.assert_intact()
    assert run.trace.events[0].node in ("alice", "nat_a")
    late = [entry for entry in run.trace if entry.when > run.trace.events[-1].when and entry.packet.payload]
    assert len(late) > 20


def test_a_direct_link_does_without_the_server() -> None:
    net = natsim.two_nats("linux", "linux", seed=5)
    talk = Talk(net, pieces=100, pace=0.05)

    async def story() -> None:
        await talk.meet()
        await talk.converse(lambda: strike_in_mid_transfer(talk, crash_of_the_server, relayed=False))

    net.run(story)
    talk.assert_intact()


# -- What it does not survive, so far ---------------------------------------------------------------------------------


async def read(link: Any, into: bytearray) -> None:
    async for piece in link:
        into += piece


@pytest.mark.parametrize(
    ("strike", "relayed"),
    [
        (crash_of_the_server, True),
        (crash_of_the_peer, True),
        (crash_of_the_peer, False),
        (renumber, True),
        (renumber, False),
        (roam_behind_the_peers_nat, True),
        (roam_behind_the_peers_nat, False),
        (roam_into_the_open, True),
        (roam_into_the_open, False),
    ],
)
@pytest.mark.parametrize("behavior", ["linux", "eim-apdf"])
@pytest.mark.parametrize("seed", range(3))
def test_a_link_that_cannot_be_saved_says_so_soon(seed: int, behavior: str, strike: Strike, relayed: bool) -> None:
    """Whoever saves such a link changes this test: until then, both sides learn of it, and what came was right."""
    net = natsim.two_nats(behavior, behavior, seed=seed)
    talk = Talk(net, pieces=2000, pace=0.05)
    got = {"alice": bytearray(), "bob": bytearray()}

    async def story() -> dict[str, Any]:
        await talk.meet(relay_only=relayed)
        tasks = {
            f"{name} {what}": net.hosts[name].start(work)
            for name, link in talk.links.items()
            for what, work in (("writes", talk._write(link, name)), ("reads", read(link, got[name])))
        }
        await strike_in_mid_transfer(talk, strike, relayed)
        async with asyncio.timeout(SOON):
            ends = await asyncio.gather(*tasks.values(), return_exceptions=True)
        return dict(zip(tasks, ends, strict=True))

    ends = net.run(story).result
    dead = "bob" if strike is crash_of_the_peer else None
    for task, end in ends.items():
        assert isinstance(end, asyncio.CancelledError if task.split()[0] == dead else punchkit.PunchkitError), task
    for name, peer in (("alice", "bob"), ("bob", "alice")):
        assert 0 < len(got[name]) < len(talk.sent(peer))
        assert talk.sent(peer).startswith(got[name])
