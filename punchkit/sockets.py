"""Sockets that share one local port: the ground that TCP punching stands on.

A NAT with endpoint-independent mapping gives an inside socket the same outside port whatever it talks to.  So the
connection to the server and the connections to the peer must come *from the same local port*.  The system allows
that if every one of those sockets asks for it before it is bound (`SO_REUSEADDR`, and `SO_REUSEPORT` where it
exists), all bound to the same address: measured on Linux 6.18.

This file makes sockets and sets options, each only if the system has it.  Next: `rendezvous.py`, `punch_tcp.py`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from asyncio.trsock import TransportSocket

Address = tuple[str, int]

#: Seconds that what we sent may stay unacknowledged before the system gives the connection up (RFC 5482).  Repeats
#: come at doubling distances, so a partition of about half of this is survived; a sick direct path is left much
#: earlier, by the session's own clock.
USER_TIMEOUT = 30


def shared_socket(local: Address) -> socket.socket:
    """A TCP socket bound to `local` (port 0: any port), which others may share.  Raises OSError."""
    family = socket.AF_INET6 if ipaddress.ip_address(local[0]).version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(local)
    except BaseException:
        sock.close()
        raise
    return sock


async def local_address_towards(remote: Address) -> str:
    """The local IP address from which packets to `remote` leave.  Sends nothing.  Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(*remote, type=socket.SOCK_DGRAM)
    family, kind, _, _, address = found[0]
    with socket.socket(family, kind) as probe:
        probe.setblocking(False)
        probe.connect(address)
        local: str = probe.getsockname()[0]
        return local


def reset_on_close(sock: socket.socket | TransportSocket) -> None:
    """Have `close` send a RST, so that neither TIME-WAIT nor unsent data keeps the pair of endpoints busy."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass  # it is dead already


def close_with_reset(sock: socket.socket) -> None:
    """Close a connection that has lost the race, and leave nothing of it behind."""
    reset_on_close(sock)
    sock.close()


def notice_death(sock: socket.socket | TransportSocket) -> None:
    """Ask the system to probe an idle connection, and to give up one that gets no answers (seconds; RFC 9293 3.8)."""
    wanted = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": USER_TIMEOUT * 1000}
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in wanted.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError:
        pass  # it is dead already, and whoever reads it next will hear of it
