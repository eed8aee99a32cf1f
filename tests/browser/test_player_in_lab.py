"""The player in JupyterLab, as a reader uses it: with the mouse, with keys alone, in the dark, on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from notebook_pages import OpenNotebook

CELL = "from natsim.view.ladder_demo import demonstration\ndemonstration().player()"


def opened(open_notebook: OpenNotebook, **options: Any) -> Any:
    page = open_notebook(CELL, **options)
    player = page.locator(".natsim-player[data-live]")
    player.wait_for(timeout=30_000)
    player.scroll_into_view_if_needed()
    return player


def height(player: Any) -> float:
    return float(player.get_attribute("data-live"))


def later(player: Any) -> int:
    """How many shapes of the ladder are still to come."""
    return int(player.locator("[data-state=later]").count())


def test_play_runs_to_the_end_and_tables_fill(open_notebook: OpenNotebook) -> None:
    player = opened(open_notebook)
    assert later(player) == 0, "at first all is to be seen"
    player.get_by_role("button", name="To the beginning").click()
    assert later(player) > 50
    assert player.locator("td.empty").count() == 2
    player.get_by_label("Speed").select_option("5")
    player.get_by_role("button", name="Play").click()
    player.get_by_role("button", name="Pause").wait_for()
    player.get_by_role("button", name="Play").wait_for(timeout=30_000)
    assert later(player) == 0
    rows = player.locator("tr[data-row]").all_inner_texts()
    assert len(rows) == 4
    assert "192.168.1.2:5000" in rows[0]


def test_keys_alone_step_scrub_and_tell_a_packets_story(open_notebook: OpenNotebook) -> None:
    player = opened(open_notebook)
    player.locator("[data-part=ladder]").focus()
    page = player.page
    page.keyboard.press("Home")
    start = height(player)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert height(player) > start
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert height(player) == start
    said = player.locator("[data-part=says]")
    while "filtered" not in said.inner_text().lower():
        before = said.inner_text()
        page.keyboard.press("ArrowDown")
        assert said.inner_text() != before, "the last packet, and none was filtered"
    assert said.locator("div").count() > 1, "the whole story of that packet, hop by hop"
    assert player.locator("tr.lit").count() == 1
    page.keyboard.press("End")
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1, "no key has reached the notebook"


def test_space_plays_and_pauses(open_notebook: OpenNotebook) -> None:
    player = opened(open_notebook)
    player.locator("[data-part=ladder]").focus()
    player.page.keyboard.press("Home")
    player.page.keyboard.press("Space")
    player.get_by_role("button", name="Pause").wait_for()
    player.page.keyboard.press("Space")
    player.get_by_role("button", name="Play").wait_for()
    assert later(player) > 0


def test_hovering_over_an_arrow_lights_it_up(open_notebook: OpenNotebook) -> None:
    player = opened(open_notebook)
    player.locator(".hop[data-hop='0'] path").first.hover()
    assert player.locator(".hop.lit").count() == 2, "from alice to her NAT, and on to the server"
    assert player.locator("tr.lit").count() == 1


@pytest.mark.parametrize(
    "options",
    [{"reduced_motion": "reduce"}, {"color_scheme": "dark", "dark": True}, {"viewport": {"width": 400, "height": 800}}],
    ids=["reduced motion", "dark", "narrow"],
)
def test_it_works_for_everybody(open_notebook: OpenNotebook, options: dict[str, Any]) -> None:
    player = opened(open_notebook, **options)
    player.get_by_role("button", name="To the beginning").click()
    start = height(player)
    player.get_by_role("button", name="One event on").click()
    assert height(player) > start
    player.get_by_label("Speed").select_option("5")
    player.get_by_role("button", name="Play").click()
    player.page.wait_for_function(
        "([root, from]) => Number(root.dataset.live) > from + 20", arg=[player.element_handle(), start], timeout=10_000
    )
    player.get_by_role("button", name="Pause").click()
