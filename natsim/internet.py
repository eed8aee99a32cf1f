"""An internet, described: what users build with.

    net = two_nats("linux", "eim-apdf", seed=7)
    run = net.run(story)

An `Internet` is data: hosts, NATs and the links between them, a tree with the public internet as its root.  It does
nothing by itself.  `run` hands it to a *world* that brings it to life: the simulator (`sim_world.py`), the real
kernel's namespaces (`kernel/`), or plain loopback.  The same description serves each of them, any number of times.

Addresses come from the blocks for documentation (RFC 5737) and, inside, from RFC 1918 and RFC 6598.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any, TypeVar

from .faults import Faults
from .faults import NotRunning as NotRunning
from .link import Link
from .loss import LossRule
from .nat.devices import Behavior, Device, find
from .nat.linux import LinuxBehavior, Masquerade

if TYPE_CHECKING:
    from .run import Run
    from .worlds import World

T = TypeVar("T")

#: A program over an internet: an `async def` without parameters.
Story = Callable[[], Awaitable[Any]]

#: One-way delay between any two hosts, in milliseconds, unless told otherwise.
DEFAULT_DELAY = 20.0

#: How much of a site's delay lies on the LAN, before its NAT (milliseconds): a wire or good Wi-Fi.
LAN_DELAY = 0.1


@dataclass(eq=False)
class Nat:
    """A NAT or firewall: what is behind it has `lan` addresses, what is outside sees `addresses`."""

    net: Internet
    name: str
    behavior: Behavior
    addresses: tuple[str, ...]
    lan: IPv4Network
    behind: Nat | None
    link: Link
    members: int = 0

    @property
    def address(self) -> str:
        """Its outside address; the first, if it has several."""
        return self.addresses[0]

    @property
    def translates(self) -> bool:
        """False for a firewall that leaves addresses alone."""
        if isinstance(self.behavior, LinuxBehavior):
            return self.behavior.masquerade is not Masquerade.NONE
        return self.behavior.translate

    @property
    def gateway(self) -> str:
        """The NAT's own address on the LAN."""
        return str(self.lan[1])

    def next_member(self) -> str:
        """The next unused LAN address."""
        self.members += 1
        return str(self.lan[self.members + 1])


@dataclass(eq=False)
class Host:
    """A computer.  While the internet runs, `start` runs programs on it."""

    net: Internet
    name: str
    _addresses: tuple[str, ...]
    behind: Nat | None
    link: Link

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
        """All its addresses; packets leave from the first, unless the socket is bound to another."""
        return (self.address, *self._addresses[1:])

    @property
    def gateway(self) -> str | None:
        """The inside address of the router before it, as its routing table says; None for a public host."""
        return self.behind.gateway if self.behind is not None else None

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
    ) -> Nat:
        """Add a NAT, before the internet or behind another NAT.  `lan` is its inside network, "192.168.1.0/24" say.

        A firewall that does not translate has public addresses inside.
        """
        self._check_name(name)
        number = len(self.nats) + 1
        count = 1 if isinstance(behavior, LinuxBehavior) else behavior.addresses
        addresses = tuple(behind.next_member() for _ in range(count)) if behind else self._public_addresses(count)
        inside = IPv4Network(lan or f"192.168.{number}.0/24")
        nat = Nat(self, name, behavior, addresses, inside, behind, link or Link())
        if not nat.translates:
            nat.lan = IPv4Network(lan or f"192.0.2.{16 * number}/28")
        self.nats[name] = nat
        return nat

    def host(self, name: str, *, behind: Nat | None = None, link: Link | None = None, addresses: int = 1) -> Host:
        """Add a host, with a public address or behind a NAT; with several `addresses`, if a program needs them.

        (A server for RFC 5780 needs two.)
        """
        self._check_name(name)
        if addresses < 1:
            raise ValueError(f"a host has at least one address: {addresses}")
        first = 10 + sum(len(host._addresses) for host in self.hosts.values())
        own = tuple(behind.next_member() if behind else f"203.0.113.{first + n}" for n in range(addresses))
        host = self.hosts[name] = Host(self, name, own, behind, link or Link())
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
    """The addresses under which the internet sees a node; for a firewall, also those of everything inside."""
    node: Host | Nat | None = net.hosts.get(name) or net.nats.get(name)
    if node is None:
        raise ValueError(f"this internet has no {name!r}; it has {', '.join([*net.hosts, *net.nats])}")
    seen: Host | Nat = node
    above = node.behind
    while above is not None:
        if above.translates:
            seen = above
        above = above.behind
    return frozenset(_as_they_are(net, seen))


