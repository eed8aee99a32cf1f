"""What is told at the end must be what was, though the ways out are already being closed."""

from __future__ import annotations

import asyncio

from punchkit import connect
from punchkit.commands.peers import Summary
from punchkit.server import Server


def test_the_path_is_still_known_when_the_other_side_has_hung_up() -> None:
    async def story() -> tuple[Summary, Summary, bool]:
        server = Server(("127.0.0.1",), 0)
        running = asyncio.create_task(server.run())
        await server.ready.wait()
        at = ("127.0.0.1", server.port)
        one, other = await asyncio.gather(connect("7-a", server=at), connect("7-a", server=at))
        await one.write(b"hello")
        assert await other.read() == b"hello"
        await asyncio.gather(one.settled(), other.settled())
        while not (one.direct and other.direct):
            await asyncio.sleep(0.01)
        before = Summary(other, 1.0)
        other.write_eof()
        await one.finish()
        while other._paths:
            await asyncio.sleep(0.01)
        after = Summary(other, 1.0)
        await other.finish()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return before, after, other.direct

    before, after, direct = asyncio.run(asyncio.wait_for(story(), 20))
    assert before.path.startswith("tcp 127.0.0.1:")
    assert before.to_json() == after.to_json()
    assert direct is True
