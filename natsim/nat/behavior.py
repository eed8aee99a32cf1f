"""The knobs of a NAT, in the RFCs' words.

A behavior is a value: two NATs with equal behaviors act alike, and a behavior prints as the call that makes it.
Four of its fields are small functions that you can write yourself:

* `mapping` and `filtering` are *scopes*: a scope says how much of the remote endpoint a rule looks at.
* `ports` proposes outside ports for a new mapping, best first (see `ports.py`).
* `unsolicited_syn` answers a TCP SYN that nobody inside asked for.

Sources: RFC 4787 (UDP), RFC 5382 (TCP), RFC 7857 (both, updated).  Next: `engine.py`, which obeys these.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields
from typing import Any

from ..packet import ACK, ICMP, RST, Endpoint, Packet
from .ports import PortAssignment, preserve

#: How much of the remote endpoint a rule looks at: everything that it returns equal for, it treats alike.
Scope = Callable[[Endpoint], Hashable]

#: What a NAT sends back for an unsolicited SYN: a packet, or None for silence.
SynAnswer = Callable[[Packet], Packet | None]


# -- Scopes: RFC 4787 section 4.1 for mappings, section 5 for filters -------------------------------------------


def endpoint_independent(remote: Endpoint) -> Hashable:
    """One answer for the whole world (EIM, EIF)."""
    return ()


def address_dependent(remote: Endpoint) -> Hashable:
    """One answer for each remote address (ADM, ADF)."""
    return remote.address


def address_and_port_dependent(remote: Endpoint) -> Hashable:
    """One answer for each remote address and port (APDM, APDF)."""
    return remote


# -- Answers to an unsolicited SYN: RFC 5382 REQ-4 ----------------------------------------------------------------


def drop_syn(syn: Packet) -> Packet | None:
    """Silence: the sender tries again, and a SYN from inside may meanwhile open the way."""
    return None


def refuse_syn(syn: Packet) -> Packet | None:
    """A RST, as from a host without that service: the sender gives up at once (RFC 9293 section 3.10.7.1)."""
    return Packet(
        syn.protocol, syn.dst, syn.src, flags=RST | ACK, ack=(syn.seq + syn.segment_length) % 2**32, cause=syn.uid
    )


def unreachable_syn(syn: Packet) -> Packet | None:
    """ICMP port unreachable (type 3 code 3), which a connecting socket takes for a refusal."""
    return Packet(ICMP, Endpoint(syn.dst.address, 0), syn.src, icmp=(3, 3), quoted=syn, cause=syn.uid)


# -- The behavior --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timeouts:
    """How long idle table rows live, in seconds.  The defaults are the RFCs' least allowed values.

    `udp`: RFC 4787 REQ-5.  `tcp_established`, `tcp_transitory` (opening or closing): RFC 5382 REQ-5.
    """

    udp: float = 120
    tcp_established: float = 7440
    tcp_transitory: float = 240


@dataclass(frozen=True)
class NatBehavior:
    """How one NAT behaves.  The defaults make a NAT that lets peers meet (RFC 4787 and 5382, strict filter).

    `hairpin`: packets from inside to the NAT's own outside address come back in, from the *external* source
    (RFC 4787 REQ-9).  `refresh_inbound`: packets from outside keep a row alive too (REQ-6a).

    >>> NatBehavior(mapping=address_and_port_dependent)
    NatBehavior(mapping=address_and_port_dependent)
    """

    mapping: Scope = endpoint_independent
    filtering: Scope = address_and_port_dependent
    ports: PortAssignment = preserve
    unsolicited_syn: SynAnswer = drop_syn
    hairpin: bool = False
    refresh_inbound: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)

    def __repr__(self) -> str:
        defaults = {f.name: f.default for f in fields(self)} | {"timeouts": Timeouts()}
        shown = (
            f"{name}={rule_name(value)}"
            for name, default in defaults.items()
            if (value := getattr(self, name)) != default
        )
        return f"NatBehavior({', '.join(shown)})"


def rule_name(rule: Any) -> str:
    """The name by which a rule is shown: that of its function, or its own words."""
    name = getattr(rule, "__name__", None)
    return name if isinstance(name, str) else repr(rule)
