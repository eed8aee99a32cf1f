"""Who has which IPv6 address, and how packets find them: prefixes, nested routers, faults, and what is not there."""

from __future__ import annotations

import asyncio

import pytest
from ipv6_tools import alive, arrives, send
from sim_tools import at, datagrams, tcp, udp

import natsim
from natsim.internet import public_addresses
from natsim.nat.devices import find
from natsim.packet import UDP, Endpoint, Packet
from natsim.scheduler import SECOND


def six(host: natsim.Host, port: int = 5000) -> Endpoint:
    assert host.address6 is not None
    return Endpoint(host.address6, port)


# -- Addresses ---------------------------------------------------------------------------------------------------------


def test_everybody_has_an_ipv6_address_beside_the_other_one() -> None:
    net = natsim.two_nats("linux", "none", ipv6="firewall")
    assert net.server.addresses == ("203.0.113.10", "2001:db8::10")
    assert net.alice.addresses == ("192.168.1.2", "2001:db8:1::2")
    assert net.bob.addresses == ("203.0.113.12", "2001:db8::12")
    assert (net.alice.gateway, net.alice.gateway6, net.bob.gateway6) == ("192.168.1.1", "2001:db8:1::1", None)
    assert net.nat_a.ipv6.address == "2001:db8:0:1::1"


def test_without_being_asked_nobody_has_ipv6() -> None:
    net = natsim.two_nats("linux", "none")
    assert [host.address6 for host in net.hosts.values()] == [None, None, None]
    assert net.nat_a.ipv6 is None


def test_a_router_behind_another_gets_a_prefix_of_its_prefix() -> None:
    net = natsim.two_nats("cgnat", "linux", ipv6="firewall")
    assert str(net.carrier_a.ipv6.lan) == "2001:db8:1::/64"
    assert str(net.nat_a.ipv6.lan) == "2001:db8:1:2::/64"
    assert net.nat_a.ipv6.address == "2001:db8:1::2", "its outside is on the carrier's LAN"
    assert net.alice.address6 == "2001:db8:1:2::2"
    assert str(net.nat_b.ipv6.lan) == "2001:db8:3::/64"
    assert net.carrier_a.has_inside("2001:db8:1:2::2")
    assert not net.carrier_a.has_inside("2001:db8:3::2")


def test_what_translates_is_no_firewall_of_ipv6() -> None:
    with pytest.raises(ValueError, match="linux translates addresses, and IPv6 has no NAT"):
        natsim.two_nats("linux", "linux", ipv6="linux")
    with pytest.raises(ValueError, match="not one router but 2"):
        natsim.two_nats("linux", "linux", ipv6=find("cgnat"))
    with pytest.raises(ValueError, match=r"NatBehavior.* translates"):
        natsim.Internet().nat("home", natsim.NatBehavior(), ipv6=natsim.NatBehavior())


def test_a_prefix_comes_from_the_router_before() -> None:
    net = natsim.Internet()
    carrier = net.nat("carrier", natsim.NatBehavior())
    with pytest.raises(ValueError, match="carrier before it has no IPv6"):
        net.nat("home", natsim.NatBehavior(), behind=carrier, ipv6="firewall")
    with pytest.raises(ValueError, match="alice gets no IPv6 address"):
        net.host("alice", behind=carrier, ipv6=True)


def test_worlds_without_ipv6_say_so() -> None:
    with pytest.raises(RuntimeError, match='use world="sim"'):
        natsim.two_nats("none", "none", ipv6="firewall").run(asyncio.Event().wait, world="loopback")


# -- Ways --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nat", ["linux", "cgnat", "firewall", "none"])
def test_packets_keep_their_addresses_all_the_way(nat: str) -> None:
    net = natsim.two_nats(nat, "linux", ipv6="firewall")
    with alive(net) as world:
        packet = Packet(UDP, six(net.alice), six(net.server))
        [end] = send(world, "alice", packet)
        assert arrives(end, "server")
        assert (end.packet.src, end.packet.dst) == (packet.src, packet.dst)
        [answer] = {entry.packet.uid: entry for entry in world.trace if entry.packet.cause == packet.uid}.values()
        assert answer.node == "alice", "port unreachable comes back"
        assert answer.packet.icmp == (1, 4)


def test_hosts_of_one_lan_meet_without_their_router() -> None:
    net = natsim.same_nat("linux", ipv6="firewall")
    with alive(net) as world:
        [end] = send(world, "alice", tcp(six(net.alice), six(net.bob)))
        assert arrives(end, "bob")
        assert {entry.node for entry in world.trace} == {"alice", "bob"}


def test_an_address_that_nobody_has_is_answered() -> None:
    net = natsim.two_nats("linux", "none", ipv6="firewall")
    with alive(net) as world:
        nobody, neighbour = udp(six(net.alice), at("2001:db8:77::1:9")), udp(six(net.alice), at("2001:db8:1::99:9"))
        send(world, "alice", nobody, neighbour)
        errors = [entry.packet for entry in world.trace if entry.node == "alice" and entry.packet.is_icmp_error]
        assert {(error.src.address, error.icmp) for error in errors} == {
            ("2001:db8::1", (1, 0)),
            ("2001:db8:1::1", (1, 3)),
        }


