"""The kernel world's trace: real packets, heard on real interfaces, in the types and words of the simulator's."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from kernel_nat import as_seen
from kernel_programs import PORT, dial, echo_server, receive, seen_as, settle, udp_socket

from natsim import Link, NatBehavior, same_nat, two_nats
from natsim.cli.attempt import experiment
from natsim.internet import Internet, Story
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import TCP, flag_text
from natsim.run import Run
from natsim.trace import Trace

pytestmark = [pytest.mark.kernel, as_seen]

DELAY = 10.0


def traced(net: Internet, story: Story) -> Trace:
    trace = net.run(story, world="kernel", limit=20).trace
    assert trace is not None
    return trace


def handshake(run: Run) -> list[tuple[str, str, str]]:
    """The segments between the peers' NATs: where, flags, and what was done with them."""
    trace = run.trace
    assert trace is not None
    net = run.net
    lines = trace.where(between=(net.nat_a.address, net.nat_b.address), protocol=TCP)
    return [(entry.node, flag_text(entry.packet.flags), entry.action) for entry in lines]


def test_a_handshake_through_a_nat_reads_as_in_the_simulator() -> None:
    net = two_nats("linux", "none", delay=DELAY)

    async def story() -> None:
        net.server.start(echo_server())
        await settle()
        await net.alice.start(seen_as(net.server.address, local_port=4321))

    def first(trace: Trace) -> list[tuple[str, str, str, str, str]]:
        lines = [entry for entry in trace if not entry.packet.payload][:9]
        return [(e.node, e.action, flag_text(e.packet.flags), str(e.packet.src), str(e.packet.dst)) for e in lines]

    real, simulated = traced(net, story), net.run(story).trace
    assert simulated is not None
    assert first(real) == first(simulated)
    assert [str(e.reason) for e in real if e.action == "translated"][:2] == [
        str(e.reason) for e in simulated if e.action == "translated"
    ][:2]


def test_a_stray_packet_ends_at_the_nat_by_the_same_rule() -> None:
    net = two_nats("linux", "none", delay=DELAY)

    async def knock() -> None:
        with udp_socket(PORT) as sock:
            await asyncio.get_running_loop().sock_sendto(sock, b"knock", (net.nat_a.address, 4321))

    async def story() -> None:
        await net.bob.start(knock())
        await asyncio.sleep(0.1)

    (drop,) = traced(net, story).drops()
    assert (drop.node, drop.action) == ("nat_a", "dropped")
    assert isinstance(drop.reason, Verdict)
    assert drop.reason.rule is Rule.FILTERED


def test_a_refusal_is_an_answer_and_knows_its_cause() -> None:
    net = two_nats("linux-reject", "none", delay=DELAY)

    async def knock(address: str, port: int) -> None:
        with pytest.raises(ConnectionRefusedError):
            await dial(address, port)

    async def story() -> None:
        await net.bob.start(knock(net.nat_a.address, 4321))
        await net.alice.start(knock(net.server.address, 9))

    trace = traced(net, story)
    at_nat, at_host = trace.drops()
    assert (at_nat.node, at_nat.action) == ("nat_a", "answered")
    assert "and rejects it" in str(at_nat.reason)
    assert (at_host.node, at_host.action) == ("server", "answered")
    causes = {entry.packet.cause for entry in trace if entry.action == "sent" and flag_text(entry.packet.flags) == "R."}
    assert causes == {at_nat.packet.uid, at_host.packet.uid}
    assert "It caused" in trace.why(at_nat)


@pytest.mark.parametrize("pair", [("linux", "linux"), ("linux", "eim-apdf"), ("eim-apdf", "eim-adf")])
def test_a_punch_is_a_story_whatever_nats_there_are(pair: tuple[str, str]) -> None:
    net = two_nats(*pair, delay=DELAY, seed=3)
    outcome, run = experiment(net, "tcp", world="kernel")
    assert outcome.direct
    assert "went direct: data from" in run.why()
    trace = run.trace
    assert trace is not None
    lines = handshake(run)
    assert {"nat_a", "nat_b", "alice", "bob"} <= {node for node, _, _ in lines}
    uids = [entry.packet.uid for entry in trace if entry.action == "sent"]
    assert uids == sorted(set(uids)), "each packet has one number, in the order of time"
    whole = [trace.of(uid) for uid in uids]
    crossed = [
        story for story in whole if [entry.action for entry in story] == ["sent", *["translated"] * 2, "delivered"]
    ]
    assert len(crossed) >= 4, "sent, through both NATs, and delivered, as one packet"
    assert [entry.when for entry in trace] == sorted(entry.when for entry in trace)


def test_why_of_a_pair_that_stayed_relayed_names_packet_rule_and_row() -> None:
    net = two_nats("linux-random", "linux", delay=DELAY)
    outcome, run = experiment(net, "udp", world="kernel")
    assert not outcome.direct
    said = run.why()
    assert "stayed relayed" in said
    assert "FILTERED: no flow" in said
    assert "which the server had seen and told its peer (TRANSLATED: new flow udp 192.168.1.2" in said
    assert run.trace is not None
    refused = next(drop for drop in run.trace.drops() if drop.node == "nat_b")
    assert "nat_b dropped it" in run.why(refused.packet)


