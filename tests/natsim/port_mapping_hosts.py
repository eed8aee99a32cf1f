"""A host that asks its simulated router, and strangers who try to come in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from port_mapping_tools import PcpAnswer, http_answer, pcp_answer, pcp_map
from sim_tools import datagrams

from natsim import Internet, LinuxBehavior, NatBehavior, address_and_port_dependent, random_port
from natsim.run import Run

ALL = ("nat-pmp", "pcp", "upnp")
APDM = NatBehavior(mapping=address_and_port_dependent, ports=random_port, port_mapping=ALL)
LINUX = LinuxBehavior(port_mapping=ALL)
both_engines = pytest.mark.parametrize("behavior", [APDM, LINUX], ids=["apdm", "linux"])

PORT = 5351


def run(net: Internet, program: Callable[[], Awaitable[Any]], **options: Any) -> Run:
    """Run a program on alice; the result is its own."""

    async def story() -> Any:
        return await net.alice.start(program())

    return net.run(story, **options)


async def ask(net: Internet, datagram: bytes, gateway: str | None = None) -> bytes:
    """The answer of alice's router."""
    mine = await datagrams()
    mine.transport.sendto(datagram, (gateway or net.alice.gateway, PORT))
    async with asyncio.timeout(1):
        answer, _ = await mine.received.get()
    mine.transport.close()
    return answer


async def pcp(net: Internet, *options: bytes, port: int = 5000, **choices: Any) -> PcpAnswer:
    return pcp_answer(await ask(net, pcp_map(port, *options, **choices)))


async def hears(protocol: Any, seconds: float = 1) -> Any:
    """The next datagram and its sender, or None."""
    try:
        async with asyncio.timeout(seconds):
            return await protocol.received.get()
    except TimeoutError:
        return None


async def throw(to: tuple[str, int], local_port: int = 0) -> None:
    """A stranger's datagram."""
    stranger = await datagrams(("0.0.0.0", local_port))
    stranger.transport.sendto(b"knock", to)


async def call(to: tuple[str, int]) -> bytes | None:
    """What a stranger hears who connects; None if nobody opens."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(*to)
            heard = await reader.read()
            writer.close()
            return heard
    except OSError:
        return None


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"welcome")
    writer.close()


async def fetch(address: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    for start in range(0, len(request), 100):  # in pieces, as TCP may bring them
        writer.write(request[start : start + 100])
        await asyncio.sleep(0.01)
    status, _, body = http_answer(await reader.read())
    writer.close()
    assert status == 200
    return body
