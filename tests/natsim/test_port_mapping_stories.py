"""Hosts ask their simulated router for ports, over its LAN, and strangers come in by them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from port_mapping_hosts import APDM, ask, both_engines, call, fetch, greet, hears, pcp, run, throw
from port_mapping_tools import TCP_NUMBER, add_arguments, natpmp_map, natpmp_mapped, pcp_filter, post, soap
from sim_tools import datagrams

import natsim
from natsim import LinuxBehavior, Masquerade, NatBehavior
from natsim.packet import Endpoint

# -- Strangers get in -------------------------------------------------------------------------------------------------


@both_engines
def test_a_strangers_datagram_gets_in_by_a_mapped_port(behavior: Any) -> None:
    net = natsim.two_nats(behavior, "none")

    async def alice() -> Any:
        mine = await datagrams(("0.0.0.0", 5000))
        outside = net.nat_a.address, 6000
        await net.bob.start(throw(outside))
        before = await hears(mine)
        mapped = natpmp_mapped(await ask(net, natpmp_map(5000, suggested=6000)))
        await net.bob.start(throw(outside, 7777))
        after = await hears(mine)
        return before, mapped.external, after

    result = run(net, alice).result
    assert result == (None, 6000, (b"knock", (net.bob.address, 7777)))


@both_engines
def test_a_strangers_connection_gets_in_by_a_mapped_port(behavior: Any) -> None:
    net = natsim.two_nats(behavior, "none")

    async def alice() -> Any:
        await asyncio.start_server(greet, "0.0.0.0", 5000)
        outside = net.nat_a.address, 6000
        before = await net.bob.start(call(outside))
        answer = await pcp(net, protocol=TCP_NUMBER, suggested=6000)
        return before, answer.external, await net.bob.start(call(outside))

    result = run(net, alice).result
    assert result == (None, Endpoint(net.nat_a.address, 6000), b"welcome")


def test_what_leaves_a_mapped_socket_leaves_by_the_mapped_port() -> None:
    net = natsim.two_nats(APDM, "none")

    async def alice() -> Any:
        mine = await datagrams(("0.0.0.0", 5000))
        await ask(net, natpmp_map(5000, suggested=6000))
        for remote in (net.bob, net.server):
            mine.transport.sendto(b"hello", (remote.address, 9))
        await asyncio.sleep(1)

    trace = run(net, alice).trace
    assert trace is not None
    arrived = [e.packet.src for e in trace if e.packet.payload == b"hello" and e.node in ("bob", "server")]
    assert arrived[:2] == [Endpoint(net.nat_a.address, 6000)] * 2


@both_engines
def test_a_filter_of_pcp_admits_one_host_only(behavior: Any) -> None:
    net = natsim.two_nats(behavior, "none")

    async def alice() -> Any:
        mine = await datagrams(("0.0.0.0", 5000))
        answer = await pcp(net, pcp_filter(net.bob.address))
        for stranger in (net.server, net.bob):
            await stranger.start(throw(tuple(answer.external)))
        heard = [await hears(mine), await hears(mine)]
        return [source[0] for _, source in filter(None, heard)]

    assert run(net, alice).result == [net.bob.address]


@pytest.mark.parametrize(
    "behavior",
    [NatBehavior(translate=False, port_mapping="pcp"), LinuxBehavior(Masquerade.NONE, port_mapping="pcp")],
    ids=["rfc", "linux"],
)
def test_a_firewall_opens_the_port_itself(behavior: Any) -> None:
    net = natsim.two_nats(behavior, "none")

    async def alice() -> Any:
        await asyncio.start_server(greet, "0.0.0.0", 5000)
        outside = net.alice.address, 5000
        before = await net.bob.start(call(outside))
        answer = await pcp(net, protocol=TCP_NUMBER, suggested=6000, client=net.alice.address)
        return before, tuple(answer.external) == outside, await net.bob.start(call(outside))

    assert run(net, alice).result == (None, True, b"welcome")


def test_a_host_has_no_more_leases_than_mappings() -> None:
    """RFC 6888 REQ-4: the carrier's limit is one for both."""
    net = natsim.two_nats(NatBehavior(max_mappings_per_host=1, port_mapping="pcp"), "none")

    async def alice() -> list[int]:
        return [(await pcp(net, port=port)).result for port in (5000, 5001)]

    assert run(net, alice).result == [0, 10]


