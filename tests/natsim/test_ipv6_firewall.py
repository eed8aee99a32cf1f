"""Stateful firewalls of IPv6: who may pass, what is answered, ICMPv6 errors by session, fragments, and path MTUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from ipv6_tools import alive, arrives, send
from sim_tools import error_about, tcp, udp

import natsim
from natsim.fragmentation import fragments_of
from natsim.link import Link
from natsim.nat.devices import find
from natsim.packet import ACK, FIN, ICMP, RST, SYN, Endpoint, Packet
from natsim.scheduler import SECOND
from natsim.sim_world import SimWorld
from natsim.trace import ANSWERED, DELIVERED, DROPPED, FRAGMENTED, HELD

LINUX = find("firewall").layers[0]
STRICT = natsim.NatBehavior(translate=False)
#: RFC 6092 REC-17 and REC-33: "endpoint-independent" where applications matter most.
OPEN = find("rfc6092").layers[0]
BOTH = pytest.mark.parametrize("firewall", [LINUX, STRICT], ids=["Linux", "RFC 6092"])

ALICE, SERVER, BOB = (Endpoint(f"2001:db8{end}", 5000) for end in (":1::2", "::10", "::12"))


def world_of(firewall: object, mtu: int | None = None) -> Iterator[SimWorld]:
    net = natsim.two_nats("linux", "none", ipv6=firewall)  # type: ignore[arg-type]
    net.nat_a.link = replace(net.nat_a.link, mtu=mtu)
    with alive(net, deaf=True) as world:
        yield world


@pytest.fixture
def world(firewall: object) -> Iterator[SimWorld]:
    """What goes on in the hosts does not matter here."""
    yield from world_of(firewall)


def pass_time(world: SimWorld, seconds: float) -> None:
    world.clock.now += round(seconds * SECOND)


def back(packet: Packet, **fields: object) -> Packet:
    """A packet the other way round."""
    return Packet(packet.protocol, packet.dst, packet.src, **fields)  # type: ignore[arg-type]


# -- UDP and TCP -------------------------------------------------------------------------------------------------------


@BOTH
def test_nothing_comes_in_unasked(world: SimWorld) -> None:
    ends = send(world, "server", udp(SERVER, ALICE), tcp(SERVER, ALICE), Packet(ICMP, SERVER, ALICE, icmp=(128, 0)))
    for end in ends:
        assert (end.node, end.reason.passed) == ("nat_a", False)  # type: ignore[union-attr]
        assert "no flow" in str(end.reason) or "no row" in str(end.reason)
    assert not [entry for entry in world.trace if entry.node == "alice"], "and nothing is answered"


@BOTH
def test_who_was_asked_may_answer(world: SimWorld) -> None:
    there = udp(ALICE, SERVER)
    [out] = send(world, "alice", there)
    assert arrives(out, "server")
    end, other_port = send(world, "server", back(there), udp(SERVER._replace(port=9), ALICE))
    [stranger] = send(world, "bob", udp(BOB, ALICE))
    assert arrives(end, "alice")
    for refused in (other_port, stranger):
        assert refused.node == "nat_a"
        assert "FILTERED" in str(refused.reason)


@BOTH
def test_an_idle_session_is_forgotten(world: SimWorld) -> None:
    there = udp(ALICE, SERVER)
    send(world, "alice", there)
    pass_time(world, 15)
    [end] = send(world, "server", back(there))
    assert arrives(end, "alice")
    pass_time(world, 121)
    [end] = send(world, "server", back(there))
    assert end.node == "nat_a"


@BOTH
def test_a_connection_goes_through_from_its_first_segment_to_its_last(world: SimWorld) -> None:
    syn = tcp(ALICE, SERVER, SYN, seq=1, window=60_000)
    [end] = send(world, "alice", syn)
    assert end.node == "server"
    segments = [
        ("server", back(syn, flags=SYN | ACK, seq=9, ack=2, window=60_000)),
        ("alice", tcp(ALICE, SERVER, ACK, seq=2, ack=10, window=60_000)),
        ("server", back(syn, flags=ACK, seq=10, ack=2, window=60_000, payload=b"hello")),
        ("alice", tcp(ALICE, SERVER, FIN | ACK, seq=2, ack=15, window=60_000)),
    ]
    for host, segment in segments:
        [end] = send(world, host, segment)
        assert end.node == {"server": "alice", "alice": "server"}[host]


@BOTH
def test_simultaneous_open_goes_through(world: SimWorld) -> None:
    """RFC 6092 REC-31."""
    world.hosts["alice"].send(tcp(ALICE, BOB, SYN, seq=1))
    crossing = tcp(BOB, ALICE, SYN, seq=7)
    world.hosts["bob"].send(crossing)
    send(world, "server")
    assert arrives(world.trace.of(crossing)[-1], "alice")


@pytest.mark.parametrize("firewall", [OPEN])
def test_an_open_filter_lets_anybody_in_to_a_socket_that_has_spoken(world: SimWorld) -> None:
    [closed] = send(world, "bob", udp(BOB, ALICE))
    assert "no row for [2001:db8:1::2]:5000" in str(closed.reason)
    send(world, "alice", udp(ALICE, SERVER))
    [end] = send(world, "bob", udp(BOB, ALICE))
    assert arrives(end, "alice")


@pytest.mark.parametrize(
    ("firewall", "kind"),
    [
        (replace(STRICT, unsolicited_syn=natsim.refuse_syn), None),
        (replace(STRICT, unsolicited_syn=natsim.unreachable_syn), (1, 4)),
        (replace(STRICT, unsolicited_syn=natsim.hold_syn), (1, 1)),
    ],
    ids=["RST", "ICMPv6", "held"],
)
def test_an_unsolicited_syn_may_be_answered(world: SimWorld, kind: tuple[int, int] | None) -> None:
    """RFC 6092 REC-34: administratively prohibited, and not before six seconds have passed."""
    syn = tcp(SERVER, ALICE)
    [end] = send(world, "server", syn)
    assert end.action == (HELD if kind == (1, 1) else ANSWERED)
    assert "FILTERED" not in str(end.reason), "there is not even a row"
    [answer] = [entry for entry in world.trace if entry.packet.cause == syn.uid and entry.node == "server"]
    assert answer.packet.icmp == kind
    assert answer.packet.flags & RST or kind
    assert (answer.when > 6 * SECOND) is (kind == (1, 1))


def test_the_router_itself_is_guarded_by_its_input_chain() -> None:
    """In the same table, but of another address."""
    router = Endpoint("2001:db8:0:1::1", 9)
    for wan_input, answer in (("drop", None), ("reject", (1, 4)), ("accept", (1, 4))):
        for world in world_of(replace(LINUX, wan_input=natsim.WanInput(wan_input))):
            to_router, to_alice = udp(SERVER, router), udp(SERVER, ALICE)
            _, behind = send(world, "server", to_router, to_alice)
            heard = [e.packet.icmp for e in world.trace if e.node == "server" and e.packet.cause == to_router.uid]
            assert heard == ([answer] if answer else [])
            assert "no flow" in str(behind.reason)
            ping = Packet(ICMP, SERVER, router._replace(port=0), icmp=(128, 0))
            send(world, "server", ping)
            pongs = [e.packet.icmp for e in world.trace if e.node == "server" and e.packet.cause == ping.uid]
            assert pongs == {"drop": [], "reject": [(1, 4)], "accept": [(129, 0)]}[wan_input]


@pytest.mark.parametrize("firewall", [OPEN, LINUX], ids=["RFC 6092", "Linux"])
def test_groups_are_for_the_lan(world: SimWorld) -> None:
    """RFC 6092 REC-2; and nobody complains."""
    [end] = send(world, "alice", udp(ALICE, Endpoint("ff02::fb", 5353)))
    assert (end.node, end.action, end.packet.dst.port) == ("nat_a", DROPPED, 5353)
    assert "MULTICAST" in str(end.reason)


# -- ICMPv6 ------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("kind", [(1, 0), (1, 4), (2, 0), (3, 0), (4, 1)])
def test_an_error_comes_in_by_the_session_that_it_is_about(world: SimWorld, kind: tuple[int, int]) -> None:
    """RFC 4890 section 4.3.1, RFC 6092 REC-18; type 4 is no source quench here, but a parameter problem."""
    there = udp(ALICE, BOB)
    send(world, "alice", there)
    error, stranger = error_about(there, "2001:db8::10", kind), error_about(udp(ALICE, SERVER), "2001:db8::10", kind)
    end, unknown = send(world, "server", error, stranger)
    assert end.node == "alice"
    assert end.packet.quoted is not None
    assert (end.packet.quoted.src, end.packet.quoted.dst) == (there.src, there.dst)
    assert unknown.node == "nat_a"


@BOTH
def test_an_error_leaves_as_it_is(world: SimWorld) -> None:
    there = udp(ALICE, SERVER)
    send(world, "alice", there)
    answer = udp(SERVER, ALICE)
    send(world, "server", answer)
    error = error_about(answer, ALICE.address, (1, 4))
    [end] = send(world, "alice", error)
    assert end.node == "server"
    assert (end.packet.src.address, end.packet.dst.address) == (ALICE.address, SERVER.address)
    assert (end.packet.quoted.src, end.packet.quoted.dst) == (SERVER, ALICE)  # type: ignore[union-attr]


@BOTH
def test_an_error_ends_no_session(world: SimWorld) -> None:
    """RFC 6092 REC-19."""
    there = udp(ALICE, SERVER)
    send(world, "alice", there)
    send(world, "server", error_about(there, SERVER.address, (1, 4)))
    [end] = send(world, "server", back(there))
    assert arrives(end, "alice")


@BOTH
def test_an_echo_comes_back(world: SimWorld) -> None:
    ping = Packet(ICMP, ALICE, SERVER._replace(port=0), icmp=(128, 0))
    send(world, "alice", ping)
    pong = Packet(ICMP, SERVER._replace(port=0), ALICE, icmp=(129, 0))
    other = Packet(ICMP, SERVER._replace(port=0), ALICE._replace(port=7), icmp=(129, 0))
    end, unknown = send(world, "server", pong, other)
    assert end.node == "alice"
    assert unknown.node == "nat_a"


# -- Packets that are too large ----------------------------------------------------------------------------------------


@BOTH
def test_a_router_says_packet_too_big_and_never_cuts(firewall: object) -> None:
    for world in world_of(firewall, mtu=1280):
        for host, packet, speaker in (
            ("alice", udp(ALICE, SERVER, payload=bytes(1300)), "2001:db8:1::1"),
            ("server", udp(SERVER, ALICE, payload=bytes(1300)), "2001:db8::1"),
        ):
            [end] = send(world, host, packet)
            assert "TOO LARGE" in str(end.reason)
            assert "RFC 8200" in str(end.reason)
            [told] = [e.packet for e in world.trace if e.node == host and e.packet.cause == packet.uid]
            assert (told.icmp, told.mtu, told.src.address, told.size) == ((2, 0), 1280, speaker, 1280)
        [end] = send(world, "alice", udp(ALICE, SERVER, payload=bytes(1280 - 48)))
        assert arrives(end, "server")


@BOTH
def test_fragments_go_through_both_ways(firewall: object) -> None:
    """A NAT of the RFCs lets each by as the first one; Linux puts them together, and cuts as they came."""
    for world in world_of(firewall, mtu=1280):
        there = udp(ALICE, SERVER, payload=bytes(range(250)) * 12)
        there.uid = 7
        send(world, "alice", *fragments_of(there, 1280))
        answer = udp(SERVER, ALICE, payload=there.payload)
        answer.uid = 8
        send(world, "server", *fragments_of(answer, 1270))
        for host, size in (("server", 1280), ("alice", 48 + 1216)):
            parts = [entry.packet for entry in world.trace if (entry.node, entry.action) == (host, DELIVERED)]
            assert b"".join(part.payload for part in parts) == there.payload
            assert max(part.size for part in parts) == size
            assert all(part.fragment is not None for part in parts)


@BOTH
def test_fragments_too_large_for_the_next_link_are_too_big(firewall: object) -> None:
    for world in world_of(firewall, mtu=1280):
        datagram = udp(ALICE, SERVER, payload=bytes(3000))
        datagram.uid = 7
        send(world, "alice", *fragments_of(datagram, 1400))
        told = [e.packet for e in world.trace if e.node == "alice" and e.packet.is_icmp_error]
        assert {(error.icmp, error.mtu) for error in told} == {((2, 0), 1280)}


@BOTH
def test_unasked_fragments_stay_out(world: SimWorld) -> None:
    datagram = udp(SERVER, ALICE, payload=bytes(3000))
    datagram.uid = 7
    send(world, "server", *fragments_of(datagram, 1280))
    assert not [entry for entry in world.trace if entry.node == "alice"]


def test_a_host_cuts_what_is_too_large_for_its_own_link() -> None:
    net = natsim.two_nats("none", "none", ipv6="firewall")
    net.alice.link = Link(10, mtu=1280)
    with alive(net) as world:
        packet = udp(Endpoint(net.alice.address6, 1), Endpoint(net.server.address6, 2), payload=bytes(3000))
        send(world, "alice", packet)
        cut = [entry for entry in world.trace if entry.action == FRAGMENTED]
        assert [entry.packet.size for entry in cut] == [1280, 1280, 48 + 3008 - 2 * 1232]
        assert "by its sender" in str(cut[0].reason)
        assert packet.payload in [entry.packet.payload for entry in world.trace if entry.node == "server"]
