"""What the commands that talk to a peer have in common: the link that they open, and what they say of it."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from punchkit.dialing import connect
from punchkit.errors import PunchkitError
from punchkit.link import Link
from punchkit.progress import Terminal


@contextlib.asynccontextmanager
async def linked(
    args: argparse.Namespace,
    terminal: Terminal,
    code: str | None,
    on_code: Callable[[str], object] | None = None,
) -> AsyncIterator[Link]:
    """A link as the command line wants it.  If the body fails, the error can say why data went where it went."""
    async with connect(
        code, server=args.server, relay_only=args.relay_only, direct_only=args.direct_only, on_code=on_code
    ) as link:
        terminal.note(f"connected: data goes {'straight to the other side' if link.direct else 'through the relay'}")
        try:
            yield link
        except PunchkitError as exc:
            exc.add_note(link.why())
            raise
        finally:
            if args.why:
                tell_why(terminal, link)


def tell_why(terminal: Terminal, link: Link) -> None:
    """Everything that happened to the path of the data."""
    terminal.note(f"why: {link.why()}")
    for happening in link.history:
        terminal.note(f"  {happening.when:8.3f} s  {happening.what}: {happening.text}")


class Summary:
    """The link at the end of the transfer, before the goodbyes: afterwards one side hangs up first, which looks like
    the loss of a path."""

    def __init__(self, link: Link, seconds: float) -> None:
        self.link = link
        self.seconds = seconds
        self.path, self.direct, self.why = link.path, link.direct, link.why()
        self.direct_after = link.direct_after

    def to_json(self) -> dict[str, Any]:
        """The fields that every command's JSON has.  Bytes count both directions, and all that was sent again."""
        return {
            "seconds": round(self.seconds, 6),
            "path": self.path,
            "direct": self.direct,
            "direct_after_s": None if self.direct_after is None else round(self.direct_after, 6),
            "bytes_relayed": self.link.bytes_relayed,
            "bytes_direct": self.link.bytes_direct,
            "why": self.why,
        }

    def in_words(self) -> str:
        """For people: how long, and which way."""
        return f"in {self.seconds:.1f} s, {'direct' if self.direct else 'relayed'}: {self.path}"
