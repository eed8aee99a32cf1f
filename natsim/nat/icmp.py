"""ICMP errors through a NAT (RFC 5508 section 4), or through a firewall of IPv6 (RFC 4890, RFC 6092).

An ICMP error quotes the packet that it is about, and the NAT must translate both: the addresses outside and
those of the quotation.  An error never changes or refreshes a row (RFC 4787 REQ-12, RFC 5508 REQ-6).
Queries (echo) are not here: they have an identifier for a port, and so a row like everybody else.

A firewall changes nothing, and lets an error pass if a row knows what it quotes.  In IPv6 that must be so for Packet
Too Big above all, since no router cuts a packet there (RFC 4890 section 4.3.1; RFC 6092 REC-10, 18, 36).

Called by `engine.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..packet import Endpoint, Packet
from .verdict import Rule, Verdict

if TYPE_CHECKING:
    from .table import Mapping

#: "Slow down", a type of ICMP that was given up: a NAT should not carry it (RFC 5508 REQ-10c, RFC 6633).
SOURCE_QUENCH = 4

#: Who says so, by the version of IP: about errors that belong to no row, and about those that do.
RFCS = {4: ("RFC 5508 REQ-4, 5", "RFC 5508"), 6: ("RFC 6092 REC-10", "RFC 4890 section 4.3.1")}


def translate_error(error: Packet, mapping: Mapping | None, external: str | None) -> Verdict:
    """The verdict on an ICMP error about a packet of `mapping`.

    `external` is the NAT's own outside address when the error comes from inside (it becomes the source, RFC 5508
    REQ-5), and None when it comes from outside (the embedded inside address becomes the destination, REQ-4).
    """
    quoted = error.quoted
    strangers, friends = RFCS[error.version]
    if mapping is None or quoted is None:
        return Verdict(Rule.NO_MAPPING, "an ICMP error about {}, of which no row knows ({})", (quoted, strangers))
    if error.version == 4 and error.icmp is not None and error.icmp[0] == SOURCE_QUENCH:
        return Verdict(Rule.POLICY, "source quench is carried by nobody any more (RFC 5508 REQ-10, RFC 6633)")
    if external is None:
        translated = error.rewritten(
            dst=Endpoint(mapping.internal.address, 0), quoted=quoted.rewritten(src=mapping.internal)
        )
    else:
        translated = error.rewritten(src=Endpoint(external, 0), quoted=quoted.rewritten(dst=mapping.external))
    return Verdict(Rule.TRANSLATED, "an ICMP error about row {} ({})", (mapping, friends), translated, row=mapping)
