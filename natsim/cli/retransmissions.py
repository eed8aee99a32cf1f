"""When requests are sent again: the times that two RFCs print, and when punchkit's packets really leave.

punchkit asks a server that is there and never answers.  The times are read from the simulator's trace, where a packet
stands at the nanosecond at which its host has sent it; so is measured what a network would see, not what a schedule
says of itself (`punchkit/retransmission.py`).
"""

from __future__ import annotations

import asyncio
from functools import partial

from natsim.packet import UDP
from natsim.ready_made import two_nats
from natsim.scheduler import MILLISECOND, SECOND
from natsim.trace import SENT
from natsim.verify.check import Check
from punchkit.errors import NoAnswer
from punchkit.retransmission import NAT_PMP, STUN, DatagramClient, Schedule


def send_times(schedule: Schedule, port: int, unit: int, symbol: str) -> str:
    """When a request to a silent server is sent, and when it is given up, in multiples of `unit` nanoseconds."""
    net = two_nats("none", "none")

    async def ask() -> float:
        client = await DatagramClient.open()
        try:
            await client.request(b"request", (net.server.address, port), lambda data, source: None, schedule)
        except NoAnswer:
            pass
        return asyncio.get_running_loop().time()

    async def story() -> float:
        await net.server.start(DatagramClient.open(("0.0.0.0", port)))
        given_up: float = await net.alice.start(ask())
        return given_up

    run = net.run(story)
    assert run.trace is not None
    sent = [entry.when for entry in run.trace if entry.action == SENT and entry.packet.protocol == UDP]
    times = ", ".join(f"{when / unit:g}" for when in sent)
    return f"sent at {times} {symbol}; given up at {run.result * SECOND / unit:g} {symbol}"


CHECKS = [
    Check(
        "a STUN request without an answer",
        "RFC 8489 section 6.2.1",
        "sent at 0, 500, 1500, 3500, 7500, 15500, 31500 ms; given up at 39500 ms",
        partial(send_times, STUN, 3478, MILLISECOND, "ms"),
    ),
    Check(
        "a NAT-PMP request without an answer",
        "RFC 6886 section 3.1",
        "sent at 0, 0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 31.75, 63.75 s; given up at 127.75 s",
        partial(send_times, NAT_PMP, 5351, SECOND, "s"),
    ),
]
