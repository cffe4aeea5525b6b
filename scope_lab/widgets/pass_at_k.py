"""The Pass@k explorer: methods, k and difficulty in; curves, paired differences and the same in words out."""

import ipywidgets
import numpy as np

from ..diversity import band_words, difficulty_bands, pass_curve, solution_counts
from ..evaluation import Evaluation, powers_of_two
from ..explore import percent
from ..plots.diversity import draw_curve, looks, pass_axes
from ..plots.moving import MovingFigure
from ..style import INK, tidy
from .panel import Panel


class PassAtKFigure(MovingFigure):
    """Curves on the left; on the right, at one k, each method's paired difference to the baseline.

    The key of a frame is the chosen methods, counted from 0, and the band of difficulty; its state is k.
    """

    def __init__(self, evaluations: list[Evaluation]):
        super().__init__(10.4, 3.9)
        before = evaluations[0]
        self.looks, self.ks = looks(evaluations), powers_of_two(before.n_samples)
        bands = difficulty_bands(solution_counts(before))
        self.size = {name: int(mask.sum()) for name, mask in bands.items() if mask.any()}
        self.curves = {
            name: [pass_curve(before, mask=bands[name]), *(pass_curve(e, before, bands[name]) for e in evaluations[1:])]
            for name in self.size
        }
        margins = {"left": 0.072, "right": 0.985, "bottom": 0.14, "top": 0.92, "wspace": 0.33}
        left, right = self.figure.subplots(1, 2, width_ratios=[1.25, 1], gridspec_kw=margins)
        self._draw_left(left)
        self._draw_right(right)

    def _draw_left(self, ax) -> None:
        pass_axes(ax, self.ks)
        self.artists = {
            name: [draw_curve(ax, curve, look) for curve, look in zip(curves, self.looks, strict=True)]
            for name, curves in self.curves.items()
        }
        self.title = ax.set_title("", loc="left", fontsize=11.5, color=INK)
        pairs = [pair for pairs in self.artists.values() for pair in pairs]
        # All bands below all lines.
        self.slow += [self.title, *(interval for interval, _ in pairs), *(line for _, line in pairs)]
        self.at_k = ax.axvline(self.ks[0], color=INK, linewidth=1, linestyle=(0, (1, 2)))
        self.quick.append(self.at_k)

    def _draw_right(self, ax) -> None:
        tidy(ax, "", "difference to before training, points")
        ends = np.concatenate([c.difference_interval_K2 for curves in self.curves.values() for c in curves[1:]])
        ax.set_xlim(100 * min(0, ends.min()) - 3, 100 * max(0, ends.max()) + 3)
        ax.set_ylim(len(self.looks) - 0.5, -0.5)
        ax.set_yticks(range(len(self.looks)), [name for name, *_ in self.looks])  # names colours of both panels
        ax.axvline(0, color=INK, linewidth=1)
        ax.plot([0], [0], self.looks[0][2], color=self.looks[0][1], markersize=8)
        ax.grid(axis="y", visible=False)
        ax.grid(axis="x", color="#E5E5E5", linewidth=0.7)
        self.heading = ax.set_title("", loc="left", fontsize=11.5, color=INK)
        self.quick.append(self.heading)
        self.gains = []
        for row, (_, colour, marker) in enumerate(self.looks[1:], start=1):
            (bar,) = ax.plot([0, 0], [row, row], color=colour, linewidth=2.6, solid_capstyle="butt")
            (point,) = ax.plot([0], [row], marker, color=colour, markersize=8)
            self.gains.append((bar, point))
            self.quick += [bar, point]

    def choose(self, key: tuple[tuple[int, ...], str]) -> None:
        self.chosen, self.band = key
        self.title.set_text(band_words(self.band, self.size[self.band]))
        shown = {0, *(i + 1 for i in self.chosen)}
        for band, pairs in self.artists.items():
            for row, pair in enumerate(pairs):
                for artist in pair:
                    artist.set_visible(band == self.band and row in shown)
        for i, pair in enumerate(self.gains):
            for artist in pair:
                artist.set_visible(i in self.chosen)

    def move(self, k: int) -> None:
        at = self.ks.index(k)
        self.heading.set_text(f"Pass@{k} against before training")
        self.at_k.set_xdata([k, k])
        for i in self.chosen:
            curve, (bar, point) = self.curves[self.band][i + 1], self.gains[i]
            bar.set_xdata(100 * curve.difference_interval_K2[at])
            point.set_xdata([100 * curve.difference_K[at]])

    def words(self, chosen: tuple[int, ...], k: int, band: str) -> str:
        """The same state in words, with every number that the picture holds at this k."""
        at, curves = self.ks.index(k), self.curves[band]
        low, high = (percent(x) for x in curves[0].interval_K2[at])
        parts = [f"before training {percent(curves[0].mean_K[at])} (95 % interval {low} to {high})"]
        for i in chosen:
            curve = curves[i + 1]
            points = [curve.difference_K[at], *curve.difference_interval_K2[at]]
            gain, low, high = (f"{100 * x:+.1f}" for x in points)
            parts.append(
                f"{self.looks[i + 1][0]} {percent(curve.mean_K[at])} ({gain} points, 95 % interval {low} to {high})"
            )
        return f"k = {k}. {band_words(band, self.size[band])}. Pass@{k}: {'; '.join(parts)}."


