"""One prompt's weights on one path as bars that can be moved: the common part of two moving figures."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.ticker import MaxNLocator

from ..explore import Path, path_title
from ..style import COLOURS, FAINT, INK, tidy

TICKS = MaxNLocator(5, steps=[1, 2, 5, 10])


class GroupBars:
    """Weights from low to high perplexity as `weight_bars` draws them, with artists that are moved, never made again.

    numbers   how many perplexities are written below the bars
    line      look of the line that the bars are compared with

    `slow` follow the prompt and the scale, `quick` the weights: see `MovingFigure`.
    """

    def __init__(self, ax, path: Path, numbers: int, line: dict):
        self.path = path
        tidy(ax, path_title(path), f"rollouts by {path.name}'s perplexity, per token")
        ax.set_ylabel("weight, share of the path" if path.name == "student" else "", fontsize=10.5, color=INK)
        ax.grid(False)
        ax.set_ylim(0, 1)  # heights are fractions of `top`, so that the axis itself never changes
        ax.set_xticks([])
        ax.set_yticks([])
        ax.xaxis.labelpad = 19 if numbers else 4
        ax.yaxis.labelpad = 31
        whole = {"transform": ax.transAxes}
        self.grid = LineCollection([], colors=FAINT, linewidths=0.7, zorder=0.5, **whole)
        self.bars = PolyCollection([], facecolors=COLOURS[path.verdict], edgecolors="white", **whole)
        for collection in (self.grid, self.bars):
            ax.add_artist(collection)
        style = {"color": INK, "fontsize": 10, **whole}
        self.empty = ax.text(0.5, 0.5, "", ha="center", **style)
        self.x_texts = [ax.text(0, -0.03, "", ha="center", va="top", **style) for _ in range(numbers)]
        self.y_texts = [ax.text(-0.015, 0, "", ha="right", va="center_baseline", **style) for _ in range(8)]
        (self.line,) = ax.plot([], [], color=INK, **line, **whole)
        self.slow: list[Artist] = [self.grid, self.empty, *self.x_texts, *self.y_texts]
        self.quick: list[Artist] = [self.bars, self.line]

    def choose(self, group: int, top: float) -> None:
        """The prompt, and the share at the upper end of the scale."""
        rows, self.top = self.path.members(group), top
        n = len(rows)
        # Bars are 0.78 wide, from -0.6 to n - 0.4, as on the still figure.
        width = max(n, 2) + 0.2
        left = (np.arange(n) + 0.6 - 0.39) / width
        self.left, self.right = left, left + 0.78 / width
        self.edges = np.array([0.0, *(np.arange(1, n) + 0.1) / width, 1.0])
        self.empty.set_text("" if n else "empty: contributes nothing")
        ticks = [y for y in TICKS.tick_values(0, top) if y <= 1.001 * top] if n else []
        self.grid.set_segments([[(0, y / top), (1, y / top)] for y in ticks])
        for text in (*self.x_texts, *self.y_texts):
            text.set_text("")
        if self.x_texts:
            shown = np.arange(0, n, max(1, -(-n // len(self.x_texts))))
            ppl = self.path.nll_B[rows[shown]].exp().tolist()
            for text, at, value in zip(self.x_texts, (shown + 0.6) / width, ppl, strict=False):
                text.set(x=at, text=f"{value:.2f}" if value < 10 else f"{value:.3g}")
        for text, y in zip(self.y_texts, ticks, strict=False):
            text.set(y=y / top, text=f"{y:.3g}")

    def move(self, shares_N: np.ndarray, line_N: np.ndarray) -> None:
        """Bars and line at these shares of the path's weight, an entry a rollout of the prompt."""
        height, base = shares_N / self.top, np.zeros(len(shares_N))
        corners = (self.left, base), (self.right, base), (self.right, height), (self.left, height)
        self.bars.set_verts(list(np.stack([np.stack(corner, -1) for corner in corners], 1)))
        steps = np.repeat(self.edges, 2)[1:-1] if len(line_N) else np.array([])
        self.line.set_data(steps, np.repeat(line_N, 2) / self.top)
