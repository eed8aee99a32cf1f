"""A real JupyterLab and a real Chromium, for tests that do what a reader does.

Every page is watched: an error in a script fails the test, and so does a request to any other host.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from notebook_pages import OpenNotebook
from playwright.sync_api import TimeoutError as NotYet
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]


def _needs(what: str) -> None:
    """Skip for want of something; under PUNCHKIT_REQUIRE_ALL=1, fail instead."""
    if os.environ.get("PUNCHKIT_REQUIRE_ALL") == "1":
        pytest.fail(f"PUNCHKIT_REQUIRE_ALL=1, but there is no {what}")
    pytest.skip(f"there is no {what}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium: Debian's, or whatever goes by its name.

    Not for the whole session: while it is there, asyncio has a running loop in this thread.
    """
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        _needs("Chromium (the Debian package is called chromium)")
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """JupyterLab's address, and the folder that it shows."""
    folder = tmp_path_factory.mktemp("lab")
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = home / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "lab" / "user-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={folder}", "--ServerApp.ip=127.0.0.1"]
    with open(home / "log", "w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/api", server, home / "log")
            yield f"http://127.0.0.1:{port}", folder
        finally:
            server.terminate()


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(address):
            return
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture
def open_notebook(chromium: Any, lab: tuple[str, Path], request: pytest.FixtureRequest) -> Iterator[OpenNotebook]:
    """A function that opens a notebook with the given cells, runs them all, and returns the page."""
    address, folder = lab
    contexts: list[Any] = []
    trouble: list[str] = []

    def opened(*cells: str, dark: bool = False, **options: Any) -> Any:
        name = f"{request.node.name.partition('[')[0]}-{len(contexts)}-{os.getpid()}.ipynb"
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, folder / name)
        context = chromium.new_context(**{"viewport": {"width": 1300, "height": 1000}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: trouble.append(f"a script failed: {error}"))
        page.on("request", lambda asked: None if _is_ours(asked.url, address) else trouble.append(f"asked {asked.url}"))
        page.goto(f"{address}/lab/tree/{name}?reset")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=30_000)
        if dark:
            page.evaluate("document.body.dataset.jpThemeLight = 'false'")
        _run_all(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not trouble


def _run_all(page: Any) -> None:
    """Run All Cells from the menu; again, if a busy machine's kernel was not listening yet."""
    idle = "() => document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'"
    page.wait_for_function(idle, timeout=60_000)
    for _ in range(5):
        page.locator(".lm-MenuBar-item", has_text="Run").first.click()
        page.locator("[data-command='runmenu:run-all']").click()
        with contextlib.suppress(NotYet):
            page.wait_for_function(
                "() => /\\d/.test(document.querySelector('.jp-InputPrompt').innerText)", timeout=8_000
            )
            return
    pytest.fail("JupyterLab does not run the cells")


def _is_ours(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))
