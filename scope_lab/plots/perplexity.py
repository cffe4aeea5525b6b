"""Figures of perplexity: its distributions by verdict, and what lengths do to weights."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..data_card import PERPLEXITY, quantities
from ..explore import paths, percent
from ..explore_routing import length_table, length_weights
from ..rollouts import Rollouts
from ..style import COLOURS, INK, new_figure, percent_axis, perplexity_axis, tidy

LENGTHS = 16  # so many different lengths are drawn one by one
LEAST_SHARE = 1e-6


def _perplexities(rollouts: Rollouts) -> dict[str, dict[str, np.ndarray]]:
    """By model and verdict, per token; rollouts without a verdict or a score are left out."""
    found = quantities(rollouts)
    return {
        model: {v: found[name][v] for v in ("correct", "wrong") if v in found[name]}
        for model, name in PERPLEXITY.items()
    }


def plot_perplexities(rollouts: Rollouts) -> Figure:
    """Distributions of both models' perplexity on correct and on wrong rollouts; the weights read the filled ones."""
    figure = new_figure(9.6, 3.6)
    found = _perplexities(rollouts)
    everything = np.concatenate([ppl for of in found.values() for ppl in of.values()])
    low, high = max(1.0, everything.min() / 1.02), np.quantile(everything, 0.995) * 1.05
    bins = np.geomspace(low, high, 60)
    for ax, (model, of) in zip(figure.subplots(1, 2, sharex=True, sharey=True), found.items(), strict=True):
        for verdict, ppl in of.items():
            read = (model == "student") == (verdict == "correct")
            shares = np.histogram(ppl, bins)[0] / max(len(ppl), 1)
            colour, hatch = COLOURS[verdict], "//" if verdict == "wrong" and read else None
            if read:
                ax.stairs(shares, bins, fill=True, color=colour, alpha=0.3, hatch=hatch)
            style = {"linestyle": "-" if read else (0, (4, 2)), "linewidth": 1.6}
            ax.stairs(shares, bins, color=colour, label=f"{verdict}{', weighed' if read else ''}", **style)
            ax.axvline(np.median(ppl), color=colour, linewidth=1, linestyle=(0, (1, 2)))
        tidy(ax, f"{model.capitalize()}'s perplexity", "perplexity per token (log scale)", "")
        perplexity_axis(ax, low, high)
        percent_axis(ax.yaxis)
        ax.legend(frameon=False, fontsize=10)
    figure.axes[0].set_ylabel("share of rollouts in a bin", fontsize=10.5, color=INK)
    return figure


def alt_perplexities(rollouts: Rollouts) -> str:
    parts = []
    for model, of in _perplexities(rollouts).items():
        for verdict, ppl in of.items():
            low, middle, high = np.quantile(ppl, [0.05, 0.5, 0.95])
            said = f"{middle:.2f}, 90 % from {low:.2f} to {high:.2f} ({len(ppl):,} rollouts)"
            parts.append(f"{model}'s on {verdict} ones: median {said}")
    return f"Histograms of perplexity per token. {'; '.join(parts).capitalize()}."


def _relative(rollouts: Rollouts, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Lengths of a path's rollouts in groups of three or more, and their weights over an equal share."""
    path = next(path for path in paths(rollouts) if path.name == name)
    size_B = path.size_P[path.group_B.numpy()]
    several = path.member_B.numpy() & (size_B >= 3)
    weights = length_weights(path, rollouts.length_B)
    return rollouts.length_B.numpy()[several], {k: (w * size_B)[several] for k, w in weights.items()}


def plot_length_effect(rollouts: Rollouts, name: str = "student") -> Figure:
    """Weight over an equal share against response length: by the mean over tokens, and by the sum. Medians, 10-90 %.

    Many lengths are put into classes of as many rollouts each. What is below LEAST_SHARE leaves the axes.
    """
    lengths, relative = _relative(rollouts, name)
    figure = new_figure(9.6, 3.5)
    colour = COLOURS["correct" if name == "student" else "wrong"]
    classes = lengths
    if len(np.unique(lengths)) > LENGTHS:
        edges = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTHS + 1)))
        classes = np.clip(np.searchsorted(edges, lengths, side="right"), 1, len(edges) - 1)
    for ax, (kind, weight) in zip(figure.subplots(1, 2, sharey=True), relative.items(), strict=True):
        frame = pd.DataFrame({"length": lengths, "weight": weight})
        by_length = frame.groupby(classes)
        table = (
            by_length["weight"].quantile(np.array([0.1, 0.5, 0.9])).unstack().set_index(by_length["length"].median())
        )
        table = table[by_length.size().to_numpy() >= 10]
        ax.fill_between(table.index, table[0.1], table[0.9], color=colour, alpha=0.18, linewidth=0)
        ax.plot(table.index, table[0.5], color=colour, marker="o", markersize=5)
        ax.axhline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        tidy(ax, f"Weights by the {kind}", "response length, tokens", "")
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
    bottom, top = ax.get_ylim()
    bottom = max(bottom, LEAST_SHARE)
    ax.set_ylim(bottom, top)
    rounds = (0.1, 0.2, 0.5, 1, 2, 5, 10) if top < 100 * bottom else 10.0 ** np.arange(-8, 5, 2)
    ticks = [t for t in rounds if bottom <= t <= top]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    figure.axes[0].set_ylabel("weight / equal share (log scale)", fontsize=10.5, color=INK)
    figure.suptitle(f"{name.capitalize()} path, τ = 1", fontsize=12, x=0.01, ha="left", color=INK)
    return figure


def alt_length_effect(rollouts: Rollouts, name: str = "student") -> str:
    path = next(path for path in paths(rollouts) if path.name == name)
    table = length_table(path, rollouts.length_B)
    parts = [
        f"by the {kind} a median group keeps {percent(row.kept)} of its rollouts and weights have a rank correlation "
        f"of {row['with length']:+.2f} with length"
        for kind, row in table.iterrows()
    ]
    return f"Weight over an equal share against length, {name} path, τ = 1. {'; '.join(parts).capitalize()}."
