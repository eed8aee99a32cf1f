"""What `ip` is told about IPv6, where an internet has it: addresses, prefixes and routes beside those of IPv4.

Links are point to point and know no neighbours (`addressing.py`), so there is no neighbour discovery, no router
solicitation and no link-local address: what is heard on an interface is what programs send.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..internet import Host, Internet, Nat
from ..ipv6_site import CORE_ADDRESS
from .addressing import Node, children, down, nodes, up

#: For nodes that have IPv6: on, but for what would look for neighbours by itself.
SYSCTLS = {
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/default/addr_gen_mode": "1",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/accept_dad": "0",
}
ROUTER_SYSCTLS = {"ipv6/conf/all/forwarding": "1"}


def address6(node: Node) -> str | None:
    """A node's IPv6 address towards the outside."""
    if isinstance(node, Host):
        return node.address6
    return node.ipv6.address if node.ipv6 is not None else None


def has_ipv6(net: Internet, node: Node | None) -> bool:
    """Does this node (None is the internet) have anything to do with IPv6?"""
    if node is not None:
        return address6(node) is not None
    return any(address6(each) is not None for each in nodes(net))


def uplink(node: Node) -> Iterator[str]:
    """A node's own address, and its way to everywhere else."""
    own, above = address6(node), node.behind
    if own is None:
        return
    gateway = CORE_ADDRESS if above is None else above.ipv6.gateway if above.ipv6 is not None else None
    yield f"address add {own}/128 dev {up(node)} nodad"
    yield f"route add ::/0 via {gateway} dev {up(node)} onlink"


def downlinks(net: Internet, parent: Nat | None) -> Iterator[str]:
    """A router's own addresses on the links below it, and the way to what is there."""
    for node in children(net, parent):
        if address6(node) is None:
            continue
        if parent is not None and parent.ipv6 is not None:
            yield f"address add {parent.ipv6.gateway}/128 dev {down(node)} nodad"
        yield from (f"route add {block} dev {down(node)}" for block in _below(net, node))
    if parent is not None and parent.ipv6 is not None:
        yield f"route add unreachable {parent.ipv6.lan}"


def lonely(is_core: bool) -> Iterator[str]:
    """What the internet itself speaks from."""
    if is_core:
        yield f"address add {CORE_ADDRESS}/128 dev lo nodad"


def _below(net: Internet, node: Node) -> Iterator[str]:
    """The addresses down a node's link: its own, and the prefixes of its LAN and of those behind it."""
    yield f"{address6(node)}/128"
    if isinstance(node, Nat) and node.ipv6 is not None:
        yield str(node.ipv6.lan)
        for inner in children(net, node):
            if isinstance(inner, Nat) and inner.ipv6 is not None:
                yield from list(_below(net, inner))[1:]  # its own address is in the LAN already
