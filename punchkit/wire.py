"""What a peer and the server say to each other before the relay starts: single lines of JSON.

    peer    {"punchkit": 1, "room": "7"}           or   {"punchkit": 1, "allocate": true}
    server  {"welcome": 1, "room": "7", "you": ["198.51.100.1", 40000], "wait_s": 600}
    server  {"paired": "leader"}                   or   {"error": "crowded", "say": "..."}

After "paired" the server copies bytes from one peer to the other and says nothing more itself.

    peer    {"punchkit": 1, "observe": true}       only to learn how a new port of mine looks from outside
    server  {"welcome": 1, "you": ["198.51.100.1", 40001], "wait_s": 60}

Pure functions; used by `server/` and by `rendezvous.py`, its client.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from punchkit.errors import ProtocolError

VERSION = 1

#: The longest line, in bytes.
MAX_LINE = 1024

#: The longest room name.  A nameplate, or a name that two peers have derived from their key.
MAX_ROOM = 64

LEADER, FOLLOWER = "leader", "follower"

# Why a server refuses: the `error` of its line.
CROWDED, USED, NOBODY, BUSY, BAD = "crowded", "used", "nobody", "busy", "bad"


def line(**fields: Any) -> bytes:
    """One line of the conversation."""
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def parse(text: bytes) -> dict[str, Any]:
    """The fields of a line that came from the network.  Raises ProtocolError."""
    if len(text) > MAX_LINE:
        raise ProtocolError(f"a line of more than {MAX_LINE} bytes")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError(f"no line of JSON: {text[:40]!r}") from None
    if not isinstance(fields, dict):
        raise ProtocolError("a line of JSON that is no object")
    return fields


@dataclass(frozen=True)
class Hello:
    """What a peer asks for: a room (None: any that is free), or only to be told its address."""

    room: str | None = None
    observe: bool = False


def parse_hello(text: bytes) -> Hello:
    """What the first line of a peer asks for.  Raises ProtocolError."""
    fields = parse(text)
    if fields.get("punchkit") != VERSION:
        raise ProtocolError(f"this server speaks punchkit version {VERSION}, the peer said {fields.get('punchkit')!r}")
    if fields.get("observe") is True:
        return Hello(observe=True)
    if fields.get("allocate") is True:
        return Hello()
    room = fields.get("room")
    if not isinstance(room, str) or not 0 < len(room) <= MAX_ROOM or not room.isalnum():
        raise ProtocolError(f"a room is 1 to {MAX_ROOM} letters and digits")
    return Hello(room)


def parse_address(value: Any) -> tuple[str, int]:
    """An address as [text, port].  Raises ProtocolError."""
    match value:
        case [str(host), int(port)] if 0 < port < 65536 and len(host) <= 45:
            return host, port
    raise ProtocolError("an address that is none")
