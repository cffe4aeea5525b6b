"""Figures of a training as it runs and afterwards: reward, distance to the teacher, what the weights keep."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..diversity import Run
from ..explore import percent
from ..metrics import GLOSSARY
from ..style import COLOURS, INK, METHOD_COLOURS, new_figure, tidy

SHARES = ("reward", "student_ess_fraction", "teacher_ess_fraction")
MARKERS = dict(zip(METHOD_COLOURS, "oP^sDv", strict=True))


def smooth(values, window: int) -> np.ndarray:
    """Running mean over up to `window` steps, from the first step on; steps without a value are left out."""
    return pd.Series(np.asarray(values, dtype=float)).rolling(window, min_periods=1).mean().to_numpy()


def plot_history(history: list[dict], window: int = 10, steps: int | None = None) -> Figure:
    """One training: reward, reverse KL to the teacher, and the share of rollouts that its weights keep.

    history  metrics a step, as `ScopeTrainer.train` returns them; steps: how long the axis is, for a training that runs
    """
    figure = new_figure(9.8, 2.9)
    reward, distance, kept = figure.subplots(1, 3)
    frame = pd.DataFrame(history, columns=["step", *SHARES, "reverse_kl"])
    lines = [
        (reward, "reward", COLOURS["correct"], "-", ""),
        (distance, "reverse_kl", COLOURS["teacher"], "-", ""),
        (kept, "student_ess_fraction", COLOURS["correct"], "-", "student path"),
        (kept, "teacher_ess_fraction", COLOURS["wrong"], (0, (4, 2)), "teacher path"),
    ]
    for ax, column, colour, style, label in lines:
        if column != "student_ess_fraction":
            ax.plot(frame.step, frame[column], ".", color=colour, alpha=0.3, markersize=4)
        ax.plot(frame.step, smooth(frame[column], window), color=colour, linestyle=style, linewidth=2, label=label)
    tidy(reward, "Reward", "optimizer step", "share of correct rollouts")
    tidy(distance, "Reverse KL on wrong rollouts", "optimizer step", "nats a token")
    tidy(kept, "Rollouts that count", "optimizer step", "fraction of the path")
    for ax in (reward, kept):
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    for ax in figure.axes:
        ax.set_xlim(0, max(steps or 0, len(frame)) + 0.5)
        ax.set_ylim(bottom=0)
    kept.set_ylim(0, 1.05)
    kept.legend(frameon=False, fontsize=10, loc="lower right")
    return figure


def alt_history(history: list[dict], window: int = 10) -> str:
    frame = pd.DataFrame(history, columns=["step", *SHARES, "reverse_kl"])
    first, last = frame[:window].mean(), frame[-window:].mean()
    return (
        f"Training over {len(frame)} steps, means of the first and the last {min(window, len(frame))}: reward from "
        f"{percent(first.reward)} to {percent(last.reward)}, reverse KL from {first.reverse_kl:.3f} to "
        f"{last.reverse_kl:.3f} nats a token; the teacher path keeps {percent(last.teacher_ess_fraction)} of it."
    )


class MetricFigure:
    """One metric of several recorded runs against the step; the curves are exchanged in place."""

    def __init__(self, runs: list[Run]):
        self.runs = runs
        self.figure = new_figure(10.0, 3.7)
        self.figure.set_layout_engine("none")
        self.ax = self.figure.subplots(gridspec_kw={"left": 0.085, "right": 0.985, "bottom": 0.145, "top": 0.9})

    def draw(self, chosen: tuple[int, ...], metric: str, window: int) -> Figure:
        ax = self.ax
        ax.clear()
        for i in chosen:
            run = self.runs[i]
            if (values := metric_of(run, metric)) is None:
                continue
            (line,) = ax.plot(values.index, smooth(values, window), linewidth=1.8, markersize=5, label=run.title)
            line.set(color=METHOD_COLOURS.get(run.method, INK), marker=MARKERS.get(run.method, ""))
            line.set_markevery((5 * i + 3, 30))
        tidy(ax, f"{metric}: {GLOSSARY[general(metric)]}"[:110], "optimizer step", f"mean of {window} steps")
        ax.set_xlim(0, max(len(run.metrics) for run in self.runs))
        if metric in SHARES:
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        if ax.lines:
            ax.legend(frameon=False, fontsize=10, ncols=2)
        return self.figure


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
    return MetricFigure(runs).draw(tuple(range(len(runs))), metric, window)


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
