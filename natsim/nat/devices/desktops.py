"""NATs within one computer: before its virtual machines and containers.

Such a NAT is a program that opens a socket of the computer for each inside socket, or a part of its kernel.  What is
told here is that NAT alone: the router of the house comes after it.
"""

from __future__ import annotations

from ..behavior import (
    NatBehavior,
    Timeouts,
    WhenFull,
    address_and_port_dependent,
    address_dependent,
    endpoint_independent,
)
from ..linux_behavior import LinuxBehavior
from ..ports import RandomPort, random_port
from .device import Device
from .linux import NETFILTER

_IN_THE_VM = "from memory, not checked: containers leave their virtual machine by Linux's masquerade"

#: Each TCP connection from inside becomes a connect() of the computer: a port of its own, and nothing else comes in.
_CONNECTIONS = NatBehavior(mapping=address_and_port_dependent, ports=random_port)

DEVICES = (
    Device(
        "winnat",
        (
            NatBehavior(
                filtering=address_dependent,
                timeouts=Timeouts(
                    udp=120, tcp_opening=120, tcp_established=1800, tcp_closing=120, tcp_reset=120, icmp=30
                ),
            ),
        ),
        "Windows' own NAT (WinNAT), before Hyper-V machines and containers",
        "Microsoft documentation: Windows containers, and the NetNat cmdlets",
        {
            "filtering": "Windows container documentation, what New-NetNat prints: address-dependent for TCP and UDP; "
            "the reference of Set-NetNat gives endpoint-independent as the default",
            "timeouts": "Windows container documentation, what New-NetNat prints",
            "refresh": "Set-NetNat, UdpInboundRefresh: packets from inside only, unless set",
        },
    ),
    Device(
        "libslirp",
        (
            NatBehavior(
                filtering=endpoint_independent,
                ports=RandomPort(32_768, 60_999),
                refresh_inbound=True,
                timeouts=Timeouts(udp=240, icmp=240),
                tcp=_CONNECTIONS,
            ),
        ),
        "the user network of QEMU (libslirp): a socket of the computer for each of the guest's",
        "libslirp: udp.c, socket.c, socket.h",
        {
            "mapping": "libslirp udp.c, udp_input: a socket is found by the guest's address and port alone",
            "tcp": "libslirp tcp_subr.c, tcp_fconnect: each connection of the guest is a connect() of the computer, "
            "which takes none in",
            "filtering": "libslirp socket.c: the socket is not connected, and hands in whatever comes",
            "ports": "libslirp udp.c: the socket is not bound, so the computer's kernel picks; the range is Linux's "
            "default, net.ipv4.ip_local_port_range",
            "timeouts": "libslirp socket.h, SO_EXPIRE; DNS (10 s) is not modelled",
            "refresh": "libslirp socket.c: packets of either direction",
        },
    ),
    Device(
        "docker-desktop",
        (
            LinuxBehavior(),
            NatBehavior(
                filtering=endpoint_independent,
                ports=RandomPort(49_152, 65_535),
                refresh_inbound=True,
                timeouts=Timeouts(udp=60),
                max_mappings=1024,
                when_full=WhenFull.EVICT,
                tcp=_CONNECTIONS,
            ),
        ),
        "Docker Desktop with vpnkit: Linux's masquerade in the virtual machine, then sockets of the computer",
        "vpnkit: src/hostnet/hostnet_udp.ml; netfilter as for linux",
        {
            "machine mapping": _IN_THE_VM,
            "machine filtering": NETFILTER["filtering"],
            "machine ports": _IN_THE_VM,
            "machine hairpin": NETFILTER["hairpin"],
            "machine timeouts": NETFILTER["timeouts"],
            "vpnkit mapping": "hostnet_udp.ml, input: a socket is found by the inside address and port alone",
            "vpnkit tcp": "vpnkit's documentation: TCP connections end in vpnkit, which opens its own",
            "vpnkit filtering": "hostnet_udp.ml, outside_to_inside: whatever comes to the socket is handed in",
            "vpnkit ports": "hostnet_udp.ml, input: the socket is bound to port 0, so its kernel picks; from "
            "49152 up on macOS and Windows: from memory, not checked",
            "vpnkit timeouts": "hostnet_udp.ml, create: max_idle_time, 60 s",
            "vpnkit refresh": "hostnet_udp.ml, touch: packets of either direction",
            "vpnkit limits": "hostnet_udp.ml, create: max_active_flows, 1024; then the oldest go",
        },
        ("machine", "vpnkit"),
    ),
    Device(
        "vmware",
        (NatBehavior(timeouts=Timeouts(udp=60, tcp_closing=30)),),
        "the NAT of VMware Workstation and Fusion (vmnet8), of which little is documented",
        "VMware's nat.conf as it comes",
        {
            "timeouts": "nat.conf, section udp: 60 s on Linux and macOS (30 s on Windows), and up to twice that in "
            "truth; TIME-WAIT 30 s"
        },
    ),
)
