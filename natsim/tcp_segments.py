"""Sequence numbers, and the waiting room for segments that arrive too early.

What lives here: arithmetic on the 32-bit circle that TCP counts on, and `Reassembly`, which holds octets until
those before them have come.  Nothing here knows connections, states or time; `tcp.py` does.
"""

from __future__ import annotations

from bisect import bisect_left

_MODULUS = 1 << 32
_HALF = 1 << 31


def add(seq: int, octets: int) -> int:
    """The sequence number `octets` further on.

    >>> add(4294967295, 2)
    1
    """
    return (seq + octets) % _MODULUS


def distance(seq: int, origin: int) -> int:
    """How far `seq` is ahead of `origin`: negative if it lies behind (RFC 9293 section 3.4).

    >>> distance(1, 4294967295), distance(4294967295, 1)
    (2, -2)
    """
    return (seq - origin + _HALF) % _MODULUS - _HALF


def before(a: int, b: int) -> bool:
    """a < b on the circle."""
    return (a - b) % _MODULUS >= _HALF


def at_or_before(a: int, b: int) -> bool:
    """a =< b on the circle."""
    return (b - a) % _MODULUS < _HALF


class Reassembly:
    """Octets that overtook their predecessors, by position.

    A position counts octets from the start of the stream and never wraps, so pieces sort like plain numbers.
    Pieces may overlap (a sender cuts its retransmissions anew); the octets that came first win.

    >>> early = Reassembly(limit=100)
    >>> early.put(3, b"defg"); early.put(5, b"fghi")
    >>> early.take(0), early.take(2), early.take(3)
    (b'', b'', b'defghi')
    """

    __slots__ = ("_limit", "_pieces", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[tuple[int, bytes]] = []
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def put(self, position: int, octets: bytes) -> None:
        """Keep these octets; forget them if they are known, or if there is no room (they will be sent again)."""
        index = bisect_left(self._pieces, (position,))
        known = self._pieces[index : index + 1]
        replaces = bool(known) and known[0][0] == position
        growth = len(octets) - (len(known[0][1]) if replaces else 0)
        if growth <= 0 or self._size + growth > self._limit:
            return
        self._pieces[index : index + replaces] = [(position, octets)]
        self._size += growth

    def take(self, position: int) -> bytes:
        """Remove and return every octet that follows `position` without a gap."""
        taken = bytearray()
        used = 0
        for start, octets in self._pieces:
            end = position + len(taken)
            if start > end:
                break
            taken += octets[end - start :]
            self._size -= len(octets)
            used += 1
        del self._pieces[:used]
        return bytes(taken)
