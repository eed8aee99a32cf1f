"""Who may know of whom: the core is the standard library only, and punchkit knows nothing of any simulation."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import natsim
import punchkit

PUNCHKIT = sorted(Path(punchkit.__file__).parent.rglob("*.py"))
NATSIM = Path(natsim.__file__).parent
HEAVY = {"scapy", "matplotlib", "networkx", "ipywidgets", "anywidget", "IPython", "numpy"}


def imported_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after a statement, beyond those it had before."""
    program = f"import sys; before = set(sys.modules)\n{statement}\nprint(*(set(sys.modules) - before))"
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    return {name.partition(".")[0] for name in answer.split()}


def test_natsim_needs_nothing_but_the_standard_library() -> None:
    found = imported_by("import natsim; natsim.two_nats('linux', 'rfc')")
    assert found - set(sys.stdlib_module_names) == {"natsim"}


def test_running_a_story_needs_nothing_more() -> None:
    run = "import natsim, asyncio; natsim.two_nats('linux', 'rfc').run(lambda: asyncio.sleep(1))"
    assert imported_by(run) - set(sys.stdlib_module_names) == {"natsim"}


def test_punchkit_imports_nothing_heavy_and_no_natsim() -> None:
    for statement in ("import punchkit", "import punchkit; punchkit.connect, punchkit.serve"):
        found = imported_by(statement)
        assert not found & (HEAVY | {"natsim", "aioquic"})
        assert "punchkit" in found


# -- Read as text and as a tree --------------------------------------------------------------------------------------


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_no_file_of_punchkit_imports_natsim() -> None:
    assert len(PUNCHKIT) > 10
    found = [(path.name, name) for path in PUNCHKIT for name in imports(path) if re.search(r"\bnatsim\b", name)]
    assert found == []


def test_punchkit_does_not_speak_of_simulation() -> None:
    words = re.compile(r"natsim|simulat|kernel world|sim_world|\bin_sim\b|virtual time", re.IGNORECASE)
    found = [(path.name, match.group()) for path in PUNCHKIT for match in words.finditer(path.read_text("utf-8"))]
    assert found == []


def names(node: ast.AST) -> set[str]:
    """Every identifier in a piece of code."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            found.add(part.id)
        elif isinstance(part, ast.Attribute):
            found.add(part.attr)
        elif isinstance(part, ast.arg):
            found.add(part.arg)
    return found


def test_punchkit_has_no_switch_for_worlds() -> None:
    for path in PUNCHKIT:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [name for name in names(tree) if re.search("world|simul|fake|mock", name, re.IGNORECASE)], path.name
        calls = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"exec", "eval"}, path.name


def test_only_the_views_and_the_command_line_reach_out_of_natsims_core() -> None:
    own_rooms = {"view", "cli", "kernel", "scapy_packets"}
    for path in NATSIM.rglob("*.py"):
        if path.relative_to(NATSIM).parts[0].removesuffix(".py") in own_rooms:
            continue
        outside = {name.partition(".")[0] for name in imports(path) if not name.startswith(".")}
        assert outside <= set(sys.stdlib_module_names) | {"natsim"}, path