def _as_they_are(net: Internet, node: Host | Nat) -> Iterator[str]:
    """A node's own address, and those inside that it does not translate."""
    yield from node.addresses if isinstance(node, Nat) else node._addresses
    if isinstance(node, Nat) and not node.translates:
        inside: list[Host | Nat] = [*net.nats.values(), *net.hosts.values()]
        for inner in inside:
            if inner.behind is node:
                yield from _as_they_are(net, inner)


# -- Ready-made internets ---------------------------------------------------------------------------------------------


def two_nats(
    a: str | Behavior | Device,
    b: str | Behavior | Device,
    *,
    seed: int = 0,
    delay: float = DEFAULT_DELAY,
    loss: float | LossRule = 0.0,
    link: Link | None = None,
) -> Internet:
    """alice behind a NAT, bob behind another, and a server on the public internet.

    `a` and `b` are names (see `natsim devices`), behaviors or devices.  `delay` is the one-way delay in milliseconds
    between any two of the three hosts; half of it is on each one's way to the internet.  `loss` is the share of packets
    that each site's link to the internet loses, or a loss rule (`loss.py`); `link` says what else these two links do:
    `Link(jitter=5, rate=10)`, say, without a delay.

    >>> net = two_nats("linux", "none")
    >>> net.alice.address, net.nat_a.address, net.bob.address
    ('192.168.1.2', '198.51.100.1', '203.0.113.12')
    """
    wan = link or Link()
    if wan.delay:
        raise ValueError(f"delay= is the delay between any two hosts, from which links get theirs; {wan} has its own")
    if loss and wan.loss:
        raise ValueError(f"these links lose packets by loss={loss} or as {wan} says, not both; leave one out")
    wan = replace(wan, loss=loss or wan.loss)
    net = Internet(seed)
    net.host("server", link=Link(delay / 2))
    for side, name, what in (("a", "alice", a), ("b", "bob", b)):
        _site(net, side, name, _layers(what), delay / 2, wan)
    return net


def same_nat(what: str | Behavior | Device, *, seed: int = 0, delay: float = DEFAULT_DELAY) -> Internet:
    """alice and bob behind one and the same NAT, `net.home`, and a server on the public internet.

    Here the delay is on each host's own link, so that alice and bob are `delay` apart too.
    """
    layers = _layers(what)
    if not layers:
        raise ValueError(f"{what!r} is no NAT, so nobody can be behind it; two_nats() has hosts without one")
    net = Internet(seed)
    net.host("server", link=Link(delay / 2))
    nat: Nat | None = None
    for behavior in reversed(layers[1:]):
        nat = net.nat("carrier", behavior, behind=nat, lan="100.64.1.0/24")
    nat = net.nat("home", layers[0], behind=nat)
    for name in ("alice", "bob"):
        net.host(name, behind=nat, link=Link(delay / 2))
    return net


def _site(net: Internet, side: str, name: str, layers: tuple[Behavior, ...], delay: float, wan: Link) -> None:
    """One peer and the NATs before it; the delay lies on the way from the outermost NAT to the internet."""
    lan = min(LAN_DELAY, delay / 4) if layers else 0.0
    wan = replace(wan, delay=delay - lan * len(layers))
    nat: Nat | None = None
    for depth, behavior in enumerate(reversed(layers)):
        innermost = depth == len(layers) - 1
        nat_name = f"nat_{side}" if innermost else f"carrier_{side}{depth or ''}"
        inside = None if innermost else f"100.64.{len(net.nats)}.0/24"
        nat = net.nat(nat_name, behavior, behind=nat, link=Link(lan) if nat else wan, lan=inside)
    net.host(name, behind=nat, link=Link(lan) if nat else wan)


def _layers(what: str | Behavior | Device) -> tuple[Behavior, ...]:
    if isinstance(what, str):
        what = find(what)
    return what.layers if isinstance(what, Device) else (what,)
