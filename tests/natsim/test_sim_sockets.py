"""Simulated sockets against real ones: two tables, and every row of them must come true on both.

`socket_cases.txt` says what calls do and which errors they raise, `bind_conflicts.txt` who gets a port that another
socket has: on the latter TCP punching stands.  Real sockets run on plain loopback; cases with a second host in the
kernel world's namespaces.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from socket_machine import free_ports, has_ipv6, machine_to_itself
from socket_player import Player
from socket_table import STATES_OF_THE_FIRST, Case, read_cases, read_conflicts

import natsim
from natsim.host_ports import EPHEMERAL

CASES = read_cases(Path(__file__).with_name("socket_cases.txt"))
CONFLICTS = read_conflicts(Path(__file__).with_name("bind_conflicts.txt"))

#: An address of the public internet that nobody has.
NOBODY = "203.0.113.99"

Results = dict[str, list[str]]


async def play(cases: list[Case], places: dict[str, str] | None = None, on: Any = None) -> Results:
    """All side by side; but first, one by one, those that must be alone."""
    low, high = free_ports(), free_ports(EPHEMERAL[1], -1)
    if places is not None:  # a world of its own, where every port is free
        low, high = itertools.count(10240), itertools.count(EPHEMERAL[1], -1)
    alone = [case for case in cases if case.is_alone]
    results = {case.title: await Player(high, places, on).play(case) for case in alone}
    together = [case for case in cases if not case.is_alone]
    played = await asyncio.gather(*(Player(low, places, on).play(case) for case in together))
    return results | dict(zip((case.title for case in together), played, strict=True))


def play_in(world: str, cases: list[Case], delay: float) -> Results:
    """On alice, with bob beside her."""
    net = natsim.Internet()
    net.host("alice", link=natsim.Link(delay, mtu=1500))
    net.host("bob", link=natsim.Link(delay, mtu=1400), addresses=2)

    async def story() -> Results:
        bob, bob2 = net.bob.addresses
        places = {"alice": net.alice.address, "bob": bob, "bob2": bob2, "nobody": NOBODY}
        return await net.alice.start(play(cases, places, lambda host, program: net.hosts[host].start(program)))

    return net.run(story, world).result


@functools.cache
def on_loopback() -> Results:
    """What really comes of all cases that need one host."""
    with machine_to_itself():
        return asyncio.run(play([case for case in CASES if not case.hosts]))


@functools.cache
def in_namespaces() -> Results:
    """What really comes of the others."""
    return play_in("kernel", [case for case in CASES if case.hosts], delay=5)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
@pytest.mark.parametrize("kind", ["simulated", "real"])
def test_sockets_do_what_the_table_says(case: Case, kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "simulated":
        results = play_in("sim", [case], delay=5)
    elif case.hosts:
        request.getfixturevalue("kernel")
        results = in_namespaces()
    else:
        linux_only()
        results = on_loopback()
    assert results[case.title] == [str(step) for step in case.steps]


async def outcomes(state: str) -> list[str]:
    """The rows of the table that begin with this state, as they come out."""
    rows = [row for row in CONFLICTS if row.state == state]
    cases = [case for row in rows for case in row.cases()]
    ports = itertools.count(10240) if is_simulated() else free_ports()
    played = await asyncio.gather(*(Player(ports).play(case) for case in cases))
    for results in played:
        assert not any(" -> E" in result for result in results[:-1])
    last = iter([results[-1].rpartition(" ")[2] for results in played])
    cells = ["".join({"ok": ".", "EADDRINUSE": "x"}.get(next(last), "?") for _ in row.outcomes) for row in rows]
    return [f"{row.first} | {row.second} | {cell}" for row, cell in zip(rows, cells, strict=True)]


def is_simulated() -> bool:
    return getattr(asyncio.get_running_loop(), "is_virtual", False)


@pytest.mark.parametrize("state", STATES_OF_THE_FIRST)
@pytest.mark.parametrize("kind", ["simulated", "real"])
def test_who_gets_a_port_that_another_has(state: str, kind: str) -> None:
    if kind == "simulated":
        net = natsim.two_nats("none", "none")

        async def story() -> list[str]:
            return await net.alice.start(outcomes(state))

        found = net.run(story).result
    else:
        linux_only()
        with machine_to_itself():
            found = asyncio.run(outcomes(state))
    rows = [row for row in CONFLICTS if row.state == state]
    assert found == [f"{row.first} | {row.second} | {row.outcomes}" for row in rows]
    assert all(len(row.outcomes) == 16 for row in rows)


def linux_only() -> None:
    if sys.platform != "linux":
        pytest.skip("the manners are those of Linux")
    if not has_ipv6():
        pytest.skip("this machine speaks no IPv6, not even to itself")