# -- Time -------------------------------------------------------------------------------------------------------------


@both_engines
def test_a_lease_expires_unless_it_is_renewed(behavior: Any) -> None:
    net = natsim.two_nats(behavior, "none")

    async def alice() -> list[bool]:
        mine = await datagrams(("0.0.0.0", 5000))
        await ask(net, natpmp_map(5000, suggested=6000, lifetime=1000))
        heard = []
        for pause, renew in ((900, False), (90, True), (900, False), (200, False)):
            await asyncio.sleep(pause)
            if renew:
                await ask(net, natpmp_map(5000, lifetime=1000))
            await net.bob.start(throw((net.nat_a.address, 6000)))  # each time another stranger
            heard.append(await hears(mine) is not None)
        return heard

    assert run(net, alice).result == [True, True, True, False]


def test_the_epoch_counts_from_the_start() -> None:
    net = natsim.two_nats(APDM, "none")

    async def alice() -> tuple[int, int]:
        await asyncio.sleep(1234.5)
        return natpmp_mapped(await ask(net, natpmp_map(5000))).epoch, (await pcp(net)).epoch

    assert run(net, alice).result == (1234, 1234)


# -- Two hosts --------------------------------------------------------------------------------------------------------


@both_engines
def test_two_hosts_cannot_have_the_same_port(behavior: Any) -> None:
    net = natsim.same_nat(behavior)

    async def story() -> Any:
        wish = natpmp_map(5000, suggested=6000)
        first = natpmp_mapped(await net.alice.start(ask(net, wish)))
        second = natpmp_mapped(await net.bob.start(ask(net, wish)))
        socks = [await host.start(datagrams(("0.0.0.0", 5000))) for host in (net.alice, net.bob)]
        for mapped in (first, second):
            await net.server.start(throw((net.home.address, mapped.external)))
        return first.external, second.external, [await hears(sock) is not None for sock in socks]

    first, second, heard = net.run(story).result
    assert first == 6000 != second
    assert heard == [True, True]


# -- UPnP from the search to the stranger -----------------------------------------------------------------------------


def test_upnp_from_the_search_to_the_stranger() -> None:
    net = natsim.two_nats(APDM, "none")

    async def alice() -> Any:
        finder = await datagrams()
        target = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
        search = f'M-SEARCH * HTTP/1.1\r\nHOST: x\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: {target}\r\n\r\n'
        finder.transport.sendto(search.encode(), ("239.255.255.250", 1900))
        answer, source = await finder.received.get()
        assert source == (net.alice.gateway, 1900)
        location = next(line for line in answer.decode().split("\r\n") if line.startswith("LOCATION:"))
        _, _, place = location.partition("http://")
        authority, _, path = place.partition("/")
        address, _, port = authority.partition(":")
        description = await fetch(address, int(port), f"GET /{path} HTTP/1.1\r\n\r\n".encode())
        assert b"WANIPConnection:2" in description
        wish = post("/control/WANIPConnection", soap("AddPortMapping", add_arguments(8080, net.alice.address)))
        await fetch(address, int(port), wish)
        await asyncio.start_server(greet, "0.0.0.0", 80)
        return await net.bob.start(call((net.nat_a.address, 8080)))

    assert run(net, alice).result == b"welcome"


def test_a_control_point_that_says_nothing_is_left() -> None:
    net = natsim.two_nats(NatBehavior(port_mapping="upnp"), "none")

    async def alice() -> Any:
        reader, writer = await asyncio.open_connection(net.alice.gateway, 5000)
        empty = await reader.read()
        writer.close()
        return empty, asyncio.get_running_loop().time()

    empty, when = run(net, lambda: asyncio.wait_for(alice(), 100)).result
    assert empty == b""
    assert 30 <= when < 31
