"""Carriers' NATs: one public address for many subscribers (RFC 6888), mostly with a home router's NAT before it.

The figures of Richter et al., "A Multi-perspective Analysis of Carrier-Grade NAT Deployment" (IMC 2016), are taken
from what others report of it.
"""

from __future__ import annotations

from ..behavior import (
    Hairpin,
    NatBehavior,
    Timeouts,
    WhenFull,
    address_and_port_dependent,
    arbitrary,
    endpoint_independent,
)
from ..linux_behavior import LinuxBehavior
from ..port_blocks import BulkBlocks
from ..ports import KeepClass, PreserveElse, random_port
from ..unsolicited import hold_syn
from .device import Device
from .linux import DROPPED

_RICHTER = "secondary: Richter et al., IMC 2016"
_HOME = {f"home {knob}": source for knob, source in DROPPED.items()}
_PARTS = ("home", "carrier")

DEVICES = (
    Device(
        "cgnat",
        (
            LinuxBehavior(),
            NatBehavior(
                filtering=endpoint_independent,
                ports=KeepClass(PreserveElse(random_port)),
                unsolicited_syn=hold_syn,
                hairpin=Hairpin.EXTERNAL,
                timeouts=Timeouts(udp=300),
                port_hold=120,
                max_mappings_per_host=2000,
                when_full=WhenFull.ANSWER,
            ),
        ),
        "a home Linux router behind a carrier's NAT as RFC 6888 wants it",
        "RFC 6888 (the carrier's part)",
        _HOME
        | {
            "carrier mapping": "RFC 6888 REQ-1, so RFC 4787 REQ-1 and RFC 5382 REQ-1",
            "carrier filtering": "RFC 6888 REQ-7: endpoint-independent is recommended",
            "carrier ports": "RFC 7857 section 9: preserved, else random (RFC 6888 REQ-15: hard to guess); RFC 6888 "
            "REQ-8: a freed port rests for 120 s",
            "carrier hairpin": "RFC 6888 REQ-1, so RFC 4787 REQ-9a",
            "carrier unsolicited_syn": "RFC 6888 REQ-1, so RFC 5382 REQ-4: silence for six seconds, then ICMP",
            "carrier timeouts": "RFC 6888 REQ-1, so RFC 4787 REQ-5c, RFC 5382 REQ-5 and RFC 5508 REQ-2",
            "carrier limits": "RFC 6888 REQ-4: there is one for each subscriber (2,000 is our choice); REQ-11: nothing "
            "is evicted, and the host is told",
        },
        _PARTS,
    ),
    Device(
        "carrier-blocks",
        (
            LinuxBehavior(),
            NatBehavior(
                filtering=endpoint_independent,
                ports=BulkBlocks(size=512, blocks_per_host=2),
                hairpin=Hairpin.EXTERNAL,
                timeouts=Timeouts(udp=35),
                port_hold=120,
                max_mappings_per_host=1024,
                when_full=WhenFull.ANSWER,
            ),
        ),
        "a home Linux router behind a carrier's NAT that gives each subscriber a block of 512 ports, and a second",
        "RFC 6888 (what a carrier should do) and Richter et al., IMC 2016 (what carriers do; secondary)",
        _HOME
        | {
            "carrier mapping": "RFC 6888 REQ-1, so RFC 4787 REQ-1 and RFC 5382 REQ-1",
            "carrier filtering": "RFC 6888 REQ-7: endpoint-independent is recommended",
            "carrier ports": f"{_RICHTER}: blocks of 512 in three networks, of less than 1,024 in six, up to 4,096; "
            "RFC 6888 REQ-8: a freed port rests for 120 s, and REQ-14: blocks make short logs",
            "carrier hairpin": "RFC 6888 REQ-1, so RFC 4787 REQ-9a",
            "carrier unsolicited_syn": "RFC 5382 REQ-4a: silence",
            "carrier timeouts": f"{_RICHTER}: the median of carriers that are not cellular for UDP, 35 s, less than "
            "RFC 4787 REQ-5 allows; the rest as RFC 5382 and 5508 ask",
            "carrier pooling": "RFC 6888 REQ-2: paired; with one outside address it makes no difference",
            "carrier limits": "RFC 6888 REQ-4 and 5: there are limits (two blocks, and as many mappings, are our "
            "choice); REQ-11: nothing is evicted, and the host is told",
        },
        _PARTS,
    ),
    Device(
        "carrier-symmetric",
        (
            NatBehavior(
                mapping=address_and_port_dependent,
                ports=random_port,
                addresses=4,
                pooling=arbitrary,
                timeouts=Timeouts(udp=65),
            ),
        ),
        "a phone behind a cellular carrier's NAT of the hard kind: random ports, and any of several addresses",
        "Richter et al., IMC 2016 (secondary)",
        {
            "mapping": f"{_RICHTER}: about 40 % of cellular carriers are symmetric",
            "filtering": "RFC 3489 section 5: what symmetric means",
            "ports": f"{_RICHTER}: random with 45 % of cellular carriers",
            "addresses": "a field log of 2026 with a carrier's second address; four is our choice",
            "pooling": f"{_RICHTER}: arbitrary with 21 %, against RFC 6888 REQ-2",
            "timeouts": f"{_RICHTER}: the median of cellular carriers for UDP, 65 s; TCP is not known",
        },
    ),
)
