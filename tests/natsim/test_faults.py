"""Faults strike in a story, do what they say and no more, and are noted; the same seed has the same faults."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from port_mapping_hosts import ask, both_engines, hears, run, throw
from port_mapping_tools import natpmp_map, natpmp_mapped
from sim_tools import datagrams

import natsim
from natsim.aio.current import current_host
from natsim.internet import NotRunning
from natsim.nat.leases import Lease
from natsim.packet import RST, SYN, UDP, Endpoint
from natsim.scheduler import SECOND
from natsim.trace import SENT, TRANSLATED, Trace

NATS = ["linux", "eim-eif", "cgnat"]
CENTURY = 10**9


async def ping(mine: Any, word: bytes, wait: float = 1.0) -> bytes | None:
    """Send a word; what comes back within that time."""
    mine.transport.sendto(word)
    try:
        async with asyncio.timeout(wait):
            return (await mine.received.get())[0]
    except TimeoutError:
        return None


async def echo_on_server(net: natsim.Internet) -> Any:
    return await net.server.start(datagrams(("0.0.0.0", 9), echo=True))


async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A service that sends back what it gets, until the end."""
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


def run_on(net: natsim.Internet, story: Callable[[], Awaitable[Any]]) -> Any:
    """Run it twice: it is the same run, and the description is what it was."""
    before = [(dict(vars(node)), node.address) for node in (*net.hosts.values(), *net.nats.values())]
    first, second = net.run(story), net.run(story)
    assert first.trace.digest() == second.trace.digest()
    assert [(dict(vars(node)), node.address) for node in (*net.hosts.values(), *net.nats.values())] == before
    return first


def words(trace: Trace | None) -> list[str]:
    assert trace is not None
    return [f"{event.node} {event.words.partition(':')[0]}" for event in trace.events]


# -- NATs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behavior", ["eim-eif", "linux"])
def test_a_flush_takes_the_rows_and_leaves_the_leases(behavior: str) -> None:
    net = natsim.two_nats(behavior, "none")

    async def story() -> list[bytes | None]:
        engine = net.world.boxes["nat_a"].engine  # type: ignore[union-attr]
        mine = await net.alice.start(datagrams(("0.0.0.0", 9)))
        leased = await net.alice.start(datagrams(("0.0.0.0", 10)))
        theirs = await net.bob.start(datagrams(("0.0.0.0", 5)))
        inside, outside = Endpoint(net.alice.address, 10), Endpoint(net.nat_a.address, 4444)
        engine.lease(Lease(UDP, inside, outside, CENTURY * SECOND), 0)
        mine.transport.sendto(b"hello", (net.bob.address, 5))
        where = (await theirs.received.get())[1]
        net.flush("nat_a")
        theirs.transport.sendto(b"to the row", where)
        theirs.transport.sendto(b"to the lease", tuple(outside))
        await asyncio.sleep(1)
        return [mine.received.qsize(), leased.received.get_nowait()[0]]

    run = run_on(net, story)
    assert run.result == [0, b"to the lease"]
    assert words(run.trace) == ["nat_a FLUSH"]
    assert "conntrack -F" in str(run.trace.events[0])


@pytest.mark.parametrize("behavior", NATS)
def test_a_renumbered_nat_has_another_address_and_the_old_one_meets_nobody(behavior: str) -> None:
    net = natsim.two_nats(behavior, "none")
    outermost = "carrier_a" if "carrier_a" in net.nats else "nat_a"

    async def story() -> tuple[str, str, int]:
        server = await echo_on_server(net)
        mine = await net.alice.start(datagrams(remote=("server", 9)))
        assert await ping(mine, b"1") == b"1"
        old = (await server.received.get())[1]
        net.renumber(outermost)
        server.transport.sendto(b"too late", old)
        await asyncio.sleep(1)
        assert mine.received.empty()
        assert await ping(mine, b"2") == b"2"
        new = (await server.received.get())[1]
        return old[0], new[0], net.nats[outermost].address

    run = run_on(net, story)
    old, new, address = run.result
    assert old == net.nats[outermost].address != new
    assert new == address
    assert words(run.trace) == [f"{outermost} RENUMBER"]
    assert f"was {old} and is now {new}" in run.trace.events[0].words
    [lost] = [entry for entry in run.trace.drops() if "NO ROUTE" in str(entry.reason)]
    assert lost.packet.dst.address == old


