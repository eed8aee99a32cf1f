"""A simulated host: its ports, whose a packet is, and what its sockets hear of the world's errors."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from sim_tools import at, datagrams, error_about, on_host, tcp, udp

import natsim
from natsim import LinuxBehavior, WanInput
from natsim.aio.sockets import SimSocket
from natsim.host import SimHost
from natsim.host_ports import EPHEMERAL, Binding
from natsim.host_tcp import Wishes
from natsim.packet import ACK, RST, SYN, Endpoint, Packet
from natsim.scheduler import Scheduler
from natsim.trace import Trace

HERE = "203.0.113.10"
PEER = at("203.0.113.11:6000")


class Ear:
    """Stands for a socket: what the host told it."""

    def __init__(self) -> None:
        self.datagrams: list[Packet] = []
        self.errors: list[int] = []
        self.changes = 0

    def changed(self) -> None:
        self.changes += 1

    def datagram(self, packet: Packet) -> None:
        self.datagrams.append(packet)

    def refused(self, code: int) -> None:
        self.errors.append(code)


@pytest.fixture
def host() -> SimHost:
    """A host that is connected to nothing; what it says is in `sent`."""
    clock = Scheduler()
    return SimHost(clock, Trace(clock), "here", HERE)


def bound(host: SimHost, local: str, protocol: str = "udp", **options: Any) -> tuple[Ear, Binding]:
    ear = Ear()
    binding = Binding(protocol, at(local), ear, **options)
    host.ports.bind(binding)
    return ear, binding


def sent(host: SimHost) -> list[Packet]:
    return [entry.packet for entry in host.trace if entry.action == "sent"]


# -- Ports ------------------------------------------------------------------------------------------------------------


def test_port_zero_means_an_unused_one_of_the_ephemeral_range(host: SimHost) -> None:
    ports = [bound(host, f"{HERE}:0")[1].local.port for _ in range(200)]
    assert len(set(ports)) == 200
    assert all(EPHEMERAL[0] <= port <= EPHEMERAL[1] for port in ports)


def test_when_every_port_is_taken_there_is_none(host: SimHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natsim.host_ports.EPHEMERAL", (40000, 40004))
    taken = [bound(host, f"{HERE}:0")[1] for _ in range(5)]
    assert sorted(binding.local.port for binding in taken) == list(range(40000, 40005))
    with pytest.raises(OSError, match="in use") as caught:
        bound(host, f"{HERE}:0")
    assert caught.value.errno == errno.EADDRINUSE
    host.ports.release(taken[2])
    assert bound(host, f"{HERE}:0")[1].local.port == taken[2].local.port


def test_addresses_and_protocols_are_claimed_apart(host: SimHost) -> None:
    bound(host, f"{HERE}:5000")
    bound(host, "127.0.0.1:5000")
    bound(host, f"{HERE}:5000", "tcp")
    for local in (f"{HERE}:5000", "0.0.0.0:5000"):
        with pytest.raises(OSError, match="in use"):
            bound(host, local)


# -- Whose is a datagram? ---------------------------------------------------------------------------------------------


def test_the_most_exact_socket_hears_a_datagram(host: SimHost) -> None:
    options = {"reuse_address": True}
    anybody, _ = bound(host, "0.0.0.0:5000", **options)
    exact, _ = bound(host, f"{HERE}:5000", **options)
    host.receive(udp(PEER, f"{HERE}:5000"))
    connected, binding = bound(host, "0.0.0.0:5000", **options)
    binding.remote = PEER
    host.receive(udp(PEER, f"{HERE}:5000"))
    host.receive(udp(PEER._replace(port=1), f"{HERE}:5000"))
    assert [len(ear.datagrams) for ear in (anybody, exact, connected)] == [0, 2, 1]


def test_a_datagram_for_nobody_is_answered(host: SimHost) -> None:
    stray = udp(PEER, f"{HERE}:5000")
    stray.uid = 5
    host.receive(stray)
    (answer,) = sent(host)
    assert (answer.icmp, answer.quoted, answer.cause, answer.dst.address) == ((3, 3), stray, 5, PEER.address)


@pytest.mark.parametrize(
    ("kind", "code"),
    [((3, 3), errno.ECONNREFUSED), ((3, 13), errno.EHOSTUNREACH), ((3, 0), None), ((3, 1), None), ((11, 0), None)],
)
def test_a_connected_socket_hears_the_errors_that_no_waiting_cures(
    host: SimHost, kind: tuple[int, int], code: int | None
) -> None:
    connected, binding = bound(host, f"{HERE}:5000", reuse_address=True)
    binding.remote = PEER
    unconnected, _ = bound(host, f"{HERE}:5000", reuse_address=True)
    host.receive(error_about(udp(f"{HERE}:5000", PEER), PEER.address, kind))
    host.receive(error_about(udp(f"{HERE}:5000", "203.0.113.99:1"), PEER.address, kind))
    assert connected.errors == ([code] if code else [])
    assert unconnected.errors == []


def test_strange_icmp_ends_quietly(host: SimHost) -> None:
    host.receive(Packet("icmp", Endpoint(PEER.address, 0), Endpoint(HERE, 0), icmp=(8, 0)))
    assert [entry.action for entry in host.trace] == ["dropped"]


# -- TCP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "answer"), [(SYN, (RST | ACK, 0, 8)), (ACK, (RST, 99, 0)), (SYN | ACK, (RST, 99, 0)), (RST, None)]
)
def test_a_segment_for_nobody_is_refused(host: SimHost, flags: int, answer: tuple[int, int, int] | None) -> None:
    host.receive(tcp(PEER, f"{HERE}:80", flags, seq=7, ack=99))
    assert [(p.flags, p.seq, p.ack) for p in sent(host)] == ([answer] if answer else [])


def test_sockets_that_share_a_port_to_listen_share_the_connections_too(host: SimHost) -> None:
    claims = [bound(host, f"{HERE}:80", "tcp", reuse_port=True)[1] for _ in range(2)]
    backlogs = [host.tcp.listen(claim, 8, Wishes()) for claim in claims]
    for port in range(6000, 6004):
        host.receive(tcp(PEER._replace(port=port), f"{HERE}:80"))
    assert [len(backlog.opening) for backlog in backlogs] == [2, 2]
    host.tcp.unlisten(backlogs[0])
    host.receive(tcp(PEER._replace(port=7000), f"{HERE}:80"))
    assert len(backlogs[1].opening) == 3, "the other one goes on"


def test_a_refused_connection_leaves_the_backlog_and_gives_its_port_back(host: SimHost) -> None:
    _, claim = bound(host, f"{HERE}:80", "tcp", reuse_address=True)
    backlog = host.tcp.listen(claim, 8, Wishes())
    host.receive(tcp(PEER, f"{HERE}:80", seq=7))
    (syn_ack,) = sent(host)
    host.receive(tcp(PEER, f"{HERE}:80", RST | ACK, seq=8, ack=syn_ack.seq + 1))
    assert (len(backlog.opening), len(backlog.ready), host.tcp.slots) == (0, 0, {})
    host.tcp.unlisten(backlog)
    host.ports.release(claim)
    bound(host, f"{HERE}:80", "tcp")


def test_a_host_without_a_link_loses_what_it_sends(host: SimHost) -> None:
    host.send(udp(f"{HERE}:1", PEER))
    assert "NO LINK" in str([*host.trace][-1].reason)


# -- Errors that come over the network --------------------------------------------------------------------------------


async def connecting(address: Any, local: Any = None) -> str:
    with socket.socket() as sock:
        sock.setblocking(False)
        if local is not None:
            sock.bind(local)
        try:
            await asyncio.get_running_loop().sock_connect(sock, address)
        except OSError as exc:
            return errno.errorcode[exc.errno or 0]
        return "ok"


@pytest.mark.parametrize(
    ("device", "address", "outcome", "after"),
    [
        ("none", "203.0.113.99", "ENETUNREACH", 0.02),  # the internet knows no such address
        ("linux", "192.168.1.99", "EHOSTUNREACH", 0.0002),  # nor does the LAN
        ("linux", "192.168.1.1", "ECONNREFUSED", 0.0002),  # the router has no service
        ("none", "203.0.113.12", "ECONNREFUSED", 0.04),  # bob does not listen
        ("none", "198.51.100.1", "ETIMEDOUT", 131.0),  # bob's NAT drops: the kernel gives up after eleven SYNs
    ],
)
def test_why_a_connection_fails_and_when(device: str, address: str, outcome: str, after: float) -> None:
    net = natsim.two_nats(device, "linux" if outcome == "ETIMEDOUT" else "none")

    async def story() -> Any:
        began = asyncio.get_running_loop().time()
        result = await net.alice.start(connecting((address, 80)))
        return result, asyncio.get_running_loop().time() - began

    result, took = net.run(story).result
    assert result == outcome
    assert took == pytest.approx(after, abs=0.001)


def test_bind_takes_own_addresses_only() -> None:
    def bind(net: Any, address: str) -> Any:
        async def program() -> Any:
            with socket.socket() as sock:
                sock.bind((address, 0))
                return sock.getsockname()[0]

        return program()

    for address in ("203.0.113.11", "127.0.0.1", "0.0.0.0", "alice", "localhost"):
        expected = {"alice": "203.0.113.11", "localhost": "127.0.0.1"}.get(address, address)
        assert on_host(lambda net, address=address: bind(net, address)) == expected
    for address in ("203.0.113.12", "bob"):
        with pytest.raises(OSError, match="Cannot assign") as caught:
            on_host(lambda net, address=address: bind(net, address))
        assert caught.value.errno == errno.EADDRNOTAVAIL


def test_the_peers_syn_in_the_backlog_makes_our_own_connect_fail() -> None:
    net = natsim.two_nats("none", "none")

    async def bob() -> list[str]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((net.bob.address, 6000))
        listener.listen()
        await asyncio.sleep(0.1)
        with listener, socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((net.bob.address, 6000))
            code = sock.connect_ex((net.alice.address, 5000))
            accepted, peer = listener.accept()
            accepted.close()
            return [errno.errorcode[code], *map(str, peer)]

    async def story() -> Any:
        heard = net.bob.start(bob())
        met = await net.alice.start(connecting((net.bob.address, 6000), (net.alice.address, 5000)))
        return met, await heard

    assert net.run(story).result == ("ok", ["EADDRNOTAVAIL", net.alice.address, "5000"])


@pytest.mark.parametrize("nat", ["none", "linux", "eim-apdf", "firewall"])
def test_two_hosts_that_connect_to_each_other_at_once_are_connected(nat: str) -> None:
    net = natsim.two_nats(nat, nat)
    outside = [
        host.behind.address if nat not in ("none", "firewall") else host.address for host in (net.alice, net.bob)
    ]

    async def story() -> Any:
        return await asyncio.gather(
            net.alice.start(connecting((outside[1], 6000), ("0.0.0.0", 5000))),
            net.bob.start(connecting((outside[0], 5000), ("0.0.0.0", 6000))),
        )

    run = net.run(story)
    assert run.result == ["ok", "ok"]
    assert sum(entry.action == "sent" and entry.packet.flags == SYN | ACK for entry in run.trace) == 2


def test_a_nat_that_answers_with_icmp_tells_the_datagram_socket() -> None:
    net = natsim.two_nats("none", LinuxBehavior(wan_input=WanInput.REJECT))

    async def ask() -> Exception:
        mine = await datagrams(remote=(net.nat_b.address, 9))
        mine.transport.sendto(b"hello")
        return await mine.errors.get()

    async def story() -> Any:
        return await net.alice.start(ask())

    assert isinstance(net.run(story).result, ConnectionRefusedError)


# -- The sockets' own limits ------------------------------------------------------------------------------------------


def test_what_a_simulated_socket_is_not() -> None:
    async def program() -> None:
        sock = socket.socket()
        assert type(sock) is SimSocket
        assert isinstance(sock, socket.socket)
        assert sock.fileno() > 1 << 20
        for call in (lambda: sock.setblocking(True), lambda: sock.settimeout(1.0)):
            with pytest.raises(RuntimeError, match="cannot block"):
                call()
        with pytest.raises(RuntimeError, match="descriptor"):
            sock.detach()
        with pytest.raises(OSError, match="IPv4 and IPv6 only"):
            socket.socket(socket.AF_UNIX)
        with pytest.raises(OSError, match="no named devices"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        with pytest.raises(OSError, match="stream and datagram"):
            socket.socket(socket.AF_INET, socket.SOCK_RAW)

    on_host(lambda net: program())
