"""What the library ifaddr says about a simulated host: its addresses, not this machine's.

Libraries that offer a peer their own addresses ask it (aioice, zeroconf).  natsim does not need it: where nobody has
imported it before the world begins, there is nothing to do.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..host import LOOPBACK
from ..packet import IPV6_LOOPBACK, is_ipv6


@contextlib.contextmanager
def adapters_of_hosts(addresses: Callable[[], Sequence[str] | None]) -> Iterator[None]:
    """While this is entered, `ifaddr.get_adapters()` tells the `addresses()` of the current host, if there is one."""
    ifaddr: Any = sys.modules.get("ifaddr")
    if ifaddr is None:
        yield
        return
    of_this_machine = ifaddr.get_adapters

    def get_adapters(*args: Any, **options: Any) -> Any:
        own = addresses()
        if own is None:
            return of_this_machine(*args, **options)
        adapters = {"lo": (LOOPBACK, IPV6_LOOPBACK), "eth0": own}
        return [
            ifaddr.Adapter(name, name, [_ip(ifaddr, address, name) for address in its], index)
            for index, (name, its) in enumerate(adapters.items(), 1)
        ]

    ifaddr.get_adapters = get_adapters
    try:
        yield
    finally:
        ifaddr.get_adapters = of_this_machine


def _ip(ifaddr: Any, address: str, name: str) -> Any:
    return ifaddr.IP((address, 0, 0), 64, name) if is_ipv6(address) else ifaddr.IP(address, 24, name)
