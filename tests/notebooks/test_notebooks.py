"""The notebooks: tidy as stored, and right when they run, in a fresh kernel, from top to bottom."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STORY = ROOT / "notebooks" / "00-the-story.ipynb"
MOST_LINES = 15
NOBODY = 65534

#: Runs the notebook that comes on standard input, in a process of its own, so that neither the warnings of Jupyter's
#: many parts nor its event loop meet pytest's.
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.reads(sys.stdin.read(), as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
print(nbformat.writes(notebook))
"""

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    """A notebook as it is stored; the source of each cell as one string."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def prose(notebook: dict[str, Any]) -> list[str]:
    """The text of each Markdown cell, without its code."""
    cells = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    return [re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL) for text in cells]


def headings(notebook: dict[str, Any]) -> list[tuple[int, int, str]]:
    """Number of the Markdown cell, level and text of every heading."""
    found = [(cell, line) for cell, text in enumerate(prose(notebook)) for line in text.split("\n")]
    return [(cell, len(m[1]), m[2]) for cell, line in found if (m := re.match(r"(#+) (.+)", line))]


# -- As stored ---------------------------------------------------------------------------------------------------------


def test_there_are_notebooks() -> None:
    assert STORY in NOTEBOOKS


@every_notebook
def test_it_is_stored_without_outputs_and_with_readable_ids(path: Path) -> None:
    notebook = read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code(notebook))
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", name) and not re.fullmatch(r"[0-9a-f-]+", name) for name in ids)
    text = path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"


@every_notebook
def test_its_headings_are_in_order(path: Path) -> None:
    found = headings(read(path))
    assert [cell for cell, level, _ in found if level == 1] == [0]
    levels = [level for _, level, _ in found]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@every_notebook
def test_it_has_the_parts_of_a_lesson(path: Path) -> None:
    names = [name for _, level, name in headings(read(path)) if level == 2]
    parts = ["The problem", "Predict", "Run", "Investigate", "Modify", "Make", "In the wild", "Recap", "Questionnaire"]
    positions = [next((i for i, name in enumerate(names) if name.startswith(part)), -1) for part in parts]
    assert -1 not in positions
    assert positions == sorted(positions)


@every_notebook
def test_its_links_lead_somewhere(path: Path) -> None:
    notebook = read(path)
    anchors = {name.replace(" ", "-") for _, _, name in headings(notebook)}
    for text in prose(notebook):
        for target in re.findall(r"\]\(([^)]*)\)", text):
            if target.startswith("#"):
                assert target[1:] in anchors
            elif not target.startswith("https://"):
                assert (path.parent / target).exists(), target
        bare = re.sub(r"\]\([^)]*\)", "", text)
        assert "http" not in bare


@every_notebook
def test_its_details_open_and_close(path: Path) -> None:
    for text in prose(read(path)):
        assert text.count("<details>") == text.count("</details>") == text.count("<summary>")
        # Without an empty line after it, Markdown in a fold would be shown raw.
        assert len(re.findall(r"</summary>\n\n", text)) == text.count("</summary>")


@every_notebook
def test_its_code_cells_are_short(path: Path) -> None:
    for cell in code(read(path)):
        lines = [line for line in cell["source"].split("\n") if line.strip()]
        assert len(lines) <= MOST_LINES, cell["id"]
        assert max(map(len, lines)) <= 100, cell["id"]


# -- As run ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jupyter() -> None:
    missing = [name for name in ("nbformat", "nbclient", "ipykernel") if importlib.util.find_spec(name) is None]
    if missing:
        no_way(f"{', '.join(missing)} not installed")


def no_way(problem: str) -> None:
    """Skip; where everything is required, fail."""
    if os.environ.get("PUNCHKIT_REQUIRE_ALL") == "1":
        pytest.fail(f"PUNCHKIT_REQUIRE_ALL=1, but: {problem}")
    pytest.skip(problem)


def execute(notebook: dict[str, Any], home: str, prefix: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """Run a notebook; what each code cell shows, by the cell's id: MIME type to text."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "XDG", "PYTHON"))
    }
    done = subprocess.run(
        [*(prefix or []), sys.executable, "-c", EXECUTE],
        input=json.dumps(notebook),
        env=environment | {"HOME": home, "IPYTHONDIR": f"{home}/ipython", "JUPYTER_PREFER_ENV_PATH": "1"},
        cwd=home,
        capture_output=True,
        encoding="utf-8",
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {cell["id"]: shown(cell["outputs"]) for cell in json.loads(done.stdout)["cells"] if "outputs" in cell}


def shown(outputs: list[dict[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for output in outputs:
        assert output.get("name") != "stderr", "".join(output["text"])
        for kind, content in output.get("data", {"text/plain": output.get("text", "")}).items():
            found[kind] = found.get(kind, "") + "".join(content)
    return found


@pytest.fixture(scope="module")
def story(jupyter: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the story's cells show, on this machine, as whoever runs the tests."""
    return execute(read(STORY), str(tmp_path_factory.mktemp("home")))


def test_the_story_goes_direct_and_says_why(story: dict[str, dict[str, Any]]) -> None:
    text = story["run-the-story"]["text/plain"]
    assert "intact: True" in text
    assert re.search(r"relay, then tcp 198\.51\.100\.2:\d+", text)
    happened = [row.split("|")[2].strip() for row in story["history"]["text/markdown"].split("\n")[2:]]
    assert happened[:3] == ["relay", "punch", "direct"]
    assert happened[-1] == "finished"
    assert "went direct" in story["why"]["text/plain"]


LADDERS = ["ladder", "other-nats-ladder", "late-drop-ladder", "late-reject-ladder"]


@pytest.mark.parametrize("cell", LADDERS)
def test_each_ladder_is_a_picture_with_words(story: dict[str, dict[str, Any]], cell: str) -> None:
    html = story[cell]["text/html"]
    svg = re.search(r"<svg [^>]*>", html)
    assert svg is not None
    assert 'role="img"' in svg[0]
    for name in ("labelledby", "describedby"):
        target = re.search(rf'aria-{name}="([^"]+)"', svg[0])
        assert target is not None
        assert re.search(rf'id="{target[1]}">[^<]+<', html)
    assert "<table" in html


def test_what_the_text_says_of_the_ladder_is_there(story: dict[str, dict[str, Any]]) -> None:
    html = story["ladder"]["text/html"]
    assert "was 192.168.1.2:" in html
    assert "now 198.51.100.1:" in html
    assert re.search(r"SYN \(peer to peer", html)
    assert not re.search(r"\d more SYN, dropped", html)
    assert "filtered" in story["late-drop-ladder"]["text/html"]
    assert "RST" not in story["late-drop-ladder"]["text/html"]
    assert "RST" in story["late-reject-ladder"]["text/html"]


def test_two_hard_nats_stay_relayed_by_a_rule_with_a_name(story: dict[str, dict[str, Any]]) -> None:
    text = " ".join(story["other-nats"]["text/plain"].split())
    assert "intact: True" in text
    assert " 0 bytes direct" in text
    assert "stayed relayed" in text
    assert "this NAT filters by address and port (RFC 4787 section 5)" in text
    assert "the mapping is address-and-port-dependent" in text


def test_a_rst_spoils_a_late_start(story: dict[str, dict[str, Any]]) -> None:
    ends = [line.split() for line in story["late-runs"]["text/plain"].strip().split("\n")]
    refused = [(nat, int(late)) for nat, _, late, *_, end in ends if end == "ConnectionRefusedError"]
    assert refused == [("linux-reject", 100), ("linux-reject", 500)]
    assert len(ends) == 8


def test_a_cut_loses_nothing(story: dict[str, dict[str, Any]]) -> None:
    assert "intact: True" in story["cut"]["text/plain"]
    happened = [row.split("|")[2].strip() for row in story["cut"]["text/markdown"].split("\n")[2:]]
    assert [what for what in happened if what in ("direct", "lost")] == ["direct", "lost", "direct"]


def test_it_shows_the_code_that_it_talks_about(story: dict[str, dict[str, Any]]) -> None:
    assert "async def _dial_until_met" in story["source-of-the-punch"]["text/markdown"]
    assert "def inbound" in story["source-of-the-nat"]["text/markdown"]


def test_it_says_in_which_world_it_really_ran(story: dict[str, dict[str, Any]]) -> None:
    from natsim.kernel import available

    world = "loopback" if available() else "kernel"
    assert f"World: {world}\n" in story["which-world"]["text/plain"]
    assert f"That was world '{world}'" in story["run-for-real"]["text/plain"]
    assert "intact: True" in story["run-for-real"]["text/plain"]
    assert re.search(r"\| direct +\|", story["run-for-real"]["text/markdown"])


def test_untouched_exercises_say_not_yet(story: dict[str, dict[str, Any]]) -> None:
    for number in range(1, 5):
        assert f"Exercise {number}: not yet" in story[f"exercise-{number}-check"]["text/plain"]


def test_the_solutions_solve_the_exercises(jupyter: None, tmp_path: Path) -> None:
    notebook = read(STORY)
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    for number in range(1, 5):
        solution = re.search(r"```python\n(.*?)\n```", cells[f"exercise-{number}"]["source"], re.DOTALL)
        assert solution is not None
        cells[f"exercise-{number}-code"]["source"] = solution[1]
    needed = ("topology", "meet", "talk", "story", "history", "late", "run-the-story")
    notebook["cells"] = [c for name, c in cells.items() if name in needed or re.match(r"exercise-\d-", name)]
    outputs = execute(notebook, str(tmp_path))
    checks = [outputs[f"exercise-{number}-check"]["text/plain"] for number in range(1, 5)]
    assert "not yet" not in "".join(checks)
    assert [line.split()[-1] for line in checks[0].strip().split("\n")] == ["connected", "ConnectionRefusedError"]
    relayed = [" 0 bytes direct" in pair for pair in checks[1].split("intact: True")[1:]]
    assert relayed == [False, False, True]
    assert "intact: True" in checks[2]
    assert "lost" not in outputs["exercise-3-check"]["text/markdown"]
    assert checks[3].count("connected after") == 4


# -- As somebody without rights ----------------------------------------------------------------------------------------


@pytest.fixture
def nobodys_home() -> Iterator[str]:
    home = tempfile.mkdtemp(prefix="nobody-", dir="/tmp")
    os.chown(home, NOBODY, NOBODY)
    yield home
    shutil.rmtree(home)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become nobody")
def test_without_rights_it_uses_loopback_and_says_so(jupyter: None, nobodys_home: str) -> None:
    outputs = execute(read(STORY), nobodys_home, as_nobody())
    assert "World: loopback\n" in outputs["which-world"]["text/plain"]
    assert "needs root" in " ".join(outputs["which-world"]["text/plain"].split())
    assert "That was world 'loopback'" in outputs["run-for-real"]["text/plain"]
    assert "intact: True" in outputs["run-for-real"]["text/plain"]
    assert re.search(r"relay, then tcp 127\.0\.0\.1:\d+", outputs["run-for-real"]["text/plain"])
    assert "Exercise 4: not yet" in outputs["exercise-4-check"]["text/plain"]


def as_nobody() -> list[str]:
    """The beginning of a command that runs as nobody, and can still read this environment."""
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # An interpreter in root's home is out of nobody's reach; the right to read, alone, opens that.
    reader = [*drop, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    start = "import natsim, nbclient, os, subprocess, sys; assert os.geteuid(); subprocess.run([sys.executable, '-V'])"
    trial = [sys.executable, "-c", start]
    for prefix in (drop, reader):
        try:
            if subprocess.run([*prefix, *trial], cwd="/", capture_output=True).returncode == 0:
                return prefix
        except FileNotFoundError:
            break
    no_way("root cannot become nobody here, or nobody cannot read this environment")
    raise AssertionError