@both_engines
def test_renumbering_ends_leases_begins_a_new_epoch_and_tells_the_lan(behavior: Any) -> None:
    net = natsim.two_nats(behavior, "none")
    new = "198.51.100.77"

    async def alice() -> Any:
        mine, news = await datagrams(("0.0.0.0", 5000)), await datagrams(("0.0.0.0", 5350))
        await asyncio.sleep(500)
        while not news.received.empty():
            news.received.get_nowait()
        await ask(net, natpmp_map(5000, suggested=6000))
        net.renumber("nat_a", new)
        announced = await hears(news)
        await net.bob.start(throw((new, 6000)))
        lost = await hears(mine)
        again = natpmp_mapped(await ask(net, natpmp_map(5000, suggested=6000)))
        await net.bob.start(throw((new, 6000)))
        return announced, lost, again.epoch, await hears(mine) is not None

    announced, lost, epoch, found = run(net, alice).result
    assert announced is not None
    assert announced[0] == bytes.fromhex("0080 0000 00000000") + bytes(map(int, new.split(".")))
    assert (lost, epoch, found) == (None, 1, True)


def test_what_cannot_be_renumbered_says_why() -> None:
    net = natsim.two_nats("firewall", "cgnat")

    async def story() -> None:
        with pytest.raises(ValueError, match=r"198\.51\.100\.2, since somebody has it"):
            net.renumber("carrier_b", net.carrier_b.address)
        with pytest.raises(ValueError, match=r"100\.64\..*, since somebody has it"):
            net.renumber("nat_b", net.carrier_b.gateway)
        with pytest.raises(ValueError, match="nat_a is a firewall"):
            net.renumber("nat_a")
        with pytest.raises(ValueError, match=r"nat_b is behind carrier_b, so its address is one of 100\.64"):
            net.renumber("nat_b", "198.51.100.77")
        with pytest.raises(ValueError, match="no NAT 'alice'; it has nat_a, carrier_b, nat_b"):
            net.renumber("alice")

    assert net.run(story).trace.events == []
    with pytest.raises(NotRunning, match="in the story"):
        net.renumber("nat_b")


# -- The way between nodes --------------------------------------------------------------------------------------------


def test_a_partition_cuts_a_group_off_and_not_in_two() -> None:
    net = natsim.two_nats("linux", "none")

    async def story() -> list[bytes | None]:
        heard = []
        await echo_on_server(net)
        await net.bob.start(datagrams(("0.0.0.0", 9), echo=True))
        to_server = await net.alice.start(datagrams(remote=("server", 9)))
        to_bob = await net.alice.start(datagrams(remote=("bob", 9)))
        for strike in (lambda: None, lambda: net.partition("alice", "bob"), lambda: net.heal("alice")):
            strike()
            heard += [await ping(to_server, b"server"), await ping(to_bob, b"bob")]
        return heard

    run = run_on(net, story)
    assert run.result == [b"server", b"bob", None, b"bob", b"server", b"bob"]
    assert words(run.trace) == ["alice PARTITION", "bob PARTITION", "alice HEAL"]