def test_ladder_player_and_tables_show_real_packets() -> None:
    net = two_nats("linux", "apdm-apdf", delay=DELAY)
    _, run = experiment(net, "udp", world="kernel")
    assert "filtered" in run.ladder().text
    assert "<svg" in run.player().html
    tables = run.tables().rows
    assert any(row[1].startswith("192.168.1.2:") for row in tables["nat_a"]), "the kernel's NAT, by its model"
    assert any(row[1].startswith("192.168.2.2:") for row in tables["nat_b"]), "natsim's own"


@pytest.mark.parametrize("world", ["sim", "kernel"])
@pytest.mark.parametrize("nat", ["linux", "eim-apdf"])
def test_a_table_is_shown_while_the_story_runs(nat: str, world: str) -> None:
    """The kernel's own, if it is the kernel's: conntrack's lines in the columns of every NAT."""
    net = two_nats(nat, "none", delay=DELAY)

    async def alice() -> None:
        with udp_socket(4321) as sock:
            await asyncio.get_running_loop().sock_sendto(sock, b"hello", (net.server.address, PORT))

    async def story() -> list[tuple[str, ...]]:
        await net.alice.start(alice())
        await asyncio.sleep(0.005)
        return [row.cells() for row in net.table("nat_a") if str(row.inside) == "192.168.1.2:4321"]

    if world == "sim":

        async def send() -> None:
            port = await asyncio.get_running_loop().create_datagram_endpoint(
                asyncio.DatagramProtocol, local_addr=("0.0.0.0", 4321)
            )
            port[0].sendto(b"hello", (net.server.address, PORT))

        async def simulated() -> list[tuple[str, ...]]:
            await net.alice.start(send())
            await asyncio.sleep(0.005)
            return [row.cells() for row in net.table("nat_a")]

        rows = net.run(simulated).result
    else:
        rows = net.run(story, world="kernel").result
    everybody = "anybody" if nat == "eim-apdf" else "203.0.113.10:7000"
    state = "" if nat == "eim-apdf" else "UNREPLIED"
    assert rows == [("udp", "192.168.1.2:4321", "198.51.100.1:4321", everybody, "203.0.113.10:7000", state)]


def test_a_capture_opens_in_tshark(tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("there is no tshark")
    net = two_nats("linux", "eim-apdf", delay=DELAY)
    _, run = experiment(net, "udp", world="kernel")
    run.save_pcap(tmp_path / "real.pcapng")
    command = [tshark, "-r", str(tmp_path / "real.pcapng"), "-T", "json", "-o", "ip.check_checksum:TRUE"]
    command += ["-o", "udp.check_checksum:TRUE"]
    packets = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert len(packets) > 20
    text = json.dumps(packets)
    assert "TRANSLATED: new flow udp" in text
    assert "Bad checksum" not in text
    assert "Malformed" not in text


def test_lost_packets_end_on_their_way_and_copies_are_no_other_packets() -> None:
    net = two_nats("linux", "none", delay=DELAY, link=Link(loss=0.3, duplicate=0.3), seed=2)

    async def send() -> None:
        with udp_socket() as sock:
            for number in range(40):
                await asyncio.get_running_loop().sock_sendto(sock, bytes([number]), (net.server.address, PORT))
                await asyncio.sleep(0.002)

    async def hear() -> None:
        with udp_socket(PORT) as sock:
            while True:
                await asyncio.get_running_loop().sock_recv(sock, 100)

    async def story() -> None:
        net.server.start(hear())
        await settle()
        await net.alice.start(send())
        await asyncio.sleep(1.3)

    trace = traced(net, story)
    sent = [entry for entry in trace if entry.node == "alice" and entry.action == "sent"]
    delivered = [entry for entry in trace if entry.node == "server" and entry.action == "delivered"]
    assert len(sent) == 40
    assert 15 <= len(delivered) < 40
    assert len({entry.packet.uid for entry in delivered}) == len(delivered)
    lost = trace.drops()
    assert len(lost) == 40 - len(delivered)
    assert {(entry.node, str(entry.reason).partition(":")[0]) for entry in lost} == {("nat_a>internet", "LOST")}


def test_same_lan_and_hairpin_are_told_apart() -> None:
    net = same_nat(NatBehavior(hairpin=True), delay=DELAY)
    outcome, run = experiment(net, "udp", world="kernel")
    assert outcome.direct
    assert run.trace is not None
    assert len(run.trace) > 10


def test_faults_are_in_it_and_a_run_without_a_trace_hears_nothing() -> None:
    net = two_nats("linux", "none", delay=DELAY)

    async def story() -> None:
        net.cut("alice", "server", "drop")
        await asyncio.sleep(0.01)
        net.heal("alice", "server")

    trace = traced(net, story)
    assert len(trace.events) == 2
    assert 0 < trace.events[0].when < trace.events[1].when
    assert net.run(story, world="kernel", trace=False).trace is None


def test_a_stream_of_megabytes_is_heard_whole() -> None:
    net = two_nats("linux", "none", delay=DELAY)
    size = 3_000_000

    async def alice() -> None:
        with await dial(net.server.address) as sock:
            await receive(sock, 32)
            sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(sock, bytes(size)))
            await receive(sock, size)
            await sending

    async def story() -> None:
        net.server.start(echo_server())
        await settle()
        await net.alice.start(alice())

    trace = traced(net, story)
    there = sum(len(e.packet.payload) for e in trace if e.node == "server" and e.action == "delivered")
    assert there >= size, "up to 64 kB in one packet, as on the interface, and every byte counted"
    assert not trace.events
