"""`natsim lab` as a teacher uses it: in a terminal, with programs run inside, and taken away at the end."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from natsim.kernel.leftovers import leftovers

pytestmark = pytest.mark.kernel

#: What one says to the other from inside the lab.
SERVER = "import socket; s = socket.create_server(('', 7000)); c, a = s.accept(); c.sendall(a[0].encode()); c.close()"
CLIENT = "import socket; c = socket.create_connection(('203.0.113.10', 7000)); print(c.recv(100).decode())"


class Terminal:
    """A lab in a pseudo-terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        here, there = pty.openpty()
        command = [sys.executable, "-m", "natsim.cli", "lab", *arguments]
        self.process = subprocess.Popen(command, stdin=there, stdout=there, stderr=there, start_new_session=True)
        os.close(there)
        self._fd = here
        self.text = ""

    def read_until(self, pattern: str, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} in:\n{self.text}"
            if select.select([self._fd], [], [], left)[0]:
                try:
                    self.text += os.read(self._fd, 65536).decode()
                except OSError:  # the other end is closed
                    assert re.search(pattern, self.text), self.text
                    return

    def enter(self, name: str) -> list[str]:
        """How to run something as one of the hosts, as the lab has said."""
        found = re.search(rf"{name} +\S+ +(nsenter --net=\S+)", self.text)
        assert found is not None
        return found[1].split()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._fd)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    lab = Terminal("linux", "eim-apdf", "--delay", "5")
    yield lab
    lab.end()


def test_programs_run_inside_packets_pass_live_and_ctrl_c_takes_it_away(terminal: Terminal) -> None:
    terminal.read_until("Packets, as they pass")
    server = subprocess.Popen([*terminal.enter("server"), sys.executable, "-c", SERVER])
    time.sleep(0.3)
    client = [*terminal.enter("alice"), sys.executable, "-c", CLIENT]
    assert subprocess.run(client, capture_output=True, text=True, check=True).stdout == "198.51.100.1\n"
    server.wait(5)
    terminal.read_until(r"alice +sent +<#\d+ tcp S ")
    terminal.read_until(r"nat_a +translated .*TRANSLATED: new flow tcp 192\.168\.1\.2")
    terminal.read_until(r"server +delivered ")
    os.kill(terminal.process.pid, signal.SIGINT)
    terminal.read_until("the lab is taken away")
    assert terminal.process.wait(10) == 0
    assert leftovers() == []


def test_what_a_killed_lab_leaves_is_found_and_cleaned_but_nobody_elses(terminal: Terminal) -> None:
    terminal.read_until("Packets, as they pass")
    sleeper = subprocess.Popen([*terminal.enter("alice"), "sleep", "600"])
    time.sleep(0.2)
    assert leftovers() == [], "its lab is alive"
    terminal.process.kill()
    terminal.process.wait()
    (left,) = leftovers()
    assert (left.pid, left.command) == (sleeper.pid, "sleep 600")
    cleaned = subprocess.run([sys.executable, "-m", "natsim.cli", "lab", "--clean", "--json"], capture_output=True)
    assert json.loads(cleaned.stdout) == {"ended": [{"pid": sleeper.pid, "command": "sleep 600"}]}
    assert sleeper.wait(5) == -signal.SIGHUP
    again = subprocess.run([sys.executable, "-m", "natsim.cli", "lab", "--clean"], capture_output=True, text=True)
    assert "nothing is left" in again.stdout


def test_json_is_the_only_thing_on_standard_output() -> None:
    command = [sys.executable, "-m", "natsim.cli", "lab", "linux", "none", "--quiet", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as lab:
        assert lab.stderr is not None
        while "Ctrl-C ends the lab." not in lab.stderr.readline():
            pass
        lab.send_signal(signal.SIGTERM)
        told, _ = lab.communicate(timeout=20)
    said = json.loads(told)
    assert (lab.returncode, said["nat_a"], said["nat_b"]) == (0, "linux", "none")
    assert set(said["commands"]) == {"alice", "bob", "server"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["linux"], "name two NATs"), (["linux", "linuxx"], "did you mean linux"), ([], "name two NATs")],
)
def test_wrong_use_is_told_in_words(arguments: list[str], words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "natsim.cli", "lab", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert words in done.stderr
