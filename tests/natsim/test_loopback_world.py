"""The loopback world: the same stories on this machine's own sockets, without anything between."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest

import natsim
from natsim.loopback_world import LoopbackWorld

HOME = "127.0.0.1"


def test_a_story_runs_on_real_sockets_and_every_host_is_at_home() -> None:
    net = natsim.two_nats("linux", "apdm-apdf")
    addresses = net.alice.address, net.server.address

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()
        await writer.wait_closed()

    async def ask(port: int) -> Any:
        reader, writer = await asyncio.open_connection(net.server.address, port)
        sock, peer = writer.get_extra_info("socket"), writer.get_extra_info("peername")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer, peer[0], type(sock._sock)

    async def story() -> Any:
        assert isinstance(net.world, LoopbackWorld)
        server = await net.server.start(asyncio.start_server(greet, net.server.address, 0))
        assert net.alice.address == net.server.address == HOME
        async with server:
            return await net.alice.start(ask(server.sockets[0].getsockname()[1]))

    run = net.run(story, world="loopback")
    assert run.result == (b"hello", HOME, socket.socket)
    assert (run.world, run.trace) == ("loopback", None)
    assert "packets not captured" in repr(run)
    assert (net.alice.address, net.server.address) == addresses


def test_what_still_runs_is_cancelled_at_the_end() -> None:
    net, ended = natsim.two_nats("none", "none"), []

    async def forever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    async def story() -> None:
        net.alice.start(forever())
        await asyncio.sleep(0)

    net.run(story, world="loopback")
    assert ended == [True]


def test_the_limit_holds_in_real_time_too() -> None:
    with pytest.raises(TimeoutError):
        natsim.two_nats("none", "none").run(lambda: asyncio.sleep(60), world="loopback", limit=0.001)


def test_chance_comes_from_the_seed_here_too() -> None:
    async def story() -> float:
        return random.random()

    net = natsim.two_nats("none", "none", seed=4)
    assert net.run(story, world="loopback").result == net.run(story).result


def test_there_is_no_way_that_could_be_cut() -> None:
    net = natsim.two_nats("none", "none")

    async def story() -> None:
        assert net.world is not None
        net.world.heal("alice", "bob")
        net.world.cut("alice", "bob", "drop")

    with pytest.raises(RuntimeError, match="use sim or kernel"):
        net.run(story, world="loopback")
