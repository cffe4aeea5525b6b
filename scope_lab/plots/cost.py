"""What a step costs, in seconds and memory; the paper's Table 8 beside recorded stages; how far off the model is."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..cost import PAPER_METHODS, Setup, Work, compared
from ..devices import GIB
from ..estimate import number, size
from ..memory import KEPT_FREE, fits, memory, peak
from ..methods import method_name
from ..paper import TABLE_8
from ..style import COLOURS, FAINT, INK, METHOD_COLOURS, new_figure, tidy
from .bars import TICKS
from .moving import MovingFigure

STAGES = {
    "generation": COLOURS["student"],
    "old log-prob": "#CC79A7",
    "verification": INK,
    "teacher": COLOURS["teacher"],
    "update": "#56B4E9",
}
PARTS = {
    "student weights": COLOURS["student"],
    "reference weights": "#A6761D",
    "bfloat16 copies": "#9FC8E8",
    "optimizer state": "#56B4E9",
    "teacher weights": COLOURS["teacher"],
    "KV cache": "#CC79A7",
    "gradients": "#8E4A9E",
    "activations": "#C9A3D4",
    "logits": INK,
}
# Of vLLM beside the student, and of several devices.
MORE_PARTS = {"vLLM": "#66A61E", "whole weights": "#BFD8A6", "whole gradients": "#5B5B8C"}
MOMENTS = ("generation", "update")
NARROW = 0.022  # of an axis: no letter fits
SCALES = [m * 10.0**e for e in range(-4, 9) for m in (1, 1.5, 2, 3, 4, 5, 6, 8)]
# Of Table 8, in our words: its OPD has one rollout a prompt.
SHOWN = ("grpo", "opd-one", "scope")
PAPER_STAGES = {
    "generation": "generation",
    "old log-prob": "old log-prob",
    "reward": "verification",
    "teacher scoring": "teacher",
    "actor update": "update",
}


def lettered(colours: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Of each part: its letter, in the order of the bars, and the colour to write it in on its own."""
    light = {name: np.dot(to_rgb(colour), (0.3, 0.59, 0.11)) > 0.5 for name, colour in colours.items()}
    return {
        name: (letter, INK if light[name] else "white") for letter, name in zip("abcdefghijkl", colours, strict=False)
    }


class Stack:
    """Rows of stacked bars on an axis from 0 to `top`, all in one collection: drawing one is quicker than ten.

    Each part has a letter as well as a colour; a part too narrow for it goes without.
    """

    def __init__(self, ax, rows: tuple[str, ...], colours: dict[str, str], xlabel: str):
        self.rows, self.colours = rows, colours
        tidy(ax, "", xlabel)
        ax.grid(False)
        ax.set_xlim(0, 1)  # widths are fractions of `top`, so that the axis itself never changes
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_yticks(range(len(rows)), rows)
        ax.set_xticks([])
        ax.xaxis.labelpad = 19
        self.bars = PolyCollection([], edgecolors="white", linewidths=0.6)
        self.grid = LineCollection([], colors=FAINT, linewidths=0.7, zorder=0.5)
        for collection in (self.grid, self.bars):
            ax.add_collection(collection, autolim=False)
        style = {"fontsize": 10, "color": INK}
        below = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "top", **style}
        self.ticks = [ax.text(0, -0.03, "", **below) for _ in range(8)]
        self.totals = [ax.text(0, y, "", va="center", **style) for y in range(len(rows))]
        self.letters = [ax.text(0, 0, "", ha="center", va="center", fontsize=9) for _ in rows for _ in colours]
        self.title = ax.text(0, 1.03, "", transform=ax.transAxes, fontsize=11.5, color=INK)
        self.slow: list[Artist] = [self.grid, self.title, *self.ticks]
        self.quick: list[Artist] = [self.bars, *self.letters, *self.totals]
        self.tags = lettered(colours)
        labels = {name: f"{letter} {name}" for name, (letter, _) in self.tags.items()}
        handles = [PolyCollection([], facecolors=colour, label=labels[name]) for name, colour in colours.items()]
        left = -0.02 if len(colours) < 10 else -0.14  # room for longer names
        place = {"loc": "upper left", "bbox_to_anchor": (left, -0.2), "ncols": 3 if len(colours) > 5 else 4}
        ax.legend(handles=handles, frameon=False, fontsize=9.5, handlelength=1, columnspacing=0.9, **place)

    def choose(self, title: str, top: float) -> None:
        self.title.set_text(title)
        self.top = top
        values = [value for value in TICKS.tick_values(0, top) if value <= 1.001 * top]
        self.grid.set_segments([[(value / top, -0.5), (value / top, len(self.rows) - 0.5)] for value in values])
        for text in self.ticks:
            text.set_text("")
        for text, value in zip(self.ticks, values, strict=False):
            text.set(x=value / top, text=f"{value:,g}")

    def move(self, parts: dict[str, dict[str, float]], totals: dict[str, str], limit: float = np.inf) -> None:
        """Values by row and part, and what is written behind each row, not across the limit; other rows are empty."""
        corners, colours, letters = [], [], iter(self.letters)
        for y, (row, text) in enumerate(zip(self.rows, self.totals, strict=True)):
            end = 0.0
            for part, colour in self.colours.items():
                if value := parts.get(row, {}).get(part, 0.0) / self.top:
                    left, end = end, end + value
                    corners.append([(left, y - 0.32), (end, y - 0.32), (end, y + 0.32), (left, y + 0.32)])
                    colours.append(colour)
                    if value > NARROW:
                        letter, ink = self.tags[part]
                        next(letters).set(x=(left + end) / 2, y=y, text=letter, color=ink)
            beside = limit / self.top if end < limit / self.top < end + 0.15 else end
            text.set(x=beside + 0.012, text=totals.get(row, ""))
        for unused in letters:
            unused.set_text("")
        self.bars.set_verts(corners)
        self.bars.set_facecolor(colours)


