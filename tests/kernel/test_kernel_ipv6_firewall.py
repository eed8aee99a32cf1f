"""The model of a Linux firewall of IPv6 held against the real one: the same packets, and the same outcome of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from kernel_firewall6 import KernelFirewall6
from kernel_nat import as_seen

from natsim.fragmentation import fragments_of
from natsim.internet import Internet
from natsim.link import Link
from natsim.nat.linux import LinuxBehavior, Masquerade, WanInput
from natsim.packet import ACK, FIN, ICMP, RST, SYN, TCP, UDP, Endpoint, Packet
from natsim.router import NatBox
from natsim.sim_world import SimWorld

pytestmark = [pytest.mark.kernel, as_seen]

ROUTER, GATEWAY, LAN = "2001:db8:0:1::1", "2001:db8:1::1", "2001:db8:1::/64"
ALICE, S1, S2 = Endpoint("2001:db8:1::2", 5000), Endpoint("2001:db8::10", 7000), Endpoint("2001:db8::12", 7000)
SELF = Endpoint(ROUTER, 80)
OUT, IN = "out", "in"

Step = tuple[str, Packet]


def udp(src: Endpoint, dst: Endpoint, payload: bytes = b"text") -> Packet:
    return Packet(UDP, src, dst, payload)


def tcp(src: Endpoint, dst: Endpoint, flags: int, seq: int = 1, ack: int = 0, payload: bytes = b"") -> Packet:
    return Packet(TCP, src, dst, payload, flags=flags, seq=seq, ack=ack, window=60_000)


def echo(src: Endpoint, dst: Endpoint, kind: int) -> Packet:
    return Packet(ICMP, src, dst, b"echo", icmp=(kind, 0))


def error(source: Endpoint, about: Packet, kind: tuple[int, int], mtu: int | None = None) -> Packet:
    ends = Endpoint(source.address, 0), Endpoint(about.src.address, 0)
    return Packet(ICMP, *ends, icmp=kind, quoted=about, mtu=mtu)


def bare(end: Endpoint) -> Endpoint:
    return end._replace(port=0)


ASKED, TOLD = udp(ALICE, S1), udp(S1, ALICE)

TALKS: dict[str, list[Step]] = {
    "unasked": [
        (IN, TOLD),
        (IN, tcp(S1, ALICE, SYN)),
        (IN, echo(S1, bare(ALICE), 128)),
        (IN, tcp(S1, ALICE, SYN | ACK)),
    ],
    "datagrams": [
        (OUT, ASKED),
        (IN, TOLD),
        (IN, udp(S1._replace(port=7001), ALICE)),
        (IN, udp(S2, ALICE)),
        (IN, udp(S1, ALICE._replace(port=5001))),
    ],
    "a connection": [
        (OUT, tcp(ALICE, S1, SYN)),
        (IN, tcp(S1, ALICE, SYN | ACK, 9, 2)),
        (OUT, tcp(ALICE, S1, ACK, 2, 10)),
        (IN, tcp(S1, ALICE, ACK, 10, 2, b"hello")),
        (IN, tcp(S1, ALICE, ACK, 900_000, 2, b"beyond the window")),
        (OUT, tcp(ALICE, S1, FIN | ACK, 2, 15)),
        (IN, tcp(S1, ALICE, FIN | ACK, 15, 3)),
        (OUT, tcp(ALICE, S1, ACK, 3, 16)),
    ],
    "crossed SYNs": [
        (OUT, tcp(ALICE, S1, SYN, 1)),
        (IN, tcp(S1, ALICE, SYN, 9)),
        (OUT, tcp(ALICE, S1, SYN | ACK, 1, 10)),
        (IN, tcp(S1, ALICE, SYN | ACK, 9, 2)),
        (IN, tcp(S1, ALICE, RST, 10)),
    ],
    "invalid from inside": [(OUT, tcp(ALICE, S1, SYN | ACK, 1, 1)), (OUT, tcp(ALICE, S1, RST, 1))],
    "errors": [
        (IN, error(S2, ASKED, (1, 0))),
        (OUT, ASKED),
        (IN, error(S2, ASKED, (1, 0))),
        (IN, error(S1, ASKED, (1, 4))),
        (IN, error(S2, ASKED, (2, 0), 1280)),
        (IN, error(S2, ASKED, (3, 0))),
        (IN, error(S2, ASKED, (4, 1))),
        (IN, error(S2, udp(ALICE, S2), (1, 0))),
        (IN, TOLD),
        (OUT, error(ALICE, TOLD, (1, 4))),
        (OUT, error(ALICE, udp(S2, ALICE), (1, 4))),
    ],
    "echo": [
        (OUT, echo(ALICE, bare(S1), 128)),
        (IN, echo(bare(S1), ALICE, 129)),
        (IN, echo(bare(S1), ALICE._replace(port=7), 129)),
        (IN, error(S2, echo(ALICE, bare(S1), 128), (1, 0))),
        (OUT, echo(bare(ALICE), S1, 129)),
    ],
    "for the router": [
        (IN, udp(S1, SELF)),
        (IN, tcp(S1, SELF, SYN)),
        (IN, echo(S1, bare(SELF), 128)),
        (IN, tcp(S1, SELF, ACK, 5, 5)),
    ],
    "hop limits": [
        (OUT, Packet(UDP, ALICE, S1, b"1", ttl=1)),
        (OUT, Packet(UDP, ALICE, S1, b"2", ttl=2)),
        (IN, Packet(UDP, S1, ALICE, b"1", ttl=1)),
    ],
}


class Model:
    """A router of the simulator, with nothing but ends of pipes at either side."""

    def __init__(self, behavior: LinuxBehavior, mtu: int = 1500) -> None:
        net = Internet()
        net.nat("home", LinuxBehavior(), ipv6=behavior, link=Link(mtu=mtu))
        world = SimWorld(net)
        world.__enter__()
        self.box: NatBox = world.boxes6["home"]
        self.close = lambda: world.__exit__()
        self.out: list[Packet] = []
        self.back: list[Packet] = []
        assert self.box.outside is not None
        self.box.outside.carry = self.out.append  # type: ignore[method-assign]
        inner = world._pipe("home", "alice", Link(mtu=1500), print)
        inner.carry = self.back.append  # type: ignore[method-assign]
        self.box.inside[ALICE.address] = inner

    def outbound(self, packet: Packet) -> tuple[list[Packet], list[Packet]]:
        self.box.receive_inside(packet)
        return self._taken(self.out), self._taken(self.back)

    def inbound(self, packet: Packet) -> tuple[list[Packet], list[Packet]]:
        self.box.receive_outside(packet)
        return self._taken(self.back), self._taken(self.out)

    @staticmethod
    def _taken(packets: list[Packet]) -> list[Packet]:
        taken = packets.copy()
        packets.clear()
        return taken


def outcome(packets: list[Packet]) -> list[str]:
    """What can be seen of packets, without what no two kernels need have in common."""
    told = []
    for packet in packets:
        quoted = f" about {packet.quoted.src} > {packet.quoted.dst}" if packet.quoted is not None else ""
        offset = f" at {packet.fragment.offset}" if packet.fragment is not None else ""
        sort = f"{packet.protocol} {packet.icmp} {packet.flags} mtu {packet.mtu} hops {packet.ttl} size {packet.size}"
        told.append(f"{sort} {packet.src} > {packet.dst}{quoted}{offset}")
    return told


@pytest.fixture
def made() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("wan_input", list(WanInput), ids=lambda choice: choice.value)
@pytest.mark.parametrize("talk", TALKS)
def test_the_kernel_does_what_the_model_does(talk: str, wan_input: WanInput, made: contextlib.ExitStack) -> None:
    behavior = LinuxBehavior(Masquerade.NONE, wan_input)
    kernel = made.enter_context(contextlib.closing(KernelFirewall6(behavior, ROUTER, LAN, GATEWAY)))
    model = made.enter_context(contextlib.closing(Model(behavior)))  # type: ignore[type-var]
    play(kernel, model, TALKS[talk])


def play(kernel: KernelFirewall6, model: Model, steps: list[Step]) -> None:
    for number, (direction, packet) in enumerate(steps):
        seen, expected = (
            tuple(map(outcome, (firewall.outbound if direction == OUT else firewall.inbound)(packet.rewritten())))
            for firewall in (kernel, model)
        )
        assert seen == expected, f"step {number}: {direction} {packet}"


#: More than one packet.
LARGE = bytes(range(250)) * 12


def cut(packet: Packet, mtu: int, uid: int) -> list[Packet]:
    packet.uid = 1000 + uid  # not one of those that the model gives to its own packets
    return fragments_of(packet, mtu)


@pytest.mark.parametrize("mtu", [1500, 1280])
def test_fragments(mtu: int, made: contextlib.ExitStack) -> None:
    """They are put together, and leave in parts no larger than they came; never in larger ones."""
    behavior = LinuxBehavior(Masquerade.NONE)
    kernel = made.enter_context(contextlib.closing(KernelFirewall6(behavior, ROUTER, LAN, GATEWAY, mtu, LARGE)))
    model = made.enter_context(contextlib.closing(Model(behavior, mtu)))  # type: ignore[type-var]
    steps = [(IN, piece) for piece in cut(udp(S1, ALICE, LARGE), 1280, 1)]
    steps += [(OUT, piece) for piece in reversed(cut(udp(ALICE, S1, LARGE), 1280, 2))]
    steps += [(OUT, piece) for piece in cut(udp(ALICE, S1, LARGE), 1400, 3)]
    steps += [(IN, piece) for piece in cut(udp(S1, ALICE, LARGE), 1000, 4)]
    steps += [(OUT, udp(ALICE, S1, bytes(1400)))]
    play(kernel, model, steps)
