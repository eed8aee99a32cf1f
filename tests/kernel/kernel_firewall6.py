"""One real Linux firewall of IPv6, between two TUN devices: what `natsim/kernel/kernel_nat.py` is for IPv4.

Its rules are those of `natsim/kernel/nftables.py` for a router that does not masquerade, in the other family's table.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from io import FileIO

from natsim.kernel.kernel_nat import SYSCTLS_OF_A_NAT
from natsim.kernel.namespace import Namespace
from natsim.kernel.nftables import WAN, nat_rules
from natsim.kernel.requirements import program
from natsim.kernel.wire import HEADER, open_tun
from natsim.multicast import is_multicast
from natsim.nat.linux import LinuxBehavior
from natsim.packet import Packet
from natsim.packet_bytes import from_bytes, to_bytes

#: Ours has no address but those that it is given, and may send as many ICMPv6 errors as it likes.
SYSCTLS = SYSCTLS_OF_A_NAT | {
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/default/addr_gen_mode": "1",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/icmp/ratelimit": "0",
}


def rules6(behavior: LinuxBehavior) -> str:
    """The ruleset of a firewall, for IPv6."""
    return nat_rules(behavior).replace("table ip ", "table ip6 ").replace("with icmp ", "with icmpv6 ")


class KernelFirewall6:
    """`outbound` and `inbound` return what comes out at the other side, and what comes back.

    Every fragment is one of a datagram with the payload `large`, which has the checksum: conntrack looks at it.
    """

    def __init__(
        self, behavior: LinuxBehavior, external: str, lan: str, gateway: str, mtu: int = 1500, large: bytes = b""
    ) -> None:
        self._large = large
        self._built = contextlib.ExitStack()
        self._namespace = self._built.enter_context(contextlib.closing(Namespace("the firewall")))
        try:
            self._namespace.sysctl(SYSCTLS)
            self._lan, self._wan = (
                self._built.enter_context(self._namespace.call(open_tun, name, offload=False)) for name in ("lan", WAN)
            )
            script = ["link set lo up", "link set lan up", f"link set {WAN} mtu {mtu} up"]
            script += [f"address add {gateway}/128 dev lan nodad", f"address add {external}/128 dev {WAN} nodad"]
            script += [f"route add {lan} dev lan", f"route add default dev {WAN}"]
            self._namespace.run([program("ip"), "-6", "-batch", "-"], "\n".join(script) + "\n")
            self._namespace.run([program("nft"), "-f", "-"], rules6(behavior))
        except BaseException:
            self.close()
            raise
        list(_waiting(self._lan)), list(_waiting(self._wan))  # what an interface says of itself when it comes up

    def close(self) -> None:
        self._built.close()

    def outbound(self, packet: Packet) -> tuple[list[Packet], list[Packet]]:
        return self._send(packet, self._lan, self._wan)

    def inbound(self, packet: Packet) -> tuple[list[Packet], list[Packet]]:
        return self._send(packet, self._wan, self._lan)

    def _send(self, packet: Packet, here: FileIO, there: FileIO) -> tuple[list[Packet], list[Packet]]:
        here.write(bytes(HEADER) + to_bytes(packet, self._large if packet.fragment is not None else None))
        passed, back = list(_waiting(there)), list(_waiting(here))
        if passed or back:
            return passed, back
        # Nothing, or it waits in the queue of a device on which the kernel just tells its neighbours about its groups.
        time.sleep(0.002)
        return list(_waiting(there)), list(_waiting(here))


def _waiting(tun: FileIO) -> Iterator[Packet]:
    """Without what routers tell all their neighbours."""
    while (data := tun.read(66_000)) is not None:
        packet = from_bytes(data[HEADER:])
        if not is_multicast(packet.dst.address):
            yield packet
