"""`natsim demo` and `natsim devices`, as typed: JSON by the contract, exit status, errors in words."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

FIELDS = {
    "world", "nat_a", "nat_b", "seed", "transport", "connected", "direct", "path", "relayed_after_s", "direct_after_s",
    "bytes", "intact", "longest_stall_s", "why", "trace_digest",
}  # fmt: skip


def natsim(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "natsim.cli", *arguments], capture_output=True, text=True, timeout=120)


def demo(*arguments: str) -> dict[str, Any]:
    done = natsim("demo", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    outcome: dict[str, Any] = json.loads(line)
    assert outcome.keys() >= FIELDS
    return outcome


def assert_went_direct(outcome: dict[str, Any]) -> None:
    assert outcome["connected"]
    assert outcome["direct"]
    assert outcome["intact"]
    assert outcome["bytes"] >= 20_000_000
    assert 0 < outcome["relayed_after_s"] < outcome["direct_after_s"] < 5
    assert outcome["bytes_relayed"] > 0
    # The server's own count: what went direct did not pass it.
    assert outcome["bytes_at_server"] < outcome["bytes_relayed"] * 1.1 + 3000
    assert outcome["bytes_at_server"] < 40_000_000 - 0.8 * outcome["bytes_direct"]


def test_two_linux_nats_go_direct_with_twenty_megabytes_each_way() -> None:
    outcome = demo("linux", "linux", "--transport", "tcp")
    assert_went_direct(outcome)
    assert "went direct" in outcome["why"]


@pytest.mark.kernel
def test_two_linux_nats_of_the_kernel_go_direct(kernel: None) -> None:
    outcome = demo("linux", "linux", "--transport", "tcp", "--world", "kernel")
    assert_went_direct(outcome)
    assert outcome["path"].startswith("tcp 198.51.100.2:")


def test_two_symmetric_nats_stay_relayed_and_say_why() -> None:
    outcome = demo("apdm-apdf", "apdm-apdf", "--bytes", "200000")
    assert not outcome["direct"]
    assert outcome["intact"]
    assert outcome["path"] == "relay"
    assert outcome["direct_after_s"] is None
    assert "address-and-port-dependent" in outcome["why"]


def test_the_same_seed_gives_the_same_digest() -> None:
    first, again, other = (demo("eim-apdf", "linux", "--bytes", "50000", "--seed", seed) for seed in ("1", "1", "2"))
    assert first["trace_digest"] == again["trace_digest"] != other["trace_digest"]
    assert first == again


def test_without_json_there_is_a_ladder_and_a_reason(tmp_path: Path) -> None:
    picture = tmp_path / "story.svg"
    done = natsim("demo", "linux", "linux", "--bytes", "50000", "--svg", str(picture))
    assert done.returncode == 0, done.stderr
    for text in ("alice", "nat_b", "SYN,ACK", "198.51.100.2", "went direct", "intact"):
        assert text in done.stdout
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_the_packets_are_saved_for_wireshark(tmp_path: Path) -> None:
    capture = tmp_path / "story.pcapng"
    done = natsim("demo", "linux", "linux", "--bytes", "50000", "--pcap", str(capture), "--json")
    assert done.returncode == 0, done.stderr
    data = capture.read_bytes()
    assert data.startswith(b"\x0a\x0d\x0d\x0a")
    for word in (b"nat_a inside", b"nat_b outside", b"TRANSLATED: new flow tcp 192.168.1.2:"):
        assert word in data


@pytest.mark.parametrize("option", ["--svg", "--pcap"])
def test_a_file_that_cannot_be_had_is_refused_before_the_story_begins(option: str, tmp_path: Path) -> None:
    done = natsim("demo", "linux", "linux", option, str(tmp_path / "nowhere" / "x"))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{option}: there is no directory {tmp_path / 'nowhere'}" in done.stderr
    assert not list(tmp_path.iterdir())


def test_wrong_use_is_told_in_words() -> None:
    done = natsim("demo", "linuxx", "linux")
    assert done.returncode == 2
    assert "did you mean linux" in done.stderr
    assert natsim("demo", "linux").returncode == 2
    assert natsim("demo", "linux", "linux", "--bytes", "0").returncode == 2
    assert natsim("demo", "linux", "linux", "--delay", "-1").returncode in (1, 2)


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel")
def test_the_kernel_world_draws_and_saves_real_packets(tmp_path: Path) -> None:
    files = [tmp_path / "real.svg", tmp_path / "real.pcapng"]
    command = ["demo", "eim-eif", "linux", "--world", "kernel", "--bytes", "1000"]
    done = natsim(*command, "--svg", str(files[0]), "--pcap", str(files[1]))
    assert done.returncode == 0, done.stderr
    assert "real packets as heard on their interfaces" in done.stdout
    assert "SYN" in done.stdout
    assert all(path.stat().st_size > 1000 for path in files)


def test_devices_are_listed_with_their_sources() -> None:
    devices = json.loads(natsim("devices", "--json").stdout)["devices"]
    assert {"linux", "none", "apdm-apdf", "rfc", "cgnat"} <= {device["name"] for device in devices}
    assert all(device["about"] and device["source"] for device in devices)
    assert "nft masquerade" in natsim("devices").stdout
