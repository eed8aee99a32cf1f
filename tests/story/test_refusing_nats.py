"""NATs that answer stray SYNs with a RST: only SYNs that cross in flight help, so retries must be random."""

from __future__ import annotations

import asyncio
import random

import pytest

import natsim
from punchkit import punch_tcp
from punchkit.punch_tcp import Punch

PORT = 40000
REFUSING = ["eim-apdf-rst", "linux-reject", "linux-open"]
SKEWS_MS = [0, 5, 15, 19, 20, 21, 30, 60, 100, 200, 333, 500, 900, 1500]


async def first_connection(local: str, remote: str, rtt: float) -> float | None:
    """Punch; the time at which the first connection stood, or None."""
    punch = Punch((local, PORT), [(remote, PORT)], rtt)
    found = None
    async for sock in punch.connections(6.0):
        found = found or asyncio.get_running_loop().time()
        sock.close()
    return found


def punch_with_skew(net: natsim.Internet, skew: float) -> list[float | None]:
    """alice begins, bob begins `skew` seconds later; both NATs keep the port."""

    async def story() -> list[float | None]:
        alice = net.alice.start(first_connection(net.alice.address, net.nat_b.address, 0.08))
        await asyncio.sleep(skew)
        bob = net.bob.start(first_connection(net.bob.address, net.nat_a.address, 0.08))
        return [await alice, await bob]

    result: list[float | None] = net.run(story).result
    return result


@pytest.mark.parametrize("nat", REFUSING)
@pytest.mark.parametrize("skew", SKEWS_MS)
def test_random_retries_connect_at_every_skew(nat: str, skew: int) -> None:
    for seed in range(3):
        net = natsim.two_nats(nat, nat, seed=seed)
        assert None not in punch_with_skew(net, skew / 1000), f"seed {seed}"


def test_a_fixed_pause_keeps_the_distance_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    # The reason for the random pause: with a fixed one, two sides that missed each other miss each other every time.
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.1)
    net = natsim.two_nats("linux-reject", "linux-reject")
    assert punch_with_skew(net, 0.070) == [None, None]


def test_one_connect_is_enough_where_stray_syns_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    dials = []
    dial = Punch._dial

    async def counting(self: Punch, target: tuple[str, int]) -> str:
        dials.append(target)
        return await dial(self, target)

    monkeypatch.setattr(punch_tcp.Punch, "_dial", counting)
    net = natsim.two_nats("eim-apdf", "eim-apdf")
    assert None not in punch_with_skew(net, 0.5)
    assert len(dials) == 2
