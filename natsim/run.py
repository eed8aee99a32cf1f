"""What is left of a run: its result, its trace, and the ways to look at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .internet import Internet
    from .trace import Trace
    from .view.ladder import Ladder


@dataclass(frozen=True)
class Run:
    """One finished run of a story.

    `result` is what the story returned; `duration` is in seconds of the world's clock.  `trace` is None where packets
    are not captured, and where it was not wanted; `untraced` says which.
    """

    net: Internet
    world: str
    trace: Trace | None
    duration: float
    result: Any

    def ladder(self) -> Ladder:
        """The run as a ladder diagram: shows itself in a notebook, and has `.svg` and `.text`."""
        from .view.ladder import Ladder

        return Ladder.of(self)

    def why(self) -> str:
        """Why the peers went direct, or why not, in a few sentences.  Where there is no trace, it says why not."""
        from .why import why

        if self.trace is None:
            return (
                f"There is no trace to tell it from: {self.untraced}. What the two sides saw, their links' why() tells."
            )
        return why(self.net, self.trace)

    @property
    def untraced(self) -> str:
        """Why there is no trace, and what to do for one."""
        if self.world == "sim":
            return "the run was told to keep none, with trace=False"
        return f'world {self.world!r} does not capture packets; run the story with world="sim"'

    def __repr__(self) -> str:
        packets = f"{len(self.trace)} trace entries" if self.trace is not None else "packets not captured"
        return f"<Run in world {self.world!r}: {self.duration:.3f} s, {packets}>"
