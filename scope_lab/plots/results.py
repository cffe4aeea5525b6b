"""Figures of a sweep's results: Pass@k of methods over seeds, the weight temperature, entropy while training."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ..ablations import SAME, SMALLEST, FinishedRun, metric_name
from ..claims import AUTO, FIXED_TAUS, TITLES, at_other_taus
from ..evaluation import Evaluation, powers_of_two
from ..explore import percent
from ..methods import method_name
from ..results import SIX, RecordedRun, curve_over_seeds
from ..style import COLOURS, FAINT, INK, METHOD_COLOURS, METHOD_MARKERS, new_figure, tidy
from ..verdicts import paper_comparisons
from .ablations import alt_forest, plot_forest
from .diversity import draw_curve, legend_beside, pass_axes

FORESTS = ("C1", "C2", "C3", "C7", "C8")


def colour(method: str) -> str:
    """A method's; a variant has its family's: OPD with one rollout a prompt that of OPD."""
    return METHOD_COLOURS.get(method) or METHOD_COLOURS.get(method.partition("-")[0], COLOURS["after"])


def line_style(method: str) -> str:
    """Variants of a method are dashed."""
    return "-" if method in METHOD_COLOURS else "--"


def luck(n_seeds: int) -> str:
    """What an interval over so many seeds holds, in words."""
    return "seeds and problems" if n_seeds > 1 else "problems"


def n_seeds(n: int) -> str:
    return f"{n} seed{'s' if n != 1 else ''}"


def by_method(runs: Sequence[FinishedRun]) -> dict[str, list[Evaluation]]:
    """The last evaluation of each seed, by method, after the student's before training ("base")."""
    found = {"base": [runs[0].before]}
    for run in runs:
        found.setdefault(run.method, []).append(run.after)
    return found


def plot_methods(runs: Sequence[FinishedRun]) -> Figure:
    """Pass@k of each method, means over its seeds with 95 % bands, beside the student before training."""
    figure = new_figure(8.4, 4.2)
    ax = figure.subplots()
    before, methods = runs[0].before, by_method(runs)
    for method, evaluations in methods.items():
        base = method == "base"
        look = (method_name(method), COLOURS["before"] if base else colour(method), METHOD_MARKERS.get(method, "o"))
        _, line = draw_curve(ax, curve_over_seeds(evaluations), look)
        line.set_linestyle("-" if base else line_style(method))
    seeds = len(methods[runs[0].method])
    heading = f"{before.task}, {len(before.problem_ids)} {before.split} problems; {n_seeds(seeds)} a method"
    pass_axes(ax, powers_of_two(before.n_samples), heading)
    legend_beside(figure, f"bands: 95 % interval\nover {luck(seeds)}")
    return figure


def alt_methods(runs: Sequence[FinishedRun]) -> str:
    methods, parts = by_method(runs), []
    for method, evaluations in methods.items():
        curve = curve_over_seeds(evaluations)
        parts.append(f"{method_name(method)} {percent(curve.mean_K[0])} and {percent(curve.mean_K[-1])}")
    said = f"Pass@1 and Pass@{runs[0].before.n_samples}: {'; '.join(parts)}"
    return f"Pass@k against k, 95 % intervals over {luck(len(methods[runs[0].method]))}. {said}."


def holds(differences: pd.DataFrame) -> str:
    """What the intervals of a table hold, in words."""
    return " or ".join(dict.fromkeys(differences.holds))


def plot_taus(differences: pd.DataFrame) -> Figure:
    """Avg and Pass of SCOPE at each weight temperature less those at τ = 1, in points, with 95 % intervals.

    differences  of claims.at_other_taus
    """
    figure = new_figure(9.2, 3.4)
    order = [*FIXED_TAUS, AUTO]
    places = [*range(len(FIXED_TAUS)), len(FIXED_TAUS) + 0.4]
    names = ["∞" if math.isinf(tau) else f"{tau:g}" for tau in FIXED_TAUS.values()] + ["auto"]
    metrics = list(dict.fromkeys(differences.metric))
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for ax, metric in zip(axes, metrics, strict=True):
        tidy(ax, metric_name(metric), "weight temperature τ", "points more than at τ = 1" if ax is axes[0] else "")
        smallest = SMALLEST[metric.partition("@")[0]]
        ax.axhspan(-smallest, smallest, color=FAINT, alpha=0.5, linewidth=0, label="too small to matter")
        ax.axhline(0, color=INK, linewidth=1)
        ax.plot(order.index("scope"), 0, "o", color=COLOURS["before"], markersize=8, label="τ = 1")
        for row in differences[differences.metric == metric].to_dict("records"):
            x = places[order.index(row["method"])]
            ax.plot([x, x], [row["low"], row["high"]], color=COLOURS["after"], linewidth=2.4, solid_capstyle="butt")
            ax.plot(x, row["mean"], "D" if row["method"] == AUTO else "o", color=COLOURS["after"], markersize=7)
        ax.set_xticks(places, names)
        ax.set_xlim(-0.5, places[-1] + 0.5)
    ax.plot([], [], "o-", color=COLOURS["after"], linewidth=2.4, label=f"95 % interval over {holds(differences)}")
    figure.legend(
        *ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=10, numpoints=1
    )
    return figure


