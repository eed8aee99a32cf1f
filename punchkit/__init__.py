"""punchkit: connect two computers behind NATs; relayed at once, then silently direct.

    link = await punchkit.connect("7-amber-falcon", server="203.0.113.10")
    await link.write(b"hello")

Start reading at `link.py`.  The most instructive files are `punch_tcp.py`, how two NATs are talked into letting a
connection through, and `session.py`, how a stream moves from one path to another without a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from punchkit.errors import PunchkitError

if TYPE_CHECKING:
    from punchkit.dialing import connect
    from punchkit.link import Link
    from punchkit.server import Server, serve

__all__ = ["Link", "PunchkitError", "Server", "connect", "serve"]

#: Where the rest lives.  It is imported when first used, so that `import punchkit` stays light.
_HOMES = {
    "Link": "punchkit.link",
    "Server": "punchkit.server",
    "connect": "punchkit.dialing",
    "serve": "punchkit.server",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'punchkit' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
