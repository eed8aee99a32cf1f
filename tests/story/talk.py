"""What the story tests share: alice and bob talk over a link while something happens to the network."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import punchkit
from punchkit.link import Link

CODE = "7-amber-falcon"


@dataclass
class Talk:
    """One conversation: both sides write `pieces` pieces, one every `pace` seconds, and read to the end."""

    net: Any
    pieces: int = 200
    size: int = 2000
    pace: float = 0.02
    server: punchkit.Server = field(default_factory=lambda: punchkit.Server())
    links: dict[str, Link] = field(default_factory=dict)
    received: dict[str, bytes] = field(default_factory=dict)

    async def meet(self, connect: Callable[..., Any] = punchkit.connect, **options: Any) -> None:
        """Start the server, and connect alice and bob."""
        self.server = punchkit.Server()
        self.net.server.start(self.server.run(), "server")
        await self.server.ready.wait()
        calls = {
            name: self.net.hosts[name].start(connect(CODE, server=self.net.server.address, **options), name)
            for name in ("alice", "bob")
        }
        self.links = {name: await call for name, call in calls.items()}

    async def converse(self, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
        """Both write, both read, while `meanwhile` happens; then both finish."""
        tasks = [
            self.net.hosts[name].start(work(link, name), f"{name} {work.__name__}")
            for name, link in self.links.items()
            for work in (self._write, self._read)
        ]
        if meanwhile is not None:
            await meanwhile()
        for task in tasks:
            await task
        await asyncio.gather(*(link.finish() for link in self.links.values()))

    def sent(self, name: str) -> bytes:
        """What that side writes."""
        return random.Random(f"{self.net.seed} {name}").randbytes(self.pieces * self.size)

    async def _write(self, link: Link, name: str) -> None:
        data = self.sent(name)
        for start in range(0, len(data), self.size):
            await link.write(data[start : start + self.size])
            await asyncio.sleep(self.pace)
        link.write_eof()

    async def _read(self, link: Link, name: str) -> None:
        self.received[name] = b"".join([piece async for piece in link])

    def assert_intact(self) -> None:
        """What each side read is what the other wrote, byte for byte."""
        assert self.received["alice"] == self.sent("bob")
        assert self.received["bob"] == self.sent("alice")

    def moves(self, name: str) -> list[str]:
        """How that side's data moved: "direct" and "lost", in order."""
        return [h.what for h in self.links[name].history if h.what in ("direct", "lost")]


async def until(happened: Callable[[], bool], limit: float = 60.0) -> None:
    """Wait, on the world's clock, for something to become true."""
    async with asyncio.timeout(limit):
        while not happened():
            await asyncio.sleep(0.01)
