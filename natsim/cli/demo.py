"""`natsim demo NAT_A NAT_B`: the Copilot story between two NATs.

alice and bob connect through the server and send each other data, relayed at once.  While it flows, punchkit looks for
a direct path, and moves the data onto it if there is one.  What arrived is compared with what was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import punchkit
from natsim.internet import DEFAULT_DELAY, Internet
from natsim.ready_made import two_nats
from natsim.run import Run
from punchkit.link import Link

#: How much each side sends, in bytes, unless told otherwise.
DEFAULT_BYTES = 20_000_000

#: How much is written at a time, at most, in bytes.
PIECE = 32_768

#: Until the question of the path is settled, data flows steadily, slowly enough to last so long: a piece every PACE
#: seconds.  A round of punching takes about four seconds.
STEADY, PACE = 6.0, 0.01

CODE = "7-amber-falcon"


@dataclass
class Outcome:
    """The JSON of `natsim demo`.  Times are in seconds of the world's clock, from the second peer's start."""

    world: str
    nat_a: str
    nat_b: str
    seed: int
    transport: str
    connected: bool = False
    direct: bool = False
    path: str = "none"
    relayed_after_s: float | None = None
    direct_after_s: float | None = None
    bytes: int = 0
    bytes_relayed: int = 0
    bytes_direct: int = 0
    bytes_at_server: int = 0
    intact: bool = False
    longest_stall_s: float = 0.0
    why: str = ""
    trace_digest: str | None = None


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "demo",
        help="the Copilot story: relayed at once, then silently direct",
        description="alice behind NAT_A and bob behind NAT_B send each other data: relayed at once, then direct if the "
        "two NATs allow it. `natsim devices` lists the NATs.",
    )
    parser.add_argument("nat_a", metavar="NAT_A")
    parser.add_argument("nat_b", metavar="NAT_B")
    parser.add_argument(
        "--world", choices=["sim", "kernel"], default="sim", help="the simulator, or real Linux NATs (needs root)"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides everything that is left to chance (default 0)")
    parser.add_argument(
        "--bytes", type=_positive, default=DEFAULT_BYTES, metavar="N", help="each side sends N bytes (default 20000000)"
    )
    parser.add_argument("--transport", choices=["auto", "tcp"], default="auto", help="of the direct path")
    parser.add_argument(
        "--delay",
        type=_milliseconds,
        default=DEFAULT_DELAY,
        metavar="MS",
        help="one-way delay between any two hosts, in milliseconds (default 20)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else")
    parser.add_argument("--svg", type=Path, metavar="F", help="save the ladder diagram (simulator)")
    parser.add_argument("--pcap", type=Path, metavar="F", help="save every packet as pcapng, for Wireshark (simulator)")
    parser.set_defaults(run=run)


def _positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be positive")
    return value


def _milliseconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 10_000:
        raise argparse.ArgumentTypeError("must be from 0 to 10000 milliseconds")
    return value


def run(options: argparse.Namespace) -> int:
    """Run the demo and tell what happened.  Status 0 if everything arrived intact, relayed or direct."""
    _check_file("--svg", options.svg)
    _check_file("--pcap", options.pcap)
    net = two_nats(options.nat_a, options.nat_b, seed=options.seed, delay=options.delay)
    outcome = Outcome(options.world, options.nat_a, options.nat_b, options.seed, options.transport)
    finished = net.run(Story(net, outcome, options.bytes, Progress(sys.stderr.isatty())).tell, options.world)
    outcome.longest_stall_s = round(outcome.longest_stall_s, 6)
    if finished.trace is not None:
        outcome.why = finished.why()
        if options.world == "sim":  # on real clocks no run is like another
            outcome.trace_digest = finished.trace.digest()
    if options.svg is not None:
        finished.ladder().save(options.svg)
    if options.pcap is not None:
        finished.save_pcap(options.pcap)
    if options.json:
        print(json.dumps(asdict(outcome)))
    else:
        _print(finished, outcome)
    return 0 if outcome.intact else 1


def _check_file(option: str, path: Path | None) -> None:
    """Raise ValueError, before the story begins, if a file that is wanted of it cannot be had."""
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"{option}: there is no directory {path.parent}")


class Progress:
    """One rewriting line on a terminal."""

    def __init__(self, terminal: bool) -> None:
        self._terminal = terminal
        self._next = 0.0

    def show(self, done: int, total: int, path: str) -> None:
        """At most ten times a second."""
        if self._terminal and (time.monotonic() >= self._next or done == total):
            self._next = time.monotonic() + 0.1
            print(f"\r{done / 1e6:8.1f} of {total / 1e6:.1f} MB  {path:40}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave a clean line behind."""
        if self._terminal:
            print(f"\r{'':64}\r", end="", file=sys.stderr, flush=True)


