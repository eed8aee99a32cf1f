"""Who stands where in a ladder: a column for each host and NAT.

The order is that of the tree: a site's hosts, then its NATs from the inside outwards; the server in the middle; then
the other sites, mirrored.  The internet itself has no column: what ends there ends between two columns.

Reads an `Internet`, never a trace.  Next: `story.py`, which puts packets between columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..packet import is_ipv6

if TYPE_CHECKING:
    from ..internet import Host, Internet, Nat

#: The name of the host in the middle: what passes through it is relayed.
SERVER = "server"


@dataclass(frozen=True)
class Column:
    """One vertical line of the ladder; `is_nat` columns are walls."""

    name: str
    is_nat: bool
    address: str


class Columns:
    """All columns, and where a node or an address belongs."""

    def __init__(self, net: Internet) -> None:
        self.all = _in_order(net)
        self.place = {column.name: x for x, column in enumerate(self.all)}
        self.last = len(self.all) - 1
        server = net.hosts.get(SERVER)
        #: Those of the server, if it is public.
        self.server_addresses = frozenset(server.addresses if server is not None and server.behind is None else ())
        self.middle = self.place[SERVER] if self.server_addresses else self.last // 2
        #: Every address that the internet routes to.
        self.public: set[str] = set()
        self._owner: dict[str, int] = {}
        for node in _nodes(net):
            is_host = node.name in net.hosts
            for address in net.hosts[node.name].addresses if is_host else net.nats[node.name].outside:
                self._owner[address] = self.place[node.name]
                if node.behind is None or is_ipv6(address) or (is_host and not node.behind.translates):
                    self.public.add(address)

    def owner(self, address: str) -> int:
        """The column that has an address; the middle, if nobody has it."""
        return self._owner.get(address, self.middle)

    def direction(self, start: int, address: str) -> int:
        """+1 or -1: the way from a column towards an address (towards the middle, if nobody has it)."""
        goal = self.owner(address)
        if goal == start:
            goal = self.middle if start != self.middle else (self.last if start < self.last else 0)
        return 1 if goal >= start else -1


def _nodes(net: Internet) -> list[Host | Nat]:
    return [*net.hosts.values(), *net.nats.values()]


def _in_order(net: Internet) -> list[Column]:
    """The columns from left to right: half of the sites, the server, the other sites mirrored."""
    tops = _sites(net)
    middle = [top for top in tops if top.name == SERVER and top.name in net.hosts]
    sites = [_site(net, top) for top in tops if top not in middle]
    half = (len(sites) + 1) // 2
    left = [column for site in sites[:half] for column in site]
    right = [column for site in sites[half:] for column in reversed(site)]
    return left + [_column(net, top) for top in middle] + right


def _sites(net: Internet) -> list[Host | Nat]:
    """What hangs directly on the internet, in the order in which hosts were added."""
    tops: list[Host | Nat] = []
    for node in _nodes(net):
        top = node
        while top.behind is not None:
            top = top.behind
        if top not in tops:
            tops.append(top)
    return tops


def _site(net: Internet, top: Host | Nat) -> list[Column]:
    """The columns of one site, from the inside outwards."""
    inside: list[Column] = []
    for node in _nodes(net):
        if node.behind is top:
            inside += _site(net, node)
    return [*inside, _column(net, top)]


def _column(net: Internet, node: Host | Nat) -> Column:
    return Column(node.name, node.name in net.nats, node.address)
