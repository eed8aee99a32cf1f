"""Multicast on a simulated LAN: groups are joined and left, and every socket of a group's port hears."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from sim_tools import Datagrams, datagrams, tcp, udp

import natsim
from natsim import NatBehavior
from natsim.multicast import is_multicast
from natsim.sim_world import SimWorld
from natsim.trace import ANSWERED, DROPPED, SENT, TRANSLATED

GROUP, OTHER = "239.1.2.3", "239.1.2.4"


def lan() -> natsim.Internet:
    return natsim.two_nats(NatBehavior(port_mapping="upnp"), "none")


def membership(group: str) -> bytes:
    return socket.inet_aton(group) + socket.inet_aton("0.0.0.0")


async def member(*groups: str, port: int = 7000) -> Datagrams:
    """A datagram endpoint that has joined groups, and shares its port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    for group in groups:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership(group))
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(Datagrams, sock=sock)
    return protocol


def router_sends(net: natsim.Internet, *packets: Any) -> None:
    world = net.world
    assert isinstance(world, SimWorld)
    stack = world.boxes["nat_a"].stack
    assert stack is not None
    for packet in packets:
        stack.send(packet)


def test_a_group_is_heard_by_every_socket_once_somebody_here_has_joined() -> None:
    net = lan()

    def knock() -> None:
        router_sends(net, udp("192.168.1.1:5", f"{GROUP}:7000", payload=b"knock"))

    async def alice() -> list[tuple[int, int]]:
        first, second = await member(), await member(OTHER)
        heard = []

        async def note() -> None:
            knock()
            await asyncio.sleep(1)
            heard.append((first.received.qsize(), second.received.qsize()))

        await note()
        third = await member(GROUP)
        await note()
        third.transport.close()
        await note()
        return heard

    async def story() -> Any:
        return await net.alice.start(alice())

    assert net.run(story).result == [(0, 0), (1, 1), (1, 1)]


def test_a_socket_with_an_address_or_a_peer_of_its_own_hears_no_group() -> None:
    net = lan()

    async def alice() -> list[int]:
        bound = await datagrams((net.alice.address, 5350))
        connected = await datagrams(("0.0.0.0", 5351), (net.alice.gateway, 9))
        packets = [udp("192.168.1.1:9", f"224.0.0.1:{port}", payload=b"knock") for port in (5350, 5351)]
        router_sends(net, *packets)
        await asyncio.sleep(1)
        return [bound.received.qsize(), connected.received.qsize()]

    async def story() -> Any:
        return await net.alice.start(alice())

    assert net.run(story).result == [0, 0]


def test_a_group_is_joined_once_and_left_once_by_each_socket() -> None:
    net = lan()

    async def alice() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for option, first, second in (
                (socket.IP_ADD_MEMBERSHIP, None, errno.EADDRINUSE),
                (socket.IP_DROP_MEMBERSHIP, None, errno.EADDRNOTAVAIL),
            ):
                for expected in (first, second):
                    code = None
                    try:
                        sock.setsockopt(socket.IPPROTO_IP, option, membership(GROUP))
                    except OSError as exc:
                        code = exc.errno
                    assert code == expected

    async def story() -> None:
        await net.alice.start(alice())

    net.run(story)


def test_a_segment_to_a_group_is_not_for_the_router() -> None:
    net = lan()
    packet = tcp("192.168.1.2:5", f"{GROUP}:5000")

    async def story() -> None:
        world = net.world
        assert isinstance(world, SimWorld)
        world.hosts["alice"].send(packet)
        await asyncio.sleep(1)

    trace = net.run(story).trace
    assert trace is not None
    assert [e.action for e in trace.of(packet) if e.node == "nat_a"] == [TRANSLATED], "it goes where all others go"


def test_routers_speak_to_their_lan_only() -> None:
    net = lan()

    async def story() -> None:
        router_sends(net, udp("192.168.1.1:5", f"{net.bob.address}:9"))
        await asyncio.sleep(1)

    trace = net.run(story).trace or ()
    assert [(e.node, e.action) for e in trace] == [("nat_a", SENT), ("nat_a", DROPPED)]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("224.0.0.0", True),
        ("239.255.255.255", True),
        ("223.255.255.255", False),
        ("240.0.0.0", False),
        ("22.4.0.0", False),
    ],
)
def test_groups_are_224_to_239(address: str, expected: bool) -> None:
    assert is_multicast(address) is expected


def test_a_world_can_be_left_before_its_daemon_has_begun() -> None:
    with SimWorld(lan()) as world:
        world.hosts["alice"].send(udp("192.168.1.2:5", "192.168.1.1:1900"))
        while world.clock.step():
            pass
    assert next(e.action for e in world.trace if e.node == "nat_a") == ANSWERED
