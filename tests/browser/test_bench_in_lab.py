"""The NAT bench in JupyterLab: commit to a prediction, turn knobs, read the answer; by mouse, and by keys alone."""

from __future__ import annotations

import re

from notebook_pages import OpenNotebook

CELL = """from natsim.cli.attempt import experiment
from natsim.view.nat_bench import NatBench
NatBench(experiment)"""


def test_commit_then_turn_a_knob(open_notebook: OpenNotebook) -> None:
    page = open_notebook(CELL)
    commit = page.get_by_role("button", name="Commit and run")
    commit.wait_for(timeout=30_000)
    assert commit.is_disabled()
    page.get_by_label("direct", exact=True).check()
    commit.click()
    answer = page.get_by_role("status").filter(has_text="On paper")
    answer.get_by_text("You had said so.").wait_for()
    page.get_by_label("masquerade").first.select_option("fully-random")
    answer.get_by_text("You had said direct.").wait_for()
    assert "relayed" in answer.inner_text()
    assert 'masquerade="fully-random"' in page.locator("pre", has_text="two_nats").inner_text()
    answer.get_by_text("The ladder", exact=True).click()
    assert answer.locator("svg [data-hop]").count() > 20


def test_by_keys_alone(open_notebook: OpenNotebook) -> None:
    page = open_notebook(CELL)
    page.get_by_role("button", name="Commit and run").wait_for(timeout=30_000)
    page.get_by_label("preset").first.focus()
    page.keyboard.press("s")  # "symmetric": a menu finds what is typed
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.type") != "radio":
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("() => !document.querySelector('button.mod-primary').disabled")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    answer = page.get_by_role("status").filter(has_text="On paper")
    answer.wait_for()
    assert re.search(r"You had said (so|direct|relayed)", answer.inner_text())
    assert "address-and-port-dependent" in page.locator("pre", has_text="two_nats").inner_text()
