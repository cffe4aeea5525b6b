"""Figures of a training as it runs and afterwards: reward, distance to the teacher, what the weights keep."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, ScalarFormatter

from ..diversity import Run
from ..explore import percent
from ..metrics import GLOSSARY
from ..style import COLOURS, INK, METHOD_COLOURS, METHOD_MARKERS, tidy
from .moving import MovingFigure

SHARES = ("reward", "student_ess_fraction", "teacher_ess_fraction")
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.4g} %")
TICKS = MaxNLocator(6, steps=[1, 2, 5, 10])


def smooth(values, window: int) -> np.ndarray:
    """Running mean over up to `window` steps, from the first step on; steps without a value are left out."""
    return pd.Series(np.asarray(values, dtype=float)).rolling(window, min_periods=1).mean().to_numpy()


def round_ends(low: float, high: float) -> tuple[float, float]:
    """Round numbers around a range, so that an axis between them seldom changes. The range may be one number or NaN."""
    if not low < high:
        low = float(np.nan_to_num(low))
        high = low + 1
    ends = TICKS.tick_values(low, high)
    return float(ends[0]), float(ends[-1])


class HistoryFigure(MovingFigure):
    """One training: reward, reverse KL to the teacher, and the share of rollouts that its weights keep.

    steps  how long the axis is. The key of a frame is the upper end of the first two panels, its state the values.
    """

    def __init__(self, steps: int):
        super().__init__(9.8, 2.9)
        margins = {"left": 0.075, "right": 0.985, "bottom": 0.19, "top": 0.89, "wspace": 0.36}
        axes = self.figure.subplots(1, 3, gridspec_kw=margins)
        headings = {
            "Reward": "share of correct rollouts",
            "Reverse KL on wrong rollouts": "nats a token",
            "Rollouts that count": "fraction of the path",
        }
        for ax, (heading, ylabel) in zip(axes, headings.items(), strict=True):
            tidy(ax, heading, "optimizer step", ylabel)
            ax.set_xlim(0, steps + 0.5)
            ax.yaxis.set_label_coords(-0.22, 0.5)  # a fixed place costs nothing to find
        reward, distance, kept = self.panels = axes
        for ax in (reward, kept):
            ax.yaxis.set_major_formatter(PERCENT)
        kept.set_ylim(0, 1.05)
        self.dots, self.lines = {}, {}
        for ax, column, colour, style in (
            (reward, "reward", COLOURS["correct"], "-"),
            (distance, "reverse_kl", COLOURS["teacher"], "-"),
            (kept, "student_ess_fraction", COLOURS["correct"], "-"),
            (kept, "teacher_ess_fraction", COLOURS["wrong"], (0, (4, 2))),
        ):
            if column != "student_ess_fraction":
                (self.dots[column],) = ax.plot([], [], ".", color=colour, alpha=0.3, markersize=4)
            (self.lines[column],) = ax.plot([], [], color=colour, linestyle=style, linewidth=2)
        legend = [self.lines[f"{path}_ess_fraction"] for path in ("student", "teacher")]
        names = ["student path", "teacher path"]
        kept.legend(legend, names, frameon=False, fontsize=10, loc="lower right")
        self.slow += [reward.yaxis, distance.yaxis]
        self.quick += [*self.dots.values(), *self.lines.values()]

    @staticmethod
    def state_of(history: list[dict], window: int) -> tuple:
        frame = pd.DataFrame(history, columns=["step", *SHARES, "reverse_kl"]).astype(float)
        tops = tuple(round_ends(0, 1.02 * frame[column].max())[1] for column in ("reward", "reverse_kl"))
        return tops, (frame, window)

    def choose(self, tops: tuple[float, float]) -> None:
        for ax, top in zip(self.panels, tops, strict=False):
            ax.set_ylim(0, top)

    def move(self, state: tuple[pd.DataFrame, int]) -> None:
        frame, window = state
        for column, line in self.lines.items():
            line.set_data(frame.step, smooth(frame[column], window))
        for column, dots in self.dots.items():
            dots.set_data(frame.step, frame[column])


def plot_history(history: list[dict], window: int = 10, steps: int | None = None) -> Figure:
    """One training, drawn when it is over; see `HistoryFigure`.

    history  metrics a step, as `ScopeTrainer.train` returns them; steps: how long the axis is, by default their number
    """
    figure = HistoryFigure(max(steps or 0, len(history)))
    return figure.still(*figure.state_of(history, window))


def alt_history(history: list[dict], window: int = 10) -> str:
    frame = pd.DataFrame(history, columns=["step", *SHARES, "reverse_kl"])
    first, last = frame[:window].mean(), frame[-window:].mean()
    return (
        f"Training over {len(frame)} steps, means of the first and the last {min(window, len(frame))}: reward from "
        f"{percent(first.reward)} to {percent(last.reward)}, reverse KL from {first.reverse_kl:.3f} to "
        f"{last.reverse_kl:.3f} nats a token; the teacher path keeps {percent(last.teacher_ess_fraction)} of it."
    )


class MetricFigure(MovingFigure):
    """One metric of several recorded runs against the step, running means.

    The key of a frame is the metric, the runs chosen, counted from 0, and both ends of the axis; its state the window
    and each run's curve.

    top  upper end of the axes as a fraction of the figure: a heading may stand above the picture or in it
    """

    def __init__(self, runs: list[Run], top: float = 0.965):
        super().__init__(10.0, 3.5)
        self.runs = runs
        margins = {"left": 0.075, "right": 0.88, "bottom": 0.15, "top": top}
        self.ax = ax = self.figure.subplots(gridspec_kw=margins)
        tidy(ax, "", "optimizer step")
        ax.yaxis.set_label_coords(-0.06, 0.5)  # a fixed place costs nothing to find
        ax.set_xlim(0, max(len(run.metrics) for run in runs))
        self.lines, self.names = [], []
        beside: dict[str, Any] = {"transform": ax.transAxes, "clip_on": False}
        for i, run in enumerate(runs):
            style: dict[str, Any] = {"linewidth": 1.8, "markersize": 5, "color": METHOD_COLOURS.get(run.method, INK)}
            style["marker"] = METHOD_MARKERS.get(run.method, "")
            (line,) = ax.plot([], [], **style, markevery=(5 * i + 3, 30))
            y = 0.96 - 0.09 * i
            (key,) = ax.plot([1.02, 1.04, 1.06], [y] * 3, **style, markevery=[1], **beside)
            name = ax.text(1.07, y, run.title, va="center", fontsize=10, color=INK, **beside)
            self.lines.append(line)
            self.names.append((key, name))
        self.mean_of = ax.text(1.02, 0.02, "", fontsize=10, color=INK, **beside)
        self.slow += [ax.yaxis, *(artist for pair in self.names for artist in pair)]
        self.quick += [*self.lines, self.mean_of]

    def state_of(self, chosen: tuple[int, ...], metric: str, window: int) -> tuple:
        curves = {}
        for i in chosen:
            if (values := metric_of(self.runs[i], metric)) is not None:
                curves[i] = (values.index, smooth(values, window))
        ends = [end for _, y in curves.values() for end in (np.nanmin(y), np.nanmax(y))]
        return (metric, tuple(curves), round_ends(min(ends, default=0), max(ends, default=1))), (window, curves)

    def choose(self, key: tuple[str, tuple[int, ...], tuple[float, float]]) -> None:
        metric, drawn, ends = key
        self.ax.set_ylim(*ends)
        if metric in SHARES:
            self.ax.yaxis.set_major_formatter(PERCENT)
        else:
            self.ax.yaxis.set_major_formatter(ScalarFormatter())
        for i, artists in enumerate(zip(self.lines, *zip(*self.names, strict=True), strict=True)):
            for artist in artists:
                artist.set_visible(i in drawn)

    def move(self, state: tuple[int, dict]) -> None:
        window, curves = state
        self.mean_of.set_text(f"mean of\n{window} steps" if window > 1 else "each step")
        for i, (steps, values) in curves.items():
            self.lines[i].set_data(steps, values)


def general(metric: str) -> str:
    """The glossary's name of a metric: `student_ess` stands there as `{path}_ess`."""
    path, _, rest = metric.partition("_")
    return f"{{path}}_{rest}" if path in ("student", "teacher") and f"{{path}}_{rest}" in GLOSSARY else metric


