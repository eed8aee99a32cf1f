"""Hosts ask their simulated router for ports, over its LAN, and strangers come in by them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from port_mapping_tools import (
    TCP_NUMBER,
    TCP_OPCODE,
    UDP_OPCODE,
    PcpAnswer,
    add_arguments,
    http_answer,
    natpmp_map,
    natpmp_mapped,
    pcp_answer,
    pcp_filter,
    pcp_map,
    pcp_request,
    post,
    soap,
)
from sim_tools import datagrams

import natsim
from natsim import (
    Internet,
    Link,
    LinuxBehavior,
    Masquerade,
    NatBehavior,
    WanInput,
    address_and_port_dependent,
    random_port,
)
from natsim.aio.loop import Deadlock
from natsim.internet import NotRunning
from natsim.nat.port_mapping.control_port import ANNOUNCEMENT_GAPS
from natsim.packet import Endpoint
from natsim.run import Run
from natsim.trace import DELIVERED, DROPPED, SENT

ALL = ("nat-pmp", "pcp", "upnp")
APDM = NatBehavior(mapping=address_and_port_dependent, ports=random_port, port_mapping=ALL)
LINUX = LinuxBehavior(port_mapping=ALL)
both_engines = pytest.mark.parametrize("behavior", [APDM, LINUX], ids=["apdm", "linux"])

PORT = 5351


def run(net: Internet, program: Callable[[], Awaitable[Any]], **options: Any) -> Run:
    """Run a program on alice; the result is its own."""

    async def story() -> Any:
        return await net.alice.start(program())

    return net.run(story, **options)


async def ask(net: Internet, datagram: bytes, gateway: str | None = None) -> bytes:
    """The answer of alice's router."""
    mine = await datagrams()
    mine.transport.sendto(datagram, (gateway or net.alice.gateway, PORT))
    async with asyncio.timeout(1):
        answer, _ = await mine.received.get()
    mine.transport.close()
    return answer


async def pcp(net: Internet, *options: bytes, port: int = 5000, **choices: Any) -> PcpAnswer:
    return pcp_answer(await ask(net, pcp_map(port, *options, **choices)))


async def hears(protocol: Any, seconds: float = 1) -> Any:
    """The next datagram and its sender, or None."""
    try:
        async with asyncio.timeout(seconds):
            return await protocol.received.get()
    except TimeoutError:
        return None


async def throw(to: tuple[str, int], local_port: int = 0) -> None:
    """A stranger's datagram."""
    stranger = await datagrams(("0.0.0.0", local_port))
    stranger.transport.sendto(b"knock", to)


