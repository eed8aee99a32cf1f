"""The server: where two peers meet, and the relay between them, in one process and on one port.

`lobby.py` decides who meets whom (no I/O), `server.py` does the I/O.  The server never learns more than addresses,
times and sizes: what passes through it is sealed end to end.
"""

from punchkit.server.server import DEFAULT_PORT, Server, serve

__all__ = ["DEFAULT_PORT", "Server", "serve"]
