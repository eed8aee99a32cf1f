"""A link tells what happens to it, as it happens."""

from __future__ import annotations

import asyncio

from talk import Talk

import natsim
from punchkit.link import Happening


def test_events_come_as_they_happen_and_end_with_the_link() -> None:
    net = natsim.two_nats("linux", "linux", seed=5)
    talk = Talk(net)
    told: list[Happening] = []

    async def story() -> list[Happening]:
        await talk.meet()
        alice, bob = talk.links.values()

        async def listen() -> None:
            async for event in alice.events():
                told.append(event)

        listening = asyncio.create_task(listen())
        await alice.settled()
        await asyncio.sleep(1)
        assert [event.what for event in told][:1] == ["relay"], "what was before we listened is told, too"
        assert "direct" in [event.what for event in told], "and what came later, while the link still stands"
        assert not listening.done()
        await asyncio.gather(alice.finish(), bob.finish())
        await listening
        return list(alice.history)

    assert net.run(story).result == told
    assert told[-1].what == "finished"
