"""What the named NATs do, packet by packet: their ports, their doors and their clocks are those that were claimed."""

from __future__ import annotations

import random

import pytest
from sim_tools import at, s, tcp, udp

import natsim
from natsim.nat.devices import DEVICES
from natsim.nat.engine import NatEngine
from natsim.nat.linux import LinuxBehavior, LinuxNat
from natsim.packet import RST

ALICE, BOB = at("192.168.1.2:5000"), at("192.168.1.3:5000")
HERE, THERE = at("203.0.113.10:9"), at("203.0.113.11:9")


def engine(name: str, seed: int = 0) -> NatEngine:
    """The outermost NAT of a device, on its own."""
    behavior = DEVICES[name].layers[-1]
    assert isinstance(behavior, natsim.NatBehavior)
    addresses = [f"198.51.100.{number}" for number in range(1, behavior.addresses + 1)]
    return NatEngine(behavior, addresses, random.Random(seed))


def outside(nat: NatEngine, inside: natsim.Endpoint, remote: natsim.Endpoint) -> natsim.Endpoint | None:
    """Where a datagram from inside seems to come from; None if it is lost."""
    sent = nat.outbound(udp(inside, remote), s(0)).packet
    return sent.src if sent is not None else None


@pytest.mark.parametrize("name", ["pf-static-port", "cisco-ios", "fortigate", "vpp"])
def test_a_nat_that_preserves_looks_endpoint_independent_and_shares_its_ports(name: str) -> None:
    nat = engine(name)
    assert outside(nat, ALICE, HERE) == outside(nat, ALICE, THERE) == at("198.51.100.1:5000")
    elsewhere = at("203.0.113.12:9")
    assert outside(nat, BOB, elsewhere) == at("198.51.100.1:5000")


@pytest.mark.parametrize(
    ("name", "port"), [("pf-static-port", None), ("cisco-ios", 1024), ("fortigate", 5001), ("home-overload", 5000)]
)
def test_two_hosts_that_want_one_port_towards_one_remote(name: str, port: int | None) -> None:
    nat = engine(name)
    outside(nat, ALICE, HERE)
    second = outside(nat, BOB, HERE)
    assert (second.port if second else None) == port


@pytest.mark.parametrize("port", [80, 700])
def test_cisco_stays_in_the_group_of_ports(port: int) -> None:
    nat = engine("cisco-ios")
    low = [natsim.Endpoint(f"192.168.1.{number}", port) for number in (2, 3)]
    assert [outside(nat, inside, HERE) for inside in low] == [
        natsim.Endpoint("198.51.100.1", port),
        natsim.Endpoint("198.51.100.1", 1 if port < 512 else 512),
    ]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("pf", 50_001, 65_535), ("juniper-srx", 1024, 63_487), ("aws-nat", 1024, 65_535), ("azure-nat", 1024, 65_535)],
)
def test_a_port_for_each_remote_from_the_range_of_the_device(name: str, first: int, last: int) -> None:
    nat = engine(name)
    ports = [outside(nat, ALICE, natsim.Endpoint("203.0.113.10", port)).port for port in range(1, 200)]  # type: ignore[union-attr]
    assert len(set(ports)) > 190
    assert first <= min(ports) < first + (last - first) / 10
    assert last >= max(ports) > last - (last - first) / 10


