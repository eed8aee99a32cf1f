"""The kernel world: an internet made of network namespaces, for one run.

One namespace for each host and NAT and one for the core, joined by veth where a link has no delay and by TUN where it
has; nftables makes the NATs.  A NAT that Linux cannot be is the simulator's own, between the namespaces (`boxes.py`).
What each namespace is told is text from `addressing.py` and `nftables.py`; how a
namespace lives is in `namespace.py`, how packets are delayed in `wire.py`, how sockets come to their hosts in
`sockets.py`.

It touches nothing of the machine outside those namespaces, and leaving takes all of it away.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..aio.current import current_host
from ..aio.names import Names
from ..aio.wall_loop import WallLoop
from ..faults import Flush, cannot_strike
from ..internet import Host, Internet, Nat
from ..nat.linux import LinuxBehavior
from ..nat.table_row import TableRow, rows_of
from ..trace import Trace, Untraced
from . import addressing, addressing6, conntrack
from .boxes import Boxes, is_simulated
from .captured_trace import CapturedTrace
from .namespace import Namespace
from .nftables import CORE, Cut, check, cut_rules, firewall6_rules, nat_rules, nat_sysctls
from .requirements import available, program
from .sockets import KernelHost
from .wire import Wire

if TYPE_CHECKING:
    from ..faults import Fault

T = TypeVar("T")


class KernelWorld:
    """One run of an internet on real sockets, behind the kernel's own NATs."""

    name = "kernel"
    loop: asyncio.AbstractEventLoop

    def __init__(self, net: Internet, *, traced: bool = False) -> None:
        self.net = net
        self.trace: CapturedTrace | None = None
        self._traced = traced
        self.namespaces: dict[str, Namespace] = {}
        self.hosts: dict[str, KernelHost] = {}
        #: Held here because a loop holds its tasks only weakly.
        self._tasks: list[asyncio.Task[object]] = []
        self._cuts: list[Cut] = []
        self._built = contextlib.ExitStack()

    def __enter__(self) -> KernelWorld:
        check(self.net)
        if problem := available():
            raise RuntimeError(problem)
        try:
            self._build()
        except BaseException:
            self._built.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._built.close()

    # -- Building ----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.loop = self._built.enter_context(
            contextlib.closing(WallLoop({name: host._address for name, host in self.net.hosts.items()}))
        )
        make_trace = Trace if self._traced else Untraced
        self.boxes = self._built.enter_context(
            contextlib.closing(Boxes(self.net, self.loop, make_trace, self._namespace))
        )
        nodes = addressing.nodes(self.net)
        for name in (addressing.CORE, *(node.name for node in nodes if not is_simulated(node))):
            self._add_namespace(name, router=name not in self.net.hosts)
        # From the top down: each node makes the links below it, so that it finds the one above.
        self._furnish(None)
        for node in nodes:
            if not is_simulated(node):
                self._furnish(node)
            elif node.behind is not None and is_simulated(node.behind):
                self._build_box(node)
        for name in self.net.hosts:
            names = Names(self, name, partial(self.addresses_of, name))
            host = self.hosts[name] = KernelHost(name, self.namespaces[name], names)
            self._built.callback(host.close)
        if self._traced:
            self.trace = CapturedTrace(self.net, self.boxes.clock, self.boxes.trace)
            self._built.callback(self.trace.close)
            heard = [namespace for name, namespace in self.namespaces.items() if name != addressing.CORE]
            self.trace.listen(self.loop, heard)

    def _namespace(self, node: addressing.Node | None) -> Namespace:
        return self.namespaces[node.name if node is not None else addressing.CORE]

    def _add_namespace(self, name: str, router: bool) -> None:
        namespace = self.namespaces[name] = self._built.enter_context(contextlib.closing(Namespace(name)))
        settings = dict(addressing.ROUTER_SYSCTLS) if router else {}
        if addressing6.has_ipv6(self.net, self.net.hosts.get(name) or self.net.nats.get(name)):
            settings |= addressing6.SYSCTLS | (addressing6.ROUTER_SYSCTLS if router else {})
        elif Path("/proc/sys/net/ipv6").exists():
            settings |= addressing.SYSCTLS
        namespace.sysctl(settings)

    def _furnish(self, node: addressing.Node | None) -> None:
        """Give a node (None is the core) its interfaces, addresses, routes and rules."""
        namespace = self._namespace(node)
        script = list(addressing.lonely(is_core=node is None))
        script6 = list(addressing6.lonely(is_core=node is None)) if addressing6.has_ipv6(self.net, node) else []
        if node is not None:
            script += addressing.uplink(node, is_veth=not _needs_wire(node))
            script6 += addressing6.uplink(node)
        if not isinstance(node, Host):
            for below in addressing.children(self.net, node):
                if is_simulated(below):
                    self._build_box(below)
                else:
                    script += self._link(namespace, below)
            script += addressing.downlinks(self.net, node)
            script6 += addressing6.downlinks(self.net, node)
        namespace.run([program("ip"), "-batch", "-"], "\n".join(script + script6) + "\n")
        if node is None:
            namespace.run(_nft(), CORE)
        elif isinstance(node, Nat):
            assert isinstance(node.behavior, LinuxBehavior)  # check() has seen to it
            namespace.run(_nft(), nat_rules(node.behavior))
            if node.ipv6 is not None:
                assert isinstance(node.ipv6.firewall, LinuxBehavior)
                namespace.run(_nft(), firewall6_rules(node.ipv6.firewall))
            namespace.sysctl(nat_sysctls(node.behavior))  # they exist once a rule has called for conntrack

    def _build_box(self, node: addressing.Node) -> None:
        assert isinstance(node, Nat)
        self.boxes.build(node, addressing.down(node), addressing.up)

    def _link(self, above: Namespace, node: addressing.Node) -> list[str]:
        """Make the link of a node to the one above; returns what `ip` has to do for it."""
        below = self.namespaces[node.name]
        if not _needs_wire(node):
            return [addressing.veth(node, below.path)]
        ends = (above, addressing.down(node)), (below, addressing.up(node))
        self._built.enter_context(contextlib.closing(Wire(self.loop, node.link, self.net.seed, *ends)))
        return []

    # -- While it runs ---------------------------------------------------------------------------------------------

    def start(self, host: Host, program: Awaitable[T], name: str) -> asyncio.Task[T]:
        """Run a program on a host."""

        async def run() -> T:
            return await program

        context = contextvars.copy_context()
        context.run(current_host.set, self.hosts[host.name])
        task = self.loop.create_task(run(), name=name, context=context)
        self._tasks.append(task)
        return task

    def address_of(self, host: Host) -> str:
        """A host has the address that its description says."""
        return host._address

    def addresses_of(self, name: str) -> tuple[str, ...]:
        """For programs that look up a name."""
        host = self.net.hosts.get(name)
        return addressing.addresses(host) if host else ()

    def name_of(self, address: str) -> str | None:
        """For programs that look up an address."""
        return next((name for name in self.net.hosts if address in self.addresses_of(name)), None)

    def traffic(self, name: str) -> tuple[int, int]:
        """Bytes that a host has received and sent on its link, or a NAT on its outer one, headers included."""
        node: Host | Nat | None = self.net.hosts.get(name) or self.net.nats.get(name)
        if node is None:
            raise ValueError(f"this internet has no {name!r}; it has {', '.join([*self.net.hosts, *self.net.nats])}")
        if is_simulated(node):
            if node.behind is not None and is_simulated(node.behind):
                raise RuntimeError(f"{name} is between other simulated routers, where nobody counts")
            sent, received = self._namespace(node.behind).counters(addressing.down(node))  # as the other end sees it
            return received, sent
        return self.namespaces[name].counters(addressing.up(node))

    def enter_command(self, name: str) -> list[str]:
        """The beginning of a command that runs a program inside a node, from any shell of this machine."""
        if name not in self.namespaces:
            raise RuntimeError(f"{name} is a simulated router: no program can run in it")
        return ["nsenter", f"--net={self.namespaces[name].path}"]

    # -- Faults ------------------------------------------------------------------------------------------------------

    def cut(self, one: str, other: str, how: str) -> None:
        """Cut the way between two nodes: "drop" loses every packet, "reset" answers TCP with a RST."""
        if how not in ("drop", "reset"):
            raise ValueError(f'a cut can "drop" or "reset", not {how!r}')
        self._set_cuts([*self._cuts, (*self._ends(one, other), how)])

    def heal(self, one: str, other: str) -> None:
        """Undo `cut`."""
        ends = set(self._ends(one, other))
        self._set_cuts([cut for cut in self._cuts if {cut[0], cut[1]} != ends])

    def table(self, nat: Nat) -> list[TableRow]:
        """The rows of a NAT's table: conntrack's own, or those of a simulated router."""
        now = self.boxes.clock.elapsed
        if is_simulated(nat):
            return [row for box in self.boxes.of(nat) for row in rows_of(box.engine, now)]
        own = frozenset(nat.addresses)
        return [line.as_row(own, now) for line in conntrack.read_table(self.namespaces[nat.name])]

    def reboot(self, nat: Nat) -> None:
        """A NAT forgets all it knew; that of a kernel, every flow."""
        if is_simulated(nat):
            for box in self.boxes.of(nat):
                box.engine.reboot()
        else:
            conntrack.flush(self.namespaces[nat.name])

    def strike(self, fault: Fault) -> None:
        """NATs can be flushed; nothing else is here, so far."""
        if not isinstance(fault, Flush):
            raise cannot_strike(self.name, fault)
        nat = self.net.nats[fault.node]
        if is_simulated(nat):
            for box in self.boxes.of(nat):
                box.engine.flush()
        else:
            conntrack.flush(self.namespaces[nat.name])

    def _set_cuts(self, cuts: list[Cut]) -> None:
        self.namespaces[addressing.CORE].run(_nft(), cut_rules(cuts))
        self._cuts = cuts

    def _ends(self, one: str, other: str) -> tuple[frozenset[str], frozenset[str]]:
        return addressing.public_addresses(self.net, one), addressing.public_addresses(self.net, other)


def _needs_wire(node: addressing.Node) -> bool:
    """All that veth can do to packets is to take none that are too large; and it joins two namespaces."""
    between_two = node.behind is None or not is_simulated(node.behind)
    return bool(node.link.delay) or not node.link.is_plain or not between_two


def _nft() -> list[str]:
    return [program("nft"), "-f", "-"]
