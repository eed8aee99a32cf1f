"""The simulated world: an internet built of Python objects, on virtual time.

Builds a `SimHost` for each host, a `NatBox` with an engine for each NAT (another for its IPv6, if it has that) and one
`Router` for everything public, joins them by pipes, and gives them a loop.  What they do is in `host.py`, `router.py`,
`nat/` and `aio/`.  A router that is asked for ports (`nat/port_mapping/`) has a `SimHost` of its own, on which that
daemon runs like any program.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Coroutine, Iterable, Iterator
from typing import TypeVar

from .aio.current import current_host
from .aio.loop import SimLoop
from .aio.sockets import HostSockets
from .dual_stack import DualStack
from .faults import Crash, Fault, Flush, PowerOn, Renumber, Roam
from .host import SimHost
from .internet import Host, Internet, Nat, public_addresses
from .ipv6_site import CORE_ADDRESS as CORE_ADDRESS6
from .link import Link
from .nat.behavior import NatBehavior
from .nat.devices import Behavior
from .nat.engine import NatEngine
from .nat.linux import LinuxBehavior, LinuxNat
from .nat.table_row import TableRow, rows_of
from .packet import Packet, is_ipv6
from .pipe import Deliver, Pipe, make_pipe
from .router import Cut, Engine, NatBox, Router
from .scheduler import Scheduler
from .trace import Trace, Untraced

T = TypeVar("T")

#: The address from which "the internet" itself speaks, in ICMP errors.
CORE_ADDRESS = "203.0.113.1"


class SimWorld:
    """One run of an internet in the simulator; `traced` if it shall be told what happened to every packet."""

    name = "sim"

    def __init__(self, net: Internet, *, traced: bool = True) -> None:
        self.net = net
        self.clock = Scheduler(net.seed)
        self.trace = Trace(self.clock) if traced else Untraced(self.clock)
        self.loop = SimLoop(self.clock, self)
        self.router = Router(self.trace, "internet", CORE_ADDRESS, CORE_ADDRESS6)
        self.boxes: dict[str, NatBox] = {}
        #: What the same routers are in IPv6, those that have it.
        self.boxes6: dict[str, NatBox] = {}
        self.hosts: dict[str, SimHost] = {}
        self._contexts: dict[str, contextvars.Context] = {}
        #: Held here because a loop holds its tasks only weakly; in the order of their start.
        self._tasks: list[asyncio.Task[object]] = []
        #: The port mapping daemons of those NATs that have one.
        self._daemons: dict[str, asyncio.Task[None]] = {}
        #: The pipe down to each node.
        self._ways: dict[str, Pipe] = {}
        #: Which nodes are cut off from which, and how.
        self._cuts: list[tuple[str, str, str]] = []

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
        engine = self._engine(nat.behavior, nat.addresses, f"nat {nat.name}")
        box = NatBox(self.trace, self.clock, nat.name, engine, nat.address, nat.lan, reassembles)
        self.boxes[nat.name] = box
        six = self._build_ipv6(nat)
        own = (*nat.addresses, six.external) if six is not None else nat.addresses
        box.outside = self._join(nat.name, own, nat.behind, nat.link, self._case(nat).receive_outside)
        if six is not None:
            six.outside = box.outside
        if nat.behavior.port_mapping:
            self._start_port_mapping(nat)

    def _build_ipv6(self, nat: Nat) -> NatBox | None:
        side = nat.ipv6
        if side is None:
            return None
        reassembles = isinstance(side.firewall, LinuxBehavior)
        engine = self._engine(side.firewall, (side.address,), f"nat {nat.name} ipv6")
        box = NatBox(self.trace, self.clock, nat.name, engine, side.address, side.lan, reassembles)
        self.boxes6[nat.name] = box
        return box

    def _case(self, nat: Nat) -> NatBox | DualStack:
        """Where the wires of a router end."""
        box, six = self.boxes[nat.name], self.boxes6.get(nat.name)
        return box if six is None else DualStack(box, six)

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

    def _engine(self, behavior: Behavior, addresses: tuple[str, ...], stream: str) -> Engine:
        chance = self.clock.random(stream)
        if isinstance(behavior, LinuxBehavior):
            return LinuxNat(behavior, addresses[0], chance)
        return NatEngine(behavior, list(addresses), chance)

    def _build_host(self, host: Host) -> None:
        sim = SimHost(self.clock, self.trace, host.name, *host._addresses)
        self.hosts[host.name] = sim
        sim.uplink = self._join_host(host)
        self._contexts[host.name] = self._context(sim)

    def _join_host(self, host: Host) -> Pipe:
        def arrive(packet: Packet) -> None:
            self.hosts[host.name].receive(packet)  # whoever has that name then: it may have crashed and be another

        return self._join(host.name, host._addresses, host.behind, host.link, arrive)

    def _context(self, host: SimHost, *, background: bool = False) -> contextvars.Context:
        """The context in which a program runs on a host."""
        context = contextvars.copy_context()
        sockets = HostSockets(host, self.loop.selector, self, background=background)
        context.run(current_host.set, sockets)
        return context

    def _join(self, name: str, addresses: Iterable[str], behind: Nat | None, link: Link, arrive: Deliver) -> Pipe:
        """Connect a node to the internet or to the NAT before it; returns its pipe upwards."""
        above = "internet" if behind is None else behind.name
        self._ways[name] = self._pipe(above, name, link, arrive)
        for address in addresses:
            way = self._ways[name]
            for router, routes in self._routers_of(address, behind):
                routes[address] = way
                way = self._ways.get(router, way)
        receive = self.router.receive if behind is None else self._case(behind).receive_inside
        return self._pipe(name, above, link, receive)

    def _pipe(self, start: str, end: str, link: Link, deliver: Deliver) -> Pipe:
        return make_pipe(self.clock, self.trace, f"{start}>{end}", link, deliver)

    # -- While it runs ---------------------------------------------------------------------------------------------

    def start(self, host: Host, program: Awaitable[T], name: str) -> asyncio.Task[T]:
        """Run a program on a host."""
        if self.hosts[host.name].silent:
            if isinstance(program, Coroutine):
                program.close()  # or Python would complain that nobody has awaited it
            raise RuntimeError(f'{host.name} has crashed and runs no programs; net.power_on("{host.name}") starts it')

        async def run() -> T:
            return await program

        task = self.loop.create_task(run(), name=name, context=self._contexts[host.name].copy())
        self._tasks.append(task)
        return task

    def address_of(self, host: Host) -> str:
        """A host has the address that its description says."""
        return host._address

    def addresses_of(self, name: str) -> tuple[str, ...]:
        """For programs that look up a name."""
        host = self.net.hosts.get(name)
        return host._addresses if host else ()

    def name_of(self, address: str) -> str | None:
        """For programs that look up an address; a NAT's private ones may be those of several hosts."""
        return next((host.name for host in self.net.hosts.values() if address in host._addresses), None)

    # -- Faults ------------------------------------------------------------------------------------------------------

    def cut(self, one: str, other: str, how: str) -> None:
        """Cut the way between two nodes: "drop" loses every packet, "reset" answers TCP with a RST."""
        if how not in ("drop", "reset"):
            raise ValueError(f'a cut can "drop" or "reset", not {how!r}')
        self._aim([*self._cuts, (one, other, how)])

    def heal(self, one: str, other: str) -> None:
        """Undo `cut`."""
        ends = set(self._ends(one, other))
        self._aim([cut for cut in self._cuts if set(self._ends(cut[0], cut[1])) != ends])

    def _aim(self, cuts: list[tuple[str, str, str]]) -> None:
        """Have these cuts.  They are between nodes, and hit the addresses that the nodes have now."""
        self.router.cuts = [
            Cut(*self._ends(one, other), how, f"CUT: the way between {one} and {other} is cut ({how})")
            for one, other, how in cuts
        ]
        self._cuts = cuts

    def _ends(self, one: str, other: str) -> tuple[frozenset[str], frozenset[str]]:
        return public_addresses(self.net, one), public_addresses(self.net, other)

    def table(self, nat: Nat) -> list[TableRow]:
        """The rows of a NAT's table, and of its firewall's for IPv6."""
        return [row for box in self._boxes(nat.name) for row in rows_of(box.engine, self.clock.now)]

    def reboot(self, nat: Nat) -> None:
        """A NAT loses all that it knew; its port mapping daemon starts anew, and so does its epoch."""
        for box in self._boxes(nat.name):
            box.engine.reboot()
        self.trace.rows.emptied(nat.name)
        self._restart_port_mapping(nat)

    def _restart_port_mapping(self, nat: Nat) -> None:
        stack = self.boxes[nat.name].stack
        if stack is not None:
            stack.silent = True
            self._daemons[nat.name].cancel()
            self._start_port_mapping(nat)

    def strike(self, fault: Fault) -> None:
        """Let a fault happen, at once."""
        match fault:
            case Flush(name):
                for box in self._boxes(name):
                    box.engine.flush()
                self.trace.rows.emptied(name)
            case Renumber(name, old, new):
                self._renumber(self.net.nats[name], old, new)
            case Crash(name):
                self._crash(self._host_that_is(name, on=True))
            case PowerOn(name):
                self._power_on(self.net.hosts[name], self._host_that_is(name, on=False))
            case Roam(name):
                self._roam(self.net.hosts[name], self._host_that_is(name, on=True), fault)

    def _renumber(self, nat: Nat, old: str, new: str) -> None:
        """The state of its leases is lost, so the daemon's epoch begins anew, too (RFC 6887 section 8.5)."""
        nat.addresses = (new,)
        box = self.boxes[nat.name]
        box.external = new
        box.engine.renumber(new)
        self.trace.rows.emptied(nat.name)
        for _, routes in self._routers_of(old, nat.behind):
            routes[new] = routes.pop(old)
        self._aim(self._cuts)
        self._restart_port_mapping(nat)

    def _crash(self, sim: SimHost) -> None:
        sim.silent = True
        for task in self.loop.tasks_on(sim):
            task.cancel()

    def _power_on(self, host: Host, dead: SimHost) -> None:
        """Another computer at the old place: whatever still clings to the dead one can say nothing."""
        sim = SimHost(self.clock, self.trace, host.name, *dead.addresses)
        sim.uplink = dead.uplink
        self.hosts[host.name] = sim
        self._contexts[host.name] = self._context(sim)

    def _roam(self, host: Host, sim: SimHost, roam: Roam) -> None:
        for address in roam.old:
            for _, routes in self._routers_of(address, host.behind):
                del routes[address]
        host.behind = self.net.nats[roam.behind] if roam.behind is not None else None
        host._addresses = sim.addresses = roam.new
        sim.uplink = self._join_host(host)
        self._aim(self._cuts)

    def _host_that_is(self, name: str, *, on: bool) -> SimHost:
        sim = self.hosts[name]
        if sim.silent is on:
            raise RuntimeError(f"{name} has crashed: power it on first" if on else f"{name} is on: it has not crashed")
        return sim

    def _boxes(self, name: str) -> list[NatBox]:
        """What a router is in IPv4, and in IPv6 if it has that."""
        return [boxes[name] for boxes in (self.boxes, self.boxes6) if name in boxes]

    def _routers_of(self, address: str, behind: Nat | None) -> Iterator[tuple[str, dict[str, Pipe]]]:
        """Which routers know the address of a node behind that NAT: up to the first that translates it.

        Each with its routes; what is inside a firewall is known by the same address above it.
        """
        while behind is not None:
            yield behind.name, (self.boxes6 if is_ipv6(address) else self.boxes)[behind.name].inside
            if behind.translates and not is_ipv6(address):
                return
            behind = behind.behind
        yield "internet", self.router.routes
