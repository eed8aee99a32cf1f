"""RFC 4787 (BCP 127), NAT behavior for UDP: its requirements, each as a question to a NAT on the bench.

In the order of the RFC.  Not here: REQ-12 (in `rfc5508.py`, with everything about ICMP), REQ-13 and 14
(`large_packets.py`).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

from ..internet import Internet
from ..nat.behavior import NatBehavior
from ..nat.bench import ALICE, BOB, S1, S1_OTHER, S2, S2_OTHER, Bench
from ..packet import Endpoint
from .check import Behavior, Requirement
from .words import at_least, many

EVERYBODY = (S1, S1_OTHER, S2, S2_OTHER)


def mapping(behavior: Behavior) -> str:
    """REQ-1: one socket, four destinations."""
    bench = Bench(behavior)
    return many("endpoint", {bench.outside(ALICE, remote) for remote in EVERYBODY}, "for 4 destinations")


def pooling(behavior: Behavior) -> str:
    """REQ-2: one host, sixteen sockets, four outside addresses."""
    pool = replace(behavior, addresses=4) if isinstance(behavior, NatBehavior) else behavior
    bench = Bench(pool)
    seen = [bench.outside(ALICE._replace(port=port), S1) for port in range(5000, 5016)]
    return many("address", {end.address for end in seen if end is not None}, "for 16 sockets of one host")


def overloading(behavior: Behavior) -> str:
    """REQ-3: two hosts, the same inside port, the same destination."""
    bench = Bench(behavior)
    ends = [bench.outside(host, S1) for host in (ALICE, BOB)]
    return many("endpoint", set(ends), "for 2 hosts")


def port_class(behavior: Behavior) -> str:
    """REQ-3a: a low port stays low and a high one high, also when the same port is taken."""
    bench = Bench(behavior)
    kept = True
    for port in (80, 5000):
        ends = [bench.outside(host._replace(port=port), S1) for host in (ALICE, BOB)]
        kept = kept and all(end is not None and (end.port < 1024) == (port < 1024) for end in ends)
    return "kept" if kept else "changed"


def mapping_lifetime(behavior: Behavior) -> str:
    """REQ-5: how long a mapping lives after a single packet, at least two minutes."""
    bench = Bench(behavior)
    bench.out(ALICE, S1)
    return at_least(bench.seconds_alive(), 120)


def conversation_lifetime(behavior: Behavior) -> str:
    """REQ-5c: how long it lives when packets have gone both ways for a while, recommended five minutes."""
    bench = Bench(behavior)
    bench.enters(S1, bench.outside(ALICE, S1))
    bench.wait(3)
    bench.out(ALICE, S1)
    return at_least(bench.seconds_alive(), 300)


def outbound_refresh(behavior: Behavior) -> str:
    """REQ-6: does a packet from inside, shortly before the mapping's end, put off that end?"""
    bench = Bench(behavior)
    bench.out(ALICE, S1)
    bench.wait(bench.seconds_alive() - 1)
    bench.out(ALICE, S1)
    return "refreshed" if bench.seconds_alive() > 1 else "not refreshed"


def filtering(behavior: Behavior) -> str:
    """REQ-8: after a packet to S1, who may come in?"""
    bench = Bench(behavior)
    end = bench.outside(ALICE, S1)
    if bench.enters(S1, end) is None:
        return "nobody"
    if bench.enters(S2, end) is not None:
        return "anybody"
    return "the same address" if bench.enters(S1_OTHER, end) is not None else "the same endpoint"


def inside_like_outside(behavior: Behavior) -> str:
    """REQ-7: the NAT's outside address is from the very range that is used inside; can alice still reach S1?"""
    net = Internet()
    net.host("server")
    carrier = net.nat("carrier", NatBehavior(), lan="192.168.1.0/24")
    home = net.nat("home", behavior, behind=carrier, lan="192.168.1.0/24")
    net.host("alice", behind=home)
    return "reaches the internet" if net.run(partial(_ask_server, net), limit=10).result else "reaches nobody"


async def _ask_server(net: Internet) -> bool:
    """Does an answer of the server reach alice?"""
    loop = asyncio.get_running_loop()
    await net.server.start(loop.create_datagram_endpoint(_Echo, local_addr=("0.0.0.0", 7)))
    _, question = await net.alice.start(
        loop.create_datagram_endpoint(_Echo, remote_addr=(net.server.address, 7)), "alice asks"
    )
    question.transport.sendto(b"?")
    await asyncio.sleep(5)
    return bool(question.heard)


