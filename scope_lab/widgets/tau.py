"""Thin ipywidgets shells over the figures: what is drawn and computed lives in plots.py and explore.py.

A figure is drawn once; on a move only what changes is drawn again over a saved background, and the frame goes as a PNG
into an HTML image. That is several times as quick as a new figure, nothing flickers, and no figure stays open.
"""

import io

import ipywidgets
import numpy as np
from PIL import Image

from ..explore import kept_words, mixed_groups, path_words, paths, weigh
from ..plots.weights import ess_axes, ess_points, jitter, weight_bars
from ..rollouts import Rollouts
from ..style import INK, canvas_of, new_figure
from .panel import Panel

# A SelectionSlider over these, because the browser rewrites the value of a FloatLogSlider that is set from Python.
TAUS: tuple[float, ...] = (0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
TAUS += (1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0)


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
        self._draw_points()

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
        smallest = [weigh(path, TAUS[0]) for path in self.paths]
        self.bars = []
        for ax, path, shares in zip(self.axes, self.paths, smallest, strict=False):
            ax.clear()
            bars = weight_bars(ax, path, shares, group, ylabel=path.name == "student")
            ax.set_ylim(0, min(1.02, 1.08 * np.nan_to_num(shares.largest_P[group], nan=1.0)))
            self.bars.append(bars)
            for artist in (*bars, *ax.lines):  # the line of equal shares is drawn over the bars
                artist.set_animated(True)
        self.rows = [path.members(group) for path in self.paths]
        canvas = canvas_of(self.figure)
        if self.group is None:  # the third panel is drawn once
            for ax in self.axes[:2]:
                ax.set_visible(False)
            canvas.draw()
            self.blank = canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self.blank)
        for ax in self.axes[:2]:
            ax.set_visible(True)
            self.figure.draw_artist(ax)
        self.background = canvas.copy_from_bbox(self.figure.bbox)
        self.group = group

    def frame(self, group: int, tau: float, shares) -> bytes:
        """One picture as PNG."""
        if group != self.group:
            self._choose(group)
        canvas = canvas_of(self.figure)
        canvas.restore_region(self.background)
        for ax, bars, rows, share in zip(self.axes, self.bars, self.rows, shares, strict=False):
            for bar, weight in zip(bars, share.weights_B[rows], strict=True):
                bar.set_height(weight)
                ax.draw_artist(bar)
            for line in ax.lines:
                ax.draw_artist(line)
        for points, share in zip(self.points, shares, strict=True):
            points.set_ydata(share.ess_P)
            self.axes[2].draw_artist(points)
        sizes = np.array([share.size_P[group] for share in shares])
        self.rings.set_data(sizes + jitter(group + 1)[group], [share.ess_P[group] for share in shares])
        self.axes[2].draw_artist(self.rings)
        file = io.BytesIO()
        Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(file, "PNG", compress_level=1)
        return file.getvalue()


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
        self.prompt = ipywidgets.Dropdown(
            options=[(self._name(g), g) for g in groups],
            value=group,
            description="prompt",
            tooltip="whose group of rollouts the bars show",
            style=narrow,
            layout=ipywidgets.Layout(width="320px"),
        )
        self.reset = ipywidgets.Button(description="Reset", tooltip="back to τ = 1 and the first prompt")
        self.reset.layout.width = "80px"
        self.reset.on_click(self._back)
        self.tau.observe(self._update, "value")
        self.prompt.observe(self._update, "value")
        controls = ipywidgets.HBox([self.tau, self.prompt, self.reset])
        controls.layout.flex_flow = "row wrap"
        super().__init__(controls)
        self._update()

    def _name(self, group: int) -> str:
        student, teacher = self.figure.paths
        prompt = self.rollouts.problems[group].prompt
        prompt = prompt if len(prompt) <= 40 else prompt[:37] + "…"
        return f"{prompt}  {student.size_P[group]} correct, {teacher.size_P[group]} wrong"

    def _back(self, _=None) -> None:
        self.prompt.value, self.tau.value = self._start

    def _update(self, _=None) -> None:
        group, tau = self.prompt.value, self.tau.value
        png, words = self.frames.get((group, tau), lambda: self._draw(group, tau))
        self.show(png, words)

    def _draw(self, group: int, tau: float) -> tuple[bytes, str]:
        shares = [weigh(path, tau) for path in self.figure.paths]
        both = list(zip(self.figure.paths, shares, strict=True))
        chosen = "; ".join(path_words(path, share, group) for path, share in both)
        everyone = "; ".join(kept_words(path, share) for path, share in both)
        words = f"τ = {tau:g}. Prompt {self.rollouts.problems[group].prompt} {chosen}. All groups: {everyone}."
        return self.figure.frame(group, tau, shares), words