async def call(to: tuple[str, int]) -> bytes | None:
    """What a stranger hears who connects; None if nobody opens."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(*to)
            heard = await reader.read()
            writer.close()
            return heard
    except OSError:
        return None


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"welcome")
    writer.close()


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


# -- Reboots ----------------------------------------------------------------------------------------------------------


@both_engines
def test_a_reboot_forgets_every_mapping_and_tells_the_lan(behavior: Any) -> None:
    net = natsim.two_nats(behavior, "none")

    async def alice() -> Any:
        mine, news = await datagrams(("0.0.0.0", 5000)), await datagrams(("0.0.0.0", 5350))
        await asyncio.sleep(500)
        while not news.received.empty():
            news.received.get_nowait()
        await ask(net, natpmp_map(5000, suggested=6000))
        net.reboot("nat_a")
        announced = [await hears(news), await hears(news)]
        await net.bob.start(throw((net.nat_a.address, 6000)))
        lost = await hears(mine)
        again = natpmp_mapped(await ask(net, natpmp_map(5000, suggested=6000)))
        await net.bob.start(throw((net.nat_a.address, 6000)))
        return announced, lost, again.epoch, again.external, await hears(mine)

    announced, lost, epoch, external, found = run(net, alice).result
    router = (net.nat_a.gateway, PORT)
    address = bytes(map(int, net.nat_a.address.split(".")))
    assert announced == [
        (bytes.fromhex("0080 0000 00000000") + address, router),
        (bytes.fromhex("02800000 00000000 00000000") + bytes(12), router),
    ]
    assert (lost, epoch, external) == (None, 1, 6000)
    assert found is not None


@pytest.mark.parametrize("behavior", [NatBehavior(), LinuxBehavior(), APDM], ids=["eim", "linux", "apdm"])
def test_a_reboot_forgets_what_packets_have_made_too(behavior: Any) -> None:
    net = natsim.two_nats(behavior, "none")

    async def alice() -> list[bool]:
        mine, bobs = await datagrams(("0.0.0.0", 5000)), await net.bob.start(datagrams(("0.0.0.0", 9)))
        mine.transport.sendto(b"hello", (net.bob.address, 9))
        _, seen = await bobs.received.get()
        heard = []
        for _ in range(2):
            bobs.transport.sendto(b"hello back", seen)
            heard.append(await hears(mine) is not None)
            net.reboot("nat_a")
        return heard

    assert run(net, alice).result == [True, False]


def test_a_router_that_has_lost_its_power_says_no_farewell() -> None:
    net = natsim.two_nats(NatBehavior(port_mapping="upnp"), "none")

    async def alice() -> int:
        _, writer = await asyncio.open_connection(net.alice.gateway, 5000)
        await asyncio.sleep(1)
        net.reboot("nat_a")
        await asyncio.sleep(100)
        writer.transport.abort()
        return [task.get_name() for task in asyncio.all_tasks()].count("nat_a: port mapping")

    finished = run(net, alice)
    assert finished.result == 1
    late = [e for e in finished.trace or () if e.when > 1e9]
    assert [e for e in late if (e.node, e.action) == ("nat_a", SENT) and e.when < 100e9] == []


def test_announcements_are_repeated_ten_times_ever_more_slowly() -> None:
    net = natsim.two_nats(NatBehavior(port_mapping="pcp"), "none", delay=0)
    trace = run(net, lambda: asyncio.sleep(1000)).trace
    assert trace is not None
    times = [e.when / 1e9 for e in trace if (e.node, e.action) == ("nat_a", SENT)]
    assert times == [sum(ANNOUNCEMENT_GAPS[:number]) for number in range(10)]
    assert times[:4] == [0, 0.25, 0.75, 1.75]


def test_a_router_without_port_mapping_reboots_without_a_word() -> None:
    net = natsim.two_nats("linux", "none")

    async def alice() -> None:
        net.reboot("nat_a")
        await asyncio.sleep(10)

    assert len(run(net, alice).trace or ()) == 0


def test_only_a_nat_that_runs_can_be_rebooted() -> None:
    net = natsim.two_nats("linux", "none")
    with pytest.raises(NotRunning):
        net.reboot("nat_a")

    async def story() -> None:
        for name in ("alice", "nat_b"):
            with pytest.raises(ValueError, match=f"no NAT '{name}'; it has nat_a"):
                net.reboot(name)

    net.run(story)


def test_the_loopback_world_has_nothing_to_reboot() -> None:
    net = natsim.two_nats("linux", "none")

    async def story() -> None:
        with pytest.raises(RuntimeError, match="no NATs, so nat_a cannot be rebooted"):
            net.reboot("nat_a")

    net.run(story, world="loopback")


# -- UPnP from the search to the stranger -----------------------------------------------------------------------------


async def fetch(address: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    for start in range(0, len(request), 100):  # in pieces, as TCP may bring them
        writer.write(request[start : start + 100])
        await asyncio.sleep(0.01)
    status, _, body = http_answer(await reader.read())
    writer.close()
    assert status == 200
    return body


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


# -- Who can reach the router's programs, and whom they reach ----------------------------------------------------------


def test_nobody_outside_can_ask() -> None:
    net = natsim.two_nats(APDM, "none")

    async def bob() -> Any:
        mine = await datagrams()
        for address in (net.nat_a.address, net.nat_a.gateway):
            for port in (PORT, 1900):
                mine.transport.sendto(b"\0\0", (address, port))
        return await hears(mine), await call((net.nat_a.address, 5000))

    async def story() -> Any:
        return await net.bob.start(bob())

    assert net.run(story).result == (None, None)


def test_a_router_answers_what_its_programs_do_not_want_as_any_host_does() -> None:
    net = natsim.two_nats(NatBehavior(port_mapping="pcp"), "none")

    async def alice() -> Any:
        mine = await datagrams(remote=(net.alice.gateway, 9))
        mine.transport.sendto(b"hello")
        error = await mine.errors.get()
        assert await call((net.alice.gateway, 80)) is None
        return error

    assert isinstance(run(net, alice).result, ConnectionRefusedError)


def test_multicast_reaches_every_host_of_the_lan_once_and_nobody_else() -> None:
    """Also a NAT that is inside, where it ends; and nobody complains that he does not listen."""
    net = Internet()
    net.host("server", link=Link(1))
    home = net.nat("home", NatBehavior(port_mapping="nat-pmp"), link=Link(1))
    inner = net.nat("inner", LinuxBehavior(wan_input=WanInput.REJECT), behind=home, link=Link(1))
    net.nat("pair", NatBehavior(addresses=2), behind=home, link=Link(1))
    wall = net.nat("wall", NatBehavior(translate=False), behind=home, link=Link(1))
    for name, behind in (("alice", home), ("bob", home), ("carol", inner), ("dora", wall), ("emil", wall)):
        net.host(name, behind=behind, link=Link(1))

    async def story() -> list[int]:
        listening = [await host.start(datagrams(("0.0.0.0", 5350))) for host in (net.alice, net.carol, net.dora)]
        await asyncio.sleep(0.2)
        return [sock.received.qsize() for sock in listening]

    finished = net.run(story)
    assert finished.result == [1, 0, 0]
    trace = list(finished.trace or ())
    ends = {e.packet.uid: (e.node, e.action) for e in trace if e.action != SENT}
    deaf = [(name, DROPPED) for name in ("bob", "inner", "pair", "wall")]
    assert sorted(ends.values()) == [("alice", DELIVERED), *deaf]
    assert sorted(ends) == [e.packet.uid for e in trace if e.action == SENT], "each has a number of its own"


def test_a_home_router_cannot_be_asked_for_a_port_of_the_carriers() -> None:
    """PCP notices the NAT in between (RFC 6887 section 8.2)."""
    net = Internet()
    carrier = net.nat("carrier", NatBehavior(port_mapping="pcp"), lan="100.64.0.0/24", link=Link(1))
    home = net.nat("home", NatBehavior(), behind=carrier, link=Link(1))
    net.host("alice", behind=home, link=Link(1))

    async def alice() -> int:
        request = pcp_map(5000, client=net.alice.address)
        return pcp_answer(await ask(net, request, net.carrier.gateway)).result

    assert run(net, alice).result == 12


def test_hosts_know_their_gateway() -> None:
    net = natsim.two_nats("cgnat", "none")
    assert (net.alice.gateway, net.bob.gateway) == ("192.168.2.1", None)


# -- What must not change ---------------------------------------------------------------------------------------------


def test_without_port_mapping_the_router_has_no_programs() -> None:
    net = natsim.two_nats(NatBehavior(), "none")

    async def alice() -> Any:
        mine = await datagrams()
        mine.transport.sendto(b"\0\0", (net.alice.gateway, PORT))
        mine.transport.sendto(b"\0\0", ("239.255.255.250", 1900))
        return await hears(mine)

    finished = run(net, alice)
    assert finished.result is None
    assert net.nat_a.name not in {e.node for e in finished.trace or () if e.action == DELIVERED}


@pytest.mark.parametrize("protocols", [("pcp",), ("upnp",), ALL])
def test_a_world_in_which_only_the_daemon_waits_is_idle(protocols: tuple[str, ...]) -> None:
    net = natsim.two_nats(NatBehavior(port_mapping=protocols), NatBehavior(port_mapping=protocols))

    async def alice() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="alice") as caught:
        run(net, alice)
    assert "port mapping" not in str(caught.value)
    assert float(str(caught.value).split()[1]) < 1, "nor does it wait for the last announcement"


def test_the_same_seed_makes_the_same_trace() -> None:
    def digest(seed: int) -> str:
        net = natsim.two_nats(APDM, APDM, seed=seed)

        async def alice() -> None:
            await ask(net, natpmp_map(5000, opcode=UDP_OPCODE))
            await ask(net, natpmp_map(5000, opcode=TCP_OPCODE))
            await ask(net, pcp_request(0, 0))
            net.reboot("nat_a")
            await asyncio.sleep(5)

        trace = run(net, alice).trace
        assert trace is not None
        return trace.digest()

    assert digest(1) == digest(1) != digest(2)


def test_the_ladder_shows_what_the_router_said() -> None:
    net = natsim.two_nats(APDM, "none")
    text = run(net, lambda: ask(net, b"\0\0")).ladder().text
    assert "UDP 12 B" in text
