"""The knobs of a Linux router, in the words of nft and sysctl.

A `LinuxBehavior` is a value, as `NatBehavior` is: it compares, and it prints as the call that makes it.  Everything in
it but `port_mapping` can also be built from the real kernel (`natsim/kernel/nftables.py`).

Not here: nft's `masquerade random`, which has not differed from `fully-random` since both draw from the same random
numbers (measured: each takes another random port for each destination).  Next: `linux.py`, which obeys these.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields

from .behavior import port_mapping_protocols
from .spelling import Knobs, named


class Masquerade(enum.Enum):
    """How the source is translated: nft's `masquerade`, `masquerade fully-random`, or not at all (a firewall)."""

    PLAIN = "plain"
    FULLY_RANDOM = "fully-random"
    NONE = "none"


class WanInput(enum.Enum):
    """What the router does with packets from outside that are addressed to itself (the INPUT chain)."""

    DROP = "drop"
    REJECT = "reject"  # a RST for TCP, ICMP port unreachable for everything else; OpenWrt's default
    ACCEPT = "accept"  # its own TCP/IP answers, since no service listens: the early-packet trap


@dataclass(frozen=True, repr=False)
class LinuxTimeouts(Knobs):
    """For how many whole seconds an idle flow lives, by protocol and state; the defaults are those of Linux 6.18.

    Each is a sysctl below net.netfilter: `udp_stream` is nf_conntrack_udp_timeout_stream, `tcp_syn_sent` is
    nf_conntrack_tcp_timeout_syn_sent.  What the states mean is in `conntrack_tcp.py`.  `tcp_max_retrans` (the same
    segment four times, or a closed window) and `tcp_unacknowledged` (octets under way) shorten longer ones.
    """

    udp: int = 30
    udp_stream: int = 120
    icmp: int = 30
    tcp_syn_sent: int = 120
    tcp_syn_recv: int = 60
    tcp_established: int = 432_000
    tcp_fin_wait: int = 120
    tcp_close_wait: int = 60
    tcp_last_ack: int = 30
    tcp_time_wait: int = 120
    tcp_close: int = 10
    tcp_max_retrans: int = 300
    tcp_unacknowledged: int = 300

    def __post_init__(self) -> None:
        for knob in fields(self):
            value = getattr(self, knob.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"the timeout {knob.name} is a whole number of seconds from 1 up, not {value!r}")


@dataclass(frozen=True, repr=False)
class LinuxBehavior(Knobs):
    """A Linux router.

    masquerade: a `Masquerade`, or its name ("fully-random").
    wan_input: a `WanInput`, or its name ("reject").
    block_udp: forward no UDP to the outside.
    timeouts: conntrack's.
    port_mapping: what hosts may ask the router for explicit mappings with: "nat-pmp", "pcp", "upnp".

    Raises TypeError for an unknown keyword and ValueError for an impossible value, with the nearest right one.

    >>> LinuxBehavior(wan_input="reject", timeouts=LinuxTimeouts(udp=60))
    LinuxBehavior(wan_input=WanInput.REJECT, timeouts=LinuxTimeouts(udp=60))
    >>> LinuxBehavior(masquerade="full-random")
    Traceback (most recent call last):
    ...
    ValueError: masquerade cannot be 'full-random'; did you mean fully-random?
    """

    masquerade: Masquerade = Masquerade.PLAIN
    wan_input: WanInput = WanInput.DROP
    block_udp: bool = False
    timeouts: LinuxTimeouts = field(default_factory=LinuxTimeouts)
    port_mapping: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, choices in (("masquerade", Masquerade), ("wan_input", WanInput)):
            value = getattr(self, name)
            if not isinstance(value, choices):
                object.__setattr__(self, name, named(name, value, {choice.value: choice for choice in choices}))
        if not isinstance(self.block_udp, bool):
            raise ValueError(f"block_udp is True or False, not {self.block_udp!r}")
        if not isinstance(self.timeouts, LinuxTimeouts):
            raise ValueError(f"timeouts are a LinuxTimeouts(...), not {self.timeouts!r}")
        object.__setattr__(self, "port_mapping", port_mapping_protocols(self.port_mapping))
