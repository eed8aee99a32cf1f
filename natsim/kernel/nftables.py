"""A `LinuxBehavior` in nft's language: the same value that `natsim/nat/linux.py` simulates, here for the real thing.

Text in, text out; running it is the business of `world.py`.  In every NAT's namespace the interface to the outside is
called `wan`, everything else leads inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from ..internet import Internet
from ..nat.linux import LinuxBehavior, Masquerade, WanInput
from ..packet import is_ipv6

WAN = "wan"


class KernelCannot(RuntimeError):
    """This internet has a part that the kernel world cannot build."""


def check(net: Internet) -> None:
    """Complain about what the kernel world cannot build."""
    for nat in net.nats.values():
        if nat.behavior.port_mapping:
            raise KernelCannot(
                f"the kernel world has no {' or '.join(nat.behavior.port_mapping)} server for {nat.name}: its NATs "
                'translate, but do not talk to hosts. Leave port_mapping out, or run this internet with world="sim"'
            )


_TRANSLATE = {
    Masquerade.PLAIN: f'oifname "{WAN}" masquerade',
    Masquerade.FULLY_RANDOM: f'oifname "{WAN}" masquerade fully-random',
    Masquerade.NONE: "",
}

_UNASKED = {
    WanInput.DROP: "drop",
    WanInput.REJECT: "meta l4proto tcp reject with tcp reset\n    reject with icmp port-unreachable",
    WanInput.ACCEPT: "accept",
}

_BLOCK_UDP = f'iifname != "{WAN}" oifname "{WAN}" meta l4proto udp drop'


def nat_sysctls(behavior: LinuxBehavior) -> dict[str, str]:
    """Conntrack's timeouts, as files below /proc/sys/net; every namespace has its own."""
    sysctls = {}
    for name, seconds in asdict(behavior.timeouts).items():
        protocol, _, state = name.partition("_")
        sysctls[f"netfilter/nf_conntrack_{protocol}_timeout{'_' if state else ''}{state}"] = str(seconds)
    return sysctls


def nat_rules(behavior: LinuxBehavior) -> str:
    """The whole ruleset of a NAT or firewall.

    `input` is about packets to the router itself, which a stray packet from outside is: that chain decides how a NAT
    answers one.  `forward` is about packets between outside and inside; what conntrack calls invalid is not translated,
    and would carry a private address out if it were let through.
    """
    return f"""
table ip natsim {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    {_TRANSLATE[behavior.masquerade]}
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    {_BLOCK_UDP if behavior.block_udp else ""}
    ct state invalid drop
    ct state established,related accept
    iifname != "{WAN}" accept
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname != "{WAN}" accept
    ct state established,related accept
    {_UNASKED[behavior.wan_input]}
  }}
}}
"""


def firewall6_rules(behavior: LinuxBehavior) -> str:
    """The ruleset of a router's firewall for IPv6, where nothing is translated: the same, in that family's table."""
    return nat_rules(behavior).replace("table ip ", "table ip6 ").replace("with icmp ", "with icmpv6 ")


#: What a kernel must understand to be any of our NATs.
TRIAL = nat_rules(LinuxBehavior(Masquerade.FULLY_RANDOM, WanInput.REJECT, block_udp=True))

#: The core's ruleset: it passes everything, until something is cut.
CORE = """
table ip natsim {
  chain forward {
    type filter hook forward priority filter; policy accept;
  }
}
table ip6 natsim {
  chain forward {
    type filter hook forward priority filter; policy accept;
  }
}
"""

#: Two sets of addresses with a cut between them, and how: "drop" or "reset".
Cut = tuple[frozenset[str], frozenset[str], str]


def cut_rules(cuts: Iterable[Cut]) -> str:
    """Replace the core's cuts by these, in one transaction.  With "reset" TCP hears a RST; the rest is lost."""
    lines = ["flush chain ip natsim forward", "flush chain ip6 natsim forward"]
    for one, other, how in cuts:
        for source, destination in ((one, other), (other, one)):
            for family in ("ip", "ip6"):
                ends = [sorted(a for a in end if is_ipv6(a) is (family == "ip6")) for end in (source, destination)]
                if not all(ends):
                    continue
                match = f"{family} saddr {{ {', '.join(ends[0])} }} {family} daddr {{ {', '.join(ends[1])} }}"
                if how == "reset":
                    lines.append(f"add rule {family} natsim forward {match} meta l4proto tcp reject with tcp reset")
                lines.append(f"add rule {family} natsim forward {match} drop")
    return "\n".join(lines) + "\n"
