"""What recorded runs say about diversity: Pass@k by method and difficulty, with intervals, and its estimators' bias."""

import re
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from .checkpoint import evaluation_file, read_metrics
from .evaluation import Evaluation, bootstrap_intervals, pass_at_k, powers_of_two
from .methods import METHODS, method_name
from .settings import read_run
from .tasks.countdown import DIFFICULTIES, parse_prompt, solutions

# Pure reinforcement first, then the methods that listen to a teacher. Ablations are not among them.
ORDER = ("psr", "grpo", "kd", "opd", "scope")
RUN_NAME = re.compile(r"(?P<variant>.+)-seed(?P<seed>\d+)")


@dataclass(frozen=True)
class Run:
    """A finished recorded run: its folder, its evaluations before and after, and its metrics, a row a step."""

    method: str
    seed: int
    folder: Path
    before: Evaluation
    after: Evaluation
    metrics: pd.DataFrame

    @property
    def title(self) -> str:
        return method_name(self.method)


def recorded_runs(folder: str | Path, task: str = "countdown", seed: int | None = 0) -> list[Run]:
    """A task's finished runs (`run_folders`) in the order psr, grpo, kd, opd, scope; all other variants left out.

    seed  which seed, or None for all
    """
    found = []
    for method, number, path in run_folders(folder, task):
        if method in ORDER and seed in (None, number) and (ends := first_and_last(path)):
            found.append(Run(method, number, path, *ends, read_metrics(path).set_index("step")))
    return sorted(found, key=lambda run: (ORDER.index(run.method), run.seed))


def run_folders(folder: str | Path, task: str = "countdown") -> list[tuple[str, int, Path]]:
    """Variant, seed and folder of every run of the task's plan, FOLDER/TASK/VARIANT-seedN, whether finished or not.

    As long as no seed of some method in ORDER is finished there: of the single runs FOLDER/TASK-VARIANT-seedN.
    """
    planned = _named(Path(folder) / task, "")
    folders = [[path for variant, _, path in planned if variant == method] for method in ORDER]
    return planned if all(any(map(_last_evaluation, paths)) for paths in folders) else _named(Path(folder), f"{task}-")


def _named(folder: Path, prefix: str) -> list[tuple[str, int, Path]]:
    paths = sorted(folder.glob(f"{prefix}*-seed*"))
    names = [RUN_NAME.fullmatch(path.name.removeprefix(prefix)) for path in paths]
    return [(name["variant"], int(name["seed"]), path) for name, path in zip(names, paths, strict=True) if name]


def _last_evaluation(path: Path) -> Path | None:
    """The file of a run's evaluation after its last step, if it is there."""
    if not (path / "config.yaml").is_file():
        return None
    file = evaluation_file(path, read_run(path)["steps"])
    return file if file.is_file() else None


def first_and_last(path: Path) -> tuple[Evaluation, Evaluation] | None:
    """A run folder's evaluations before its first and after its last step; None where one is missing."""
    before, after = evaluation_file(path, 0), _last_evaluation(path)
    return (Evaluation.load(before), Evaluation.load(after)) if after and before.is_file() else None


def title(evaluation: Evaluation) -> str:
    """PSR for an evaluation labelled `psr step 200`; "before training" for step 0."""
    first = evaluation.label.split()[0]
    if evaluation.label.endswith(" step 0"):
        return method_name("base")
    return method_name(first) if first in METHODS else evaluation.label


@lru_cache(maxsize=8)
def _solution_counts(problem_ids: tuple[str, ...], max_value: int) -> tuple[int, ...]:
    return tuple(len(solutions(*parse_prompt(f"{problem}:"), max_value)) for problem in problem_ids)


def solution_counts(evaluation: Evaluation) -> np.ndarray:
    """How many different solutions each Countdown problem of an evaluation has: its difficulty, fewer is harder."""
    return np.array(_solution_counts(tuple(evaluation.problem_ids), DIFFICULTIES["standard"].max_value))


def difficulty_bands(counts) -> dict[str, np.ndarray]:
    """Problems by their number of solutions, in the task's own bounds: all, hard, medium, easy. Masks (problems,)."""
    counts = np.asarray(counts)
    most, least = DIFFICULTIES["hard"].max_solutions or 0, DIFFICULTIES["easy"].min_solutions
    hard, easy = counts <= most, counts >= least
    return {"all": np.ones(len(counts), dtype=bool), "hard": hard, "medium": ~hard & ~easy, "easy": easy}


def band_words(name: str, n: int) -> str:
    """ "193 hard problems (at most 8 solutions)"."""
    most, least = DIFFICULTIES["hard"].max_solutions or 0, DIFFICULTIES["easy"].min_solutions
    bounds = {
        "hard": f" (at most {most} solutions)",
        "medium": f" ({most + 1} to {least - 1} solutions)",
        "easy": f" (at least {least} solutions)",
    }
    return f"{n} {'' if name == 'all' else name + ' '}problems{bounds.get(name, '')}"


@dataclass(frozen=True)
class Curve:
    """Pass@k of one evaluation on some problems, an entry a k: mean and 95 % interval over problems.

    difference_K  mean paired difference to the baseline, with its interval; NaN for the baseline itself
    """

    ks: tuple[int, ...]
    mean_K: np.ndarray
    interval_K2: np.ndarray
    difference_K: np.ndarray
    difference_interval_K2: np.ndarray


def pass_curve(evaluation: Evaluation, baseline: Evaluation | None = None, mask=None) -> Curve:
    """Pass@k for k = 1, 2, 4, … n on the problems of a mask (all by default), against a baseline on the same problems.

    Raises ValueError where the two differ in problems or number of samples.
    """
    if baseline is not None and (baseline.problem_ids, baseline.n_samples) != (
        evaluation.problem_ids,
        evaluation.n_samples,
    ):
        raise ValueError(f"pass_curve: {baseline.label} and {evaluation.label} differ in problems or samples")
    mask = np.ones(len(evaluation.problem_ids), dtype=bool) if mask is None else np.asarray(mask)
    ks = powers_of_two(evaluation.n_samples)

    def values(e: Evaluation) -> np.ndarray:
        return np.stack([pass_at_k(np.array(e.n_correct)[mask], e.n_samples, k) for k in ks], axis=1)

    ours_PK = values(evaluation)
    gains_PK = ours_PK - (values(baseline) if baseline else np.nan)
    unknown_K2 = np.full((len(ks), 2), np.nan)
    gain_ends_K2 = bootstrap_intervals(gains_PK) if baseline else unknown_K2
    return Curve(tuple(ks), ours_PK.mean(0), bootstrap_intervals(ours_PK), gains_PK.mean(0), gain_ends_K2)


def naive_pass_at_k(n_correct, n_samples, k: int):
    """1 - (1 - c/n)^k, the estimate that puts the observed share of correct samples in place of the true one: biased.

    Here to be compared with `scope_lab.pass_at_k`, which is what the package uses.
    """
    return 1 - (1 - np.asarray(n_correct) / np.asarray(n_samples)) ** k


def expected_estimate(estimator, p, n: int, k: int) -> np.ndarray:
    """The mean of estimator(c, n, k) over all outcomes c ~ Binomial(n, p), exactly. p: a number or array."""
    c = np.arange(n + 1)
    p = np.asarray(p, dtype=float)[..., None]
    chance = np.array([comb(n, i) for i in c]) * p**c * (1 - p) ** (n - c)
    return (chance * estimator(c, np.full(n + 1, n), k)).sum(-1)
