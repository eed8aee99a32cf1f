"""A run as a pcapng file, the format of Wireshark (the Internet-Draft draft-ietf-opsawg-pcapng).

A file is a row of blocks, each with its type and its length, which is there again at its end.  This one has a section
header, a description of each interface, and then a block for each time that a packet was seen on one: when, where, in
which direction, its bytes, and as comments what the node decided about it, and why.

Times count nanoseconds from the start of the run, which the file takes for the start of 1970.  What was seen, and
where, is in `sightings.py`; the bytes are those of `packet_bytes.py`.
"""

from __future__ import annotations

import pathlib
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .sightings import Sighting, interfaces, sightings
from .trace import Entry

if TYPE_CHECKING:
    from .internet import Internet

#: Block types.
SECTION_HEADER, INTERFACE_DESCRIPTION, ENHANCED_PACKET = 0x0A0D0D0A, 1, 6

#: A number by which a reader sees in which order the bytes of numbers are: here, the low ones first.
BYTE_ORDER_MAGIC = 0x1A2B3C4D
MAJOR, MINOR = 1, 0
UNKNOWN_LENGTH = -1

#: Packets begin with their IP header (LINKTYPE_RAW).
LINK_TYPE = 101

#: Options of every block; of the section header; of an interface (its name, and the power of ten of its clock's tick);
#: of a packet (its direction).
END_OF_OPTIONS, COMMENT = 0, 1
APPLICATION = 4
INTERFACE_NAME, TICK, NANOSECONDS = 2, 9, 9
FLAGS, INBOUND, OUTBOUND = 2, 1, 2

#: Of a comment, so many characters are kept: an option has at most 65,535 bytes, and UTF-8 at most 4 for a character.
LONGEST_COMMENT = 0xFFFF // 4


def save_pcapng(path: str | pathlib.Path, net: Internet, trace: Iterable[Entry]) -> None:
    """Write the packets of a run into a file.  Raises OSError if it cannot be written."""
    seen = sightings(net, trace)
    with open(path, "wb") as file:
        file.writelines(pcapng(interfaces(net, seen), seen))


def pcapng(names: list[str], seen: Iterable[Sighting]) -> Iterator[bytes]:
    """The blocks of a file with these interfaces, on which these packets were seen."""
    yield section_header()
    yield from map(interface_description, names)
    numbers = {name: number for number, name in enumerate(names)}
    for sighting in seen:
        yield enhanced_packet(sighting, numbers[sighting.interface])


def section_header() -> bytes:
    """The block by which a file begins."""
    fixed = struct.pack("<IHHq", BYTE_ORDER_MAGIC, MAJOR, MINOR, UNKNOWN_LENGTH)
    return _block(SECTION_HEADER, fixed + _options([(APPLICATION, b"natsim")]))


def interface_description(name: str) -> bytes:
    """An interface, whose number is that of its block; no limit is set to the bytes that are kept of a packet."""
    fixed = struct.pack("<HHI", LINK_TYPE, 0, 0)
    return _block(
        INTERFACE_DESCRIPTION, fixed + _options([(INTERFACE_NAME, name.encode()), (TICK, bytes([NANOSECONDS]))])
    )


def enhanced_packet(sighting: Sighting, interface: int) -> bytes:
    """A packet on an interface; the time is in two halves, the high one first."""
    octets = sighting.octets
    fixed = struct.pack("<IIIII", interface, *divmod(sighting.when, 2**32), len(octets), len(octets))
    direction = struct.pack("<I", OUTBOUND if sighting.leaves else INBOUND)
    comments = [(COMMENT, comment[:LONGEST_COMMENT].encode()) for comment in sighting.comments]
    return _block(ENHANCED_PACKET, fixed + _padded(octets) + _options([(FLAGS, direction), *comments]))


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _options(options: list[tuple[int, bytes]]) -> bytes:
    written = [struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options]
    return b"".join(written) + struct.pack("<HH", END_OF_OPTIONS, 0)


def _padded(octets: bytes) -> bytes:
    """Everything begins at a multiple of four bytes."""
    return octets + bytes(-len(octets) % 4)
