"""What travels: endpoints and packets.

What lives here: `Endpoint`, an address with a port, and `Packet`, one IP packet with the fields that a NAT
or a TCP looks at.  What does not: anything that decides (see `nat/` and `tcp.py`), moves (see `pipe.py`) or cuts
packets into fragments (see `fragmentation.py`).

Two rules of this file:

1. A packet is never changed once it is sent, except for `ttl`, which routers count down.  A NAT makes a
   translated *copy* (`Packet.rewritten`), so the trace can keep the packet before and after for ever.
2. A copy keeps the `uid`: the packet that leaves alice and the one that reaches bob are two pictures of one
   packet.  A *reply* (a RST, an ICMP error) is a new packet whose `cause` is the uid that provoked it.  So is every
   fragment of a packet but the first, which keeps the uid.
"""

from __future__ import annotations

from typing import NamedTuple

# TCP flags, RFC 9293 section 3.1.
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

#: The letters by which tcpdump shows flags; the dot is ACK.
_FLAG_LETTERS = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "."))

UDP, TCP, ICMP = "udp", "tcp", "icmp"

#: Bytes of an IPv4 header; nothing here has IP options.
IP_HEADER = 20


class Endpoint(NamedTuple):
    """An IP address and a port (or, for ICMP queries, an identifier).

    >>> str(Endpoint("192.168.1.2", 5000))
    '192.168.1.2:5000'
    >>> str(Endpoint("2001:db8::1", 80))
    '[2001:db8::1]:80'
    """

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Fragment(NamedTuple):
    """Which part of an IP datagram a packet is (RFC 791 section 3.1).

    `identification` is the same in all fragments of a datagram.  `offset` counts the bytes of the datagram before this
    part, without the IP header; `more` is False in the last fragment.
    """

    identification: int
    offset: int
    more: bool


def flag_text(flags: int) -> str:
    """TCP flags as tcpdump writes them.

    >>> flag_text(SYN), flag_text(SYN | ACK), flag_text(ACK)
    ('S', 'S.', '.')
    """
    return "".join(letter for bit, letter in _FLAG_LETTERS if flags & bit) or "none"


class Packet:
    """One IP packet.  Fields that its protocol does not have keep their defaults.

    `src` and `dst` are `Endpoint`s; `protocol` is "udp", "tcp" or "icmp".  TCP: `seq` and `ack` count modulo
    2**32, `window` is what goes on the wire (not yet scaled), `mss` and `wscale` are the options of a SYN, or
    None.  ICMP: `icmp` is (type, code); an error carries the packet it complains about in `quoted`, a query
    has its identifier as the port of `src`, and the reply to it as the port of `dst`.

    `df` is the IP header's "don't fragment".  A packet that is a part of a datagram has a `fragment`.  In all parts
    but the first there is no header of the protocol: their ports are 0, and `payload` is all that they carry.
    """

    __slots__ = (
        "uid", "cause", "protocol", "src", "dst", "ttl", "payload",
        "flags", "seq", "ack", "window", "mss", "wscale", "icmp", "quoted",
        "df", "fragment",
    )  # fmt: skip

    def __init__(
        self,
        protocol: str,
        src: Endpoint,
        dst: Endpoint,
        payload: bytes = b"",
        *,
        flags: int = 0,
        seq: int = 0,
        ack: int = 0,
        window: int = 0,
        mss: int | None = None,
        wscale: int | None = None,
        icmp: tuple[int, int] | None = None,
        quoted: Packet | None = None,
        ttl: int = 64,
        cause: int | None = None,
        df: bool = False,
        fragment: Fragment | None = None,
    ) -> None:
        self.uid = 0  # given by the trace when the packet is sent, so that runs number alike
        self.cause = cause
        self.protocol = protocol
        self.src = src
        self.dst = dst
        self.ttl = ttl
        self.payload = payload
        self.flags = flags
        self.seq = seq
        self.ack = ack
        self.window = window
        self.mss = mss
        self.wscale = wscale
        self.icmp = icmp
        self.quoted = quoted
        self.df = df
        self.fragment = fragment

    def rewritten(
        self,
        src: Endpoint | None = None,
        dst: Endpoint | None = None,
        quoted: Packet | None = None,
        payload: bytes | None = None,
    ) -> Packet:
        """The same packet (same `uid`) with other addresses: what a NAT sends on."""
        copy = Packet.__new__(Packet)
        copy.uid = self.uid
        copy.cause = self.cause
        copy.protocol = self.protocol
        copy.src = src or self.src
        copy.dst = dst or self.dst
        copy.ttl = self.ttl
        copy.payload = self.payload if payload is None else payload
        copy.flags = self.flags
        copy.seq = self.seq
        copy.ack = self.ack
        copy.window = self.window
        copy.mss = self.mss
        copy.wscale = self.wscale
        copy.icmp = self.icmp
        copy.quoted = quoted or self.quoted
        copy.df = self.df
        copy.fragment = self.fragment
        return copy

    @property
    def is_initial_syn(self) -> bool:
        """A SYN without ACK: somebody opens a connection."""
        return self.protocol == TCP and self.flags & (SYN | ACK | RST) == SYN

    @property
    def is_icmp_error(self) -> bool:
        """An ICMP message that complains about another packet; the others are queries and their replies."""
        return self.protocol == ICMP and self.quoted is not None

    @property
    def is_later_fragment(self) -> bool:
        """A part of a datagram without its beginning, and so without ports."""
        return self.fragment is not None and self.fragment.offset > 0

    @property
    def size(self) -> int:
        """Bytes on the wire, IP header included.  An ICMP error quotes as little as it may (RFC 792): 28 bytes."""
        if self.is_later_fragment:
            return IP_HEADER + len(self.payload)
        if self.protocol == TCP:
            options = 4 * (self.mss is not None) + 4 * (self.wscale is not None)
            return IP_HEADER + 20 + options + len(self.payload)
        quoted = IP_HEADER + 8 if self.quoted is not None else 0
        return IP_HEADER + 8 + quoted + len(self.payload)

    @property
    def segment_length(self) -> int:
        """SEG.LEN of RFC 9293 section 3.3.1: payload octets, and one each for SYN and FIN."""
        return len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)

    def __repr__(self) -> str:
        what = self.protocol
        if self.protocol == TCP:
            what = f"tcp {flag_text(self.flags)} seq={self.seq}"
            if self.flags & ACK:
                what += f" ack={self.ack}"
        elif self.icmp:
            what = f"icmp {self.icmp[0]}/{self.icmp[1]}"
        if self.fragment is not None:
            identification, offset, more = self.fragment
            what += f" fragment {identification}@{offset}{'+' if more else ''}"
        size = f" {len(self.payload)} bytes" if self.payload else ""
        return f"<#{self.uid} {what} {self.src} > {self.dst}{size}>"
