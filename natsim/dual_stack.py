"""A router of both families: two routers in one case.

What IPv4 and IPv6 have in common is only the wire.  The one translates, as its NAT says, the other lets packets through
a firewall; neither looks into the other's table.  So a dual-stack router is a `NatBox` for each, and here packets find
theirs.  Next: `router.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .packet import Packet, is_ipv6
from .router import NatBox


@dataclass(frozen=True)
class DualStack:
    """The NAT of IPv4 and the firewall of IPv6, at the same two wires."""

    four: NatBox
    six: NatBox

    def receive_inside(self, packet: Packet) -> None:
        """A packet from the LAN."""
        self._of(packet).receive_inside(packet)

    def receive_outside(self, packet: Packet) -> None:
        """A packet from the world."""
        self._of(packet).receive_outside(packet)

    def _of(self, packet: Packet) -> NatBox:
        return self.six if is_ipv6(packet.src.address) else self.four
