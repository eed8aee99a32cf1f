"""What a host knows of the ways to others: how large a packet may be to get there (RFC 1191, RFC 8201).

No router cuts packets of IPv6, or those of IPv4 with DF set.  The one that finds such a packet too large says so, and
with which size it would pass.  The sender remembers that, for every destination; from then on it cuts its datagrams of
IPv6, and makes its segments, that small.

Used by `host.py`.  Times are integer nanoseconds.
"""

from __future__ import annotations

from .icmp_error import TOO_LARGE
from .packet import IPV6_MINIMUM_MTU, Packet
from .scheduler import SECOND

#: For so long what was told is believed: the way may be another by then (Linux net.ipv4.route.mtu_expires, and IPv6 the
#: same).
LIFETIME = 600 * SECOND

#: Every link takes that much, by the version of IP: so nobody is believed who says less (RFC 1191 section 3, RFC 8201
#: section 4).
LEAST = {4: 68, 6: IPV6_MINIMUM_MTU}

#: So many destinations are remembered, the newest ones.
DESTINATIONS = 1024


class PathMtus:
    """The sizes that one host has been told, and until when they count."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._told)

    def learn(self, error: Packet, now: int) -> None:
        """Take what an error says about a size, if it is one of that kind; but not that a larger one would do."""
        quoted = error.quoted
        if quoted is None or error.icmp != TOO_LARGE.kind(error.version) or error.mtu is None:
            return
        remote, known = quoted.dst.address, self.of(quoted.dst.address, now)
        if error.mtu < LEAST[error.version] or (known is not None and known <= error.mtu):
            return
        self._told.pop(remote, None)
        if len(self._told) == DESTINATIONS:
            del self._told[next(iter(self._told))]
        self._told[remote] = error.mtu, now + LIFETIME

    def of(self, remote: str, now: int) -> int | None:
        """How large packets to that address may be, in bytes; None if nobody has told anything."""
        size, until = self._told.get(remote, (None, 0))
        return size if until > now else None
