"""natsim's TCP at one end of a TUN device, the kernel's at the other, and a link between them that does as it is told.

`Bridge` is a namespace with a device, and the natsim end of it: connections, a clock that is real, and one pipe each
way from `natsim/pipe.py`, so loss, order and copies come from a seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from natsim import Link
from natsim.kernel.addressing import SYSCTLS
from natsim.kernel.namespace import Namespace
from natsim.kernel.requirements import program
from natsim.kernel.wall_clock import WallClock
from natsim.kernel.wire import HEADER, LARGEST, open_tun
from natsim.packet import RST, TCP, Endpoint, Packet
from natsim.packet_bytes import from_bytes, to_bytes
from natsim.pipe import make_pipe
from natsim.tcp import State, TcpConnection, reset_for
from natsim.trace import Untraced

KERNEL, NATSIM = "10.9.0.1", "10.9.0.2"

#: How the kernel numbers the states in /proc/net/tcp.
STATES = {1: State.ESTABLISHED, 2: State.SYN_SENT, 3: State.SYN_RECEIVED, 4: State.FIN_WAIT_1, 5: State.FIN_WAIT_2}
STATES |= {6: State.TIME_WAIT, 7: State.CLOSED, 8: State.CLOSE_WAIT, 9: State.LAST_ACK, 11: State.CLOSING}


class Bridge:
    """Use in an `async with`."""

    def __init__(self, link: Link, seed: int = 0) -> None:
        self._link, self._seed = link, seed
        self._built = contextlib.ExitStack()
        self.connections: dict[int, TcpConnection] = {}
        #: Ports on which natsim listens, and connections that came to them.
        self.listening: set[int] = set()
        self.accepted: asyncio.Queue[TcpConnection] = asyncio.Queue()
        #: All that has crossed: (seconds, packet), those of natsim's end and those of the kernel's.
        self.sent: list[tuple[float, Packet]] = []
        self.came: list[tuple[float, Packet]] = []
        self.changed = asyncio.Event()
        self._isn = 1000

    async def __aenter__(self) -> Bridge:
        self._loop = asyncio.get_running_loop()
        self.clock = self._built.enter_context(contextlib.closing(WallClock(self._loop, self._seed)))
        self.namespace = self._built.enter_context(contextlib.closing(Namespace("tcp")))
        self.namespace.sysctl(SYSCTLS)
        self._tun = self._built.enter_context(self.namespace.call(open_tun, "tun0", offload=False))
        script = f"link set lo up\nlink set tun0 up\naddress add {KERNEL}/32 dev tun0\nroute add {NATSIM} dev tun0\n"
        self.namespace.run([program("ip"), "-batch", "-"], script)
        trace = Untraced(self.clock)
        self._out = make_pipe(self.clock, trace, "natsim>kernel", self._link, self._write)
        self._in = make_pipe(self.clock, trace, "kernel>natsim", self._link, self._arrive)
        self._loop.add_reader(self._tun, self._read)
        self._built.callback(self._loop.remove_reader, self._tun)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._built.close()

    # -- The wire -----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        self.clock.catch_up()
        while (frame := self._tun.read(LARGEST)) is not None:
            if frame[HEADER] >> 4 == 4:
                self._in.carry(from_bytes(frame[HEADER:]))

    def _write(self, packet: Packet) -> None:
        self._tun.write(bytes(HEADER) + to_bytes(packet))

    def inject(self, packet: Packet) -> None:
        """Send a segment of one's own making to the kernel."""
        self.sent.append((self.clock.now / 1e9, packet))
        self._out.carry(packet)

    def _arrive(self, packet: Packet) -> None:
        self.came.append((self.clock.now / 1e9, packet))
        if packet.protocol != TCP:
            return
        connection = self.connections.get(packet.dst.port)
        if connection is not None and connection.remote == packet.src and not connection.closed:
            connection.segment_in(packet, self.clock.now)
            self.flush(connection)
        elif packet.is_initial_syn and packet.dst.port in self.listening:
            self._isn += 64_000
            connection = self.connections[packet.dst.port] = TcpConnection.accept(packet, self._isn, self.clock.now)
            self.accepted.put_nowait(connection)
            self.flush(connection)
        elif (reset := reset_for(packet)) is not None:
            self.inject(reset)

    def flush(self, connection: TcpConnection) -> None:
        """Transmit what a connection has to say, and come back when it wants to be called."""
        for packet in connection.outbox:
            self.inject(packet)
        connection.outbox.clear()
        due = connection.next_timer
        if due is not None:
            self.clock.at(due, self._on_timer, connection)
        self.changed.set()

    def _on_timer(self, connection: TcpConnection) -> None:
        due = connection.next_timer
        if due is not None and due <= self.clock.now:
            connection.on_timer(self.clock.now)
            self.flush(connection)

    # -- natsim's end -------------------------------------------------------------------------------------------------

    def dial(self, local_port: int, remote_port: int) -> TcpConnection:
        """Open a connection to the kernel."""
        self.clock.catch_up()
        connection = TcpConnection(Endpoint(NATSIM, local_port), Endpoint(KERNEL, remote_port), 5000 + local_port)
        self.connections[local_port] = connection
        connection.open(self.clock.now)
        self.flush(connection)
        return connection

    def tell(self, connection: TcpConnection, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of a connection that takes the time last, and transmit what comes of it."""
        self.clock.catch_up()
        result = call(*arguments, self.clock.now)
        self.flush(connection)
        return result

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that changes with what crosses."""
        async with asyncio.timeout(15):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def exchange(self, connection: TcpConnection, text: bytes, *, size: int, finish: bool = True) -> bytes:
        """Send a text, and receive `size` octets."""
        rest, got = memoryview(text), b""
        await self.until(lambda: connection.connected or connection.error is not None)
        while rest or len(got) < size:
            if rest and connection.writable:
                rest = rest[self.tell(connection, connection.send, rest) :]
            got += self.tell(connection, connection.receive, 1 << 20)
            if rest or len(got) < size:
                await self.until(partial(_ready, connection, writing=bool(rest)))
                if connection.error is not None or (connection.at_eof and not connection.rcv.has_text):
                    break
        if finish:
            self.tell(connection, connection.shutdown)
        return got

    # -- The kernel's end ---------------------------------------------------------------------------------------------

    def kernel_socket(self, port: int = 0, *, listen: bool = False) -> socket.socket:
        """A socket of the kernel's, in the namespace."""
        sock = self.namespace.call(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
        self._built.callback(sock.close)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((KERNEL, port))
        if listen:
            sock.listen()
        return sock

    async def kernel_exchange(self, sock: socket.socket, text: bytes, *, size: int, finish: bool = True) -> bytes:
        """The same at the kernel's end."""
        sending = asyncio.create_task(self._loop.sock_sendall(sock, text))
        got = b""
        async with asyncio.timeout(15):
            while len(got) < size and (piece := await self._loop.sock_recv(sock, 1 << 20)):
                got += piece
            await sending
        if finish:
            sock.shutdown(socket.SHUT_WR)
        return got

    def kernel_state(self, port: int) -> State:
        """The state of the kernel's connection on that port; CLOSED if there is none."""
        text = self.namespace.call(Path("/proc/thread-self/net/tcp").read_text)
        for line in text.splitlines()[1:]:
            words = line.split()
            if int(words[1].partition(":")[2], 16) == port and int(words[3], 16) in STATES:
                return STATES[int(words[3], 16)]
        return State.CLOSED

    @property
    def resets(self) -> int:
        """How many RSTs have crossed, both ways."""
        return sum(bool(packet.flags & RST) for _, packet in [*self.sent, *self.came] if packet.protocol == TCP)


def _ready(connection: TcpConnection, *, writing: bool) -> bool:
    return (writing and connection.writable) or connection.readable