class CostFigure(MovingFigure):
    """Seconds of a step by method and stage, and what it holds in memory by moment and part, with the device's limit.

    The key of a frame is the device's name and memory, and both scales' upper ends; its state is (setup, work).

    moments, more  rows of the memory, and parts beside the usual ones
    """

    def __init__(self, moments: tuple[str, ...] = MOMENTS, more: tuple[str, ...] = ()):
        super().__init__(10.4, 3.9)
        self.moments = moments
        margins = {"left": 0.062, "right": 0.985, "bottom": 0.35, "top": 0.92, "wspace": 0.22}
        left, right = self.figure.subplots(1, 2, gridspec_kw=margins)
        stages = {stage: colour for stage, colour in STAGES.items() if stage != "old log-prob"}
        self.seconds = Stack(left, tuple(map(str.upper, PAPER_METHODS)), stages, "seconds")
        parts = PARTS | {part: MORE_PARTS[part] for part in more}
        self.held = Stack(right, moments, parts, "GiB; dashed: what may be used")
        (self.limit,) = right.plot([], [], color=INK, linewidth=1.6, linestyle=(0, (4, 2)))
        self.slow += [*self.seconds.slow, *self.held.slow]
        self.quick += [*self.seconds.quick, self.limit, *self.held.quick]

    def state_of(self, setup: Setup, work: Work) -> tuple:
        longest = max(seconds["total"] for seconds in compared(setup, work).values())
        fullest, there = peak(memory(setup, work))[1], setup.device.memory
        # The line of a device with far more memory would leave no room to see the bars: it then stands outside.
        shown = fullest if there > 6 * fullest else max(fullest, there)
        tops = tuple(next(top for top in SCALES if value <= 0.84 * top) for value in (longest, shown / GIB))
        return (f"{setup.device.name} has {size(there)}", *tops), (setup, work)

    def choose(self, key: tuple[str, float, float]) -> None:
        device, seconds, held = key
        self.seconds.choose("One step, by stage", seconds)
        self.held.choose(f"SCOPE's memory, by part; {device}", held)

    def move(self, state: tuple[Setup, Work]) -> None:
        setup, work = state
        seconds = {name.upper(): found for name, found in compared(setup, work).items()}
        totals = {name: f"{number(found['total'])} s" for name, found in seconds.items()}
        self.seconds.move(seconds, totals)
        parts = memory(setup, work)
        sizes = {moment: {part: held / GIB for part, held in found.items()} for moment, found in parts.items()}
        limit = (1 - KEPT_FREE) * setup.device.memory / GIB
        self.held.move(sizes, {moment: size(sum(found.values())) for moment, found in parts.items()}, limit)
        at = limit / self.held.top
        self.limit.set_data([at, at] if at <= 1 else [], [-0.5, len(self.moments) - 0.5] if at <= 1 else [])


def plot_cost(setup: Setup, work: Work) -> Figure:
    """Seconds and memory of one step."""
    held = memory(setup, work)
    more = tuple(part for part in MORE_PARTS if any(part in parts for parts in held.values()))
    figure = CostFigure(tuple(held), more)
    return figure.still(*figure.state_of(setup, work))


def words_cost(setup: Setup, work: Work) -> str:
    """The same in words, with every number that decides."""
    seconds, parts = compared(setup, work), memory(setup, work)
    moment, fullest = peak(parts)
    most = max(parts[moment], key=lambda part: parts[moment][part])
    said = []
    for name, found in seconds.items():
        stages = ", ".join(f"{stage} {number(s)}" for stage, s in found.items() if stage != "total" and s)
        said.append(f"{name.upper()} {number(found['total'])} s a step ({stages})")
    verdict = "fits" if fits(setup, work) else "does not fit"
    teacher = f" taught by {setup.teacher.name}" if setup.teacher else ""
    return (
        f"{setup.student.name}{teacher} on {setup.device.name}: {'; '.join(said)}. Fullest in {moment}: "
        f"{size(fullest)} of {size(setup.device.memory)}, the largest part {most}: {verdict}."
    )


