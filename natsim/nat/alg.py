"""A "generic ALG": a NAT that meddles with what packets say, not only with where they go (RFC 4787 section 7).

It looks for the bytes of an address anywhere in a payload, and translates them as if they were in the header.  That is
why STUN hides the address that it reports (XOR-MAPPED-ADDRESS, RFC 8489 section 14.2), and why RFC 4787 REQ-10 wants
such help switched off.  Called by `engine.py`.
"""

from __future__ import annotations

from ipaddress import ip_address

from ..packet import Endpoint, Packet


def rewrite_payload(packet: Packet, old: Endpoint, new: Endpoint) -> Packet:
    """The packet with every occurrence of an address in its payload, as text or as bytes, replaced."""
    payload = packet.payload.replace(ip_address(old.address).packed, ip_address(new.address).packed)
    if packet.protocol != "tcp":  # in TCP another length would shift every later sequence number
        payload = payload.replace(old.address.encode(), new.address.encode())
    return packet if payload == packet.payload else packet.rewritten(payload=payload)
