"""One real Linux NAT without hosts: packets go in at either side as `Packet`s, and come out as `Packet`s.

Two TUN devices, `lan` and `wan`, in a namespace with the rules of `natsim/kernel/nftables.py`.  The kernel handles a
packet within the `write` that hands it over, so whatever it lets out is there to be read at once: no waiting, and no
stack at either end that would answer.  `KernelBench` puts such a NAT on natsim's bench.
"""

from __future__ import annotations

import contextlib
import platform
import re
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from io import FileIO
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from natsim.kernel.addressing import ROUTER_SYSCTLS, SYSCTLS
from natsim.kernel.namespace import Namespace
from natsim.kernel.nftables import WAN, nat_rules, nat_sysctls
from natsim.kernel.requirements import program
from natsim.kernel.wire import open_tun
from natsim.nat.bench import Bench
from natsim.nat.leases import Lease
from natsim.nat.linux import LinuxBehavior, LinuxTimeouts
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import ACK, ICMP, TCP, UDP, Endpoint, Packet

PROTOCOLS = {ICMP: 1, TCP: 6, UDP: 17}
NAMES = {number: name for name, number in PROTOCOLS.items()}

#: Ours may send as many ICMP errors as it likes.
SYSCTLS_OF_A_NAT = SYSCTLS | ROUTER_SYSCTLS | {"ipv4/icmp_ratelimit": "0"}

#: What is said here of conntrack was seen on this kernel.  Others may differ in small ways, which is no bug of ours.
SEEN_ON = "6.18"
as_seen = pytest.mark.xfail(
    not platform.release().startswith(f"{SEEN_ON}."),
    reason=f"this is Linux {platform.release()}, and conntrack was watched on {SEEN_ON}",
    strict=False,
)

LEASES = f"""
table ip leases {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
  }}
}}
insert rule ip natsim forward iifname "{WAN}" ct status dnat accept
"""

#: The header of IFF_VNET_HDR, when nothing is left to be done.
VNET_HEADER = bytes(10)


class Line(NamedTuple):
    """A line of /proc/net/nf_conntrack: `seconds` is how long it will live, "" the state of what is not TCP."""

    protocol: str
    seconds: int
    state: str
    src: Endpoint
    dst: Endpoint
    reply_src: Endpoint
    reply_dst: Endpoint
    replied: bool
    assured: bool


class KernelNat:
    """A NAT of the kernel, with the methods of `LinuxNat` that the facts need; what time it is, it knows by itself."""

    def __init__(self, behavior: LinuxBehavior, external: str, lan: str = "192.168.1.0/24") -> None:
        self.external = external
        self._built = contextlib.ExitStack()
        self._namespace = self._built.enter_context(contextlib.closing(Namespace("the NAT")))
        try:
            self._build(behavior, lan)
        except BaseException:
            self.close()
            raise

    def _build(self, behavior: LinuxBehavior, lan: str) -> None:
        self._namespace.sysctl(SYSCTLS_OF_A_NAT)
        self._lan, self._wan = (
            self._built.enter_context(self._namespace.call(open_tun, name, offload=False)) for name in ("lan", WAN)
        )
        inside = IPv4Address(lan.split("/")[0]) + 1
        script = ["link set lo up", "link set lan up", f"link set {WAN} up"]
        script += [f"address add {inside}/32 dev lan", f"address add {self.external}/32 dev {WAN}"]
        script += [f"route add {lan} dev lan", f"route add default dev {WAN}"]
        self._namespace.run([program("ip"), "-batch", "-"], "\n".join(script) + "\n")
        self.nft(nat_rules(behavior))
        self.behavior = replace(behavior, timeouts=self._timeouts())
        self._namespace.sysctl(nat_sysctls(behavior))
        self._leases = False

    def _timeouts(self) -> LinuxTimeouts:
        """Those of the kernel, before anybody has changed them."""
        files = nat_sysctls(LinuxBehavior())
        values = [int(self._namespace.call(Path("/proc/sys/net", file).read_text)) for file in files]
        return LinuxTimeouts(*values)

    def close(self) -> None:
        self._built.close()

    def nft(self, rules: str) -> None:
        self._namespace.run([program("nft"), "-f", "-"], rules)

    # -- As LinuxNat ---------------------------------------------------------------------------------------------------

    def outbound(self, packet: Packet, now: int = 0) -> Verdict:
        return self._send(packet, self._lan, self._wan)

    def inbound(self, packet: Packet, now: int = 0) -> Verdict:
        return self._send(packet, self._wan, self._lan)

    def table(self, now: int = 0) -> list[Line]:
        text = self._namespace.call(Path("/proc/thread-self/net/nf_conntrack").read_text)
        return [line_of_conntrack(line) for line in text.splitlines()]

    def lease(self, lease: Lease, now: int = 0) -> None:
        """As miniupnpd does it: a rule for DNAT, and new flows may pass if they have met one."""
        match = f'iifname "{WAN}" ip daddr {self.external} {lease.protocol} dport {lease.external.port}'
        inside = f"{lease.internal.address}:{lease.internal.port}"
        if not self._leases:
            self.nft(LEASES)
        self._leases = True
        self.nft(f"add rule ip leases prerouting {match} dnat to {inside}\n")

    def _send(self, packet: Packet, here: FileIO, there: FileIO) -> Verdict:
        here.write(VNET_HEADER + to_bytes(packet))
        passed, replies = list(_waiting(there)), list(_waiting(here))
        assert max(len(passed), len(replies)) <= 1, (packet, passed, replies)
        rule = Rule.TRANSLATED if passed else Rule.FILTERED
        return Verdict(rule, "the kernel", packet=next(iter(passed), None), reply=next(iter(replies), None))


