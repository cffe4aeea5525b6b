"""Thin ipywidgets shells over the figures: what is drawn and computed lives in plots.py and explore.py.

A figure is drawn once; on a move only what changes is drawn again over a saved background, and the frame goes as a PNG
into an HTML image. That is several times as quick as a new figure, nothing flickers, and no figure stays open.
"""

import ipywidgets
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.ticker import MaxNLocator

from ..explore import Path, kept_words, mixed_groups, path_title, path_words, paths, weigh
from ..objective import group_weights
from ..plots.weights import ess_axes, ess_points, jitter
from ..rollouts import Rollouts
from ..style import COLOURS, FAINT, INK, canvas_of, new_figure, tidy
from .panel import Panel, quick_png

# A SelectionSlider over these, because the browser rewrites the value of a FloatLogSlider that is set from Python.
TAUS: tuple[float, ...] = (0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
TAUS += (1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0)


class GroupBars:
    """One path's weights of one prompt as `weight_bars` draws them, with artists that are moved, never made again."""

    def __init__(self, ax, path: Path):
        self.ax, self.path = ax, path
        tidy(ax, "", f"rollouts by {path.name}'s perplexity, per token", "weight, share of the path")
        ax.set_ylabel("weight, share of the path" if path.name == "student" else "")
        ax.grid(False)
        ax.set_ylim(0, 1)  # heights are fractions of `top`, so that the axis itself never changes
        ax.set_xticks([])
        ax.set_yticks([])
        ax.xaxis.labelpad = 19
        ax.yaxis.labelpad = 31
        self.grid = LineCollection([], colors=FAINT, linewidths=0.7, transform=ax.transAxes)
        self.bars = PolyCollection([], facecolors=COLOURS[path.verdict], edgecolors="white", transform=ax.transAxes)
        for lines in (self.grid, self.bars):
            ax.add_artist(lines)
        style = {"transform": ax.transAxes, "color": INK, "fontsize": 10}
        self.title = ax.text(0, 1.03, "", **{**style, "fontsize": 11.5})
        self.empty = ax.text(0.5, 0.5, "", ha="center", **style)
        self.x_texts = [ax.text(0, -0.03, "", ha="center", va="top", **style) for _ in range(7)]
        self.y_texts = [ax.text(-0.015, 0, "", ha="right", va="center_baseline", **style) for _ in range(8)]
        dashed = {"color": INK, "linestyle": (0, (4, 3)), "linewidth": 1, "transform": ax.transAxes}
        (self.equal,) = ax.plot([], [], **dashed)
        for artist in (self.grid, self.bars, self.title, self.empty, *self.x_texts, *self.y_texts, self.equal):
            artist.set_animated(True)

    def choose(self, group: int) -> None:
        """Title, ticks and grid of a prompt, drawn now; the scale holds its largest share at the smallest tau."""
        path, rows = self.path, self.path.members(group)
        weights = group_weights(path.nll_B[rows], path.member_B[rows], path.group_B[rows], TAUS[0], path.power)
        self.rows, n = rows, len(rows)
        self.top = min(1.02, 1.08 * float(weights.max())) if n else 1.0
        # Bars are 0.78 wide, from -0.6 to n - 0.4, as on the still figure.
        width = max(n, 2) + 0.2
        left = (np.arange(n) + 0.6 - 0.39) / width
        self.left, self.right = left, left + 0.78 / width
        self.title.set_text(path_title(path, n))
        self.empty.set_text("" if n else "empty: contributes nothing")
        self.equal.set_data([0, 1], [1 / n / self.top] * 2) if n else self.equal.set_data([], [])
        ticks = [y for y in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, self.top) if y <= self.top] if n else []
        self.grid.set_segments([[(0, y / self.top), (1, y / self.top)] for y in ticks])
        shown = np.arange(0, n, max(1, -(-n // 6)))
        ppl = path.nll_B[rows[shown]].exp().tolist()
        for text in (*self.x_texts, *self.y_texts):
            text.set_text("")
        for text, at, value in zip(self.x_texts, (shown + 0.6) / width, ppl, strict=False):
            text.set(x=at, text=f"{value:.2f}" if value < 10 else f"{value:.3g}")
        for text, y in zip(self.y_texts, ticks, strict=False):
            text.set(y=y / self.top, text=f"{y:.3g}")
        for artist in (self.grid, self.title, self.empty, *self.x_texts, *self.y_texts):
            self.ax.draw_artist(artist)

    def draw(self, weights_B: np.ndarray) -> None:
        """Bars of these weights, and over them the line of equal shares."""
        height, base = weights_B[self.rows] / self.top, np.zeros(len(self.rows))
        corners = (self.left, base), (self.right, base), (self.right, height), (self.left, height)
        self.bars.set_verts(list(np.stack([np.stack(corner, -1) for corner in corners], 1)))
        self.ax.draw_artist(self.bars)
        self.ax.draw_artist(self.equal)


class TauFigure:
    """Three panels at a given prompt and tau: weights on both paths, and effective sample size over all groups."""

    def __init__(self, rollouts: Rollouts, dpi: int = 100):
        self.rollouts, self.paths = rollouts, paths(rollouts)
        self.largest = max(int(path.size_P.max()) for path in self.paths)
        self.figure = new_figure(10.4, 3.7)
        self.figure.set_dpi(dpi)
        self.figure.set_layout_engine("none")  # fixed margins: panels stay where they are when the prompt changes
        margins = {"left": 0.062, "right": 0.99, "bottom": 0.145, "top": 0.92, "wspace": 0.2}
        self.axes = self.figure.subplots(1, 3, width_ratios=[1, 1.15, 1.1], gridspec_kw=margins)
        self.group: int | None = None
        self.bars = [GroupBars(ax, path) for ax, path in zip(self.axes, self.paths, strict=False)]
        self._draw_points()
        canvas = canvas_of(self.figure)
        canvas.draw()
        self.blank = canvas.copy_from_bbox(self.figure.bbox)

    def _draw_points(self) -> None:
        ax = self.axes[2]
        ess_axes(ax, self.largest)
        shares = [weigh(path, 1.0) for path in self.paths]
        self.points = [ess_points(ax, path, share) for path, share in zip(self.paths, shares, strict=True)]
        # Rings mark the chosen prompt among all.
        ax.legend(loc="upper left", frameon=False, fontsize=9, handlelength=1.6, borderaxespad=0.1)
        style = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.4}
        (self.rings,) = ax.plot([], [], "o", **style)
        for artist in (*self.points, self.rings):
            artist.set_animated(True)

    def _choose(self, group: int) -> None:
        """Draw all that stays the same while tau moves, and keep it as the background."""
        canvas = canvas_of(self.figure)
        canvas.restore_region(self.blank)
        for bars in self.bars:
            bars.choose(group)
        self.background = canvas.copy_from_bbox(self.figure.bbox)
        self.group = group

    def frame(self, group: int, tau: float, shares) -> bytes:
        """One picture as PNG."""
        if group != self.group:
            self._choose(group)
        canvas = canvas_of(self.figure)
        canvas.restore_region(self.background)
        for bars, share in zip(self.bars, shares, strict=True):
            bars.draw(share.weights_B)
        for points, share in zip(self.points, shares, strict=True):
            points.set_ydata(share.ess_P)
            self.axes[2].draw_artist(points)
        sizes = np.array([share.size_P[group] for share in shares])
        self.rings.set_data(sizes + jitter(group + 1)[group], [share.ess_P[group] for share in shares])
        self.axes[2].draw_artist(self.rings)
        return quick_png(canvas)


class TauExplorer(Panel):
    """Move tau over recorded rollouts: weights of a prompt's group on both paths, effective sample size of all groups.

    rollouts  verified, wrong ones scored by a teacher
    group     index of the prompt to begin with; by default the first of `groups`
    groups    indices of the prompts to choose from; by default forty with several on both paths

    `tau`, `prompt` and `reset` are its controls: set `.value` of the first two from Python, `.click()` the third.
    """

    def __init__(self, rollouts: Rollouts, group: int | None = None, groups: list[int] | None = None):
        groups = groups or mixed_groups(rollouts, 5)[:40] or mixed_groups(rollouts)[:40]
        groups = groups or list(range(min(40, len(rollouts.problems))))
        group = groups[0] if group is None else group
        groups = groups if group in groups else [group, *groups]
        self.rollouts, self.figure = rollouts, TauFigure(rollouts)
        self._start = (group, 1.0)
        narrow = {"description_width": "70px"}
        self.tau = ipywidgets.SelectionSlider(
            options=[(f"{tau:g}", tau) for tau in TAUS],
            value=1.0,
            description="τ (weight)",
            tooltip="τ, the weight temperature: arrow keys move it",
            style=narrow,
            layout=ipywidgets.Layout(width="380px"),
        )
        # A slider, not a menu: JupyterLab keeps the up and down arrows for itself. Its labels count the prompts; which
        # one is chosen stands above the picture.
        self.prompt = ipywidgets.SelectionSlider(
            options=[(f"{i} of {len(groups)}", g) for i, g in enumerate(groups, 1)],
            value=group,
            description="prompt",
            tooltip="whose group of rollouts the bars show: arrow keys move it",
            style=narrow,
            layout=ipywidgets.Layout(width="380px"),
        )
        self.reset = ipywidgets.Button(description="Reset", tooltip="back to τ = 1 and the first prompt")
        self.reset.layout.width = "80px"
        self.reset.on_click(self._back)
        self.tau.observe(self._update, "value")
        self.prompt.observe(self._update, "value")
        # A slider with a single place cannot be shown in a browser.
        choosers = [self.tau, *([self.prompt] if len(groups) > 1 else []), self.reset]
        controls = ipywidgets.HBox(choosers)
        controls.layout.flex_flow = "row wrap"
        super().__init__(controls)
        self._update()

    def _name(self, group: int) -> str:
        student, teacher = self.figure.paths
        prompt = self.rollouts.problems[group].prompt
        prompt = prompt if len(prompt) <= 60 else prompt[:57] + "…"
        return f"prompt {prompt}  {student.size_P[group]} correct, {teacher.size_P[group]} wrong"

    def _back(self, _=None) -> None:
        self.prompt.value, self.tau.value = self._start

    def _update(self, _=None) -> None:
        group, tau = self.prompt.value, self.tau.value
        png, words = self.frames.get((group, tau), lambda: self._draw(group, tau))
        self.show(png, words, heading=self._name(group))

    def _draw(self, group: int, tau: float) -> tuple[bytes, str]:
        shares = [weigh(path, tau) for path in self.figure.paths]
        both = list(zip(self.figure.paths, shares, strict=True))
        chosen = "; ".join(path_words(path, share, group) for path, share in both)
        everyone = "; ".join(kept_words(path, share) for path, share in both)
        words = f"τ = {tau:g}. Prompt {self.rollouts.problems[group].prompt} {chosen}. All groups: {everyone}."
        return self.figure.frame(group, tau, shares), words
