"""conntrack's table in a namespace: read it, and make it forget.

Reading is text in /proc.  Forgetting is one netlink message, the one that `conntrack -F` sends.  The fields of a line
are those of a `Flow` of the model (`nat/conntrack.py`), and it shows itself in the same columns.
"""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from ..nat.table_row import TableRow
from ..packet import ICMP, TCP, Endpoint
from ..scheduler import SECOND
from .namespace import Namespace

#: From <linux/netlink.h> and <linux/netfilter/nfnetlink.h>.
NETLINK_NETFILTER, NLM_F_REQUEST, NLM_F_ACK = 12, 1, 4
NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE = 1, 2
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ENDS = re.compile(r"src=(\S+) dst=(\S+) (?:sport=(\d+) dport=(\d+)|type=(\d+) code=\d+ id=(\d+))")


class Line(NamedTuple):
    """A line of /proc/net/nf_conntrack: `seconds` is how long it will live, "" the state of what is not TCP.

    `query` is the ICMP type of the original direction.
    """

    protocol: str
    seconds: int
    state: str
    src: Endpoint
    dst: Endpoint
    reply_src: Endpoint
    reply_dst: Endpoint
    replied: bool
    assured: bool
    query: int | None = None

    def as_row(self, external: frozenset[str], now: int) -> TableRow:
        """For showing.  `external` are the router's own addresses; `now` in nanoseconds, as for any table."""
        from_outside = self.dst.address in external
        local = from_outside and self.reply_src == self.dst
        remote = self.src if from_outside else self.dst
        inside = (None if local else self.reply_src) if from_outside else self.src
        outside = self.dst if from_outside else self.reply_dst
        state = self.state or ("STREAM" if self.assured else "REPLIED" if self.replied else "UNREPLIED")
        return TableRow(self.protocol, inside, outside, remote, (remote,), state, now + self.seconds * SECOND)


def read_table(namespace: Namespace) -> list[Line]:
    """The flows that conntrack knows there, of IPv4."""
    text = namespace.call(Path("/proc/thread-self/net/nf_conntrack").read_text)
    return [line_of_conntrack(line) for line in text.splitlines() if line.startswith("ipv4")]


def line_of_conntrack(line: str) -> Line:
    """A line as /proc shows it."""
    words = line.split()
    protocol, seconds = words[2], int(words[4])
    state = words[5] if protocol == TCP else ""
    found = _ENDS.findall(line)
    (src, dst), (reply_src, reply_dst) = (
        (Endpoint(s, int(identifier or sport)), Endpoint(d, int(dport or 0)))
        for s, d, sport, dport, _, identifier in found
    )
    if protocol == ICMP:  # the identifier belongs to whoever asks
        reply_src, reply_dst = Endpoint(reply_src.address, 0), Endpoint(reply_dst.address, reply_src.port)
    replied, assured = "[UNREPLIED]" not in line, "[ASSURED]" in line
    query = int(found[0][4]) if protocol == ICMP else None
    return Line(protocol, seconds, state, src, dst, reply_src, reply_dst, replied, assured, query)


def flush(namespace: Namespace) -> None:
    """Make conntrack forget every flow.  Raises OSError if the kernel will not."""
    namespace.call(_flush)


def _flush() -> None:
    kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE
    everything = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)  # struct nfgenmsg: any family, and no flow in particular
    message = _HEADER.pack(_HEADER.size + len(everything), kind, NLM_F_REQUEST | NLM_F_ACK, 1, 0) + everything
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.send(message)
        answer = netlink.recv(1024)
    (code,) = struct.unpack_from("=i", answer, _HEADER.size)
    if code:
        raise OSError(-code, "conntrack does not forget")
