"""Can the kernel world be built here?  If not, why not, and what to do about it.

Permissions are not guessed: a namespace is made, and what a NAT needs is tried in it.  Touches nothing else.
"""

from __future__ import annotations

import os
import shutil
import sys

from .namespace import CommandFailed, Namespace
from .nftables import TRIAL

#: Where `ip` and `nft` lie; many a root has no sbin in its PATH.
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

TUN = "/dev/net/tun"

_ELSE = 'or use world="sim", which needs nothing'
_CONTAINER = f"in a container, run it with --privileged, {_ELSE}"


def program(name: str) -> str:
    """The path of a program."""
    return shutil.which(name, path=SEARCH) or name


def available() -> str | None:
    """None if the kernel world can be built here, else a sentence: what is missing, and what to do."""
    if not sys.platform.startswith("linux"):
        return f"The kernel world is made of Linux network namespaces, and this is {sys.platform}: use Linux, {_ELSE}."
    if os.geteuid() != 0:
        return (
            "The kernel world needs root to make network namespaces: run with sudo, or start Python (or JupyterLab) "
            f"with `unshare --user --map-root-user` before it, where users may do that, {_ELSE}."
        )
    for name, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(name, path=SEARCH) is None:
            return f"The kernel world needs the program `{name}`: install the package {package}, {_ELSE}."
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"The kernel world delays packets with TUN, and cannot open {TUN}: `modprobe tun`; {_CONTAINER}."
    return _try()


def _try() -> str | None:
    try:
        namespace = Namespace("trial")
    except OSError as exc:
        return f"This machine forbids network namespaces ({exc.strerror}): {_CONTAINER}."
    try:
        namespace.sysctl({"ipv4/ip_forward": "1"})
        namespace.run([program("nft"), "-f", "-"], TRIAL)
    except OSError as exc:
        return f"A namespace's settings in /proc/sys/net cannot be written ({exc.strerror}): {_CONTAINER}."
    except CommandFailed as exc:
        return f"This kernel's nftables cannot do NAT: `modprobe nft_masq nft_reject_ipv4`, {_ELSE}. {exc}"
    finally:
        namespace.close()
    return None
