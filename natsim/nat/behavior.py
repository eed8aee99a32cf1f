"""The knobs of a NAT, in the RFCs' words.

A behavior is a value: two NATs with equal behaviors act alike, and a behavior prints as the call that makes it.
Five of its fields are small functions that you can write yourself, or choose by name:

* `mapping` and `filtering` are *scopes*: a scope says how much of the remote endpoint a rule looks at.
* `ports` proposes outside ports for a new mapping, best first (`ports.py`, `ports_rfc6056.py`, `port_blocks.py`).
* `pooling` picks one of several outside addresses.
* `unsolicited_syn` answers a TCP SYN that nobody inside asked for (`unsolicited.py`).

Sources: RFC 4787 (UDP), RFC 5382 (TCP), RFC 5508 (ICMP), RFC 7857 (all of them, updated), RFC 6888 (carriers).
Next: `engine.py`, which obeys these.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import Any

from ..packet import TCP, Endpoint
from .ports import KeepClass, PortAssignment, PreserveElse, preserve, random_port, sequential
from .ports_rfc6056 import DoubleHash, RandomIncrements, SimpleHash, SimplePortRandomization
from .spelling import Knobs, named
from .unsolicited import SynPolicy, drop_syn, hold_syn, refuse_syn, unreachable_syn

#: How much of the remote endpoint a rule looks at: everything that it returns equal for, it treats alike.
Scope = Callable[[Endpoint], Hashable]

#: Which of the NAT's outside addresses a new mapping gets: (inside address, outside addresses, chance) -> address.
Pooling = Callable[[str, Sequence[str], random.Random], str]


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


# -- Pooling: RFC 4787 section 4.1, REQ-2 ------------------------------------------------------------------------


def paired(internal: str, pool: Sequence[str], chance: random.Random) -> str:
    """An inside host always gets the same outside address."""
    return pool[int(ip_address(internal)) % len(pool)]


def arbitrary(internal: str, pool: Sequence[str], chance: random.Random) -> str:
    """Any outside address, for each mapping anew."""
    return chance.choice(pool)


# -- Choices -------------------------------------------------------------------------------------------------------


class Hairpin(enum.Enum):
    """What becomes of a packet from inside to the NAT's own outside address (RFC 4787 section 6)."""

    NONE = "none"
    EXTERNAL = "external"  # it comes back in from the *external* source, as REQ-9a wants it
    INTERNAL = "internal"  # it comes back in from the inside source, which confuses who receives it


class Overloading(enum.Enum):
    """May two mappings have the same outside port at the same time?"""

    NEVER = "never"  # RFC 4787 REQ-3
    OTHER_DESTINATIONS = "other-destinations"  # if they are for different remotes: RFC 7857 section 3
    ALWAYS = "always"  # "port overloading": the newest gets what comes in, against REQ-3


class WhenFull(enum.Enum):
    """What happens to a packet that needs a new mapping when there is no port left, or the host has its share."""

    DROP = "drop"
    ANSWER = "answer"  # drop it, and answer with ICMP type 3 code 13 (RFC 5508 REQ-8)
    EVICT = "evict"  # throw out the mapping that was idle longest, against RFC 6888 REQ-11


@dataclass(frozen=True, repr=False)
class Timeouts(Knobs):
    """How long an idle session lives, in seconds, by protocol and state.  The defaults are the RFCs' least.

    UDP (RFC 4787 REQ-5): `udp` after packets both ways.  Three special cases, each as `udp` unless given:
    `udp_first` after a single packet, `udp_unreplied` while nothing has come back, `udp_well_known` towards remote
    ports below 1024.
    TCP (RFC 5382 REQ-5, RFC 7857 section 2): `tcp_opening` before both sides have sent a SYN, `tcp_established`,
    `tcp_half_closed` after one FIN (as established, unless given), `tcp_closing` after both, `tcp_reset` after a RST.
    ICMP queries (RFC 5508 REQ-2): `icmp`.
    """

    udp: float = 120
    udp_first: float | None = None
    udp_unreplied: float | None = None
    udp_well_known: float | None = None
    tcp_opening: float = 240
    tcp_established: float = 7440
    tcp_half_closed: float | None = None
    tcp_closing: float = 240
    tcp_reset: float = 240
    icmp: float = 60

    def __post_init__(self) -> None:
        for knob in fields(self):
            value = getattr(self, knob.name)
            if value is None and knob.default is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise ValueError(f"the timeout {knob.name} is a number of seconds from 0 up, not {value!r}")


