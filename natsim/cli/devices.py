"""`natsim devices [NAME]`: the NATs that have a name, what they are as code, and who says so.

Without a name, a table of them all; with one, that NAT with the source of every claim.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from typing import Any

from natsim.nat.devices import DEVICES, Device, find
from natsim.nat.devices.device import settings
from natsim.nat.spelling import rule_name

#: How wide a line may be, and where the text beside a label begins.
WIDTH, COLUMN = 100, 18


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "devices",
        help="the NATs that have a name, and how they are known",
        description="The NATs that have a name: what each is, as code that makes it, where that is known from, and "
        "what is not known. With NAME, one of them and the source of every claim.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="one NAT, in full")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the NATs.  Raises UnknownDevice for a name that none has."""
    shown = [find(options.name)] if options.name else list(DEVICES.values())
    if options.json:
        print(json.dumps({"devices": [as_json(device) for device in shown]}))
    elif options.name:
        print("\n".join(in_full(shown[0])))
    else:
        print("\n\n".join("\n".join(in_short(device)) for device in shown))
    return 0


def as_json(device: Device) -> dict[str, Any]:
    """A device in the words of the command-line contract; its layers are the calls that make them."""
    return {
        "name": device.name,
        "about": device.about,
        "source": device.source,
        "layers": [repr(layer) for layer in device.layers],
        "claims": dict(device.claims),
        "unknown": device.unknown,
    }


def in_short(device: Device) -> Iterator[str]:
    """The entry of the table of all NATs."""
    yield from entry(device.name, device.about, COLUMN)
    for prefix, layer in device.named_layers():
        yield from entry("", f"{prefix.strip()}: {layer!r}" if prefix else repr(layer), COLUMN, hanging=4)
    if device.layers:
        yield from entry("", f"source: {device.source}", COLUMN)
    if device.unknown:
        yield from entry("", f"not known: {', '.join(assumptions(device))}", COLUMN)


def in_full(device: Device) -> Iterator[str]:
    """One NAT with the source of every claim, and before it the settings to which the claim has led."""
    yield from in_short(device)
    column = max([COLUMN, *(len(knob) + 2 for knob in device.claims)])
    for prefix, layer in device.named_layers():
        yield ""
        for knob in [knob for knob in device.claims if knob.startswith(prefix)]:
            chosen = [
                f"{name}={rule_name(value)}"
                for of, name, value, is_default in settings(layer)
                if prefix + of == knob and not is_default
            ]
            yield from entry(knob, ", ".join(chosen), column, hanging=4)
            yield from entry("" if chosen else knob, device.claims[knob], column)


def assumptions(device: Device) -> Iterator[str]:
    """What is not known of a device, and what its model has there: "hairpin (assumed Hairpin.NONE)"."""
    unknown = device.unknown
    for prefix, layer in device.named_layers():
        values = {prefix + of: value for of, _, value, _ in reversed(list(settings(layer)))}
        for knob in [name for name in unknown if name.startswith(prefix)]:
            yield f"{knob} (assumed {rule_name(values[knob])})" if knob in values else knob


def entry(label: str, text: str, column: int, hanging: int = 0) -> list[str]:
    """A label, and beside it a text in as many lines as it needs; all but the first are indented by `hanging` more."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"{label:{column - 1}} ",
        subsequent_indent=" " * (column + hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )
