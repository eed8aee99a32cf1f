"""One program, several worlds: the same function object runs in each, and the same seed makes the same trace."""

from __future__ import annotations

import subprocess
import sys

import pytest
from talk import Talk

import natsim
import punchkit

DIGEST = """
import natsim, sys
sys.path.insert(0, {here!r})
from talk import Talk
net = natsim.two_nats("linux", "eim-apdf-rst", seed={seed}, loss=0.01)
talk = Talk(net, pieces=50)
async def story():
    await talk.meet()
    await talk.converse()
print(net.run(story).trace.digest())
"""


def digest(seed: int, hash_seed: str) -> str:
    here = str(__file__).rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", DIGEST.format(seed=seed, here=here)],
        env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_same_seed_gives_the_same_trace_in_any_process() -> None:
    assert digest(1, "0") == digest(1, "12345") != digest(2, "0")


@pytest.mark.kernel
def test_the_same_connect_runs_in_every_world(kernel: None) -> None:
    connect = punchkit.connect
    paths = {}
    for world in ("sim", "kernel", "loopback"):
        net = natsim.two_nats("linux", "linux")
        talk = Talk(net, pieces=100)

        async def story(talk: Talk = talk) -> None:
            await talk.meet(connect)
            await talk.converse()

        run = net.run(story, world)
        talk.assert_intact()
        assert run.world == world
        paths[world] = [path for path in talk.links["alice"].first_data if path != "relay"]
    assert connect is punchkit.connect
    assert paths["sim"][0].startswith("tcp 198.51.100.2:")
    assert paths["kernel"][0].startswith("tcp 198.51.100.2:")
    assert paths["loopback"][0].startswith("tcp 127.0.0.1:")
