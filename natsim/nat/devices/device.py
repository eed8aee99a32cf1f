"""What a named NAT is: its layers, and for each thing said about it, who says so.

A *claim* is a source in words for one knob of a behavior: a document and its section, a file of an open project, a
measurement.  What is only remembered says "from memory, not checked", and what somebody else reports of the original
says "secondary".  A knob without a claim is not known; there the model has the default, and `Device.unknown` says so.

Next: the families, `textbook.py`, `linux.py`, `routers.py`, `desktops.py`, `clouds.py` and `carriers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from ..behavior import NatBehavior
from ..linux_behavior import LinuxBehavior, Masquerade

Behavior = NatBehavior | LinuxBehavior

#: The knobs on which it depends who can meet whom: a device ought to have a claim about each.
IMPORTANT = ("mapping", "filtering", "ports", "hairpin", "unsolicited_syn", "timeouts")

#: Those that mean nothing to a firewall, which leaves addresses alone.
OF_TRANSLATION = ("mapping", "ports", "hairpin")

#: Settings whose claim has another name than they: several share one, or the setting is Linux's word for it.
CLAIM_OF = {
    "refresh_outbound": "refresh",
    "refresh_inbound": "refresh",
    "port_hold": "ports",
    "max_mappings": "limits",
    "max_mappings_per_host": "limits",
    "when_full": "limits",
    "translate": "mapping",
    "masquerade": "mapping",
    "wan_input": "unsolicited_syn",
    "block_udp": "filtering",
}


@dataclass(frozen=True)
class Device:
    """A named NAT.  `layers` go from the host outwards; none at all means a host with a public address.

    about: what it is, in a line.  source: where most of it is known from.
    claims: the source of each thing that is known, by knob ("mapping"), or by part and knob ("carrier mapping").
    parts: what the layers are called, if there are several.

    >>> Device("mine", (NatBehavior(),), "my router", "-", {"mapping": "I asked two STUN servers"}).unknown
    ['filtering', 'ports', 'hairpin', 'unsolicited_syn', 'timeouts']
    """

    name: str
    layers: tuple[Behavior, ...]
    about: str
    source: str
    claims: Mapping[str, str] = field(default_factory=dict, hash=False)
    parts: tuple[str, ...] = ()

    def named_layers(self) -> Iterator[tuple[str, Behavior]]:
        """Each layer, and what its claims begin with: "" for the only one, else its part's name and a space."""
        for number, layer in enumerate(self.layers):
            part = self.parts[number] if number < len(self.parts) else f"layer {number + 1}"
            yield ("" if len(self.layers) == 1 else f"{part} "), layer

    @property
    def unknown(self) -> list[str]:
        """The important knobs that have no claim: there the model has the default, and may be wrong."""
        return [
            prefix + knob
            for prefix, layer in self.named_layers()
            for knob in IMPORTANT
            if prefix + knob not in self.claims and (translates(layer) or knob not in OF_TRANSLATION)
        ]


def translates(layer: Behavior) -> bool:
    """False for a firewall that leaves addresses alone."""
    return layer.translate if isinstance(layer, NatBehavior) else layer.masquerade is not Masquerade.NONE


def settings(layer: Behavior) -> Iterator[tuple[str, str, Any, bool]]:
    """Every setting of a layer: the knob of its claim, its name, its value, and whether that is the default."""
    for setting in fields(layer):
        usual = setting.default_factory() if setting.default_factory is not MISSING else setting.default
        value = getattr(layer, setting.name)
        yield CLAIM_OF.get(setting.name, setting.name), setting.name, value, value == usual
