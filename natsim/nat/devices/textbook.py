"""The NATs of the RFCs: definitions, not products.  What they do is theirs by definition, so nothing is unknown.

The first word of a name is the mapping (RFC 4787 section 4.1), the second the filter (section 5): EI, AD and APD are
endpoint-independent, address-dependent, address-and-port-dependent; M is mapping, F is filtering.
"""

from __future__ import annotations

from ..behavior import (
    Hairpin,
    NatBehavior,
    Overloading,
    Timeouts,
    WhenFull,
    address_and_port_dependent,
    address_dependent,
    endpoint_independent,
)
from ..ports import KeepClass, PreserveElse, random_port, sequential
from ..unsolicited import hold_syn, refuse_syn
from .device import Device

_TERMS = "RFC 4787 sections 4 and 5 (the terms)"

#: What the definitions have in common.
_DEFINED = {
    "mapping": "RFC 4787 section 4.1, the term",
    "filtering": "RFC 4787 section 5, the term",
    "ports": "RFC 4787 section 4.2.1: port preservation",
    "hairpin": "RFC 4787 section 6: what a NAT without hairpinning does",
    "unsolicited_syn": "RFC 5382 REQ-4a: silence",
    "timeouts": "RFC 4787 REQ-5, RFC 5382 REQ-5, RFC 5508 REQ-2: the shortest that they allow",
}
_RANDOM = _DEFINED | {"ports": "RFC 4787 section 4.2.1: no port preservation; RFC 6056 algorithm 2"}

DEVICES = (
    Device("none", (), "no NAT: a host with a public address", "-"),
    Device(
        "eim-eif",
        (NatBehavior(filtering=endpoint_independent),),
        "one outside port for all, anybody may come in",
        _TERMS,
        _DEFINED,
    ),
    Device(
        "eim-adf",
        (NatBehavior(filtering=address_dependent),),
        "one outside port for all, hosts that were spoken to may come in",
        _TERMS,
        _DEFINED,
    ),
    Device(
        "eim-apdf",
        (NatBehavior(),),
        "one outside port for all, endpoints that were spoken to may come in",
        _TERMS,
        _DEFINED,
    ),
    Device(
        "adm-apdf",
        (NatBehavior(mapping=address_dependent, ports=random_port),),
        "another random outside port for each remote address",
        _TERMS,
        _RANDOM,
    ),
    Device(
        "apdm-apdf",
        (NatBehavior(mapping=address_and_port_dependent, ports=random_port),),
        "another random outside port for each remote endpoint",
        _TERMS,
        _RANDOM,
    ),
    Device(
        "apdm-sequential",
        (NatBehavior(mapping=address_and_port_dependent, ports=sequential),),
        "the next outside port for each remote endpoint",
        _TERMS,
        _DEFINED | {"ports": "RFC 5128 section 3.5: what port prediction hopes for"},
    ),
    Device(
        "eim-apdf-rst",
        (NatBehavior(unsolicited_syn=refuse_syn),),
        "as eim-apdf, but stray SYNs get a RST, against RFC 5382 REQ-4",
        "RFC 5382 section 4.3",
        _DEFINED | {"unsolicited_syn": "RFC 5382 section 4.3: what it forbids"},
    ),
    Device(
        "home-overload",
        (NatBehavior(overloading=Overloading.ALWAYS),),
        "a home router that always preserves the port: of two hosts with one port, the later gets all answers",
        "RFC 4787 section 4.2.1, port overloading",
        _DEFINED | {"overloading": "RFC 4787 section 4.2.1, which has seen such NATs, and REQ-3, which forbids them"},
    ),
    Device(
        "rfc",
        (
            NatBehavior(
                filtering=address_dependent,
                ports=KeepClass(PreserveElse(random_port)),
                unsolicited_syn=hold_syn,
                hairpin=Hairpin.EXTERNAL,
                timeouts=Timeouts(udp=300, tcp_opening=240, tcp_established=7440, tcp_closing=240, tcp_reset=240),
                when_full=WhenFull.ANSWER,
            ),
        ),
        "every MUST and RECOMMENDED of RFC 4787, 5382, 5508 and 7857; of the two filters allowed, the strict one",
        "RFC 4787, RFC 5382, RFC 5508, RFC 7857",
        {
            "mapping": "RFC 4787 REQ-1, RFC 5382 REQ-1",
            "filtering": "RFC 4787 REQ-8 and RFC 5382 REQ-3 recommend endpoint-independent filtering for transparency, "
            "address-dependent for strictness; this is the latter",
            "ports": "RFC 4787 REQ-3a (port class), RFC 7857 section 9 (preserve, and at random if the port is taken); "
            "parity is optional since RFC 7857 section 8",
            "overloading": "RFC 4787 REQ-3, RFC 5382 REQ-7: never",
            "hairpin": "RFC 4787 REQ-9 and 9a, RFC 5382 REQ-8 and 8a",
            "unsolicited_syn": "RFC 5382 REQ-4: silence for six seconds, then ICMP type 3 code 3",
            "timeouts": "RFC 4787 REQ-5c (UDP, five minutes), RFC 5382 REQ-5, RFC 7857 section 2 (TCP), RFC 5508 REQ-2",
            "refresh": "RFC 4787 REQ-6: packets from inside; those from outside MAY (REQ-6a), and here do not",
            "pooling": "RFC 4787 REQ-2, RFC 7857 section 4: paired; with one outside address it makes no difference",
            "limits": "RFC 5508 REQ-8: ICMP type 3 code 13 when no session can be made",
        },
    ),
    Device(
        "rfc6092",
        (
            NatBehavior(
                translate=False,
                filtering=endpoint_independent,
                unsolicited_syn=hold_syn,
                timeouts=Timeouts(udp=300, tcp_opening=240, tcp_established=7440, tcp_closing=240, tcp_reset=240),
            ),
        ),
        "no NAT: the firewall of an IPv6 home router; of the two filters recommended, the one that helps applications",
        "RFC 6092",
        {
            "mapping": "no translation, by definition",
            "filtering": "RFC 6092 REC-17 (UDP) and REC-33 (TCP): endpoint-independent for transparency, as here, or "
            "address-dependent for strictness",
            "unsolicited_syn": "RFC 6092 REC-34: silence for six seconds, then ICMPv6 type 1 code 1",
            "timeouts": "RFC 6092 REC-14 (UDP, five minutes), REC-35 (TCP)",
            "refresh": "RFC 6092 REC-16: packets from inside; those from outside MAY, and here do not",
        },
    ),
)
