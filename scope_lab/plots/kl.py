"""Figures of KL divergence on a small vocabulary: two directions, and a mean of samples against the exact value."""

import numpy as np
from matplotlib.figure import Figure

from ..explore import percent
from ..kl import closest_peak, kl_divergence, running_estimate
from ..style import COLOURS, INK, new_figure, percent_axis, tidy

DIRECTIONS = {"forward": "forward KL(teacher ‖ student)", "reverse": "reverse KL(student ‖ teacher)"}


def plot_kl_directions(teacher_V) -> Figure:
    """A teacher's distribution, and the single peak nearest to it by forward and by reverse KL."""
    teacher_V = np.asarray(teacher_V, dtype=float)
    tokens = np.arange(len(teacher_V))
    figure = new_figure(8.8, 3.2)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (direction, name) in zip(axes, DIRECTIONS.items(), strict=True):
        student = closest_peak(teacher_V, direction)
        ax.bar(tokens - 0.2, teacher_V, width=0.4, color=COLOURS["teacher"], label="teacher")
        ax.bar(
            tokens + 0.2, student, width=0.4, color=COLOURS["student"], hatch="////", edgecolor="white", label="student"
        )
        tidy(ax, f"least {name}", "token", "probability" if ax is axes[0] else "")
        ax.set_xticks(tokens)
        percent_axis(ax.yaxis)
    axes[0].legend(loc="upper right", frameon=False, fontsize=10)
    return figure


def alt_kl_directions(teacher_V) -> str:
    teacher_V = np.asarray(teacher_V, dtype=float)
    words = []
    for direction, name in DIRECTIONS.items():
        student = closest_peak(teacher_V, direction)
        rare = teacher_V < 0.05
        words.append(
            f"least {name}: highest at token {student.argmax()} with {percent(student.max())}, "
            f"{percent(student[rare].sum())} on tokens to which the teacher gives less than 5 % each"
        )
    peaks = " and ".join(str(v) for v in np.sort(np.argsort(teacher_V)[-2:]))
    return f"A teacher with peaks at tokens {peaks}, and the nearest student with one peak. {'; '.join(words)}."


def plot_sampled_kl(student_V, teacher_V, n: int = 5_000, seeds=(0, 1, 2)) -> Figure:
    """Running means of the sampled log-ratio, and the exact reverse KL; band: ± 1.96 standard errors of the first."""
    figure = new_figure(8.0, 3.3)
    ax = figure.subplots()
    exact, count = kl_divergence(student_V, teacher_V), np.arange(2, n + 1)
    shown = np.unique(np.geomspace(8, n - 2, 160).astype(int))
    for seed, style in zip(seeds, ("-", "--", ":"), strict=False):
        mean, error = running_estimate(student_V, teacher_V, n, seed)
        if seed == seeds[0]:
            low, high = mean - 1.96 * error, mean + 1.96 * error
            ax.fill_between(count[shown], low[shown], high[shown], color=COLOURS["student"], alpha=0.15, linewidth=0)
        ax.plot(count[shown], mean[shown], style, color=COLOURS["student"], linewidth=1.6, label=f"seed {seed}")
    ax.axhline(exact, color=INK, linewidth=1.2, label="exact")
    tidy(ax, "Mean log-ratio of sampled tokens", "samples (log scale)", "nats")
    ax.set_xscale("log")
    ax.legend(loc="upper right", frameon=False, fontsize=10, ncols=2)
    return figure


def alt_sampled_kl(student_V, teacher_V, n: int = 5_000, seeds=(0, 1, 2)) -> str:
    exact, words = kl_divergence(student_V, teacher_V), []
    for seed in seeds:
        mean, error = running_estimate(student_V, teacher_V, n, seed)
        words.append(f"seed {seed} {mean[-1]:.3f} ± {error[-1]:.3f}")
    return f"Reverse KL, exact {exact:.3f} nats. Means of {n:,} samples with standard errors: {'; '.join(words)}."
