"""Figures of routing: kinds of groups, and what each method pushes on every token of a rollout."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..explore import brief, percent
from ..explore_routing import KINDS, Recording, group_kinds, kind_shares, pushes
from ..rollouts import Rollouts
from ..style import ADVANTAGE, COLOURS, INK, new_figure, percent_axis, tidy

METHODS = ("opd", "grpo", "psr", "scope")
# Colours stay the same from rollout to rollout: log-probs fade out at 3 nats, pushes are full at half a unit.
SURPRISE, RATIO, PUSH = 3.0, 3.0, 0.5
POINTS_ACROSS = 600  # for a rollout's columns; a letter of a monospaced font is 0.6 of its size wide
KIND_COLOURS = {"all wrong": COLOURS["wrong"], "mixed": "#B8B8B8", "all correct": COLOURS["correct"]}
KIND_HATCHES = {"all wrong": "//", "mixed": "", "all correct": ".."}


@dataclass(frozen=True)
class TokenRow:
    """One number a token, and how it is coloured. `name` is short, `label` says what it is, with its unit."""

    name: str
    label: str
    values: np.ndarray
    colormap: Colormap
    low: float
    high: float

    def colours(self) -> np.ndarray:
        """Of each token the colour, (T, 4), in 0..1; white where there is no number."""
        return self.colormap(np.clip((np.nan_to_num(self.values) - self.low) / (self.high - self.low), 0, 1))


def _shades(colour: str) -> LinearSegmentedColormap:
    """From the colour, for a surprise, to white, for a certainty."""
    return LinearSegmentedColormap.from_list(colour, [colour, "#FFFFFF"])


def token_rows(recording: Recording, row: int, pushed: dict[str, np.ndarray]) -> dict[str, TokenRow]:
    """What there is to see of a rollout's tokens, by name: both models' log-probs, their difference, every method."""
    rollouts, n = recording.rollouts, int(recording.rollouts.length_B[row])
    student = rollouts.student_logp_BT[row, :n].numpy()
    teacher = rollouts.teacher_logp_BT[row, :n].numpy()
    rows = [
        TokenRow("student", "student's log-prob, nats", student, _shades(COLOURS["student"]), -SURPRISE, 0),
        TokenRow("teacher", "teacher's log-prob, nats", teacher, _shades(COLOURS["teacher"]), -SURPRISE, 0),
        TokenRow("difference", "teacher − student, nats", teacher - student, ADVANTAGE, -RATIO, RATIO),
    ]
    rows += [
        TokenRow(name, f"{name.upper()} pushes", values[row, :n], ADVANTAGE, -PUSH, PUSH)
        for name, values in pushed.items()
    ]
    return {row.name: row for row in rows}


def short(value: float) -> str:
    """A number for a small cell: "+0.12", "−2.3", "0" for what is nothing; "" where there is none."""
    if np.isnan(value):
        return ""
    if abs(value) < 0.005:
        return "0"
    return (f"{value:+.2f}" if abs(value) < 9.95 else f"{value:+.0f}").replace("-", "−")


def token_label(text: str) -> str:
    """A token as it can be seen: ↵ for a line's end, ␣ for nothing but blanks."""
    return text.replace("\n", "↵") if text.strip(" ") else "␣"


def ink_on(colour: np.ndarray) -> str:
    """Black or white, whichever is read better on a colour."""
    return INK if colour[:3] @ np.array([0.299, 0.587, 0.114]) > 0.5 else "white"


def all_pushes(rollouts: Rollouts, tau: float = 1.0, methods: Sequence[str] = METHODS) -> dict[str, np.ndarray]:
    return {method: pushes(rollouts, method, tau).numpy() for method in methods}


def plot_pushes(recording: Recording, row: int, tau: float = 1.0) -> Figure:
    """One rollout, a column a token: both models' log-probs, their difference, and each method's advantages."""
    rollouts = recording.rollouts
    rows = list(token_rows(recording, row, all_pushes(rollouts, tau)).values())
    n = len(rows[0].values)
    figure = new_figure(10.4, 0.36 * len(rows) + 0.85)
    ax = figure.subplots()
    y = np.array([0.0, 1, 2] + [i + 0.35 for i in range(3, len(rows))])
    size = min(8.0, 200 / n)
    for at, of in zip(y, rows, strict=True):
        colours = of.colours()
        ax.imshow(colours[None], extent=(-0.5, n - 0.5, at + 0.46, at - 0.46), aspect="auto")
        for t, value in enumerate(of.values):
            text = short(value)
            ax.text(t, at, text, ha="center", va="center", fontsize=size, color=ink_on(colours[t]))
    ax.set_xlim(-0.5, n - 0.5)
    ax.set_ylim(y[-1] + 0.5, -0.5)
    ax.set_yticks(y, [of.label for of in rows])
    ax.xaxis.tick_top()
    texts, points = [token_label(text).strip() for text in recording.tokens[row]], min(12, 300 / n)
    ax.set_xticks(range(n), texts, family="monospace")
    ax.tick_params(length=0, labelsize=9.5, colors=INK)
    too_wide = 0.6 * points * max(map(len, texts)) > POINTS_ACROSS / n
    ax.tick_params(axis="x", labelsize=points, labelrotation=60 if too_wide else 0)
    ax.spines[:].set_visible(False)
    prompt = brief(rollouts.problems[int(rollouts.group_B[row])].prompt)
    title = f"Prompt {prompt}   {rollouts.verdicts[row]} response, a column a token   τ = {tau:g}"
    figure.suptitle(title, fontsize=11.5, x=0.01, ha="left", color=INK)
    return figure