class Story:
    """alice, bob and the server, and what is measured of them."""

    def __init__(self, net: Internet, outcome: Outcome, size: int, progress: Progress) -> None:
        self._net = net
        self._outcome = outcome
        self._size = size
        self._progress = progress
        self._received = 0

    async def tell(self) -> None:
        """The story; everything that it finds is written into the outcome."""
        net, outcome = self._net, self._outcome
        server = punchkit.Server()
        serving = net.server.start(server.run(), "server")
        await server.ready.wait()
        calls = [
            host.start(punchkit.connect(CODE, server=net.server.address), f"{host.name} connects")
            for host in (net.alice, net.bob)
        ]
        self._start = asyncio.get_running_loop().time()
        alice, bob = [await call for call in calls]
        outcome.connected = True
        sides = (
            net.alice.start(self._talk(alice, "alice"), "alice talks"),
            net.bob.start(self._talk(bob, "bob"), "bob talks"),
        )
        (sent_a, got_a), (sent_b, got_b) = [await side for side in sides]
        outcome.intact = sent_a == got_b and sent_b == got_a
        outcome.bytes = self._size
        outcome.direct, outcome.path = alice.direct and bob.direct, alice.path
        # What one side has sent the other has received, so each link alone knows of both directions.
        outcome.bytes_relayed, outcome.bytes_direct = alice.bytes_relayed, alice.bytes_direct
        outcome.relayed_after_s = self._first_data((alice, bob), direct=False)
        outcome.direct_after_s = self._first_data((alice, bob), direct=True)
        outcome.why = alice.why()
        await asyncio.gather(alice.finish(), bob.finish())
        outcome.bytes_at_server = server.stats.bytes_relayed
        serving.cancel()
        self._progress.clear()

    async def _talk(self, link: Link, name: str) -> tuple[str, str]:
        """Send and receive at the same time; returns the hashes of what was sent and of what came."""
        sending = asyncio.create_task(self._send(link, name), name=f"{name} sends")
        got = await self._receive(link)
        return await sending, got

    async def _send(self, link: Link, name: str) -> str:
        """Steadily until it is settled whether there is a direct path; the rest as fast as it goes."""
        chance = random.Random(f"{self._outcome.seed}:{name}")
        sha = hashlib.sha256()
        settled = asyncio.create_task(link.settled(), name=f"{name} waits for the path")
        steady = min(PIECE, max(1, round(self._size * PACE / STEADY)))
        left = self._size
        while left:
            piece = chance.randbytes(min(PIECE if settled.done() else steady, left))
            sha.update(piece)
            left -= len(piece)
            await link.write(piece)
            if not settled.done():
                await asyncio.sleep(PACE)
        await settled
        link.write_eof()
        return sha.hexdigest()

    async def _receive(self, link: Link) -> str:
        loop = asyncio.get_running_loop()
        sha = hashlib.sha256()
        before = None
        async for piece in link:
            if before is not None:
                self._outcome.longest_stall_s = max(self._outcome.longest_stall_s, loop.time() - before)
            before = loop.time()
            sha.update(piece)
            self._received += len(piece)
            self._progress.show(self._received, 2 * self._size, link.path)
        return sha.hexdigest()

    def _first_data(self, links: tuple[Link, Link], *, direct: bool) -> float | None:
        """When both sides had received data over such a path, in seconds from the second peer's start."""
        times = []
        for link in links:
            fitting = [when for path, when in link.first_data.items() if (path != "relay") == direct]
            if not fitting:
                return None
            times.append(min(fitting))
        return round(max(times) - self._start, 6)


def _print(finished: Run, outcome: Outcome) -> None:
    if outcome.world == "kernel":
        print(f"{outcome.nat_a} and {outcome.nat_b}: real sockets, and real packets as heard on their interfaces\n")
    print(f"{finished.ladder().text}\n")
    verdict = f"direct ({outcome.path})" if outcome.direct else "relayed"
    print(f"{'intact' if outcome.intact else 'DAMAGED'}, {verdict}: each side sent {outcome.bytes / 1e6:.1f} MB;")
    relayed, direct = outcome.bytes_relayed / 1e6, outcome.bytes_direct / 1e6
    print(f"{relayed:.2f} MB went through the server, {direct:.2f} MB directly, both ways together.")
    when = f"{outcome.direct_after_s} s" if outcome.direct_after_s is not None else "never"
    stall = f"{outcome.longest_stall_s:.3f} s"
    print(f"First data relayed: {outcome.relayed_after_s} s; direct: {when}; longest stall: {stall}.")
    print(f"\n{outcome.why}")
