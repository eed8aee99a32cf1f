"""UDP punching where it is wanted: behind simulated NATs, after asking a server; and over real loopback sockets."""

from __future__ import annotations

import asyncio

import pytest

import natsim
from punchkit.outside import outside_address
from punchkit.punch_udp import MAGIC, ROUND, UdpPunch, drive
from punchkit.retransmission import DatagramClient
from punchkit.server.stun_server import StunServer
from punchkit.sockets import Address
from punchkit.wire import FOLLOWER, LEADER

KEY, SESSION = bytes(range(32)), b"session1"


async def stun_server(address: str) -> None:
    """Answers each request with the address that it came from."""
    await StunServer.open((address, 3478))
    await asyncio.Event().wait()


async def exchange_words(port: DatagramClient, words: bytes, to: Address) -> bytes:
    """Send some words along the path that was found, and return the peer's; both sides do this at once."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def receive(data: bytes, source: Address) -> None:
        if not data.startswith(MAGIC):  # the last packets of the round may come as late as this
            heard.set_result(data)

    with port.listening(receive):
        port.send(words, to)
        return await heard


class Peers:
    """alice and bob ask the server who they are, tell each other in the story's own way, and punch.

    alice begins `head_start` seconds earlier.
    """

    def __init__(self, net: natsim.Internet, head_start: float = 0.0) -> None:
        self.net = net
        self.head_start = head_start
        self.named: dict[str, list[Address]] = {}
        self.punches: dict[str, UdpPunch] = {}
        self.heard: dict[str, bytes] = {}
        self.took: dict[str, float] = {}
        self.run = net.run(self._story)

    @property
    def found(self) -> tuple[Address | None, Address | None]:
        """What alice has found, and what bob has."""
        return self.punches["alice"].found, self.punches["bob"].found

    async def _story(self) -> None:
        self.net.server.start(stun_server(self.net.server.address))
        ready = asyncio.Barrier(2)
        sides = (("alice", "bob", LEADER), ("bob", "alice", FOLLOWER))
        await asyncio.gather(*(self.net.hosts[side[0]].start(self._peer(*side, ready)) for side in sides))

    async def _peer(self, name: str, other: str, role: str, ready: asyncio.Barrier) -> None:
        port = await DatagramClient.open((self.net.hosts[name].address, 0))
        self.named[name] = [port.local, await outside_address(port, (self.net.server.address, 3478))]
        await ready.wait()
        await asyncio.sleep(self.head_start if name == "bob" else 0)
        started = asyncio.get_running_loop().time()
        at_home = "home" in self.net.nats
        targets = self.named[other] if at_home else self.named[other][1:]
        punch = self.punches[name] = UdpPunch(role, SESSION, KEY, targets, started)
        found = await drive(punch, port)
        self.took[name] = asyncio.get_running_loop().time() - started
        assert found == punch.found
        if found:
            await ready.wait()
            self.heard[name] = await exchange_words(port, f"this is {name}".encode(), found)
        port.close()


PAIRS = [
    ("eim-apdf", "eim-apdf", True),
    ("eim-adf", "apdm-apdf", True),
    ("eim-eif", "apdm-apdf", True),
    ("none", "apdm-sequential", True),
    ("linux", "linux", True),
    ("linux-reject", "cgnat", True),
    ("firewall", "linux", True),
    ("eim-apdf", "apdm-apdf", False),
    ("apdm-apdf", "apdm-apdf", False),
    ("linux", "linux-random", False),
]


@pytest.mark.parametrize("head_start", [0.0, 0.3])
@pytest.mark.parametrize(("a", "b", "meet"), PAIRS)
def test_who_meets_whom(a: str, b: str, meet: bool, head_start: float) -> None:
    peers = Peers(natsim.two_nats(a, b, seed=3), head_start)
    assert [found is not None for found in peers.found] == [meet, meet]
    if meet:
        assert peers.heard == {"alice": b"this is bob", "bob": b"this is alice"}
        assert peers.took["alice"] < head_start + 0.3
    else:
        assert peers.took == {"alice": pytest.approx(ROUND), "bob": pytest.approx(ROUND)}
        for punch in peers.punches.values():
            (outcome,) = punch.outcomes.values()
            assert set(outcome) == {"no answer"}


def test_an_equal_pair_finds_the_addresses_that_the_server_saw() -> None:
    peers = Peers(natsim.two_nats("eim-apdf", "eim-apdf"))
    assert peers.found == (peers.named["bob"][1], peers.named["alice"][1])


def test_a_nat_with_a_port_for_each_destination_is_found_where_its_packets_come_from() -> None:
    """A peer-reflexive address: bob could not have named it, for he has never seen it."""
    peers = Peers(natsim.two_nats("eim-adf", "apdm-apdf"))
    bob_is_at, alice_is_at = peers.found
    assert alice_is_at == peers.named["alice"][1]
    assert bob_is_at is not None
    assert bob_is_at[0] == peers.net.nat_b.address
    assert bob_is_at not in peers.named["bob"]
    outcomes = peers.punches["alice"].outcomes
    assert set(outcomes[peers.named["bob"][1]]) == {"no answer"}
    assert outcomes[bob_is_at]["answered"]


@pytest.mark.parametrize(("head_start", "meet"), [(0.0, True), (0.3, False)])
def test_a_router_that_takes_the_early_packet_for_its_own_spoils_the_round(head_start: float, meet: bool) -> None:
    """Linux whose firewall accepts what comes in, and so in the real kernel.  At the same moment it goes well."""
    peers = Peers(natsim.two_nats("linux-open", "linux-open"), head_start)
    assert [found is not None for found in peers.found] == [meet, meet]


def test_behind_one_nat_they_meet_at_home() -> None:
    """Each has two addresses; the NAT does not hairpin, so only the one inside works."""
    peers = Peers(natsim.same_nat("eim-apdf"))
    assert peers.found == (peers.named["bob"][0], peers.named["alice"][0])
    assert set(peers.punches["alice"].outcomes[peers.named["bob"][1]]) == {"no answer"}


def test_the_same_seed_gives_the_same_packets() -> None:
    one, same, other = (Peers(natsim.two_nats("linux", "linux", seed=seed), 0.3).run.trace for seed in (5, 5, 6))
    assert one.digest() == same.digest() != other.digest()


def test_two_meet_over_real_loopback_and_keep_their_ports() -> None:
    async def story() -> None:
        one, other = [await DatagramClient.open(("127.0.0.1", 0)) for _ in range(2)]
        now = asyncio.get_running_loop().time()
        leader = UdpPunch(LEADER, SESSION, KEY, [other.local], now)
        follower = UdpPunch(FOLLOWER, SESSION, KEY, [one.local], now)
        found = await asyncio.gather(drive(leader, one), drive(follower, other))
        assert found == [other.local, one.local]
        words = await asyncio.gather(
            exchange_words(one, b"a", other.local),
            exchange_words(other, b"b", one.local),
        )
        assert words == [b"b", b"a"]
        for port in (one, other):
            port.close()
        await asyncio.sleep(0)

    asyncio.run(story())
