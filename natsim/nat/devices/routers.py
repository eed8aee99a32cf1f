"""Routers and firewalls of networks: pf, Cisco, Fortinet, Juniper, and VPP.

Most of them know whole sessions, as Linux does: a session's outside port need only be free towards its remote.  In
RFC 4787's words the mapping is address-and-port-dependent.  But where the port is preserved, each of a socket's
mappings gets the same one, and it looks endpoint-independent, until two inside hosts want one port for one remote.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..behavior import (
    Hairpin,
    NatBehavior,
    Overloading,
    Timeouts,
    address_and_port_dependent,
    endpoint_independent,
)
from ..ports import PreserveElse, RandomPort, Wish, random_port
from .device import Device


def static_port(wish: Wish) -> Iterator[int]:
    """The port of the inside socket or none at all: pf's `static-port`."""
    if wish.internal.port:
        yield wish.internal.port


def cisco_pat(wish: Wish) -> Iterator[int]:
    """The port of the inside socket; if that is taken, the first free one of its group, from the bottom."""
    port = wish.internal.port
    if port:
        yield port
    bottom, top = (1, 511) if port < 512 else (512, 1023) if port < 1024 else (1024, 65_535)
    yield from range(bottom, top + 1)


# -- pf ------------------------------------------------------------------------------------------------------------

_PF_TIMEOUTS = Timeouts(
    udp=60,
    udp_first=60,
    udp_unreplied=30,
    tcp_opening=120,
    tcp_established=86_400,
    tcp_half_closed=900,
    tcp_closing=45,
    tcp_reset=90,
    icmp=20,
)
_PF = {
    "mapping": "FreeBSD sys/netpfil/pf/pf_lb.c, pf_get_sport: chosen for each state anew",
    "filtering": "FreeBSD sys/netpfil/pf: only what belongs to a state is translated back",
    "ports": "FreeBSD pf_lb.c, pf_get_sport: a random start in 50001 to 65535 (pfctl_parser.h), then up and down",
    "overloading": "FreeBSD pf_lb.c, pf_get_sport: a port is free if no state has it towards the same remote",
    "hairpin": "from memory, not checked: none without rules of its own",
    "unsolicited_syn": "from memory, not checked: pf.conf(5), block-policy is drop unless set; a rule must block",
    "timeouts": "FreeBSD sys/net/pfvar.h, PFTM_*_VAL; tcp.opening (30 s, before an answer) is not modelled",
    "refresh": "from memory, not checked: packets of either direction",
}

# -- VPP -----------------------------------------------------------------------------------------------------------

_VPP_TIMEOUTS = Timeouts(udp=300, tcp_opening=240, tcp_established=7440, tcp_closing=240, tcp_reset=240, icmp=60)