@pytest.mark.parametrize(("name", "size"), [("carrier-blocks", 512), ("gcp-nat-eim", 64)])
def test_a_host_has_a_block_of_ports_for_itself(name: str, size: int) -> None:
    nat = engine(name)
    blocks = []
    for host in ("192.168.1.2", "192.168.1.3"):
        ends = [outside(nat, natsim.Endpoint(host, port), HERE) for port in range(5000, 5000 + size)]
        blocks.append({(end.port - 1024) // size for end in ends if end is not None})
    assert [len(block) for block in blocks] == [1, 1]
    assert blocks[0] != blocks[1]


def test_a_subscriber_with_all_its_ports_in_use_is_told_so() -> None:
    nat = engine("carrier-blocks")
    for port in range(2000, 3024):
        assert outside(nat, natsim.Endpoint("100.64.0.2", port), HERE) is not None
    refused = nat.outbound(udp("100.64.0.2:4000", HERE), s(1))
    assert refused.packet is None
    assert refused.reply is not None
    assert refused.reply.icmp == (3, 13)
    assert outside(nat, at("100.64.0.3:4000"), HERE) is not None


def test_the_cellular_carrier_takes_any_of_its_addresses() -> None:
    nat = engine("carrier-symmetric")
    ends = [outside(nat, ALICE, natsim.Endpoint("203.0.113.10", port)) for port in range(1, 40)]
    assert {end.address for end in ends if end is not None} == set(nat.addresses)


@pytest.mark.parametrize(
    ("name", "same_host", "anybody"),
    [("winnat", True, False), ("vpp-ei", True, True), ("libslirp", True, True), ("gcp-nat-eim", False, False)],
)
def test_who_may_come_in(name: str, same_host: bool, anybody: bool) -> None:
    nat = engine(name)
    end = outside(nat, ALICE, HERE)
    assert end is not None
    assert nat.inbound(udp("203.0.113.10:10", end), s(1)).passed is same_host
    assert nat.inbound(udp(THERE, end), s(1)).passed is anybody


@pytest.mark.parametrize(
    ("name", "lives", "dead"),
    [
        ("pf", 29, 31),
        ("gcp-nat", 29, 31),
        ("vmware", 59, 61),
        ("carrier-blocks", 34, 36),
        ("carrier-symmetric", 64, 66),
    ],
)
def test_how_long_an_answer_may_take(name: str, lives: float, dead: float) -> None:
    for wait, passes in ((lives, True), (dead, False)):
        nat = engine(name)
        for _ in range(2):
            end = outside(nat, ALICE, HERE)
        assert end is not None
        assert nat.inbound(udp(HERE, end), s(wait)).passed is passes


@pytest.mark.parametrize(
    ("name", "unreplied", "stream"), [("linux", 30, 120), ("openwrt", 60, 180), ("mikrotik", 10, 180)]
)
def test_linux_keeps_time_as_its_distribution_says(name: str, unreplied: int, stream: int) -> None:
    (behavior,) = DEVICES[name].layers
    assert isinstance(behavior, LinuxBehavior)
    for wait, passes in ((unreplied - 1, True), (unreplied + 1, False)):
        nat = LinuxNat(behavior, "198.51.100.1", random.Random(0))
        nat.outbound(udp(ALICE, HERE), s(0))
        assert nat.inbound(udp(HERE, "198.51.100.1:5000"), s(wait)).passed is passes
    for wait, passes in ((stream - 1, True), (stream + 1, False)):
        nat = LinuxNat(behavior, "198.51.100.1", random.Random(0))
        for when in (0, 4):
            nat.outbound(udp(ALICE, HERE), s(when))
            nat.inbound(udp(HERE, "198.51.100.1:5000"), s(when))
        assert nat.inbound(udp(HERE, "198.51.100.1:5000"), s(4 + wait)).passed is passes


def test_the_rfcs_nat_holds_a_stray_syn_keeps_classes_and_lets_neighbours_meet() -> None:
    nat = engine("rfc")
    stray = nat.inbound(tcp("203.0.113.10:9", "198.51.100.1:5000"), s(0))
    assert (stray.packet, stray.reply, stray.until) == (None, None, s(6))
    assert [outside(nat, at(inside), HERE) for inside in ("192.168.1.2:80", "192.168.1.2:5000")] == [
        at("198.51.100.1:80"),
        at("198.51.100.1:5000"),
    ]
    low = outside(nat, at("192.168.1.3:80"), HERE)
    assert low is not None
    assert low.port < 1024
    outside(nat, at("192.168.1.2:5000"), at("198.51.100.1:80"))
    turned = nat.outbound(udp("192.168.1.2:80", "198.51.100.1:5000"), s(1)).packet
    assert turned is not None
    assert (turned.src, turned.dst) == (at("198.51.100.1:80"), at("192.168.1.2:5000"))


def test_azure_refuses_a_stray_syn() -> None:
    answer = engine("azure-nat").inbound(tcp(HERE, "198.51.100.1:5000"), s(0)).reply
    assert answer is not None
    assert answer.flags & RST
