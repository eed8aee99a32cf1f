"""What a person at a terminal sees, and what a program that reads the output gets.

`Terminal` decides what goes where: results to standard output, everything else to standard error, one line that is
rewritten while something is going on if somebody is watching.  `Progress` fills that line, and tells of every change
of path on a line of its own.  The only room of punchkit that writes to the standard streams.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from punchkit.link import Link

#: Seconds between two pictures of the moving line, and how far back the rate looks.
REFRESH = 0.1
RATE_OVER = 3.0


class Terminal:
    """Standard output and standard error of one command.

    With `as_json`, standard output gets one JSON object and nothing else.  `data` means that it belongs to the data of
    the command, so that even the JSON has to go to standard error.
    """

    def __init__(self, *, as_json: bool = False, data: bool = False) -> None:
        self.as_json = as_json
        self._data = data
        self._line = ""
        self.moving = sys.stderr is not None and sys.stderr.isatty()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a name that this terminal cannot show is no accident

    def say(self, text: str) -> None:
        """What the user asked for: a line on standard output, unless that is taken."""
        self.clear()
        _write(sys.stderr if self.as_json or self._data else sys.stdout, text + "\n")

    def note(self, text: str) -> None:
        """A line on standard error."""
        self.clear()
        _write(sys.stderr, text + "\n")

    def result(self, fields: dict[str, Any]) -> None:
        """The JSON object, if it is wanted."""
        if self.as_json:
            self.clear()
            _write(sys.stderr if self._data else sys.stdout, json.dumps(fields) + "\n")

    def show(self, line: str) -> None:
        """Rewrite the moving line, if somebody is watching."""
        if self.moving:
            line = line[: shutil.get_terminal_size().columns - 1]
            _write(sys.stderr, "\r" + line.ljust(len(self._line)))
            self._line = line

    def clear(self) -> None:
        """Take the moving line away."""
        if self._line:
            _write(sys.stderr, "\r" + " " * len(self._line) + "\r")
            self._line = ""


def _write(stream: TextIO | None, text: str) -> None:
    """Write; whoever has stopped reading misses it, and that is no reason to stop."""
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


class Progress:
    """Call it with the number of bytes so far, often."""

    def __init__(self, terminal: Terminal, link: Link, name: str = "", total: int | None = None) -> None:
        self.name = name
        self.total = total
        self._terminal = terminal
        self._link = link
        self._path = "relay"
        self._next = 0.0
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def __call__(self, done: int) -> None:
        if self._link.path != self._path:
            self._tell_path()
        now = time.monotonic()
        if self._terminal.moving and now >= self._next:
            self._next = now + REFRESH
            self._samples.append((now, done))
            while self._samples[0][0] < now - RATE_OVER:
                self._samples.popleft()
            self._terminal.show(self._picture(done))

    def _tell_path(self) -> None:
        self._path = self._link.path
        if self._link.direct:
            when = next((h.when for h in reversed(self._link.history) if h.what == "direct"), 0.0)
            self._terminal.note(f"went direct: {self._path} after {when:.1f} s")
        else:
            self._terminal.note(f"back on the {self._path}: {self._link.why()}")

    def _picture(self, done: int) -> str:
        (began, before), (now, _) = self._samples[0], self._samples[-1]
        rate = (done - before) / (now - began) if now > began else 0.0
        share = (
            f" of {size_text(self.total)}  {100 * done // self.total if self.total else 100} %" if self.total else ""
        )
        return f"{self.name}  {size_text(done)}{share}  {size_text(rate)}/s  via {self._path}".strip()


def size_text(count: float) -> str:
    """A number of bytes for people.

    >>> size_text(999), size_text(104_857_600)
    ('999 B', '104.9 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
