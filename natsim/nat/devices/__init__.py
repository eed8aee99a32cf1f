"""NATs by name, for the command line, notebooks and tables; each says where its behavior is known from.

A device is one or more layers: a carrier-grade NAT is a home router behind a carrier's.  `find(name)` knows them
all, and a name that it does not know gets the nearest right ones.  Next: `device.py`, what a device is.
"""

from __future__ import annotations

from ..spelling import did_you_mean
from . import carriers, clouds, desktops, linux, routers, textbook
from .device import Behavior, Device, translates

__all__ = ["DEVICES", "Behavior", "Device", "UnknownDevice", "find", "find_firewall"]

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


def find_firewall(what: str | Behavior | Device) -> Behavior:
    """The behavior of a firewall for IPv6, given itself or by name.

    ValueError for what translates, since IPv6 has no NAT, and for a device of several routers.

    >>> find_firewall("linux")
    Traceback (most recent call last):
    ...
    ValueError: linux translates addresses, and IPv6 has no NAT; take a firewall, ipv6="firewall" say
    """
    device = find(what) if isinstance(what, str) else what
    name = device.name if isinstance(device, Device) else repr(device)
    layers = device.layers if isinstance(device, Device) else (device,)
    if len(layers) != 1:
        raise ValueError(f'{name} is not one router but {len(layers)}; take a firewall, ipv6="firewall" say')
    if translates(layers[0]):
        raise ValueError(f'{name} translates addresses, and IPv6 has no NAT; take a firewall, ipv6="firewall" say')
    return layers[0]
