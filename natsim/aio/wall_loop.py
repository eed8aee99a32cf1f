"""asyncio's ordinary loop, for the worlds that live in real time.

Its clock begins with the world, as the simulator's does, so that times can be compared; and it knows the hosts of its
internet by name.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from typing import Any


class WallLoop(asyncio.SelectorEventLoop):
    """An event loop on the wall clock; `addresses` are those of the hosts, by name."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._began = time.monotonic()
        super().__init__()
        self._addresses = addresses

    def time(self) -> float:
        """Seconds since the world began."""
        return time.monotonic() - self._began

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return await super().getaddrinfo(self._addresses.get(name, host), port, **options)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """The thread runs on the host of whoever asks: libraries look up names in threads."""
        return super().run_in_executor(executor, contextvars.copy_context().run, func, *args)
