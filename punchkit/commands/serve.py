"""`punchkit serve`: the rendezvous and relay server, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import errno
import ipaddress
import signal
import socket

from punchkit.dialing import DEFAULT_SERVER_PORT
from punchkit.errors import PunchkitError
from punchkit.progress import Terminal, size_text
from punchkit.server import Server

#: Any address that is not ours (RFC 5737): the way to it shows which of our addresses others see.  Nothing is sent.
FAR_AWAY = ("192.0.2.1", 9)


class CannotListen(PunchkitError):
    """The address or port cannot be had."""

    what = "the server cannot listen"
    todo = "Stop what runs there, or choose another port with --port"


async def serve(args: argparse.Namespace, terminal: Terminal) -> int:
    """Serve until SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    server = Server(tuple(args.bind), args.port)
    began = loop.time()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:
            pass  # Windows: there Ctrl-C cancels this task
    running = loop.create_task(server.run(), name="server")
    tasks = [loop.create_task(stop.wait()), loop.create_task(server.ready.wait())]
    try:
        await asyncio.wait([running, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        _greet(terminal, server)
        await asyncio.wait([running, tasks[0]], return_when=asyncio.FIRST_COMPLETED)
    except OSError as exc:
        raise CannotListen(_reason(exc, args)) from None
    finally:
        for task in (running, *tasks):
            task.cancel()
        await asyncio.gather(running, *tasks, return_exceptions=True)
    _tell_the_end(terminal, server, loop.time() - began)
    return 0


def _greet(terminal: Terminal, server: Server) -> None:
    for address in server.bind:
        terminal.say(f"listening on {_endpoint(address, server.port)}")
    reach = _endpoint(_reachable(server.bind[0]), server.port)
    terminal.say(f"peers use it so: punchkit send FILE --server {reach}")
    terminal.say(f"            and: punchkit receive CODE --server {reach}")


def _tell_the_end(terminal: Terminal, server: Server, seconds: float) -> None:
    stats = server.stats
    terminal.result({"seconds": round(seconds, 3), **dataclasses.asdict(stats)})
    if not terminal.as_json:
        terminal.say(
            f"stopped after {seconds:.0f} s: {stats.connections} connections, {stats.refused} refused, "
            f"{stats.pairs} pairs, {size_text(stats.bytes_relayed)} relayed"
        )


def _reason(exc: OSError, args: argparse.Namespace) -> str:
    where = ", ".join(_endpoint(address, args.port) for address in args.bind)
    match exc.errno:
        case errno.EADDRINUSE:
            return f"port {args.port} is in use already ({where})"
        case errno.EACCES:
            return f"ports below 1024, such as {args.port}, need more rights than we have"
        case errno.EADDRNOTAVAIL | None:  # from Python 3.13 on asyncio gives no number
            return f"this machine does not have the address ({where})"
    return f"{where}: {exc.strerror or exc}"


def _reachable(bound: str) -> str:
    """The address at which others find us, if we listen on every one."""
    try:
        if not ipaddress.ip_address(bound).is_unspecified:
            return bound
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(FAR_AWAY)
            return str(probe.getsockname()[0])
    except ValueError:
        return bound  # a name
    except OSError:
        return socket.gethostname()


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port or DEFAULT_SERVER_PORT}"
