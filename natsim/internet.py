"""An internet, described: what users build with.

    net = Internet(seed=7)
    net.host("server")
    net.host("alice", behind=net.nat("home", NatBehavior()))
    run = net.run(story)

An `Internet` is data: hosts, NATs and the links between them, a tree with the public internet as its root.  It does
nothing by itself.  `run` hands it to a *world* that brings it to life: the simulator (`sim_world.py`), the real
kernel's namespaces (`kernel/`), or plain loopback.  The same description serves each of them, any number of times.

Addresses come from the blocks for documentation (RFC 5737) and, inside, from RFC 1918 and RFC 6598.  Whoever has IPv6
has it beside IPv4: `ipv6_site.py`.  Next: `ready_made.py`, the internets that nearly everybody needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import TYPE_CHECKING, Any, TypeVar

from .faults import Faults
from .faults import NotRunning as NotRunning
from .ipv6_site import Ipv6Side, ipv6_side, public
from .link import Link
from .nat.devices import Behavior, Device
from .nat.devices.device import translates
from .nat.linux import LinuxBehavior
from .packet import is_ipv6

if TYPE_CHECKING:
    from .nat.table_row import TableRow
    from .run import Run
    from .worlds import World

T = TypeVar("T")

#: A program over an internet: an `async def` without parameters.
Story = Callable[[], Awaitable[Any]]

#: One-way delay between any two hosts, in milliseconds, unless told otherwise.
DEFAULT_DELAY = 20.0


@dataclass(eq=False)
class Nat:
    """A NAT or firewall: what is behind it has `lan` addresses, what is outside sees `addresses`.

    `ipv6` is what the same router does in IPv6, if it has that.
    """

    net: Internet
    name: str
    behavior: Behavior
    addresses: tuple[str, ...]
    lan: IPv4Network
    behind: Nat | None
    link: Link
    ipv6: Ipv6Side | None = None
    members: int = 0

    @property
    def address(self) -> str:
        """Its outside address; the first, if it has several."""
        return self.addresses[0]

    @property
    def outside(self) -> tuple[str, ...]:
        """All its outside addresses, that of IPv6 last."""
        return self.addresses if self.ipv6 is None else (*self.addresses, self.ipv6.address)

    @property
    def translates(self) -> bool:
        """False for a firewall that leaves addresses alone."""
        return translates(self.behavior)

    @property
    def gateway(self) -> str:
        """The NAT's own address on the LAN."""
        return str(self.lan[1])

    def next_member(self) -> str:
        """The next unused LAN address."""
        self.members += 1
        return str(self.lan[self.members + 1])

    def has_inside(self, address: str) -> bool:
        """Is this an address of its LAN, or of a prefix behind it that it has delegated?"""
        if not is_ipv6(address):
            return IPv4Address(address) in self.lan
        if self.ipv6 is not None and IPv6Address(address) in self.ipv6.lan:
            return True
        return any(nat.behind is self and nat.has_inside(address) for nat in self.net.nats.values())


@dataclass(eq=False)
class Host:
    """A computer.  While the internet runs, `start` runs programs on it.

    `ipv6`: it takes an IPv6 address wherever it can get one; behind a router that has IPv6, every host does.
    """

    net: Internet
    name: str
    _addresses: tuple[str, ...]
    behind: Nat | None
    link: Link
    ipv6: bool = False

    @property
    def _address(self) -> str:
        """The first address of its description, whatever the world."""
        return self._addresses[0]

    @property
    def address(self) -> str:
        """Its own IP address, in the world that runs now (or will run); the first, if it has several."""
        return self.net.world.address_of(self) if self.net.world else self._address

    @property
    def addresses(self) -> tuple[str, ...]:
        """All its addresses, that of IPv6 last; packets leave from the first of their family, unless the socket is
        bound to another."""
        return (self.address, *self._addresses[1:])

    @property
    def address6(self) -> str | None:
        """Its IPv6 address; None if it has none where it is."""
        return next(filter(is_ipv6, self._addresses), None)

    @property
    def gateway(self) -> str | None:
        """The inside address of the router before it, as its routing table says; None for a public host."""
        return self.behind.gateway if self.behind is not None else None

    @property
    def gateway6(self) -> str | None:
        """The same for IPv6."""
        return self.behind.ipv6.gateway if self.behind is not None and self.behind.ipv6 is not None else None

    def beside(self, ipv4: str, behind: Nat | None) -> tuple[str, ...]:
        """Its IPv6 address beside this one, behind that NAT or (None) on the public internet, if it has one there."""
        if behind is None:
            return (public(ipv4),) if self.ipv6 else ()
        return (behind.ipv6.beside(ipv4),) if behind.ipv6 is not None else ()

    def start(self, program: Awaitable[T], name: str | None = None) -> asyncio.Task[T]:
        """Run an awaitable on this host, at once and in the background; await the task for its result."""
        if self.net.world is None:
            raise NotRunning(f"{self.name}.start() works while the internet runs: call it in the story given to run()")
        return self.net.world.start(self, program, name or f"{self.name}: {getattr(program, '__name__', 'program')}")


