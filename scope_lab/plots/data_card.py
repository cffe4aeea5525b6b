"""The data card of recorded rollouts as a figure: accuracy of groups, lengths, and both models' perplexity."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..data_card import PERPLEXITY, quantities
from ..explore import percent
from ..explore_routing import group_kinds
from ..rollouts import Rollouts
from ..style import COLOURS, INK, new_figure, percent_axis, perplexity_axis, tidy

LINES = {"correct": "-", "wrong": (0, (4, 2)), "unknown": (0, (1, 1.5))}


def plot_data_card(rollouts: Rollouts) -> Figure:
    """Histograms: correct rollouts a group, response length and perplexity per token, by verdict."""
    figure = new_figure(9.6, 6.4)
    (top_left, top_right), below = figure.subplots(2, 2)
    _accuracy(top_left, rollouts)
    length, *perplexity = quantities(rollouts).items()
    longest = int(rollouts.length_B.max())
    _histogram(top_right, length[1], np.linspace(0.5, longest + 0.5, min(longest, 40) + 1))
    tidy(top_right, "Length of responses", "tokens, EOS included", "share of the verdict's rollouts")
    top_right.legend(frameon=False, fontsize=10)
    values = np.concatenate([ppl for _, of in perplexity for ppl in of.values()])
    bins = np.geomspace(max(1.0, values.min() / 1.02), np.quantile(values, 0.995) * 1.05, 50)
    for ax, (model, name) in zip(below, PERPLEXITY.items(), strict=True):
        _histogram(ax, dict(perplexity)[name], bins)
        tidy(
            ax,
            f"{model.capitalize()}'s perplexity",
            "perplexity per token (log scale)",
            "share of the verdict's rollouts",
        )
        perplexity_axis(ax, bins[0], bins[-1])
    below[1].sharey(below[0])
    for ax in (top_right, *below):
        percent_axis(ax.yaxis)
    return figure


def _accuracy(ax, rollouts: Rollouts) -> None:
    groups = group_kinds(rollouts)
    size = int((groups.correct + groups.wrong).max())
    counts = np.bincount(groups.correct, minlength=size + 1)
    one_kind = np.isin(np.arange(size + 1), [0, size])
    for places, label, alpha in ((~one_kind, "mixed groups", 0.75), (one_kind, "all wrong, all correct", 0.3)):
        x = np.arange(size + 1)[places]
        ax.bar(
            x,
            counts[places],
            width=0.85,
            color=COLOURS["correct"],
            alpha=alpha,
            edgecolor=INK,
            linewidth=0.5,
            label=label,
        )
    tidy(ax, "Accuracy of groups", f"correct rollouts of a prompt, of {size}", "prompts")
    ax.xaxis.set_major_locator(MaxNLocator(9, integer=True))
    ax.legend(frameon=False, fontsize=10)


def _histogram(ax, of: dict[str, np.ndarray], bins: np.ndarray) -> None:
    for verdict, values in of.items():
        colour = COLOURS.get(verdict, COLOURS["before"])
        shares = np.histogram(values, bins)[0] / len(values)
        ax.stairs(shares, bins, fill=True, color=colour, alpha=0.15)
        ax.stairs(
            shares, bins, color=colour, linestyle=LINES[verdict], linewidth=1.6, label=f"{verdict} ({len(values):,})"
        )


def alt_data_card(rollouts: Rollouts) -> str:
    groups = group_kinds(rollouts)
    length, *perplexity = quantities(rollouts).items()
    parts = [
        f"{name}: medians " + ", ".join(f"{np.median(values):.3g} on {verdict}" for verdict, values in of.items())
        for name, of in (length, *perplexity)
        if of
    ]
    return (
        f"Four histograms of {len(rollouts):,} rollouts of {len(groups)} prompts of {rollouts.task}. "
        f"{percent(float((groups.kind == 'mixed').mean()))} of groups are mixed. {'; '.join(parts).capitalize()}."
    )