def test_a_flapping_link_comes_and_goes() -> None:
    net = natsim.two_nats("none", "none", delay=0)

    async def story() -> list[bytes | None]:
        await echo_on_server(net)
        mine = await net.alice.start(datagrams(remote=("server", 9)))
        flapping = asyncio.create_task(net.flap("alice", 1, 2, times=2))
        await asyncio.sleep(0.25)
        heard = []
        for _ in range(7):
            heard.append(await ping(mine, b"!", 0.5) is not None)
            await asyncio.sleep(1.0 if heard[-1] else 0.5)
        await flapping
        return heard

    run = run_on(net, story)
    assert run.result == [False, True, True, False, True, True, True]
    assert [event.when // SECOND for event in run.trace.events] == [0, 1, 3, 4]


def test_a_cut_stays_between_the_nodes_whatever_their_addresses() -> None:
    net = natsim.two_nats("linux", "none")

    async def story() -> list[bytes | None]:
        await echo_on_server(net)
        mine = await net.alice.start(datagrams(remote=("server", 9)))
        net.cut("nat_a", "server")
        net.renumber("nat_a")
        heard = [await ping(mine, b"cut")]
        net.heal("nat_a", "server")
        return [*heard, await ping(mine, b"healed")]

    assert run_on(net, story).result == [None, b"healed"]


# -- Hosts that crash -------------------------------------------------------------------------------------------------


def test_a_crash_is_silent_and_ends_the_programs_and_what_they_have_started(caplog: pytest.LogCaptureFixture) -> None:
    net = natsim.two_nats("none", "none")
    ended: list[str] = []

    async def napping(name: str) -> None:
        try:
            await asyncio.sleep(CENTURY)
        finally:
            ended.append(name)

    async def server_program() -> None:
        child = asyncio.create_task(napping("child"))
        server = await asyncio.start_server(tell, "0.0.0.0", 80)
        async with server:
            await child

    async def story() -> Any:
        ended.clear()
        net.alice.start(napping("alice"))
        program = net.bob.start(server_program())
        await asyncio.sleep(0.1)
        reader, writer = await net.alice.start(asyncio.open_connection("bob", 80))
        writer.write(b"1")
        assert await reader.read(10) == b"1"
        crashed = asyncio.get_running_loop().time()
        net.crash("bob")
        assert (await asyncio.gather(program, return_exceptions=True))[0].__class__ is asyncio.CancelledError
        assert ended == ["child"]
        writer.write(b"2")
        await asyncio.sleep(5)
        with pytest.raises(RuntimeError, match=r"bob has crashed.*net\.power_on"):
            net.bob.start(napping("bob"))
        with pytest.raises(RuntimeError, match="power it on first"):
            net.crash("bob")
        net.power_on("bob")
        with pytest.raises(RuntimeError, match="bob is on"):
            net.power_on("bob")
        with pytest.raises(ConnectionResetError):
            await reader.read(10)
        await net.bob.start(asyncio.start_server(tell, "0.0.0.0", 80))
        reader, writer = await net.alice.start(asyncio.open_connection("bob", 80))
        writer.write(b"3")
        assert await reader.read(10) == b"3"
        writer.close()
        return crashed

    with caplog.at_level(logging.ERROR, "asyncio"):
        run = run_on(net, story)
    assert caplog.messages == []
    assert words(run.trace) == ["bob CRASH", "bob POWER ON"]
    power_on = run.trace.events[1].when
    from_bob = [entry for entry in run.trace if (entry.node, entry.action) == ("bob", SENT)]
    between = [entry for entry in from_bob if run.result * SECOND < entry.when < power_on]
    after = [entry for entry in from_bob if entry.when > power_on]
    assert between == []
    assert after[0].packet.flags & RST
    assert {"POWER OFF: this host is dead"} == {
        str(e.reason) for e in run.trace.drops() if e.node == "bob" and e.when < power_on
    }


def test_a_host_that_has_crashed_draws_other_numbers_when_it_starts_again() -> None:
    net = natsim.two_nats("none", "none")

    async def connect() -> None:
        _, writer = await asyncio.open_connection("server", 80)
        writer.transport.abort()

    async def story() -> None:
        await net.server.start(asyncio.start_server(tell, "0.0.0.0", 80))
        await net.bob.start(connect())
        net.crash("bob")
        net.power_on("bob")
        await net.bob.start(connect())

    syns = [e.packet for e in run_on(net, story).trace if (e.node, e.action) == ("bob", SENT) and e.packet.flags == SYN]
    assert len({syn.src.port for syn in syns}) == len({syn.seq for syn in syns}) == 2


# -- Hosts that move --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", ["nat_b", None])
def test_a_host_that_roams_has_a_new_address_and_its_old_sockets_are_useless(behind: str | None) -> None:
    net = natsim.two_nats("eim-eif", "linux")

    def bind(address: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, 0))
        return sock

    async def old_sockets() -> list[int]:
        """What they say after the move: a datagram socket, a socket yet to be connected, and another bind."""
        old = net.alice.address
        codes = []
        with bind(old) as datagram, socket.socket() as stream:
            stream.bind((old, 0))
            net.roam("alice", behind)
            for use in (
                lambda: datagram.sendto(b"x", (net.server.address, 9)),
                lambda: stream.connect((net.server.address, 80)),
                lambda: bind(old),
            ):
                with pytest.raises(OSError, match=r"unreachable|Cannot assign") as caught:
                    use()
                codes.append(caught.value.errno)
        return codes

    async def story() -> Any:
        server = await echo_on_server(net)
        await net.server.start(asyncio.start_server(tell, "0.0.0.0", 80))
        reader, writer = await net.alice.start(asyncio.open_connection("server", 80))
        before = net.alice.address
        mapped = await net.alice.start(datagrams(("0.0.0.0", 9)))
        mapped.transport.sendto(b"1", (net.server.address, 9))
        seen_before = (await server.received.get())[1]
        codes = await net.alice.start(old_sockets())
        writer.write(b"silence")
        server.transport.sendto(b"who is there?", seen_before)
        fresh = await net.alice.start(datagrams(remote=("server", 9)))
        assert await ping(fresh, b"2") == b"2"
        while (seen := await server.received.get())[0] != b"2":
            pass
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await reader.read(10)
        writer.transport.abort()
        return codes, before, net.alice.address, seen[1][0], net.nat_a.name and net.alice.gateway

    run = run_on(net, story)
    codes, before, after, seen, gateway = run.result
    assert codes == [errno.ENETUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL]
    assert before == net.alice.address != after
    assert (seen, gateway) == ((net.nat_b.address, net.nat_b.gateway) if behind else (after, None))
    assert words(run.trace) == ["alice ROAM"]
    moved = run.trace.events[0].when
    reasons = {str(entry.reason).partition(":")[0] for entry in run.trace.drops() if entry.when >= moved}
    assert reasons == {"NO ADDRESS", "NO HOST"}
    assert not [e for e in run.trace if e.when > moved and e.packet.src.address == before and e.action == TRANSLATED]


