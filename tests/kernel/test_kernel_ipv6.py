"""IPv6 in the kernel world: beside IPv4, without NAT, through stateful firewalls of either kind."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from kernel_nat import as_seen
from kernel_programs import PORT, run, settle

from natsim import Internet, Link, LinuxBehavior, same_nat, two_nats

pytestmark = [pytest.mark.kernel, as_seen]

DELAY = 5.0

#: The kernel's own firewall; and natsim's, on either NAT.
firewalls = pytest.mark.parametrize(
    ("nat", "firewall"), [("linux", "firewall"), ("eim-apdf", "firewall"), ("linux", "rfc6092")]
)


def udp6(port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("::", port))
    return sock


def tcp6(port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("::", port))
    return sock


async def echo6() -> None:
    """Say to each client from where it comes, once; over UDP and TCP."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(writer.get_extra_info("peername")[0]).encode())
        writer.close()

    server = await asyncio.start_server(answer, "::", PORT)
    loop = asyncio.get_running_loop()
    with udp6(PORT) as sock:
        async with server:
            while True:
                data, sender = await loop.sock_recvfrom(sock, 9000)
                await loop.sock_sendto(sock, data, sender)


@firewalls
def test_a_host_is_known_by_its_own_address_over_tcp_and_udp(nat: str, firewall: str) -> None:
    net = two_nats(nat, nat, delay=DELAY, ipv6=firewall)

    async def alice() -> tuple[str, bytes]:
        reader, writer = await asyncio.open_connection(net.server.address6, PORT)
        seen = (await reader.read()).decode()
        writer.close()
        loop = asyncio.get_running_loop()
        with udp6() as sock:
            await loop.sock_sendto(sock, b"x" * 3000, (net.server.address6, PORT))
            return seen, await loop.sock_recv(sock, 9000)

    async def story() -> tuple[str, bytes]:
        net.server.start(echo6())
        await settle()
        async with asyncio.timeout(5):
            return await net.alice.start(alice())

    assert run(net, story) == (net.alice.address6, b"x" * 3000), "fragments and all"


@firewalls
def test_nobody_enters_unasked_and_two_who_ask_meet(nat: str, firewall: str) -> None:
    net = two_nats(nat, nat, delay=DELAY, ipv6=firewall)

    async def knock(address: str, *, patience: float) -> str:
        loop = asyncio.get_running_loop()
        with tcp6(4321) as sock:
            try:
                async with asyncio.timeout(patience):
                    await loop.sock_connect(sock, (address, 4321))
            except TimeoutError:
                return "no answer"
            await loop.sock_sendall(sock, b"hello")
            return (await loop.sock_recv(sock, 10)).decode()

    async def story() -> tuple[str, list[str]]:
        alone = await net.alice.start(knock(net.bob.address6, patience=0.3))
        async with asyncio.timeout(8):
            both = await asyncio.gather(
                net.alice.start(knock(net.bob.address6, patience=6)),
                net.bob.start(knock(net.alice.address6, patience=6)),
            )
        return alone, both

    finished = net.run(story, world="kernel", limit=20)
    assert finished.result == ("no answer", ["hello", "hello"])
    assert finished.trace is not None
    stopped = [e for e in finished.trace.where(node="nat_b") if e.action in ("dropped", "held")]
    assert stopped[0].packet.dst.address == net.bob.address6
    assert any(words in str(stopped[0].reason) for words in ("no flow", "no row", "filters by"))


def test_two_behind_one_router_and_a_router_behind_a_router() -> None:
    near = same_nat("linux", delay=DELAY, ipv6="firewall")
    far = Internet()
    far.host("server", link=Link(DELAY), ipv6=True)
    carrier = far.nat("carrier", LinuxBehavior(), ipv6="firewall")
    home = far.nat("home", LinuxBehavior(), behind=carrier, ipv6="firewall")
    far.host("alice", behind=home)

    async def asks(address: str) -> str:
        reader, writer = await asyncio.open_connection(address, PORT)
        seen = (await reader.read()).decode()
        writer.close()
        return seen

    for net, server in ((near, near.bob), (far, far.server)):

        async def story(net: Internet = net, server: Any = server) -> str:
            server.start(echo6())
            await settle()
            async with asyncio.timeout(5):
                return await net.alice.start(asks(server.address6))

        assert run(net, story) == net.alice.address6


def test_a_cut_hits_both_families_and_heals() -> None:
    net = two_nats("linux", "none", delay=DELAY, ipv6="firewall")

    async def alice() -> list[bool]:
        loop, heard = asyncio.get_running_loop(), []
        with udp6() as sock:
            for cut in (False, True, False):
                (net.cut if cut else net.heal)("alice", "server", *(["drop"] if cut else []))
                await loop.sock_sendto(sock, b"there?", (net.server.address6, PORT))
                try:
                    async with asyncio.timeout(0.2):
                        heard.append(bool(await loop.sock_recv(sock, 10)))
                except TimeoutError:
                    heard.append(False)
        return heard

    async def story() -> list[bool]:
        net.server.start(echo6())
        await settle()
        return await net.alice.start(alice())

    assert run(net, story) == [True, False, True]


def test_a_kernels_nat_forgets_when_it_is_told() -> None:
    """`linux-random` draws another port for a flow that it does not know any more."""
    net = two_nats("linux-random", "none", delay=DELAY)

    async def story() -> int:
        loop = asyncio.get_running_loop()
        ports = set()

        async def server() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.bind(("", PORT))
                while True:
                    ports.add((await loop.sock_recvfrom(sock, 10))[1][1])

        async def alice() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                for forget in (None, net.flush, net.reboot):
                    if forget is not None:
                        forget("nat_a")
                    for _ in range(2):
                        await loop.sock_sendto(sock, b"x", (net.server.address, PORT))
                        await asyncio.sleep(0.03)

        net.server.start(server())
        await settle()
        await net.alice.start(alice())
        return len(ports)

    assert run(net, story) == 3
