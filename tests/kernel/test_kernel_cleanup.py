"""A run leaves nothing behind, however it ends.  The fixture in conftest.py looks after every test of this folder."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kernel_footprint import footprint
from kernel_programs import echo_server, seen_as

from natsim import Internet, two_nats
from natsim.kernel import available, requirements
from natsim.kernel.namespace import CommandFailed, Namespace

pytestmark = pytest.mark.kernel

ECHO = """
import sys
sys.path[:0] = {path!r}
from natsim import two_nats
from test_kernel_cleanup import echo_once
print(echo_once(two_nats("linux", "linux", delay=1)))
"""


def echo_once(net: Internet, meanwhile: Any = None) -> Any:
    """One run in which alice greets the server."""

    async def story() -> Any:
        net.server.start(echo_server())
        await asyncio.sleep(0.02)
        seen = await net.alice.start(seen_as(net.server.address, local_port=4321))
        if meanwhile:
            meanwhile()
        return seen

    return net.run(story, world="kernel", limit=20).result


def test_two_runs_of_one_internet() -> None:
    net = two_nats("linux", "linux", delay=1)
    assert echo_once(net) == echo_once(net) == (net.nat_a.address, 4321)


def test_runs_in_two_processes_at_the_same_time() -> None:
    net = two_nats("linux", "linux", delay=1)
    program = ECHO.format(path=[str(Path(__file__).parent), os.getcwd()])
    outputs = []

    def other() -> None:
        outputs.append(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True))

    assert echo_once(net, other) == (net.nat_a.address, 4321)
    assert outputs[0].stdout.strip() == str((net.nat_a.address, 4321))


def test_the_machine_itself_sees_nothing_while_it_runs() -> None:
    visible = ("names of namespaces", "interfaces", "nftables", "namespace of the process", "namespace of the thread")
    before = footprint()
    during = {}
    echo_once(two_nats("linux", "linux", delay=1), lambda: during.update(footprint()))
    assert {key: during[key] for key in visible} == {key: before[key] for key in visible}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_story(error: type[BaseException]) -> None:
    def fail() -> None:
        if error is KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
        raise error

    with pytest.raises(error):
        echo_once(two_nats("linux", "linux", delay=1), fail)


@pytest.mark.parametrize("when", [1, 3, 6])
def test_control_c_while_building(when: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = Namespace.run, []

    def interrupted(self: Namespace, command: list[str], script: str) -> None:
        calls.append(command)
        if len(calls) == when:
            signal.raise_signal(signal.SIGINT)
        plain(self, command, script)

    monkeypatch.setattr(Namespace, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        echo_once(two_nats("linux", "linux", delay=1))


def test_a_killed_process() -> None:
    waiting = "print('up', flush=True) or __import__('time').sleep(60)"
    program = ECHO.format(path=[str(Path(__file__).parent), os.getcwd()]).replace(
        "delay=1)", f"delay=1), lambda: {waiting}"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.kill()


def test_sockets_that_a_story_forgot_are_closed() -> None:
    net = two_nats("linux", "linux", delay=0)

    async def forgetful() -> socket.socket:
        return socket.socket()

    async def story() -> Any:
        return await net.alice.start(forgetful())

    assert net.run(story, world="kernel").result.fileno() == -1


def test_programs_can_be_run_inside_a_node() -> None:
    net = two_nats("linux", "linux", delay=0)
    outputs = []

    def look() -> None:
        world: Any = net.world
        for name in ("alice", "nat_a"):
            command = [*world.enter_command(name), "ip", "-brief", "address", "show", "scope", "global"]
            outputs.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    echo_once(net, look)
    assert f"{net.alice.address}/24" in outputs[0]
    assert net.nat_a.address in outputs[1]
    assert net.nat_a.gateway in outputs[1]


def test_a_failing_command_says_what_it_was_told() -> None:
    namespace = Namespace("odd")
    try:
        with pytest.raises(CommandFailed, match=r"namespace of odd[\s\S]*link set nothing up"):
            namespace.run(["ip", "-batch", "-"], "link set nothing up\n")
    finally:
        namespace.close()
    with pytest.raises(RuntimeError, match="does not run any more"):
        namespace.call(os.getpid)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("sys.platform", "darwin", "Linux"),
        ("os.geteuid", lambda: 1000, "sudo"),
        ("shutil.which", lambda *_, **__: None, "package iproute2"),
    ],
)
def test_what_is_missing_is_said(name: str, value: Any, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, attribute = name.partition(".")
    monkeypatch.setattr(getattr(requirements, module), attribute, value)
    sentence = available()
    assert sentence
    assert expected in sentence
    with pytest.raises(RuntimeError, match=expected):
        echo_once(two_nats("linux", "linux"))
