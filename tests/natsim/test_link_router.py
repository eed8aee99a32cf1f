"""Links, the internet's router, and the router around a NAT: delay, loss, TTL, ways and cuts."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest
from sim_tools import datagrams, tcp, udp

import natsim
from natsim import Internet, Link, LinuxBehavior, Masquerade, NatBehavior, WanInput
from natsim.internet import public_addresses
from natsim.packet import ACK, RST, Packet
from natsim.sim_world import SimWorld
from natsim.trace import ANSWERED, DELIVERED, DROPPED, SENT

FIREWALL = LinuxBehavior(masquerade=Masquerade.NONE)


def send(net: Internet, sender: str, packet: Packet) -> SimWorld:
    """Let one packet leave a host, and everything happen that follows."""
    with SimWorld(net) as world:
        world.hosts[sender].send(packet)
        while world.clock.step():
            pass
        return world


def story_of(world: SimWorld, packet: Packet) -> list[tuple[str, str]]:
    return [(entry.node, entry.action) for entry in world.trace.of(packet)]


# -- Links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"delay": -1}, {"loss": -0.1}, {"loss": 1.0}])
def test_a_link_refuses_nonsense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"link's (delay|loss)"):
        Link(**wrong)


@pytest.mark.parametrize(("a", "b"), [("none", "none"), ("linux", "none"), ("cgnat", "linux"), ("firewall", "cgnat")])
def test_any_two_hosts_are_the_delay_apart_whatever_lies_between(a: str, b: str) -> None:
    net = natsim.two_nats(a, b, delay=50)
    packet = udp(f"{net.alice.address}:5000", f"{net.server.address}:9")
    world = send(net, "alice", packet)
    sent, arrived = world.trace.of(packet)[0], world.trace.of(packet)[-1]
    assert (sent.action, arrived.node) == (SENT, "server")
    assert arrived.when - sent.when == 50_000_000


def test_a_lossy_link_loses_its_share_in_order_and_as_the_seed_says() -> None:
    def arrived(seed: int) -> list[int]:
        net = Internet(seed)
        net.host("a", link=Link(5, loss=0.3))
        net.host("b", link=Link(5))
        with SimWorld(net) as world:
            for number in range(400):
                world.hosts["a"].send(udp("203.0.113.10:1", "203.0.113.11:2", payload=bytes(number)))
            while world.clock.step():
                pass
            lost = [entry for entry in world.trace if entry.action == DROPPED and entry.node == "a>internet"]
            here = [len(e.packet.payload) for e in world.trace if (e.node, e.action) == ("b", ANSWERED)]
            assert len(lost) + len(here) == 400
            return here

    first = arrived(1)
    assert 230 < len(first) < 330
    assert first == sorted(first)
    assert first == arrived(1) != arrived(2)


# -- The internet's router --------------------------------------------------------------------------------------------


def test_an_address_that_nobody_has_is_unreachable() -> None:
    packet = udp("203.0.113.11:1", "203.0.113.99:2")
    world = send(natsim.two_nats("none", "none"), "alice", packet)
    assert story_of(world, packet) == [("alice", SENT), ("internet", ANSWERED)]
    (error,) = [e.packet for e in world.trace if e.action == DELIVERED]
    assert (error.icmp, error.quoted, error.cause) == ((3, 0), packet, packet.uid)


@pytest.mark.parametrize(
    ("ttl", "ends_at", "speaker"),
    [
        (1, "nat_a", "192.168.1.1"),
        (2, "internet", "203.0.113.1"),
        (3, "nat_b", "198.51.100.2"),
        (4, "bob", "198.51.100.2"),
    ],
)
def test_the_ttl_runs_out_hop_by_hop_and_each_router_says_so(ttl: int, ends_at: str, speaker: str) -> None:
    """Behind an EIF NAT bob can be reached, so a packet counts down through both NATs."""
    net = natsim.two_nats("eim-eif", "eim-eif")
    with SimWorld(net) as world:
        world.hosts["bob"].send(udp("192.168.2.2:6000", "203.0.113.10:9"))  # opens bob's port 6000
        while world.clock.step():
            pass
        packet = udp("192.168.1.2:5000", "198.51.100.2:6000", ttl=ttl)
        world.hosts["alice"].send(packet)
        while world.clock.step():
            pass
    end = [e for e in world.trace.of(packet) if e.action == ANSWERED][-1]
    assert end.node == ends_at
    assert end.packet.ttl == (1 if ends_at in ("bob", "nat_a", "nat_b") else 0)
    answer = [e for e in world.trace if e.packet.cause == packet.uid and e.node == "alice" and e.action == DELIVERED]
    assert [e.packet.src.address for e in answer] == [speaker]
    assert answer[0].packet.icmp == ((11, 0) if ends_at != "bob" else (3, 3))
    assert answer[0].packet.quoted.src == packet.src, "the quotation is as alice sent it"


def test_a_router_answers_a_packet_to_itself_whatever_its_ttl() -> None:
    net = natsim.two_nats("linux-reject", "none")
    syn = tcp(f"{net.bob.address}:1", "198.51.100.1:2", ttl=2)  # 1 is left when it reaches the NAT
    world = send(net, "bob", syn)
    answer = [e.packet for e in world.trace if e.node == "bob" and e.packet.cause == syn.uid][-1]
    assert answer.flags & RST


def test_nobody_complains_about_an_error() -> None:
    packet = udp("203.0.113.11:1", "203.0.113.99:2")
    error = Packet("icmp", packet.src, packet.dst, icmp=(3, 3), quoted=packet)
    world = send(natsim.two_nats("none", "none"), "alice", error)
    assert story_of(world, error) == [("alice", SENT), ("internet", DROPPED)]
    assert len(world.trace) == 2


# -- The LAN side of a NAT --------------------------------------------------------------------------------------------


def test_neighbours_meet_on_the_lan_without_the_nat() -> None:
    net = natsim.same_nat("linux")
    packet = udp("192.168.1.2:5000", "192.168.1.3:6000")
    world = send(net, "alice", packet)
    assert story_of(world, packet) == [("alice", SENT), ("bob", ANSWERED)]


def test_a_lan_address_that_nobody_has_is_unreachable_and_never_leaves() -> None:
    packet = udp("192.168.1.2:5000", "192.168.1.99:6000")
    world = send(natsim.two_nats("linux", "none"), "alice", packet)
    assert story_of(world, packet) == [("alice", SENT), ("nat_a", ANSWERED)]
    assert [e.packet.icmp for e in world.trace if e.node == "alice" and e.action == DELIVERED] == [(3, 1)]


def test_the_gateway_itself_has_no_services() -> None:
    net = natsim.two_nats("eim-apdf", "none")
    world = send(net, "alice", udp("192.168.1.2:5000", "192.168.1.1:5351"))
    assert [e.packet.icmp for e in world.trace if e.node == "alice" and e.action == DELIVERED] == [(3, 3)]
    syn = tcp("192.168.1.2:5000", "192.168.1.1:80")
    world = send(net, "alice", syn)
    assert [e.packet.flags for e in world.trace if e.packet.cause == syn.uid][-1] == RST | ACK


# -- Firewalls, NATs behind firewalls, firewalls behind NATs ----------------------------------------------------------


def nested(outer: Any, inner: Any) -> Internet:
    net = Internet()
    net.host("server", link=Link(1))
    edge = net.nat("edge", outer, link=Link(1), lan=None)
    home = net.nat("home", inner, behind=edge, link=Link(1))
    net.host("alice", behind=home, link=Link(1))
    return net


@pytest.mark.parametrize("outer", [FIREWALL, NatBehavior()], ids=["firewall", "nat"])
@pytest.mark.parametrize("inner", [FIREWALL, NatBehavior()], ids=["firewall", "nat"])
def test_there_is_a_way_out_and_back_through_any_two_boxes(outer: Any, inner: Any) -> None:
    net = nested(outer, inner)

    async def ask() -> Any:
        mine = await datagrams()
        mine.transport.sendto(b"hello", (net.server.address, 9))
        return (await mine.received.get())[0]

    async def story() -> Any:
        server = net.server.start(datagrams(("0.0.0.0", 9), echo=True))
        await server
        return await net.alice.start(ask())

    assert net.run(story, limit=5).result == b"hello"


def test_the_internet_sees_a_node_by_its_outermost_nat() -> None:
    def seen(outer: Any, inner: Any, name: str) -> set[str]:
        return set(public_addresses(nested(outer, inner), name))

    nat = NatBehavior()
    net = nested(FIREWALL, FIREWALL)
    edge, home, alice = net.edge.address, net.home.address, net.alice._address
    assert seen(FIREWALL, FIREWALL, "alice") == {alice}
    assert seen(FIREWALL, FIREWALL, "home") == {home, alice}
    assert seen(FIREWALL, FIREWALL, "edge") == {edge, home, alice}
    assert seen(FIREWALL, nat, "alice") == seen(FIREWALL, nat, "home") == {home}
    assert seen(FIREWALL, nat, "edge") == {edge, home}
    assert seen(nat, FIREWALL, "alice") == seen(nat, FIREWALL, "home") == seen(nat, nat, "alice") == {edge}
    assert seen(nat, nat, "server") == {"203.0.113.10"}
    with pytest.raises(ValueError, match="no 'carol'; it has server, alice, edge, home"):
        seen(nat, nat, "carol")


# -- Cuts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "end"), [("linux", "alice"), ("linux", "nat_a"), ("firewall", "nat_a")])
def test_a_cut_hits_these_two_only_and_can_be_healed(device: str, end: str) -> None:
    net = natsim.two_nats(device, "none")

    async def ask() -> bool:
        mine = await datagrams()
        mine.transport.sendto(b"hello", (net.server.address, 9))
        try:
            async with asyncio.timeout(0.5):
                await mine.received.get()
        except TimeoutError:
            return False
        return True

    async def story() -> list[bool]:
        world: Any = net.world
        await net.server.start(datagrams(("0.0.0.0", 9), echo=True))
        heard = [await net.alice.start(ask())]
        world.cut(end, "server", "drop")
        heard += [await net.alice.start(ask()), await net.bob.start(ask())]
        world.heal("server", end)
        return [*heard, await net.alice.start(ask())]

    first, second = net.run(story), net.run(story)
    assert first.result == [True, False, True, True]
    assert any("CUT: the way between" in str(entry.reason) for entry in first.trace)
    assert first.trace.digest() == second.trace.digest()


def test_a_resetting_cut_answers_tcp() -> None:
    net = natsim.two_nats("none", "none")

    async def connect() -> int | None:
        with pytest.raises(OSError) as caught:  # noqa: PT011 (its number is the point)
            await asyncio.open_connection(net.server.address, 80)
        return caught.value.errno

    async def story() -> Any:
        world: Any = net.world
        world.cut("alice", "server", "reset")
        return await net.alice.start(connect())

    assert net.run(story).result == errno.ECONNREFUSED


def test_a_cut_wants_known_nodes_and_a_known_way() -> None:
    with SimWorld(natsim.two_nats("linux", "linux")) as world:
        with pytest.raises(ValueError, match="carol"):
            world.cut("alice", "carol", "drop")
        with pytest.raises(ValueError, match="melt"):
            world.cut("alice", "server", "melt")


def test_a_firewall_answers_for_itself_as_its_input_chain_says() -> None:
    net = natsim.two_nats(LinuxBehavior(Masquerade.NONE, WanInput.REJECT), "none")
    world = send(net, "bob", tcp("203.0.113.12:1", f"{net.nat_a.address}:80"))
    assert [e.action for e in world.trace if e.node == "nat_a"] == [ANSWERED, SENT]