class PassAtKExplorer(Panel):
    """Choose methods, k and difficulty; see Pass@k curves, and at k each method's paired difference to the baseline.

    evaluations  of one set of Countdown problems; the first is the baseline

    `methods` (check boxes), `k`, `difficulty` and `reset` are its controls: set `.value` of the first three from
    Python, `.click()` the fourth.
    """

    def __init__(self, evaluations: list[Evaluation]):
        if len(evaluations) < 2:
            raise ValueError(f"evaluations: found {len(evaluations)}, accepted a baseline and one method or more")
        self.figure = PassAtKFigure(evaluations)
        narrow = {"description_width": "70px"}
        self.methods = [
            ipywidgets.Checkbox(value=True, description=name, indent=False, tooltip=f"show {name}")
            for name, *_ in self.figure.looks[1:]
        ]
        self.k = ipywidgets.SelectionSlider(
            options=[(str(k), k) for k in self.figure.ks],
            description="k",
            tooltip="samples a problem: arrow keys move it",
            style=narrow,
            layout=ipywidgets.Layout(width="290px"),
        )
        # Buttons, not a menu: JupyterLab keeps the up and down arrows for itself.
        self.difficulty = ipywidgets.ToggleButtons(
            options=list(self.figure.size),
            tooltips=[band_words(name, n) for name, n in self.figure.size.items()],
            tooltip="which problems, by their number of solutions",
            style={"button_width": "80px"},
        )
        self.reset = ipywidgets.Button(description="Reset", tooltip="back to all methods, k = 1, all problems")
        self.reset.layout.width = "80px"
        self.reset.on_click(self._back)
        for box in self.methods:
            box.layout.width = "90px"
        for control in (*self.methods, self.k, self.difficulty):
            control.observe(self._update, "value")
        problems, methods = (ipywidgets.Label(name, layout={"width": "74px"}) for name in ("problems", "methods"))
        rows = [self.k, self.reset], [problems, self.difficulty], [methods, *self.methods]
        boxes = [ipywidgets.HBox(row, layout={"flex_flow": "row wrap"}) for row in rows]
        super().__init__(ipywidgets.VBox(boxes))
        self._update()

    def _back(self, _=None) -> None:
        with self.one_picture():
            self.k.value, self.difficulty.value = self.figure.ks[0], "all"
            for box in self.methods:
                box.value = True

    def update(self) -> None:
        chosen = tuple(i for i, box in enumerate(self.methods) if box.value)
        k, band = self.k.value, self.difficulty.value
        frame = self.frames.get(
            (chosen, k, band),
            lambda: (self.figure.frame((chosen, band), k), self.figure.words(chosen, k, band)),
        )
        self.show(*frame)
