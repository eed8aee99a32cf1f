"""The ports of a host: which sockets have which, and who may have one beside whom.

The rules are those of Linux, measured: `tests/natsim/bind_conflicts.txt` is the table of them.  Used by `host.py`;
whose a datagram is that has arrived is in `host_udp.py`, whose a segment is in `host_tcp.py`.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .packet import Endpoint, Packet, is_ipv6

#: The ports from which Linux draws for sockets that do not choose (net.ipv4.ip_local_port_range).
EPHEMERAL = (32768, 60999)

#: "Every address of this host", in both families.
ANY, ANY6 = "0.0.0.0", "::"

#: "Every host on this link" (RFC 919 section 7).
EVERYBODY = "255.255.255.255"


class User(Protocol):
    """A socket, as the host sees it."""

    def changed(self) -> None:
        """Something happened that may make the socket readable or writable."""

    def datagram(self, packet: Packet) -> None:
        """A datagram has come."""

    def refused(self, code: int) -> None:
        """An ICMP error has come about a datagram: `code` is the errno that it means."""


@dataclass(eq=False)
class Binding:
    """A socket's claim on a local port.

    A socket of IPv6 (`ipv6`) that is not `v6only` speaks IPv4 too.  All addresses here are plain ones: what such a
    socket calls ::ffff:192.0.2.1 is 192.0.2.1.
    """

    protocol: str
    local: Endpoint
    user: User
    reuse_address: bool = False
    reuse_port: bool = False
    ipv6: bool = False
    v6only: bool = False
    listening: bool = False
    #: The port was chosen by `connect`, which may share it among connections to different places.
    automatic: bool = False
    remote: Endpoint | None = None  # of a connected datagram socket

    def hears(self, address: str) -> bool:
        """Is what comes to this address for this socket, if it has the port?"""
        mine = self.local.address
        if mine == ANY6:
            return not self.v6only or is_ipv6(address)
        return mine == address or (mine == ANY and not is_ipv6(address))

    def conflicts(self, other: Binding) -> bool:
        """Does `other`, which is there already, exclude this one?"""
        if not self._overlaps(other) or (self.reuse_port and other.reuse_port):
            return False
        return other.listening or not (self.reuse_address and other.reuse_address)

    def _overlaps(self, other: Binding) -> bool:
        """Is there an address that both would hear?  Linux answers yes once too often (`inet_rcv_saddr_equal`)."""
        mine, theirs = self.local.address, other.local.address
        if mine == ANY and is_ipv6(theirs):
            return not other.v6only  # even if the other has one address of IPv6, which it got by connecting
        if theirs in (ANY, ANY6):
            return other.hears(mine) or self.hears(theirs)
        return self.hears(theirs)


class PortTable:
    """Who has which port.  `is_own` tells whether an address is one of this host's."""

    def __init__(self, chance: random.Random, is_own: Callable[[str], bool]) -> None:
        self._chance = chance
        self._is_own = is_own
        self._holders: dict[tuple[str, int], list[Binding]] = {}

    def holders(self, protocol: str, port: int) -> list[Binding]:
        """The sockets that have this port, in the order in which they got it."""
        return self._holders.get((protocol, port), [])

    def bind(self, binding: Binding, span: tuple[int, int] | None = None) -> None:
        """Claim a port, or an unused one of `span` (`EPHEMERAL`) if `local.port` is 0.

        EADDRNOTAVAIL for an address that is not this host's, EADDRINUSE for a port that others have, or if all are
        taken.
        """
        address, port = binding.local
        if address not in (ANY, ANY6) and not self._is_own(address):
            raise os_error(errno.EADDRNOTAVAIL)
        if port == 0:
            unused = self._search(span, lambda port: (binding.protocol, port) not in self._holders)
            if unused is None:
                raise os_error(errno.EADDRINUSE)
            binding.local = binding.local._replace(port=unused)
        self.check(binding)
        self.add(binding)

    def bind_to_connect(self, binding: Binding, span: tuple[int, int] | None, clashes: Callable[[int], bool]) -> None:
        """Claim a port for a connection: an unused one, or else one that connections to elsewhere have by this way.

        `clashes` tells whether from that port there is a connection to the same place.  EADDRNOTAVAIL if from all.
        """
        protocol = binding.protocol
        port = self._search(span, lambda port: (protocol, port) not in self._holders)
        if port is None:
            port = self._search(
                span,
                lambda port: all(holder.automatic for holder in self.holders(protocol, port)) and not clashes(port),
            )
        if port is None:
            raise os_error(errno.EADDRNOTAVAIL)
        binding.automatic = True
        binding.local = binding.local._replace(port=port)
        self.add(binding)

    def check(self, binding: Binding) -> None:
        """Raise EADDRINUSE if another socket's claim excludes this one."""
        holders = self.holders(binding.protocol, binding.local.port)
        if any(other is not binding and binding.conflicts(other) for other in holders):
            raise os_error(errno.EADDRINUSE)

    def add(self, binding: Binding) -> None:
        """Note a claim that nobody questions."""
        self._holders.setdefault((binding.protocol, binding.local.port), []).append(binding)

    def release(self, binding: Binding) -> None:
        """Give the port back."""
        key = (binding.protocol, binding.local.port)
        holders = [other for other in self._holders.get(key, ()) if other is not binding]
        if holders:
            self._holders[key] = holders
        else:
            self._holders.pop(key, None)

    def _search(self, span: tuple[int, int] | None, fits: Callable[[int], bool]) -> int | None:
        """A port that fits, from a random one on.  Ends of `span` that lie outside `EPHEMERAL` do not count."""
        lowest, highest = EPHEMERAL
        first, last = (
            end if lowest <= end <= highest else limit for end, limit in zip(span or EPHEMERAL, EPHEMERAL, strict=True)
        )
        count = last - first + 1
        start = self._chance.randrange(count)
        return next((port for step in range(count) if fits(port := first + (start + step) % count)), None)


def os_error(code: int) -> OSError:
    """The OSError of an errno, with its usual words."""
    return OSError(code, os.strerror(code))
