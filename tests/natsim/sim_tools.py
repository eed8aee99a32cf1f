"""Short words for the tests of the simulated internet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import natsim
from natsim.packet import ICMP, SYN, TCP, UDP, Endpoint, Packet
from natsim.scheduler import SECOND

Address = tuple[str, int]


def at(text: str) -> Endpoint:
    """An endpoint from "address:port"."""
    address, port = text.rsplit(":", 1)
    return Endpoint(address, int(port))


def udp(src: str | Endpoint, dst: str | Endpoint, **fields: Any) -> Packet:
    return Packet(UDP, _end(src), _end(dst), **fields)


def tcp(src: str | Endpoint, dst: str | Endpoint, flags: int = SYN, **fields: Any) -> Packet:
    return Packet(TCP, _end(src), _end(dst), flags=flags, **fields)


def error_about(packet: Packet, source: str, kind: tuple[int, int] = (3, 3)) -> Packet:
    """The ICMP error that `source` sends about a packet that it saw."""
    return Packet(ICMP, Endpoint(source, 0), Endpoint(packet.src.address, 0), icmp=kind, quoted=packet)


def _end(endpoint: str | Endpoint) -> Endpoint:
    return endpoint if isinstance(endpoint, Endpoint) else at(endpoint)


def s(seconds: float) -> int:
    """Seconds as the simulator's nanoseconds."""
    return round(seconds * SECOND)


def on_host(program: Callable[[natsim.Internet], Awaitable[Any]], **options: Any) -> Any:
    """Run one program on alice, who has a public address; returns its result."""
    net = natsim.two_nats("none", "none", **options)

    async def story() -> Any:
        return await net.alice.start(program(net))

    return net.run(story).result


class Datagrams(asyncio.DatagramProtocol):
    """Keeps what arrives: `received` in order, `errors` from ICMP; `echo` sends it back."""

    def __init__(self, echo: bool = False) -> None:
        self.echo = echo
        self.received: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.received.put_nowait((data, addr))
        if self.echo:
            self.transport.sendto(data, addr)

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)


async def datagrams(local: Address | None = None, remote: Address | None = None, *, echo: bool = False) -> Datagrams:
    """A datagram endpoint of the host on which this runs."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(
        lambda: Datagrams(echo), local_addr=local or (None if remote else ("0.0.0.0", 0)), remote_addr=remote
    )
    return protocol
