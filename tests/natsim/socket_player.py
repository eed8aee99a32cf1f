"""Plays the cases of `socket_cases.txt`, on whatever sockets its host makes: simulated or real ones.

The language of the cases is in `socket_table.py`; each verb of it is a method of `Player` here.
"""

from __future__ import annotations

import asyncio
import errno
import selectors
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

from socket_table import Case, Step

#: How often, and how often at most, a step is tried again that came too early.
INTERVAL, TRIES = 0.002, 300

#: "pause": long enough for a packet there and the answer back, on real networks too.
PAUSE = 0.06

RESET_ON_CLOSE = struct.pack("ii", 1, 0)

FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}

#: Options by their name in the tables: level, number.  Those that Python has no name for are Linux's.
OPTIONS = {
    "reuseaddr": (socket.SOL_SOCKET, socket.SO_REUSEADDR),
    "reuseport": (socket.SOL_SOCKET, socket.SO_REUSEPORT),
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "broadcast": (socket.SOL_SOCKET, socket.SO_BROADCAST),
    "type": (socket.SOL_SOCKET, socket.SO_TYPE),
    "domain": (socket.SOL_SOCKET, socket.SO_DOMAIN),
    "protocol": (socket.SOL_SOCKET, socket.SO_PROTOCOL),
    "listening": (socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
    "sndbuf": (socket.SOL_SOCKET, socket.SO_SNDBUF),
    "rcvbuf": (socket.SOL_SOCKET, socket.SO_RCVBUF),
    "v6only": (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
    "hops": (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
    "ttl": (socket.IPPROTO_IP, socket.IP_TTL),
    "mtu_discover": (socket.IPPROTO_IP, 10),
    "ports": (socket.IPPROTO_IP, 51),  # IP_LOCAL_PORT_RANGE: the first port and the last; here the same
    "nodelay": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
    "maxseg": (socket.IPPROTO_TCP, socket.TCP_MAXSEG),
    "keepidle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "keepintvl": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "keepcnt": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
}

FLAGS = {
    "peek": socket.MSG_PEEK,
    "trunc": socket.MSG_TRUNC,
    "nosignal": socket.MSG_NOSIGNAL,
    "dontwait": socket.MSG_DONTWAIT,
}
HOW = {"rd": socket.SHUT_RD, "wr": socket.SHUT_WR, "rdwr": socket.SHUT_RDWR}


Spawn = Callable[[str, Any], Any]


class Player:
    """Carries out one case.  `ports` are its own; `places` are the addresses of other hosts, by name.

    `on` runs a function on another host: its socket is made there.
    """

    def __init__(self, ports: Iterator[int], places: dict[str, str] | None = None, on: Spawn | None = None) -> None:
        self._ports = ports
        self._places = places or {}
        self._on = on
        self._names: dict[str, int] = {}
        self._sockets: dict[str, socket.socket] = {}

    async def play(self, case: Case) -> list[str]:
        """What came of each step, in the words of the table."""
        try:
            return [f"{' '.join(step.words)} -> {await self._until_it_fits(step)}" for step in case.steps]
        finally:
            for sock in self._sockets.values():
                sock.close()

    async def _until_it_fits(self, step: Step) -> str:
        for _ in range(TRIES):
            result = await self._do(step)
            if result == step.expected or not self._is_too_early(step.words[1:2], result):
                break
            await asyncio.sleep(INTERVAL)
        return result

    @staticmethod
    def _is_too_early(verb: tuple[str, ...], result: str) -> bool:
        return result == "EAGAIN" or verb == ("ready",) or (verb == ("error",) and result == "0")

    async def _do(self, step: Step) -> str:
        if step.words == ("pause",):
            await asyncio.sleep(PAUSE)
            return "ok"
        who, verb, *words = step.words
        try:
            if verb[:3] in KINDS:
                result = await self._make(who, verb, words)
            elif verb == "connect":
                result = await self._connect(self._sockets[who], *words)
            else:
                result = getattr(self, f"_{verb}")(self._sockets[who], *words)
        except OSError as exc:
            return named(exc.errno or 0)
        return self._shown(result)

    # -- Words and values ------------------------------------------------------------------------------------------

    def _port(self, word: str) -> int:
        if word.isdigit():
            return int(word)
        if word not in self._names:
            self._names[word] = next(self._ports)
        return self._names[word]

    def _address(self, word: str) -> tuple[str, int]:
        """ "127.0.0.1:P", "[::1]:P", "bob:P", or a socket's own name: "a"."""
        if word in self._sockets:
            return self._sockets[word].getsockname()
        host, port = word.rsplit(":", 1)
        host = host.strip("[]")
        return self._places.get(host, host), self._port(port)

    def _shown(self, result: Any) -> str:
        if result is None:
            return "ok"
        if isinstance(result, bytes):
            return f'"{result.decode()}"' if len(result) < 40 else f"{len(result)} bytes"
        if isinstance(result, tuple) and isinstance(result[0], bytes):
            return f"{self._shown(result[0])} from {self._shown(result[1])}"
        if isinstance(result, tuple):
            host, port, *rest = result
            places = {address: name for name, address in self._places.items()}
            symbols = {number: name for name, number in self._names.items()} | {0: "0"}
            shown = f"[{host}]" if ":" in host else places.get(host, host)
            scope = "" if rest in ([], [0, 0]) else f" {rest}"
            return f"{shown}:{symbols.get(port, '*')}{scope}"
        return str(result)

    # -- Verbs -----------------------------------------------------------------------------------------------------

    async def _make(self, who: str, what: str, options: list[str]) -> None:
        kind, family = KINDS[what[:3]], FAMILIES[what[3:] or "4"]
        name, _, host = who.partition("@")

        async def make() -> socket.socket:
            return socket.socket(family, kind)

        assert not host or self._on is not None
        sock = await (self._on(host, make()) if host and self._on else make())
        sock.setblocking(False)
        for option in options:
            sock.setsockopt(*OPTIONS[option.removeprefix("no-")], int(not option.startswith("no-")))
        if name in self._sockets:
            self._sockets[name].close()
        self._sockets[name] = sock

    async def _connect(self, sock: socket.socket, where: str) -> str:
        """Connect, and wait for what comes of it."""
        code = sock.connect_ex(self._address(where))
        if code == errno.EINPROGRESS:
            for _ in range(4 * TRIES):
                await asyncio.sleep(INTERVAL)
                if "w" in readiness(sock):
                    break
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return named(code)

    def _start(self, sock: socket.socket, where: str) -> str:
        """Connect, without waiting."""
        code = sock.connect_ex(self._address(where))
        return named(code)

    def _bind(self, sock: socket.socket, where: str) -> None:
        sock.bind(self._address(where))

    def _listen(self, sock: socket.socket, backlog: str = "16") -> None:
        sock.listen(int(backlog))

    def _accept(self, sock: socket.socket, name: str) -> Any:
        accepted, peer = sock.accept()
        accepted.setblocking(False)
        self._sockets[name] = accepted
        return peer

    def _send(self, sock: socket.socket, text: str, *flags: str) -> int:
        return sock.send(data(text), flags_of(flags))

    def _sendto(self, sock: socket.socket, where: str, text: str) -> int:
        return sock.sendto(data(text), self._address(where))

    def _sendmsg(self, sock: socket.socket, *words: str) -> int:
        """Of several pieces; to an address if it begins with one."""
        if ":" in words[0] or words[0] in self._sockets:
            return sock.sendmsg([data(word) for word in words[1:]], [], 0, self._address(words[0]))
        return sock.sendmsg([data(word) for word in words])

    def _recv(self, sock: socket.socket, size: str, *flags: str) -> bytes:
        return sock.recv(int(size), flags_of(flags))

    def _recvfrom(self, sock: socket.socket, size: str, *flags: str) -> Any:
        return sock.recvfrom(int(size), flags_of(flags))

    def _recvinto(self, sock: socket.socket, size: str, *flags: str) -> int:
        """How many bytes the call says it has put into a buffer of this size."""
        return sock.recv_into(bytearray(int(size)), 0, flags_of(flags))

    def _recvmsg(self, sock: socket.socket, size: str) -> str:
        text, _, flags, _ = sock.recvmsg(int(size))
        return self._shown(text) + (" cut" if flags & socket.MSG_TRUNC else "")

    def _fill(self, sock: socket.socket) -> None:
        """Send until nothing more is taken."""
        while True:
            sock.send(bytes(65536))

    def _drain(self, sock: socket.socket) -> None:
        """Read all that is there."""
        try:
            while sock.recv(1 << 20):
                pass
        except BlockingIOError:
            pass

    def _shutdown(self, sock: socket.socket, how: str) -> None:
        sock.shutdown(HOW[how])

    def _close(self, sock: socket.socket) -> None:
        sock.close()

    def _reset(self, sock: socket.socket) -> None:
        """Close with SO_LINGER 0."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        sock.close()

    def _name(self, sock: socket.socket) -> Any:
        return sock.getsockname()

    def _peer(self, sock: socket.socket) -> Any:
        return sock.getpeername()

    def _is(self, sock: socket.socket, other: str) -> str:
        """Is the one's peer the other?"""
        return str(sock.getpeername() == self._sockets[other].getsockname())

    def _set(self, sock: socket.socket, option: str, value: str) -> None:
        if option == "ports":
            sock.setsockopt(*OPTIONS[option], struct.pack("HH", self._port(value), self._port(value)))
        elif option == "linger":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, int(value)))
        else:
            sock.setsockopt(*OPTIONS[option], int(value))

    def _linger(self, sock: socket.socket) -> str:
        on, seconds = struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
        return str(seconds) if on else "off"

    def _get(self, sock: socket.socket, option: str) -> int:
        return sock.getsockopt(*OPTIONS[option])

    def _state(self, sock: socket.socket) -> str:
        """The state of TCP, by its number in TCP_INFO."""
        return STATES[sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)[0]]

    def _error(self, sock: socket.socket) -> str:
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return named(code) if code else "0"

    def _ready(self, sock: socket.socket) -> str:
        return readiness(sock) or "no"


