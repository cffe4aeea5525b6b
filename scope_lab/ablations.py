"""What recorded runs say about one method against another: paired by seed and problem, with interval and verdict."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from .diversity import ORDER, first_and_last, run_folders
from .errors import InputError
from .evaluation import Evaluation
from .methods import METHODS, method_name
from .seeds import contrast, holm, over_problems, over_seeds

SAME = ["method", "baseline", "metric"]  # what makes two rows one contrast, here and in `paper.comparisons`


class FinishedRun(NamedTuple):
    """A finished run: its method (or what a plan calls it: SCOPE at another tau), seed, and both evaluations."""

    method: str
    seed: int
    before: Evaluation
    after: Evaluation


def finished_runs(folder: str | Path, task: str = "countdown") -> list[FinishedRun]:
    """A task's finished runs (`diversity.run_folders`), every variant of them.

    Sorted by method, in the order psr, grpo, kd, opd, scope, then the others as in METHODS, and by seed.
    """
    runs = [
        FinishedRun(variant, seed, *ends)
        for variant, seed, path in run_folders(folder, task)
        if (ends := first_and_last(path))
    ]
    order = [*ORDER, *METHODS]
    return sorted(runs, key=lambda run: (order.index(run.method) if run.method in order else len(order), run[:2]))


def metric_name(metric: str) -> str:
    """ "avg@32" -> "Avg@32"."""
    return metric.capitalize()


def contrast_name(row) -> str:
    """ "SCOPE − OPD", of a row with `method` and `baseline`."""
    return f"{method_name(row['method'])} − {method_name(row['baseline'])}"


class Paired(NamedTuple):
    """One metric of two methods on the problems and seeds that they share: (S, P) each, and which seeds."""

    ours_SP: np.ndarray
    theirs_SP: np.ndarray
    seeds: tuple[int, ...]

    @property
    def difference_SP(self) -> np.ndarray:
        return self.ours_SP - self.theirs_SP


def paired(runs: Sequence[FinishedRun], ours: str, theirs: str, metric: str) -> Paired:
    """Two methods' values of a metric (`Evaluation.metrics`), problem by problem and seed by seed.

    theirs  another method, or "base": the student before training, the same for every seed
    Raises InputError where they share no seed, or a run was tested on other problems or with other samples.
    """
    by_seed = {name: {run.seed: run for run in runs if run.method == name} for name in (ours, theirs)}
    if theirs == "base":
        by_seed["base"] = by_seed[ours]
    seeds = tuple(sorted(by_seed[ours].keys() & by_seed[theirs].keys()))
    if not seeds:
        found = "; ".join(f"{name}: {sorted(seeds) or 'no run'}" for name, seeds in by_seed.items())
        raise InputError(f"paired: found seeds {found}; accepted two methods that share a seed")
    left = [by_seed[ours][seed].after for seed in seeds]
    right = [by_seed[theirs][seed].before if theirs == "base" else by_seed[theirs][seed].after for seed in seeds]
    for evaluation in (*left, *right):
        if (evaluation.problem_ids, evaluation.n_samples) != (left[0].problem_ids, left[0].n_samples):
            raise InputError(f"paired: {evaluation.label} was tested on other problems or samples than {left[0].label}")
    values = [np.stack([evaluation.metrics()[metric] for evaluation in side]) for side in (left, right)]
    return Paired(values[0], values[1], seeds)


def differences(
    runs: Sequence[FinishedRun], contrasts: Iterable[tuple[str, str, str]], level: float = 0.95
) -> pd.DataFrame:
    """A row for each (method, baseline, metric) that is recorded; rates (avg@k, pass@k) in percentage points.

    mean        of ours - theirs over problems and seeds; seeds: how many both have
    low, high   interval over seeds and problems (`seeds.contrast`); with one seed over problems alone
    holds       which luck that interval holds: "seeds and problems" or "problems"
    p, p_holm   two-sided, and adjusted over the rows of this table; NaN with one seed
    """
    columns = [*SAME, "seeds", "mean", "low", "high", "holds", "p", "p_holm"]
    recorded = {run.method for run in runs} | {"base"}
    rows = []
    for ours, theirs, metric in contrasts:
        if not {ours, theirs} <= recorded:
            continue
        values_SP = (100 if "@" in metric else 1) * paired(runs, ours, theirs, metric).difference_SP
        found, several = contrast(values_SP, level), len(values_SP) > 1
        ends = found.interval if several else over_problems(values_SP, level)
        holds = "seeds and problems" if several else "problems"
        rows.append((ours, theirs, metric, len(values_SP), found.mean, *ends, holds, found.p, math.nan))
    table = pd.DataFrame(rows, columns=columns)
    known = table.p.notna()
    table.loc[known, "p_holm"] = holm(table.p[known])
    return table


def by_seed(pair: Paired, level: float = 0.95) -> pd.DataFrame:
    """Each seed's mean difference with its interval over problems; then all seeds, by the luck an interval holds.

    Index: "seed 0", … "over problems", "over seeds", "over both"; columns mean, low, high, in the values' unit. The
    ends of the last two are NaN for a single seed.
    """
    values_SP = pair.difference_SP
    rows = {f"seed {seed}": over_problems(values_SP[[i]], level) for i, seed in enumerate(pair.seeds)}
    rows |= {
        "over problems": over_problems(values_SP, level),
        "over seeds": over_seeds(values_SP, level),
        "over both": contrast(values_SP, level).interval,
    }
    table = pd.DataFrame(rows, index=["low", "high"]).T
    table.insert(0, "mean", [*values_SP.mean(1), *[values_SP.mean()] * 3])
    return table


# The protocol's (data/results/PROTOCOL.md): smallest differences that matter, in points, and seeds of a full contrast.
SMALLEST = {"avg": 0.5, "pass": 1.5}
ENOUGH_SEEDS = 5
SIGNIFICANT = 0.05  # of adjusted p


def status(row, claimed: int) -> str:
    """What the protocol says of one directed contrast: "supported", "contradicted" or "open".

    row  of `differences`, of a rate; claimed: +1 or -1, the sign that is claimed

    Supported: the claimed sign and adjusted p < 0.05. Contradicted: not supported, and the interval excludes a
    difference of SMALLEST or more with the claimed sign. Open otherwise, and with fewer than ENOUGH_SEEDS seeds.
    """
    if row.seeds < ENOUGH_SEEDS:
        return "open"
    if claimed * row["mean"] > 0 and row.p_holm < SIGNIFICANT:
        return "supported"
    most = max(claimed * row.low, claimed * row.high)
    return "contradicted" if most < SMALLEST[row.metric.partition("@")[0]] else "open"
