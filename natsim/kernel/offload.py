"""The header that a TUN device puts before each packet, and the checksum that it may leave undone.

With offload (see `wire.open_tun`), Linux hands over up to 64 kB of a stream as one segment, and where the checksum
should be stands only the sum of the pseudo-header: hardware would do the rest.  Whoever wants to read such a packet has
to do it instead, and to undo it before the packet is handed back.

`struct virtio_net_hdr` of <linux/virtio_net.h>: flags, type, header length, segment size, where the checksummed part
starts, and where in it the checksum is.  Pure functions.  Used by `boxes.py`.
"""

from __future__ import annotations

import struct

from ..ip_headers import checksum

_HEADER = struct.Struct("<BBHHHH")
_NEEDS_CHECKSUM = 1

#: The header of a packet with which nothing is left to do.
PLAIN = bytes(_HEADER.size)


def covered(header: bytes, octets: bytes) -> tuple[bytes, bytes]:
    """A packet whose checksum is right, and its header."""
    flags, *_, start, offset = _HEADER.unpack(header)
    if not flags & _NEEDS_CHECKSUM:
        return header, octets
    # The sum of the pseudo-header stands in the field, so the checksum over all of it is the one that was wanted.
    place = start + offset
    value = checksum(octets[start:]) or 0xFFFF
    return header, octets[:place] + value.to_bytes(2, "big") + octets[place + 2 :]


def uncovered(header: bytes, octets: bytes) -> bytes:
    """The same again as the device wants it: the header, and the packet, with its checksum undone if that says so."""
    flags, *_, start, offset = _HEADER.unpack(header)
    if not flags & _NEEDS_CHECKSUM:
        return header + octets
    # What is covered but the pseudo-header is known, so the rest of the sum is the pseudo-header's.
    place = start + offset
    given = int.from_bytes(octets[place : place + 2], "big")
    blank = octets[:place] + bytes(2) + octets[place + 2 :]
    rest = 0xFFFF - checksum(blank[start:])
    value = (0xFFFF - given - rest) % 0xFFFF
    return header + octets[:place] + value.to_bytes(2, "big") + octets[place + 2 :]
