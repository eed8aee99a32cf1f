"""ICMP errors through a NAT (RFC 5508 section 4).

An ICMP error quotes the packet that it is about, and the NAT must translate both: the addresses outside and
those of the quotation.  An error never changes or refreshes a row (RFC 4787 REQ-12, RFC 5508 REQ-6).
Queries (echo) are not here: they have an identifier for a port, and so a row like everybody else.  Called by
`engine.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..packet import Endpoint, Packet
from .verdict import Rule, Verdict

if TYPE_CHECKING:
    from .table import Mapping

#: "Slow down", a type that was given up: a NAT should not carry it (RFC 5508 REQ-10c, RFC 6633).
SOURCE_QUENCH = 4


def translate_error(error: Packet, mapping: Mapping | None, external: str | None) -> Verdict:
    """The verdict on an ICMP error about a packet of `mapping`.

    `external` is the NAT's own outside address when the error comes from inside (it becomes the source, RFC 5508
    REQ-5), and None when it comes from outside (the embedded inside address becomes the destination, REQ-4).
    """
    quoted = error.quoted
    if mapping is None or quoted is None:
        return Verdict(Rule.NO_MAPPING, "an ICMP error about {}, of which no row knows (RFC 5508 REQ-4, 5)", (quoted,))
    if error.icmp is not None and error.icmp[0] == SOURCE_QUENCH:
        return Verdict(Rule.POLICY, "source quench is carried by nobody any more (RFC 5508 REQ-10, RFC 6633)")
    if external is None:
        translated = error.rewritten(
            dst=Endpoint(mapping.internal.address, 0), quoted=quoted.rewritten(src=mapping.internal)
        )
    else:
        translated = error.rewritten(src=Endpoint(external, 0), quoted=quoted.rewritten(dst=mapping.external))
    return Verdict(Rule.TRANSLATED, "an ICMP error about row {} (RFC 5508)", (mapping,), translated, row=mapping)
