"""Figures of the released code's departures: what each does to one step's gradient, and to a prompt's weights."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import NullLocator

from ..explore import paths, percent
from ..explore_reference import SCRIPTS, Step, effects, words
from ..style import COLOURS, FAINT, INK, new_figure, percent_axis, tidy
from .bars import GroupBars
from .moving import MovingFigure

COLUMNS = {
    "cosine": ("Direction", "cosine to the paper's gradient"),
    "length": ("Length", "times the paper's (log scale)"),
    "correct share": ("Balance", "correct rollouts' share of the push"),
}

# Upper ends of the bars' axis: few, so that it seldom changes.
SCALES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.05)


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
    percent_axis(figure.axes[2].xaxis)
    figure.axes[0].set_yticks(y, ["the paper", *table.index[1:]])
    figure.axes[0].invert_yaxis()
    figure.suptitle(
        f"One step of {len(step.rollouts)} rollouts, τ = {tau:g}", fontsize=12, x=0.01, ha="left", color=INK
    )
    return figure


def alt_effects(step: Step, tau: float = 1.0) -> str:
    table = effects(step, tau).iloc[1:]
    said = [f"{name} {row.cosine:.2f}, {row.length:.3g} times as long" for name, row in table.iterrows()]
    return f"Cosine to the paper's gradient of the same step at τ = {tau:g}, and length: {'; '.join(said)}."


class DepartureFigure(MovingFigure):
    """A prompt's weights on both paths, paper's beside switched ones; and both gradients of the step as arrows.

    The key of a frame is the prompt and the scale of both paths' bars; its state, both paths' shares of a prompt as the
    paper has them and with the switches, and what `Step.compare` says. `state_of` gives key and state.
    """

    def __init__(self, step: Step):
        super().__init__(10.4, 3.7)
        self.step, self.paths = step, paths(step.rollouts)
        margins = {"left": 0.064, "right": 0.99, "bottom": 0.17, "top": 0.92, "wspace": 0.18}
        axes = self.figure.subplots(1, 3, width_ratios=[1.1, 1.2, 1], gridspec_kw=margins)
        self.bars = [GroupBars(ax, path, 0, {"linewidth": 1.4}) for ax, path in zip(axes, self.paths, strict=False)]
        for ax, bars in zip(axes, self.bars, strict=False):
            ax.set_xlabel(f"{ax.get_xlabel()}\nbars: with the switches, line: the paper", fontsize=10.5, color=INK)
            self.slow += bars.slow
            self.quick += bars.quick
        self._draw_dial(axes[2])

    def _draw_dial(self, ax) -> None:
        """The angle between both gradients, lengths made equal: the length is said in words."""
        tidy(ax, "Gradient of the whole step")
        # As many units an inch upwards as sideways: the panel's margins are fixed, so a circle is one.
        box, radius = ax.get_window_extent(), 1.12
        ax.set(
            xlim=(-radius, radius), ylim=(radius - 2 * radius * box.height / box.width, radius), xticks=[], yticks=[]
        )
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.grid(False)
        half = np.linspace(0, np.pi, 90)
        ax.plot(np.cos(half), np.sin(half), color=FAINT, linewidth=1)
        for degrees in range(0, 181, 45):
            x, y = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
            ax.plot([0.95 * x, x], [0.95 * y, y], color=FAINT, linewidth=1)
        arrow: dict[str, Any] = {
            "arrowstyle": "-|>",
            "mutation_scale": 16,
            "shrinkA": 0,
            "shrinkB": 0,
            "linewidth": 2.2,
        }
        ax.add_patch(FancyArrowPatch((0, 0), (1, 0), color=INK, **arrow))
        ax.text(0, -0.62, "black: the paper, blue: with the switches", ha="center", fontsize=9.5, color=INK)
        (self.arc,) = ax.plot([], [], color=INK, linewidth=1)
        self.arrow = ax.add_patch(FancyArrowPatch((0, 0), (1, 0), color=COLOURS["after"], **arrow))
        self.angle = ax.text(0, -0.32, "", ha="center", fontsize=12, color=COLOURS["after"])
        self.quick += [self.arc, self.arrow, self.angle]

    def state_of(self, names: tuple[str, ...], group: int, tau: float) -> tuple:
        paper, found = self.step.shares((), group, tau), self.step.shares(names, group, tau)
        largest = [max([0.0, *a, *b]) for a, b in zip(paper, found, strict=True)]
        tops = tuple(next(top for top in SCALES if 1.04 * x <= top) for x in largest)
        return (group, tops), (paper, found, self.step.compare(names, tau))

    def choose(self, key: tuple[int, tuple[float, ...]]) -> None:
        group, tops = key
        for bars, top in zip(self.bars, tops, strict=True):
            bars.choose(group, top)

    def move(self, state: tuple) -> None:
        paper, found, compared = state
        for bars, line_N, shares_N in zip(self.bars, paper, found, strict=True):
            bars.move(shares_N, line_N)
        angle = np.arccos(np.clip(compared["cosine"], -1, 1))
        self.arrow.set_positions((0, 0), (np.cos(angle), np.sin(angle)))
        part = np.linspace(0, angle, 40)
        self.arc.set_data(0.35 * np.cos(part), 0.35 * np.sin(part))
        self.angle.set_text(f"{np.degrees(angle):.0f}°, length × {compared['length']:.3g}")


def plot_departures(step: Step, group: int, names: tuple[str, ...] = SCRIPTS, tau: float = 1.0) -> Figure:
    """A prompt's weights and the step's gradient with some departures, beside the paper's."""
    figure = DepartureFigure(step)
    return figure.still(*figure.state_of(names, group, tau))


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
