"""NATs and firewalls that are rented: AWS, Azure and Google Cloud.

Their documents speak of connections and of how many there can be to one destination, seldom in RFC 4787's words.
"""

from __future__ import annotations

from ..behavior import NatBehavior, Overloading, Timeouts, address_and_port_dependent
from ..port_blocks import BulkBlocks
from ..ports import random_port
from ..unsolicited import refuse_syn
from .device import Device

_GCP_PORTS = BulkBlocks(size=64, blocks_per_host=1)
_GCP_TIMEOUTS = Timeouts(udp=30, tcp_opening=30, tcp_established=1200, tcp_closing=120, icmp=30)
_GCP_SOURCE = "Google Cloud documentation: Cloud NAT, and the ComputeRouterNAT resource"
_GCP = {
    "filtering": "from memory, not checked: Cloud NAT overview, RFCs: endpoint-dependent (RFC 5128)",
    "ports": "from memory, not checked: each machine has a share of 64 ports of an address, unless set otherwise",
    "timeouts": "ComputeRouterNAT resource, fields *IdleTimeoutSec and tcpTimeWaitTimeoutSec, the defaults",
}

DEVICES = (
    Device(
        "aws-nat",
        (
            NatBehavior(
                mapping=address_and_port_dependent,
                ports=random_port,
                overloading=Overloading.OTHER_DESTINATIONS,
                timeouts=Timeouts(udp=350, tcp_established=350),
            ),
        ),
        "an AWS NAT gateway",
        "Amazon VPC user guide: NAT gateways",
        {
            "mapping": "from memory, not checked: symmetric, another port for each destination",
            "filtering": "VPC user guide, NAT gateways: only answers; that port and address must fit follows from the "
            "limit for each destination",
            "ports": "VPC user guide, NAT gateway basics: from 1024 to 65535; at random: from memory, not checked",
            "overloading": "VPC user guide, NAT gateway basics: 55,000 connections to each destination address and "
            "port, so a port serves several",
            "timeouts": "VPC user guide, Troubleshooting NAT gateways: 350 s idle; what comes later from inside gets a "
            "RST, which is not modelled",
        },
    ),
    Device(
        "aws-sg",
        (NatBehavior(translate=False, timeouts=Timeouts(udp=180, udp_unreplied=30, tcp_established=432_000)),),
        "no NAT: a public address in AWS behind a security group that lets everything out and only answers in",
        "Amazon EC2 API reference, Amazon VPC user guide",
        {
            "mapping": "no translation: the public address is the instance's alone",
            "filtering": "from memory, not checked: security groups are stateful, by address and port",
            "unsolicited_syn": "from memory, not checked: dropped in silence",
            "timeouts": "EC2 API, ConnectionTrackingConfiguration: the defaults of all but the newest instance types",
        },
    ),
    Device(
        "azure-nat",
        (
            NatBehavior(
                mapping=address_and_port_dependent,
                ports=random_port,
                overloading=Overloading.OTHER_DESTINATIONS,
                unsolicited_syn=refuse_syn,
                port_hold=65,
                timeouts=Timeouts(udp=240, tcp_opening=30, tcp_established=240),
            ),
        ),
        "an Azure NAT gateway",
        "Azure documentation: NAT gateway",
        {
            "mapping": "Source network address translation with Azure NAT Gateway: a port for each new connection",
            "filtering": "Azure NAT Gateway resource, Architecture: only answers; that port and address must fit "
            "follows from a port's use for several destinations",
            "ports": "Source network address translation with Azure NAT Gateway: at random of 64,512; NAT gateway "
            "resource, Port reuse timers: 65 s (16 s after a RST) before it is used for the same remote again",
            "overloading": "Azure NAT Gateway resource, SNAT ports: one port for different destinations",
            "unsolicited_syn": "Azure NAT Gateway resource, TCP reset: for what belongs to no connection, from "
            "outside, too; that a first SYN is meant as well is our reading",
            "timeouts": "Azure NAT Gateway resource, Timers",
        },
    ),
    Device(
        "gcp-nat",
        (
            NatBehavior(
                mapping=address_and_port_dependent,
                ports=_GCP_PORTS,
                overloading=Overloading.OTHER_DESTINATIONS,
                timeouts=_GCP_TIMEOUTS,
            ),
        ),
        "Google's Cloud NAT as it comes, without endpoint-independent mapping",
        _GCP_SOURCE,
        _GCP
        | {
            "mapping": "ComputeRouterNAT resource, enableEndpointIndependentMapping: off; what it then does: from "
            "memory, not checked",
            "overloading": "from memory, not checked: Cloud NAT, Ports: a port serves several destinations",
        },
    ),
    Device(
        "gcp-nat-eim",
        (NatBehavior(ports=_GCP_PORTS, timeouts=_GCP_TIMEOUTS),),
        "Google's Cloud NAT with endpoint-independent mapping",
        _GCP_SOURCE,
        _GCP | {"mapping": "ComputeRouterNAT resource, enableEndpointIndependentMapping: on"},
    ),
)
