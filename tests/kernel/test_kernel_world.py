"""The kernel world: real sockets through real NATs, each NAT doing what its description says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kernel_programs import (
    PORT,
    Address,
    datagrams,
    echo_server,
    matchmaker,
    meet,
    receive,
    run,
    seen_as,
    send_datagrams,
    settle,
    udp_socket,
)

from natsim import Internet, Link, LinuxBehavior, Masquerade, two_nats
from natsim.kernel import KernelCannot

pytestmark = pytest.mark.kernel

DELAY = 5.0


# -- NATs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, DELAY])
def test_linux_shows_its_own_address_and_keeps_the_port(delay: float) -> None:
    net = two_nats("linux", "linux", delay=delay)

    async def story() -> Any:
        net.server.start(echo_server())
        await settle()
        return await net.alice.start(seen_as(net.server.address, local_port=4321))

    assert run(net, story) == (net.nat_a.address, 4321)


def test_linux_random_takes_other_ports() -> None:
    net = two_nats("linux-random", "linux", delay=0)

    async def story() -> Any:
        net.server.start(echo_server(PORT))
        net.server.start(echo_server(PORT + 1))
        await settle()
        return [await net.alice.start(seen_as(net.server.address, port, local_port=4321)) for port in (PORT, PORT + 1)]

    seen = run(net, story)
    assert {address for address, _ in seen} == {net.nat_a.address}
    assert len({port for _, port in seen} | {4321}) == 3


def test_names_of_hosts_can_be_looked_up() -> None:
    net = two_nats("linux", "linux", delay=0)

    async def client() -> bytes:
        reader, writer = await asyncio.open_connection("server", PORT)
        seen = await reader.readexactly(32)
        writer.close()
        await writer.wait_closed()
        return seen

    async def story() -> Any:
        net.server.start(echo_server())
        await settle()
        return await net.alice.start(client())

    assert run(net, story).startswith(net.nat_a.address.encode())


@pytest.mark.parametrize(("device", "error"), [("linux", TimeoutError), ("linux-reject", ConnectionRefusedError)])
def test_a_stray_syn_is_dropped_or_refused(device: str, error: type[Exception]) -> None:
    net = two_nats(device, "none", delay=DELAY)

    async def story() -> None:
        async with asyncio.timeout(0.2):
            await net.bob.start(seen_as(net.nat_a.address))

    with pytest.raises(error):
        run(net, story)


@pytest.mark.parametrize(("device", "port_is_kept"), [("linux", True), ("linux-reject", True), ("linux-open", False)])
def test_an_early_datagram_takes_the_port_if_the_router_accepts_it(device: str, port_is_kept: bool) -> None:
    net = two_nats(device, "none", delay=DELAY)

    async def bob() -> Address:
        with udp_socket(5000) as sock:
            sock.sendto(b"too early", (net.nat_a.address, 4321))
            return (await asyncio.get_running_loop().sock_recvfrom(sock, 100))[1]

    async def alice() -> None:
        with udp_socket(4321) as sock:
            sock.sendto(b"hello", (net.bob.address, 5000))

    async def story() -> Any:
        seen = net.bob.start(bob())
        await asyncio.sleep(0.05)
        await net.alice.start(alice())
        return await seen

    address, port = run(net, story)
    assert address == net.nat_a.address
    assert (port == 4321) is port_is_kept


def test_an_early_syn_leaves_nothing_behind_since_the_answering_rst_ends_its_flow() -> None:
    """Conntrack deletes a flow whose first reply is a RST (nf_conntrack_proto_tcp.c)."""
    net = two_nats("linux-open", "none", delay=DELAY)

    async def knock() -> None:
        with pytest.raises(ConnectionRefusedError):
            await seen_as(net.nat_a.address, 4321, local_port=5000)

    async def story() -> Any:
        await net.bob.start(knock())
        net.bob.start(echo_server(5000))
        await settle()
        return await net.alice.start(seen_as(net.bob.address, 5000, local_port=4321))

    assert run(net, story) == (net.nat_a.address, 4321)


def test_a_firewall_translates_nothing_and_lets_nobody_in() -> None:
    net = two_nats("firewall", "none", delay=DELAY)

    async def story() -> Any:
        net.server.start(echo_server())
        net.alice.start(echo_server())
        await settle()
        seen = await net.alice.start(seen_as(net.server.address, local_port=4321))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await net.bob.start(seen_as(net.alice.address))
        return seen

    assert run(net, story) == (net.alice.address, 4321)


@pytest.mark.parametrize(("device", "arrive"), [("linux", 3), ("udp-blocked", 0)])
def test_udp_passes_unless_it_is_blocked(device: str, arrive: int) -> None:
    net = two_nats(device, "linux", delay=0)

    async def story() -> Any:
        received = net.server.start(datagrams(3))
        await settle()
        await net.alice.start(send_datagrams(net.server.address, 3))
        return await received

    assert len(run(net, story)) == arrive


def test_nested_nats_translate_twice() -> None:
    net = Internet()
    net.host("server")
    carrier = net.nat("carrier", LinuxBehavior(Masquerade.FULLY_RANDOM), link=Link(1))
    home = net.nat("home", LinuxBehavior(), behind=carrier, link=Link(1))
    net.host("alice", behind=home)

    async def story() -> Any:
        net.server.start(echo_server())
        await settle()
        return await net.alice.start(seen_as(net.server.address, local_port=4321))

    address, port = run(net, story)
    assert address == carrier.address
    assert port != 4321


def test_a_port_mapping_server_is_refused_with_a_way_out() -> None:
    net = two_nats(LinuxBehavior(port_mapping=("pcp",)), "linux")

    async def story() -> None:
        raise AssertionError("never begins")

    with pytest.raises(KernelCannot, match=r'pcp server for nat_a.*world="sim"'):
        run(net, story)


# -- Punching ----------------------------------------------------------------------------------------------------------


def test_simultaneous_open_through_two_nats_and_the_server_sees_none_of_it() -> None:
    net = two_nats("linux", "linux", delay=DELAY)
    size = 500_000

    async def talk(local_port: int, byte: bytes) -> bytes:
        with await meet(net.server.address, local_port) as sock:
            sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(sock, byte * size))
            received = await receive(sock, size)
            await sending
            return received

    async def story() -> Any:
        net.server.start(matchmaker())
        await settle()
        received = await asyncio.gather(net.alice.start(talk(4321, b"a")), net.bob.start(talk(5432, b"b")))
        world: Any = net.world
        return received, world.traffic("alice"), world.traffic("bob"), world.traffic("server")

    received, alice, bob, server = run(net, story)
    assert received == [b"b" * size, b"a" * size]
    assert min(*alice, *bob) > size
    assert max(server) < 10_000