#: TCP_INFO's numbers of the states (include/net/tcp_states.h).
STATES = {
    1: "ESTABLISHED",
    2: "SYN-SENT",
    3: "SYN-RECEIVED",
    4: "FIN-WAIT-1",
    5: "FIN-WAIT-2",
    7: "CLOSED",
    8: "CLOSE-WAIT",
    9: "LAST-ACK",
    10: "LISTEN",
}


def data(text: str) -> bytes:
    """Bytes: `hello`, `""` for none, `x*1000` for many."""
    if "*" in text:
        letter, _, count = text.partition("*")
        return letter.encode() * int(count)
    return text.strip('"').encode()


def named(code: int) -> str:
    """An errno by its name on Linux, where one number has two."""
    return errno.errorcode[code].replace("ENOTSUP", "EOPNOTSUPP") if code else "ok"


def flags_of(names: tuple[str, ...]) -> int:
    return sum(FLAGS[name] for name in names)


def readiness(sock: socket.socket) -> str:
    """What the selector of this socket's loop says: "r", "w", "rw" or nothing."""
    if hasattr(sock, "readiness"):  # simulated
        found = sock.readiness()
    else:
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            found = sum(events for _, events in selector.select(0))
    return "r" * bool(found & selectors.EVENT_READ) + "w" * bool(found & selectors.EVENT_WRITE)
