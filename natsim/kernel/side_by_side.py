"""The model of Linux's NAT beside a real one: both get the same packets, and must do the same with them.

After each packet, what came out must be alike, and so must the tables.  Where the kernel has drawn a random port, the
model draws the same; and if it draws where the kernel kept the port, that is a difference, too.

Next: `scripts.py`, what they are asked; `campaign.py`, which asks thousands of times.
"""

from __future__ import annotations

import random
import time

from ..nat.leases import Lease
from ..nat.linux import LinuxBehavior, LinuxNat, Masquerade
from ..packet import ACK, Endpoint, Packet
from ..scheduler import SECOND
from .kernel_nat import KernelNat

#: The outside address of both.
EXTERNAL = "198.51.100.1"


#: Seconds that this machine may be busy with something else, in between.
HICCUP = 0.5


class Difference(AssertionError):
    """The model does not do what the kernel does."""


class Drawn(random.Random):
    """Chance that has happened already: the kernel's.  `used` tells whether anybody wanted it."""

    port: int | None = None
    used = False

    def randint(self, a: int, b: int) -> int:
        """The port that the kernel has drawn; whatever, if it has drawn none in this range."""
        self.used = True
        return self.port if self.port is not None and a <= self.port <= b else super().randint(a, b)


class SideBySide:
    """A kernel's NAT and the model of it.  `leased_to`: an inside endpoint that has `leased` for TCP and UDP."""

    def __init__(
        self, behavior: LinuxBehavior, leased_to: Endpoint | None = None, leased: Endpoint | None = None
    ) -> None:
        self.behavior = behavior
        self.chance = Drawn(0)
        self.kernel = KernelNat(behavior, EXTERNAL)
        self._leases = [
            Lease(protocol, leased_to, leased, expires=1 << 62)
            for protocol in ("tcp", "udp")
            if leased_to is not None and leased is not None
        ]
        for lease in self._leases:
            self.kernel.lease(lease)
        self._began = time.monotonic_ns()
        self.model = self._new_model()

    def _new_model(self) -> LinuxNat:
        model = LinuxNat(self.behavior, EXTERNAL, self.chance)
        for lease in self._leases:
            model.lease(lease, 0)
        return model

    def close(self) -> None:
        """Take the real one away."""
        self.kernel.close()

    @property
    def now(self) -> int:
        """The model's time, which is real."""
        return time.monotonic_ns() - self._began

    def forget(self) -> None:
        """Begin anew, with empty tables on both sides."""
        self.kernel.flush()
        self.model = self._new_model()

    def send(self, packet: Packet, outward: bool) -> Packet | None:
        """Hand a packet to both; returns what comes out on the other side.  Raises Difference."""
        real = self.kernel.outbound(packet) if outward else self.kernel.inbound(packet)
        self.chance.port = real.packet.src.port if real.packet is not None else None
        self.chance.used = False
        now = self.now
        model = self.model.outbound(packet, now) if outward else self.model.inbound(packet, now)
        told = f"{'out' if outward else 'in'}: {in_full(packet)}"
        if (shown(real.packet), shown(real.reply)) != (shown(model.packet), shown(model.reply)):
            raise Difference(
                f"{told}\nkernel: {_outcome(real.packet, real.reply)}\n"
                f"model:  {_outcome(model.packet, model.reply)}, since {model}"
            )
        kept = real.packet is not None and outward and real.packet.src.port == packet.src.port
        if self.chance.used and kept and self.behavior.masquerade is Masquerade.PLAIN:
            raise Difference(f"{told}\nkernel: keeps the port\nmodel:  draws one")
        self._compare_tables(told)
        return real.packet

    def _compare_tables(self, told: str) -> None:
        lines = [line for line in self.kernel.table() if not _is_hairpin(line.src, line.dst)]
        real = {(line.protocol, line.query, line.src, line.dst, line.reply_src, line.reply_dst): line for line in lines}
        now = self.now
        flows = self.model.table(now)
        model = {
            (flow.protocol, flow.query, flow.src, flow.dst, flow.reply_src, flow.reply_dst): flow for flow in flows
        }
        if real.keys() != model.keys():
            only = [f"{name}: {ends}" for name, one, other in _pairs(real, model) for ends in one if ends not in other]
            raise Difference(f"after {told}\nflows that only one of them has: {'; '.join(only)}")
        for key, line in real.items():
            flow = model[key]
            state, assured = (flow.state, flow.tcp.assured) if flow.tcp else ("", line.assured)
            left = (flow.expires - now) / SECOND
            if (line.state, line.replied, line.assured) != (state, flow.replied, assured):
                raise Difference(f"after {told}\nkernel: {line}\nmodel:  {state}, {flow.replied=}, {assured=}")
            if not -HICCUP < left - line.seconds < 1 + HICCUP:  # the kernel shows whole seconds, rounded down
                raise Difference(f"after {told}\nkernel: {line}\nmodel:  {left:.2f} s left")


def _pairs(real: object, model: object) -> list[tuple[str, dict[object, object], dict[object, object]]]:
    assert isinstance(real, dict)
    assert isinstance(model, dict)
    return [("kernel", real, model), ("model", model, real)]


def _is_hairpin(src: Endpoint, dst: Endpoint) -> bool:
    """The model answers for the router, but keeps no flow of an inside host with it."""
    return dst.address == EXTERNAL and src.address.startswith("192.168.")


def in_full(packet: Packet) -> str:
    """A packet with all that a NAT may look at."""
    quoted = f", which is about {packet.quoted!r}" if packet.quoted is not None else ""
    return f"{packet!r} ack={packet.ack} window={packet.window}{quoted}"


def shown(packet: Packet | None) -> object:
    """What both must agree about."""
    if packet is None:
        return None
    quoted = packet.quoted and (packet.quoted.protocol, packet.quoted.src, packet.quoted.dst)
    ack = packet.ack if packet.flags & ACK else 0
    return packet.protocol, packet.src, packet.dst, packet.flags, packet.seq, ack, packet.icmp, quoted


def _outcome(passed: Packet | None, reply: Packet | None) -> str:
    words = [f"passes {passed!r}" if passed is not None else "stops it"]
    return ", ".join([*words, *([f"answers {reply!r}"] if reply is not None else [])])
