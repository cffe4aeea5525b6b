"""Figures of the released code's departures: what each does to one step's gradient, and to a prompt's weights."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from ..explore import paths, percent
from ..explore_reference import SCRIPTS, Step, effects, words
from ..style import COLOURS, INK, new_figure, tidy

COLUMNS = {
    "cosine": ("Direction", "cosine to the paper's gradient"),
    "length": ("Length", "times the paper's (log scale)"),
    "correct share": ("Balance", "correct rollouts' share of the push"),
}


def plot_effects(step: Step, tau: float = 1.0) -> Figure:
    """Each departure alone, and the scripts together: direction, length and balance of the gradient."""
    table = effects(step, tau)
    figure = new_figure(9.8, 3.9)
    y = np.arange(len(table))
    colours = [COLOURS["before"], *[COLOURS["after"]] * (len(table) - 2), COLOURS["wrong"]]
    for ax, (column, (title, xlabel)) in zip(figure.subplots(1, 3, sharey=True), COLUMNS.items(), strict=True):
        at_paper = table[column].iloc[0]
        ax.hlines(y, at_paper, table[column], color=colours, linewidth=2)
        ax.scatter(table[column], y, s=44, color=colours, zorder=3)
        ax.axvline(at_paper, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        tidy(ax, title, xlabel)
        ax.grid(axis="y", visible=False)
        if column == "length":
            ax.set_xscale("log")
            ax.xaxis.set_minor_locator(NullLocator())
        else:
            ax.set_xlim(min(0, table[column].min()) - 0.05, 1.05)
    figure.axes[2].xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    figure.axes[0].set_yticks(y, ["the paper", *table.index[1:-1], "released scripts"])
    figure.axes[0].invert_yaxis()
    figure.suptitle(
        f"One step of {len(step.rollouts)} rollouts, τ = {tau:g}", fontsize=12, x=0.01, ha="left", color=INK
    )
    return figure


def alt_effects(step: Step, tau: float = 1.0) -> str:
    table = effects(step, tau).iloc[1:]
    said = [f"{name} {row.cosine:.2f}, {row.length:.3g} times as long" for name, row in table.iterrows()]
    return f"Cosine to the paper's gradient of the same step at τ = {tau:g}, and length: {'; '.join(said)}."


class DepartureFigure:
    """A prompt's weights on both paths, paper's beside switched ones; and both gradients of the step as arrows."""

    def __init__(self, step: Step):
        self.step, self.paths = step, paths(step.rollouts)
        self.figure = new_figure(10.4, 3.7)
        self.figure.set_layout_engine("none")
        margins = {"left": 0.072, "right": 0.985, "bottom": 0.145, "top": 0.9, "wspace": 0.24}
        self.axes = self.figure.subplots(1, 3, width_ratios=[1, 1.4, 1], gridspec_kw=margins)

    def draw(self, names: tuple[str, ...], group: int, tau: float) -> Figure:
        for ax in self.axes:
            ax.clear()
        both = zip(self.step.shares((), group, tau), self.step.shares(names, group, tau), strict=True)
        for ax, path, (paper, found) in zip(self.axes, self.paths, both, strict=False):
            self._weights(ax, path, paper, found)
        self._arrows(self.axes[2], self.step.compare(names, tau))
        return self.figure

    def _weights(self, ax, path, paper: np.ndarray, found: np.ndarray) -> None:
        n, x = len(paper), np.arange(len(paper))
        tidy(
            ax, f"{path.name.capitalize()} path: {n} {path.verdict}", f"rollouts, low to high {path.name}'s perplexity"
        )
        ax.set_xticks([])
        if not n:
            ax.text(0.5, 0.5, "empty", transform=ax.transAxes, ha="center", color=INK)
            ax.set_yticks([])
            return
        ax.bar(x, found, width=0.78, color=COLOURS[path.verdict], label="with the switches")
        ax.stairs(paper, np.arange(n + 1) - 0.5, color=INK, linewidth=1.4, baseline=None, label="the paper")
        ax.set_xlim(-0.8, max(n, 2) - 0.2)
        ax.set_ylim(0, min(1.05, 1.25 * max(paper.max(), found.max())))
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        if path.name == "teacher":
            ax.legend(frameon=False, fontsize=9.5, loc="center right")
        else:
            ax.set_ylabel("share of the path's weight", fontsize=10.5, color=INK)

    def _arrows(self, ax, found: dict[str, float]) -> None:
        """The angle between both gradients, lengths made equal: the length is said in words."""
        tidy(ax, "Gradient of the whole step")
        angle = np.arccos(np.clip(found["cosine"], -1, 1))
        ends = {"paper": (1.0, 0.0, INK), "with the switches": (np.cos(angle), np.sin(angle), COLOURS["after"])}
        for dx, dy, colour in ends.values():
            ax.annotate("", (dx, dy), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2.2})
        arc = np.linspace(0, angle, 40)
        ax.plot(0.35 * np.cos(arc), 0.35 * np.sin(arc), color=INK, linewidth=1)
        ax.text(0, -0.22, "black: the paper; blue: with the switches", ha="center", fontsize=9.5, color=INK)
        said = f"{np.degrees(angle):.0f}°, length × {found['length']:.3g}"
        ax.text(0, 1.16, said, ha="center", fontsize=11, color=COLOURS["after"])
        ax.set(xlim=(-1.25, 1.25), ylim=(-0.35, 1.35), aspect="equal", xticks=[], yticks=[])
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.grid(False)


def plot_departures(step: Step, group: int, names: tuple[str, ...] = SCRIPTS, tau: float = 1.0) -> Figure:
    """A prompt's weights and the step's gradient with some departures, beside the paper's."""
    return DepartureFigure(step).draw(names, group, tau)


def alt_departures(step: Step, group: int, names: tuple[str, ...] = SCRIPTS, tau: float = 1.0) -> str:
    return f"A prompt's weights and the step's gradient beside the paper's. {words(step, names, group, tau)}"


def plot_packing(factors: np.ndarray, rows: int) -> Figure:
    """What one rollout's loss is multiplied with under random packings into micro-batches; 1: one global mean."""
    figure = new_figure(6.6, 3.2)
    ax = figure.subplots()
    ax.hist(factors, bins=20, color=COLOURS["after"], alpha=0.6)
    ax.axvline(1, color=INK, linestyle=(0, (4, 3)), linewidth=1.2)
    tidy(ax, f"Micro-batches of {rows} rollouts, each with its own mean", "factor on one rollout's loss", "packings")
    return figure


def alt_packing(factors: np.ndarray, rows: int) -> str:
    low, high = factors.min(), factors.max()
    spread = percent(float(factors.std()))
    return (
        f"Histogram over {len(factors):,} random packings into micro-batches of {rows}: the factor on a rollout "
        f"runs from {low:.2f} to {high:.2f}, standard deviation {spread}; a global denominator gives 1 always."
    )
