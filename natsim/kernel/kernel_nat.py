"""One real Linux NAT without hosts: packets go in at either side as `Packet`s, and come out as `Packet`s.

Two TUN devices, `lan` and `wan`, in a namespace with the rules of `nftables.py`.  The kernel handles a packet within
the `write` that hands it over, so whatever it lets out is there to be read at once: no waiting, and no stack at either
end that would answer.  So it can be asked what the model is asked: `KernelNat` has the methods of `LinuxNat`, and
`KernelBench` puts it on natsim's bench.

Next: `side_by_side.py`, which asks both.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from io import FileIO
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from ..nat.bench import Bench
from ..nat.leases import Lease
from ..nat.linux import LinuxBehavior, LinuxTimeouts
from ..nat.verdict import Rule, Verdict
from ..packet import Packet
from ..packet_bytes import from_bytes, to_bytes
from . import conntrack
from .addressing import ROUTER_SYSCTLS, SYSCTLS
from .namespace import Namespace
from .nftables import WAN, nat_rules, nat_sysctls
from .requirements import program
from .wire import HEADER, LARGEST, open_tun

#: Ours may send as many ICMP errors as it likes.
SYSCTLS_OF_A_NAT = SYSCTLS | ROUTER_SYSCTLS | {"ipv4/icmp_ratelimit": "0", "ipv4/icmp_ratemask": "0"}

LEASES = f"""
table ip leases {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
  }}
}}
insert rule ip natsim forward iifname "{WAN}" ct status dnat accept
"""


class KernelNat:
    """A NAT of the kernel, with the methods of `LinuxNat`; what time it is, it knows by itself."""

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
        """Take it away."""
        self._built.close()

    def nft(self, rules: str) -> None:
        """Change its rules."""
        self._namespace.run([program("nft"), "-f", "-"], rules)

    # -- As LinuxNat ---------------------------------------------------------------------------------------------------

    def outbound(self, packet: Packet, now: int = 0) -> Verdict:
        """A packet from inside."""
        return self._send(packet, self._lan, self._wan)

    def inbound(self, packet: Packet, now: int = 0) -> Verdict:
        """A packet from outside."""
        return self._send(packet, self._wan, self._lan)

    def table(self, now: int = 0) -> list[conntrack.Line]:
        """The flows that are alive."""
        return conntrack.read_table(self._namespace)

    def flush(self) -> None:
        """Forget every flow."""
        conntrack.flush(self._namespace)

    def lease(self, lease: Lease, now: int = 0) -> None:
        """As miniupnpd does it: a rule for DNAT, and new flows may pass if they have met one."""
        match = f'iifname "{WAN}" ip daddr {self.external} {lease.protocol} dport {lease.external.port}'
        inside = f"{lease.internal.address}:{lease.internal.port}"
        if not self._leases:
            self.nft(LEASES)
        self._leases = True
        self.nft(f"add rule ip leases prerouting {match} dnat to {inside}\n")

    def _send(self, packet: Packet, here: FileIO, there: FileIO) -> Verdict:
        here.write(bytes(HEADER) + to_bytes(packet))
        passed, replies = list(_waiting(there)), list(_waiting(here))
        if max(len(passed), len(replies)) > 1:
            raise RuntimeError(f"of one packet the kernel has made several: {packet}, {passed}, {replies}")
        rule = Rule.TRANSLATED if passed else Rule.FILTERED
        return Verdict(rule, "the kernel", packet=next(iter(passed), None), reply=next(iter(replies), None))


class KernelBench(Bench):
    """The bench with a real NAT on it, on which time is real too."""

    def __init__(self, behavior: LinuxBehavior) -> None:
        super().__init__(behavior)
        self.engine: Any = KernelNat(behavior, self.addresses[0])

    def wait(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def seconds_alive(self) -> float:
        """The kernel shows whole seconds, rounded down: a moment later that is always one less than it was set to."""
        time.sleep(0.02)
        return max((line.seconds + 1 for line in self.engine.table()), default=0)

    def close(self) -> None:
        """Take the NAT away."""
        self.engine.close()


def _waiting(tun: FileIO) -> Iterator[Packet]:
    while (data := tun.read(LARGEST)) is not None:
        yield from_bytes(data[HEADER:])
