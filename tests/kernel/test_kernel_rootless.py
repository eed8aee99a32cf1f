"""The kernel world for somebody who is not root, but may make user namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from natsim.kernel import rootless

pytestmark = pytest.mark.kernel

#: Whoever runs these tests is root; in here not, and with no more rights than anybody.
NOBODY = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]


@pytest.fixture(autouse=True)
def _user_namespaces() -> None:
    if subprocess.run([*NOBODY, "unshare", "--user", "--map-root-user", "true"], check=False).returncode:
        pytest.skip("this machine lets nobody make user namespaces")


def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*NOBODY, sys.executable, "-m", "natsim.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("nats", [("linux", "linux"), ("eim-apdf", "linux")])
def test_the_demo_runs_on_real_nats_without_root(nats: tuple[str, str]) -> None:
    done = as_nobody("demo", *nats, "--world", "kernel", "--bytes", "20000", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["intact"], said["direct"]) == (True, True)
    assert "went direct" in said["why"], "its packets were heard"


def test_verify_and_campaign_ask_the_kernel_without_root() -> None:
    assert as_nobody("campaign", "--scripts", "3").returncode == 0
    done = as_nobody("verify", "--world", "kernel", "--only", "linux: echo", "--json")
    assert json.loads(done.stdout)["checks"][0]["real"] is not None


def test_a_program_is_told_what_to_do() -> None:
    program = "import natsim.kernel; print(natsim.kernel.available())"
    done = subprocess.run([*NOBODY, sys.executable, "-c", program], capture_output=True, text=True)
    assert "unshare --user --map-root-user" in done.stdout


def test_root_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rootless.command_as_root("natsim.cli", ["lab"]) is None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    command = rootless.command_as_root("natsim.cli", ["lab", "linux", "none"])
    assert command is not None
    assert command[-5:] == ["-m", "natsim.cli", "lab", "linux", "none"]
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert rootless.command_as_root("natsim.cli", ["lab"]) is None
