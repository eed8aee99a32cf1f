"""What a lab that was killed may have left: processes that still sit in one of its namespaces.

The namespaces themselves have no name and die with the process that made them, unless somebody is in them: a shell
that a teacher has opened, say.  A namespace of ours is known by the alias of its loopback (`addressing.MARK`), and its
lab is alive if a thread of some other process lives in it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .addressing import MARK
from .requirements import program


class Leftover(NamedTuple):
    """A process that sits in a namespace whose lab is gone."""

    pid: int
    command: str


def leftovers() -> list[Leftover]:
    """All of them, on this machine."""
    inhabitants: dict[str, list[int]] = {}
    owned: set[str] = set()
    for process in _processes():
        own = _namespace(process)
        if own is not None:
            inhabitants.setdefault(own, []).append(int(process.name))
        for thread in _listed(process / "task"):
            place = _namespace(thread)
            if place is not None and place != own:
                owned.add(place)
    ours = os.readlink("/proc/self/ns/net")
    found = []
    for namespace, pids in inhabitants.items():
        if namespace not in owned and namespace != ours and _is_of_a_lab(pids[0]):
            found += [Leftover(pid, _command(pid)) for pid in pids]
    return sorted(found)


def _processes() -> Iterator[Path]:
    return (path for path in _listed(Path("/proc")) if path.name.isdigit())


def _listed(folder: Path) -> list[Path]:
    """What is in a folder of /proc; nothing if the process has ended meanwhile."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _namespace(process: Path) -> str | None:
    try:
        return os.readlink(process / "ns" / "net")
    except OSError:
        return None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "?"


def _is_of_a_lab(pid: int) -> bool:
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", program("ip"), "-o", "link", "show", "lo"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return f"alias {MARK}" in shown
