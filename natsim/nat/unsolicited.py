"""What a NAT says to a TCP SYN that nobody inside asked for (RFC 5382 REQ-4).

A policy is a function from the SYN to what the NAT answers: a `Packet`, or None for silence, or `Later` for an
answer that waits, in case that a SYN from inside makes the first one welcome after all.  Your own is a few lines:

    def refuse_strangers(syn):
        return None if syn.src.port == 7711 else refuse_syn(syn)

For hole punching this is the rule that matters most after mapping and filtering: silence does no harm, a RST or an
ICMP error ends the peer's attempt at once.  Next: `engine.py`, which asks the policy and keeps the SYNs that wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..icmp_error import PORT_UNREACHABLE, PROHIBITED, Complaint
from ..packet import ACK, ICMP, RST, Endpoint, Packet

#: RFC 5382 REQ-4: no answer to an unsolicited SYN within so many seconds.
HOLD_SECONDS = 6.0


@dataclass(frozen=True)
class Later:
    """Say nothing for `seconds`; then send `answer`, unless a SYN from inside has matched by then."""

    seconds: float
    answer: Packet


#: What a NAT sends back for an unsolicited SYN: a packet at once, a packet later, or None for silence.
SynPolicy = Callable[[Packet], Packet | Later | None]


def drop_syn(syn: Packet) -> None:
    """Silence: the sender tries again, and a SYN from inside may meanwhile open the way."""
    return


def refuse_syn(syn: Packet) -> Packet:
    """A RST, as from a host without that service: the sender gives up at once (RFC 9293 section 3.10.7.1)."""
    return Packet(
        syn.protocol, syn.dst, syn.src, flags=RST | ACK, ack=(syn.seq + syn.segment_length) % 2**32, cause=syn.uid
    )


def unreachable_syn(syn: Packet) -> Packet:
    """ICMP port unreachable (type 3 code 3, in ICMPv6 type 1 code 4), which a connecting socket takes for a refusal."""
    return _complaint(syn, PORT_UNREACHABLE)


def hold_syn(syn: Packet) -> Later:
    """What RFC 5382 REQ-4 asks for: silence for six seconds, then ICMP port unreachable.

    A firewall of IPv6 says then that it is administratively prohibited, type 1 code 1 (RFC 6092 REC-34).
    """
    return Later(HOLD_SECONDS, _complaint(syn, PROHIBITED if syn.version == 6 else PORT_UNREACHABLE))


def _complaint(syn: Packet, complaint: Complaint) -> Packet:
    kind = complaint.kind(syn.version)
    return Packet(ICMP, Endpoint(syn.dst.address, 0), syn.src, icmp=kind, quoted=syn, cause=syn.uid)
