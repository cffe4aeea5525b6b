"""The τ explorer of lesson 03: a group's weights on both paths while τ moves, and what is kept of all groups."""

import ipywidgets
import numpy as np

from ..explore import Shares, group_title, kept_words, mixed_groups, path_words, paths, weigh
from ..plots.bars import GroupBars
from ..plots.moving import MovingFigure
from ..plots.weights import ess_axes, ess_points, jitter
from ..rollouts import Rollouts
from ..style import INK
from .panel import Panel

# A SelectionSlider over these, because the browser rewrites the value of a FloatLogSlider that is set from Python.
TAUS: tuple[float, ...] = (0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
TAUS += (1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0)
EQUAL_SHARE = {"linestyle": (0, (4, 3)), "linewidth": 1}


class TauFigure(MovingFigure):
    """Three panels at a given prompt and tau: weights on both paths, and effective sample size over all groups.

    The key of a frame is the prompt, its state the `Shares` of both paths.
    """

    def __init__(self, rollouts: Rollouts):
        super().__init__(10.4, 3.7)
        self.rollouts, self.paths = rollouts, paths(rollouts)
        # The scale of a prompt's bars holds the largest share at the smallest tau.
        self.largest = [np.nan_to_num(weigh(path, TAUS[0]).largest_P, nan=1.0) for path in self.paths]
        margins = {"left": 0.062, "right": 0.99, "bottom": 0.145, "top": 0.92, "wspace": 0.2}
        self.axes = self.figure.subplots(1, 3, width_ratios=[1, 1.15, 1.1], gridspec_kw=margins)
        self.bars = [GroupBars(ax, path, 6, EQUAL_SHARE) for ax, path in zip(self.axes, self.paths, strict=False)]
        self._draw_points(self.axes[2])
        for bars in self.bars:
            self.slow += bars.slow
            self.quick += bars.quick
        self.quick += [*self.points, self.rings]

    def _draw_points(self, ax) -> None:
        ess_axes(ax, max(int(path.size_P.max()) for path in self.paths))
        self.points = [ess_points(ax, path, weigh(path, 1.0)) for path in self.paths]
        # Rings mark the chosen prompt among all.
        ax.legend(loc="upper left", frameon=False, fontsize=9, handlelength=1.6, borderaxespad=0.1)
        style = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.4}
        (self.rings,) = ax.plot([], [], "o", **style)

    def choose(self, group: int) -> None:
        self.group = group
        for bars, largest_P in zip(self.bars, self.largest, strict=True):
            bars.choose(group, min(1.02, 1.08 * float(largest_P[group])))

    def move(self, shares: list[Shares]) -> None:
        group = self.group
        for bars, path, share in zip(self.bars, self.paths, shares, strict=True):
            weights = share.weights_B[path.members(group)]
            bars.move(weights, np.full(len(weights), 1 / max(len(weights), 1)))
        for points, share in zip(self.points, shares, strict=True):
            points.set_ydata(share.ess_P)
        sizes = np.array([share.size_P[group] for share in shares])
        self.rings.set_data(sizes + jitter(group + 1)[group], [share.ess_P[group] for share in shares])


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

    def _back(self, _=None) -> None:
        with self.one_picture():
            self.prompt.value, self.tau.value = self._start

    def update(self) -> None:
        group, tau = self.prompt.value, self.tau.value
        png, words = self.frames.get((group, tau), lambda: self._draw(group, tau))
        self.show(png, words, heading=group_title(self.rollouts, self.figure.paths, group))

    def _draw(self, group: int, tau: float) -> tuple[bytes, str]:
        shares = [weigh(path, tau) for path in self.figure.paths]
        both = list(zip(self.figure.paths, shares, strict=True))
        chosen = "; ".join(path_words(path, share, group) for path, share in both)
        everyone = "; ".join(kept_words(path, share) for path, share in both)
        words = f"τ = {tau:g}. Prompt {self.rollouts.problems[group].prompt} {chosen}. All groups: {everyone}."
        return self.figure.frame(group, shares), words
