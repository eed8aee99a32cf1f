"""natsim: a simulated internet of hosts, routers, NATs and firewalls, on virtual time.

    import natsim
    net = natsim.two_nats("linux", "eim-apdf", seed=7)
    run = net.run(story)        # `story` starts programs with net.alice.start(...)
    run.ladder()

Start reading at `internet.py` (what users build with), then `nat/engine.py` (what a NAT is).  The core imports the
standard library only; pictures are in `natsim.view`, the real kernel in `natsim.kernel`.
"""

from .internet import DEFAULT_DELAY, Host, Internet, Nat
from .link import HeldBack, Link
from .loss import Bursts
from .nat.behavior import (
    Hairpin,
    NatBehavior,
    Overloading,
    Timeouts,
    WhenFull,
    address_and_port_dependent,
    address_dependent,
    arbitrary,
    endpoint_independent,
    paired,
)
from .nat.devices import DEVICES, Device, UnknownDevice
from .nat.linux import LinuxBehavior, LinuxTimeouts, Masquerade, WanInput
from .nat.port_blocks import BulkBlocks, DeterministicBlocks
from .nat.ports import (
    KeepClass,
    KeepParity,
    PreserveElse,
    RandomPort,
    Sequential,
    Wish,
    preserve,
    random_port,
    sequential,
)
from .nat.ports_rfc6056 import DoubleHash, RandomIncrements, SimpleHash, SimplePortRandomization
from .nat.predict import Prediction, predict
from .nat.rules import RuleError
from .nat.unsolicited import Later, drop_syn, hold_syn, refuse_syn, unreachable_syn
from .packet import Endpoint, Packet
from .ready_made import same_nat, two_nats
from .run import Run

__all__ = [
    "BulkBlocks",
    "Bursts",
    "DEFAULT_DELAY",
    "DEVICES",
    "DeterministicBlocks",
    "Device",
    "DoubleHash",
    "Endpoint",
    "Hairpin",
    "HeldBack",
    "Host",
    "Internet",
    "KeepClass",
    "KeepParity",
    "Later",
    "Link",
    "LinuxBehavior",
    "LinuxTimeouts",
    "Masquerade",
    "Nat",
    "NatBehavior",
    "Overloading",
    "Packet",
    "Prediction",
    "PreserveElse",
    "RandomIncrements",
    "RandomPort",
    "RuleError",
    "Run",
    "Sequential",
    "SimpleHash",
    "SimplePortRandomization",
    "Timeouts",
    "UnknownDevice",
    "WanInput",
    "WhenFull",
    "Wish",
    "address_and_port_dependent",
    "address_dependent",
    "arbitrary",
    "drop_syn",
    "endpoint_independent",
    "hold_syn",
    "paired",
    "predict",
    "preserve",
    "random_port",
    "refuse_syn",
    "same_nat",
    "sequential",
    "two_nats",
    "unreachable_syn",
]
