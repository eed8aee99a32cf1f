"""Ready-made internets: two peers and a server, in the ways in which people meet.

    two_nats("linux", "eim-apdf", seed=7)     alice behind a NAT, bob behind another
    same_nat("linux")                         both behind one and the same

Next: `internet.py`, from which they are built, and with which you build others.
"""

from __future__ import annotations

from dataclasses import replace

from .internet import DEFAULT_DELAY, Internet, Nat
from .link import Link
from .loss import LossRule
from .nat.devices import Behavior, Device, find

#: How much of a site's delay lies on the LAN, before its NAT (milliseconds): a wire or good Wi-Fi.
LAN_DELAY = 0.1


def two_nats(
    a: str | Behavior | Device,
    b: str | Behavior | Device,
    *,
    seed: int = 0,
    delay: float = DEFAULT_DELAY,
    loss: float | LossRule = 0.0,
    link: Link | None = None,
    ipv6: str | Behavior | Device | None = None,
) -> Internet:
    """alice behind a NAT, bob behind another, and a server on the public internet.

    `a` and `b` are names (see `natsim devices`), behaviors or devices.  `delay` is the one-way delay in milliseconds
    between any two of the three hosts; half of it is on each one's way to the internet.  `loss` is the share of packets
    that each site's link to the internet loses, or a loss rule (`loss.py`); `link` says what else these two links do:
    `Link(jitter=5, rate=10)`, say, without a delay.  `ipv6`: everybody has IPv6 too, the peers behind this firewall
    ("firewall", or a behavior that does not translate).

    >>> net = two_nats("linux", "none")
    >>> net.alice.address, net.nat_a.address, net.bob.address
    ('192.168.1.2', '198.51.100.1', '203.0.113.12')
    >>> two_nats("linux", "none", ipv6="firewall").alice.addresses
    ('192.168.1.2', '2001:db8:1::2')
    """
    wan = link or Link()
    if wan.delay:
        raise ValueError(f"delay= is the delay between any two hosts, from which links get theirs; {wan} has its own")
    if loss and wan.loss:
        raise ValueError(f"these links lose packets by loss={loss} or as {wan} says, not both; leave one out")
    wan = replace(wan, loss=loss or wan.loss)
    net = Internet(seed)
    net.host("server", link=Link(delay / 2), ipv6=ipv6 is not None)
    for side, name, what in (("a", "alice", a), ("b", "bob", b)):
        _site(net, side, name, _layers(what), delay / 2, wan, ipv6)
    return net


def same_nat(
    what: str | Behavior | Device,
    *,
    seed: int = 0,
    delay: float = DEFAULT_DELAY,
    ipv6: str | Behavior | Device | None = None,
) -> Internet:
    """alice and bob behind one and the same NAT, `net.home`, and a server on the public internet.

    Here the delay is on each host's own link, so that alice and bob are `delay` apart too.  `ipv6` as in `two_nats`.
    """
    layers = _layers(what)
    if not layers:
        raise ValueError(f"{what!r} is no NAT, so nobody can be behind it; two_nats() has hosts without one")
    net = Internet(seed)
    net.host("server", link=Link(delay / 2), ipv6=ipv6 is not None)
    nat: Nat | None = None
    for behavior in reversed(layers[1:]):
        nat = net.nat("carrier", behavior, behind=nat, lan="100.64.1.0/24", ipv6=ipv6)
    nat = net.nat("home", layers[0], behind=nat, ipv6=ipv6)
    for name in ("alice", "bob"):
        net.host(name, behind=nat, link=Link(delay / 2))
    return net


def _site(
    net: Internet,
    side: str,
    name: str,
    layers: tuple[Behavior, ...],
    delay: float,
    wan: Link,
    ipv6: str | Behavior | Device | None,
) -> None:
    """One peer and the NATs before it; the delay lies on the way from the outermost NAT to the internet."""
    lan = min(LAN_DELAY, delay / 4) if layers else 0.0
    wan = replace(wan, delay=delay - lan * len(layers))
    nat: Nat | None = None
    for depth, behavior in enumerate(reversed(layers)):
        innermost = depth == len(layers) - 1
        nat_name = f"nat_{side}" if innermost else f"carrier_{side}{depth or ''}"
        inside = None if innermost else f"100.64.{len(net.nats)}.0/24"
        nat = net.nat(nat_name, behavior, behind=nat, link=Link(lan) if nat else wan, lan=inside, ipv6=ipv6)
    net.host(name, behind=nat, link=Link(lan) if nat else wan, ipv6=ipv6 is not None)


def _layers(what: str | Behavior | Device) -> tuple[Behavior, ...]:
    if isinstance(what, str):
        what = find(what)
    return what.layers if isinstance(what, Device) else (what,)
