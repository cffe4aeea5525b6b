"""Figures of evaluations: Pass@k against k."""

from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ..diversity import title
from ..evaluation import Evaluation, bootstrap_interval, compare, powers_of_two
from ..explore import percent
from ..style import COLOURS, METHOD_COLOURS, new_figure, percent_axis, tidy


def _curve(evaluation: Evaluation) -> tuple[list[int], np.ndarray, np.ndarray]:
    """k, mean Pass@k, and its 95 % intervals (len(k), 2)."""
    ks, metrics = powers_of_two(evaluation.n_samples), evaluation.metrics()
    values = [metrics[f"pass@{k}"] for k in ks]
    return ks, np.array([v.mean() for v in values]), np.array([bootstrap_interval(v) for v in values])


def plot_pass_at_k(evaluations: list[Evaluation]) -> Figure:
    """Pass@k of evaluations on the same problems, means with 95 % bootstrap bands; the first is the baseline."""
    first = evaluations[0]
    figure = new_figure(7.2, 4.2)
    ax = figure.subplots()
    for evaluation, name, marker in zip(evaluations, _names(evaluations), cycle("sovD^P"), strict=False):
        ks, mean, interval = _curve(evaluation)
        method = evaluation.label.split()[0]
        colour = COLOURS["before"] if evaluation is first else METHOD_COLOURS.get(method, COLOURS["after"])
        ax.fill_between(ks, *interval.T, color=colour, alpha=0.15, linewidth=0)
        ax.plot(ks, mean, color=colour, marker=marker, markersize=5, linewidth=1.8, label=name)
    n = len(first.problem_ids)
    tidy(ax, f"{first.task}, {n} {first.split} problems", "k, samples per problem (log scale)", "Pass@k")
    ks = powers_of_two(first.n_samples)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(ks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(ks, [str(k) for k in ks])
    ax.set_ylim(0, 1)
    percent_axis(ax.yaxis)
    ax.legend(loc="upper left", frameon=False, fontsize=10.5, title="bands: 95 % interval over problems")
    return figure


def _names(evaluations: list[Evaluation]) -> list[str]:
    """Methods by their titles; where that does not tell evaluations apart, by their labels."""
    titles = [title(e) for e in evaluations]
    return titles if len(set(titles)) == len(titles) else [e.label for e in evaluations]


def alt_pass_at_k(evaluations: list[Evaluation]) -> str:
    """The figure in words: Pass@1 and Pass@n of each against the first, with paired differences and 95 % intervals."""
    before, n = evaluations[0], evaluations[0].n_samples
    columns, parts = ["before", "after", "difference", "low", "high"], []
    for after, name in zip(evaluations[1:], _names(evaluations)[1:], strict=True):
        table = compare(before, after)
        for k in sorted({1, n}):
            was, now, *points = np.asarray(table.loc[f"pass@{k}", columns], dtype=float).tolist()
            difference, low, high = (f"{100 * x:+.1f}" for x in points)
            parts.append(
                f"{name}: Pass@{k} goes from {percent(was)} to {percent(now)} "
                f"(difference {difference} points, 95 % interval {low} to {high})"
            )
    return f"Pass@k against k. {'; '.join(parts)}."
