"""The error-recovery experiment as a figure: recovery against prefix by quartile, and the rank correlations."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ..explore import percent
from ..recovery_table import QUARTILES, correlation, rate
from ..style import COLOURS, INK, new_figure, percent_axis, tidy

# The teacher's colour, from sure to unsure; markers say the same without colour.
SURENESS = LinearSegmentedColormap.from_list("sureness", ["#5B3A00", COLOURS["teacher"]])
MARKERS = {1: "o", 2: "s", 3: "D", 4: "^"}
SIDE_BY_SIDE = 0.012  # quartiles stand this far apart, so that their intervals can be told apart


def plot_recovery(summary: dict) -> Figure:
    """Recovery by quartile with its interval, and its rank correlation with perplexity (recovery_table.summarise)."""
    figure = new_figure(9.6, 4.0)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    fractions = [cut["fraction"] for cut in summary["cuts"]]
    for row in summary["quartiles"]:
        q = row["quartile"]
        cells = [rate(summary, q, fraction) for fraction in fractions]
        # An end that is None becomes NaN: no error bar where there is no interval.
        values, low, high = np.array([[cell[name] for cell in cells] for name in ("value", "low", "high")], dtype=float)
        word = {1: ", lowest", 4: ", highest"}.get(q, "")
        left.errorbar(
            [fraction + (q - 2.5) * SIDE_BY_SIDE for fraction in fractions],
            values,
            yerr=[values - low, high - values],
            color=SURENESS((q - 1) / 3),
            marker=MARKERS[q],
            markersize=5.5,
            linewidth=1.5,
            elinewidth=1,
            capsize=2,
            label=f"Q{q}{word} (median {row['median_ppl']:.2f})",
        )
    tidy(
        left,
        "Teacher's completions that are correct",
        "prefix asked for (held, on average), of the wrong response",
        "recovery rate",
    )
    held = [
        f"{percent(cut['fraction'])}\n({percent(cut['share'])})" if cut["fraction"] else "none"
        for cut in summary["cuts"]
    ]
    left.set_xticks(fractions, held)
    percent_axis(left.yaxis)
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=9.5, title="teacher perplexity", title_fontsize=9.5)
    kinds = _kinds(summary)
    for y, kind in enumerate(kinds):
        found = correlation(summary, kind)
        if found["low"] is not None:
            right.plot([found["low"], found["high"]], [y, y], color=INK, linewidth=1.4)
        if found["value"] is not None:
            right.plot(found["value"], y, "o", color=COLOURS["teacher"], markeredgecolor=INK, markersize=7)
    tidy(right, "Rank correlation with perplexity", "Spearman's ρ, all prefixes", "")
    right.axvline(0, color=INK, linestyle=(0, (4, 3)), linewidth=1)
    right.set_yticks(range(len(kinds)), list(kinds.values()))
    right.invert_yaxis()
    right.grid(axis="y", visible=False)
    return figure


def _kinds(summary: dict) -> dict[str, str]:
    strata = {s["name"]: f"{s['from']} to {s['to']} tokens" for s in summary["strata"]}
    return {"overall": "all rollouts", **strata, "within lengths": "mean of those", "partial": "given length"}


def alt_recovery(summary: dict) -> str:
    """The figure in words: recovery of the lowest and highest quartile at each prefix, and the correlations."""
    parts = []
    for cut in summary["cuts"]:
        low, high = (rate(summary, q, cut["fraction"])["value"] for q in (QUARTILES[0], QUARTILES[-1]))
        where = "no prefix" if cut["fraction"] == 0 else f"a prefix of {cut['fraction']:.0%}"
        parts.append(f"{where} {low:.0%} and {high:.0%}")
    found = correlation(summary)
    rho = "has no interval"
    if found["low"] is not None:
        rho = f"is {found['value']:+.2f} (95 % interval {found['low']:+.2f} to {found['high']:+.2f})"
        given = correlation(summary, "partial")
        if given["low"] is not None:
            rho += f", given length {given['value']:+.2f} ({given['low']:+.2f} to {given['high']:+.2f})"
    return (
        "Recovery of the teacher in the quartiles of its lowest and highest perplexity: after "
        f"{'; '.join(parts)}. The rank correlation of perplexity and recovery {rho}."
    )
