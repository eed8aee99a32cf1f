"""Arguments and exit status of `natsim`: 0 it worked, 1 it did not and says why, 2 wrong use."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from natsim.cli import campaign, demo, devices, lab, matrix, verify
from natsim.nat.devices import UnknownDevice


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if _needs_the_kernel(options):
        _become_root(sys.argv[1:] if arguments is None else arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except UnknownDevice as exc:
        parser.exit(2, f"natsim: {exc}\n")
    except BrokenPipeError:  # the reader (head, less) has gone: that is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (OSError, RuntimeError, ValueError) as exc:
        print(f"natsim: {exc}", file=sys.stderr)
        if getattr(options, "json", False):
            print(json.dumps({"error": type(exc).__name__, "why": str(exc)}))
        return 1


def _needs_the_kernel(options: argparse.Namespace) -> bool:
    return options.run in (campaign.run, lab.run) or getattr(options, "world", "sim") == "kernel"


def _become_root(arguments: Sequence[str]) -> None:
    """Begin anew as root of a user namespace, if we are not root and may; does not return then."""
    from natsim.kernel.rootless import command_as_root

    command = command_as_root("natsim.cli", arguments)
    if command is not None:
        os.execvp(command[0], command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="natsim", description="A simulated internet of hosts, NATs and firewalls.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo.add(commands)
    matrix.add(commands)
    devices.add(commands)
    verify.add(commands)
    campaign.add(commands)
    lab.add(commands)
    return parser
