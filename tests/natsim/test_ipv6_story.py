"""Programs that use IPv6 in internets that have both: hole punching through firewalls, and what is told of it."""

from __future__ import annotations

import asyncio

import pytest
from sim_tools import Datagrams

import natsim
from natsim import Run, predict
from natsim.icmp_error import TOO_LARGE, icmp_error
from natsim.packet import ICMP, Endpoint, Packet
from natsim.view.columns import Columns
from natsim.view.words import kind


def tcp_punch(net: natsim.Internet) -> Run:
    """Both dial the other's IPv6 address from port 6000, again and again, and say their names."""

    async def talk(host: natsim.Host, peer: natsim.Host) -> bytes:
        for _ in range(20):
            try:
                reader, writer = await asyncio.open_connection(peer.address6, 6000, local_addr=(host.address6, 6000))
            except OSError:
                await asyncio.sleep(0.3)
                continue
            writer.write(host.name.encode())
            said = await reader.read(10)
            writer.close()
            return said
        return b""

    async def story() -> list[bytes]:
        calls = (net.alice.start(talk(net.alice, net.bob)), net.bob.start(talk(net.bob, net.alice)))
        return list(await asyncio.gather(*calls))

    return net.run(story)


def udp_punch(net: natsim.Internet) -> Run:
    """Both send a datagram to the other once a second, three times; returns what each has heard."""

    async def talk(host: natsim.Host, peer: natsim.Host) -> list[bytes]:
        loop = asyncio.get_running_loop()
        _, mine = await loop.create_datagram_endpoint(Datagrams, local_addr=(host.address6, 6000))
        for _ in range(3):
            mine.transport.sendto(host.name.encode(), (peer.address6, 6000))
            await asyncio.sleep(1)
        return [mine.received.get_nowait()[0] for _ in range(mine.received.qsize())]

    async def story() -> list[list[bytes]]:
        calls = (net.alice.start(talk(net.alice, net.bob)), net.bob.start(talk(net.bob, net.alice)))
        return list(await asyncio.gather(*calls))

    return net.run(story)


FIREWALLS = ["firewall", natsim.NatBehavior(translate=False)]


@pytest.mark.parametrize("firewall", FIREWALLS, ids=["Linux", "RFC 6092"])
@pytest.mark.parametrize("nats", [("linux-random", "linux-random"), ("cgnat", "udp-blocked")])
def test_two_peers_meet_through_their_firewalls_whatever_their_nats(nats: tuple[str, str], firewall: str) -> None:
    by_tcp = tcp_punch(natsim.two_nats(*nats, ipv6=firewall, seed=3))
    assert by_tcp.result == [b"bob", b"alice"]
    assert "alice and bob went direct: data from alice ([2001:db8:1:" in by_tcp.why()
    by_udp = udp_punch(natsim.two_nats(*nats, ipv6=firewall, seed=3))
    assert all(heard for heard in by_udp.result)


def test_one_who_says_nothing_stays_behind_his_firewall() -> None:
    net = natsim.two_nats("linux", "linux", ipv6="firewall")

    async def call() -> str:
        try:
            await asyncio.open_connection(net.bob.address6, 6000)
        except OSError as problem:
            return type(problem).__name__
        return "connected"

    async def story() -> str:
        return await net.alice.start(call())

    run = net.run(story)
    assert run.result == "TimeoutError"
    assert "alice sent to [2001:db8:2::2]:6000" in run.why()
    assert "ended at nat_b: FILTERED: no flow" in run.why()


def test_a_ladder_shows_ipv6_like_everything_else() -> None:
    net = natsim.two_nats("linux", "linux-random", ipv6="firewall", seed=3)
    text = str(tcp_punch(net).ladder())
    assert "[2001:db8:1::2]:6000 > [2001:db8:2::2]:6000" in text
    assert "peer to peer" in text
    columns = Columns(net)
    assert columns.owner("2001:db8:1::2") == columns.place["alice"]
    assert columns.owner("2001:db8:0:1::2") == columns.place["nat_b"]
    assert columns.server_addresses == {"203.0.113.10", "2001:db8::10"}
    assert {"2001:db8:1::2", "198.51.100.1"} <= columns.public
    assert "192.168.1.2" not in columns.public


def test_icmpv6_has_words() -> None:
    about = Packet("udp", Endpoint("2001:db8::1", 1), Endpoint("2001:db8::2", 2))
    error = icmp_error("2001:db8::9", about, TOO_LARGE, mtu=1280)
    assert error is not None
    assert kind(error) == "ICMPv6 packet too big"
    assert kind(Packet(ICMP, about.src, about.dst, icmp=(135, 0))) == "ICMPv6 type 135 code 0"


# -- On paper ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_with_ipv6_on_both_sides_the_nats_do_not_matter(transport: str) -> None:
    assert not predict("apdm-apdf", "linux-random", transport).direct
    prediction = predict("apdm-apdf", "linux-random", transport, ipv6="firewall")
    assert prediction.probability == 1
    assert prediction.why.startswith("Over IPv6 nothing is translated.")


def test_a_firewall_that_lets_no_udp_out_leaves_it_to_ipv4() -> None:
    mute = natsim.LinuxBehavior(masquerade="none", block_udp=True)
    assert not predict("apdm-apdf", "linux-random", "udp", ipv6=mute).direct
    beside = predict("linux", "linux", "udp", ipv6=mute)
    assert beside.direct
    assert "A firewall lets no UDP out. Over IPv4:" in beside.why


def test_a_nat_is_no_firewall_of_ipv6_on_paper_either() -> None:
    with pytest.raises(ValueError, match="IPv6 has no NAT"):
        predict("linux", "linux", ipv6="linux")
