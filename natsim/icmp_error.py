"""ICMP errors: what routers and hosts say about a packet that they cannot deliver (RFC 792, RFC 1122 section 3.2.2).

What a NAT does with one that passes is in `nat/icmp.py`; what a TCP makes of it in `tcp_refusal.py`.
"""

from __future__ import annotations

from .packet import ICMP, Endpoint, Packet


def icmp_error(source: str, packet: Packet, icmp_type: int, code: int) -> Packet | None:
    """An ICMP error about a packet; never about another error, or a later fragment (RFC 1122 section 3.2.2)."""
    if packet.is_icmp_error or packet.is_later_fragment:
        return None
    to = Endpoint(packet.src.address, 0)
    return Packet(ICMP, Endpoint(source, 0), to, icmp=(icmp_type, code), quoted=packet, cause=packet.uid)
