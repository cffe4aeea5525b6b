"""The departure panel: a switch for each way in which the released code differs from the paper."""

import ipywidgets
import numpy as np

from ..explore import group_title
from ..explore_reference import DEPARTURES, SCRIPTS, Step, words
from ..plots.reference import DepartureFigure
from .panel import Panel

TAUS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class DeparturePanel(Panel):
    """Switch departures on and off over one real step: a prompt's weights, and the angle of the step's gradient.

    step  a `explore_reference.Step`, which has all gradients already: a move only combines them

    `switches` (by name), `tau`, `prompt`, `scripts` and `reset` are its controls.
    """

    def __init__(self, step: Step):
        self.step, self.figure = step, DepartureFigure(step)
        self.switches = {
            name: ipywidgets.Checkbox(description=name, indent=False, tooltip=f"{d.code}, not: {d.paper}")
            for name, d in DEPARTURES.items()
        }
        for box in self.switches.values():
            box.layout.width = "150px"
        narrow = {"description_width": "60px"}
        self.tau = ipywidgets.SelectionSlider(
            options=[(f"{tau:g}", tau) for tau in TAUS],
            value=1.0,
            description="τ",
            tooltip="weight temperature: arrow keys move it",
            style=narrow,
            layout=ipywidgets.Layout(width="260px"),
        )
        sizes = np.array([path.size_P for path in self.figure.paths])
        self._start = int(np.argmax(sizes.min(0)))
        self.prompt = ipywidgets.IntSlider(
            value=self._start,
            max=len(step.rollouts.problems) - 1,
            description="prompt",
            tooltip="whose weights the bars show: arrow keys move it",
            style=narrow,
            layout=ipywidgets.Layout(width="300px"),
        )
        self.scripts = ipywidgets.Button(description="released scripts", tooltip="switch on what the scripts set")
        self.reset = ipywidgets.Button(description="Reset", tooltip="the paper's equation, τ = 1, the first prompt")
        self.scripts.layout.width, self.reset.layout.width = "130px", "80px"
        self.scripts.on_click(lambda _: self._set(SCRIPTS))
        self.reset.on_click(lambda _: self._set((), tau=1.0, prompt=self._start))
        for control in (*self.switches.values(), self.tau, self.prompt):
            control.observe(self._update, "value")
        rows = [self.tau, self.prompt, self.scripts, self.reset], list(self.switches.values())
        super().__init__(ipywidgets.VBox([ipywidgets.HBox(row, layout={"flex_flow": "row wrap"}) for row in rows]))
        self._update()

    def _set(self, names, tau: float | None = None, prompt: int | None = None) -> None:
        with self.one_picture():
            for name, box in self.switches.items():
                box.value = name in names
            self.tau.value = self.tau.value if tau is None else tau
            self.prompt.value = self.prompt.value if prompt is None else prompt

    def update(self) -> None:
        names = tuple(name for name, box in self.switches.items() if box.value)
        state = names, self.prompt.value, self.tau.value
        png, pictured = self.frames.get(state, lambda: self._draw(*state))
        self.show(png, pictured, heading=group_title(self.step.rollouts, self.figure.paths, self.prompt.value))

    def _draw(self, *state) -> tuple[bytes, str]:
        return self.figure.frame(*self.figure.state_of(*state)), words(self.step, *state)