def alt_taus(differences: pd.DataFrame) -> str:
    parts = []
    for row in differences.to_dict("records"):
        tau = FIXED_TAUS.get(row["method"])
        name = "auto" if tau is None else "infinite" if math.isinf(tau) else f"{tau:g}"
        ends = f"{row['low']:+.1f} to {row['high']:+.1f}"
        parts.append(f"τ {name} {metric_name(row['metric'])} {row['mean']:+.1f} ({ends})")
    small = ", ".join(f"{value:g} of {metric.capitalize()}" for metric, value in SMALLEST.items())
    return (
        f"SCOPE at other weight temperatures less SCOPE at τ = 1, points, 95 % intervals over {holds(differences)}: "
        f"{'; '.join(parts)}. Grey: differences too small to matter, {small}."
    )


def _entropies(runs: Sequence[RecordedRun], window: int) -> Mapping[str, pd.DataFrame]:
    """Running means of the policy's entropy, rows steps, a column a seed, by method; KD logs none."""
    found: dict[str, dict[int, pd.Series]] = {}
    for run in runs:
        curve = run.metrics.set_index("step")["entropy"]
        found.setdefault(run.variant, {})[run.seed] = curve.rolling(window, min_periods=1).mean()
    tables = {variant: pd.DataFrame(curves) for variant, curves in found.items()}
    return {variant: table for variant, table in tables.items() if table.notna().any(axis=None)}


def plot_entropies(runs: Sequence[RecordedRun], window: int = 10) -> Figure:
    """Entropy of the policy against the step, running means: lines are means over seeds, bands hold all seeds."""
    figure = new_figure(8.2, 4.0)
    ax = figure.subplots()
    curves = _entropies(runs, window)
    for i, (method, table) in enumerate(curves.items()):
        ax.fill_between(
            table.index, table.min(axis=1), table.max(axis=1), color=colour(method), alpha=0.18, linewidth=0
        )
        style: dict[str, Any] = {"color": colour(method), "linestyle": line_style(method), "linewidth": 1.8}
        style |= {"marker": METHOD_MARKERS.get(method, "o"), "markersize": 5, "markevery": (5 * i + 3, 40)}
        ax.plot(table.index, table.mean(axis=1), label=method_name(method), **style)
    tidy(ax, f"Entropy of the policy, mean of {window} steps", "optimizer step", "nats a token")
    ax.set_ylim(bottom=0)
    ax.set_xlim(left=0)
    seeds = max(table.shape[1] for table in curves.values())
    ax.legend(
        loc="lower left", frameon=False, fontsize=10, ncols=2, title="bands: all seeds" if seeds > 1 else "one seed"
    )
    return figure


def alt_entropies(runs: Sequence[RecordedRun], window: int = 10) -> str:
    parts = []
    for method, table in _entropies(runs, 1).items():
        first, last = table.iloc[0].to_numpy().mean(), table.iloc[-window:].to_numpy().mean()
        parts.append(f"{method_name(method)} from {first:.2f} to {last:.2f}")
    said = f"first step and last {window} steps: {'; '.join(parts)}"
    return f"Entropy of the policy, nats a token, mean of {n_seeds(len({run.seed for run in runs}))}, {said}."


def claim_figures(
    judged: pd.DataFrame, ablations: pd.DataFrame, runs: Sequence[RecordedRun]
) -> dict[str, tuple[Figure, str]]:
    """A figure a claim that has runs, with what it shows in words.

    judged, ablations  of verdicts.primary and verdicts.secondary; ablations are C3's figure
    """
    found: dict[str, tuple[Figure, str]] = {}
    rates = pd.concat([judged[judged.claim.isin(FORESTS) & (judged.claim != "C3")], ablations])
    rates = rates[rates["mean"].notna()]
    for claim, ours in rates.groupby("claim"):
        theirs = paper_comparisons(int(ours.metric.iloc[0].partition("@")[2]))
        theirs = theirs.merge(ours[SAME], on=SAME)
        drawn = ours, (theirs if len(theirs) else None)
        figure = plot_forest(*drawn)
        fewest, most = int(ours.seeds.min()), int(ours.seeds.max())
        seeds = n_seeds(fewest) if fewest == most else f"{fewest} to {most} seeds"
        head = f"{claim}: {TITLES[str(claim)]}; {seeds}, intervals over {holds(ours)}"
        figure.suptitle(head, x=0.01, ha="left", fontsize=12, color=INK)
        found[str(claim)] = figure, alt_forest(*drawn)
    ends = [run.ends for run in runs]
    compared = at_other_taus(ends)
    if len(compared) and "C4" in {*judged.claim}:
        found["C4"] = plot_taus(compared), alt_taus(compared)
    six = [run for run in runs if run.variant in SIX]
    if six:
        found["C6"] = plot_entropies(six), alt_entropies(six)
    return dict(sorted(found.items()))
