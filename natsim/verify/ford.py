"""NAT Check: the experiment of Ford, Srisuresh and Kegel, told anew in the simulator with ordinary asyncio sockets.

Three servers test one NAT (Peer-to-Peer Communication Across Network Address Translators, USENIX 2005, section 6):

* Servers 1 and 2 tell the client from which endpoint it comes.  If they differ, nobody else could name one either.
* Before server 2 answers, server 3 calls at that endpoint, without having been spoken to.  Over UDP that is one
  datagram.  Over TCP it keeps trying: after five seconds it gives server 2 the go-ahead, and goes on up to 20 seconds.
* When server 2's answer comes, the client calls server 3.  Their SYNs cross: a simultaneous open, if the NAT has left
  both of them alone.  If it has answered server 3's SYN with a RST, server 3 has given up.
* Over UDP, a second socket sends to the first one's outside endpoint, to see whether the NAT hairpins.

(Over TCP the client does not listen, so this is for NATs that let no stranger in.)

380 users sent in what it said.  Their routers are gone, but which behavior passes can be found out again.  What the
shares of single NATs mean for pairs, the paper does not say: the rows about that assume independence.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from ..internet import Internet
from ..nat.behavior import Hairpin, NatBehavior, address_and_port_dependent, endpoint_independent
from ..nat.ports import random_port
from ..nat.unsolicited import drop_syn, hold_syn, refuse_syn, unreachable_syn
from .check import Check
from .halkes import random_pairs

Address = tuple[str, int]

#: Seconds after which server 3 gives the go-ahead, and after which it stops trying.
GO_AHEAD, PATIENCE = 5.0, 20.0

#: The port of every server, and the one that the client uses for everything.
SERVICE, CLIENT_PORT = 1234, 4321

#: How long datagrams are waited for, in seconds.
UDP_WAIT = 2.0


def internet(behavior: NatBehavior) -> Internet:
    """A client behind a NAT, and three servers."""
    net = Internet()
    for name in ("server_1", "server_2", "server_3"):
        net.host(name)
    net.host("client", behind=net.nat("nat", behavior))
    return net


# -- TCP -----------------------------------------------------------------------------------------------------------


class TcpCheck:
    """The story over TCP.  The servers speak to each other by `called`: that needs no network here."""

    def __init__(self, net: Internet) -> None:
        self.net = net
        self.called: asyncio.Queue[Address] = asyncio.Queue()
        self.go_ahead: asyncio.Future[str]

    async def tell(self) -> str:
        """The client's report."""
        net, self.go_ahead = self.net, asyncio.get_running_loop().create_future()
        await net.server_1.start(asyncio.start_server(self._say_endpoint, port=SERVICE))
        await net.server_2.start(asyncio.start_server(self._say_endpoint_later, port=SERVICE))
        net.server_3.start(self._call_unsolicited())
        report: str = await net.client.start(self._client())
        return report

    async def _say_endpoint(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_endpoint(writer).encode())
        writer.close()

    async def _say_endpoint_later(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.called.put_nowait(writer.get_extra_info("peername"))
        writer.write(f"{_endpoint(writer)} {await self.go_ahead}".encode())
        writer.close()

    async def _call_unsolicited(self) -> None:
        """Server 3: a connect() of its own; the kernel repeats its SYN."""
        call = asyncio.create_task(_connect(SERVICE, await self.called.get()))
        await asyncio.wait([call], timeout=GO_AHEAD)
        self.go_ahead.set_result("refused" if call.done() else "silence")
        await asyncio.wait([call], timeout=PATIENCE - GO_AHEAD)
        call.cancel()

    async def _client(self) -> str:
        seen = []
        for server in (self.net.server_1, self.net.server_2):
            connection = await _connect(CLIENT_PORT, (server.address, SERVICE))
            assert connection is not None
            seen.append((await asyncio.get_running_loop().sock_recv(connection, 100)).decode().split())
        unsolicited = seen[1].pop()
        opened = await _connect(CLIENT_PORT, (self.net.server_3.address, SERVICE))
        same = seen[0] == seen[1]
        return _report(same and opened is not None, same, unsolicited, "opened" if opened else "not opened")


async def _connect(port: int, to: Address) -> socket.socket | None:
    """A connection from a port that other connections may share; None if it is refused."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", port))
    try:
        await asyncio.get_running_loop().sock_connect(sock, to)
    except OSError:
        sock.close()
        return None
    return sock


def _endpoint(writer: asyncio.StreamWriter) -> str:
    address, port = writer.get_extra_info("peername")
    return f"{address}:{port}"


# -- UDP -----------------------------------------------------------------------------------------------------------


class UdpPort(asyncio.DatagramProtocol):
    """Keeps what each address has said last in `heard`; those of `answerers` tell a sender its endpoint."""

    def __init__(self) -> None:
        self.heard: dict[str, str] = {}
        self.answerers: list[UdpPort] = []
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.heard[addr[0]] = data.decode()
        for port in self.answerers:
            port.transport.sendto(f"{addr[0]} {addr[1]}".encode(), addr)


async def _open(port: int) -> UdpPort:
    _, opened = await asyncio.get_running_loop().create_datagram_endpoint(UdpPort, local_addr=("0.0.0.0", port))
    return opened


async def tell_udp(net: Internet) -> str:
    """The story over UDP; returns the client's report."""
    servers = net.server_1, net.server_2, net.server_3
    one, two, three = [await server.start(_open(SERVICE)) for server in servers]
    one.answerers, two.answerers = [one], [two, three]
    first, second = [await net.client.start(_open(CLIENT_PORT + number)) for number in range(2)]
    for server in servers[:2]:
        first.transport.sendto(b"where am I?", (server.address, SERVICE))
    await asyncio.sleep(UDP_WAIT)
    seen_by_1, seen_by_2, unsolicited = (first.heard.get(server.address) for server in servers)
    assert seen_by_2 is not None
    outside, port = seen_by_2.split()
    second.transport.sendto(b"hairpin", (outside, int(port)))
    await asyncio.sleep(UDP_WAIT)
    hairpin = "hairpins" if outside in first.heard else "no hairpin"
    same = seen_by_1 == seen_by_2
    return _report(same, same, "let in" if unsolicited else "silence", hairpin)


# -- Reports -------------------------------------------------------------------------------------------------------


def _report(passes: bool, same: bool, *more: str) -> str:
    """What a NAT has shown, and whether that is good enough for punching."""
    return ", ".join([f"{'passes' if passes else 'fails'}: {'one endpoint' if same else 'two endpoints'}", *more])


def tcp(behavior: NatBehavior) -> str:
    """The report of NAT Check about TCP."""
    net = internet(behavior)
    report: str = net.run(TcpCheck(net).tell).result
    return report


def udp(behavior: NatBehavior) -> str:
    """The report of NAT Check about UDP."""
    net = internet(behavior)
    report: str = net.run(partial(tell_udp, net)).result
    return report


def both_pass(share: float) -> str:
    """The share of pairs of which both NATs pass over TCP, if `share` of them keep silent, and the rest are APDM."""
    shares = {SILENT: share, SYMMETRIC: 1 - share}
    passed = [part for behavior, part in shares.items() if tcp(behavior).startswith("passes")]
    return f"{sum(a * b for a in passed for b in passed):.2f}"


# -- The rows ------------------------------------------------------------------------------------------------------

SILENT = NatBehavior(unsolicited_syn=drop_syn)
SYMMETRIC = NatBehavior(mapping=address_and_port_dependent, ports=random_port)

NAT_CHECK = "Ford et al. 2005, section 6.1"
ASSUMPTION = "Ford et al. 2005, and the assumption that a pair's NATs are independent"

_ROWS: list[tuple[str, NatBehavior, Callable[[NatBehavior], str], str]] = [
    ("TCP: EIM, SYNs dropped", SILENT, tcp, "passes: one endpoint, silence, opened"),
    (
        "TCP: EIM, SYNs held for 6 s",
        NatBehavior(unsolicited_syn=hold_syn),
        tcp,
        "passes: one endpoint, silence, opened",
    ),
    (
        "TCP: EIM, SYNs answered by RST",
        NatBehavior(unsolicited_syn=refuse_syn),
        tcp,
        "fails: one endpoint, refused, not opened",
    ),
    (
        "TCP: EIM, SYNs answered by ICMP",
        NatBehavior(unsolicited_syn=unreachable_syn),
        tcp,
        "fails: one endpoint, refused, not opened",
    ),
    ("TCP: APDM", SYMMETRIC, tcp, "fails: two endpoints, silence, not opened"),
    ("UDP: EIM-APDF", SILENT, udp, "passes: one endpoint, silence, no hairpin"),
    (
        "UDP: EIM-EIF, hairpinning",
        NatBehavior(filtering=endpoint_independent, hairpin=Hairpin.EXTERNAL),
        udp,
        "passes: one endpoint, let in, hairpins",
    ),
    ("UDP: APDM", SYMMETRIC, udp, "fails: two endpoints, silence, no hairpin"),
]

CHECKS = [
    *(
        Check(f"NAT Check over {name}", NAT_CHECK, expected, partial(test, behavior))
        for name, behavior, test, expected in _ROWS
    ),
    Check(
        "pairs of peers that can meet over UDP, if .82 of NATs pass",
        ASSUMPTION,
        "0.67",
        lambda: f"{random_pairs({'EIM-APDF': 0.82, 'A(P)DM': 0.18}):.2f}",
    ),
    Check("pairs of peers that can meet over TCP, if .64 of NATs pass", ASSUMPTION, "0.41", partial(both_pass, 0.64)),
]
