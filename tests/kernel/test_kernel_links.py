"""The kernel world's links, routes and cuts."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from typing import Any

import pytest
from kernel_programs import (
    PORT,
    datagrams,
    dial,
    echo_server,
    listening,
    receive,
    run,
    seen_as,
    send_datagrams,
    settle,
)

from natsim import same_nat, two_nats

pytestmark = pytest.mark.kernel

DELAY = 5.0


# -- Links and routes --------------------------------------------------------------------------------------------------


def test_two_hosts_behind_one_nat_reach_each_other() -> None:
    net = same_nat("linux", delay=DELAY)

    async def story() -> Any:
        net.bob.start(echo_server())
        await settle()
        return await net.alice.start(seen_as(net.bob.address, local_port=4321))

    assert run(net, story) == (net.alice.address, 4321)


def test_a_round_trip_takes_twice_the_delay() -> None:
    net = two_nats("linux", "linux", delay=DELAY)

    async def client(loop_time: Any) -> list[float]:
        with await dial(net.server.address) as sock:
            await receive(sock, 32)
            trips = []
            for _ in range(5):
                began = loop_time()
                await asyncio.get_running_loop().sock_sendall(sock, b"x")
                await receive(sock, 1)
                trips.append(loop_time() - began)
            return trips

    async def story() -> Any:
        net.server.start(echo_server())
        await settle()
        return await net.alice.start(client(time.monotonic))

    trips = run(net, story)
    assert min(trips) >= 2 * DELAY / 1000
    assert min(trips) < 4 * DELAY / 1000  # generous: this machine may be busy


def test_loss_is_drawn_from_the_seed_and_order_is_kept() -> None:
    def arrived(seed: int) -> list[int]:
        net = two_nats("linux", "linux", delay=2, loss=0.3, seed=seed)

        async def story() -> Any:
            received = net.server.start(datagrams(200))
            await settle()
            await net.alice.start(send_datagrams(net.server.address, 200))
            return await received

        numbers: list[int] = run(net, story)
        return numbers

    first = arrived(1)
    assert 100 < len(first) < 180
    assert first == sorted(first)
    assert first == arrived(1)
    assert first != arrived(2)


def test_addresses_that_nobody_has_are_unreachable() -> None:
    net = two_nats("linux", "linux", delay=1)

    async def failure(address: str) -> int | None:
        try:
            await seen_as(address)
        except OSError as exc:
            return exc.errno
        return None

    async def story() -> Any:
        neighbour = str(net.nat_a.lan[99])
        return await asyncio.gather(net.alice.start(failure(neighbour)), net.server.start(failure(net.alice.address)))

    assert run(net, story) == [errno.EHOSTUNREACH, errno.ENETUNREACH]


def test_a_socket_knows_its_host_address() -> None:
    net = two_nats("linux", "none", delay=0)

    async def bind_all() -> None:
        with listening(), listening(PORT + 1):
            pass

    async def story() -> None:
        await asyncio.gather(*(host.start(bind_all()) for host in net.hosts.values()))

    run(net, story)  # every host binds the same port: they do not share a stack


# -- Cuts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "end"), [("linux", "alice"), ("linux", "nat_a"), ("firewall", "nat_a")])
def test_a_dropping_cut_is_silent_and_can_be_healed(device: str, end: str) -> None:
    net = two_nats(device, "linux", delay=0)

    async def client() -> bytes:
        world: Any = net.world
        loop = asyncio.get_running_loop()
        with await dial(net.server.address) as sock:
            await receive(sock, 32)
            world.cut(end, "server", "drop")
            await loop.sock_sendall(sock, b"hello")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await receive(sock, 5)
            world.heal("server", end)
            return await receive(sock, 5)

    async def story() -> Any:
        net.server.start(echo_server())
        await settle()
        return await net.alice.start(client())

    assert run(net, story) == b"hello"


def test_a_resetting_cut_ends_connections_between_the_two_only() -> None:
    net = two_nats("linux", "linux", delay=1)

    async def connect() -> socket.socket:
        sock = await dial(net.server.address)
        await receive(sock, 32)
        return sock

    async def hello(sock: socket.socket) -> bytes:
        await asyncio.get_running_loop().sock_sendall(sock, b"hello")
        return await receive(sock, 5)

    async def story() -> Any:
        world: Any = net.world
        net.server.start(echo_server())
        await settle()
        with await net.alice.start(connect()) as cut_off, await net.bob.start(connect()) as untouched:
            world.cut("alice", "server", "reset")
            with pytest.raises(ConnectionResetError):
                await hello(cut_off)
            assert await hello(untouched) == b"hello"
        world.heal("alice", "server")
        return await net.alice.start(seen_as(net.server.address, local_port=4321))

    assert run(net, story) == (net.nat_a.address, 4321)


def test_a_cut_wants_known_nodes_and_a_known_way() -> None:
    net = two_nats("linux", "linux", delay=0)

    async def story() -> None:
        world: Any = net.world
        with pytest.raises(ValueError, match="carol"):
            world.cut("alice", "carol", "drop")
        with pytest.raises(ValueError, match="melt"):
            world.cut("alice", "server", "melt")

    run(net, story)
