"""natsim's own NATs in front of real sockets: a simulated router whose wires end in network namespaces.

The router is the very `NatBox` that the simulator has, with the same engine, on a clock that is real (`wall_clock.py`).
Its neighbours are real: at their end of each link is a TUN device, and what comes out of that becomes a `Packet`, goes
through pipe and box, and leaves through another device as bytes again (`rewriting.py`).  So a rule of a learner's own
translates packets of real programs, and nobody has written it a second time.

    alice's namespace | eth0 (TUN) > Port > pipe > NatBox > pipe > Port > to_nat_a (TUN) | the internet's namespace

Next: `world.py`, which builds everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from io import FileIO

from ..dual_stack import DualStack
from ..internet import Host, Internet, Nat
from ..ip_headers import UnreadablePacket
from ..link import Link
from ..nat.bench import make_engine
from ..nat.devices import Behavior
from ..nat.engine import NatEngine
from ..nat.linux import LinuxBehavior, LinuxNat
from ..packet import Packet, is_ipv6
from ..packet_bytes import from_bytes, to_bytes
from ..pipe import Deliver, Pipe, make_pipe
from ..router import NatBox
from ..trace import Trace
from .capture import is_about_the_link
from .namespace import Namespace
from .offload import PLAIN, covered, uncovered
from .rewriting import rewritten_bytes
from .wall_clock import WallClock
from .wire import BATCH, HEADER, LARGEST, open_tun

#: So many packets may be in the boxes at once, before the bytes of the oldest are forgotten.
MOST_UNDER_WAY = 20_000


class Originals:
    """What each packet was when it came, by its number, for as long as it may be under way."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[bytes, bytes, Packet]] = OrderedDict()

    def keep(self, packet: Packet, header: bytes, octets: bytes) -> None:
        """Remember a packet as it came: the device's header, the bytes, and the packet."""
        was = packet.rewritten()  # its TTL will be counted down
        self._kept[packet.uid] = header, octets, was
        if len(self._kept) > MOST_UNDER_WAY:
            self._kept.popitem(last=False)

    def frame_of(self, packet: Packet) -> bytes:
        """A packet as it leaves, after the device's header: patched; or written anew, if it is the router's own."""
        if packet.uid not in self._kept:
            return PLAIN + to_bytes(packet)
        header, octets, was = self._kept[packet.uid]
        if len(was.payload) == len(packet.payload) and _same_part(was, packet):
            return uncovered(header, rewritten_bytes(octets, was, packet))
        # Put together, cut, or another text: no longer the packet that came.
        whole = was.payload if was.fragment is None and packet.fragment is not None else None
        return PLAIN + to_bytes(packet, whole)


def _same_part(one: Packet, other: Packet) -> bool:
    """Are they the same part of their datagrams (or both whole), whatever those are called?"""
    if one.fragment is None or other.fragment is None:
        return one.fragment is other.fragment
    return one.fragment[1:] == other.fragment[1:]


class Port:
    """The end of a link that is in a namespace: what is read there goes `inward`, `write` is the way out."""

    def __init__(self, boxes: Boxes, owner: str, namespace: Namespace, interface: str) -> None:
        self._boxes = boxes
        self._owner = owner
        self._tun: FileIO = namespace.call(open_tun, interface, offload=boxes.offload)
        #: Where packets from the namespace go; set once the other end is there.
        self.inward: Deliver = lambda packet: None
        boxes.loop.add_reader(self._tun, self._read)

    def _read(self) -> None:
        self._boxes.clock.catch_up()
        for _ in range(BATCH):
            frame = self._tun.read(LARGEST)
            if frame is None:
                break
            header, octets = covered(frame[:HEADER], frame[HEADER:])
            try:
                packet = from_bytes(octets)
            except UnreadablePacket:
                continue  # a protocol that no NAT here knows, so it does not get through
            if is_about_the_link(packet):
                continue
            self._boxes.trace.sent(self._owner, packet)
            self._boxes.originals.keep(packet, header, octets)
            self.inward(packet)

    def write(self, packet: Packet) -> None:
        """Hand a packet to the namespace."""
        with contextlib.suppress(OSError):  # the interface is down: as with any wire, the packet is lost
            self._tun.write(self._boxes.originals.frame_of(packet))

    def close(self) -> None:
        """Stop; the interface disappears with its file."""
        self._boxes.loop.remove_reader(self._tun)
        self._tun.close()


