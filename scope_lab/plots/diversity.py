"""Figures of diversity: how Pass@k is estimated, what training does to it, to solutions, and to entropy."""

from itertools import cycle, pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ..diversity import (
    Curve,
    Run,
    band_words,
    difficulty_bands,
    expected_estimate,
    naive_pass_at_k,
    pass_curve,
    solution_counts,
    title,
)
from ..evaluation import Evaluation, bootstrap_interval, compare, pass_at_k, powers_of_two
from ..explore import percent
from ..style import COLOURS, INK, METHOD_COLOURS, METHOD_MARKERS, new_figure, percent_axis, tidy


def looks(evaluations: list[Evaluation]) -> list[tuple[str, str, str]]:
    """Name, colour and marker of each evaluation, the first of which is the baseline.

    Names are methods; where those do not tell evaluations apart, labels.
    """
    methods = ["base", *(e.label.split()[0] for e in evaluations[1:])]
    names = [title(e) for e in evaluations]
    if len(set(names)) < len(names):
        names = [e.label for e in evaluations]
    colours = [COLOURS["before"], *(METHOD_COLOURS.get(method, COLOURS["after"]) for method in methods[1:])]
    return list(zip(names, colours, [METHOD_MARKERS.get(method, "o") for method in methods], strict=True))


def pass_axes(ax, ks, heading: str = "", ylabel: str = "Pass@k") -> None:
    """Axes of Pass@k against k: k on a log scale, Pass@k from 0 to 100 %."""
    tidy(ax, heading, "k, samples per problem (log scale)", ylabel)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(list(ks)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(list(ks), [str(k) for k in ks])
    ax.set_ylim(0, 1.02)
    percent_axis(ax.yaxis)


def draw_curve(ax, curve: Curve, look: tuple[str, str, str], band: bool = True) -> tuple:
    """One Pass@k curve with its 95 % intervals, as a band or as bars; returns the artists of interval and line."""
    name, colour, marker = look
    if band:
        spread = ax.fill_between(curve.ks, *curve.interval_K2.T, color=colour, alpha=0.15, linewidth=0)
    else:
        spread = ax.vlines(curve.ks, *curve.interval_K2.T, color=colour, linewidth=1)
    (line,) = ax.plot(curve.ks, curve.mean_K, color=colour, marker=marker, markersize=5, linewidth=1.8, label=name)
    return spread, line


def legend_beside(figure: Figure, title: str) -> None:
    """A legend that hides no curve, wherever those are."""
    style = {"frameon": False, "fontsize": 10.5, "title": title, "title_fontsize": 10.5, "alignment": "left"}
    figure.legend(loc="outside right upper", **style)


def plot_pass_at_k(evaluations: list[Evaluation]) -> Figure:
    """Pass@k of evaluations on the same problems, means with 95 % bootstrap bands; the first is the baseline."""
    first = evaluations[0]
    figure = new_figure(8.4, 4.0)
    ax = figure.subplots()
    for evaluation, look in zip(evaluations, looks(evaluations), strict=True):
        draw_curve(ax, pass_curve(evaluation), look)
    heading = f"{first.task}, {len(first.problem_ids)} {first.split} problems"
    pass_axes(ax, powers_of_two(first.n_samples), heading)
    legend_beside(figure, "bands: 95 % interval\nover problems")
    return figure


def alt_pass_at_k(evaluations: list[Evaluation]) -> str:
    """The figure in words: Pass@1 and Pass@n of each against the first, with paired differences and 95 % intervals."""
    before, n = evaluations[0], evaluations[0].n_samples
    columns, parts = ["before", "after", "difference", "low", "high"], []
    for after, (name, *_) in zip(evaluations[1:], looks(evaluations)[1:], strict=True):
        table = compare(before, after)
        for k in sorted({1, n}):
            was, now, *points = np.asarray(table.loc[f"pass@{k}", columns], dtype=float).tolist()
            difference, low, high = (f"{100 * x:+.1f}" for x in points)
            parts.append(
                f"{name}: Pass@{k} goes from {percent(was)} to {percent(now)} "
                f"(difference {difference} points, 95 % interval {low} to {high})"
            )
    return f"Pass@k against k. {'; '.join(parts)}."


def plot_estimator_bias(n: int, ks: tuple[int, ...]) -> Figure:
    """Expected error of both estimators of Pass@k against the true chance p of one sample, from n samples, exactly."""
    p = np.linspace(0, 1, 201)
    figure = new_figure(8.4, 3.1)
    axes = figure.subplots(1, 2, sharey=True)
    estimators = {"naive, 1 − (1 − c/n)^k": naive_pass_at_k, "unbiased": pass_at_k}
    for ax, (name, estimator) in zip(axes, estimators.items(), strict=True):
        for k, style in zip(ks, cycle(("-", "--", ":", "-.")), strict=False):
            bias = expected_estimate(estimator, p, n, k) - (1 - (1 - p) ** k)
            ax.plot(p, 100 * bias, linestyle=style, color=COLOURS["after"], linewidth=1.8, label=f"k = {k}")
        left = ax is axes[0]
        tidy(ax, name, "true chance p of one sample", f"expected error, points (n = {n})" if left else "")
        ax.set_xlim(0, 1)
    axes[0].legend(loc="lower right", frameon=False, fontsize=10)
    return figure


def alt_estimator_bias(n: int, ks: tuple[int, ...]) -> str:
    p, words = np.linspace(0, 1, 201), []
    for k in ks:
        truth = 1 - (1 - p) ** k
        naive, fair = (expected_estimate(e, p, n, k) - truth for e in (naive_pass_at_k, pass_at_k))
        worst = int(np.abs(naive).argmax())
        words.append(
            f"k = {k}: naive off by {100 * naive[worst]:+.1f} points at worst (p = {p[worst]:.2f}), "
            f"unbiased by {100 * np.abs(fair).max():.1f}"
        )
    return f"Expected error of two estimates of Pass@k from n = {n} samples. {'; '.join(words)}."


def plot_success_counts(before: Evaluation, after: Evaluation) -> Figure:
    """How many problems were solved by 0, 1, 2, … n of n samples, before and after."""
    n = before.n_samples
    edges = np.array([0, 1, *range(5, n + 1, 4), n + 1])
    figure = new_figure(8.8, 3.2)
    ax = figure.subplots()
    names = ["0"] + [f"{a}–{b - 1}" if b - a > 1 else f"{a}" for a, b in pairwise(edges[1:])]
    for side, (evaluation, (name, colour, _)) in enumerate(zip((before, after), looks([before, after]), strict=True)):
        heights = np.histogram(evaluation.n_correct, edges)[0]
        place = np.arange(len(heights)) + (side - 0.5) * 0.4
        bars = ax.bar(
            place, heights, width=0.38, color=colour, label=name, hatch=None if side else "////", edgecolor="white"
        )
        ax.bar_label(bars, fontsize=9, padding=1, color=INK)
    tidy(ax, f"{len(before.problem_ids)} problems", f"correct among {n} samples", "problems")
    ax.set_xticks(range(len(names)), names)
    ax.margins(y=0.1)
    ax.legend(loc="upper right", frameon=False, fontsize=10.5)
    return figure


def alt_success_counts(before: Evaluation, after: Evaluation) -> str:
    n, words = before.n_samples, []
    for evaluation in (before, after):
        c = np.array(evaluation.n_correct)
        words.append(
            f"{title(evaluation)}: {(c == 0).sum()} of {len(c)} problems never solved, "
            f"{(c > n / 2).sum()} solved by more than half of {n} samples, "
            f"{((c > 0) & (c <= n / 2)).sum()} in between"
        )
    said = "; ".join(words)
    return f"Problems by their number of correct samples. {said[0].upper()}{said[1:]}."


MEASURES = {
    "distinct": ("Distinct correct solutions", "a problem, among {n} samples"),
    "entropy": ("Entropy of all answers", "nats a problem"),
}


def plot_diversity(evaluations: list[Evaluation]) -> Figure:
    """Distinct correct solutions and answer entropy of each evaluation, means with 95 % intervals over problems."""
    figure = new_figure(9.2, 0.9 + 0.38 * len(evaluations))
    styles = looks(evaluations)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (metric, (heading, unit)) in zip(axes, MEASURES.items(), strict=True):
        for row, (evaluation, (_, colour, marker)) in enumerate(zip(evaluations, styles, strict=True)):
            values = evaluation.metrics()[metric]
            ax.plot(bootstrap_interval(values), [row, row], color=colour, linewidth=2.4, solid_capstyle="butt")
            ax.plot(values.mean(), row, marker, color=colour, markersize=8)
        tidy(ax, heading, unit.format(n=evaluations[0].n_samples), "")
        ax.grid(axis="y", visible=False)
        ax.grid(axis="x", color="#E5E5E5", linewidth=0.7)
        ax.set_xlim(0, 1.06 * ax.get_xlim()[1])
    axes[0].set_yticks(range(len(styles)), [name for name, *_ in styles])
    axes[0].invert_yaxis()
    return figure


def alt_diversity(evaluations: list[Evaluation]) -> str:
    words = []
    for evaluation in evaluations:
        metrics = evaluation.metrics()
        low, high = bootstrap_interval(metrics["distinct"])
        words.append(
            f"{title(evaluation)} {metrics['distinct'].mean():.2f} distinct correct solutions a problem "
            f"({low:.2f} to {high:.2f}), {metrics['entropy'].mean():.2f} nats of answer entropy"
        )
    return f"Diversity, with 95 % intervals over problems: {'; '.join(words)}."


def plot_training(runs: list[Run], window: int = 20) -> Figure:
    """Reward and entropy of each run over its steps, running means over `window` steps."""
    figure = new_figure(8.8, 3.1)
    panels = {"reward": ("Reward", "share of correct rollouts"), "entropy": ("Entropy", "nats a token")}
    for ax, (column, (heading, unit)) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for i, run in enumerate(runs):
            smooth = run.metrics[column].rolling(window).mean()[window - 1 :: 5]
            look = {"color": METHOD_COLOURS.get(run.method, INK), "marker": METHOD_MARKERS.get(run.method, "o")}
            places = (2 + i % 5, 8)
            ax.plot(smooth.index, smooth, label=run.title, markersize=5, linewidth=1.8, markevery=places, **look)
        tidy(ax, f"{heading}, mean of {window} steps", "optimizer step", unit)
        ax.set_ylim(bottom=0)
        ax.set_xlim(left=0)
    percent_axis(figure.axes[0].yaxis)
    figure.axes[1].legend(loc="best", frameon=False, fontsize=10)
    return figure


def alt_training(runs: list[Run], window: int = 20) -> str:
    words = []
    for run in runs:
        first, last = run.metrics[:window].mean(), run.metrics[-window:].mean()
        words.append(
            f"{run.title} reward from {percent(first.reward)} to {percent(last.reward)}, "
            f"entropy from {first.entropy:.2f} to {last.entropy:.2f} nats a token"
        )
    return f"Training, first against last {window} of {len(runs[0].metrics)} steps: {'; '.join(words)}."


def plot_by_difficulty(evaluations: list[Evaluation]) -> Figure:
    """Pass@k of each evaluation on hard, medium and easy problems, with 95 % intervals over problems."""
    figure = new_figure(9.2, 3.4)
    bands = difficulty_bands(solution_counts(evaluations[0]))
    del bands["all"]
    axes = figure.subplots(1, len(bands), sharey=True)
    for ax, (name, mask) in zip(axes, bands.items(), strict=True):
        for evaluation, look in zip(evaluations, looks(evaluations), strict=True):
            _, line = draw_curve(ax, pass_curve(evaluation, mask=mask), look, band=False)
            line.set(linewidth=1.5, markersize=4.5)
        heading = band_words(name, mask.sum()).replace(" (", "\n").rstrip(")")
        pass_axes(ax, powers_of_two(evaluations[0].n_samples), heading, "Pass@k" if ax is axes[0] else "")
        ax.set_xlabel("k (log scale)", fontsize=10.5, color=INK)
    axes[0].legend(loc="upper left", frameon=False, fontsize=9.5)
    return figure


def alt_by_difficulty(evaluations: list[Evaluation]) -> str:
    before, words = evaluations[0], []
    for name, mask in difficulty_bands(solution_counts(before)).items():
        if name != "all":
            curves = [pass_curve(e, before, mask) for e in evaluations]
            said = ", ".join(
                f"{title(e)} {percent(c.mean_K[0])} and {percent(c.mean_K[-1])}"
                for e, c in zip(evaluations, curves, strict=True)
            )
            words.append(f"{band_words(name, mask.sum())}: {said}")
    return f"Pass@1 and Pass@{before.n_samples} by difficulty. {'; '.join(words)}."
