"""Widgets that keep their keys: in JupyterLab, arrow keys in a widget would otherwise go to the notebook.

The notebook listens for keys wherever they are pressed, and in command mode the up and down arrows choose another cell,
even while a menu or a group of buttons in an output has the focus.  So whoever works by keyboard alone could not choose
anything.  A widget that is also a `KeepsItsKeys` stops keys at the edge of its output.
"""

from __future__ import annotations

from typing import Any

from IPython.display import display

#: Keys stay inside the output in which this script stands; Escape still leaves it.
_SCRIPT = """<script>(function (script) {
  const output = script && script.closest(".jp-OutputArea");
  if (output) output.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") event.stopPropagation();
  });
})(document.currentScript);</script>"""


class KeepsItsKeys:
    """A base for widgets, before the widget's own class."""

    def _ipython_display_(self) -> None:
        show: Any = display  # IPython has no types
        show(self._repr_mimebundle_(), raw=True)  # type: ignore[attr-defined]
        show({"text/html": _SCRIPT}, raw=True)
