"""The verifier panel: two error rates, and what they do to one real step."""

import ipywidgets

from ..plots.verifier import NoiseFigure
from ..verdict_noise import RATES, NoisyVerdicts, noise_words
from .panel import Panel

START = 0.1, 0.0  # false negatives, false positives: Reset


class VerifierPanel(Panel):
    """Move a verifier's false negatives and false positives; see paths, weights and the step's direction.

    noise  a `verdict_noise.NoisyVerdicts`, which has all gradients already

    `negatives`, `positives` and `reset` are its controls.
    """

    def __init__(self, noise: NoisyVerdicts):
        self.noise, self.figure = noise, NoiseFigure(noise)
        self.negatives = self._slider("false negatives", "correct rollouts called wrong", START[0])
        self.positives = self._slider("false positives", "wrong rollouts called correct", START[1])
        self.reset = ipywidgets.Button(description="Reset", tooltip="the rates of the start")
        self.reset.layout.width = "80px"
        self.reset.on_click(self._reset)
        for control in (self.negatives, self.positives):
            control.observe(self._update, "value")
        controls = [self.negatives, self.positives, self.reset]
        super().__init__(ipywidgets.HBox(controls, layout={"flex_flow": "row wrap"}))
        self._update()

    @staticmethod
    def _slider(name: str, what: str, value: float) -> ipywidgets.SelectionSlider:
        return ipywidgets.SelectionSlider(
            options=[(f"{100 * rate:g} %", rate) for rate in RATES],
            value=value,
            description=name,
            tooltip=f"{what}: arrow keys move it",
            style={"description_width": "105px"},
            layout=ipywidgets.Layout(width="340px"),
        )

    def _reset(self, _) -> None:
        with self.one_picture():
            self.negatives.value, self.positives.value = START

    def update(self) -> None:
        state = self.negatives.value, self.positives.value
        self.show(
            self.frames.get(state, lambda: self.figure.frame("", state)),
            noise_words(self.noise, *state),
            heading=f"One step of {len(self.noise.rollouts)} recorded rollouts",
        )
