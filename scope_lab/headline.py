"""README's first table: what training does to Avg, Pass and variety, from as many seeds as every method has."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .ablations import ENOUGH_SEEDS, FinishedRun, finished_runs
from .diversity import ORDER
from .evaluation import bootstrap_interval
from .methods import method_name
from .seeds import contrast

EXTRA = "opd-one"  # the paper's OPD, shown where it has the same seeds


def headline_runs(folder: str | Path, task: str = "countdown") -> list[FinishedRun]:
    """Runs of the five methods, as far as the task has them, with the seeds that all of these have."""
    runs = finished_runs(folder, task)
    seeds = {method: {run.seed for run in runs if run.method == method} for method in (*ORDER, EXTRA)}
    recorded = [seeds[method] for method in ORDER if seeds[method]]
    shared = set.intersection(*recorded) if recorded else set()
    order = [*ORDER[:-1], *([EXTRA] if shared <= seeds[EXTRA] else []), ORDER[-1]]
    chosen = [run for run in runs if run.method in order and run.seed in shared]
    return sorted(chosen, key=lambda run: (order.index(run.method), run.seed))


def headline_text(runs: Sequence[FinishedRun]) -> str:
    """The table in Markdown, after a sentence on where its numbers come from and before one on what they show."""
    before, n = runs[0].before, runs[0].before.n_samples
    start = {name: values.mean() for name, values in before.metrics().items()}
    seeds = sorted({run.seed for run in runs})
    several = len(seeds) > 1
    trained = f"Means of {len(seeds)} seeds a method" if several else f"One run a method, seed {seeds[0]}"
    luck = "over seeds and problems" if several else "over problems, by paired bootstrap"
    rows, paradox = [], []
    for method in dict.fromkeys(run.method for run in runs):
        cells, ends = [], {}
        for metric in ("pass@1", f"pass@{n}", "distinct"):
            after_SP = np.stack([run.after.metrics()[metric] for run in runs if run.method == method])
            gain_SP = after_SP - before.metrics()[metric]
            ends[metric] = contrast(gain_SP).interval if several else bootstrap_interval(gain_SP[0])
            scale, digits, unit = (1, 2, "") if metric == "distinct" else (100, 1, "%")
            change, low, high = (f"{x * scale:+.{digits}f}" for x in (gain_SP.mean(), *ends[metric]))
            cells.append(f"{after_SP.mean() * scale:.{digits}f}{unit} ({change} [{low}, {high}])")
        rows.append(f"| {method_name(method)} | {' | '.join(cells)} |")
        if ends["pass@1"][0] > 0 and ends[f"pass@{n}"][1] < 0:
            paradox.append(method_name(method))
    lines = [
        f"{trained}, {len(before.problem_ids)} {before.split} problems × {n} samples at temperature "
        f"{before.settings['temperature']:g}; in brackets the change with its 95 % interval, {luck}.",
        "",
        f"| after training by | Avg@{n} = Pass@1 | Pass@{n} | distinct correct solutions a problem |",
        "|---|---|---|---|",
        f"| nothing (the student) | {start['pass@1']:.1%} | {start[f'pass@{n}']:.1%} | {start['distinct']:.2f} |",
        *rows,
        "",
        _read(paradox, len(seeds), n),
    ]
    return "\n".join(lines).rstrip()


def _read(paradox: list[str], seeds: int, n: int) -> str:
    shown = [f"Pass@1 rises and Pass@{n} falls, the Pass@k paradox, after {' and '.join(paradox)}."] if paradox else []
    if seeds == 1:
        shown.append(
            "One seed says nothing about which of OPD and SCOPE is better, and intervals over problems do not hold the "
            "spread over seeds."
        )
    elif seeds < ENOUGH_SEEDS:
        shown.append(f"With fewer than {ENOUGH_SEEDS} seeds no difference between methods is judged.")
    return " ".join(shown)
