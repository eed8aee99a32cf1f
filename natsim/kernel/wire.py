"""A link with delay or loss: two TUN devices, and this process copies packets from one to the other.

The kernel's own way to delay packets (netem) is missing on many machines, TUN hardly anywhere.  A TUN device is an
interface whose wire is a file descriptor: `read` gives what the kernel sends there, `write` is what it receives.
Whoever opens the device decides in which namespace it is, so each end is opened inside its own.

Next: `alarm.py`, which keeps the delay exact.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
import time
from collections import deque
from io import FileIO

from ..link import Link
from .alarm import Alarm
from .namespace import Namespace

#: From <linux/if_tun.h>.
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x01, 0x02

#: More than the largest thing that one read gives: 64 kB and a header.
LARGEST = 66_000

#: Packets taken off a device before other work gets its turn.
BATCH = 64


def open_tun(name: str, offload: bool) -> FileIO:
    """Make a TUN device in the namespace of the calling thread.

    With `offload`, up to 64 kB of one TCP stream come as one "packet", and segmentation and checksums are put off
    until something needs them, which is nothing in our case: the header before each packet (IFF_VNET_HDR) says what
    is still to be done, and goes to the other end unread.  This makes bulk transfer some four times faster.
    """
    import fcntl  # Unix only, and importing this package is allowed everywhere

    # A file object, not a bare descriptor: should Ctrl-C make it nobody's, it is closed all the same.
    tun = FileIO("/dev/net/tun", "r+", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK))
    try:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 if offload else 0)
    except BaseException:
        tun.close()
        raise
    return tun


class Lane:
    """One direction of a wire: packets come out in order, after the delay, or never."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, source: FileIO, sink: FileIO, link: Link, chance: random.Random
    ) -> None:
        self._loop = loop
        self._source, self._sink = source, sink
        self._delay = link.delay / 1000
        self._loss = link.loss
        self._chance = chance
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._alarm = Alarm(loop, self._deliver)
        loop.add_reader(source, self._take)

    def _take(self) -> None:
        """Packets have been sent into the wire."""
        waiting = bool(self._under_way)
        due = time.monotonic() + self._delay
        for _ in range(BATCH):
            packet = self._source.read(LARGEST)
            if packet is None:
                break
            if not self._loss or self._chance.random() >= self._loss:
                self._under_way.append((due, packet))
        if self._under_way and not waiting:
            self._deliver()

    def _deliver(self) -> None:
        """Hand out what is due, and come back for the next."""
        now = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now:
            try:
                self._sink.write(self._under_way.popleft()[1])
            except OSError:
                pass  # the interface is down: as with any wire, the packet is lost
        if self._under_way:
            self._alarm.set(self._under_way[0][0])

    def close(self) -> None:
        """Lose what is still under way."""
        self._loop.remove_reader(self._source)
        self._alarm.close()


class Wire:
    """A link between two nodes, as an interface in each one's namespace."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        link: Link,
        seed: int,
        upper: tuple[Namespace, str],
        lower: tuple[Namespace, str],
    ) -> None:
        self._ends: list[FileIO] = []
        self._lanes: list[Lane] = []
        try:
            for namespace, interface in (upper, lower):
                # Loss strikes packets, not 64 kB at a time.
                self._ends.append(namespace.call(open_tun, interface, offload=not link.loss))
            for start, end in ((0, 1), (1, 0)):
                names = upper[0].name, lower[0].name
                chance = random.Random(f"{seed}:link {names[start]}>{names[end]}")
                self._lanes.append(Lane(loop, self._ends[start], self._ends[end], link, chance))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop copying; both interfaces disappear with their files."""
        for lane in self._lanes:
            lane.close()
        for end in self._ends:
            end.close()
        self._lanes, self._ends = [], []
