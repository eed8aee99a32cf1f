"""NATs by name, for the command line, notebooks and tables; each says where its behavior is known from.

A device is one or more layers: a carrier-grade NAT is a home router behind a carrier's.  `find(name)` knows them
all, and a name that it does not know gets the nearest right ones.  Next: `device.py`, what a device is.
"""

from __future__ import annotations

from ..spelling import did_you_mean
from . import carriers, clouds, desktops, linux, routers, textbook
from .device import Behavior, Device

__all__ = ["DEVICES", "Behavior", "Device", "UnknownDevice", "find"]

#: Every named NAT, by name: first the definitions, then what people have at home, on their desks and above them.
DEVICES: dict[str, Device] = {
    device.name: device
    for family in (textbook, linux, routers, desktops, clouds, carriers)
    for device in family.DEVICES
}


class UnknownDevice(ValueError):
    """No NAT has that name; the message offers the nearest ones."""


def find(name: str) -> Device:
    """The device of that name.

    >>> find("linux").about
    'nft masquerade, WAN input dropped'
    >>> find("linuxx")
    Traceback (most recent call last):
    ...
    natsim.nat.devices.UnknownDevice: no NAT is called 'linuxx'; did you mean linux, linux-open, linux-reject?
    """
    if name not in DEVICES:
        raise UnknownDevice(f"no NAT is called {name!r}; {did_you_mean(name, DEVICES)}")
    return DEVICES[name]
