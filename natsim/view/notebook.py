"""Small things that notebooks show: for now, the source of what they talk about.

    show_source(NatEngine.inbound)     # the last line of a cell

What these return shows itself in a notebook and prints well elsewhere; IPython is not needed for it.
"""

from __future__ import annotations

import inspect
import textwrap
from types import FunctionType


class Source:
    """The source of a function or class, and where it is written: `where` and `text`."""

    def __init__(self, shown: FunctionType | type) -> None:
        lines, first = inspect.getsourcelines(shown)
        path = shown.__module__.replace(".", "/") + ".py"
        self.where = f"{path}, lines {first} to {first + len(lines) - 1}"
        self.text = textwrap.dedent("".join(lines)).rstrip("\n")

    def _repr_markdown_(self) -> str:
        # As Markdown, the code gets the colours of the reader's own theme.
        return f"From `{self.where}`:\n\n```python\n{self.text}\n```"

    def __repr__(self) -> str:
        return f"# {self.where}\n{self.text}"


def show_source(shown: FunctionType | type) -> Source:
    """The source of a function, method or class, for reading.

    >>> show_source(show_source).where.split(",")[0]
    'natsim/view/notebook.py'
    """
    return Source(shown)