def alt_cost(setup: Setup, work: Work) -> str:
    return f"Stacked bars of seconds and memory. {words_cost(setup, work)}"


def paper_stages() -> pd.DataFrame:
    """Table 8 in our words: a row for each of SHOWN, a column a stage, seconds."""
    return pd.DataFrame({ours: dict(zip(SHOWN, TABLE_8[theirs], strict=True)) for theirs, ours in PAPER_STAGES.items()})


def both_tables(measured: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Whose they are: the stages of SHOWN, in the order of the bars."""
    tables = {"The paper, Table 8": paper_stages(), "Here, on one core": measured}
    return {who: table.loc[list(SHOWN), [s for s in STAGES if s in table]] for who, table in tables.items()}


def plot_table_8(measured: pd.DataFrame) -> Figure:
    """Stages of a step as parts of GRPO's step: the paper's, and measured ones (`cost_check.bench_stages`)."""
    figure = new_figure(10.0, 3.3)
    axes = figure.subplots(1, 2, sharex=True)
    letters = lettered(STAGES)
    for ax, (who, table) in zip(axes, both_tables(measured).items(), strict=True):
        grpo = table.loc["grpo"].sum()
        left = np.zeros(len(table))
        for stage in map(str, table.columns):
            width = (table[stage] / grpo).to_numpy()
            letter, ink = letters[stage]
            bars = ax.barh(range(len(table)), width, 0.64, left, color=STAGES[stage], edgecolor="white", linewidth=0.6)
            ax.bar_label(bars, [letter if x > 0.07 else "" for x in width], label_type="center", fontsize=9, color=ink)
            left += width
        tidy(ax, who, "step, GRPO's = 1")
        ax.set_yticks(range(len(table)), map(method_name, table.index))
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.grid(axis="x", color="#E5E5E5", linewidth=0.7)
        for y, (end, seconds) in enumerate(zip(left, table.sum(axis=1), strict=True)):
            ax.annotate(f"{number(seconds)} s", (end, y), (5, 0), textcoords="offset points", va="center", fontsize=10)
        ax.set_xlim(0, max(ax.get_xlim()[1], 1.17 * left.max()))
    handles = [Patch(color=colour, label=f"{letters[stage][0]} {stage}") for stage, colour in STAGES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=10)
    return figure


def alt_table_8(measured: pd.DataFrame) -> str:
    said = []
    for who, table in both_tables(measured).items():
        total = table.sum(axis=1)
        times, share = total / total["grpo"], table.loc["scope", "teacher"] / total["scope"]
        said.append(
            f"{who}: GRPO {number(total['grpo'])} s, OPD with G = 1 {times['opd-one']:.2f} times that, SCOPE "
            f"{times['scope']:.2f} times, of which the teacher takes {share:.0%}"
        )
    return f"Stacked bars of a step's stages. {'. '.join(said)}."


def plot_ratios(predicted: pd.DataFrame, measured: pd.DataFrame) -> Figure:
    """Predicted over measured seconds, a row a stage and a mark a method, on a logarithmic axis."""
    figure = new_figure(9.0, 2.9)
    ax = figure.subplots()
    stages = ["generation", "teacher", "update", "total"]
    marks = dict(zip(map(str, predicted.index), "oP^sDvX", strict=False))
    for method, mark in marks.items():
        ratios = (predicted.loc[method, stages] / measured.loc[method, stages]).to_numpy()
        taken = ratios > 0  # GRPO has no teacher
        colour = METHOD_COLOURS.get(method, INK)
        ax.plot(ratios[taken], np.flatnonzero(taken), mark, color=colour, markersize=8, alpha=0.8, label=method.upper())
    ax.axvline(1, color=INK, linewidth=1)
    tidy(ax, "", "predicted seconds over measured ones")
    ax.set_xscale("log", base=2)
    ax.set_xlim(0.1, 5)
    ticks = [0.125, 0.25, 0.5, 1, 2, 4]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_yticks(range(len(stages)), stages)
    ax.set_ylim(len(stages) - 0.5, -0.5)
    ax.legend(frameon=False, fontsize=10, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def alt_ratios(predicted: pd.DataFrame, measured: pd.DataFrame) -> str:
    said = []
    for stage in ("generation", "teacher", "update", "total"):
        used = predicted[stage] > 0
        ratio = predicted[stage][used] / measured[stage][used]
        said.append(f"{stage} {ratio.min():.2f} to {ratio.max():.2f}")
    return f"Predicted over measured seconds, over {len(predicted)} methods: {', '.join(said)}."
