"""What `ip` is told in each namespace: interfaces, addresses and routes.

Text in, text out; running it is the business of `world.py`.  The internet is a tree: the core, NATs, hosts.  Every
link is point to point.  Its upper end is called `to_NAME` after the node below; its lower end is `wan` in a NAT and
`eth0` in a host.

veth pretends to be Ethernet, which would need ARP.  It is switched off, and both ends have the same hardware address:
then whatever goes in at one end is for the other, as with TUN, and no ARP request ever delays a packet or clutters a
capture.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..internet import Host, Internet, Nat
from ..internet import public_addresses as public_addresses
from ..packet import is_ipv6
from .nftables import WAN

Node = Host | Nat

#: The core's name; no identifier, so no node can have it.
CORE = "the internet"

#: From which "the internet" itself speaks, in ICMP errors; the simulator's router has the same.
CORE_ADDRESS = "203.0.113.1"

#: By this alias of its loopback one knows a namespace of ours, even from outside.
MARK = "natsim"

#: The hardware address of every veth (locally administered).
_MAC = "02:00:00:00:00:01"

#: For everybody: IPv6 stays off, so that no router solicitations appear.
SYSCTLS = {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"}

#: For routers, before they have interfaces: new ones take the default.
ROUTER_SYSCTLS = {"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0"}


def down(node: Node) -> str:
    """The upper end of a node's link, in the namespace above."""
    return f"to_{node.name}"


def up(node: Node) -> str:
    """The lower end of a node's link, in its own namespace."""
    return WAN if isinstance(node, Nat) else "eth0"


def addresses(node: Node) -> tuple[str, ...]:
    """A node's addresses towards the outside."""
    own = node.addresses if isinstance(node, Nat) else node._addresses
    return tuple(address for address in own if not is_ipv6(address))


def nodes(net: Internet) -> list[Node]:
    """Every NAT and host, each after the one that it is behind."""
    return [*net.nats.values(), *net.hosts.values()]


def children(net: Internet, parent: Nat | None) -> list[Node]:
    """The nodes directly behind a NAT, or directly on the internet."""
    return [node for node in nodes(net) if node.behind is parent]


def veth(node: Node, namespace_path: str) -> str:
    """Make a node's link, from the namespace above."""
    pair = f"link add {down(node)} address {_MAC} type veth peer name {up(node)} address {_MAC}"
    return f"{pair} netns {namespace_path}\nlink set {down(node)} arp off"


def uplink(node: Node, is_veth: bool) -> Iterator[str]:
    """A node's own end of its link, and its way to everywhere else."""
    interface, above = up(node), node.behind
    prefix, gateway = (above.lan.prefixlen, above.gateway) if above else (32, CORE_ADDRESS)
    if is_veth:
        yield f"link set {interface} arp off"
    yield from _mtu(node, interface)
    for address in addresses(node):
        yield f"address add {address}/{prefix} dev {interface}"
    yield f"link set {interface} up"
    yield f"route add default via {gateway} dev {interface} onlink"


def downlinks(net: Internet, parent: Nat | None) -> Iterator[str]:
    """A router's ends of the links below it, and the way to what is there."""
    for node in children(net, parent):
        interface = down(node)
        if parent is not None:
            yield f"address add {parent.gateway}/32 dev {interface}"
        yield from _mtu(node, interface)
        yield f"link set {interface} up"
        for block in _below(net, node):
            yield f"route add {block} dev {interface}"
    if parent is not None:
        # Nobody has that LAN address: say so, instead of asking the internet for it.
        yield f"route add unreachable {parent.lan}"


def lonely(is_core: bool) -> Iterator[str]:
    """What every namespace needs, whatever its links."""
    yield f"link set lo alias {MARK} up"
    if is_core:
        yield f"address add {CORE_ADDRESS}/32 dev lo"


def _mtu(node: Node, interface: str) -> Iterator[str]:
    """The largest packet that an end of a node's link takes; a device that is told nothing takes 1,500 bytes."""
    if node.link.mtu is not None:
        yield f"link set {interface} mtu {node.link.mtu}"


def _below(net: Internet, node: Node) -> Iterator[str]:
    """The addresses to be found down a node's link: its own, and what is inside and not translated."""
    yield from (f"{address}/32" for address in addresses(node))
    if isinstance(node, Nat) and not node.translates:
        yield str(node.lan)
        for inner in children(net, node):
            if isinstance(inner, Nat):
                yield from list(_below(net, inner))[len(addresses(inner)) :]  # its own are in the LAN already