class Boxes:
    """All simulated routers of a kernel world.  `namespace_of` finds that of a real node; None is the internet."""

    def __init__(
        self,
        net: Internet,
        loop: asyncio.AbstractEventLoop,
        make_trace: Callable[[WallClock], Trace],
        namespace_of: Callable[[Host | Nat | None], Namespace],
    ) -> None:
        self.net = net
        self.loop = loop
        self.clock = WallClock(loop, net.seed)
        self.trace = make_trace(self.clock)
        self.originals = Originals()
        nodes: list[Host | Nat] = [*net.hosts.values(), *net.nats.values()]
        #: Up to 64 kB of a stream may come as one packet, if no link does anything to packets but delay them.
        self.offload = all(node.link.is_plain and node.link.mtu is None for node in nodes)
        self.boxes: dict[str, NatBox] = {}
        #: What the same routers are in IPv6, those that have it.
        self.boxes6: dict[str, NatBox] = {}
        self._namespace_of = namespace_of
        self._ports: list[Port] = []

    # -- Building ----------------------------------------------------------------------------------------------------

    def build(self, nat: Nat, upper: str, lower: Callable[[Host | Nat], str]) -> None:
        """Make a router, and its links to the node above and to the real nodes below.

        `upper` is the interface of the node above, if that is real; `lower` tells that of a node below.
        """
        self._make_box(nat)
        case = self._case(nat)
        self._link_up(nat, upper, case)
        for node in self._below(nat):
            if not is_simulated(node):
                port = self._port(node.name, self._namespace_of(node), lower(node))
                port.inward = self._pipe(node.name, nat.name, node.link, case.receive_inside).carry
                self._route_to(node, self._pipe(nat.name, node.name, node.link, port.write))

    def _make_box(self, nat: Nat) -> None:
        engine = self._engine(nat.behavior, nat.addresses, f"nat {nat.name}")
        linux = isinstance(nat.behavior, LinuxBehavior)
        self.boxes[nat.name] = NatBox(self.trace, self.clock, nat.name, engine, nat.address, nat.lan, linux)
        side = nat.ipv6
        if side is None:
            return
        engine6 = self._engine(side.firewall, (side.address,), f"nat {nat.name} ipv6")
        linux = isinstance(side.firewall, LinuxBehavior)
        self.boxes6[nat.name] = NatBox(self.trace, self.clock, nat.name, engine6, side.address, side.lan, linux)

    def _engine(self, behavior: Behavior, addresses: tuple[str, ...], stream: str) -> NatEngine | LinuxNat:
        return make_engine(behavior, list(addresses), self.clock.random(stream))

    def _link_up(self, nat: Nat, interface: str, case: NatBox | DualStack) -> None:
        """To the node above: over a device of its namespace, or to another simulated router."""
        above = nat.behind
        name = above.name if above is not None else "internet"
        if above is not None and is_simulated(above):
            way = self._pipe(nat.name, name, nat.link, self._case(above).receive_inside)
            self._route_to(nat, self._pipe(name, nat.name, nat.link, case.receive_outside))
        else:
            port = self._port(name, self._namespace_of(above), interface)
            port.inward = self._pipe(name, nat.name, nat.link, case.receive_outside).carry
            way = self._pipe(nat.name, name, nat.link, port.write)
        for box in self.of(nat):
            box.outside = way

    def _route_to(self, node: Host | Nat, pipe: Pipe) -> None:
        """Let the simulated routers above know the way to a node: up to the first that translates its address."""
        for address in own_addresses(node):
            way, above = pipe, node.behind
            while above is not None and is_simulated(above):
                (self.boxes6 if is_ipv6(address) else self.boxes)[above.name].inside[address] = way
                if above.translates and not is_ipv6(address):
                    break
                below, above = above, above.behind
                if above is not None and is_simulated(above):
                    way = self.boxes[above.name].inside[below.address]

    def _case(self, nat: Nat) -> NatBox | DualStack:
        box, six = self.boxes[nat.name], self.boxes6.get(nat.name)
        return box if six is None else DualStack(box, six)

    def _below(self, nat: Nat) -> Iterator[Host | Nat]:
        nodes: list[Host | Nat] = [*self.net.nats.values(), *self.net.hosts.values()]
        return (node for node in nodes if node.behind is nat)

    def _pipe(self, start: str, end: str, link: Link, deliver: Deliver) -> Pipe:
        return make_pipe(self.clock, self.trace, f"{start}>{end}", link, deliver)

    def _port(self, owner: str, namespace: Namespace, interface: str) -> Port:
        port = Port(self, owner, namespace, interface)
        self._ports.append(port)
        return port

    # -- While they run ----------------------------------------------------------------------------------------------

    def of(self, nat: Nat) -> list[NatBox]:
        """What a router is in IPv4, and in IPv6 if it has that."""
        return [boxes[nat.name] for boxes in (self.boxes, self.boxes6) if nat.name in boxes]

    def close(self) -> None:
        """Take all ports away; what is under way is lost."""
        for port in self._ports:
            port.close()
        self.clock.close()


def is_simulated(node: Host | Nat) -> bool:
    """Is this a NAT of natsim's own?  Linux is the kernel itself, unless its other half is none."""
    if isinstance(node, Host):
        return False
    halves = [node.behavior] if node.ipv6 is None else [node.behavior, node.ipv6.firewall]
    return not all(isinstance(half, LinuxBehavior) for half in halves)


def own_addresses(node: Host | Nat) -> tuple[str, ...]:
    """All addresses of a node towards the outside, of both families."""
    if isinstance(node, Host):
        return node._addresses
    return (*node.addresses, node.ipv6.address) if node.ipv6 is not None else node.addresses
