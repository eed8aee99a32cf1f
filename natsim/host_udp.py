"""Whose is a datagram?  Which of a host's sockets hears it, and which hears of an ICMP error about one.

Used by `host.py`; the sockets themselves are in `aio/datagrams.py`.
"""

from __future__ import annotations

import errno

from .host_ports import Binding
from .packet import Packet

#: ICMP errors that a connected datagram socket hears of, as on Linux: those that no waiting will cure.
UDP_ERRORS = {
    4: {
        (3, 2): errno.ENOPROTOOPT,
        (3, 3): errno.ECONNREFUSED,
        (3, 4): errno.EMSGSIZE,
        (3, 9): errno.ENETUNREACH,
        (3, 10): errno.EHOSTUNREACH,
        (3, 13): errno.EHOSTUNREACH,
    },
    6: {
        (1, 1): errno.EACCES,
        (1, 4): errno.ECONNREFUSED,
        (1, 5): errno.EACCES,
        (1, 6): errno.EACCES,
        (2, 0): errno.EMSGSIZE,
    },
}


def listener_for(packet: Packet, holders: list[Binding]) -> Binding | None:
    """Of the sockets that have the port, the one that the datagram is for.

    A socket connected to its sender comes before one that hears everybody, one bound to this very address before one
    bound to all, one of IPv4 alone before one of both families.  If there are several, the last one bound; those that
    share by SO_REUSEPORT take turns: the sender's port decides.
    """
    if len(holders) == 1:  # nearly always
        (only,) = holders
        return only if only.hears(packet.dst.address) and only.remote in (None, packet.src) else None
    best: list[Binding] = []
    best_rank = (False, False, False)
    for binding in holders:
        if binding.hears(packet.dst.address) and binding.remote in (None, packet.src):
            rank = (binding.remote is not None, binding.local.address == packet.dst.address, not binding.ipv6)
            if not best or rank > best_rank:
                best, best_rank = [binding], rank
            elif rank == best_rank:
                best.append(binding)
    if not best:
        return None
    group = [binding for binding in best if binding.reuse_port] if best[-1].reuse_port else best[-1:]
    return group[packet.src.port % len(group)]


def listeners_to_group(packet: Packet, holders: list[Binding]) -> list[Binding]:
    """A datagram for a multicast group is for every socket of the port that is bound to all addresses."""
    return [binding for binding in holders if binding.hears(packet.dst.address)]


def complain(packet: Packet, quoted: Packet, holders: list[Binding]) -> None:
    """Tell the socket that has sent `quoted`, if it is connected to the place where that was to go."""
    code = UDP_ERRORS[packet.version].get(packet.icmp or (0, 0))
    for binding in holders:
        if code is not None and (binding.local, binding.remote) == (quoted.src, quoted.dst):
            binding.user.refused(code)
