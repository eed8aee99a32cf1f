"""How a TCP says no, and how it takes a no.

What lives here: the RST for a segment that belongs to no connection, the limit on challenge ACKs, and what an ICMP
error means to an attempt to connect.  Whether a RST or an ICMP error is to be believed depends on the state of the
connection: that is in `tcp.py`.
"""

from __future__ import annotations

import errno

from natsim.packet import ACK, RST, TCP, Packet
from natsim.tcp_congestion import MILLISECOND
from natsim.tcp_segments import add

CHALLENGE_INTERVAL = 500 * MILLISECOND  # Linux tcp_invalid_ratelimit

#: What an ICMP error does to a connection that is being opened: (type, code) -> errno, as Linux.
ICMP_ERRORS = {
    (3, 0): errno.ENETUNREACH,
    (3, 1): errno.EHOSTUNREACH,
    (3, 2): errno.ENOPROTOOPT,
    (3, 3): errno.ECONNREFUSED,
    (3, 9): errno.ENETUNREACH,
    (3, 10): errno.EHOSTUNREACH,
    (3, 13): errno.EHOSTUNREACH,
    (11, 0): errno.EHOSTUNREACH,
}

#: The same for ICMPv6 (Linux, icmpv6_err_convert).
ICMPV6_ERRORS = {
    (1, 0): errno.ENETUNREACH,
    (1, 1): errno.EACCES,
    (1, 2): errno.EHOSTUNREACH,
    (1, 3): errno.EHOSTUNREACH,
    (1, 4): errno.ECONNREFUSED,
    (1, 5): errno.EACCES,
    (1, 6): errno.EACCES,
    (3, 0): errno.EHOSTUNREACH,
}


def reset_for(packet: Packet) -> Packet | None:
    """The RST by which a host answers a segment that belongs to no connection (RFC 9293 section 3.10.7.1)."""
    if packet.flags & RST:
        return None
    if packet.flags & ACK:
        flags, seq, ack = RST, packet.ack, 0
    else:
        flags, seq, ack = RST | ACK, 0, add(packet.seq, packet.segment_length)
    return Packet(TCP, packet.dst, packet.src, flags=flags, seq=seq, ack=ack, cause=packet.uid)


class ChallengeLimit:
    """Lets a challenge ACK pass only now and then, lest two ends answer each other for ever (RFC 5961 section 7)."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def allows(self, now: int) -> bool:
        if self._last is not None and now < self._last + CHALLENGE_INTERVAL:
            return False
        self._last = now
        return True
