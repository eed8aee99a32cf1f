"""The options of a simulated socket: which there are, which values they take, and what they are at first.

As on Linux, with Linux's errors; a table below says it all.  What options *do* is with those that do it: sharing ports
in `natsim/host_ports.py`, TCP's own in `natsim/host_tcp.py` (`Wishes`), the rest in `calls.py`, `streams.py` and
`datagrams.py`.  Options marked "kept" are remembered, and change nothing here.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Any

from ..host_ports import os_error
from ..host_tcp import Wishes
from ..packet import TCP, UDP
from ..scheduler import MILLISECOND, SECOND

#: The number of an option: of its level, and within it.
Key = tuple[int, int]


def _key(level: int, name: str, on_linux: int) -> Key:
    """Python does not name every option, and not on every system."""
    return level, getattr(socket, name, on_linux)


_SOL, _IP, _TCP = socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_TCP
_IP6 = getattr(socket, "IPPROTO_IPV6", 41)

REUSE_ADDRESS = _key(_SOL, "SO_REUSEADDR", 2)
REUSE_PORT = _key(_SOL, "SO_REUSEPORT", 15)
KEEP_ALIVE = _key(_SOL, "SO_KEEPALIVE", 9)
BROADCAST = _key(_SOL, "SO_BROADCAST", 6)
LINGER = _key(_SOL, "SO_LINGER", 13)
ERROR = _key(_SOL, "SO_ERROR", 4)
TYPE = _key(_SOL, "SO_TYPE", 3)
DOMAIN = _key(_SOL, "SO_DOMAIN", 39)
PROTOCOL = _key(_SOL, "SO_PROTOCOL", 38)
LISTENING = _key(_SOL, "SO_ACCEPTCONN", 30)
SEND_BUFFER = _key(_SOL, "SO_SNDBUF", 7)
RECEIVE_BUFFER = _key(_SOL, "SO_RCVBUF", 8)
BIND_TO_DEVICE = _key(_SOL, "SO_BINDTODEVICE", 25)
TTL = _key(_IP, "IP_TTL", 2)
MTU_DISCOVER = _key(_IP, "IP_MTU_DISCOVER", 10)
LOCAL_PORT_RANGE = _key(_IP, "IP_LOCAL_PORT_RANGE", 51)
V6ONLY = _key(_IP6, "IPV6_V6ONLY", 26)
HOPS = _key(_IP6, "IPV6_UNICAST_HOPS", 16)
MTU_DISCOVER6 = _key(_IP6, "IPV6_MTU_DISCOVER", 23)
DONT_FRAGMENT6 = _key(_IP6, "IPV6_DONTFRAG", 62)
LARGEST_SEGMENT = _key(_TCP, "TCP_MAXSEG", 2)
KEEP_IDLE = _key(_TCP, "TCP_KEEPIDLE", 4)
KEEP_INTERVAL = _key(_TCP, "TCP_KEEPINTVL", 5)
KEEP_COUNT = _key(_TCP, "TCP_KEEPCNT", 6)
USER_TIMEOUT = _key(_TCP, "TCP_USER_TIMEOUT", 18)
TCP_INFO = _key(_TCP, "TCP_INFO", 11)

#: The options that join a multicast group (True) or leave it.
MEMBERSHIP = {
    _key(_IP, "IP_ADD_MEMBERSHIP", 35): True,
    _key(_IP, "IP_DROP_MEMBERSHIP", 36): False,
    _key(_IP6, "IPV6_JOIN_GROUP", 20): True,
    _key(_IP6, "IPV6_LEAVE_GROUP", 21): False,
}

#: IP_PMTUDISC_DO: never cut a datagram, and say so in its header; IP_PMTUDISC_PROBE is like it.
_NEVER_CUT = (2, 3)

#: The smallest buffers that Linux lets a socket have, in bytes, and the largest that it may ask for.
_SMALLEST_BUFFER = {SEND_BUFFER: 4608, RECEIVE_BUFFER: 2304}
_LARGEST_WISH = 212992

#: The default of IP_TTL and IPV6_UNICAST_HOPS, which -1 asks for.
_DEFAULT_HOPS = 64


@dataclass(frozen=True)
class Option:
    """An option whose value is an int: its first value, the smallest and the largest; a flag is 1 for all but 0."""

    first: int = 0
    low: int = 0
    high: int = 2**31 - 1
    flag: bool = False
    only: str = ""  # the protocol or family that has it


_FLAG = Option(flag=True)

OPTIONS: dict[Key, Option] = {
    REUSE_ADDRESS: _FLAG,
    REUSE_PORT: _FLAG,
    KEEP_ALIVE: _FLAG,
    SEND_BUFFER: Option(_LARGEST_WISH),
    RECEIVE_BUFFER: Option(_LARGEST_WISH),
    BROADCAST: _FLAG,
    _key(_SOL, "SO_OOBINLINE", 10): _FLAG,  # kept
    _key(_SOL, "SO_DONTROUTE", 5): _FLAG,  # kept
    _key(_SOL, "SO_PRIORITY", 12): Option(),  # kept
    _key(_SOL, "SO_RCVLOWAT", 18): Option(1),  # kept
    _key(_SOL, "SO_MARK", 36): Option(),  # kept
    TTL: Option(_DEFAULT_HOPS, 1, 255),
    MTU_DISCOVER: Option(0, 0, 5),
    LOCAL_PORT_RANGE: Option(low=-(2**31)),
    _key(_IP, "IP_TOS", 1): Option(high=255),  # kept
    _key(_IP, "IP_RECVERR", 11): _FLAG,  # kept
    _key(_IP, "IP_PKTINFO", 8): _FLAG,  # kept
    _key(_IP, "IP_MULTICAST_TTL", 33): Option(1, 0, 255),  # kept
    _key(_IP, "IP_MULTICAST_LOOP", 34): Option(1, flag=True),  # kept
    _key(_IP, "IP_MULTICAST_IF", 32): Option(),  # kept
    V6ONLY: Option(flag=True, only="IPv6"),
    HOPS: Option(_DEFAULT_HOPS, 0, 255, only="IPv6"),
    MTU_DISCOVER6: Option(0, 0, 5, only="IPv6"),
    DONT_FRAGMENT6: Option(flag=True, only="IPv6"),
    _key(_IP6, "IPV6_TCLASS", 67): Option(0, -1, 255, only="IPv6"),  # kept
    _key(_IP6, "IPV6_RECVERR", 25): Option(flag=True, only="IPv6"),  # kept
    _key(_IP6, "IPV6_RECVPKTINFO", 49): Option(flag=True, only="IPv6"),  # kept
    _key(_IP6, "IPV6_MULTICAST_HOPS", 18): Option(1, -1, 255, only="IPv6"),  # kept
    _key(_IP6, "IPV6_MULTICAST_LOOP", 19): Option(1, flag=True, only="IPv6"),  # kept
    _key(_IP6, "IPV6_MULTICAST_IF", 17): Option(only="IPv6"),  # kept
    LARGEST_SEGMENT: Option(536, 88, 32767, only=TCP),
    KEEP_IDLE: Option(7200, 1, 32767, only=TCP),
    KEEP_INTERVAL: Option(75, 1, 32767, only=TCP),
    KEEP_COUNT: Option(9, 1, 127, only=TCP),
    USER_TIMEOUT: Option(only=TCP),
    _key(_TCP, "TCP_NODELAY", 1): Option(flag=True, only=TCP),  # kept: segments never wait (natsim/tcp.py)
    _key(_TCP, "TCP_CORK", 3): Option(flag=True, only=TCP),  # kept
    _key(_TCP, "TCP_QUICKACK", 12): Option(1, flag=True, only=TCP),  # kept
    _key(_TCP, "TCP_DEFER_ACCEPT", 9): Option(only=TCP),  # kept
    _key(_TCP, "TCP_SYNCNT", 7): Option(6, 1, 127, only=TCP),  # kept
    _key(_TCP, "TCP_NOTSENT_LOWAT", 25): Option(only=TCP),  # kept
}


class Options:
    """The options of one socket."""

    def __init__(self, protocol: str, ipv6: bool, values: dict[Key, int] | None = None) -> None:
        self.protocol = protocol
        self._ipv6 = ipv6
        self._values = dict(values or {})
        self._of_packets: dict[bool, tuple[int, bool]] = {}
        #: Seconds that a close waits for, or None; 0 resets (SO_LINGER).
        self.linger: int | None = None

    def inherited(self) -> Options:
        """Those of a connection that a socket with these accepts."""
        copy = Options(self.protocol, self._ipv6, self._values)
        copy.linger = self.linger
        return copy

    def __getitem__(self, key: Key) -> int:
        return self._values.get(key, OPTIONS[key].first)

    def get(self, key: Key, size: int | None) -> Any:
        """`getsockopt`: an int, or `size` bytes if that is given."""
        if key == LINGER:
            return struct.pack("ii", self.linger is not None, self.linger or 0)[: size or 0]
        if self._option(key, reading=True) is None:
            raise os_error(errno.ENOPROTOOPT)
        value = self[key]
        return value if size is None else struct.pack("I", value & 0xFFFFFFFF)[:size]

    def set(self, key: Key, value: Any) -> None:
        """`setsockopt`: raises as Linux does for what this socket has not, or does not take."""
        if key == BIND_TO_DEVICE:
            raise OSError(
                errno.ENODEV, "simulated hosts have no named devices; bind the socket to one of the host's addresses"
            )
        if key == LINGER:
            on, seconds = struct.unpack("ii", value)
            self.linger = seconds if on else None
            return
        option = self._option(key)
        if option is None:
            raise os_error(errno.ENOPROTOOPT)
        number = _number(value)
        if key in (TTL, HOPS) and number == -1:
            number = option.first
        if option.flag:
            number = int(bool(number))
        elif key in _SMALLEST_BUFFER:
            number = max(2 * min(number, _LARGEST_WISH), _SMALLEST_BUFFER[key])
        elif not option.low <= number <= option.high:
            raise os_error(errno.EINVAL)
        self._values[key] = number
        self._of_packets.clear()

    def _option(self, key: Key, *, reading: bool = False) -> Option | None:
        """The option, if this socket has it."""
        option = OPTIONS.get(key)
        if option is None or option.only not in ("", self.protocol, "IPv6" if self._ipv6 else ""):
            if reading and key[0] == _TCP and self.protocol == UDP:
                raise os_error(errno.EOPNOTSUPP)
            return None
        return option

    # -- What they mean ----------------------------------------------------------------------------------------------

    @property
    def port_range(self) -> tuple[int, int] | None:
        """Where port 0 draws from, if the socket has said so."""
        value = self[LOCAL_PORT_RANGE]
        return (value & 0xFFFF, value >> 16 & 0xFFFF) if value else None

    def of_a_packet(self, ipv6: bool) -> tuple[int, bool]:
        """Its TTL, and whether it must go in one piece.  Remembered, since every datagram that is sent asks."""
        if ipv6 not in self._of_packets:
            if ipv6:
                whole = bool(self[DONT_FRAGMENT6]) or self[MTU_DISCOVER6] in _NEVER_CUT
            else:
                whole = self[MTU_DISCOVER] in _NEVER_CUT
            self._of_packets[ipv6] = self[HOPS] if ipv6 else self[TTL], whole
        return self._of_packets[ipv6]

    def wishes(self, ipv6: bool) -> Wishes:
        """What they ask of a TCP connection.  Buffers that nobody has chosen are as large as they are (`Wishes`)."""
        wishes = Wishes(user_timeout=self[USER_TIMEOUT] * MILLISECOND or None, ttl=self.of_a_packet(ipv6)[0])
        if self[KEEP_ALIVE]:
            wishes.keepalive = self[KEEP_IDLE] * SECOND, self[KEEP_INTERVAL] * SECOND, self[KEEP_COUNT]
        if SEND_BUFFER in self._values:
            wishes.send_buffer = self[SEND_BUFFER] // 2
        if RECEIVE_BUFFER in self._values:
            wishes.receive_buffer = self[RECEIVE_BUFFER] // 2
        wishes.largest_segment = self._values.get(LARGEST_SEGMENT)
        return wishes


def _number(value: Any) -> int:
    """An option's value, which may come as the bytes of a C int."""
    if isinstance(value, int):
        return value
    data = bytes(value)
    if len(data) < 4:
        return data[0] if data else 0
    number: int = struct.unpack_from("i", data)[0]
    return number
