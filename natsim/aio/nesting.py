"""Running a loop inside a loop that already runs.

Jupyter's cells run inside an asyncio loop, and asyncio refuses to run a second one in the same thread.  While a world
runs, the outer loop is put aside, together with the task that runs in it, and put back afterwards, also after an
exception or Ctrl-C.  These are private names of asyncio (3.11 to 3.14); they are used in this file only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def outer_loop_aside() -> Iterator[None]:
    """While this is entered, no loop runs in this thread, whatever was running before."""
    outer = asyncio._get_running_loop()
    task: asyncio.Task[Any] | None = asyncio.current_task(outer) if outer is not None else None
    if outer is not None and task is not None:
        asyncio.tasks._leave_task(outer, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(outer)
        if outer is not None and task is not None:
            asyncio.tasks._enter_task(outer, task)
