"""`natsim lab`: two NATs of this machine's kernel, kept up for as long as a teacher needs them.

It prints how to get into each host, shows packets as they pass, and takes everything away when it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import signal
import sys
from itertools import islice
from typing import Any

from natsim.internet import DEFAULT_DELAY, Internet
from natsim.kernel.captured_trace import CapturedTrace
from natsim.kernel.leftovers import leftovers
from natsim.kernel.world import KernelWorld
from natsim.nat.devices import find
from natsim.ready_made import two_nats

#: Seconds between two looks at what was heard.
LOOK_EVERY = 0.2


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "lab",
        help="keep two NATs of this machine up: shells as alice, bob and the server, and packets live (needs root)",
        description="Builds alice behind NAT_A, bob behind NAT_B and a server from network namespaces, prints how to "
        "run programs in them, and shows every packet as it passes. Ctrl-C takes everything away.",
    )
    parser.add_argument("nats", nargs="*", metavar="NAT", help="alice's NAT and bob's, see `natsim devices`")
    parser.add_argument(
        "--delay", type=float, default=DEFAULT_DELAY, metavar="MS", help="one way, between any two hosts"
    )
    parser.add_argument("--quiet", action="store_true", help="show no packets")
    parser.add_argument("--clean", action="store_true", help="end what a lab that was killed has left")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end, and nothing else on stdout")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Keep the lab up until it is interrupted; or clean up."""
    if options.clean:
        return _clean(options)
    if len(options.nats) != 2:
        options.parser.error("name two NATs, alice's and bob's: natsim lab linux eim-apdf")
    for name in options.nats:
        find(name)
    net = two_nats(*options.nats, delay=options.delay)
    lab = Lab(net, options)
    finished = net.run(lab.story, world="kernel", limit=7 * 86400)
    if options.json:
        print(json.dumps(lab.summary(len(finished.trace or ()))))
    return 0


def _clean(options: argparse.Namespace) -> int:
    """End the processes that sit in the namespaces of labs that are gone."""
    left = leftovers()
    for process in left:
        os.kill(process.pid, signal.SIGHUP)  # a shell shrugs off SIGTERM
        if not options.json:
            print(f"ended {process.pid}: {process.command}")
    if options.json:
        print(json.dumps({"ended": [process._asdict() for process in left]}))
    elif not left:
        print("nothing is left: a lab's namespaces have no names, and die with the process that made them")
    return 0


class Lab:
    """One lab, from the first word to the last."""

    def __init__(self, net: Internet, options: argparse.Namespace) -> None:
        self._net = net
        self._options = options
        #: With --json, standard output is for the object at the end.
        self._out = sys.stderr if options.json else sys.stdout
        self._shown = 0
        self._commands: dict[str, str] = {}

    async def story(self) -> None:
        """What happens while it is up: nothing, but that packets are shown."""
        world: Any = self._net.world
        assert isinstance(world, KernelWorld)
        self._commands = {
            name: shlex.join([*world.enter_command(name), os.environ.get("SHELL", "/bin/sh")])
            for name in self._net.hosts
        }
        over = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            world.loop.add_signal_handler(number, over.set)
        self._tell_how()
        while not over.is_set():
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await over.wait()
            except TimeoutError:
                pass
            self._show(world.trace)
        self._say("\nthe lab is taken away")

    def summary(self, entries: int) -> dict[str, Any]:
        """What it was, for --json."""
        nat_a, nat_b = self._options.nats
        return {
            "nat_a": nat_a,
            "nat_b": nat_b,
            "delay": self._options.delay,
            "commands": self._commands,
            "lines": entries,
        }

    def _tell_how(self) -> None:
        nat_a, nat_b = self._options.nats
        self._say(f"alice is behind {nat_a}, bob behind {nat_b}; any two hosts are {self._options.delay:g} ms apart.")
        self._say("A shell as each of them (as root, in another terminal):\n")
        for name, command in self._commands.items():
            self._say(f"  {name:8} {self._net.hosts[name].address:15}  {command}")
        server = self._net.hosts["server"].address
        self._say("\nThen, for example:\n")
        self._say("  server   punchkit serve")
        self._say(f"  alice    punchkit send FILE --server {server}")
        self._say(f"  bob      punchkit receive CODE --server {server}")
        self._say("\nCtrl-C ends the lab." + ("" if self._options.quiet else " Packets, as they pass:\n"))

    def _show(self, trace: CapturedTrace | None) -> None:
        if trace is None or self._options.quiet:
            return
        trace.update()
        for entry in islice(trace, self._shown, None):
            self._say(str(entry))
        self._shown = len(trace)

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)
