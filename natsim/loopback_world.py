"""The loopback world: no NAT at all, every host is this machine, and the sockets are real.

For machines where nothing else is allowed (Binder).  The story runs over 127.0.0.1, so it shows real sockets and real
time, but nothing that NATs do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from .aio.wall_loop import WallLoop
from .faults import cannot_strike

if TYPE_CHECKING:
    from .faults import Fault
    from .internet import Host, Internet, Nat
    from .nat.table_row import TableRow
    from .trace import Trace

T = TypeVar("T")


class LoopbackWorld:
    """One run of a story over 127.0.0.1."""

    name = "loopback"

    def __init__(self, net: Internet) -> None:
        self.net = net
        self.trace: Trace | None = None
        self.loop: asyncio.AbstractEventLoop = WallLoop(dict.fromkeys(net.hosts, "127.0.0.1"))
        self._tasks: list[asyncio.Task[object]] = []

    def __enter__(self) -> LoopbackWorld:
        if several := [host.name for host in self.net.hosts.values() if len(host._addresses) > 1]:
            self.loop.close()
            raise RuntimeError(f'the loopback world has one address, so {several[0]} has one too; use world="sim"')
        return self

    def __exit__(self, *exc: object) -> None:
        self.loop.close()

    def start(self, host: Host, program: Awaitable[T], name: str) -> asyncio.Task[T]:
        """Run a program; all hosts are this machine."""

        async def run() -> T:
            return await program

        task = self.loop.create_task(run(), name=name)
        self._tasks.append(task)
        return task

    def address_of(self, host: Host) -> str:
        """Everybody is at home."""
        return "127.0.0.1"

    def cut(self, one: str, other: str, how: str) -> None:
        """Nothing lies between a machine and itself."""
        raise RuntimeError("the loopback world has no way between two hosts that could be cut; use sim or kernel")

    def heal(self, one: str, other: str) -> None:
        """There is never a cut to heal."""

    def table(self, nat: Nat) -> list[TableRow]:
        """There is no NAT between a machine and itself."""
        raise RuntimeError(f'the loopback world has no NATs, so {nat.name} has no table; use world="sim"')

    def reboot(self, nat: Nat) -> None:
        """There is no NAT between a machine and itself."""
        raise RuntimeError(f'the loopback world has no NATs, so {nat.name} cannot be rebooted; use world="sim"')

    def strike(self, fault: Fault) -> None:
        """One machine is too little for that."""
        raise cannot_strike(self.name, fault)
