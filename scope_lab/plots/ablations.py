"""Figures of one method against another: differences with their intervals, the paper's beside them, small test sets."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..ablations import SAME, contrast_name, metric_name
from ..style import COLOURS, INK, new_figure, tidy

PAPER = COLOURS["teacher"]
UNKNOWN = "not known from one seed"


def _draw_interval(ax, y: float, row: Mapping, colour: str) -> None:
    """A point with its interval; a hollow point and words where nothing is known of its ends."""
    known = np.isfinite(row["low"])
    if known:
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2.4, solid_capstyle="butt")
    else:
        ax.annotate(UNKNOWN, (row["mean"], y), (12, -3), textcoords="offset points", fontsize=10, color=INK)
    ax.plot(row["mean"], y, "o", color=colour, markersize=7, markerfacecolor=colour if known else "white")


def _rows(ax, names: list[str]) -> None:
    """A row a name, from the top; vertical lines to read values by, a dark one at no difference."""
    ax.axvline(0, color=INK, linewidth=1)
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.7)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)


def plot_forest(ours: pd.DataFrame, paper: pd.DataFrame | None = None) -> Figure:
    """Differences of `ablations.differences`, in points: a panel a metric, a row a pair of methods.

    paper  rows of `paper.comparisons`: its differences as diamonds above ours; pairs that only the paper has stay too
    """
    theirs = ours[:0].assign(points=[]) if paper is None else paper
    names = list(dict.fromkeys(contrast_name(row) for part in (theirs, ours) for row in part.to_dict("records")))
    metrics = sorted({*ours.metric, *theirs.metric})
    lift, height = (0.0, 0.42) if paper is None else (0.18, 0.52)
    figure = new_figure(10.0, 1.2 + height * len(names))
    axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for ax, metric in zip(axes, metrics, strict=True):
        tidy(ax, metric_name(metric), "difference, percentage points")
        _rows(ax, names)
        for row in theirs[theirs.metric == metric].to_dict("records"):
            y = names.index(contrast_name(row)) - lift
            ax.plot(row["points"], y, "D", color=PAPER, markersize=6, alpha=0.8, label="the paper, one run each")
        for row in ours[ours.metric == metric].to_dict("records"):
            _draw_interval(ax, names.index(contrast_name(row)) + lift, row, COLOURS["after"])
        if paper is not None:
            for y in range(1, len(names)):
                ax.axhline(y - 0.5, color="#E5E5E5", linewidth=0.7)
    if paper is not None:
        handles = {label: handle for handle, label in zip(*axes[0].get_legend_handles_labels(), strict=True)}
        handles["here, with 95 % interval"] = axes[0].plot([], [], "o-", color=COLOURS["after"], linewidth=2.4)[0]
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=10.5
        )
    return figure


def alt_forest(ours: pd.DataFrame, paper: pd.DataFrame | None = None) -> str:
    """Every difference; beside the paper only those whose sign is none of the paper's, and how many there are."""
    words, same_sign, compared = [], 0, 0
    for row in ours.to_dict("records"):
        said = f"{contrast_name(row)}, {metric_name(row['metric'])}: {row['mean']:+.1f}"
        said += f" ({row['low']:+.1f} to {row['high']:+.1f})"
        if paper is None:
            words.append(said)
            continue
        points = paper.points[(paper[SAME] == [row[name] for name in SAME]).all(axis=1)]
        compared += len(points) > 0
        if (points * row["mean"] > 0).any():
            same_sign += 1
        elif len(points):
            words.append(f"{said}, paper {' and '.join(f'{x:+.1f}' for x in points)}")
    start = f"Differences in percentage points with 95 % intervals over {' or '.join(dict.fromkeys(ours.holds))}."
    if paper is not None:
        start += f" {same_sign} of {compared} differences share their sign with one of the paper's."
        start += " The others: " if words else ""
    return f"{start} {'; '.join(words)}{'.' if words else ''}".strip().replace("  ", " ")


def plot_by_seed(table: pd.DataFrame, heading: str, unit: str) -> Figure:
    """`ablations.by_seed`, values in `unit`: a row a seed, and below a line the mean of all with three intervals."""
    n_seeds = len(table) - 3
    figure = new_figure(8.2, 1.0 + 0.36 * len(table))
    ax = figure.subplots()
    tidy(ax, heading, unit)
    _rows(ax, list(table.index))
    for y, row in enumerate(table.to_dict("records")):
        _draw_interval(ax, y, row, COLOURS["before" if y < n_seeds else "after"])
    ax.axhline(n_seeds - 0.5, color="#8C8C8C", linewidth=0.8)
    ax.margins(x=0.15)
    return figure


def alt_by_seed(table: pd.DataFrame, heading: str, unit: str) -> str:
    words = []
    for name, row in zip(table.index, table.to_dict("records"), strict=True):
        ends = f"{row['low']:+.2f} to {row['high']:+.2f}" if np.isfinite(row["low"]) else UNKNOWN
        words.append(f"{name} {row['mean']:+.2f} ({ends})")
    return f"{heading}, {unit}, with 95 % intervals: {'; '.join(words)}."


def plot_small_sets(drawn: Mapping[int, np.ndarray], heading: str, marks: Sequence[float], marks_name: str) -> Figure:
    """Histograms of one difference, in points, over random test sets of several sizes; `marks`: others, for size."""
    figure = new_figure(8.8, 1.6 + 1.15 * len(drawn))
    axes = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    reach = max(np.abs([*(x for points in drawn.values() for x in points), *marks])) + 0.5
    bins = np.linspace(-reach, reach, 91)
    for ax, (size, points) in zip(axes, drawn.items(), strict=True):
        for part, colour in ((points[points >= 0], "after"), (points[points < 0], "before")):
            ax.stairs(np.histogram(part, bins)[0], bins, fill=True, color=COLOURS[colour])
        ax.axvline(0, color=INK, linewidth=1)
        for x in marks:
            (line,) = ax.plot([x, x], [0, 1], transform=ax.get_xaxis_transform(), color=PAPER, linestyle=(0, (4, 2)))
        tidy(ax, f"{size} problems: below zero in {np.mean(points < 0):.0%} of sets")
        ax.set_yticks([])
    axes[0].legend([line], [marks_name], frameon=False, fontsize=10, loc="upper left")
    axes[-1].set_xlabel(f"{heading}: difference, percentage points", fontsize=10.5, color=INK)
    return figure


def alt_small_sets(drawn: Mapping[int, np.ndarray], heading: str, marks: Sequence[float], marks_name: str) -> str:
    words = []
    for size, points in drawn.items():
        low, high = np.quantile(points, [0.025, 0.975])
        words.append(
            f"{size} problems: {low:+.1f} to {high:+.1f} in 95 % of sets, below zero in {np.mean(points < 0):.0%}"
        )
    others = ", ".join(f"{x:+.1f}" for x in marks)
    return f"{heading}, in points, on random test sets. {'; '.join(words)}. Dashed lines: {marks_name}, {others}."
