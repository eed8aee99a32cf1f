"""`punchkit pipe`: standard input to the peer, the peer to standard output, each ending by itself.

Reading and writing standard streams blocks, and asyncio has no way to wait for all kinds of them (files, Windows
consoles), so each has a thread: one that nobody waits for at the end, since it may sit in `read` for ever.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

from punchkit.commands.peers import Summary, linked
from punchkit.errors import PunchkitError
from punchkit.link import Link
from punchkit.progress import Progress, Terminal, size_text
from punchkit.transfer import part

STDIN, STDOUT = 0, 1

#: How much is read at a time, in bytes.
PIECE = 1 << 17


class OutputClosed(PunchkitError):
    """Whoever read our standard output reads no more."""

    what = "standard output was closed before the other side had said everything"
    todo = "If that was not on purpose, look at the program after the pipe"


async def pipe(args: argparse.Namespace, terminal: Terminal) -> int:
    """Join standard input and output to the peer's."""
    terminal.note("waiting for the other side ...")
    async with linked(args, terminal, args.code) as link:
        loop = asyncio.get_running_loop()
        began = loop.time()
        progress = Progress(terminal, link)
        terminal.moving = False  # the data may go to the same screen
        incoming = loop.create_task(_from_peer(link, progress), name="peer to standard output")
        outgoing = loop.create_task(_to_peer(link), name="standard input to peer")
        try:
            # Whichever ends first, the other goes on; whichever fails first takes the other with it.
            ended, _ = await asyncio.wait([incoming, outgoing], return_when=asyncio.FIRST_EXCEPTION)
            for task in ended:
                task.result()
        finally:
            for task in (incoming, outgoing):
                task.cancel()
            await asyncio.gather(incoming, outgoing, return_exceptions=True)
        summary = Summary(link, loop.time() - began)
        await part(link)
        terminal.result({"bytes_sent": outgoing.result(), "bytes_received": incoming.result(), **summary.to_json()})
        if not terminal.as_json:
            sent, received = size_text(outgoing.result()), size_text(incoming.result())
            terminal.note(f"sent {sent}, received {received} {summary.in_words()}")
    return 0


async def _to_peer(link: Link) -> int:
    thread, sent = _Thread("read standard input"), 0
    while data := await thread.call(_read):
        await link.write(data)
        sent += len(data)
    link.write_eof()
    return sent


async def _from_peer(link: Link, progress: Progress) -> int:
    thread, received = _Thread("write standard output"), 0
    try:
        while data := await link.read():
            await thread.call(_write, data)
            received += len(data)
            progress(received)
    except BrokenPipeError:
        raise OutputClosed from None
    finally:
        _close_output()
    return received


def _read() -> bytes:
    return b"" if sys.stdin is None else os.read(STDIN, PIECE)


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest and sys.stdout is not None:
        rest = rest[os.write(STDOUT, rest) :]


def _close_output() -> None:
    """Tell the reader of our standard output that this was all, while we may still be sending."""
    if sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, STDOUT)
        os.close(nowhere)


class _Thread:
    """Makes blocking calls, one after the other, beside the event loop."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]]
        self._calls = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returns or raises."""
        future = self._loop.create_future()
        self._calls.put((future, function, args))
        return await future

    def _run(self) -> None:
        while True:
            future, function, args = self._calls.get()
            outcome: Any = None
            error: BaseException | None = None
            try:
                outcome = function(*args)
            except OSError as exc:
                error = exc
            try:
                self._loop.call_soon_threadsafe(_settle, future, outcome, error)
            except RuntimeError:
                return  # the loop has ended, and nobody wants to know any more


def _settle(future: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(outcome)
