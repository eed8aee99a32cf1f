"""Linux, and what is made of it: netfilter's conntrack with the rules of a distribution.

The claims about netfilter itself are from its source and from measurements on Linux 6.18 between network namespaces
(`natsim/nat/linux.py` is the model, and the kernel world can build the real thing beside it).
"""

from __future__ import annotations

from ..linux_behavior import LinuxBehavior, LinuxTimeouts, Masquerade, WanInput
from .device import Device

_SOURCE = "netfilter source, and measured on Linux 6.18"

#: What is known of masquerade and conntrack, whatever the rules around them.
NETFILTER = {
    "mapping": "nf_nat_core.c, get_unique_tuple: an inside socket's outside port again, if the tuple is free; measured",
    "filtering": "conntrack knows whole tuples, nothing else may enter; measured",
    "ports": "nf_nat_core.c: the inside port if the tuple is free, else a random start and upwards; measured",
    "overloading": "nf_nat_core.c: the tuple must be free, not the port; measured with two hosts and one port",
    "hairpin": "none without rules of its own; measured",
    "timeouts": "nf_conntrack_proto_tcp.c, _udp.c and _icmp.c, and the sysctl defaults of Linux 6.18",
    "refresh": "nf_conntrack_core.c: packets of either direction",
}
DROPPED = NETFILTER | {"unsolicited_syn": "no answer if INPUT drops; measured"}
_REJECTED = NETFILTER | {"unsolicited_syn": "a RST if INPUT rejects with tcp reset, and no flow; measured"}

DEVICES = (
    Device("linux", (LinuxBehavior(),), "nft masquerade, WAN input dropped", _SOURCE, DROPPED),
    Device(
        "linux-random",
        (LinuxBehavior(masquerade=Masquerade.FULLY_RANDOM),),
        "nft masquerade fully-random: another random port for each flow",
        _SOURCE,
        DROPPED
        | {
            "mapping": "nf_nat_core.c, NF_NAT_RANGE_PROTO_RANDOM_FULLY; measured: three destinations, three ports",
            "ports": "nf_nat_core.c, NF_NAT_RANGE_PROTO_RANDOM_FULLY: never the inside port but by chance; measured",
        },
    ),
    Device(
        "linux-reject",
        (LinuxBehavior(wan_input=WanInput.REJECT),),
        "nft masquerade, WAN input rejected: stray SYNs get a RST",
        _SOURCE,
        _REJECTED,
    ),
    Device(
        "linux-open",
        (LinuxBehavior(wan_input=WanInput.ACCEPT),),
        "nft masquerade, WAN input accepted: early datagrams take the tuple, stray SYNs get a RST",
        _SOURCE,
        NETFILTER | {"unsolicited_syn": "the router's own TCP refuses it; an early datagram keeps the tuple; measured"},
    ),
    Device(
        "openwrt",
        (
            LinuxBehavior(
                wan_input=WanInput.REJECT, timeouts=LinuxTimeouts(udp=60, udp_stream=180, tcp_established=7440)
            ),
        ),
        "OpenWrt as it comes: masquerade, WAN input rejected, so TCP punching fails if a SYN arrives early",
        "OpenWrt: package/network/config/firewall, package/kernel/linux; netfilter as for linux",
        _REJECTED
        | {
            "mapping": "firewall.config, zone wan: masq 1; " + NETFILTER["mapping"],
            "unsolicited_syn": "firewall.config, zone wan: input REJECT; " + _REJECTED["unsolicited_syn"],
            "timeouts": "package/kernel/linux/files/sysctl-nf-conntrack.conf; the rest as netfilter has it",
            "port_mapping": "none: miniupnpd is a package that does not come with it (from memory, not checked)",
        },
    ),
    Device(
        "mikrotik",
        (
            LinuxBehavior(
                timeouts=LinuxTimeouts(
                    udp=10,
                    udp_stream=180,
                    icmp=10,
                    tcp_syn_sent=60,
                    tcp_established=86_400,
                    tcp_fin_wait=10,
                    tcp_close_wait=10,
                    tcp_time_wait=10,
                )
            ),
        ),
        "a MikroTik router (RouterOS) as it comes: masquerade, WAN input dropped",
        "RouterOS manuals; netfilter as for linux",
        NETFILTER
        | {
            "mapping": "from memory, not checked: RouterOS is Linux, so netfilter's masquerade",
            "filtering": "from memory, not checked: RouterOS is Linux, so netfilter's conntrack",
            "ports": "from memory, not checked: RouterOS is Linux, so netfilter's masquerade",
            "overloading": "from memory, not checked: RouterOS is Linux, so netfilter's masquerade",
            "hairpin": "from memory, not checked: none without a rule of its own",
            "unsolicited_syn": "secondary: descriptions of the default configuration drop what does not come from LAN",
            "timeouts": "RouterOS 2.9 reference manual, Connection timeouts; that later versions differ: from "
            "memory, not checked",
            "refresh": "from memory, not checked: RouterOS is Linux, so netfilter's conntrack",
        },
    ),
    Device(
        "firewall",
        (LinuxBehavior(masquerade=Masquerade.NONE),),
        "no NAT: a stateful firewall before a public address",
        _SOURCE,
        {knob: DROPPED[knob] for knob in ("filtering", "unsolicited_syn", "timeouts", "refresh")}
        | {"mapping": "no translation, by definition"},
    ),
    Device(
        "udp-blocked",
        (LinuxBehavior(block_udp=True),),
        "nft masquerade, and no UDP at all",
        _SOURCE,
        DROPPED | {"filtering": "no UDP, by definition; else " + NETFILTER["filtering"]},
    ),
)
