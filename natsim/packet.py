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

A packet is of IPv4 or of IPv6 as its addresses are (`Packet.version`).  Both families share every field here: "icmp" is
ICMPv4 or ICMPv6, whose types and codes differ (`icmp_error.py` has both), and `ttl` is what IPv6 calls the hop limit.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

# TCP flags, RFC 9293 section 3.1.
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

#: The letters by which tcpdump shows flags; the dot is ACK.
_FLAG_LETTERS = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "."))

UDP, TCP, ICMP = "udp", "tcp", "icmp"

#: Bytes of an IPv4 header; nothing here has IP options.
IP_HEADER = 20

#: Bytes of an IPv6 header (RFC 8200 section 3); and of the one that only fragments have after it (section 4.5).
IPV6_HEADER, FRAGMENT_HEADER = 40, 8

#: Every link takes IPv6 packets of so many bytes (RFC 8200 section 5).
IPV6_MINIMUM_MTU = 1280

#: By this address an IPv6 host speaks to itself (RFC 4291 section 2.5.3).
IPV6_LOOPBACK = "::1"


def is_ipv6(address: str) -> bool:
    """Is this, being an address, one of IPv6?

    >>> is_ipv6("2001:db8::1"), is_ipv6("192.0.2.1")
    (True, False)
    """
    return ":" in address


def canonical(address: str) -> str:
    """The one spelling of an address that packets have (RFC 5952).  ValueError for what is no address.

    >>> canonical("2001:0DB8:0:0::0:1")
    '2001:db8::1'
    """
    return str(ip_address(address))


class Endpoint(NamedTuple):
    """An IP address, in its `canonical` spelling, and a port (or, for ICMP queries, an identifier).

    >>> str(Endpoint("192.168.1.2", 5000))
    '192.168.1.2:5000'
    >>> str(Endpoint("2001:db8::1", 80))
    '[2001:db8::1]:80'
    """

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if is_ipv6(self.address) else f"{self.address}:{self.port}"


class Fragment(NamedTuple):
    """Which part of an IP datagram a packet is (RFC 791 section 3.1, RFC 8200 section 4.5).

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
    has its identifier as the port of `src`, and the reply to it as the port of `dst`.  `mtu` is that of the next link,
    in the error that says that a packet is too large for it (RFC 1191 section 4, RFC 4443 section 3.2).

    `df` is the IPv4 header's "don't fragment"; no router cuts a packet of IPv6, which has no such bit.  A packet that
    is a part of a datagram has a `fragment`.  In all parts but the first there is no header of the protocol: their
    ports are 0, and `payload` is all that they carry.
    """

    __slots__ = (
        "uid", "cause", "protocol", "src", "dst", "ttl", "payload",
        "flags", "seq", "ack", "window", "mss", "wscale", "icmp", "quoted",
        "mtu", "df", "fragment",
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
        mtu: int | None = None,
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
        self.mtu = mtu
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
        copy.mtu = self.mtu
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
    def version(self) -> int:
        """Of IP: 4 or 6."""
        return 6 if is_ipv6(self.src.address) else 4

    @property
    def may_be_cut(self) -> bool:
        """May a router cut it into fragments?  Those of IPv6 never do, only hosts (RFC 8200 section 4.5)."""
        return not self.df and not is_ipv6(self.src.address)

    @property
    def header_size(self) -> int:
        """Bytes of the IP header, and of IPv6's fragment header if it has one."""
        if not is_ipv6(self.src.address):
            return IP_HEADER
        return IPV6_HEADER if self.fragment is None else IPV6_HEADER + FRAGMENT_HEADER

    @property
    def size(self) -> int:
        """Bytes on the wire, IP header included.

        An ICMP error of IPv4 quotes as little as it may, 28 bytes (RFC 792); one of IPv6 as much as it may, as long as
        it has no more than 1,280 bytes itself (RFC 4443 section 2.4c).
        """
        if self.is_later_fragment:
            return self.header_size + len(self.payload)
        if self.protocol == TCP:
            options = 4 * (self.mss is not None) + 4 * (self.wscale is not None)
            return self.header_size + 20 + options + len(self.payload)
        octets = self.header_size + 8 + len(self.payload)
        if self.quoted is None:
            return octets
        if is_ipv6(self.src.address):
            return min(IPV6_MINIMUM_MTU, octets + self.quoted.size)
        return octets + IP_HEADER + 8

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
            what = f"{'icmp' if self.version == 4 else 'icmpv6'} {self.icmp[0]}/{self.icmp[1]}"
        if self.fragment is not None:
            identification, offset, more = self.fragment
            what += f" fragment {identification}@{offset}{'+' if more else ''}"
        size = f" {len(self.payload)} bytes" if self.payload else ""
        return f"<#{self.uid} {what} {self.src} > {self.dst}{size}>"