@dataclass(eq=False)
class Internet(Faults):
    """Hosts and NATs around the public internet.  `seed` decides everything that is left to chance."""

    seed: int = 0
    hosts: dict[str, Host] = field(default_factory=dict)
    nats: dict[str, Nat] = field(default_factory=dict)
    world: World | None = None

    def __getattr__(self, name: str) -> Any:
        for nodes in (self.__dict__.get("hosts", {}), self.__dict__.get("nats", {})):
            if name in nodes:
                return nodes[name]
        have = ", ".join([*self.__dict__.get("hosts", {}), *self.__dict__.get("nats", {})]) or "none yet"
        raise AttributeError(f"this internet has no host or NAT {name!r}; it has {have}")

    # -- Building ----------------------------------------------------------------------------------------------------

    def nat(
        self,
        name: str,
        behavior: Behavior,
        *,
        behind: Nat | None = None,
        link: Link | None = None,
        lan: str | None = None,
        ipv6: str | Behavior | Device | None = None,
    ) -> Nat:
        """Add a NAT, before the internet or behind another NAT.  `lan` is its inside network, "192.168.1.0/24" say.

        A firewall that does not translate has public addresses inside.  `ipv6` is the firewall ("firewall", or a
        behavior that does not translate) behind which its hosts have IPv6 as well; None: they have none.
        """
        self._check_name(name)
        number = len(self.nats) + 1
        count = 1 if isinstance(behavior, LinuxBehavior) else behavior.addresses
        addresses = tuple(behind.next_member() for _ in range(count)) if behind else self._public_addresses(count)
        inside = IPv4Network(lan or f"192.168.{number}.0/24")
        nat = Nat(self, name, behavior, addresses, inside, behind, link or Link())
        if not nat.translates:
            nat.lan = IPv4Network(lan or f"192.0.2.{16 * number}/28")
        if ipv6 is not None:
            if behind is not None and behind.ipv6 is None:
                raise ValueError(f"{name} gets no IPv6 prefix: {behind.name} before it has no IPv6; give it ipv6=")
            nat.ipv6 = ipv6_side(ipv6, number, nat.address, nat.lan, behind.ipv6 if behind is not None else None)
        self.nats[name] = nat
        return nat

    def host(
        self,
        name: str,
        *,
        behind: Nat | None = None,
        link: Link | None = None,
        addresses: int = 1,
        ipv6: bool = False,
    ) -> Host:
        """Add a host, with a public address or behind a NAT; with several `addresses`, if a program needs them.

        (A server for RFC 5780 needs two.)  `ipv6` gives a public host an IPv6 address beside them; behind a NAT that
        has IPv6, every host gets one.
        """
        self._check_name(name)
        if addresses < 1:
            raise ValueError(f"a host has at least one address: {addresses}")
        first = 10 + sum(not is_ipv6(address) for host in self.hosts.values() for address in host._addresses)
        own = tuple(behind.next_member() if behind else f"203.0.113.{first + n}" for n in range(addresses))
        host = Host(self, name, own, behind, link or Link(), ipv6)
        host._addresses += host.beside(own[0], behind)
        if ipv6 and host.address6 is None:
            raise ValueError(f"{name} gets no IPv6 address, since {behind and behind.name} has no IPv6; give it ipv6=")
        self.hosts[name] = host
        return host

    def _public_addresses(self, count: int) -> tuple[str, ...]:
        """The next unused public addresses for a NAT."""
        used = sum(len(nat.addresses) for nat in self.nats.values() if nat.behind is None)
        if used + count > 254:
            raise ValueError(f"there are 254 public addresses for NATs, and {used} are in use")
        return tuple(f"198.51.100.{used + number}" for number in range(1, count + 1))

    def _check_name(self, name: str) -> None:
        if name in self.hosts or name in self.nats:
            raise ValueError(f"there is a {name!r} already")
        if not name.isidentifier() or len(name) > 10:
            raise ValueError(f"{name!r}: a name is a word of at most 10 letters, digits and underscores")

    # -- Running -----------------------------------------------------------------------------------------------------

    def table(self, nat: str) -> list[TableRow]:
        """A NAT's table as it is now, from within a story; in the kernel world, conntrack's own.

        Raises NotRunning between stories, ValueError for an unknown NAT.
        """
        return self._running().table(self._nat(nat))

    def run(self, story: Story, world: str = "sim", *, limit: float = 3600.0, trace: bool = True) -> Run:
        """Run `story` in a world ("sim", "kernel" or "loopback") and return what happened.

        Works in a script and in a notebook cell alike.  `limit` is in seconds of the world's clock; a story that
        takes longer ends with `TimeoutError`.  `trace=False`: only the result counts, so no packet is kept for
        `run.why()` and `run.ladder()`; the simulator is a little faster, and needs no memory for them.
        """
        from .worlds import run

        return run(self, story, world, limit, trace)

    async def play(self, story: Story, *, limit: float = 3600.0, slice_seconds: float = 0.02) -> Run:
        """Run `story` in the simulator without holding up the loop that is running: `run = await net.play(story)`."""
        from .worlds import play

        return await play(self, story, limit, slice_seconds)


def public_addresses(net: Internet, name: str) -> frozenset[str]:
    """The addresses under which the internet sees a node; for a firewall, also those of everything inside.

    In IPv6, where nothing is translated, every router is a firewall.
    """
    node: Host | Nat | None = net.hosts.get(name) or net.nats.get(name)
    if node is None:
        raise ValueError(f"this internet has no {name!r}; it has {', '.join([*net.hosts, *net.nats])}")
    seen: Host | Nat = node
    above = node.behind
    while above is not None:
        if above.translates:
            seen = above
        above = above.behind
    return frozenset(address for address in _as_they_are(net, seen) if not is_ipv6(address)) | frozenset(
        address for address in _as_they_are(net, node) if is_ipv6(address)
    )


def _as_they_are(net: Internet, node: Host | Nat) -> Iterator[str]:
    """A node's own addresses, and those inside that it does not translate."""
    if isinstance(node, Host):
        yield from node._addresses
        return
    yield from node.outside
    inside: list[Host | Nat] = [*net.nats.values(), *net.hosts.values()]
    for inner in inside:
        if inner.behind is node:
            yield from (own for own in _as_they_are(net, inner) if is_ipv6(own) or not node.translates)
