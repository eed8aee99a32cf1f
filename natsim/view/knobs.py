"""Knobs for a NAT: what can be turned, the behavior that it makes, and the call that would make the same.

A preset only moves the knobs, and shows by that where in the space of behaviors its name lies.  Linux has other knobs
than the NATs of the RFCs, since it is a NAT of its own.  Plain values and functions; `nat_bench.py` puts widgets on
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..nat.behavior import CHOICES, Hairpin, NatBehavior
from ..nat.devices import DEVICES, Behavior
from ..nat.linux_behavior import LinuxBehavior, Masquerade, WanInput

#: The kinds of NAT, in the words of the menu.
NO_NAT, RFC_NAT, LINUX = "none", "RFC 4787", "Linux"


@dataclass(frozen=True)
class Knob:
    """One knob: the parameter's name, what people read beside it, and its choices, the first being the usual one."""

    name: str
    label: str
    choices: tuple[str, ...]


def _choices(name: str) -> tuple[str, ...]:
    return tuple(CHOICES[name])


#: The knobs of each kind.  "hairpin" is a yes or no here: whether the source is external is no matter of punching.
KNOBS: dict[str, tuple[Knob, ...]] = {
    NO_NAT: (),
    RFC_NAT: (
        Knob("mapping", "mapping", _choices("mapping")),
        Knob("filtering", "filtering", _choices("filtering")[::-1]),
        Knob("ports", "ports", ("preserve", "sequential", "random")),
        Knob("unsolicited_syn", "stray SYN", ("drop", "rst", "icmp", "hold")),
        Knob("hairpin", "hairpin", ("none", "external")),
    ),
    LINUX: (
        Knob(
            "masquerade", "masquerade", (Masquerade.PLAIN.value, Masquerade.FULLY_RANDOM.value, Masquerade.NONE.value)
        ),
        Knob("wan_input", "to itself", tuple(choice.value for choice in WanInput)),
        Knob("block_udp", "UDP out", ("allowed", "blocked")),
    ),
}


@dataclass(frozen=True)
class Setting:
    """How the knobs of one NAT stand.  `turned` gives a new one."""

    kind: str = RFC_NAT
    values: tuple[tuple[str, str], ...] = ()

    def value(self, name: str) -> str:
        """What a knob says; the usual, if it was never turned."""
        usual = {knob.name: knob.choices[0] for knob in KNOBS[self.kind]}
        return (usual | dict(self.values))[name]

    def turned(self, name: str, value: str) -> Setting:
        """With one knob turned.  ValueError for what the knob has no mark for."""
        knob = next((knob for knob in KNOBS[self.kind] if knob.name == name), None)
        if knob is None or value not in knob.choices:
            raise ValueError(f"a NAT of kind {self.kind} has no {name}={value!r}")
        return replace(self, values=tuple((dict(self.values) | {name: value}).items()))

    @property
    def turned_knobs(self) -> dict[str, str]:
        """The knobs that do not stand where they usually do."""
        return {
            knob.name: self.value(knob.name) for knob in KNOBS[self.kind] if self.value(knob.name) != knob.choices[0]
        }

    @property
    def behavior(self) -> str | Behavior:
        """What `two_nats` takes."""
        turned: dict[str, object] = dict(self.turned_knobs)
        if self.kind == NO_NAT:
            return "none"
        if self.kind == LINUX:
            if "block_udp" in turned:
                turned["block_udp"] = True
            return LinuxBehavior(**turned)  # type: ignore[arg-type]
        return NatBehavior(**turned)  # type: ignore[arg-type]

    @property
    def code(self) -> str:
        """The call that makes the same, to be copied into a cell."""
        if self.kind == NO_NAT:
            return '"none"'
        turned: Mapping[str, object] = self.turned_knobs
        if "block_udp" in turned:
            turned = {**turned, "block_udp": True}
        arguments = ", ".join(f'{name}="{v}"' if isinstance(v, str) else f"{name}={v}" for name, v in turned.items())
        return f"natsim.{'LinuxBehavior' if self.kind == LINUX else 'NatBehavior'}({arguments})"


def setting_of(behavior: Behavior) -> Setting:
    """The knobs as they stand for a behavior; what no knob is for is left out."""
    if isinstance(behavior, LinuxBehavior):
        values = {"masquerade": behavior.masquerade.value, "wan_input": behavior.wan_input.value}
        values["block_udp"] = "blocked" if behavior.block_udp else "allowed"
        return Setting(LINUX, tuple(values.items()))
    values = {}
    for knob in KNOBS[RFC_NAT]:
        now = getattr(behavior, knob.name)
        if knob.name == "hairpin":
            values["hairpin"] = "none" if now is Hairpin.NONE else "external"
        else:
            word = next((word for word in knob.choices if CHOICES[knob.name][word] == now), None)
            if word is not None:
                values[knob.name] = word
    return Setting(RFC_NAT, tuple(values.items()))


def presets() -> dict[str, Setting]:
    """The named NATs that the knobs can make exactly: those for which only knobs are turned."""
    found = {"none": Setting(NO_NAT)}
    for name, device in DEVICES.items():
        if len(device.layers) == 1:
            setting = setting_of(device.layers[0])
            if setting.behavior == device.layers[0]:
                found[name] = setting
    return found


#: Kept from the textbooks, though RFC 4787 gave them up: each is a point in the space of mapping and filtering.
OLD_NAMES = {
    "full cone": Setting(RFC_NAT, (("filtering", "endpoint-independent"),)),
    "restricted cone": Setting(RFC_NAT, (("filtering", "address-dependent"),)),
    "port restricted cone": Setting(RFC_NAT),
    "symmetric": Setting(RFC_NAT, (("mapping", "address-and-port-dependent"), ("ports", "random"))),
}