def test_what_was_under_way_to_a_host_that_moves_does_not_arrive() -> None:
    net = natsim.two_nats("none", "none")

    async def story() -> int:
        mine = await net.alice.start(datagrams(("0.0.0.0", 9)))
        theirs = await net.bob.start(datagrams(remote=("alice", 9)))
        theirs.transport.sendto(b"x")
        await asyncio.sleep(0.015)
        net.roam("alice", None)
        await asyncio.sleep(1)
        return mine.received.qsize()

    run = run_on(net, story)
    assert run.result == 0
    [lost] = run.trace.drops()
    assert lost.node == "alice"


def test_a_packet_that_turns_round_finds_nobody_either_where_a_host_has_left() -> None:
    net = natsim.same_nat(natsim.NatBehavior(filtering="endpoint-independent", hairpin="external"))

    async def story() -> None:
        server = await echo_on_server(net)
        mine = await net.alice.start(datagrams(("0.0.0.0", 9)))
        mine.transport.sendto(b"x", (net.server.address, 9))
        seen = (await server.received.get())[1]
        net.roam("alice", None)
        theirs = await net.bob.start(datagrams(("0.0.0.0", 9)))
        theirs.transport.sendto(b"x", seen)
        await asyncio.sleep(1)

    lost = run_on(net, story).trace.drops()
    assert [(e.node, str(e.reason).partition(":")[0]) for e in lost] == [("home", "NO HOST"), ("home", "NO HOST")]


# -- Several addresses ------------------------------------------------------------------------------------------------


def test_a_host_with_two_addresses_answers_from_the_one_that_a_socket_is_bound_to() -> None:
    net = natsim.Internet()
    server = net.host("server", addresses=2)
    client = net.host("client")
    assert (server.addresses, client.addresses) == (("203.0.113.10", "203.0.113.11"), ("203.0.113.12",))

    async def story() -> list[Any]:
        for address in server.addresses:
            await server.start(datagrams((address, 9), echo=True))
            await server.start(asyncio.start_server(tell, address, 80))
        heard = []
        for address in server.addresses:
            mine = await client.start(datagrams(("0.0.0.0", 0)))
            mine.transport.sendto(b"x", (address, 9))
            heard.append((await mine.received.get())[1][0])
            _, writer = await client.start(asyncio.open_connection(address, 80))
            heard.append(writer.get_extra_info("peername")[0])
            writer.close()
        unbound = await server.start(datagrams(("0.0.0.0", 10), echo=True))
        mine.transport.sendto(b"x", (server.addresses[1], 10))
        heard.append((await mine.received.get())[1][0])
        unbound.transport.close()
        return heard

    first, second = server.addresses
    assert run_on(net, story).result == [first, first, second, second, first]