# -- The behavior --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class NatBehavior(Knobs):
    """How one NAT behaves.  The defaults make a NAT that lets peers meet (RFC 4787 and 5382, strict filter).

    mapping, filtering, ports, pooling, unsolicited_syn: functions, or their names ("address-dependent").
    overloading, hairpin, when_full: see the enumerations; `hairpin=True` is `Hairpin.EXTERNAL`.
    addresses: how many outside addresses the NAT has.
    refresh_outbound, refresh_inbound: whose packets keep a session alive (RFC 4787 REQ-6, 6a).
    port_hold: seconds for which an expired mapping's port is given to nobody else (RFC 6888 REQ-8).
    max_mappings, max_mappings_per_host: limits (None: as many as there are ports).
    translate: False makes a stateful firewall, which has filters and timers but leaves addresses alone.
    alg: a "generic ALG", which rewrites the inside address wherever it stands in a payload (RFC 4787 REQ-10).
    port_mapping: what hosts may ask the router for explicit mappings with: "nat-pmp", "pcp", "upnp".
    tcp: another NatBehavior for TCP, whose mapping, filtering, ports and pooling are then those (RFC 5382 REQ-3b, RFC
    7857 section 5: they need not be alike).

    Raises TypeError for an unknown keyword and ValueError for an impossible value, with the nearest right one.

    >>> NatBehavior(mapping="address-and-port-dependent", hairpin=True)
    NatBehavior(mapping=address_and_port_dependent, hairpin=Hairpin.EXTERNAL)
    >>> NatBehavior(maping=address_dependent)
    Traceback (most recent call last):
    ...
    TypeError: a NatBehavior has no 'maping'; did you mean mapping, port_mapping, max_mappings?
    """

    mapping: Scope = endpoint_independent
    filtering: Scope = address_and_port_dependent
    ports: PortAssignment = preserve
    overloading: Overloading = Overloading.NEVER
    addresses: int = 1
    pooling: Pooling = paired
    unsolicited_syn: SynPolicy = drop_syn
    hairpin: Hairpin = Hairpin.NONE
    refresh_outbound: bool = True
    refresh_inbound: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)
    port_hold: float = 0
    max_mappings: int | None = None
    max_mappings_per_host: int | None = None
    when_full: WhenFull = WhenFull.DROP
    translate: bool = True
    alg: bool = False
    port_mapping: tuple[str, ...] = ()
    tcp: NatBehavior | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            object.__setattr__(self, name, _chosen(name, getattr(self, name), choices))
        if not isinstance(self.timeouts, Timeouts):
            raise ValueError(f"timeouts are a Timeouts(...), not {self.timeouts!r}")
        for name in ("addresses", "max_mappings", "max_mappings_per_host"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} is a number from 1 up, not {value!r}")
        if self.port_hold < 0:
            raise ValueError(f"port_hold is in seconds, from 0 up, not {self.port_hold!r}")
        object.__setattr__(self, "port_mapping", port_mapping_protocols(self.port_mapping))
        if self.tcp is not None and (not isinstance(self.tcp, NatBehavior) or self.tcp.tcp is not None):
            raise ValueError(f"tcp is a NatBehavior without a tcp of its own, not {self.tcp!r}")

    def of(self, protocol: str) -> NatBehavior:
        """The behavior that this protocol's packets meet."""
        return self.tcp if self.tcp is not None and protocol == TCP else self


def port_mapping_protocols(names: Sequence[str]) -> tuple[str, ...]:
    """The protocols of those names.  Raises ValueError with the nearest right one."""
    known = {name: name for name in ("nat-pmp", "pcp", "upnp")}
    return tuple(named("port_mapping", name, known) for name in ([names] if isinstance(names, str) else names))


#: What can be chosen by name, for each field that can.
CHOICES: dict[str, dict[str, Any]] = {
    "mapping": {
        "endpoint-independent": endpoint_independent,
        "address-dependent": address_dependent,
        "address-and-port-dependent": address_and_port_dependent,
    },
    "ports": {
        "preserve": preserve,
        "preserve-else-random": KeepClass(PreserveElse(random_port)),
        "random": random_port,
        "sequential": sequential,
        "simple-random": SimplePortRandomization(),
        "simple-hash": SimpleHash(),
        "double-hash": DoubleHash(),
        "random-increments": RandomIncrements(),
    },
    "overloading": {choice.value: choice for choice in Overloading},
    "pooling": {"paired": paired, "arbitrary": arbitrary},
    "unsolicited_syn": {"drop": drop_syn, "rst": refuse_syn, "icmp": unreachable_syn, "hold": hold_syn},
    "hairpin": {choice.value: choice for choice in Hairpin},
    "when_full": {choice.value: choice for choice in WhenFull},
}
CHOICES["filtering"] = CHOICES["mapping"]


def _chosen(field_name: str, value: Any, choices: Mapping[str, Any]) -> Any:
    """A setting as it was given, or by its name."""
    if field_name == "hairpin" and isinstance(value, bool):
        return Hairpin.EXTERNAL if value else Hairpin.NONE
    if isinstance(next(iter(choices.values())), enum.Enum):
        return value if value in choices.values() else named(field_name, value, choices)
    return value if callable(value) else named(field_name, value, choices)
