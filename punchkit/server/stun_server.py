"""STUN beside the relay: a datagram asks "from where do you see me?", and one answers (RFC 8489, method Binding).

It listens on UDP under the same port number as the server itself.  Anybody can send datagrams in somebody else's
name, and have the answers go there.  So an answer is never larger than what asked, and whoever wants one makes its
request as long: `punchkit/outside.py` does, with a SOFTWARE attribute.  A shorter request gets no answer.

`respond` is all of it, without I/O; the class only gives it a socket.  Nothing is remembered between two datagrams.
Next: `stun.py`, the messages.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from punchkit.errors import ProtocolError
from punchkit.sockets import Address
from punchkit.stun import Kind, Message, decode, encode

#: The number of CHANGE-REQUEST: a server with one address cannot answer from another (RFC 5780 section 6.1).
CHANGE_REQUEST = 0x0003

#: The longest request that is looked at, in bytes: an honest one has a few dozen.
LONGEST_REQUEST = 548


def respond(data: bytes, source: Address) -> bytes | None:
    """The answer to one datagram from `source`, or None: it was no request, or too short for its answer.

    An attribute that we do not know, and that the sender calls indispensable, is refused with error 420 (RFC 8489
    section 6.3.1).  Raises nothing, whatever the datagram holds.
    """
    if len(data) > LONGEST_REQUEST:
        return None
    try:
        request = decode(data)
    except ProtocolError:
        return None
    if request.kind is not Kind.REQUEST:
        return None
    change = request.attributes.get("CHANGE-REQUEST")
    unknown = request.unknown + ((CHANGE_REQUEST,) if change is not None and any(change) else ())
    if unknown:
        refusal = {"ERROR-CODE": (420, "Unknown Attribute"), "UNKNOWN-ATTRIBUTES": unknown}
        answer = encode(Message(Kind.ERROR, request.transaction, refusal))
    else:
        answer = encode(Message(Kind.SUCCESS, request.transaction, {"XOR-MAPPED-ADDRESS": source}))
    return answer if len(answer) <= len(data) else None


class StunServer(asyncio.DatagramProtocol):
    """One UDP port that answers.  `await StunServer.open((address, port))`, and `close`."""

    @classmethod
    async def open(cls, local: Address) -> StunServer:
        """Bind and answer from now on.  Raises OSError."""
        loop = asyncio.get_running_loop()
        family, kind, _, _, address = (await loop.getaddrinfo(*local, type=socket.SOCK_DGRAM))[0]
        sock = socket.socket(family, kind)
        try:
            if family == socket.AF_INET6:  # or "::" would take the port from a neighbour on "0.0.0.0"
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind(address)
            _, server = await loop.create_datagram_endpoint(cls, sock=sock)
        except BaseException:
            sock.close()
            raise
        return server

    def close(self) -> None:
        """Close the port."""
        self._transport.close()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = respond(data, addr[:2])  # IPv6 has two numbers more
        if answer is not None:
            self._transport.sendto(answer, addr)
