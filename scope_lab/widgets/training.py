"""A training as it runs, redrawn in place; and the metrics of recorded runs, to choose from."""

import time
from collections.abc import Iterable

import ipywidgets

from ..diversity import Run
from ..plots.training import HistoryFigure, MetricFigure, alt_history, metric_of, metric_title, metric_words
from .panel import Panel

METRICS = (
    "reward",
    "entropy",
    "reverse_kl",
    "mean_length",
    "student_ess_fraction",
    "teacher_ess_fraction",
    "grad_norm",
)


class LiveCurves(Panel):
    """Curves of a training that runs in the same kernel: `add` a step's metrics, and the picture follows.

    steps     how many there will be; the axis has that length from the start
    every     seconds between two pictures: drawing must not slow the training down
    """

    def __init__(self, steps: int, every: float = 1.0):
        self.steps, self.every, self.figure = steps, every, HistoryFigure(steps)
        self.history: list[dict] = []
        self.bar = ipywidgets.IntProgress(max=steps, description="0 steps", style={"description_width": "90px"})
        self.bar.layout.width = "420px"
        super().__init__(self.bar)
        self._drawn = 0.0
        self._started = time.perf_counter()
        self.draw()

    def add(self, metrics: dict) -> None:
        """One more step; drawn when the last picture is old enough, or the last step is done."""
        self.history.append(metrics)
        self.bar.value, self.bar.description = len(self.history), f"{len(self.history)} of {self.steps}"
        if len(self.history) == self.steps or time.perf_counter() - self._drawn >= self.every:
            self.draw()

    def draw(self) -> None:
        self._drawn = time.perf_counter()
        rate = (self._drawn - self._started) / max(len(self.history), 1)
        left = rate * (self.steps - len(self.history))
        if not self.history:
            words = f"The curves of {self.steps} training steps are drawn here; none has been taken yet."
        else:
            words = f"{alt_history(self.history)} {rate:.2f} s a step, {left:.0f} s left."
        self.show(self.figure.frame(*self.figure.state_of(self.history, window=10)), words)


class RunExplorer(Panel):
    """Choose methods, a metric and a window: its curve in every recorded run.

    `methods` (checkboxes), `metric`, `window` and `reset` are its controls.
    """

    def __init__(self, runs: Iterable[Run], metrics: tuple[str, ...] = METRICS):
        self.runs = list(runs)
        if not self.runs:
            raise ValueError("runs: found none, accepted one or more")
        self.figure = MetricFigure(self.runs)
        known = [m for m in metrics if any(metric_of(run, m) is not None for run in self.runs)]
        self.methods = [
            ipywidgets.Checkbox(value=True, description=run.title, indent=False, tooltip=f"show {run.title}")
            for run in self.runs
        ]
        for box in self.methods:
            box.layout.width = "90px"
        # Buttons, not a menu: JupyterLab keeps the up and down arrows for itself.
        self.metric = ipywidgets.ToggleButtons(
            options=known, tooltip="what is drawn against the step", style={"button_width": "auto"}
        )
        self.window = ipywidgets.IntSlider(
            value=20, min=1, max=50, description="window", tooltip="steps of the running mean: arrow keys move it"
        )
        self.window.layout.width = "270px"
        self.reset = ipywidgets.Button(description="Reset", tooltip="all methods, the first metric, 20 steps")
        self.reset.layout.width = "80px"
        self.reset.on_click(self._back)
        for control in (*self.methods, self.metric, self.window):
            control.observe(self._update, "value")
        rows = [self.metric], [self.window, *self.methods, self.reset]
        super().__init__(ipywidgets.VBox([ipywidgets.HBox(row, layout={"flex_flow": "row wrap"}) for row in rows]))
        self._update()

    def _back(self, _=None) -> None:
        with self.one_picture():
            self.metric.value, self.window.value = self.metric.options[0], 20
            for box in self.methods:
                box.value = True

    def update(self) -> None:
        chosen = tuple(i for i, box in enumerate(self.methods) if box.value)
        state = chosen, self.metric.value, self.window.value
        png, words = self.frames.get(state, lambda: self._draw(*state))
        self.show(png, words, heading=metric_title(self.metric.value))

    def _draw(self, chosen: tuple[int, ...], metric: str, window: int) -> tuple[bytes, str]:
        words = metric_words([self.runs[i] for i in chosen], metric, window)
        return self.figure.frame(*self.figure.state_of(chosen, metric, window)), words
