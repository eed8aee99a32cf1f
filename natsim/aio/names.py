"""Names and addresses, as programs on a simulated host see them: getaddrinfo and its relatives.

Known are numeric addresses, "localhost", and the hosts of this internet.  A host speaks the families of its addresses,
and of loopback both.  The functions here never wait, so they serve the loop's coroutines and plain calls alike.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from ..host import LOOPBACK
from ..host_ports import ANY, ANY6
from ..packet import IPV6_LOOPBACK, Endpoint, canonical, is_ipv6

#: How an IPv6 socket writes an IPv4 address (RFC 4291 section 2.5.5.2).
MAPPED = "::ffff:"


class Directory(Protocol):
    """The hosts of an internet, by name."""

    def addresses_of(self, name: str) -> Sequence[str]:
        """The addresses of the host of that name; none if there is no such host."""

    def name_of(self, address: str) -> str | None:
        """The name of the host that has the address."""


_KINDS = {socket.SOCK_STREAM: socket.IPPROTO_TCP, socket.SOCK_DGRAM: socket.IPPROTO_UDP}


class Found(tuple[Any, ...]):
    """An entry of getaddrinfo.  asyncio's servers put entries into sets; their order must be the same in every run."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(self[:3])  # numbers: the hash of a text differs from run to run


class Names:
    """What a host called `name`, with these addresses, knows.  The story itself asks as a host without any."""

    def __init__(self, directory: Directory, name: str = "localhost", own: Callable[[], Sequence[str]] = tuple) -> None:
        self._directory = directory
        self.name = name
        self.own = own

    def find(self, name: str, families: Iterable[int]) -> list[str]:
        """The addresses of a name in these families.

        EAI_NONAME if nobody is called so, EAI_ADDRFAMILY if it has addresses of another family only.
        """
        found = self._look_up(name)
        fitting = [address for address in found if _family(address) in families]
        if not fitting:
            raise socket.gaierror(_ADDRFAMILY, f"{name!r} has no address of that family in this simulated internet")
        return fitting

    def _look_up(self, name: str) -> list[str]:
        address = literal(name)
        if address is not None:
            return [address]
        if name == "localhost":
            return self._sorted((LOOPBACK, IPV6_LOOPBACK))
        found = self._directory.addresses_of(name)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, f"no host of this simulated internet is called {name!r}")
        return self._sorted(found)

    def _sorted(self, addresses: Iterable[str]) -> list[str]:
        """Those that this host can reach first, and of them IPv6 first (RFC 6724 section 6, rules 1 and 6)."""
        speaks = self._speaks_ipv6
        return sorted(addresses, key=lambda address: is_ipv6(address) is not speaks)

    @property
    def _speaks_ipv6(self) -> bool:
        return any(is_ipv6(address) for address in self.own())

    # -- The functions of the module `socket` ------------------------------------------------------------------------

    def getaddrinfo(
        self,
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[Any, ...]]:
        """As `socket.getaddrinfo`."""
        families = {0: (socket.AF_INET, socket.AF_INET6)}.get(family, (family,))
        if not set(families) <= {socket.AF_INET, socket.AF_INET6}:
            raise socket.gaierror(socket.EAI_FAMILY, "a simulated internet speaks IPv4 and IPv6 only")
        number = _port(port)
        mapped = family == socket.AF_INET6 and flags & socket.AI_V4MAPPED
        found = list(self._addresses(host, (*families, socket.AF_INET) if mapped else families, flags))
        if mapped:
            found = [address for address in found if is_ipv6(address)] or [MAPPED + address for address in found]
        return [
            Found((its_family, kind, proto or its_proto, "", sockaddr(its_family, Endpoint(address, number))))
            for its_family, address in [(_family(address), address) for address in found]
            for kind, its_proto in _KINDS.items()
            if type in (0, kind) and proto in (0, its_proto)
        ]

    def _addresses(self, host: Any, families: Iterable[int], flags: int) -> Iterator[str]:
        name = host.decode() if isinstance(host, bytes) else host
        if name:
            yield from self.find(name, families)
            return
        for address in (ANY, ANY6) if flags & socket.AI_PASSIVE else self._sorted((LOOPBACK, IPV6_LOOPBACK)):
            if _family(address) in families and (not is_ipv6(address) or self._speaks_ipv6 or len([*families]) == 1):
                yield address

    def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """As `socket.getnameinfo`; ports have no names here."""
        address = self.find(sockaddr[0], (socket.AF_INET, socket.AF_INET6))[0]
        name = None if flags & socket.NI_NUMERICHOST else self._directory.name_of(unmapped(address))
        if name is None and flags & socket.NI_NAMEREQD:
            raise socket.gaierror(socket.EAI_NONAME, f"{address} has no name in this simulated internet")
        return name or address, str(sockaddr[1])

    def gethostbyname(self, name: str) -> str:
        """As `socket.gethostbyname`: IPv4 only."""
        return self.find(name or ANY, (socket.AF_INET,))[0]

    def gethostbyname_ex(self, name: str) -> tuple[str, list[str], list[str]]:
        """As `socket.gethostbyname_ex`."""
        return name, [], self.find(name, (socket.AF_INET,))

    def gethostname(self) -> str:
        """As `socket.gethostname`."""
        return self.name

    def getfqdn(self, name: str = "") -> str:
        """As `socket.getfqdn`: names have no domains here."""
        return name if name not in ("", ANY, ANY6) else self.name


def sockaddr(family: int, endpoint: Endpoint) -> tuple[Any, ...]:
    """An endpoint as programs get it from a socket of that family.

    >>> sockaddr(socket.AF_INET6, Endpoint("192.0.2.1", 80))
    ('::ffff:192.0.2.1', 80, 0, 0)
    """
    if family == socket.AF_INET6:
        host = endpoint.address if is_ipv6(endpoint.address) else MAPPED + endpoint.address
        return host, endpoint.port, 0, 0
    return endpoint.address, endpoint.port


def unmapped(address: str) -> str:
    """The IPv4 address that an IPv6 socket has written as one of IPv6; others stay.

    >>> unmapped("::ffff:192.0.2.1"), unmapped("2001:db8::1")
    ('192.0.2.1', '2001:db8::1')
    """
    if not address.startswith(MAPPED):
        return address
    rest = address[len(MAPPED) :]
    return rest if "." in rest else socket.inet_ntoa(socket.inet_pton(socket.AF_INET6, address)[-4:])


@functools.lru_cache(maxsize=4096)
def literal(name: str) -> str | None:
    """The address that the name is, if it is one.  Remembered, since every datagram that is sent asks."""
    try:
        return canonical(name.partition("%")[0])
    except ValueError:
        return None


@functools.lru_cache(maxsize=4096)
def literal_for(family: int, name: str) -> str | None:
    """The same, if it is an address for a socket of that family, and as the network knows it."""
    address = literal(name)
    return unmapped(address) if address is not None and _family(address) == family else None


def _family(address: str) -> int:
    return socket.AF_INET6 if is_ipv6(address) else socket.AF_INET


def _port(port: Any) -> int:
    try:
        return int(port or 0)
    except ValueError:
        raise socket.gaierror(socket.EAI_SERVICE, f"a port is a number here, not {port!r}") from None


_ADDRFAMILY = getattr(socket, "EAI_ADDRFAMILY", socket.EAI_NONAME)
