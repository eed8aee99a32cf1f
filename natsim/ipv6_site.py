"""Where IPv6 addresses come from in an internet of natsim, and what guards them: a firewall that translates nothing.

Every address is of 2001:db8::/32, the block for documentation (RFC 3849).  The last part of an address is the decimal
number that the node's IPv4 address ends with, so that people can see who is who:

    192.168.1.2  is also  2001:db8:1::2        203.0.113.10  is also  2001:db8::10

A router that has IPv6 gets a prefix for its LAN, a /64: from its provider, or, behind another router, from that one
(prefix delegation, RFC 8415 section 6.3).  There is no NAT in IPv6: whatever is in the prefix is known by its own
address everywhere.  What stands between it and the world is a stateful firewall on each router (RFC 6092).

Link-local addresses (fe80::/10) are left out, and so is how addresses are found: SLAAC, neighbour discovery.
Used by `internet.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from .nat.devices import Behavior, Device, find_firewall

#: Where public hosts are, and the outer sides of routers that are before no other one.
HOSTS, ROUTERS = IPv6Network("2001:db8::/64"), IPv6Network("2001:db8:0:1::/64")

#: The blocks of the IPv4 addresses that stand beside them (RFC 5737).
HOSTS_IPV4, ROUTERS_IPV4 = IPv4Network("203.0.113.0/24"), IPv4Network("198.51.100.0/24")

#: The address from which "the internet" itself speaks, in ICMPv6 errors.
CORE_ADDRESS = "2001:db8::1"


@dataclass(frozen=True)
class Ipv6Side:
    """What a router does in IPv6: `address` is its own outside, `lan` its prefix inside, `firewall` who may pass."""

    firewall: Behavior
    address: str
    lan: IPv6Network
    #: What the LAN is in IPv4.
    ipv4_lan: IPv4Network
    #: The number of the outermost router before it, or its own: that one has the prefix from which all others come.
    first: int

    @property
    def gateway(self) -> str:
        """The router's own address on the LAN."""
        return str(self.lan[1])

    def beside(self, ipv4: str) -> str:
        """The address of a node on the LAN, beside its IPv4 address."""
        return beside(ipv4, self.ipv4_lan, self.lan)


def ipv6_side(
    firewall: str | Behavior | Device, number: int, ipv4: str, ipv4_lan: IPv4Network, behind: Ipv6Side | None
) -> Ipv6Side:
    """The IPv6 side of the router of this number, whose address and LAN in IPv4 are these; maybe behind another one."""
    behavior = find_firewall(firewall)
    if behind is None:
        address, prefix = beside(ipv4, ROUTERS_IPV4, ROUTERS), IPv6Network(f"2001:db8:{number}::/64")
        return Ipv6Side(behavior, address, prefix, ipv4_lan, number)
    prefix = IPv6Network(f"2001:db8:{behind.first}:{number}::/64")
    return Ipv6Side(behavior, behind.beside(ipv4), prefix, ipv4_lan, behind.first)


def beside(ipv4: str, block: IPv4Network, prefix: IPv6Network) -> str:
    """The IPv6 address of a node beside its IPv4 address, which is of that block.

    >>> beside("192.168.1.12", IPv4Network("192.168.1.0/24"), IPv6Network("2001:db8:1::/64"))
    '2001:db8:1::12'
    """
    number = int(IPv4Address(ipv4)) - int(block.network_address)
    return str(prefix[int(str(number), 16)])  # its decimal digits, as IPv6 writes them


def public(ipv4: str) -> str:
    """The IPv6 address of a public host.

    >>> public("203.0.113.10")
    '2001:db8::10'
    """
    return beside(ipv4, HOSTS_IPV4, HOSTS)