def metric_of(run: Run, metric: str) -> pd.Series | None:
    """A run's values of a metric a step; None where the method has none (OPD has no weights, PSR no teacher)."""
    if metric not in run.metrics:
        return None
    values = pd.to_numeric(run.metrics[metric], errors="coerce")
    return None if values.isna().all() else values


def plot_metric(runs: list[Run], metric: str, window: int = 10) -> Figure:
    """One metric of recorded runs against the step, running means."""
    moving = MetricFigure(runs, top=0.9)
    moving.ax.set_title(metric_title(metric), loc="left", fontsize=11, color=INK)
    return moving.still(*moving.state_of(tuple(range(len(runs))), metric, window))


def metric_title(metric: str) -> str:
    return f"{metric}: {GLOSSARY[general(metric)]}"


def metric_words(runs: list[Run], metric: str, window: int = 10) -> str:
    """Each run's first and last mean of a metric."""
    parts = []
    for run in runs:
        values = metric_of(run, metric)
        if values is None:
            parts.append(f"{run.title} has none")
        else:
            parts.append(f"{run.title} from {values[:window].mean():.3g} to {values[-window:].mean():.3g}")
    return f"{metric}, means of the first and last {window} steps: {'; '.join(parts) or 'no run is chosen'}."


def alt_metric(runs: list[Run], metric: str, window: int = 10) -> str:
    return f"Curves of {metric_words(runs, metric, window)}"
