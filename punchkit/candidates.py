"""Candidates: the addresses at which a peer may be reached, and which of them are worth a try.

Each side tells the other, through the sealed session only, its own address and the one from which the server saw it.
What the other side tells is attack input: it could name anybody's address and so make us knock there.  So candidates
are bounded in number, and addresses that no peer can have are refused (RFC 8445 section 19, RFC 8828).

Pure functions.  Next: `matchmaker.py`, which exchanges these, and `punch_tcp.py`, which dials them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from punchkit.errors import ProtocolError
from punchkit.sockets import Address
from punchkit.wire import parse_address

#: A peer may name at most so many candidates.
MAX_CANDIDATES = 20

#: What a candidate is (RFC 8445 section 5.1.1): an address of the machine, or one that a server saw.
HOST, SERVER_REFLEXIVE = "host", "srflx"


@dataclass(frozen=True)
class Candidate:
    """One way in: `kind` is HOST or SERVER_REFLEXIVE."""

    kind: str
    address: Address

    def to_json(self) -> list[Any]:
        """As it travels."""
        return [self.kind, *self.address]


def own(local: Address, observed: Address) -> list[Candidate]:
    """Our candidates: where the socket is, and where the server sees it.

    >>> [c.kind for c in own(("192.168.1.2", 4000), ("198.51.100.1", 4000))]
    ['host', 'srflx']
    """
    found = [Candidate(HOST, local)]
    if observed != local:
        found.append(Candidate(SERVER_REFLEXIVE, observed))
    return found


def from_json(value: Any) -> list[Candidate]:
    """The candidates that a peer names.  Raises ProtocolError."""
    if not isinstance(value, list) or len(value) > MAX_CANDIDATES:
        raise ProtocolError(f"candidates are a list of at most {MAX_CANDIDATES}")
    found = []
    for item in value:
        if not isinstance(item, list) or len(item) != 3 or item[0] not in (HOST, SERVER_REFLEXIVE):
            raise ProtocolError("a candidate that is none")
        host, port = parse_address(item[1:])
        try:
            host = str(ipaddress.ip_address(host))  # one spelling for one address
        except ValueError:
            raise ProtocolError("a candidate whose address is none") from None
        found.append(Candidate(item[0], (host, port)))
    return found


def worth_dialing(theirs: Iterable[Candidate], ours: Iterable[Candidate], server: Address) -> list[Address]:
    """The addresses of the peer that we may dial, likely ones first.

    A private address is tried only if it could be on our own network: the peer is seen from the same outside address
    as we are, or has an address in the same /24 (or /64).  Our own addresses are never dialed, nor is the
    server's, unless we are on one machine (or behind one NAT) with it.
    """
    ours = list(ours)
    theirs = list(theirs)
    mine = {candidate.address for candidate in ours}
    hosts = {candidate.address[0] for candidate in ours}
    outside = {c.address[0] for c in ours} & {c.address[0] for c in theirs if c.kind == SERVER_REFLEXIVE}
    found = []
    for candidate in theirs:
        address = candidate.address
        if address in mine or address in found or not _possible(address[0], ours):
            continue
        if address == server or (address[0] == server[0] and server[0] not in hosts):
            continue
        if _is_private(address[0]) and not outside and not any(_near(address[0], our.address[0]) for our in ours):
            continue
        found.append(address)
    return found


def _possible(host: str, ours: Iterable[Candidate]) -> bool:
    """Could a peer have this address?  Loopback only if we ourselves are on loopback, so on one machine with it."""
    address = ipaddress.ip_address(host)
    if address.is_loopback:
        return all(ipaddress.ip_address(our.address[0]).is_loopback for our in ours)
    return not (address.is_multicast or address.is_unspecified or address.is_link_local or host == "255.255.255.255")


#: Addresses that mean something on one network only (RFC 1918, RFC 6598, RFC 4193).
_PRIVATE = [
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
]


def _is_private(host: str) -> bool:
    address = ipaddress.ip_address(host)
    return any(address.version == network.version and address in network for network in _PRIVATE)


def _near(one: str, other: str) -> bool:
    """Is it likely that these two are on one network?"""
    a, b = ipaddress.ip_address(one), ipaddress.ip_address(other)
    if a.version != b.version:
        return False
    kept = 24 if a.version == 4 else 64
    return b in ipaddress.ip_network(f"{a}/{kept}", strict=False)
