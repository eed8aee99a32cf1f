"""The installed command, as three processes on three hosts, between the kernel's own NATs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from natsim import Internet, two_nats

pytestmark = pytest.mark.kernel

SIZE = 100_000_000


class Processes:
    """Commands on the hosts of a running world, ended with it at the latest."""

    def __init__(self, net: Internet, directory: Path) -> None:
        self._net = net
        self._directory = directory
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, host: str, *args: object) -> subprocess.Popen[bytes]:
        """`punchkit ARGS` on a host; its output goes to HOST.out and HOST.err."""
        world: Any = self._net.world
        command = [*world.enter_command(host), sys.executable, "-m", "punchkit.cli", *map(str, args), "--json"]
        with (self._directory / f"{host}.out").open("wb") as out, (self._directory / f"{host}.err").open("wb") as err:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self._running.append(process)
        return process

    async def says(self, host: str, text: str) -> None:
        """Wait until a command has said something."""
        while text not in self.read(host, "err"):
            await asyncio.sleep(0.01)

    async def result(self, process: subprocess.Popen[bytes], host: str) -> dict[str, Any]:
        """The JSON of a command that must succeed."""
        while process.poll() is None:
            await asyncio.sleep(0.01)
        assert process.returncode == 0, self.read(host, "err")
        fields: dict[str, Any] = json.loads(self.read(host, "out"))
        return fields

    def read(self, host: str, stream: str) -> str:
        return (self._directory / f"{host}.{stream}").read_text()

    @contextlib.contextmanager
    def ended(self) -> Iterator[None]:
        try:
            yield
        finally:
            for process in self._running:
                process.kill()
                process.wait(10)


def test_100_mb_go_straight_through_two_nats(tmp_path: Path) -> None:
    net = two_nats("linux", "linux", delay=5)
    block = os.urandom(SIZE // 100)
    (tmp_path / "big.bin").write_bytes(block * 100)
    (tmp_path / "there").mkdir()
    processes = Processes(net, tmp_path)

    async def story() -> Any:
        server = processes.start("server", "serve")
        await processes.says("server", "listening on 0.0.0.0:7711")
        common = ("--server", net.server.address, "--why")
        receiver = processes.start("bob", "receive", "7-amber-falcon", "--output", tmp_path / "there", *common)
        sender = processes.start("alice", "send", tmp_path / "big.bin", "--code", "7-amber-falcon", *common)
        results = await processes.result(sender, "alice"), await processes.result(receiver, "bob")
        world: Any = net.world
        traffic = {host: world.traffic(host) for host in ("alice", "bob", "server")}
        server.terminate()
        return *results, traffic, await processes.result(server, "server")

    with processes.ended():
        sent, received, traffic, served = net.run(story, world="kernel", limit=60).result
    digest = hashlib.sha256((tmp_path / "big.bin").read_bytes()).hexdigest()
    assert sent["sha256"] == received["sha256"] == digest
    assert (tmp_path / "there" / "big.bin").stat().st_size == sent["bytes"] == received["bytes"] == SIZE
    for result, other in ((sent, net.nat_b), (received, net.nat_a)):
        assert result["direct"] is True, result["why"]
        assert re.fullmatch(rf"tcp {re.escape(other.address)}:\d+", result["path"])
        assert result["bytes_relayed"] + result["bytes_direct"] > SIZE
        assert result["bytes_direct"] > SIZE / 2
    assert served["pairs"] == 1
    # What the hosts' links have carried says the same: most of the file never came near the server.
    assert min(traffic["alice"][1], traffic["bob"][0]) > SIZE
    assert max(traffic["server"]) < SIZE / 2
