"""The server: where two peers meet, and the relay between them, in one process and on one port.

`lobby.py` decides who meets whom (no I/O), `server.py` does the I/O, `stun_server.py` tells UDP
ports how they look from outside.  The server never learns more than addresses, times and sizes: what passes through
it is sealed end to end.
"""

from punchkit.server.server import DEFAULT_PORT, Server, serve

__all__ = ["DEFAULT_PORT", "Server", "serve"]