def test_a_host_behind_a_nat_may_have_several_addresses_and_takes_as_many_along() -> None:
    net = natsim.two_nats("linux", "linux")
    pair = net.host("pair", behind=net.nat_a, addresses=2)
    assert len(set(pair.addresses)) == 2

    async def story() -> tuple[str, ...]:
        net.roam("pair", None)
        return pair.addresses

    assert run_on(net, story).result == ("203.0.113.11", "203.0.113.12")
    with pytest.raises(ValueError, match="at least one address"):
        net.host("none", addresses=0)


# -- Words and worlds -------------------------------------------------------------------------------------------------

STRIKES: dict[str, Callable[[natsim.Internet], None]] = {
    "flush": lambda net: net.flush("nat_a"),
    "renumber": lambda net: net.renumber("nat_a"),
    "crash": lambda net: net.crash("alice"),
    "power on": lambda net: net.power_on("alice"),
    "roam": lambda net: net.roam("alice", "nat_b"),
}


@pytest.mark.parametrize("word", STRIKES)
def test_a_world_without_such_a_fault_names_one_that_has_it_and_stays_as_it_was(word: str) -> None:
    net = natsim.two_nats("linux", "linux")
    before = (net.nat_a.members, net.nat_b.members, net.nat_a.addresses)

    async def story() -> None:
        with pytest.raises(RuntimeError, match=rf'in the loopback world no "{word}" can .*world="sim"'):
            STRIKES[word](net)

    net.run(story, world="loopback")
    assert (net.nat_a.members, net.nat_b.members, net.nat_a.addresses) == before


def test_the_loopback_world_has_no_second_address() -> None:
    net = natsim.Internet()
    net.host("server", addresses=2)

    async def story() -> None:
        pytest.fail("it has begun")

    with pytest.raises(RuntimeError, match="so server has one too"):
        net.run(story, world="loopback")


@pytest.mark.parametrize("word", STRIKES)
def test_faults_strike_only_while_it_runs_and_only_what_there_is(word: str) -> None:
    net = natsim.two_nats("linux", "linux")
    with pytest.raises(NotRunning, match="in the story"):
        STRIKES[word](net)
    nobody = natsim.Internet()
    nobody.host("carol")

    async def story() -> None:
        with pytest.raises(ValueError, match=r"no (host|NAT) '(alice|nat_a)'; it has (carol|none)"):
            STRIKES[word](nobody)

    assert nobody.run(story).trace.events == []


def test_events_are_a_part_of_the_fingerprint_and_a_run_without_a_trace_keeps_none() -> None:
    net = natsim.two_nats("linux", "linux")

    async def quiet() -> None: ...

    async def story() -> None:
        net.flush("nat_a")

    assert net.run(story).trace.digest() != net.run(quiet).trace.digest()
    assert net.run(story, trace=False).trace is None


def test_a_run_with_every_fault_can_still_be_told() -> None:
    net = natsim.two_nats("linux", "linux")

    async def story() -> None:
        await echo_on_server(net)
        for strike in STRIKES.values():
            strike(net)
            mine = await net.bob.start(datagrams(remote=("server", 9)))
            assert await ping(mine, b"!") == b"!"
        await ping(await net.alice.start(datagrams(remote=("server", 9))), b"!")

    run = run_on(net, story)
    assert words(run.trace) == ["nat_a FLUSH", "nat_a RENUMBER", "alice CRASH", "alice POWER ON", "alice ROAM"]
    assert str(run.trace.events[3]).endswith("POWER ON: alice starts again, and knows nothing of its old connections")
    assert "stayed relayed" in run.why()
    assert "<svg" in run.ladder().svg
    assert "alice" in run.ladder().text


def test_a_program_may_strike_its_own_host() -> None:
    net = natsim.two_nats("none", "none")
    later = []

    async def suicidal() -> None:
        net.crash("alice")
        await asyncio.sleep(0)
        later.append(current_host.get())

    async def story() -> None:
        program = net.alice.start(suicidal())
        await asyncio.gather(program, return_exceptions=True)

    net.run(story)
    assert later == []
