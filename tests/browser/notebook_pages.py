"""What the tests of the browser have in common: the type of the fixture that opens a notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Opens a notebook with these cells in JupyterLab and runs them all; options as of a browser's new page.
OpenNotebook = Callable[..., Any]
