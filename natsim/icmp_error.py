"""ICMP errors: what routers and hosts say about a packet that they cannot deliver.

For IPv4 that is ICMP (RFC 792, RFC 1122 section 3.2.2), for IPv6 ICMPv6 (RFC 4443).  They say the same in different
numbers, so whoever complains names a `Complaint`, and the packet complained about decides which numbers it gets.

What a NAT does with an error that passes is in `nat/icmp.py`; what a TCP makes of it in `tcp_refusal.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from .multicast import is_multicast
from .packet import ICMP, Endpoint, Packet, is_ipv6


class Complaint(NamedTuple):
    """What is wrong with a packet: (type, code) in ICMP, and in ICMPv6."""

    v4: tuple[int, int]
    v6: tuple[int, int]

    def kind(self, version: int) -> tuple[int, int]:
        """Type and code for this version of IP.

        >>> PORT_UNREACHABLE.kind(6)
        (1, 4)
        """
        return self.v6 if version == 6 else self.v4


NO_ROUTE = Complaint((3, 0), (1, 0))
NO_HOST = Complaint((3, 1), (1, 3))
PORT_UNREACHABLE = Complaint((3, 3), (1, 4))
TOO_LARGE = Complaint((3, 4), (2, 0))  # ICMPv6 calls it Packet Too Big
PROHIBITED = Complaint((3, 13), (1, 1))
TIME_EXCEEDED = Complaint((11, 0), (3, 0))


def icmp_error(source: str, packet: Packet, complaint: Complaint, *, mtu: int | None = None) -> Packet | None:
    """An ICMP error about a packet, from `source`, an address of the packet's family; None if there must be none.

    There is never one about another error.  With IPv4, there is none about a later fragment either (RFC 1122 section
    3.2.2); with IPv6, none about a packet for a group unless it is too large (RFC 4443 section 2.4e).  `mtu` is that of
    the link for which the packet is too large.
    """
    if packet.is_icmp_error:
        return None
    if is_ipv6(packet.src.address):
        if is_multicast(packet.dst.address) and complaint is not TOO_LARGE:
            return None
    elif packet.is_later_fragment:
        return None
    ends = Endpoint(source, 0), Endpoint(packet.src.address, 0)
    return Packet(ICMP, *ends, icmp=complaint.kind(packet.version), quoted=packet, mtu=mtu, cause=packet.uid)
