"""Faults: what can befall an internet while a story runs on it, each in one line.

    net.flush("nat_a")                  net.crash("bob"), net.power_on("bob")
    net.renumber("nat_a")               net.roam("alice", behind="nat_b")
    net.reboot("nat_a")                 net.partition("alice"), net.heal("alice")

`Faults` has these one-liners, and `Internet` inherits them.  A fault is data: the one-liner checks its words, picks
what has to be picked (the new address, say), and hands a `Fault` to the world that runs, whose `strike` carries it out.
Then it is noted among the trace's `events`.  Cuts and reboots are older than this, and every world has its own methods
for them.  Next: `sim_world.py`, which strikes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from .packet import is_ipv6

if TYPE_CHECKING:
    from .internet import Host, Internet, Nat
    from .worlds import World


class NotRunning(RuntimeError):
    """A host can only be used, and a fault can only strike, while the internet runs."""


# -- What can strike --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flush:
    """A NAT forgets its rows, sessions and flows, but not its leases."""

    node: str

    def __str__(self) -> str:
        return f"FLUSH: {self.node} forgets its rows and flows, but not its leases (as after conntrack -F)"


@dataclass(frozen=True)
class Renumber:
    """The outside address of a NAT changes, from `old` to `new`."""

    node: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"RENUMBER: the outside address of {self.node} was {self.old} and is now {self.new}; its rows are gone"


@dataclass(frozen=True)
class Crash:
    """A host loses its power."""

    node: str

    def __str__(self) -> str:
        return f"CRASH: {self.node} loses its power, and says no word more"


@dataclass(frozen=True)
class PowerOn:
    """A host that has crashed starts again."""

    node: str

    def __str__(self) -> str:
        return f"POWER ON: {self.node} starts again, and knows nothing of its old connections"


@dataclass(frozen=True)
class Roam:
    """A host moves behind another NAT (None: onto the public internet), where it has other addresses."""

    node: str
    behind: str | None
    old: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        where = f"behind {self.behind}" if self.behind else "onto the public internet"
        return f"ROAM: {self.node} moves {where}: it was {', '.join(self.old)}, and is now {', '.join(self.new)}"


Fault = Flush | Renumber | Crash | PowerOn | Roam


def cannot_strike(world: str, fault: Fault) -> RuntimeError:
    """The error of a world that has no means for a fault."""
    word = str(fault).partition(":")[0].lower()
    return RuntimeError(f'in the {world} world no "{word}" can strike {fault.node}; run this story with world="sim"')


# -- How to strike ----------------------------------------------------------------------------------------------------


class Faults:
    """The one-liners.  They work in a story that runs; before and after, they raise `NotRunning`."""

    hosts: dict[str, Host]
    nats: dict[str, Nat]
    world: World | None

    # -- The way between nodes ---------------------------------------------------------------------------------------

    def cut(self, one: str, other: str, how: str = "drop") -> None:
        """Cut the way between two nodes, from within a story: "drop" loses every packet, "reset" answers with RSTs."""
        self._running().cut(one, other, how)
        self._note(one, f"CUT: the way between {one} and {other} is cut ({how})")

    def heal(self, one: str, other: str | None = None) -> None:
        """Undo `cut`; with one name only, undo whatever cuts that node off."""
        for end in self._others(one) if other is None else [other]:
            self._running().heal(one, end)
        self._note(one, f"HEAL: the way between {one} and {other or 'all others'} is whole again")

    def partition(self, *names: str, how: str = "drop") -> None:
        """Cut a node, or a group of nodes, off from all others; within the group they still hear each other.

        The cut is on the internet, so those behind one NAT share its fate.  `heal` each of them to undo it.
        """
        for name in names:
            for other in self._others(*names):
                self._running().cut(name, other, how)
        for name in names:
            self._note(name, f"PARTITION: {', '.join(names)} cut off from all others ({how})")

    async def flap(self, name: str, down: float, up: float, times: int) -> None:
        """A link that comes and goes: `times` times cut off for `down` seconds, then whole for `up` seconds."""
        for _ in range(times):
            self.partition(name)
            await asyncio.sleep(down)
            self.heal(name)
            await asyncio.sleep(up)

    # -- NATs --------------------------------------------------------------------------------------------------------

    def reboot(self, name: str) -> None:
        """Take a NAT's power away for a moment: it forgets every row, session and lease, and announces that it has."""
        self._running().reboot(self._nat(name))
        self._note(name, f"REBOOT: {name} forgets every row, flow and lease")

    def flush(self, name: str) -> None:
        """Let a NAT forget its rows, sessions and flows, but not its leases: what `conntrack -F` does."""
        self._strike(Flush(self._nat(name).name))

    def renumber(self, name: str, address: str | None = None) -> None:
        """Give a NAT another outside address, as DHCP may: that one, or the next of those for NATs.

        Its rows and leases are gone, and its epoch begins anew (RFC 6887 section 8.5).  Packets to the old address meet
        nobody.  `ValueError` for a NAT with several addresses, a firewall, and an address that cannot be had.

        Its IPv6 prefix stays as it is.
        """
        nat = self._nat(name)
        if address is not None and is_ipv6(address):
            raise ValueError(f"{name} can get another IPv4 address, not {address}: its IPv6 prefix stays as it is")
        if not nat.translates or len(nat.addresses) != 1:
            raise ValueError(f"{name} is a firewall or has several addresses: only a NAT with one can be renumbered")
        used = [*self._addresses(), *([nat.behind.gateway] if nat.behind else [])]
        if address in used:
            raise ValueError(f"{name} cannot have the address {address}, since somebody has it already")
        if address is not None and nat.behind is not None and IPv4Address(address) not in nat.behind.lan:
            raise ValueError(f"{name} is behind {nat.behind.name}, so its address is one of {nat.behind.lan}")
        if address is None:
            address = nat.behind.next_member() if nat.behind else _next(NATS, used)
        self._strike(Renumber(name, nat.address, str(IPv4Address(address))))

    # -- Hosts -------------------------------------------------------------------------------------------------------

    def crash(self, name: str) -> None:
        """Take a host's power away: its programs are cancelled, and not one packet leaves any more, no FIN and no RST.

        Whoever awaits the task of such a program gets `CancelledError`.
        """
        self._strike(Crash(self._host(name).name))

    def power_on(self, name: str) -> None:
        """Start a host after `crash`.  It runs no program yet, and answers segments of old connections with a RST."""
        self._strike(PowerOn(self._host(name).name))

    def roam(self, name: str, behind: str | None) -> None:
        """Move a host behind that NAT, or (None) onto the public internet, as from Wi-Fi to mobile.

        It gets new addresses there.  What is bound to an old one is as useless as on Linux: datagrams and new
        connections fail with ENETUNREACH, and connections fall silent.  New sockets work.

        IPv6 it has there if the NAT has it; on the public internet, if it was described with `ipv6=True`.
        """
        host, nat = self._host(name), self._nat(behind) if behind is not None else None
        new: list[str] = []
        for address in host.addresses:
            if not is_ipv6(address):
                new.append(nat.next_member() if nat else _next(HOSTS, [*self._addresses(), *new]))
        self._strike(Roam(name, behind, host.addresses, (*new, *host.beside(new[0], nat))))

    # -- What they share ---------------------------------------------------------------------------------------------

    def _running(self) -> World:
        if self.world is None:
            raise NotRunning("faults strike while the internet runs: call this in the story given to run()")
        return self.world

    def _strike(self, fault: Fault) -> None:
        self._running().strike(fault)
        self._note(fault.node, str(fault))

    def _note(self, node: str, words: str) -> None:
        trace = self._running().trace
        if trace is not None:
            trace.happened(node, words)

    def _nat(self, name: str) -> Nat:
        if name not in self.nats:
            raise ValueError(f"this internet has no NAT {name!r}; it has {', '.join(self.nats) or 'none'}")
        self._running()
        return self.nats[name]

    def _host(self, name: str) -> Host:
        if name not in self.hosts:
            raise ValueError(f"this internet has no host {name!r}; it has {', '.join(self.hosts) or 'none'}")
        self._running()
        return self.hosts[name]

    def _others(self, *names: str) -> list[str]:
        """The nodes that the internet can tell from these."""
        from .internet import public_addresses

        net: Internet = self  # type: ignore[assignment]  # these methods are a part of it
        group = frozenset[str]().union(*(public_addresses(net, name) for name in names))
        return [name for name in (*self.hosts, *self.nats) if not public_addresses(net, name) <= group]

    def _addresses(self) -> list[str]:
        """Every IPv4 address of the description."""
        nodes: list[Host | Nat] = [*self.hosts.values(), *self.nats.values()]
        return [address for node in nodes for address in node.addresses if not is_ipv6(address)]


#: The blocks from which hosts and NATs get public addresses (RFC 5737).
HOSTS = IPv4Network("203.0.113.0/24")
NATS = IPv4Network("198.51.100.0/24")


def _next(block: IPv4Network, used: Iterable[str]) -> str:
    """The address of the block after the highest that is in use, so nobody gets back what he has just lost."""
    numbers = [number for number in map(IPv4Address, used) if number in block]
    highest = max(numbers, default=block[9])
    if highest >= block[254]:
        raise ValueError(f"{block} has no address left after {highest}; name one that is free")
    return str(highest + 1)
