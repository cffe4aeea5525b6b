"""Figures of verifiers: their two error rates, and what errors do to a step."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ..explore import percent
from ..style import COLOURS, FAINT, INK, new_figure, percent_axis, tidy
from ..verdict_noise import RATES, NoisyVerdicts, noise_words
from .moving import MovingFigure

MAP = LinearSegmentedColormap.from_list("cosine", ["#F2F2F2", COLOURS["after"]])


def plot_error_rates(table: pd.DataFrame) -> Figure:
    """False negatives and false positives of verifiers, `labelled.error_table`: a row each."""
    figure = new_figure(8.4, 0.9 + 0.55 * len(table))
    figure.set_layout_engine("constrained", wspace=0.1)  # the left axis' 100 % and the right one's 0 % keep apart
    y = np.arange(len(table))
    for ax, (name, colour) in zip(
        figure.subplots(1, 2, sharey=True),
        (("false negatives", COLOURS["correct"]), ("false positives", COLOURS["wrong"])),
        strict=True,
    ):
        ax.barh(y, table[name], color=colour, height=0.6)
        for place, rate in zip(y, table[name], strict=True):
            ax.text(rate + 0.015, place, percent(rate), va="center", fontsize=10, color=INK)
        of = "right responses refused" if name == "false negatives" else "wrong responses accepted"
        tidy(ax, name[0].upper() + name[1:], f"share of {of}")
        ax.grid(axis="y", visible=False)
        ax.set_xlim(0, 1)
        percent_axis(ax.xaxis)
    figure.axes[0].set_yticks(y, list(table.index))
    figure.axes[0].invert_yaxis()
    return figure


def alt_error_rates(table: pd.DataFrame) -> str:
    said = [
        f"{name} {percent(row['false negatives'])} and {percent(row['false positives'])}"
        for name, row in table.iterrows()
    ]
    return f"False negatives and false positives of {len(table)} verifiers: {'; '.join(said)}."


class NoiseFigure(MovingFigure):
    """What of each path is there by mistake, by number and by weight; and a map of the step's cosine over both rates.

    The state is a pair (false negatives, false positives) of RATES; nothing of the background follows it.
    """

    def __init__(self, noise: NoisyVerdicts):
        super().__init__(10.4, 3.6)
        self.noise = noise
        margins = {"left": 0.17, "right": 0.98, "bottom": 0.17, "top": 0.9, "wspace": 0.42}
        shares, cosines = self.figure.subplots(1, 2, width_ratios=[1.25, 1], gridspec_kw=margins)
        self._draw_shares(shares)
        self._draw_map(cosines)
        self.quick: list[Artist] = [*self.bars, *self.texts, self.mark]

    def _draw_shares(self, ax) -> None:
        tidy(ax, "On the wrong path", "share of the path")
        rows = [
            "student path\nwrong rollouts", "their weight", "teacher path\ncorrect rollouts", "their weight",
        ]  # fmt: skip
        y = np.array([0.0, 0.8, 2.1, 2.9])
        colours = [FAINT, COLOURS["wrong"], FAINT, COLOURS["correct"]]
        self.bars = list(ax.barh(y, np.zeros(4), height=0.7, color=colours, edgecolor=INK, linewidth=0.6))
        self.texts = [ax.text(0, at, "", va="center", fontsize=10, color=INK) for at in y]
        ax.set_yticks(y, rows)
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set_xlim(0, 1.02)
        percent_axis(ax.xaxis)

    def _draw_map(self, ax) -> None:
        cosines = self.noise.cosines()
        ax.imshow(cosines, cmap=MAP, vmin=min(0.0, cosines.min()), vmax=1, aspect="auto", origin="lower")
        for i, row in enumerate(cosines):
            for j, value in enumerate(row):
                ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8.5, color="w" if value > 0.6 else INK)
        tidy(ax, "Cosine of the step to the true one", "false positives", "false negatives")
        ax.grid(False)
        names = [f"{100 * rate:g} %" for rate in RATES]
        ax.set_xticks(range(len(RATES)), names)
        ax.set_yticks(range(len(RATES)), names)
        (self.mark,) = ax.plot([0], [0], marker="s", markersize=24, fillstyle="none", color=INK, markeredgewidth=2)

    def choose(self, key) -> None:
        pass

    def move(self, state: tuple[float, float]) -> None:
        found = self.noise.at(*state)
        names = ("student share", "student weight", "teacher share", "teacher weight")
        for bar, text, name in zip(self.bars, self.texts, names, strict=True):
            bar.set_width(found[name])
            text.set(x=min(found[name] + 0.015, 0.9), text=percent(found[name]))
        self.mark.set_data([RATES.index(state[1])], [RATES.index(state[0])])


def plot_noise(noise: NoisyVerdicts, negatives: float, positives: float) -> Figure:
    """A step whose verifier errs at these rates."""
    return NoiseFigure(noise).still("", (negatives, positives))


def alt_noise(noise: NoisyVerdicts, negatives: float, positives: float) -> str:
    return f"What of each path is there by mistake, and a map of cosines. {noise_words(noise, negatives, positives)}"
