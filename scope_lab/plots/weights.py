"""One function a figure: data in, a matplotlib Figure out, and beside it a function that says the figure in words."""

import itertools

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from ..explore import (
    Path,
    Shares,
    brief,
    kept_words,
    path_title,
    path_words,
    paths,
    percent,
    solved_taus,
    tau_table,
    token_texts,
    weigh,
)
from ..objective import scope_advantages
from ..rollouts import Rollouts
from ..style import ADVANTAGE, COLOURS, INK, MARKERS, new_figure, percent_axis, tidy


def _headline(figure: Figure, rollouts: Rollouts, group: int, tau: float) -> None:
    figure.set_layout_engine("constrained", h_pad=0.09)
    prompt = brief(rollouts.problems[group].prompt, 100)
    figure.suptitle(f"Prompt {prompt}   τ = {tau:g}", fontsize=12, x=0.01, ha="left")


def weight_bars(ax, path: Path, shares: Shares, group: int, ylabel: bool = True):
    """One path's weights of one prompt as bars, low to high perplexity; dashed: an equal share."""
    rows = path.members(group)
    colour = COLOURS[path.verdict]
    bars = ax.bar(np.arange(len(rows)), shares.weights_B[rows], color=colour, width=0.78, edgecolor="white")
    tidy(ax, path_title(path, len(rows)), "", "weight, share of the path" if ylabel else "")
    ax.set_xlabel(f"rollouts by {path.name}'s perplexity, per token", fontsize=10.5, color=INK)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter("{x:.3g}")
    ax.set_xlim(-0.6, max(len(rows), 2) - 0.4)
    ax.set_xticks([])
    if not len(rows):
        ax.text(0.5, 0.5, "empty: contributes nothing", transform=ax.transAxes, ha="center", color=INK)
        return bars
    ax.axhline(1 / len(rows), color=INK, linestyle=(0, (4, 3)), linewidth=1)
    ticks = np.arange(0, len(rows), -(-len(rows) // 6))
    ax.set_xticks(ticks, [f"{ppl:.2f}" if ppl < 10 else f"{ppl:.3g}" for ppl in path.nll_B[rows[ticks]].exp().tolist()])
    return bars


def plot_group_weights(rollouts: Rollouts, group: int, tau: float = 1.0) -> Figure:
    """The weights that one prompt's rollouts get at tau, on both paths. Dashed: the equal share that tau -> ∞ gives."""
    figure = new_figure(9.2, 3.6)
    for ax, path in zip(figure.subplots(1, 2), paths(rollouts), strict=True):
        shares = weigh(path, tau)
        weight_bars(ax, path, shares, group, ylabel=path.name == "student")
        top = np.nan_to_num(shares.largest_P[group], nan=0.5)
        ax.set_ylim(0, min(1.05, 1.25 * top))
    _headline(figure, rollouts, group, tau)
    return figure


def alt_group_weights(rollouts: Rollouts, group: int, tau: float = 1.0) -> str:
    words = "; ".join(path_words(path, weigh(path, tau), group) for path in paths(rollouts))
    return f"Weights of prompt {rollouts.problems[group].prompt} at τ = {tau:g}. {words[0].upper()}{words[1:]}."


def jitter(n: int) -> np.ndarray:
    """Small fixed offsets that keep points of equal counts apart; the same on every draw."""
    return np.random.default_rng(0).uniform(-0.3, 0.3, n)


def ess_axes(ax, largest: int) -> None:
    """Axes of effective sample size against path size: equal weights on the diagonal, 1 where one has all."""
    tidy(ax, "All groups, a point per path", "rollouts on the path", "effective sample size, rollouts")
    ax.plot([1, largest], [1, largest], color=INK, linewidth=1, linestyle=(0, (4, 3)), label="equal weights")
    ax.axhline(1, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="one rollout has all")
    ax.set_xlim(0, largest + 1)
    ax.set_ylim(0, largest + 1)


def ess_points(ax, path: Path, shares: Shares):
    """One path of every group as a line artist without lines: quick to redraw."""
    colour, marker = COLOURS[path.verdict], MARKERS[path.verdict]
    x = shares.size_P + jitter(len(shares.size_P))
    style = {"markersize": 5, "alpha": 0.65, "markeredgecolor": "white", "markeredgewidth": 0.4}
    (points,) = ax.plot(x, shares.ess_P, marker, color=colour, label=f"{path.verdict} rollouts", **style)
    return points


def plot_effective_sample_size(rollouts: Rollouts, tau: float = 1.0) -> Figure:
    """Effective sample size against the number of rollouts, for both paths of every group at tau."""
    figure = new_figure(6.4, 4.2)
    ax = figure.subplots()
    both = paths(rollouts)
    ess_axes(ax, max(int(path.size_P.max()) for path in both))
    for path in both:
        ess_points(ax, path, weigh(path, tau))
    ax.set_title(f"All groups, a point per path   τ = {tau:g}", loc="left", fontsize=11.5, color=INK)
    ax.legend(loc="upper left", frameon=False, fontsize=10, handlelength=1.6)
    return figure


def alt_effective_sample_size(rollouts: Rollouts, tau: float = 1.0) -> str:
    words = "; ".join(kept_words(path, weigh(path, tau)) for path in paths(rollouts))
    return f"Effective sample size against path size at τ = {tau:g}, all {len(rollouts.problems)} groups. The {words}."


def plot_tau_curves(rollouts: Rollouts, taus) -> Figure:
    """Over all groups, against tau: effective sample size, largest share and entropy; medians, bands 10 to 90 %."""
    table = tau_table(rollouts, taus)
    figure = new_figure(9.6, 3.5)
    titles = {
        "kept": ("Effective sample size", "fraction of the path"),
        "largest": ("Largest share", "share of the path"),
        "entropy": ("Entropy", "fraction of log(size)"),
    }
    for ax, (column, (title, ylabel)) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        for name, rows in table.groupby("path"):
            verdict = "correct" if name == "student" else "wrong"
            style = {"color": COLOURS[verdict], "marker": MARKERS[verdict], "markersize": 4}
            ax.plot(rows.tau, rows[column], label=f"{name} path", **style)
            if column == "kept":
                ax.fill_between(rows.tau, rows.kept_low, rows.kept_high, color=COLOURS[verdict], alpha=0.15, lw=0)
        tidy(ax, title, "τ (log scale)", ylabel)
        ax.set_xscale("log")
        ax.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
        ax.set_ylim(0, 1.03)
        percent_axis(ax.yaxis)
        ax.axvline(1, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
    figure.axes[0].legend(loc="lower right", frameon=False, fontsize=10)
    return figure


def alt_tau_curves(rollouts: Rollouts, taus) -> str:
    table = tau_table(rollouts, [min(taus), 1.0, max(taus)])
    words = [
        f"{name} path keeps "
        + ", ".join(f"{percent(kept)} at τ = {tau:g}" for kept, tau in zip(rows.kept, rows.tau, strict=True))
        for name, rows in table.groupby("path")
    ]
    return f"Three panels against τ, medians over groups. Of its rollouts the {'; the '.join(words)}."


def plot_sharpness(recordings: dict[str, Rollouts], taus) -> Figure:
    """Effective sample size against tau, a panel a path, a line a recording by its name: medians, bands 10 to 90 %."""
    figure = new_figure(9.6, 3.5)
    axes = dict(zip(("student", "teacher"), figure.subplots(1, 2, sharey=True), strict=True))
    styles = itertools.cycle([("-", "o"), ((0, (4, 2)), "D"), ((0, (1, 1)), "s")])
    for (recording, rollouts), (line, marker) in zip(recordings.items(), styles, strict=False):
        table = tau_table(rollouts, taus)
        for name, ax in axes.items():
            rows, colour = table[table.path == name], COLOURS["correct" if name == "student" else "wrong"]
            style = {"color": colour, "linestyle": line, "marker": marker, "markersize": 4}
            ax.plot(rows.tau, rows.kept, label=recording, **style)
            ax.fill_between(rows.tau, rows.kept_low, rows.kept_high, color=colour, alpha=0.12, lw=0)
    for name, ax in axes.items():
        tidy(ax, f"{name.capitalize()} path", "τ (log scale)", "")
        ax.set_xscale("log")
        ax.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
        ax.set_ylim(0, 1.03)
        percent_axis(ax.yaxis)
        ax.axvline(1, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        ax.legend(loc="lower right", frameon=False, fontsize=10)
    axes["student"].set_ylabel("effective sample size, of the path", fontsize=10.5, color=INK)
    return figure


def alt_sharpness(recordings: dict[str, Rollouts], taus) -> str:
    few = [min(taus), 1.0, max(taus)]
    parts = []
    for recording, rollouts in recordings.items():
        for name, rows in tau_table(rollouts, few).groupby("path"):
            kept = ", ".join(f"{percent(k)} at τ = {tau:g}" for k, tau in zip(rows.kept, rows.tau, strict=True))
            parts.append(f"{recording}, {name} path: {kept}")
    return f"Effective sample size as a fraction of the path against τ, medians over groups. {'; '.join(parts)}."


def plot_solved_tau(rollouts: Rollouts, ess_fraction: float = 0.5) -> Figure:
    """The tau that keeps `ess_fraction` of each path's rollouts: how many groups want which tau."""
    figure = new_figure(7.2, 3.4)
    ax = figure.subplots()
    solved = solved_taus(rollouts, ess_fraction)
    everything = np.concatenate(list(solved.values()))
    bins = np.geomspace(everything.min() * 0.99, max(everything.max(), 1.0) * 1.3, 40)
    for name, taus in solved.items():
        colour = COLOURS["correct" if name == "student" else "wrong"]
        hatch = "//" if name == "teacher" else None
        bars = ax.stairs(np.histogram(taus, bins)[0], bins, fill=True, color=colour, alpha=0.35, hatch=hatch)
        bars.set(edgecolor=colour, linewidth=1.4, label=f"{name} path")
    ax.axvline(1, color=INK, linewidth=1, linestyle=(0, (1, 2)))
    ax.annotate("the paper's τ = 1", (1, 0.94), (-5, 0), ("data", "axes fraction"), "offset points", ha="right")
    ax.margins(y=0.15)
    ax.set_ylim(bottom=0)
    tidy(ax, f"τ that keeps {percent(ess_fraction)} of the path", "τ (log scale)", "groups")
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend(loc="upper left", frameon=False, fontsize=10)
    return figure


def alt_solved_tau(rollouts: Rollouts, ess_fraction: float = 0.5) -> str:
    words = []
    for name, taus in solved_taus(rollouts, ess_fraction).items():
        low, middle, high = np.quantile(taus, [0.1, 0.5, 0.9])
        words.append(f"{name} path: median {middle:.3f}, 80 % of {len(taus)} groups from {low:.3f} to {high:.3f}")
    return f"Histogram of the τ that keeps {percent(ess_fraction)} of each path. {'; '.join(words).capitalize()}."


def plot_flow(rollouts: Rollouts, group: int, tau: float = 1.0) -> Figure:
    """The whole of SCOPE on one prompt's rollouts: response, verdict, perplexity, weight, advantage of every token."""
    both = paths(rollouts)
    shares = [weigh(path, tau) for path in both]
    advantages_BT = scope_advantages(
        rollouts.student_logp_BT,
        rollouts.teacher_logp_BT,
        rollouts.mask_BT,
        rollouts.correct_B,
        rollouts.group_B,
        tau,
        known_B=rollouts.known_B,
    ).numpy()
    rows = [(path, share, row) for path, share in zip(both, shares, strict=True) for row in path.members(group)]
    # A line above each path for its name.
    y = np.array([i + 0.8 * (1 + (path.name == "teacher")) for i, (path, _, _) in enumerate(rows)])
    lengths = rollouts.length_B.numpy()
    figure = new_figure(10.8, 1.7 + 0.34 * (y.max() + 1))
    sampled, ppl, weight, advantage = figure.subplots(1, 4, width_ratios=[3.2, 1.5, 1.4, 4.9], sharey=True)
    headings = ("1  Sample, verify, route", "2  Perplexity", "3  Weight", "4  Advantage of every token")
    xlabels = ("", "per token, log scale", "share of path", "position in the response, tokens")
    for ax, heading, xlabel in zip(figure.axes, headings, xlabels, strict=True):
        tidy(ax, heading, xlabel)
        ax.grid(False)
        ax.spines["left"].set_visible(False)
        ax.tick_params(left=False, labelleft=False)
    tokens = np.abs(advantages_BT[[row for _, _, row in rows]])
    limit = np.quantile(tokens[tokens > 0], 0.98) if tokens.any() else 1.0
    for at, (path, share, row) in zip(y, rows, strict=True):
        colour, n = COLOURS[path.verdict], lengths[row]
        sampled.plot(0, at, MARKERS[path.verdict], color=colour, markersize=8)
        sampled.text(0.8, at, rollouts.responses[row], va="center", fontsize=9, family="monospace", color=INK)
        perplexity, w = float(path.nll_B[row].exp()), share.weights_B[row]
        ppl.plot(perplexity, at, "D", color=COLOURS[path.name], markersize=6)
        ppl.annotate(f"{perplexity:.2f}", (perplexity, at), (6, -3.2), textcoords="offset points", fontsize=9)
        weight.barh(at, w, color=colour, height=0.7)
        weight.annotate(f"{w:.3f}", (w, at), (3, -3.2), textcoords="offset points", fontsize=9)
        extent = (-0.5, n - 0.5, at + 0.4, at - 0.4)
        values = advantages_BT[row : row + 1, :n]
        image = advantage.imshow(values, ADVANTAGE, extent=extent, aspect="auto", vmin=-limit, vmax=limit)
        for t, text in enumerate(token_texts(rollouts, row)):
            ink = "white" if abs(values[0, t]) > 0.7 * limit else INK
            advantage.text(t, at, text, ha="center", va="center", fontsize=9, family="monospace", color=ink)
    for path in both:
        starts = [at for at, (of, _, _) in zip(y, rows, strict=True) if of is path]
        if starts:
            style = {"va": "center", "fontsize": 10, "color": INK, "fontweight": "bold"}
            sampled.text(-0.4, starts[0] - 0.85, path_title(path, len(starts)), **style)
            style |= {"ha": "center", "transform": ppl.get_yaxis_transform()}
            ppl.text(0.4, starts[0] - 0.85, f"{path.name}'s", **style)
    perplexities = np.exp([float(path.nll_B[row]) for path, _, row in rows])
    low, high = perplexities.min() / 1.1, perplexities.max() * 1.9
    ppl.set_xscale("log")
    ppl.set_xlim(low, high)
    ppl.xaxis.set_minor_locator(NullLocator())
    rounds = (1, 1.5, 2, 3, 5) if high < 4 * low else (1, 2, 5, 10, 30, 100, 1000)
    ticks = [t for t in rounds if low <= t <= high]
    ppl.set_xticks(ticks, [f"{t:g}" for t in ticks])
    weight.set_xlim(0, 1.5 * max(share.weights_B[row] for _, share, row in rows))
    sampled.set_xlim(-0.6, 0.8 + 0.72 * max(len(rollouts.responses[row]) for _, _, row in rows))
    sampled.set_xticks([])
    sampled.spines["bottom"].set_visible(False)
    advantage.set_xlim(-0.6, max(lengths[row] for _, _, row in rows) - 0.4)
    advantage.xaxis.set_major_locator(MaxNLocator(integer=True))
    advantage.set_ylim(y.max() + 0.6, -0.5)
    bar = figure.colorbar(image, ax=advantage, pad=0.02, aspect=25, extend="both")
    bar.ax.tick_params(labelsize=9)
    bar.set_label("purple: made less likely, green: more", fontsize=9.5)
    _headline(figure, rollouts, group, tau)
    return figure


def alt_flow(rollouts: Rollouts, group: int, tau: float = 1.0) -> str:
    """The flow in words: how many went which way, and which rollout weighs most on each path."""
    words = []
    for path in paths(rollouts):
        shares, rows = weigh(path, tau), path.members(group)
        if not len(rows):
            words.append(f"The {path.name} path is empty.")
            continue
        top = rows[np.argmax(shares.weights_B[rows])]
        words.append(
            f"{len(rows)} {path.verdict} on the {path.name} path: {rollouts.responses[top]} weighs most, "
            f"{shares.weights_B[top]:.3f}, with perplexity {float(path.nll_B[top].exp()):.2f}."
        )
    return f"SCOPE on the group of prompt {rollouts.problems[group].prompt} at τ = {tau:g}. {' '.join(words)}"
