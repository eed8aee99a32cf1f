"""The port mapping daemon of a router: sockets for the servers of this package, and nothing else.

Plain asyncio, so it runs on any loop: on a simulated router, where `natsim/sim_world.py` starts it, as on a real
machine.  What the bytes mean is in `control_port.py`, `ssdp.py` and `upnp.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

from ...packet import Endpoint
from ...scheduler import nanoseconds
from . import ssdp, web
from .control_port import ALL_HOSTS, ANNOUNCEMENT_GAPS, CLIENT_PORT, SERVER_PORT, ControlPort
from .gateway import Gateway
from .upnp import Upnp

#: The port of UPnP's web server; control points learn it from SSDP.
HTTP_PORT = 5000

#: Seconds that a control point has to say what it wants.
PATIENCE = 30.0

#: What a datagram from an inside endpoint is answered with.
Answers = Callable[[bytes, Endpoint], Iterable[bytes]]


async def serve(gateway: Gateway, protocols: Collection[str], address: str) -> None:
    """Speak those of "nat-pmp", "pcp" and "upnp" that are among `protocols`, until cancelled.

    `address` is the router's own on the LAN, and the only one that answers (RFC 6886 section 3.1).  That the router has
    lost its leases, as it has when it starts, is announced to the LAN.  Times are those of the running loop, so
    `gateway` must have started by the same clock.  Raises OSError if a port is taken.
    """
    with contextlib.ExitStack() as opened:
        if "upnp" in protocols:
            await _serve_upnp(gateway, address, opened)
        if "nat-pmp" in protocols or "pcp" in protocols:
            await _serve_control_port(ControlPort(gateway, protocols), address, opened)
        await asyncio.get_running_loop().create_future()


async def _serve_control_port(server: ControlPort, address: str, opened: contextlib.ExitStack) -> None:
    """NAT-PMP and PCP: answer, and announce the start again and again, since datagrams get lost."""
    sock = opened.enter_context(_datagram_socket(address, SERVER_PORT))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))

    def answers(datagram: bytes, source: Endpoint) -> Iterable[bytes]:
        answer = server.answer(datagram, source, _now())
        return () if answer is None else (answer,)

    transport = await _answering(sock, answers)
    opened.callback(transport.close)
    for gap in (0.0, *ANNOUNCEMENT_GAPS):
        await asyncio.sleep(gap)
        for announcement in server.announcements(_now()):
            transport.sendto(announcement, (ALL_HOSTS, CLIENT_PORT))


async def _serve_upnp(gateway: Gateway, address: str, opened: contextlib.ExitStack) -> None:
    """UPnP: answer searches, and be the web server that the answers point to."""
    finder = ssdp.Ssdp(address, HTTP_PORT)
    sock = opened.enter_context(_datagram_socket("", ssdp.PORT))
    group = socket.inet_aton(ssdp.GROUP) + socket.inet_aton(address)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    transport = await _answering(sock, lambda datagram, source: finder.answers(datagram))
    opened.callback(transport.close)
    server = await asyncio.start_server(partial(_converse, Upnp(gateway, address)), address, HTTP_PORT)
    opened.callback(server.close)


async def _converse(upnp: Upnp, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: one request, one answer."""
    peer = writer.get_extra_info("peername")
    try:
        async with asyncio.timeout(PATIENCE):
            data = b""
            while not web.is_complete(data):
                more = await reader.read(web.LARGEST)
                if not more:
                    return
                data += more
            writer.write(upnp.answer(data, Endpoint(*peer), _now()))
            await writer.drain()
    except (TimeoutError, OSError):
        pass  # whoever is silent for so long, or has gone, needs no answer
    finally:
        writer.close()


def _datagram_socket(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    return sock


async def _answering(sock: socket.socket, answers: Answers) -> asyncio.DatagramTransport:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(answers), sock=sock)
    return transport


class _Datagrams(asyncio.DatagramProtocol):
    """Sends back what `answers` says."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for answer in self._answers(data, Endpoint(*addr)):
            self._transport.sendto(answer, addr)


def _now() -> int:
    return nanoseconds(asyncio.get_running_loop().time())
