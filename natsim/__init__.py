"""natsim: a simulated internet of hosts, routers, NATs and firewalls, on virtual time.

    import natsim
    net = natsim.two_nats("linux", "eim-apdf", seed=7)
    run = net.run(story)        # `story` starts programs with net.alice.start(...)
    run.ladder()

Start reading at `internet.py` (what users build with), then `nat/engine.py` (what a NAT is).  The core imports the
standard library only; pictures are in `natsim.view`, the real kernel in `natsim.kernel`.
"""

from .internet import DEFAULT_DELAY, Host, Internet, Nat, same_nat, two_nats
from .link import Link
from .nat.behavior import (
    NatBehavior,
    Timeouts,
    address_and_port_dependent,
    address_dependent,
    drop_syn,
    endpoint_independent,
    refuse_syn,
    unreachable_syn,
)
from .nat.devices import DEVICES, Device, UnknownDevice
from .nat.linux import LinuxBehavior, Masquerade, WanInput
from .nat.ports import RuleError, Sequential, Wish, preserve, random_port, sequential
from .packet import Endpoint, Packet
from .run import Run

__all__ = [
    "DEFAULT_DELAY",
    "DEVICES",
    "Device",
    "Endpoint",
    "Host",
    "Internet",
    "Link",
    "LinuxBehavior",
    "Masquerade",
    "Nat",
    "NatBehavior",
    "Packet",
    "RuleError",
    "Run",
    "Sequential",
    "Timeouts",
    "UnknownDevice",
    "WanInput",
    "Wish",
    "address_and_port_dependent",
    "address_dependent",
    "drop_syn",
    "endpoint_independent",
    "preserve",
    "random_port",
    "refuse_syn",
    "same_nat",
    "sequential",
    "two_nats",
    "unreachable_syn",
]
