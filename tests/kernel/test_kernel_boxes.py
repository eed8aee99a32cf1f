"""natsim's own NATs between real sockets: whatever a learner writes stands between real programs a moment later."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Hashable, Iterator
from typing import Any

import pytest
from kernel_programs import (
    PORT,
    Address,
    dial,
    echo_server,
    matchmaker,
    meet,
    receive,
    run,
    seen_as,
    settle,
    udp_socket,
)

from natsim import Internet, Link, LinuxBehavior, NatBehavior, Wish, same_nat, two_nats
from natsim.nat.devices import Behavior
from natsim.packet import Endpoint

pytestmark = pytest.mark.kernel

DELAY = 5.0


async def told(count: int) -> list[Address]:
    """Receive datagrams, and say from where they seem to come."""
    loop, seen = asyncio.get_running_loop(), []
    with udp_socket(PORT) as sock:
        while len(seen) < count:
            async with asyncio.timeout(2):
                _, sender = await loop.sock_recvfrom(sock, 100)
            seen.append(sender)
            await loop.sock_sendto(sock, b"answer", sender)
    return seen


# -- Rules ------------------------------------------------------------------------------------------------------------


def lottery(wish: Wish) -> Iterator[int]:
    """A learner's own port assignment."""
    while True:
        yield 40_000 + wish.random.randrange(365)


def by_parity(remote: Endpoint) -> Hashable:
    """A learner's own scope: even and odd ports are two worlds."""
    return remote.port % 2


def test_a_rule_of_ones_own_stands_between_real_sockets() -> None:
    net = two_nats(NatBehavior(mapping=by_parity, ports=lottery), "none", delay=DELAY)

    async def story() -> list[Address]:
        for port in range(PORT, PORT + 4):
            net.server.start(echo_server(port))
        await settle()
        return [await net.alice.start(seen_as(net.server.address, PORT + n, local_port=4321)) for n in range(4)]

    seen = run(net, story)
    ports = [port for _, port in seen]
    assert {address for address, _ in seen} == {net.nat_a.address}
    assert all(40_000 <= port < 40_365 for port in ports)
    assert (ports[0], ports[1]) == (ports[2], ports[3])
    assert ports[0] != ports[1]


@pytest.mark.parametrize(
    ("nat", "stranger_enters", "other_port_enters"),
    [("eim-eif", True, True), ("eim-adf", False, True), ("eim-apdf", False, False)],
)
def test_three_doors(nat: str, stranger_enters: bool, other_port_enters: bool) -> None:
    """alice has spoken to the server; who else may come in?"""
    net = two_nats(nat, "none", delay=DELAY)
    heard: list[str] = []

    async def alice() -> None:
        loop = asyncio.get_running_loop()
        with udp_socket(4321) as sock:
            await loop.sock_sendto(sock, b"hello", (net.server.address, PORT))
            while True:
                text, _ = await loop.sock_recvfrom(sock, 100)
                heard.append(text.decode())

    async def knock(who: str, port: int) -> None:
        with udp_socket(port) as sock:
            await asyncio.get_running_loop().sock_sendto(sock, who.encode(), (net.nat_a.address, 4321))

    async def story() -> None:
        server = net.server.start(told(1))
        await settle()
        net.alice.start(alice())
        await server
        await net.server.start(knock("other port", PORT + 1))
        await net.bob.start(knock("stranger", PORT))
        await asyncio.sleep(0.1)

    run(net, story)
    assert heard == ["answer"] + ["other port"] * other_port_enters + ["stranger"] * stranger_enters


@pytest.mark.parametrize("pair", [("rfc", "eim-apdf"), ("eim-eif", "linux"), ("eim-apdf-rst", "eim-adf")])
def test_tcp_simultaneous_open_between_them(pair: tuple[str, str]) -> None:
    net = two_nats(*pair, delay=DELAY)

    async def talk(byte: bytes) -> bytes:
        with await meet(net.server.address, 4321) as sock:
            sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(sock, byte * 300_000))
            received = await receive(sock, 300_000)
            await sending
            return received

    async def story() -> list[bytes]:
        net.server.start(matchmaker())
        await settle()
        async with asyncio.timeout(10):
            return await asyncio.gather(net.alice.start(talk(b"a")), net.bob.start(talk(b"b")))

    assert run(net, story) == [b"b" * 300_000, b"a" * 300_000]


def test_a_reboot_and_a_flush_make_it_forget() -> None:
    net = two_nats("apdm-apdf", "none", delay=DELAY, seed=3)

    async def story() -> list[Address]:
        loop = asyncio.get_running_loop()
        server = net.server.start(told(3))
        await settle()

        async def ask(sock: socket.socket) -> None:
            await loop.sock_sendto(sock, b"hello", (net.server.address, PORT))
            await loop.sock_recv(sock, 100)

        async def alice() -> None:
            with udp_socket(4321) as sock:
                await ask(sock)
                net.flush("nat_a")
                await ask(sock)
                net.reboot("nat_a")
                await ask(sock)

        await net.alice.start(alice())
        return await server

    assert len({port for _, port in run(net, story)}) == 3


# -- Real packets -----------------------------------------------------------------------------------------------------

#: From <linux/tcp.h>: bits of tcpi_options, the sixth byte of `struct tcp_info`.
TIMESTAMPS, SACK, WINDOW_SCALE = 1, 2, 4


