"""The NAT bench: turn the knobs of two NATs, predict, run, and read why.

    from natsim.cli.attempt import experiment
    NatBench(experiment)

First the learner commits: direct, or relayed?  Then the experiment runs, and the answer comes with its reason, the
verdict on paper, the table rows that decided, and the ladder.  From then on every knob that is turned is answered at
once.  The call under the knobs makes the same NATs, to be copied into the next cell.

The experiment comes from outside, since this package knows no program that punches: anything that takes an internet, a
transport and a skew, and returns what came of it and the run.  Needs ipywidgets; `knobs.py` has what can be turned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import ipywidgets as widgets

from ..internet import Internet
from ..nat.predict import predict
from ..ready_made import two_nats
from ..run import Run
from .knobs import KNOBS, LINUX, NO_NAT, OLD_NAMES, RFC_NAT, Setting, presets
from .ladder import Ladder
from .own_keys import KeepsItsKeys
from .palette import DIRECT, RELAYED
from .svg import element, escape
from .tables import deciding_rows

QUESTION = "Will alice and bob get a direct path?"
ANSWERS = ("direct", "relayed")


class Outcome(Protocol):
    """What an experiment says of its end."""

    @property
    def direct(self) -> bool: ...

    @property
    def why(self) -> str: ...


Experiment = Callable[[Internet, str, float], tuple[Outcome, Run]]


class KnobPanel(widgets.VBox):  # type: ignore[misc]
    """The knobs of one NAT, with a menu of presets, which only move them.  `setting` is how they stand."""

    def __init__(self, title: str, setting: Setting, changed: Callable[[], None]) -> None:
        self.setting = setting
        self._changed = changed
        self._quiet = False
        self._presets = presets() | OLD_NAMES
        self.preset = widgets.Dropdown(options=["(your own)", *self._presets], description="preset")
        self.kind = widgets.Dropdown(options=[NO_NAT, RFC_NAT, LINUX], description="kind")
        self.knobs: dict[str, Any] = {}
        self._place = widgets.VBox()
        self.preset.observe(self._take_preset, "value")
        self.kind.observe(self._take_kind, "value")
        super().__init__([widgets.HTML(element("b", escape(title))), self.preset, self.kind, self._place])
        self._show()

    def _take_preset(self, change: dict[str, Any]) -> None:
        if change["new"] in self._presets and not self._quiet:
            self._become(self._presets[change["new"]])

    def _take_kind(self, change: dict[str, Any]) -> None:
        if not self._quiet:
            self._become(Setting(change["new"]))

    def _become(self, setting: Setting) -> None:
        self.setting = setting
        self._show()
        self._changed()

    def _show(self) -> None:
        """Put the knobs where the setting says; what they say back meanwhile is not listened to."""
        self._quiet = True
        self.kind.value = self.setting.kind
        same = (name for name, preset in self._presets.items() if preset.behavior == self.setting.behavior)
        self.preset.value = next(same, "(your own)")
        if list(self.knobs) != [knob.name for knob in KNOBS[self.setting.kind]]:
            self.knobs = {knob.name: self._widget(knob.name) for knob in KNOBS[self.setting.kind]}
            self._place.children = tuple(self.knobs.values())
        for name, knob in self.knobs.items():
            knob.value = self.setting.value(name)
        self._quiet = False

    def _widget(self, name: str) -> Any:
        knob = next(knob for knob in KNOBS[self.setting.kind] if knob.name == name)
        made = widgets.Dropdown(options=knob.choices, value=self.setting.value(name), description=knob.label)

        def turn(change: dict[str, Any]) -> None:
            if not self._quiet:
                self._become(self.setting.turned(name, change["new"]))

        made.observe(turn, "value")
        return made


class NatBench(KeepsItsKeys, widgets.VBox):  # type: ignore[misc]
    """Two NATs, a prediction, an experiment, and the answer."""

    def __init__(self, experiment: Experiment, a: str = "linux", b: str = "linux", seed: int = 1) -> None:
        self._experiment = experiment
        known = presets()
        self.a = KnobPanel("alice's NAT", known[a], self._turned)
        self.b = KnobPanel("bob's NAT", known[b], self._turned)
        self.transport = widgets.ToggleButtons(options=["tcp", "udp"], description="transport")
        self.delay = widgets.IntSlider(20, 1, 200, description="delay, ms", continuous_update=False)
        self.skew = widgets.IntSlider(0, 0, 2000, 50, description="skew, ms", continuous_update=False)
        self.loss = widgets.IntSlider(0, 0, 30, description="loss, %", continuous_update=False)
        self.seed = widgets.BoundedIntText(seed, 0, 9999, description="seed")
        for knob in (self.transport, self.delay, self.skew, self.loss, self.seed):
            knob.observe(lambda _: self._turned(), "value")
        self.prediction = widgets.RadioButtons(options=ANSWERS, value=None, description=" ")
        self.commit = widgets.Button(description="Commit and run", disabled=True, button_style="primary")
        self.prediction.observe(self._may_commit, "value")
        self.commit.on_click(lambda _: self.run())
        self.code = widgets.HTML()
        self.answer = widgets.HTML()
        self.committed = False
        self.finding: Outcome | None = None
        knobs = widgets.HBox([self.a, self.b], layout=widgets.Layout(flex_flow="row wrap"))
        wire = widgets.HBox([self.delay, self.skew, self.loss, self.seed], layout=widgets.Layout(flex_flow="row wrap"))
        question = widgets.HTML(element("b", QUESTION))
        super().__init__([knobs, self.transport, wire, self.code, question, self.prediction, self.commit, self.answer])
        self._show_code()

    @property
    def call(self) -> str:
        """The call that makes this internet."""
        extra = f", loss={self.loss.value / 100:g}" if self.loss.value else ""
        sides = f"{self.a.setting.code}, {self.b.setting.code}"
        return f"net = natsim.two_nats({sides}, delay={self.delay.value}{extra}, seed={self.seed.value})"

    def _show_code(self) -> None:
        self.code.value = element("pre", escape(self.call), style="white-space:pre-wrap")

    def _may_commit(self, _: object) -> None:
        self.commit.disabled = self.prediction.value is None

    def _turned(self) -> None:
        self._show_code()
        if self.committed:
            self.run()

    def run(self) -> None:
        """Run the experiment with the knobs as they stand, and show what came of it."""
        self.committed = True
        a, b = self.a.setting.behavior, self.b.setting.behavior
        net = two_nats(a, b, delay=self.delay.value, loss=self.loss.value / 100, seed=self.seed.value)
        self.finding, run = self._experiment(net, self.transport.value, self.skew.value / 1000)
        paper = predict(a, b, self.transport.value)
        self.answer.value = answer_html(self.finding, run, str(paper), self.prediction.value)


def answer_html(outcome: Outcome, run: Run, paper: str, guess: str | None) -> str:
    """What came of it, in words and pictures; `guess` is what the learner had committed to."""
    word = "direct" if outcome.direct else "relayed"
    look = DIRECT if outcome.direct else RELAYED
    head = element("strong", escape(f"{look.sign} {word}"), style=f"border-bottom:3px solid {look.colour}")
    judged = ""
    if guess is not None:
        judged = " You had said so." if guess == word else f" You had said {guess}."
    ladder = Ladder.of(run)
    return element(
        "div",
        element("p", head + escape(judged))
        + element("p", escape(outcome.why))
        + element("p", escape(f"On paper: {paper}"))
        + deciding_rows(run)
        + element("details", element("summary", "The ladder") + ladder.svg)
        + element("details", element("summary", "The ladder as a table") + ladder.table_html),
        role="status",
        class_="natsim-answer",
    )
