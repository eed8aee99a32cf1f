"""How tables looked while a story ran: rows appear, change and live on, with the keys that RFC 4787 is about."""

from __future__ import annotations

import asyncio

import pytest
from sim_tools import datagrams

import natsim
from natsim.packet import Endpoint
from natsim.row_log import Emptied, RowSeen

SERVER = Endpoint("203.0.113.10", 7000)
OTHER = Endpoint("203.0.113.10", 7001)


def seen(nat: str | natsim.NatBehavior, *, flush: bool = False, trace: bool = True) -> list[RowSeen | Emptied]:
    """alice sends to two ports of the server from one socket; the first answers."""
    net = natsim.two_nats(nat, "none", seed=4)

    async def story() -> None:
        async def programs() -> None:
            port = await datagrams(("0.0.0.0", 5000))
            for where in (SERVER, OTHER):
                port.transport.sendto(b"x", tuple(where))
                await asyncio.sleep(1)

        async def answers() -> None:
            port = await datagrams(("0.0.0.0", 7000))
            _, sender = await port.received.get()
            port.transport.sendto(b"y", sender)

        net.server.start(answers())
        await net.alice.start(programs())
        if flush:
            net.flush("nat_a")

    run = net.run(story, trace=trace)
    return run.trace.rows.seen if run.trace is not None else []


@pytest.mark.parametrize(
    ("nat", "keys"),
    [
        ("eim-eif", [("anybody", "anybody")]),
        ("eim-adf", [("anybody", "203.0.113.10")]),
        ("eim-apdf", [("anybody", "203.0.113.10:7000"), ("anybody", "203.0.113.10:7000, 203.0.113.10:7001")]),
        ("adm-apdf", [("203.0.113.10", "203.0.113.10:7000"), ("203.0.113.10", f"{SERVER}, {OTHER}")]),
        ("apdm-apdf", [(str(SERVER), str(SERVER)), (str(OTHER), str(OTHER))]),
        ("linux", [(str(SERVER), str(SERVER)), (str(OTHER), str(OTHER))]),
    ],
)
def test_the_keys_show_what_the_names_mean(nat: str, keys: list[tuple[str, str]]) -> None:
    rows = [row.row.cells() for row in seen(nat) if isinstance(row, RowSeen)]
    assert list(dict.fromkeys((serves, lets_in) for _, _, _, serves, lets_in, _ in rows)) == keys


def test_a_row_has_one_number_as_long_as_it_lives_and_says_when_it_will_end() -> None:
    rows = [row for row in seen("linux") if isinstance(row, RowSeen)]
    assert [(row.number, row.row.state) for row in rows] == [(1, "UNREPLIED"), (1, "REPLIED"), (2, "UNREPLIED")]
    assert [row.row.expires - row.when for row in rows] == [30 * 10**9] * 3
    assert rows[0].row.inside == Endpoint("192.168.1.2", 5000)
    assert rows[0].row.outside == Endpoint("198.51.100.1", 5000)


def test_a_flushed_table_is_empty() -> None:
    assert [type(row) for row in seen("eim-eif", flush=True)][-1] is Emptied


def test_a_run_without_a_trace_remembers_no_rows() -> None:
    assert seen("eim-eif", trace=False) == []


def test_an_early_packet_shows_as_a_flow_of_the_router_itself() -> None:
    net = natsim.two_nats("linux-open", "none")

    async def story() -> None:
        async def programs() -> None:
            port = await datagrams(("0.0.0.0", 5000))
            port.transport.sendto(b"early", (net.nat_a.address, 4000))
            await asyncio.sleep(1)

        await net.bob.start(programs())

    trace = net.run(story).trace
    assert trace is not None
    (row,) = trace.rows.seen
    assert isinstance(row, RowSeen)
    assert row.row.cells()[1] == "the NAT itself"
