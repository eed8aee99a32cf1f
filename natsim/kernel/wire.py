"""A link that does something to packets: two TUN devices, and this process copies packets from one to the other.

The kernel's own way to delay packets (netem) is missing on many machines, TUN hardly anywhere.  A TUN device is an
interface whose wire is a file descriptor: `read` gives what the kernel sends there, `write` is what it receives.
Whoever opens the device decides in which namespace it is, so each end is opened inside its own.

What happens to a packet is decided as in the simulator (`natsim/crossing.py`), here with the time of a real clock: so
every link that can be described can be had.  A rate that is more than this process can copy is not reached.

Next: `alarm.py`, which keeps the delay exact.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
import time
from heapq import heappop, heappush
from io import FileIO

from ..crossing import Crossing
from ..link import Link
from ..scheduler import seconds
from .alarm import Alarm
from .namespace import Namespace

#: From <linux/if_tun.h>.
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x01, 0x02

#: Bytes before each packet, `struct virtio_net_hdr` of <linux/virtio_net.h>.
HEADER = 10

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
    """One direction of a wire: packets come out when the crossing says, or never."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source: FileIO, sink: FileIO, crossing: Crossing) -> None:
        self._loop = loop
        self._source, self._sink = source, sink
        self._crossing = crossing
        #: A heap of packets, each after its time and its number: of two for the same time, the first comes first.
        self._under_way: list[tuple[int, int, bytes]] = []
        self._number = 0
        self._alarm = Alarm(loop, self._deliver)
        loop.add_reader(source, self._take)

    def _take(self) -> None:
        """Packets have been sent into the wire."""
        next_before = self._under_way[:1]
        now = time.monotonic_ns()
        for _ in range(BATCH):
            packet = self._source.read(LARGEST)
            if packet is None:
                break
            for _ in range(self._crossing.copies()):
                due = self._crossing.arrival(len(packet) - HEADER, now)
                if due is not None:
                    self._number += 1
                    heappush(self._under_way, (due, self._number, packet))
        if self._under_way[:1] != next_before:
            self._deliver()

    def _deliver(self) -> None:
        """Hand out what is due, and come back for the next."""
        now = time.monotonic_ns()
        while self._under_way and self._under_way[0][0] <= now:
            try:
                self._sink.write(heappop(self._under_way)[2])
            except OSError:
                pass  # the interface is down: as with any wire, the packet is lost
        if self._under_way:
            self._alarm.set(seconds(self._under_way[0][0]))

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
                # What happens to packets happens to one at a time, not to 64 kB of them.
                self._ends.append(namespace.call(open_tun, interface, offload=link.is_plain))
            for start, end in ((0, 1), (1, 0)):
                names = upper[0].name, lower[0].name
                chance = random.Random(f"{seed}:link {names[start]}>{names[end]}")
                self._lanes.append(Lane(loop, self._ends[start], self._ends[end], Crossing(link, chance)))
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
