"""NATs by name, for the command line, notebooks and tables; each says where its behavior is known from.

A device is one or more layers: a carrier-grade NAT is a home router behind a carrier's.  `find(name)` knows them
all, and a name that it does not know gets the nearest right ones.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from .behavior import (
    Hairpin,
    NatBehavior,
    Timeouts,
    address_and_port_dependent,
    address_dependent,
    endpoint_independent,
)
from .linux import LinuxBehavior, Masquerade, WanInput
from .ports import random_port, sequential
from .unsolicited import refuse_syn

Behavior = NatBehavior | LinuxBehavior


@dataclass(frozen=True)
class Device:
    """A named NAT.  `layers` go from the host outwards; none at all means a host with a public address."""

    name: str
    layers: tuple[Behavior, ...]
    about: str
    source: str


_RFC_TERMS = "RFC 4787 sections 4 and 5 (the terms)"
_NETFILTER = "netfilter source, and measured on Linux 6.18"

DEVICES = {
    device.name: device
    for device in (
        Device("none", (), "no NAT: a host with a public address", "-"),
        Device(
            "eim-eif",
            (NatBehavior(filtering=endpoint_independent),),
            "one outside port for all, anybody may come in",
            _RFC_TERMS,
        ),
        Device(
            "eim-adf",
            (NatBehavior(filtering=address_dependent),),
            "one outside port for all, hosts that were spoken to may come in",
            _RFC_TERMS,
        ),
        Device(
            "eim-apdf",
            (NatBehavior(),),
            "one outside port for all, endpoints that were spoken to may come in",
            _RFC_TERMS,
        ),
        Device(
            "adm-apdf",
            (NatBehavior(mapping=address_dependent, ports=random_port),),
            "another random outside port for each remote address",
            _RFC_TERMS,
        ),
        Device(
            "apdm-apdf",
            (NatBehavior(mapping=address_and_port_dependent, ports=random_port),),
            "another random outside port for each remote endpoint",
            _RFC_TERMS,
        ),
        Device(
            "apdm-sequential",
            (NatBehavior(mapping=address_and_port_dependent, ports=sequential),),
            "the next outside port for each remote endpoint",
            _RFC_TERMS,
        ),
        Device("linux", (LinuxBehavior(),), "nft masquerade, WAN input dropped", _NETFILTER),
        Device(
            "linux-random",
            (LinuxBehavior(masquerade=Masquerade.FULLY_RANDOM),),
            "nft masquerade fully-random: another random port for each flow",
            _NETFILTER,
        ),
        Device(
            "linux-reject",
            (LinuxBehavior(wan_input=WanInput.REJECT),),
            "nft masquerade, WAN input rejected: stray SYNs get a RST",
            _NETFILTER,
        ),
        Device(
            "linux-open",
            (LinuxBehavior(wan_input=WanInput.ACCEPT),),
            "nft masquerade, WAN input accepted: early datagrams take the tuple, stray SYNs get a RST",
            _NETFILTER,
        ),
        Device(
            "eim-apdf-rst",
            (NatBehavior(unsolicited_syn=refuse_syn),),
            "as eim-apdf, but stray SYNs get a RST, against RFC 5382 REQ-4",
            "RFC 5382 section 4.3",
        ),
        Device(
            "rfc",
            (
                NatBehavior(
                    filtering=address_dependent,
                    hairpin=Hairpin.EXTERNAL,
                    timeouts=Timeouts(udp=300),
                ),
            ),
            "the REQs of RFC 4787 and 5382 that this model has so far",
            "RFC 4787 REQ-1, 5c, 8, 9; RFC 5382 REQ-1, 3, 5, 8",
        ),
        Device(
            "cgnat",
            (LinuxBehavior(), NatBehavior(filtering=endpoint_independent, hairpin=Hairpin.EXTERNAL)),
            "a home Linux router behind a carrier's NAT",
            "RFC 6888 REQ-1, 7 (the carrier's part)",
        ),
        Device(
            "firewall",
            (LinuxBehavior(masquerade=Masquerade.NONE),),
            "no NAT: a stateful firewall before a public address",
            _NETFILTER,
        ),
        Device(
            "udp-blocked",
            (LinuxBehavior(block_udp=True),),
            "nft masquerade, and no UDP at all",
            _NETFILTER,
        ),
    )
}


class UnknownDevice(ValueError):
    """No NAT has that name; the message offers the nearest ones."""


def find(name: str) -> Device:
    """The device of that name.

    >>> find("linux").about
    'nft masquerade, WAN input dropped'
    >>> find("linuxx")
    Traceback (most recent call last):
    ...
    natsim.nat.devices.UnknownDevice: no NAT is called 'linuxx'; did you mean linux, linux-open, linux-reject?
    """
    if name in DEVICES:
        return DEVICES[name]
    near = difflib.get_close_matches(name, DEVICES, n=3, cutoff=0.4) or sorted(DEVICES)
    raise UnknownDevice(f"no NAT is called {name!r}; did you mean {', '.join(near)}?")
