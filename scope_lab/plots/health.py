"""Runs that fail, each beside a healthy one, by the metric that gives it away."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..style import COLOURS, new_figure, tidy

# What is drawn of a run: a metric, and with it the unit on the axis.
UNITS = {"truncated": "rollouts", "reverse_kl": "nats a token", "entropy": "nats", "reward": "share correct"}
LOOKS = (("healthy run", COLOURS["before"], "o"), ("failing run", COLOURS["wrong"], "X"))


def _values(history: list[dict], metric: str) -> np.ndarray:
    return pd.to_numeric(pd.DataFrame(history)[metric], errors="coerce").to_numpy(dtype=float)


def plot_gallery(healthy: list[dict], failing: Mapping[str, tuple[list[dict], str]], columns: int = 3) -> Figure:
    """A panel a failing run: its metric (red, crosses) and the healthy run's (grey, dots) against the step.

    healthy  metrics a step, as `ScopeTrainer.train` returns them; failing: name -> (the same, which metric to draw)
    """
    lines = -(-len(failing) // columns)
    figure = new_figure(10.0, 2.35 * lines)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax, (name, (history, metric)) in zip(axes, failing.items(), strict=False):
        for run, (label, colour, mark) in zip((healthy, history), LOOKS, strict=True):
            values = _values(run, metric)
            steps = np.arange(1, len(values) + 1)
            ax.plot(steps, values, mark + "-", color=colour, linewidth=1.6, markersize=5, label=label)
        tidy(ax, f"{name}: {metric}", "step", UNITS.get(metric, ""))
        ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for ax in axes[len(failing) :]:
        ax.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    axes[-1].legend(handles, labels, frameon=False, fontsize=10.5, loc="center" if len(failing) < len(axes) else "best")
    return figure


def alt_gallery(healthy: list[dict], failing: Mapping[str, tuple[list[dict], str]]) -> str:
    """Each run's first and last value, and the healthy run's last."""
    said = []
    for name, (history, metric) in failing.items():
        values, sound = (run[np.isfinite(run)] for run in (_values(history, metric), _values(healthy, metric)))
        change = f"{values[0]:.3g} to {values[-1]:.3g}" if len(values) else "no value"
        said.append(f"{name}, {metric} {change}" + (f" (healthy: {sound[-1]:.3g})" if len(sound) else ""))
    return f"Small panels, a failing run each beside a healthy one: {'; '.join(said)}."
