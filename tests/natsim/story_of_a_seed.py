"""Prints the fingerprints of two stories, for `test_worlds.py` to run in processes of their own.

python story_of_a_seed.py SEED
"""

from __future__ import annotations

import asyncio
import random
import sys

import natsim
import punchkit


def streams(seed: int) -> str:
    """Plain asyncio through two NATs and a lossy link, with jitter, and tasks that are cancelled at the end."""
    net = natsim.two_nats("linux-random", "apdm-apdf", seed=seed, loss=0.05)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
            await asyncio.sleep(random.uniform(0, 0.1))
        writer.close()

    async def talk() -> None:
        async def one() -> None:
            reader, writer = await asyncio.open_connection("server", 80)
            writer.write(b"x" * 20_000)
            await reader.readexactly(20_000)
            writer.close()

        await asyncio.gather(*(one() for _ in range(4)))

    async def story() -> None:
        await net.server.start(asyncio.start_server(echo, "0.0.0.0", 80))
        await asyncio.gather(net.alice.start(talk()), net.bob.start(talk()))

    trace = net.run(story).trace
    assert trace is not None
    return trace.digest()


def punching(seed: int) -> str:
    """Two peers meet at a server, go direct, and say hello."""
    net = natsim.two_nats("linux", "linux-reject", seed=seed)

    async def peer() -> bytes:
        link = await punchkit.connect("7-amber-falcon", server=net.server.address)
        await link.write(b"hello")
        await asyncio.sleep(5)
        heard = await link.read(5)
        await link.close()
        return heard

    async def story() -> list[bytes]:
        net.server.start(punchkit.serve())
        await asyncio.sleep(0.1)
        return await asyncio.gather(net.alice.start(peer()), net.bob.start(peer()))

    run = net.run(story)
    assert run.result == [b"hello", b"hello"]
    assert run.trace is not None
    return run.trace.digest()


if __name__ == "__main__":
    seed = int(sys.argv[1])
    asyncio.run(asyncio.sleep(0))  # some history, so that names of tasks and numbers of descriptors differ
    for _ in range(seed % 2 + 1):
        fingerprints = streams(seed), punching(seed)
    print(*fingerprints)
