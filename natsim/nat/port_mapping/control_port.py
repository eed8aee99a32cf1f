"""UDP port 5351, which NAT-PMP and PCP share: the first byte of a datagram says which of them it is for.

A server that does not speak the version that it is asked in says so, in its own format; both formats agree about where
the answer's version and result are, so that either client understands (RFC 6887 appendix A).
Next: `daemon.py`, which opens the port.
"""

from __future__ import annotations

from collections.abc import Collection

from ...packet import Endpoint
from . import natpmp
from .gateway import Gateway
from .natpmp import NatPmp
from .pcp import Pcp

#: Where the router listens, and where hosts listen for what it announces (RFC 6886 sections 3.1 and 3.2.1).
SERVER_PORT, CLIENT_PORT = 5351, 5350

#: All hosts of the LAN.
ALL_HOSTS = "224.0.0.1"

#: Seconds between announcements after a (re)start: ten in all (RFC 6886 section 3.2.1).
ANNOUNCEMENT_GAPS = tuple(0.25 * 2**doubled for doubled in range(9))


class ControlPort:
    """The servers behind port 5351: those of "nat-pmp" and "pcp" that are among `protocols`."""

    def __init__(self, gateway: Gateway, protocols: Collection[str]) -> None:
        self._natpmp = NatPmp(gateway) if "nat-pmp" in protocols else None
        self._pcp = Pcp(gateway) if "pcp" in protocols else None

    def answer(self, datagram: bytes, source: Endpoint, now: int) -> bytes | None:
        """The answer to a datagram from inside, or None."""
        server: NatPmp | Pcp | None = self._pcp
        if self._natpmp is not None and (self._pcp is None or datagram[:1] == bytes([natpmp.VERSION])):
            server = self._natpmp
        return server.answer(datagram, source, now) if server is not None else None

    def announcements(self, now: int) -> list[bytes]:
        """What tells all hosts of the LAN that the router has lost its state."""
        return [server.announcement(now) for server in (self._natpmp, self._pcp) if server is not None]