@pytest.mark.parametrize("link", [Link(), Link(jitter=0.1)], ids=["offload", "each packet"])
def test_tcp_options_survive(link: Link) -> None:
    net = two_nats("eim-apdf", "none", delay=DELAY, link=link)

    async def story() -> tuple[int, bytes]:
        net.server.start(echo_server())
        await settle()

        async def alice() -> tuple[int, bytes]:
            with await dial(net.server.address) as sock:
                await receive(sock, 32)
                text = bytes(range(256)) * 400
                sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(sock, text))
                echoed = await receive(sock, len(text))
                await sending
                return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5], echoed

        return await net.alice.start(alice())

    options, echoed = run(net, story)
    assert options & (TIMESTAMPS | SACK | WINDOW_SCALE) == TIMESTAMPS | SACK | WINDOW_SCALE
    assert echoed == bytes(range(256)) * 400


@pytest.mark.parametrize("nat", ["eim-apdf", "apdm-apdf"])
def test_fragments_of_a_large_datagram_get_through_both_ways(nat: str) -> None:
    net = two_nats(nat, "none", delay=DELAY)
    text = bytes(range(250)) * 16

    async def echo() -> None:
        loop = asyncio.get_running_loop()
        with udp_socket(PORT) as sock:
            data, sender = await loop.sock_recvfrom(sock, 9000)
            await loop.sock_sendto(sock, data, sender)

    async def alice() -> bytes:
        loop = asyncio.get_running_loop()
        with udp_socket() as sock:
            await loop.sock_sendto(sock, text, (net.server.address, PORT))
            return await loop.sock_recv(sock, 9000)

    async def story() -> bytes:
        net.server.start(echo())
        await settle()
        async with asyncio.timeout(3):
            return await net.alice.start(alice())

    assert run(net, story) == text


def test_an_icmp_error_finds_the_socket_that_it_is_about() -> None:
    net = two_nats("apdm-apdf", "none", delay=DELAY)

    async def alice() -> str:
        loop = asyncio.get_running_loop()
        with udp_socket() as sock:
            sock.connect((net.server.address, 9))
            await loop.sock_sendall(sock, b"anybody there?")
            try:
                await loop.sock_recv(sock, 100)
            except ConnectionRefusedError:
                return "refused"
        return "answered"

    async def story() -> str:
        async with asyncio.timeout(3):
            return await net.alice.start(alice())

    assert run(net, story) == "refused"


def test_a_narrow_link_behind_the_nat_is_found_out_by_tcp() -> None:
    """Path MTU discovery through the NAT: its own "fragmentation needed", and the one that it translates."""
    net = two_nats("eim-apdf", "none", delay=DELAY, link=Link(mtu=1280))

    async def story() -> bytes:
        net.server.start(echo_server())
        await settle()

        async def alice() -> bytes:
            with await dial(net.server.address) as sock:
                await receive(sock, 32)
                sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(sock, b"x" * 50_000))
                echoed = await receive(sock, 50_000)
                await sending
                return echoed

        async with asyncio.timeout(10):
            return await net.alice.start(alice())

    assert run(net, story) == b"x" * 50_000


# -- Topologies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hairpin", [True, False])
def test_hairpin(hairpin: bool) -> None:
    """bob speaks to the outside address of alice, behind the same NAT."""
    net = same_nat(NatBehavior(hairpin=hairpin, filtering="endpoint-independent"), delay=DELAY)

    async def alice() -> Address | None:
        loop = asyncio.get_running_loop()
        with udp_socket(4321) as sock:
            await loop.sock_sendto(sock, b"hello", (net.server.address, PORT))
            try:
                async with asyncio.timeout(0.3):
                    return (await loop.sock_recvfrom(sock, 100))[1]  # type: ignore[no-any-return]
            except TimeoutError:
                return None

    async def bob() -> None:
        with udp_socket(5432) as sock:
            await asyncio.get_running_loop().sock_sendto(sock, b"neighbour", (net.home.address, 4321))

    async def story() -> Address | None:
        hears = net.alice.start(alice())
        await asyncio.sleep(0.05)
        await net.bob.start(bob())
        return await hears

    assert run(net, story) == ((net.home.address, 5432) if hairpin else None)


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        (LinuxBehavior(), NatBehavior(ports="random")),
        (NatBehavior(), LinuxBehavior(masquerade="fully-random")),
        (NatBehavior(), NatBehavior(ports="random")),
    ],
)
def test_nats_behind_nats_of_either_kind(inner: Behavior, outer: Behavior) -> None:
    net = Internet()
    net.host("server", link=Link(DELAY))
    carrier = net.nat("carrier", outer, lan="100.64.1.0/24")
    home = net.nat("home", inner, behind=carrier, link=Link(1))
    net.host("alice", behind=home)

    async def story() -> Address:
        net.server.start(echo_server())
        await settle()
        return await net.alice.start(seen_as(net.server.address, local_port=4321))

    address, port = run(net, story)
    assert address == carrier.address
    assert port != 4321


def test_several_addresses_of_a_nat_and_of_a_host() -> None:
    net = Internet(seed=5)
    server = net.host("server", addresses=2, link=Link(DELAY))
    nat = net.nat("nat", NatBehavior(addresses=2, pooling="arbitrary", mapping="address-dependent"))
    net.host("alice", behind=nat)

    async def story() -> list[Address]:
        net.server.start(echo_server())
        await settle()
        return [await net.alice.start(seen_as(address)) for address in server.addresses * 4]

    seen = run(net, story)
    assert {address for address, _ in seen} == set(nat.addresses)


def test_traffic_is_counted_and_no_program_runs_in_a_simulated_router() -> None:
    net = two_nats("eim-apdf", "none", delay=DELAY)

    async def story() -> tuple[int, int]:
        net.server.start(echo_server())
        await settle()
        await net.alice.start(seen_as(net.server.address))
        world: Any = net.world
        with pytest.raises(RuntimeError, match="simulated router"):
            world.enter_command("nat_a")
        received, sent = world.traffic("nat_a")
        return received, sent

    received, sent = run(net, story)
    assert sent > 100
    assert received > 100 + 32