class KernelBench(Bench):
    """The bench with a real NAT on it, on which time is real too."""

    def __init__(self, behavior: LinuxBehavior) -> None:
        super().__init__(behavior)
        self.engine: Any = KernelNat(behavior, self.addresses[0])

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def seconds_alive(self) -> float:
        """The kernel shows whole seconds, rounded down: a moment later that is always one less than it was set to."""
        time.sleep(0.02)
        return max((line.seconds + 1 for line in self.engine.table()), default=0)

    def close(self) -> None:
        self.engine.close()


def _waiting(tun: FileIO) -> Iterator[Packet]:
    while (data := tun.read(66_000)) is not None:
        yield from_bytes(data[len(VNET_HEADER) :])


def line_of_conntrack(line: str) -> Line:
    """A line as /proc shows it."""
    words = line.split()
    protocol, seconds = words[2], int(words[4])
    state = words[5] if protocol == TCP else ""
    ends = re.findall(r"src=(\S+) dst=(\S+) (?:sport=(\d+) dport=(\d+)|type=\d+ code=\d+ id=(\d+))", line)
    (src, dst), (reply_src, reply_dst) = (
        (Endpoint(s, int(identifier or sport)), Endpoint(d, int(dport or 0))) for s, d, sport, dport, identifier in ends
    )
    if protocol == ICMP:  # the identifier belongs to whoever asks
        reply_src, reply_dst = Endpoint(reply_src.address, 0), Endpoint(reply_dst.address, reply_src.port)
    replied, assured = "[UNREPLIED]" not in line, "[ASSURED]" in line
    return Line(protocol, seconds, state, src, dst, reply_src, reply_dst, replied, assured)


# -- Packets as bytes ------------------------------------------------------------------------------------------------


def to_bytes(packet: Packet) -> bytes:
    """An IPv4 packet (RFC 791, 768, 9293, 792)."""
    src, dst = socket.inet_aton(packet.src.address), socket.inet_aton(packet.dst.address)
    number = PROTOCOLS[packet.protocol]
    if packet.protocol == ICMP:
        body = _icmp(packet)
    elif packet.protocol == UDP:
        body = struct.pack("!HHHH", packet.src.port, packet.dst.port, 8 + len(packet.payload), 0) + packet.payload
        body = body[:6] + struct.pack("!H", checksum(_pseudo(src, dst, number, body) + body) or 0xFFFF) + body[8:]
    else:
        body = _segment(packet)
        body = body[:16] + struct.pack("!H", checksum(_pseudo(src, dst, number, body) + body)) + body[18:]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, packet.ttl, number, 0, src, dst)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def _segment(packet: Packet) -> bytes:
    options = b""
    if packet.mss is not None:
        options += struct.pack("!BBH", 2, 4, packet.mss)
    if packet.wscale is not None:
        options += bytes([1, 3, 3, packet.wscale])
    offset = (5 + len(options) // 4) << 4
    ends = packet.src.port, packet.dst.port
    header = struct.pack("!HHIIBBHHH", *ends, packet.seq, packet.ack, offset, packet.flags, packet.window, 0, 0)
    return header + options + packet.payload


def _icmp(packet: Packet) -> bytes:
    assert packet.icmp is not None
    if packet.quoted is not None:
        rest = bytes(4) + to_bytes(packet.quoted)
    else:
        rest = struct.pack("!HH", packet.src.port or packet.dst.port, 1) + packet.payload
    body = struct.pack("!BBH", *packet.icmp, 0) + rest
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def from_bytes(data: bytes) -> Packet:
    """The packet that these bytes are."""
    length = (data[0] & 15) * 4
    src, dst = socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20])
    body = data[length:]
    fields: dict[str, Any] = {"ttl": data[8]}
    protocol = NAMES[data[9]]
    if protocol == ICMP:
        kind = body[0]
        fields["icmp"] = kind, body[1]
        (identifier,) = struct.unpack("!H", body[4:6])
        ports = 0, 0
        if kind in (3, 11):
            fields["quoted"] = from_bytes(body[8:])
        else:
            ports = (identifier, 0) if kind in (8, 13) else (0, identifier)
    else:
        ports = struct.unpack("!HH", body[:4])
    if protocol == TCP and len(body) >= 20:
        _, _, seq, ack, offset, flags, window, _, _ = struct.unpack("!HHIIBBHHH", body[:20])
        fields |= {"seq": seq, "ack": ack if flags & ACK else 0, "flags": flags, "window": window}
        fields["payload"] = body[(offset >> 4) * 4 :]
    elif protocol == UDP:
        fields["payload"] = body[8:]
    return Packet(protocol, Endpoint(src, ports[0]), Endpoint(dst, ports[1]), **fields)


def _pseudo(src: bytes, dst: bytes, protocol: int, body: bytes) -> bytes:
    return struct.pack("!4s4sBBH", src, dst, 0, protocol, len(body))


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
