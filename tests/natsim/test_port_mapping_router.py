"""The simulated router as a host with programs: who reaches them, whom they reach, and what a reboot does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from port_mapping_hosts import ALL, APDM, PORT, ask, both_engines, call, hears, run, throw
from port_mapping_tools import TCP_OPCODE, UDP_OPCODE, natpmp_map, natpmp_mapped, pcp_answer, pcp_map, pcp_request
from sim_tools import datagrams

import natsim
from natsim import Internet, Link, LinuxBehavior, NatBehavior, WanInput
from natsim.aio.loop import Deadlock
from natsim.internet import NotRunning
from natsim.nat.port_mapping.control_port import ANNOUNCEMENT_GAPS
from natsim.trace import DELIVERED, DROPPED, SENT

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


def test_what_a_host_says_to_its_router_is_not_said_to_its_peer() -> None:
    net = natsim.two_nats(natsim.NatBehavior(port_mapping=("nat-pmp", "upnp")), "linux")

    async def ask() -> None:
        mine = await datagrams(("0.0.0.0", 5000))
        mine.transport.sendto(b"\x00\x00", (net.alice.gateway, 5351))
        mine.transport.sendto(b"M-SEARCH * HTTP/1.1\r\n\r\n", ("239.255.255.250", 1900))
        await mine.received.get()

    async def story() -> None:
        await net.alice.start(ask())

    run = net.run(story)
    assert run.why() == "alice and bob stayed relayed: neither has sent anything to the other's address."
