"""What goes wrong gets a clear error within a bounded time, and nobody else is disturbed."""

from __future__ import annotations

import asyncio

import pytest
from talk import CODE, Talk, until

import natsim
import punchkit
from punchkit.errors import (
    CodeUsed,
    NobodyCame,
    PeerGone,
    ProtocolError,
    PunchkitError,
    RoomCrowded,
    ServerBusy,
    ServerGone,
    ServerUnreachable,
    WrongCode,
)
from punchkit.punch_tcp import MAX_TARGETS, MAX_TRIES, Punch
from punchkit.server import server as server_module


async def failure(host: natsim.Host, code: str = CODE) -> tuple[PunchkitError, float]:
    """Connect, and return the error with the time that it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(PunchkitError) as caught:
        await host.start(punchkit.connect(code, server="server"))
    return caught.value, loop.time() - began


def internet() -> natsim.Internet:
    net = natsim.two_nats("linux", "eim-apdf", seed=5)
    for name in ("carol", "mallory"):
        net.host(name, link=natsim.Link(10))
    return net


async def serve(net: natsim.Internet) -> tuple[punchkit.Server, asyncio.Task[None]]:
    server = punchkit.Server()
    task = net.server.start(server.run())
    await server.ready.wait()
    return server, task


def test_a_wrong_code_fails_on_both_sides_and_burns_the_number() -> None:
    net = internet()

    async def story() -> None:
        await serve(net)
        both = await asyncio.gather(failure(net.alice, "7-amber-falcon"), failure(net.bob, "7-amber-badger"))
        assert {type(error) for error, _ in both} <= {WrongCode, PeerGone}
        assert any(isinstance(error, WrongCode) for error, _ in both)
        assert all(seconds < 1 for _, seconds in both)
        error, _ = await failure(net.alice, "7-amber-falcon")
        assert isinstance(error, CodeUsed)
        assert "new code" in str(error)

    net.run(story)


def test_a_third_peer_is_turned_away_and_the_pair_is_not_disturbed() -> None:
    net = internet()
    talk = Talk(net, pieces=50)

    async def strike() -> None:
        error, seconds = await failure(net.mallory)
        assert isinstance(error, RoomCrowded)
        assert seconds < 0.2

    async def story() -> None:
        await talk.meet()
        await talk.converse(strike)

    net.run(story)
    talk.assert_intact()


def test_a_second_use_of_a_code_is_refused() -> None:
    net = internet()
    talk = Talk(net, pieces=2)

    async def story() -> None:
        await talk.meet()
        await talk.converse()
        await until(lambda: talk.server.lobby.pairs == 0)
        error, _ = await failure(net.carol)
        assert isinstance(error, CodeUsed)

    net.run(story)


def test_nobody_comes() -> None:
    net = internet()

    async def story() -> None:
        await serve(net)
        error, seconds = await failure(net.alice)
        assert isinstance(error, NobodyCame)
        assert 590 < seconds < 610

    net.run(story)


def test_no_server() -> None:
    net = internet()

    async def story() -> None:
        error, seconds = await failure(net.alice)
        assert isinstance(error, ServerUnreachable)
        assert "refused" in str(error)
        assert seconds < 1

    net.run(story)


def test_a_server_that_does_not_answer() -> None:
    net = internet()

    async def story() -> None:
        await serve(net)
        net.cut("server", "alice", "drop")
        error, seconds = await failure(net.alice)
        assert isinstance(error, ServerUnreachable)
        assert "did not answer in 10 s" in str(error)
        assert seconds == pytest.approx(10, abs=0.1), "it says how long it has tried, and has tried so long"

    net.run(story)


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\n",
    b"{}\n",
    b"[1,2]\n",
    b'{"punchkit":2,"room":"7"}\n',
    b'{"punchkit":1,"room":"../7"}\n',
    b'{"punchkit":1,"room":"' + b"7" * 5000 + b'"}\n',
    b"x" * 200_000,
    b"[" * 900 + b"\n",
    b'{"punchkit":1,"room":"99"}\nand data at once',
    b'{"punchkit":1,"observe":true}\nand data at once',
]


def test_garbage_costs_only_the_connection_that_brought_it() -> None:
    net = internet()
    talk = Talk(net, pieces=100)

    async def say(garbage: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("server", 7711)
        try:
            writer.write(garbage)
            async with asyncio.timeout(15):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def strike() -> None:
        for garbage in GARBAGE:
            answer = await net.mallory.start(say(garbage))
            assert b'"paired"' not in answer
            assert not answer or b'"error":"bad"' in answer
            # Never an amplifier: a stranger gets little more than it sent (a few words of reason at the most).
            assert len(answer) < 250

    async def story() -> None:
        await talk.meet()
        await talk.converse(strike)

    net.run(story)
    talk.assert_intact()


@pytest.mark.parametrize("how", ["stops", "falls silent"])
def test_a_server_that_goes_away(how: str) -> None:
    net = internet()
    talk = Talk(net, pieces=10_000)

    async def story() -> None:
        server, serving = await serve(net)
        calls = [host.start(punchkit.connect(CODE, server="server", relay_only=True)) for host in (net.alice, net.bob)]
        links = [await call for call in calls]
        waiting = net.carol.start(punchkit.connect("8-quiet-otter", server="server"))
        await links[0].write(b"hello")
        assert await links[1].read() == b"hello"
        began = asyncio.get_running_loop().time()
        if how == "stops":
            serving.cancel()
            with pytest.raises(ServerGone):
                await waiting
        else:
            for name in ("alice", "bob"):
                net.cut("server", name)
            waiting.cancel()
        await links[0].write(b"anybody there?")
        for link in links:
            with pytest.raises(PeerGone, match="or the server"):
                await link.read()
        assert asyncio.get_running_loop().time() - began < 35
        ended = [happening.text for happening in links[0].history if happening.what == "path-ended"]
        assert ended
        assert "nothing was heard" not in ended[0], "the system gave the connection up, long before our own limit"
        assert server.stats.pairs == 1

    net.run(story)
    assert not talk.received


def test_one_address_gets_only_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_PER_ADDRESS", 3)
    net = internet()

    async def hold() -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection("server", 7711)
        return writer

    async def story() -> None:
        await serve(net)
        held = [await net.mallory.start(hold()) for _ in range(3)]
        error, seconds = await failure(net.mallory)
        assert isinstance(error, ServerBusy)
        assert seconds < 1
        await asyncio.gather(*(net.hosts[name].start(met()) for name in ("alice", "bob")))
        held[0].close()
        await asyncio.sleep(1)
        error, _ = await failure(net.mallory, "8-lonely-otter")
        assert isinstance(error, NobodyCame)

    async def met() -> None:
        await (await punchkit.connect(CODE, server="server")).finish()

    net.run(story)


def test_a_peer_that_loses_its_network_is_noticed() -> None:
    net = natsim.two_nats("apdm-apdf", "apdm-apdf", seed=5)
    talk = Talk(net)

    async def story() -> None:
        await talk.meet()
        alice, bob = talk.links.values()
        net.cut("nat_b", "server")
        began = asyncio.get_running_loop().time()
        for link in (alice, bob):
            with pytest.raises(PeerGone):
                await link.read()
        assert asyncio.get_running_loop().time() - began < 60
        assert talk.server.lobby.pairs == 0

    net.run(story)


def test_writing_after_the_end_is_an_error_and_a_blocked_writer_hears_of_it() -> None:
    net = natsim.two_nats("none", "none", seed=5)
    talk = Talk(net)

    async def story() -> None:
        await talk.meet()
        alice = talk.links["alice"]
        writing = net.alice.start(alice.write(bytes(20_000_000)))  # far more than the window: bob does not read
        await asyncio.sleep(5)
        alice.write_eof()
        with pytest.raises(ValueError, match="after the end"):
            await writing
        with pytest.raises(ValueError, match="after the end"):
            await alice.write(b"more")

    net.run(story)


def test_what_a_peer_names_is_knocked_at_a_bounded_number_of_times() -> None:
    net = natsim.two_nats("none", "none", seed=5)

    async def knock() -> int:
        targets = [(f"203.0.113.{host}", port) for host in (10, 12) for port in range(2000, 2010)]
        punch = Punch((net.alice.address, 4000), targets, 0.0)
        async for _ in punch.connections():
            raise AssertionError("nobody is there")
        assert len([target for target in punch.outcomes if punch.outcomes[target]]) <= MAX_TARGETS
        return sum(sum(outcomes.values()) for outcomes in punch.outcomes.values())

    async def story() -> int:
        return await net.alice.start(knock())

    run = net.run(story)
    assert 8 <= run.result <= MAX_TRIES
    assert len([e for e in run.trace or () if e.action == "sent" and e.packet.is_initial_syn]) <= MAX_TRIES


def test_a_stranger_who_answers_is_told_apart_from_the_peer() -> None:
    # mallory listens on the very address that bob would have: it connects, but cannot prove to be bob.
    net = natsim.two_nats("none", "none", seed=5)
    talk = Talk(net, pieces=200)

    async def intrude(target: natsim.Host, port: int) -> bytes:
        reader, writer = await asyncio.open_connection(target.address, port)
        writer.write(b"PKP1" + bytes(32))
        answer = await reader.read()
        writer.close()
        return answer

    async def strike() -> None:
        port = talk.links["bob"].meeting.local[1]
        await until(lambda: any(h.what == "punch" for h in talk.links["bob"].history))
        try:
            await net.server.start(intrude(net.bob, port))
        except ConnectionError:
            pass  # refused, or reset for having no keys

    async def story() -> None:
        await talk.meet()
        await talk.converse(strike)

    net.run(story)
    talk.assert_intact()
    assert talk.moves("alice") == ["direct"]


def test_a_peer_that_talks_nonsense_breaks_the_link_with_a_clear_error() -> None:
    net = internet()
    talk = Talk(net)

    async def story() -> None:
        await talk.meet(relay_only=True)
        talk.links["alice"].send_control(b"not json")
        with pytest.raises(ProtocolError):
            await talk.links["bob"].read()

    net.run(story)


def test_bad_arguments_are_told_at_once() -> None:
    with pytest.raises(PunchkitError, match="number"):
        punchkit.connect("amber-falcon", server="server")
    with pytest.raises(ValueError, match="HOST:PORT"):
        punchkit.connect(CODE, server="server:99999")
    with pytest.raises(ValueError, match="both"):
        punchkit.connect(CODE, server="server", relay_only=True, direct_only=True)
