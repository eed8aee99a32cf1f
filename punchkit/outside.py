"""How a UDP port looks from outside: one question to a STUN server, repeated until it is answered (RFC 8489).

    port = await DatagramClient.open()
    await outside_address(port, ("203.0.113.10", 7711))     # ("198.51.100.1", 40000)

The port stays open and can then punch: behind a NAT with endpoint-independent mapping, the peer reaches it there.
Next: `punch_udp.py`, how to punch; `server/stun_server.py`, who answers.
"""

from __future__ import annotations

from punchkit.retransmission import STUN, DatagramClient
from punchkit.sockets import Address
from punchkit.stun import Kind, Message, decode, encode

#: A server answers with no more bytes than we send.  This makes a request 52 bytes long, which is what an answer with
#: an IPv6 address has: header 20, XOR-MAPPED-ADDRESS 24, FINGERPRINT 8.
PADDING = {"SOFTWARE": "punchkit".ljust(20)}


async def outside_address(port: DatagramClient, server: Address) -> Address:
    """Where `server`, an IP address and a UDP port, sees the port.  Raises NoAnswer."""
    request = Message(Kind.REQUEST, attributes=PADDING)

    def accept(data: bytes, source: Address) -> Address | None:
        reply = decode(data)
        return reply.mapped if source == server and reply.answers(request) else None

    return await port.request(encode(request), server, accept, STUN)
