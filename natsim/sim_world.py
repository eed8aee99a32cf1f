"""The simulated world: an internet built of Python objects, on virtual time.

Builds a `SimHost` for each host, a `NatBox` with an engine for each NAT and one `Router` for everything public, joins
them by pipes, and gives them a loop.  What they do is in `host.py`, `router.py`, `nat/` and `aio/`.  A router that is
asked for ports (`nat/port_mapping/`) has a `SimHost` of its own, on which that daemon runs like any program.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from .aio.current import current_host
from .aio.loop import SimLoop
from .aio.sockets import HostSockets
from .host import SimHost
from .internet import Host, Internet, Nat, public_addresses
from .link import Link, Pipe
from .nat.behavior import NatBehavior
from .nat.engine import NatEngine
from .nat.linux import LinuxBehavior, LinuxNat
from .packet import Packet
from .router import Cut, Engine, NatBox, Router
from .scheduler import Scheduler, nanoseconds
from .trace import Trace, Untraced

T = TypeVar("T")
Deliver = Callable[[Packet], None]

#: The address from which "the internet" itself speaks, in ICMP errors.
CORE_ADDRESS = "203.0.113.1"


class SimWorld:
    """One run of an internet in the simulator; `traced` if it shall be told what happened to every packet."""

    name = "sim"

    def __init__(self, net: Internet, *, traced: bool = True) -> None:
        self.net = net
        self.clock = Scheduler(net.seed)
        self.trace = Trace(self.clock) if traced else Untraced(self.clock)
        self.loop = SimLoop(self.clock, self._resolve)
        self.router = Router(self.clock, self.trace, "internet", CORE_ADDRESS)
        self.boxes: dict[str, NatBox] = {}
        self.hosts: dict[str, SimHost] = {}
        self._contexts: dict[str, contextvars.Context] = {}
        #: Held here because a loop holds its tasks only weakly; in the order of their start.
        self._tasks: list[asyncio.Task[object]] = []
        #: The port mapping daemons of those NATs that have one.
        self._daemons: dict[str, asyncio.Task[None]] = {}

    def __enter__(self) -> SimWorld:
        try:
            for nat in self.net.nats.values():
                self._build_nat(nat)
            for host in self.net.hosts.values():
                self._build_host(host)
        except BaseException:
            self.loop.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for host in (*self.hosts.values(), *(box.stack for box in self.boxes.values() if box.stack is not None)):
            host.silent = True
        daemons = [task for task in self._daemons.values() if not task.done()]
        for task in daemons:
            task.cancel()
        if daemons:  # nobody has run a story
            self.loop.run_until_complete(asyncio.gather(*daemons, return_exceptions=True))
        self.loop.abandon_transports()
        self.loop.close()

    # -- Building ----------------------------------------------------------------------------------------------------

    def _build_nat(self, nat: Nat) -> None:
        reassembles = isinstance(nat.behavior, LinuxBehavior)  # nf_defrag_ipv4, which conntrack brings with it
        box = NatBox(self.trace, self.clock, nat.name, self._engine(nat), nat.address, nat.lan, reassembles)
        self.boxes[nat.name] = box
        box.outside = self._join(nat.name, nat.addresses, nat.behind, nat.link, box.receive_outside)
        if nat.behavior.port_mapping:
            self._start_port_mapping(nat)

    def _start_port_mapping(self, nat: Nat) -> None:
        """Give a router TCP/IP of its own, and run the port mapping daemon on it."""
        from .nat.port_mapping import Gateway, serve  # here, since most worlds can do without

        box = self.boxes[nat.name]
        assert isinstance(box.engine, (NatEngine, LinuxNat))
        box.stack = SimHost(self.clock, self.trace, nat.name, nat.gateway)
        box.stack.uplink = self._pipe(nat.name, "lan", Link(), box.send_inside)
        quota = nat.behavior.max_mappings_per_host if isinstance(nat.behavior, NatBehavior) else None
        gateway = Gateway(box.engine, self.clock.now, translates=nat.translates, quota=quota)
        daemon = serve(gateway, nat.behavior.port_mapping, nat.gateway)
        context = self._context(box.stack, background=True)
        self._daemons[nat.name] = self.loop.create_task(daemon, name=f"{nat.name}: port mapping", context=context)

    def _engine(self, nat: Nat) -> Engine:
        chance = self.clock.random(f"nat {nat.name}")
        if isinstance(nat.behavior, LinuxBehavior):
            return LinuxNat(nat.behavior, nat.address, chance)
        return NatEngine(nat.behavior, list(nat.addresses), chance)

    def _build_host(self, host: Host) -> None:
        sim = SimHost(self.clock, self.trace, host.name, self.address_of(host))
        self.hosts[host.name] = sim
        sim.uplink = self._join(host.name, (sim.address,), host.behind, host.link, sim.receive)
        self._contexts[host.name] = self._context(sim)

    def _context(self, host: SimHost, *, background: bool = False) -> contextvars.Context:
        """The context in which a program runs on a host."""
        context = contextvars.copy_context()
        sockets = HostSockets(host, self.loop.selector, self._resolve, background=background)
        context.run(current_host.set, sockets)
        return context

    def _join(self, name: str, addresses: Iterable[str], behind: Nat | None, link: Link, arrive: Deliver) -> Pipe:
        """Connect a node to the internet or to the NAT before it; returns its pipe upwards."""
        if behind is None:
            self.router.routes |= dict.fromkeys(addresses, self._pipe("internet", name, link, arrive))
            return self._pipe(name, "internet", link, self.router.receive)
        box = self.boxes[behind.name]
        box.inside |= dict.fromkeys(addresses, self._pipe(behind.name, name, link, arrive))
        if not behind.translates:  # what is inside a firewall is known by the same addresses above it
            self._join(behind.name, addresses, behind.behind, behind.link, box.receive_outside)
        return self._pipe(name, behind.name, link, box.receive_inside)

    def _pipe(self, start: str, end: str, link: Link, deliver: Deliver) -> Pipe:
        delay = nanoseconds(link.delay / 1000)
        return Pipe(self.clock, self.trace, f"{start}>{end}", delay, link.loss, deliver, link.mtu)

    # -- While it runs ---------------------------------------------------------------------------------------------

    def start(self, host: Host, program: Awaitable[T], name: str) -> asyncio.Task[T]:
        """Run a program on a host."""

        async def run() -> T:
            return await program

        task = self.loop.create_task(run(), name=name, context=self._contexts[host.name].copy())
        self._tasks.append(task)
        return task

    def address_of(self, host: Host) -> str:
        """A host has the address that its description says."""
        return host._address

    def _resolve(self, name: str) -> str | None:
        host = self.net.hosts.get(name)
        return self.address_of(host) if host else None

    # -- Faults ------------------------------------------------------------------------------------------------------

    def cut(self, one: str, other: str, how: str) -> None:
        """Cut the way between two nodes: "drop" loses every packet, "reset" answers TCP with a RST."""
        if how not in ("drop", "reset"):
            raise ValueError(f'a cut can "drop" or "reset", not {how!r}')
        ends = public_addresses(self.net, one), public_addresses(self.net, other)
        self.router.cuts.append(Cut(*ends, how, f"CUT: the way between {one} and {other} is cut ({how})"))

    def heal(self, one: str, other: str) -> None:
        """Undo `cut`."""
        ends = {public_addresses(self.net, one), public_addresses(self.net, other)}
        self.router.cuts = [cut for cut in self.router.cuts if {cut.one, cut.other} != ends]

    def reboot(self, nat: Nat) -> None:
        """A NAT loses all that it knew; its port mapping daemon starts anew, and so does its epoch."""
        box = self.boxes[nat.name]
        box.engine.reboot()
        if box.stack is not None:
            box.stack.silent = True
            self._daemons[nat.name].cancel()
            self._start_port_mapping(nat)