def alt_pushes(recording: Recording, row: int, tau: float = 1.0) -> str:
    return rollout_words(recording, row, all_pushes(recording.rollouts, tau))


def rollout_words(recording: Recording, row: int, pushed: dict[str, np.ndarray]) -> str:
    """One rollout in words: verdict, path, perplexities, and what each method does to its tokens."""
    rollouts, n = recording.rollouts, int(recording.rollouts.length_B[row])
    group = int(rollouts.group_B[row])
    rows = np.flatnonzero(rollouts.group_B.numpy() == group)
    verdict = rollouts.verdicts[row]
    path = {"correct": "student path", "incorrect": "teacher path"}.get(verdict, "neither path")
    student, teacher = (float(nll_B[row].exp()) for nll_B in (rollouts.student_nll_B, rollouts.teacher_nll_B))
    asked = "not asked" if np.isnan(teacher) else f"{teacher:.2f}"
    parts = [_push_words(name, values[row, :n], recording.tokens[row]) for name, values in pushed.items()]
    return (
        f"Prompt {rollouts.problems[group].prompt} rollout {int(np.searchsorted(rows, row)) + 1} of {len(rows)}: "
        f"{rollouts.responses[row]} is {verdict}, {path}. Perplexity per token: student's {student:.2f}, "
        f"teacher's {asked}. {'; '.join(parts)}."
    )


def _push_words(name: str, values: np.ndarray, tokens: list[str]) -> str:
    if np.isnan(values).any():
        return f"{name.upper()} needs the teacher, who was not asked"
    if not np.abs(values).max() > 0:
        return f"{name.upper()} pushes nothing"
    if np.ptp(values) < 1e-9:
        return f"{name.upper()} pushes every token {values[0]:+.3f}"
    up, down = int(values.argmax()), int(values.argmin())
    ends = [(t, word) for t, word in ((up, "up"), (down, "down")) if (values[t] > 0) == (word == "up")]
    said = [f"token {t + 1}, {tokens[t].strip() or 'blank'}, most {word} {values[t]:+.2f}" for t, word in ends]
    return f"{name.upper()} pushes {' and '.join(said)}"


def plot_group_kinds(rollouts: Rollouts) -> Figure:
    """How many groups have how many correct rollouts, coloured by kind of group."""
    kinds = group_kinds(rollouts)
    largest = int((kinds.correct + kinds.wrong).max())
    figure = new_figure(7.2, 3.4)
    ax = figure.subplots()
    for kind, colour in KIND_COLOURS.items():
        places = {"all wrong": range(1), "all correct": range(largest, largest + 1)}.get(kind, range(1, largest))
        counts = [int(((kinds.kind == kind) & (kinds.correct == n)).sum()) for n in places]
        bars = ax.bar(places, counts, color=colour, hatch=KIND_HATCHES[kind], edgecolor="white", width=0.8)
        ax.bar_label(bars, fontsize=9.5, color=INK)
        bars.set_label(f"{kind}: {percent((kinds.kind == kind).mean())} of groups")
    tidy(ax, f"{len(kinds):,} groups", "correct rollouts in the group", "groups")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(y=0.12)
    ax.legend(frameon=False, fontsize=10)
    return figure


def alt_group_kinds(rollouts: Rollouts) -> str:
    kinds = group_kinds(rollouts).kind
    counts = [f"{(kinds == kind).sum()} {kind} ({percent((kinds == kind).mean())})" for kind in KINDS[:3]]
    return f"Bars: groups by their number of correct rollouts. Of {len(kinds):,} groups {', '.join(counts)}."


def plot_kind_shares(rollouts: Rollouts, sizes: Sequence[int]) -> Figure:
    """Shares of the kinds of groups when the same recording is cut into groups of other sizes."""
    table = kind_shares(rollouts, sizes)
    figure = new_figure(7.2, 3.4)
    ax = figure.subplots()
    bottom, x = np.zeros(len(table)), np.arange(len(table))
    for kind, colour in KIND_COLOURS.items():
        shares = table[kind].to_numpy()
        bars = ax.bar(x, shares, bottom=bottom, color=colour, hatch=KIND_HATCHES[kind], edgecolor="white", label=kind)
        texts = [percent(share) if share > 0.035 else "" for share in shares]
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2}
        ax.bar_label(bars, texts, label_type="center", fontsize=9, color=INK, bbox=box)
        bottom += shares
    tidy(ax, "The same rollouts in groups of another size", "G, rollouts in a group", "share of groups")
    ax.set_xticks(x, [str(size) for size in table.index])
    percent_axis(ax.yaxis)
    ax.set_ylim(0, 1)
    ax.legend(frameon=False, fontsize=10, loc="center left", bbox_to_anchor=(1.01, 0.5), reverse=True)
    return figure


def alt_kind_shares(rollouts: Rollouts, sizes: Sequence[int]) -> str:
    table = kind_shares(rollouts, sizes)
    parts = [f"G = {size}: " + ", ".join(f"{percent(row[k])} {k}" for k in KINDS[:3]) for size, row in table.iterrows()]
    return f"Stacked bars of kinds of groups. {'; '.join(parts)}."
