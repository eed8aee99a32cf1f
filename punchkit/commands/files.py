"""`punchkit send` and `punchkit receive`: a file, relayed at once and direct as soon as that can be."""

from __future__ import annotations

import argparse
import asyncio
import shlex
from pathlib import Path

from punchkit.commands.peers import Summary, linked
from punchkit.link import Link
from punchkit.progress import Progress, Terminal, size_text
from punchkit.transfer import Offer, Transferred, part, receive_file, send_file


async def send(args: argparse.Namespace, terminal: Terminal) -> int:
    """Send a file."""

    def on_code(code: str) -> None:
        terminal.say(f"code: {code}")
        terminal.say(f"on the other side: punchkit receive {code} --server {shlex.quote(args.server)}")
        terminal.note("waiting for the other side ...")

    size = args.file.stat().st_size
    async with linked(args, terminal, args.code, on_code) as link:
        began = asyncio.get_running_loop().time()
        progress = Progress(terminal, link, args.file.name, size)
        sent = await send_file(link, args.file, progress)
        await _tell_the_end(terminal, link, progress, sent, began, "sent")
    return 0


async def receive(args: argparse.Namespace, terminal: Terminal) -> int:
    """Receive a file."""
    terminal.note("waiting for the other side ...")
    async with linked(args, terminal, args.code) as link:
        began = asyncio.get_running_loop().time()
        progress = Progress(terminal, link)

        def on_offer(offer: Offer) -> None:
            progress.name, progress.total = offer.name, offer.size
            terminal.note(f"receiving {offer.name}, {size_text(offer.size)}")

        received = await receive_file(link, args.output, progress, on_offer)
        await _tell_the_end(terminal, link, progress, received, began, "received")
    return 0


async def _tell_the_end(
    terminal: Terminal, link: Link, progress: Progress, moved: Transferred, began: float, verb: str
) -> None:
    progress(moved.size)
    summary = Summary(link, asyncio.get_running_loop().time() - began)
    if not await part(link):
        terminal.note("the other side left without a goodbye; here the file is complete, and its hash is right")
    file: Path = moved.path
    terminal.result({"bytes": moved.size, "sha256": moved.sha256, "file": str(file), **summary.to_json()})
    if not terminal.as_json:
        terminal.say(f"{verb} {file} ({size_text(moved.size)}) {summary.in_words()}")
        terminal.say(f"sha256 {moved.sha256}")
