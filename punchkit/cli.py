"""The command `punchkit`: what may be said to it, and how its errors come out.

Exit status: 0 it worked; 1 it did not, and standard error says why; 2 it was used wrongly; 130 Ctrl-C.  What each
command does is in `commands/`, imported when it is wanted, so that `--help` is there at once.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from punchkit.errors import CodeError, PunchkitError
from punchkit.progress import Terminal

FAILED, MISUSED, INTERRUPTED, TERMINATED = 1, 2, 130, 143

_JSON = "print one JSON object as the last line of standard output, and nothing else there"


class _Parser(argparse.ArgumentParser):
    """argparse, but whoever asked for JSON gets some even if the rest of the line is wrong."""

    arguments: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        _result(
            Terminal(as_json="--json" in _Parser.arguments, data=list(_Parser.arguments[:1]) == ["pipe"]),
            "Usage",
            message,
        )
        sys.exit(MISUSED)


def parser() -> argparse.ArgumentParser:
    """Everything that can be said."""
    top = _Parser(
        prog="punchkit",
        description="Connect two computers behind NATs: relayed at once, then silently direct.",
        epilog="Exit status: 0 it worked, 1 it did not and standard error says why, 2 wrong use, 130 Ctrl-C.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_send(commands)
    _add_receive(commands)
    _add_pipe(commands)
    return top


def _add_serve(commands: Any) -> None:
    serve = _command(commands, "serve", "serve", "run the server at which two peers meet, and which relays for them")
    serve.add_argument("--bind", metavar="ADDR", nargs="+", action="extend", help="addresses to listen on (all IPv4)")
    serve.add_argument("--port", type=_port, default=7711, help="port to listen on (7711); 0: any that is free")
    serve.add_argument("--json", action="store_true", help=f"{_JSON}: what it did, when it stops")


def _add_send(commands: Any) -> None:
    send = _command(commands, "send", "files", "send a file")
    send.add_argument("file", metavar="FILE", type=_existing_file, help="the file to send")
    send.add_argument("--code", type=_code, help="the pairing code, if you have agreed on one; else a new one is made")
    _add_peer_options(send, _JSON)


def _add_receive(commands: Any) -> None:
    receive = _command(
        commands,
        "receive",
        "files",
        "receive a file",
        "The file gets the sender's name, or NAME (1), NAME (2) ... if there is one already: nothing is overwritten.",
    )
    receive.add_argument("code", metavar="CODE", type=_code, help="the pairing code, such as 7-amber-falcon")
    receive.add_argument(
        "--output", metavar="DIR", type=_existing_directory, default=Path(), help="the directory to put it in (here)"
    )
    _add_peer_options(receive, _JSON)


def _add_pipe(commands: Any) -> None:
    pipe = _command(
        commands,
        "pipe",
        "pipe",
        "join standard input and output to the other side's",
        "Both sides run this with the same code. Standard input goes to the other side, and what comes from there goes "
        "to standard output; each direction ends by itself. Messages go to standard error, and with --json the JSON "
        "object does too (as its last line), because standard output belongs to the data.",
    )
    pipe.add_argument("code", metavar="CODE", type=_code, help="the pairing code, such as 7-amber-falcon")
    _add_peer_options(pipe, "print one JSON object as the last line of standard error")


def _command(commands: Any, name: str, room: str, summary: str, more: str = "") -> argparse.ArgumentParser:
    text = f"{summary[0].upper()}{summary[1:]}. {more}".strip()
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=text)
    command.set_defaults(room=room)
    return command


def _add_peer_options(command: argparse.ArgumentParser, json: str) -> None:
    command.add_argument(
        "--server",
        metavar="HOST[:PORT]",
        type=_server,
        default=os.environ.get("PUNCHKIT_SERVER") or None,
        help="the server at which both sides meet (else from the environment: PUNCHKIT_SERVER)",
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("--relay-only", action="store_true", help="never look for a direct path")
    which.add_argument("--direct-only", action="store_true", help="wait for a direct path, and fail if there is none")
    command.add_argument("--transport", choices=("auto", "tcp"), default="auto", help="of direct paths (auto)")
    command.add_argument("--why", action="store_true", help="tell at the end what became of the search for a path")
    command.add_argument("--json", action="store_true", help=json)


# -- Arguments ---------------------------------------------------------------------------------------------------------


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number up to 65535 is wanted")
    return int(text)


def _code(text: str) -> str:
    from punchkit import code

    try:
        return str(code.parse(text))
    except CodeError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def _server(text: str) -> str:
    from punchkit.dialing import parse_server

    try:
        parse_server(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return text


def _existing_file(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a directory; pack it first (tar, zip), and send that")
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is no ordinary file; `punchkit pipe` sends what has no size")
    return path


def _existing_directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {text}")
    return path


# -- Running -----------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    _Parser.arguments = sys.argv[1:] if argv is None else argv
    top = parser()
    args = top.parse_args(argv)
    if args.command == "serve":
        args.bind = args.bind or ["0.0.0.0"]
        if args.port == 0 and len(args.bind) > 1:
            top.error("--port 0 works with one address only: each would get another port")
    elif args.server is None:
        top.error("which server? Say --server HOST[:PORT], or set PUNCHKIT_SERVER; `punchkit serve` runs one")
    return _run(args, Terminal(as_json=args.json, data=args.command == "pipe"))


def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    try:
        return asyncio.run(_until_terminated(args, terminal))
    except KeyboardInterrupt:
        terminal.clear()
        return INTERRUPTED
    except asyncio.CancelledError:
        terminal.clear()
        return TERMINATED
    except PunchkitError as exc:
        terminal.note(f"punchkit: {exc}")
        why = getattr(exc, "__notes__", [])
        for note in why:
            terminal.note(f"({note})")
        _result(terminal, type(exc).__name__, str(exc), why[0] if why else exc.detail)
    except OSError as exc:
        message = f"the system said no: {exc.strerror or exc}"
        terminal.note(f"punchkit: {message}")
        _result(terminal, type(exc).__name__, message)
    return FAILED


async def _until_terminated(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the command; SIGTERM ends it as Ctrl-C does, so that it can tidy up."""
    task = asyncio.current_task()
    assert task is not None
    try:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    except NotImplementedError:
        pass  # Windows has no SIGTERM worth the name
    room = importlib.import_module(f"punchkit.commands.{args.room}")
    status: int = await getattr(room, args.command)(args, terminal)
    return status


def _result(terminal: Terminal, error: str, message: str, why: str = "") -> None:
    terminal.result({"error": error, "message": message, "why": why or message})


if __name__ == "__main__":
    sys.exit(main())