DEVICES = (
    Device(
        "pf",
        (
            NatBehavior(
                mapping=address_and_port_dependent,
                ports=RandomPort(50_001, 65_535),
                overloading=Overloading.OTHER_DESTINATIONS,
                refresh_inbound=True,
                timeouts=_PF_TIMEOUTS,
            ),
        ),
        "pf of the BSDs and of pfSense, with a plain `nat` rule: another random port for each state",
        "FreeBSD: sys/netpfil/pf/pf_lb.c, sys/net/pfvar.h, sbin/pfctl",
        _PF,
    ),
    Device(
        "pf-static-port",
        (
            NatBehavior(
                mapping=address_and_port_dependent,
                ports=static_port,
                overloading=Overloading.OTHER_DESTINATIONS,
                refresh_inbound=True,
                timeouts=_PF_TIMEOUTS,
            ),
        ),
        "pf with `static-port`: the inside port for every state, so it looks endpoint-independent",
        "FreeBSD: sys/netpfil/pf/pf_lb.c, sys/net/pfvar.h",
        _PF | {"ports": "FreeBSD pf_lb.c, pf_get_sport with no port range: the inside port, or the packet is lost"},
    ),
    Device(
        "cisco-ios",
        (
            NatBehavior(
                mapping=address_and_port_dependent,
                ports=cisco_pat,
                overloading=Overloading.OTHER_DESTINATIONS,
                timeouts=Timeouts(
                    udp=300, tcp_opening=60, tcp_established=86_400, tcp_closing=60, tcp_reset=60, icmp=60
                ),
            ),
        ),
        "Cisco IOS with `ip nat inside source ... overload`: the inside port if it is free",
        "Cisco IOS documentation: NAT configuration guide, IP addressing command reference",
        {
            "mapping": "from memory, not checked: an entry for each session; that the same port for all is a feature "
            "of its own: NAT configuration guide, FPG Endpoint Agnostic Port Allocation",
            "filtering": "from memory, not checked: entries are extended, with the outside address and port",
            "ports": "secondary: Cisco Press, ICND2, section PAT: the inside port, else the first free one of its "
            "group: 0 to 511, 512 to 1023, 1024 to 65535",
            "overloading": "from memory, not checked: a port serves several remotes",
            "timeouts": "secondary: reprint of the command reference, ip nat translation (timeout); DNS (60 s) is not "
            "modelled",
        },
    ),
    Device(
        "fortigate",
        (
            NatBehavior(
                mapping=address_and_port_dependent,
                overloading=Overloading.OTHER_DESTINATIONS,
                timeouts=Timeouts(udp=180, tcp_established=3600, tcp_half_closed=120),
            ),
        ),
        "a FortiGate (FortiOS) with NAT in the policy: the inside port if it is free towards that remote",
        "Fortinet documentation: FortiOS administration guides and technical tips",
        {
            "mapping": "FortiOS 4.0 administration guide, How FortiOS selects unused NAT ports: a session at a time",
            "filtering": "FortiOS 4.0 administration guide, same place: answers are found by both addresses and ports",
            "ports": "FortiOS 7.4 new features, Fine-tuning source port behavior for SNAT: the inside port unless in "
            "use, else the next; that this holds for 5117 to 65533 only is not modelled",
            "overloading": "FortiOS 4.0 administration guide, same place: a pool for each destination address and port",
            "timeouts": "Fortinet technical tips: Session timeout settings (TCP 3600 s, UDP 180 s), TCP half-close",
        },
    ),
    Device(
        "juniper-srx",
        (
            NatBehavior(
                mapping=address_and_port_dependent,
                ports=RandomPort(1024, 63_487),
                timeouts=Timeouts(udp=60, tcp_opening=20, tcp_established=1800),
            ),
        ),
        "a Juniper SRX with source NAT to its interface, without persistent NAT: a random port for each session",
        "Junos documentation, and Blackhole Networks' SRX NAT guide (secondary)",
        {
            "mapping": "from memory, not checked: a port for each session; persistent NAT, which keeps it, is a "
            "setting of its own: Junos security configuration guide, Persistent NAT",
            "filtering": "from memory, not checked: only what belongs to a session",
            "ports": "secondary: Blackhole Networks, SRX NAT guide, pool properties (1024 to 63487); that they are "
            "random unless port-randomization is disabled: from memory, not checked",
            "timeouts": "Junos command reference: inactivity-timeout (60 s), tcp-initial-timeout (20 s); TCP when "
            "established (1800 s): from memory, not checked",
        },
    ),
    Device(
        "vpp",
        (
            NatBehavior(
                mapping=address_and_port_dependent,
                ports=PreserveElse(random_port),
                overloading=Overloading.OTHER_DESTINATIONS,
                timeouts=_VPP_TIMEOUTS,
            ),
        ),
        "FD.io VPP, NAT44 endpoint-dependent: a session for each remote, with the inside port if it can",
        "FD.io VPP: src/plugins/nat/nat44-ed",
        {
            "mapping": "nat44_ed_doc.rst, Introduction: address and port-dependent",
            "filtering": "nat44_ed_doc.rst, Introduction: address and port-dependent",
            "ports": "nat44_ed_in2out.c, slow_path_ed: the inside port is suggested; if taken, ten random tries",
            "overloading": "nat44_ed_doc.rst, Introduction: the port is used again for other remotes",
            "hairpin": "nat44_ed_in2out.c, slow_path_ed: only to static mappings",
            "timeouts": "src/plugins/nat, SNAT_*_TIMEOUT: those of RFC 4787, 5382 and 5508",
        },
    ),
    Device(
        "vpp-ei",
        (
            NatBehavior(
                filtering=endpoint_independent,
                ports=random_port,
                hairpin=Hairpin.EXTERNAL,
                refresh_inbound=True,
                timeouts=_VPP_TIMEOUTS,
            ),
        ),
        "FD.io VPP, NAT44 endpoint-independent: one random port for all, anybody may come in",
        "FD.io VPP: src/plugins/nat/nat44-ei",
        {
            "mapping": "nat44_ei_doc.md, Introduction: found by the inside address and port",
            "filtering": "nat44_ei_out2in.c: found by the outside address and port, whoever sends",
            "ports": "nat44_ei.c, nat44_ei_alloc_default_cb: random from 1024 up until one is free",
            "hairpin": "nat44_ei_hairpinning.c: to active sessions too, after the source was translated",
            "unsolicited_syn": "nat44_ei_out2in.c: without a session, and without forwarding, dropped",
            "timeouts": "src/plugins/nat, SNAT_*_TIMEOUT: those of RFC 4787, 5382 and 5508",
            "refresh": "nat44_ei_out2in.c: packets from outside count as heard, too",
        },
    ),
)