@pytest.mark.parametrize(("hops", "who"), [(1, "2001:db8:1::1"), (2, "2001:db8::1")])
def test_the_hop_limit_runs_out(hops: int, who: str) -> None:
    net = natsim.two_nats("linux", "none", ipv6="firewall")
    with alive(net) as world:
        [end] = send(world, "alice", udp(six(net.alice), six(net.server), ttl=hops))
        assert "HOP LIMIT" in str(end.reason)
        [told] = [entry.packet for entry in world.trace if entry.node == "alice" and entry.packet.is_icmp_error]
        assert (told.icmp, told.src.address) == ((3, 0), who)


def test_ipv4_does_not_notice_that_there_is_ipv6() -> None:
    def digest(ipv6: str | None) -> str:
        net = natsim.two_nats("linux", "cgnat", seed=4, loss=0.1, ipv6=ipv6)

        async def serve() -> None:
            await datagrams(("0.0.0.0", 7), echo=True)

        async def ask() -> None:
            asker = await datagrams(None, (net.server.address, 7))
            for _ in range(20):
                asker.transport.sendto(b"?")
                await asyncio.sleep(0.1)

        async def story() -> None:
            await net.server.start(serve())
            await asyncio.gather(net.alice.start(ask()), net.bob.start(ask()))

        return net.run(story).trace.digest()

    assert digest(None) == digest("firewall")


def test_the_same_queue_serves_both_families() -> None:
    """A link with room for two packets: one of each family, and the third is lost whatever it is."""
    net = natsim.Internet()
    net.host("server", ipv6=True)
    slow = natsim.Link(rate=0.1, queue=2)
    home = net.nat("home", find("firewall").layers[0], link=slow, ipv6=natsim.NatBehavior(translate=False))
    net.host("alice", behind=home)
    with alive(net) as world:
        host = net.alice
        opening = [
            udp(Endpoint(host.address, 1), Endpoint(net.server.address, 2)),
            udp(six(host, 1), six(net.server, 2)),
        ]
        send(world, "alice", *opening)
        back = [packet.rewritten(packet.dst, packet.src) for packet in (*opening, *opening)]
        ends = send(world, "server", *(Packet(UDP, packet.src, packet.dst, bytes(500)) for packet in back))
        assert [end.node for end in ends] == ["alice", "alice", "alice", "internet>home"]


# -- Faults ------------------------------------------------------------------------------------------------------------


def test_the_internet_knows_hosts_by_their_own_ipv6_address() -> None:
    net = natsim.two_nats("cgnat", "linux", ipv6="firewall")
    carrier, alice = net.carrier_a.address, "2001:db8:1:2::2"
    assert public_addresses(net, "alice") == {carrier, alice}
    assert public_addresses(net, "nat_a") == {carrier, "2001:db8:1::2", alice}
    assert public_addresses(net, "carrier_a") == {carrier, "2001:db8:0:1::1", "2001:db8:1::2", alice}


def test_a_cut_hits_both_families() -> None:
    net = natsim.two_nats("linux", "none", ipv6="firewall")
    with alive(net) as world:
        world.cut("alice", "server", "reset")
        [end] = send(world, "alice", tcp(six(net.alice), six(net.server)))
        assert "CUT" in str(end.reason)
        assert world.trace.drops()[-1].node == "alice", "nobody asked for the RST that came"
        world.heal("alice", "server")
        [end] = send(world, "alice", tcp(six(net.alice), six(net.server)))
        assert arrives(end, "server")


@pytest.mark.parametrize("fault", ["reboot", "flush"])
def test_a_router_that_forgets_forgets_its_ipv6_too(fault: str) -> None:
    net = natsim.two_nats("linux", "none", ipv6="firewall")
    with alive(net) as world:
        there, back = udp(six(net.alice), six(net.bob)), udp(six(net.bob), six(net.alice))
        send(world, "alice", there)
        [end] = send(world, "bob", back)
        assert end.node == "alice"
        getattr(net, fault)("nat_a")
        [end] = send(world, "bob", back.rewritten())
        assert end.node == "nat_a"
        assert "FILTERED" in str(end.reason)


def test_renumbering_is_for_ipv4() -> None:
    net = natsim.two_nats("linux", "none", ipv6="firewall")
    with alive(net) as world:
        send(world, "alice", udp(six(net.alice), six(net.bob)))
        with pytest.raises(ValueError, match="its IPv6 prefix stays as it is"):
            net.renumber("nat_a", "2001:db8:9::1")
        net.renumber("nat_a")
        [end] = send(world, "bob", udp(six(net.bob), six(net.alice)))
        assert end.node == "alice", "what is open in IPv6 stays open"


def test_who_roams_has_ipv6_where_there_is_some() -> None:
    net = natsim.two_nats("linux", "linux", ipv6="firewall")
    net.nat("cafe", natsim.NatBehavior())
    places = []
    with alive(net) as world:
        for behind in ("nat_b", "cafe", None, "nat_a"):
            old = net.alice.addresses
            net.roam("alice", behind)
            places.append(net.alice.addresses)
            world.clock.now += SECOND
            for address in old:
                assert address not in world.hosts["alice"].addresses
            source = net.alice.address6
            if source is not None:
                [end] = send(world, "alice", udp(Endpoint(source, 1), six(net.server, 2)))
                assert arrives(end, "server")
        [lost] = send(world, "bob", udp(six(net.bob), at("2001:db8:1::2:1")))
        assert "NO ROUTE" in str(lost.reason)
    assert places == [
        ("192.168.2.3", "2001:db8:2::3"),
        ("192.168.3.2",),
        ("203.0.113.11", "2001:db8::11"),
        ("192.168.1.3", "2001:db8:1::3"),
    ]
