"""What the tests of real sockets need of this machine: free ports, IPv6, and nobody else who does the same."""

from __future__ import annotations

import contextlib
import itertools
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def machine_to_itself() -> Iterator[None]:
    """Ports of this machine are chosen and used; meanwhile another run of these tests waits."""
    with (Path(tempfile.gettempdir()) / "natsim-socket-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def free_ports(start: int = 10240, step: int = 1) -> Iterator[int]:
    """Numbers from `start` on (those of Linux's own choice are higher); those in use here are passed over."""
    for port in itertools.count(start, step):
        with socket.socket(socket.AF_INET6) as tcp, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            try:
                for sock in (tcp, udp):
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                    sock.bind(("::", port))
            except OSError:
                continue
        yield port


def has_ipv6() -> bool:
    """Can this machine speak IPv6 to itself?"""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True
