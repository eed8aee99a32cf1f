"""How fast does a TCP stream flow?  A server sends to alice, who is behind a NAT."""

from __future__ import annotations

import asyncio
from functools import partial

from comparing import Way, compare

import natsim

MEGABYTES = 5
PORT = 80


def compare_bulk() -> None:
    """Print the comparison."""
    compare(
        "a TCP stream through asyncio and a NAT, in megabytes per second",
        Way("Linux", partial(stream, "linux")),
        Way("Linux, without a trace", partial(stream, "linux", trace=False)),
        Way("RFC 4787", partial(stream, "rfc")),
        Way("no NAT", partial(stream, "none")),
    )


def stream(nat: str, *, trace: bool = True) -> int:
    """One stream, from its SYN to its FIN."""
    net = natsim.two_nats(nat, "none")

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(MEGABYTES):
            writer.write(bytes(1_000_000))
            await writer.drain()
        writer.close()

    async def fetch() -> int:
        reader, writer = await asyncio.open_connection(net.server.address, PORT)
        received = 0
        while data := await reader.read(1 << 16):
            received += len(data)
        writer.close()
        return received

    async def story() -> int:
        await net.server.start(asyncio.start_server(send, "0.0.0.0", PORT))
        return await net.alice.start(fetch())

    assert net.run(story, trace=trace).result == MEGABYTES * 1_000_000
    return MEGABYTES