class _Echo(asyncio.DatagramProtocol):
    """Counts what comes, and sends the first of it back."""

    def __init__(self) -> None:
        self.heard = 0

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard += 1
        if self.heard == 1:
            self.transport.sendto(data, addr)


def hairpin(behavior: Behavior) -> str:
    """REQ-9: alice sends to bob's outside endpoint, after bob has sent to hers."""
    return "arrives" if _hairpinned(behavior) is not None else "does not arrive"


def hairpin_source(behavior: Behavior) -> str:
    """REQ-9a: under which source such a packet arrives."""
    source = _hairpinned(behavior)
    if source is None:
        return "does not arrive"
    return "the inside endpoint" if source == ALICE else "the outside endpoint"


def _hairpinned(behavior: Behavior) -> Endpoint | None:
    bench = Bench(behavior)
    alice, bob = bench.outside(ALICE, S1), bench.outside(BOB, S1)
    if alice is None or bob is None:
        return None
    bench.out(BOB, alice)
    packet = bench.out(ALICE, bob).packet
    return packet.src if packet is not None and packet.dst == BOB else None


def payload(behavior: Behavior) -> str:
    """REQ-10: a payload that holds the inside address, as text and as bytes."""
    words = b"\xc0\xa8\x01\x02 192.168.1.2"
    packet = Bench(behavior).out(ALICE, S1, payload=words).packet
    return "untouched" if packet is not None and packet.payload == words else "rewritten"


def determinism(behavior: Behavior) -> str:
    """REQ-11: mapping and filtering with one host, and again with a hundred that all want the same port."""
    quiet = _kind(Bench(behavior))
    busy = Bench(behavior)
    for number in range(10, 110):
        busy.out(Endpoint(f"192.168.1.{number}", ALICE.port), S1)
    return "the same" if quiet == _kind(busy) else "another when busy"


def _kind(bench: Bench) -> tuple[bool, bool, bool, bool]:
    """What a NAT looks like from outside: mapping and filtering, each at two steps."""
    end = bench.outside(ALICE, S1)
    same = [bench.outside(ALICE, remote) == end for remote in (S1_OTHER, S2)]
    fresh = bench.outside(ALICE._replace(port=5001), S1)
    return (*same, bench.enters(S1_OTHER, fresh) is not None, bench.enters(S2, fresh) is not None)  # type: ignore[return-value]


# -- The table -----------------------------------------------------------------------------------------------------

REQUIREMENTS = [
    Requirement(
        "RFC 4787 REQ-1", "MUST", "the mapping is endpoint-independent", "1 endpoint for 4 destinations", mapping
    ),
    Requirement(
        "RFC 4787 REQ-2",
        "RECOMMENDED",
        "of several outside addresses, an inside host always gets the same",
        "1 address for 16 sockets of one host",
        pooling,
    ),
    Requirement("RFC 4787 REQ-3", "MUST NOT", "port overloading", "2 endpoints for 2 hosts", overloading),
    Requirement(
        "RFC 4787 REQ-3a", "RECOMMENDED", "ports from 0 to 1023 stay there, and others above", "kept", port_class
    ),
    Requirement(
        "RFC 4787 REQ-5", "MUST NOT", "a mapping expires in less than 2 minutes", "at least 120 s", mapping_lifetime
    ),
    Requirement(
        "RFC 4787 REQ-5c", "RECOMMENDED", "5 minutes or more by default", "at least 300 s", conversation_lifetime
    ),
    Requirement("RFC 4787 REQ-6", "MUST", "packets from inside refresh a mapping", "refreshed", outbound_refresh),
    Requirement(
        "RFC 4787 REQ-7",
        "MUST",
        "copes with an outside address from the range that is used inside",
        "reaches the internet",
        inside_like_outside,
    ),
    Requirement(
        "RFC 4787 REQ-8",
        "RECOMMENDED",
        "endpoint-independent filtering, or address-dependent where strictness matters more",
        "the same address",
        filtering,
    ),
    Requirement("RFC 4787 REQ-9", "MUST", "hairpinning", "arrives", hairpin),
    Requirement(
        "RFC 4787 REQ-9a", "MUST", "a hairpinned packet has the outside source", "the outside endpoint", hairpin_source
    ),
    Requirement("RFC 4787 REQ-10", "SHOULD", "UDP ALGs are off", "untouched", payload),
    Requirement(
        "RFC 4787 REQ-11", "MUST", "mapping and filtering do not change with time or load", "the same", determinism
    ),
]
