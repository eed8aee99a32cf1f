"""A Linux NAT without a network around it, two hosts inside and some remotes."""

from __future__ import annotations

import random

from sim_tools import at, s, udp

from natsim import LinuxBehavior, Masquerade, WanInput
from natsim.nat.linux import LinuxNat
from natsim.packet import Endpoint

OUTSIDE = "203.0.113.1"
A, B = at("10.0.0.2:5000"), at("10.0.0.3:5000")
S1, S2, S3 = at("198.51.100.1:80"), at("198.51.100.2:80"), at("198.51.100.1:81")
PEER = at("198.51.100.9:6000")
KEPT = Endpoint(OUTSIDE, 5000)


def linux(
    masquerade: Masquerade = Masquerade.PLAIN,
    wan_input: WanInput = WanInput.DROP,
    block_udp: bool = False,
    seed: int = 0,
) -> LinuxNat:
    return LinuxNat(LinuxBehavior(masquerade, wan_input, block_udp), OUTSIDE, random.Random(seed))


def outside(nat: LinuxNat, src: Endpoint, dst: Endpoint, now: float = 0) -> Endpoint:
    verdict = nat.outbound(udp(src, dst), s(now))
    assert verdict.packet is not None, verdict
    return verdict.packet.src


def enters(nat: LinuxNat, src: Endpoint, dst: Endpoint, now: float = 0) -> Endpoint | None:
    verdict = nat.inbound(udp(src, dst), s(now))
    return verdict.packet.dst if verdict.packet else None
