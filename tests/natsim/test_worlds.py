"""Worlds come and go: inside running loops and out, alone and nested, interrupted or not, and always alike."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sim_tools import datagrams

import natsim
from natsim.aio.current import OutsideHosts, current_host
from natsim.aio.sockets import SimSocket
from natsim.internet import NotRunning
from natsim.trace import NoTrace


def quiet() -> natsim.Internet:
    return natsim.two_nats("none", "none", seed=3)


async def nap() -> str:
    await asyncio.sleep(60)
    return "slept"


def is_ordinary_again() -> None:
    """Nothing of a world is left behind."""
    assert "__new__" not in socket.socket.__dict__
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert type(sock) is socket.socket
        assert 0 <= sock.fileno() < 1 << 20
    assert current_host.get() is None


# -- Inside a loop that runs already, as in Jupyter -------------------------------------------------------------------


def test_a_run_works_inside_a_running_loop_and_leaves_it_as_it_was() -> None:
    async def cell() -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        first = quiet().run(nap)
        assert (asyncio.get_running_loop(), asyncio.current_task()) == (loop, task)
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.create_task(asyncio.sleep(0))
        return first

    run = asyncio.run(cell())
    assert (run.result, run.duration) == ("slept", 60.0)
    is_ordinary_again()


def test_a_story_can_run_another_internet() -> None:
    inner, outer = quiet(), quiet()

    async def story() -> Any:
        heard = await outer.server.start(datagrams(("0.0.0.0", 9)))
        result = inner.run(nap).result
        mine = await outer.alice.start(datagrams(remote=("server", 9)))
        mine.transport.sendto(b"still here")
        return result, (await heard.received.get())[0]

    assert outer.run(story).result == ("slept", b"still here")
    is_ordinary_again()


def test_an_internet_runs_once_at_a_time_and_again_later() -> None:
    net = quiet()

    async def story() -> None:
        with pytest.raises(RuntimeError, match="runs already"):
            net.run(nap)
        assert net.world is not None

    net.run(story)
    assert net.world is None
    assert net.run(nap).result == net.run(nap).result == "slept"


@pytest.mark.parametrize("play", [False, True])
def test_an_interrupt_leaves_the_outer_loop_usable(play: bool, caplog: pytest.LogCaptureFixture) -> None:
    net, cleaned = quiet(), []

    async def program() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            cleaned.append(True)

    async def story() -> None:
        net.alice.start(program())
        await asyncio.sleep(1)
        raise KeyboardInterrupt

    async def cell() -> Any:
        try:
            await net.play(story) if play else net.run(story)
        except KeyboardInterrupt:
            pass
        else:
            pytest.fail("the interrupt was swallowed")
        await asyncio.sleep(0)
        return asyncio.current_task() is not None

    with caplog.at_level(logging.ERROR, "asyncio"):
        assert asyncio.run(cell())
        gc.collect()
    assert cleaned == [True]
    assert (net.world, caplog.messages) == (None, [])
    is_ordinary_again()
    assert net.run(nap).result == "slept"


def test_play_lets_the_outer_loop_run_and_keeps_its_own_chance() -> None:
    net = quiet()

    async def story() -> list[float]:
        drawn = []
        for _ in range(200):
            await asyncio.sleep(1)
            drawn.append(random.random())
        return drawn

    async def cell() -> Any:
        ticks = 0

        async def ticker() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                random.random()
                await asyncio.sleep(0)

        outer = asyncio.create_task(ticker())
        run = await net.play(story, slice_seconds=0.0)
        outer.cancel()
        return ticks, run

    ticks, played = asyncio.run(cell())
    assert ticks > 50
    assert played.duration == 200.0
    ran = net.run(story)
    assert (played.result, played.trace.digest()) == (ran.result, ran.trace.digest())
    is_ordinary_again()


def test_play_gives_way_to_a_story_that_is_never_idle() -> None:
    async def busy() -> None:
        while True:
            await asyncio.sleep(0)

    async def cell() -> None:
        playing = asyncio.create_task(quiet().play(busy, slice_seconds=0.001))
        for _ in range(3):
            await asyncio.sleep(0)
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing

    asyncio.run(cell())
    is_ordinary_again()


@pytest.mark.parametrize("play", [False, True])
def test_a_story_that_fails_says_so_and_the_world_is_gone(play: bool) -> None:
    net = quiet()

    async def story() -> None:
        raise LookupError("nothing here")

    async def cell() -> None:
        await net.play(story) if play else net.run(story)

    with pytest.raises(LookupError, match="nothing here"):
        asyncio.run(cell())
    assert net.world is None
    is_ordinary_again()


def test_a_world_that_cannot_be_built_leaves_nothing() -> None:
    net = quiet()
    with pytest.raises(ValueError, match="no world 'moon'; there are sim, kernel and loopback"):
        net.run(nap, world="moon")
    broken = natsim.two_nats("linux", "none")
    broken.nat_a.behavior = "nonsense"  # type: ignore[assignment]
    broken.nat_a.lan = None  # type: ignore[assignment]
    state = random.getstate()
    with pytest.raises(TypeError):
        broken.run(nap)
    assert (net.world, broken.world) == (None, None)
    assert random.getstate() == state
    gc.collect()  # an unclosed loop would complain
    is_ordinary_again()


# -- Who is where -----------------------------------------------------------------------------------------------------


def test_tasks_and_callbacks_stay_on_the_host_that_started_them() -> None:
    net = quiet()
    seen: dict[str, str] = {}

    def note(what: str) -> None:
        host = current_host.get()
        seen[what] = host.name if host else "nowhere"

    async def deeper(name: str) -> None:
        await asyncio.sleep(0.1)
        note(f"{name}'s task")

    async def program(name: str) -> None:
        asyncio.get_running_loop().call_later(0.2, note, f"{name}'s timer")
        async with asyncio.TaskGroup() as group:
            group.create_task(deeper(name))
        await asyncio.to_thread(note, f"{name}'s thread")
        await asyncio.sleep(0.3)

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            for host in (net.alice, net.bob):
                host.start(program(host.name))
            group.create_task(deeper("the story"))
        await asyncio.sleep(1)
        note("the story")

    net.run(story)
    places = {f"{name}'s {what}": name for name in ("alice", "bob") for what in ("task", "timer", "thread")}
    assert seen == {**places, "the story's task": "nowhere", "the story": "nowhere"}


def test_a_handler_of_connections_runs_on_the_servers_host() -> None:
    net = quiet()
    where = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        where.append((current_host.get().name, type(writer.get_extra_info("socket")._sock)))
        writer.close()

    async def story() -> None:
        await net.server.start(asyncio.start_server(handle, "0.0.0.0", 80))
        reader, _ = await net.alice.start(asyncio.open_connection("server", 80))
        await reader.read()

    net.run(story)
    assert where == [("server", SimSocket)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: asyncio.open_connection("server", 80),
        lambda: asyncio.start_server(lambda *ends: None, "127.0.0.1", 0),
        lambda: datagrams(("127.0.0.1", 0)),
        lambda: socket.socket(),
    ],
    ids=["connection", "server", "datagrams", "socket"],
)
def test_on_no_host_there_are_no_sockets_and_it_says_so(make: Any) -> None:
    async def story() -> None:
        await make()

    with pytest.raises(OutsideHosts, match=r"on none of its hosts.*host\.start"):
        quiet().run(story)


def test_a_real_socket_from_elsewhere_is_refused_by_the_loop() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as real:
        real.setblocking(False)
        real.bind(("127.0.0.1", 0))

        async def story() -> None:
            await asyncio.get_running_loop().sock_recv(real, 1)

        with pytest.raises(RuntimeError, match=r"is a real one.*host\.start"):
            quiet().run(story)


def test_other_threads_keep_real_sockets_while_a_world_runs() -> None:
    net = quiet()
    kinds = []

    def elsewhere() -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()) as mine,
        ):
            kinds.append((type(mine), mine.fileno() < 1 << 20, current_host.get()))
        asyncio.run(asyncio.sleep(0))

    async def program() -> None:
        with socket.socket() as here:
            assert type(here) is SimSocket
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        one, other = socket.socketpair()
        with one, other:
            assert type(one) is socket.socket

    async def story() -> None:
        await net.alice.start(program())

    net.run(story)
    assert kinds == [(socket.socket, True, None)]
    is_ordinary_again()


def test_a_host_is_used_while_its_internet_runs() -> None:
    net = quiet()
    with pytest.raises(NotRunning, match=r"alice\.start"):
        net.alice.start(None)  # type: ignore[arg-type]
    assert contextvars.copy_context().get(current_host) is None


# -- The same seed, the same run --------------------------------------------------------------------------------------


def test_a_run_without_a_trace_comes_to_the_same_result_and_says_that_it_has_none() -> None:
    net = natsim.two_nats("linux", "none", seed=5, loss=0.1)

    async def story() -> tuple[int, float]:
        heard = await net.bob.start(datagrams(("0.0.0.0", 9)))
        mine = await net.alice.start(datagrams(remote=("bob", 9)))
        for _ in range(100):
            mine.transport.sendto(bytes(100))
            await asyncio.sleep(random.random())
        return heard.received.qsize(), asyncio.get_running_loop().time()

    traced, untraced = net.run(story), net.run(story, trace=False)
    assert (untraced.result, untraced.duration) == (traced.result, traced.duration)
    assert 0 < untraced.result[0] < 100
    assert traced.trace
    assert untraced.trace is None
    assert "packets not captured" in repr(untraced)
    assert "trace=False" in untraced.why()
    with pytest.raises(NoTrace, match="trace=False"):
        untraced.ladder()


def test_random_draws_from_the_seed_inside_and_is_as_before_outside() -> None:
    async def story() -> float:
        return random.random()

    random.seed(99)
    expected = random.random()
    random.seed(99)
    drawn = [natsim.two_nats("none", "none", seed=seed).run(story).result for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert random.random() == expected


def fingerprints(seed: int, hash_seed: str) -> list[str]:
    program = Path(__file__).with_name("story_of_a_seed.py")
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-W", "error", str(program), str(seed)]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()


def test_a_seed_gives_the_same_trace_in_every_process_and_in_this_one() -> None:
    import story_of_a_seed

    first = fingerprints(1, "0")
    assert len(set(first)) == 2
    assert fingerprints(1, "1") == fingerprints(1, "4242") == first
    assert [story_of_a_seed.streams(1), story_of_a_seed.punching(1)] == first
    assert [story_of_a_seed.streams(2), story_of_a_seed.punching(2)] == fingerprints(2, "7")
    assert not set(first) & set(fingerprints(2, "0"))


def test_a_closed_connection_that_somebody_still_remembers_does_not_spoil_the_run() -> None:
    net = natsim.two_nats("none", "none", seed=1)
    remembered = []

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        remembered.append(writer)
        writer.write(b"x" * 1_000_000)
        writer.close()

    async def serve() -> None:
        remembered.append(await asyncio.start_server(hello, "0.0.0.0", 80))

    async def get() -> int:
        reader, writer = await asyncio.open_connection(net.server.address, 80)
        size = len(await reader.read(-1))
        writer.close()
        return size

    async def story() -> int:
        await net.server.start(serve())
        return await net.alice.start(get())

    assert net.run(story).result == 1_000_000


def other_pythons() -> list[str]:
    """Interpreters of other versions that this machine has, on the PATH or by pyenv, and that run."""
    names = [f"python3.{minor}" for minor in range(11, 16) if minor != sys.version_info[1]]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = [shutil.which(name) for name in names] + [
        str(path) for name in names for path in pyenv.glob(f"*/bin/{name}")
    ]
    return [path for path in found if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0]


def test_a_seed_gives_the_same_trace_in_every_version_of_python() -> None:
    import story_of_a_seed

    others = other_pythons()
    if not others:
        pytest.skip("this machine has no other Python")
    here = Path(__file__).parent
    program = f"import sys; sys.path[:0] = {[str(here), str(here.parents[1])]}; import story_of_a_seed as story"
    for python in others:
        # Those that punchkit needs may not be installed there; the simulator needs nothing.
        done = subprocess.run([python, "-c", f"{program}; print(story.streams(1))"], capture_output=True, text=True)
        assert done.stdout.strip() == story_of_a_seed.streams(1), (python, done.stderr)


def test_the_trace_ends_with_the_story() -> None:
    net = natsim.two_nats("none", "none")

    async def patient() -> None:
        reader, writer = await asyncio.open_connection("server", 80)
        try:
            await reader.read()
        finally:
            writer.write(b"cancelled")

    async def story() -> None:
        await net.server.start(asyncio.start_server(lambda reader, writer: None, "0.0.0.0", 80))
        net.alice.start(patient())
        await asyncio.sleep(1)

    trace = net.run(story).trace
    assert trace is not None
    assert len(trace) > 0
    assert not [entry for entry in trace if entry.packet.payload]
