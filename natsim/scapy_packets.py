"""Packets as scapy's, for whoever knows that library: to look at, to edit, to filter.

    run.scapy()[0].show()
    [packet for packet in run.scapy() if packet.sniffed_on == "nat_b outside"]

The only file that imports scapy, and only when it is asked for packets: natsim itself does without.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .packet import Packet
from .packet_bytes import to_bytes
from .scheduler import seconds
from .sightings import sightings
from .trace import Entry

if TYPE_CHECKING:
    from .internet import Internet


def to_scapy(packet: Packet) -> Any:
    """One packet as scapy's `IP` or `IPv6` and what is inside, with its lengths and checksums.

    Raises ImportError where scapy is not installed, ValueError for a packet that has no such form (`packet_bytes.py`).
    """
    return _layers()[packet.version](to_bytes(packet))


def scapy_packets(net: Internet, trace: Iterable[Entry]) -> list[Any]:
    """Every sighting of a run: `time` in seconds, `sniffed_on` the interface, `comment` the reasons.  As `to_scapy`."""
    layers = _layers()
    result = []
    for sighting in sightings(net, trace):
        packet = layers[sighting.packet.version](sighting.octets)
        packet.time = seconds(sighting.when)
        packet.sniffed_on = sighting.interface
        if sighting.comments:
            packet.comment = "\n".join(sighting.comments).encode()
        result.append(packet)
    return result


def _layers() -> dict[int, Any]:
    """Scapy's layers, by the version of IP."""
    try:
        from scapy.layers.inet import IP
        from scapy.layers.inet6 import IPv6
    except ImportError as exc:
        raise ImportError("scapy is not installed; install it with: pip install scapy (make lab has it)") from exc
    return {4: IP, 6: IPv6}
