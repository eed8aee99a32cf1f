"""Libraries from PyPI, unmodified, on virtual time: QUIC, ICE, WebSockets and HTTP through simulated NATs.

What they have in common: they know nothing of natsim.  If one of them stops working here, a program of a student might
too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from pathlib import Path
from typing import Any

import aioice
import aioquic.asyncio
import httpx
import pytest
import websockets
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived
from sim_tools import Address
from tls_tools import self_signed

import natsim
from punchkit import stun

DATA = bytes(range(256)) * 200


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path / "server.pem", "server", "203.0.113.10")


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


# -- QUIC -------------------------------------------------------------------------------------------------------------


class QuicEcho(QuicConnectionProtocol):
    """Sends every stream back."""

    def quic_event_received(self, event: Any) -> None:
        if isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)


@pytest.mark.parametrize("ipv6", [None, "firewall"])
def test_aioquic_carries_data_there_and_back(certificate: Path, ipv6: str | None) -> None:
    net = natsim.two_nats("linux", "eim-apdf", seed=3, loss=0.02, ipv6=ipv6)
    theirs = QuicConfiguration(is_client=False)
    theirs.load_cert_chain(certificate)

    async def client() -> Any:
        mine = QuicConfiguration(cafile=str(certificate))
        async with aioquic.asyncio.connect("server", 4433, configuration=mine) as connection:
            reader, writer = await connection.create_stream()
            writer.write(DATA)
            writer.write_eof()
            return await reader.read(), connection._quic._network_paths[0].addr[0]

    async def story() -> Any:
        serving = aioquic.asyncio.serve("::", 4433, configuration=theirs, create_protocol=QuicEcho)
        await net.server.start(serving)
        return await net.alice.start(client())

    data, server = net.run(story).result
    assert data == DATA
    assert server == (net.server.addresses[1] if ipv6 else f"::ffff:{net.server.address}")


# -- ICE --------------------------------------------------------------------------------------------------------------


class StunServer(asyncio.DatagramProtocol):
    """Tells everybody who asks by which address it sees them."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        request = stun.decode(data)
        seen = {"XOR-MAPPED-ADDRESS": addr[:2]}
        self.transport.sendto(stun.encode(stun.Message(stun.Kind.SUCCESS, request.transaction, seen)), addr)


async def stun_server() -> asyncio.DatagramTransport:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(StunServer, ("0.0.0.0", 3478))
    return transport


def ice_meets(nat: str, world: str = "sim") -> Any:
    """Two aioice connections behind two such NATs: what each hears, and which way they take."""
    net = natsim.two_nats(nat, nat, seed=1)
    mailboxes = {True: asyncio.Queue[Any](), False: asyncio.Queue[Any]()}

    async def peer(controlling: bool) -> Any:
        ice = aioice.Connection(controlling, stun_server=("server", 3478), use_ipv6=False)
        await ice.gather_candidates()
        mailboxes[not controlling].put_nowait((ice.local_candidates, ice.local_username, ice.local_password))
        candidates, ice.remote_username, ice.remote_password = await mailboxes[controlling].get()
        for candidate in candidates:
            await ice.add_remote_candidate(candidate)
        await ice.add_remote_candidate(None)
        try:
            await ice.connect()
            await ice.send(b"hello" if controlling else b"good day")
            heard = await ice.recv()
            pair = ice._nominated[1]
            return heard, pair.remote_candidate.type, [c.type for c in ice.local_candidates]
        finally:
            await ice.close()

    async def story() -> Any:
        with contextlib.closing(await net.server.start(stun_server())):
            ends = net.alice.start(peer(True)), net.bob.start(peer(False))
            return await asyncio.gather(*ends, return_exceptions=True)

    return net.run(story, world).result


@pytest.mark.parametrize(("nat", "world"), [("eim-apdf", "sim"), ("linux", "sim"), ("linux", "kernel")])
def test_aioice_meets_through_nats_that_can_be_punched(nat: str, world: str, request: pytest.FixtureRequest) -> None:
    if world == "kernel":
        request.getfixturevalue("kernel")
    (alice, *_, offered), (bob, *_) = ice_meets(nat, world)
    assert (alice, bob) == (b"good day", b"hello")
    assert offered == ["host", "srflx"], "the address of the simulated host, and the one that its NAT shows"


def test_aioice_does_not_meet_through_nats_that_cannot_be_punched() -> None:
    for failure in ice_meets("linux-random"):
        assert isinstance(failure, ConnectionError)


# -- WebSockets -------------------------------------------------------------------------------------------------------


def test_a_websocket_is_kept_alive_for_two_hours(certificate: Path) -> None:
    net = natsim.two_nats("linux", "linux")
    strict = ssl.create_default_context(cafile=certificate)

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async def client() -> Any:
        async with websockets.connect("wss://server:8765", ssl=strict, proxy=None) as connection:
            await asyncio.sleep(7200)
            await connection.send("still there?")
            return await connection.recv()

    async def story() -> Any:
        net.server.start(websockets.serve(echo, "0.0.0.0", 8765, ssl=server_tls(certificate)).__aenter__())
        return await net.alice.start(client())

    began = time.perf_counter()
    run = net.run(story, limit=10_000)
    assert run.result == "still there?"
    assert run.duration > 7200
    assert time.perf_counter() - began < 20


# -- HTTP -------------------------------------------------------------------------------------------------------------


async def http_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every request with its first line and the address that it came from."""
    while head := await reader.readline():
        while (await reader.readline()).strip():
            pass
        said = head.decode().strip() + " from " + writer.get_extra_info("peername")[0]
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(said)}\r\n\r\n{said}".encode())
    writer.close()


def test_httpx_asks_over_tls_and_keeps_its_connection(certificate: Path) -> None:
    net = natsim.two_nats("linux", "linux")

    async def client() -> Any:
        strict = ssl.create_default_context(cafile=certificate)
        async with httpx.AsyncClient(verify=strict, trust_env=False) as http:
            return [(await http.get(f"https://server:8443/{page}")).text for page in ("one", "two")]

    async def story() -> Any:
        await net.server.start(asyncio.start_server(http_server, None, 8443, ssl=server_tls(certificate)))
        return await net.alice.start(client())

    run = net.run(story)
    assert run.result == [f"GET /{page} HTTP/1.1 from {net.nat_a.address}" for page in ("one", "two")]
    assert sum(entry.action == "sent" and entry.packet.is_initial_syn for entry in run.trace) == 1
