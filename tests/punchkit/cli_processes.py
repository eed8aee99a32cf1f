"""Real commands in real processes, for the tests of the command line.  Nothing here waits without a bound."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

#: Seconds that anything may take here, on a machine that has other things to do.
PATIENCE = 30.0

PUNCHKIT = (sys.executable, "-m", "punchkit.cli")


def until(happened: Callable[[], Any], what: str, within: float = PATIENCE) -> Any:
    """Poll until something is true; returns it."""
    deadline = time.monotonic() + within
    while not (found := happened()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.005)
    return found


class Command:
    """One running punchkit, whose output is collected as it comes."""

    def __init__(self, *args: object, prefix: tuple[str, ...] = (), **options: Any) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PUNCHKIT_SERVER"}
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        self.args = [str(arg) for arg in args]
        self.process = subprocess.Popen([*prefix, *PUNCHKIT, *self.args], env=environment, **options)
        self.out, self.err = bytearray(), bytearray()
        self._readers = [
            threading.Thread(target=_collect, args=(stream, to), daemon=True)
            for stream, to in ((self.process.stdout, self.out), (self.process.stderr, self.err))
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def __repr__(self) -> str:
        return f"punchkit {' '.join(self.args)}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"

    @property
    def stdout(self) -> str:
        return self.out.decode(errors="replace")

    @property
    def stderr(self) -> str:
        return self.err.decode(errors="replace")

    def line(self, text: str) -> str:
        """Wait for a line that contains the text, on either stream."""

        def found() -> str | None:
            lines = (self.stdout + "\n" + self.stderr).splitlines()
            return next((line for line in lines if text in line), None)

        until(lambda: found() or self.process.poll() is not None, f"{text!r} in {self!r}")
        self._join_if_ended()
        line = found()
        assert line is not None, f"ended without {text!r}: {self!r}"
        return line

    def say(self, data: bytes) -> None:
        """Write to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ends(self, within: float = PATIENCE) -> int:
        """Its exit status.  Whatever it was asked to do, it must not end with a traceback."""
        try:
            status = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within} s: {self!r}") from None
        self._join_if_ended()
        for sign in ("Traceback", "Exception ignored", "Warning", "never retrieved", "was destroyed"):
            assert sign not in self.stderr, repr(self)
        return status

    def result(self, status: int = 0, within: float = PATIENCE) -> Any:
        """Its JSON, which is all that it may say on standard output."""
        assert self.ends(within) == status, repr(self)
        assert len(self.stdout.splitlines()) == 1, repr(self)
        return json.loads(self.stdout)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        """Whatever happens, nothing is left running."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(10)
        self._join_if_ended()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _join_if_ended(self) -> None:
        if self.process.poll() is not None:
            for reader in self._readers:
                reader.join(10)


def _collect(stream: IO[bytes], to: bytearray) -> None:
    while data := os.read(stream.fileno(), 1 << 16):
        to.extend(data)


class House:
    """A server, and whoever is started to use it; all gone at the end."""

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self.server = self.start("serve", "--bind", "127.0.0.1", "--port", 0, "--json")
        self.address = self.server.line("listening on").split()[-1]

    def start(self, *args: object, **options: Any) -> Command:
        command = Command(*args, **options)
        self._commands.append(command)
        return command

    def peer(self, *args: object, **options: Any) -> Command:
        """A command that uses the server."""
        return self.start(*args, "--server", self.address, **options)

    def pair(self, code: str, *options: str) -> tuple[Command, Command]:
        """Two pipes that have met."""
        pair = tuple(self.peer("pipe", code, "--json", *options) for _ in range(2))
        for command in pair:
            command.line("connected")
        return pair[0], pair[1]

    def connect(self) -> socket.socket:
        """A bare connection to the server."""
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=PATIENCE)

    def close(self) -> None:
        for command in self._commands:
            command.close()


@contextlib.contextmanager
def house() -> Iterator[House]:
    built = House()
    try:
        yield built
    finally:
        built.close()


def made_file(path: Path, size: int) -> Path:
    """A file of so many bytes that are not all the same."""
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
    return path


def sparse_file(path: Path, size: int) -> Path:
    """A large file that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path
