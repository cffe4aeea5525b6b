"""What the recorded runs of a sweep say, read from its folder: see data/results/PROTOCOL.md."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from .ablations import FinishedRun
from .checkpoint import check_same, evaluation_file, evaluation_files, is_complete, read_metrics
from .diversity import Curve, pass_curve
from .errors import InputError
from .evaluation import Evaluation, pass_at_k, powers_of_two
from .plan import PlannedRun
from .seeds import contrast
from .settings import read_run

RATE_RUN = re.compile(r"(?P<family>.+)-learning_rate-(?P<rate>[^-]+(-\d+)?)-seed\d+")
TIE = 0.001  # rates whose Avg@k is this near the best count as equal
MOST_SKIPPED = 0.05  # share of skipped updates beyond which a run has failed
LAST_STEPS = 20  # the policy's entropy at the end of a run is their mean
SIX = ("scope", "opd", "opd-one", "grpo", "psr", "kd")  # the methods that are compared at equal seconds


def validation_scores(folder: str | Path) -> pd.DataFrame:
    """Avg@k on the validation split, of each finished run of a sweep over learning rates: rows families, columns rates.

    Raises InputError where the folder holds no such run.
    """
    rows = []
    for path in sorted(Path(folder).glob("*-learning_rate-*")):
        name = RATE_RUN.fullmatch(path.name)
        if not name or not (path / "config.yaml").is_file():
            continue
        settings = read_run(path)
        last = evaluation_file(path, settings["steps"])
        if last.is_file():
            found = Evaluation.load(last)
            score = found.metrics()[f"avg@{found.n_samples}"].mean()
            rows.append({"family": name["family"], "rate": settings["learning_rate"], "score": score})
    if not rows:
        raise InputError(f"learning rates: {folder} holds no finished run named FAMILY-learning_rate-RATE-seedN")
    return pd.DataFrame(rows).pivot_table(index="family", columns="rate", values="score", sort=True)


def chosen_rates(folder: str | Path) -> dict[str, float]:
    """The protocol's rule: each family's rate with the highest score; of rates within TIE of it, the lowest."""
    chosen = {}
    for family, scores in validation_scores(folder).iterrows():
        good = scores[scores >= scores.max() - TIE - 1e-9]
        chosen[str(family)] = float(min(good.index))
    return chosen


@dataclass(frozen=True)
class RecordedRun:
    """A finished run of a plan: evaluations by step, metrics a step, and how it was made (manifest.json)."""

    planned: PlannedRun
    evaluations: dict[int, Evaluation]
    metrics: pd.DataFrame
    manifest: dict

    @property
    def variant(self) -> str:
        return self.planned.variant

    @property
    def seed(self) -> int:
        return self.planned.config.seed

    @property
    def steps(self) -> int:
        return self.planned.config.steps

    @property
    def ends(self) -> FinishedRun:
        """Its first and last evaluation: what contrasts are made of."""
        return FinishedRun(self.variant, self.seed, self.evaluations[0], self.evaluations[self.steps])


class Recorded(NamedTuple):
    """What there is of a plan: its finished runs in order, those that failed by the protocol, and how many it has."""

    runs: list[RecordedRun]
    failed: list[RecordedRun]
    planned: int

    @property
    def ends(self) -> list[FinishedRun]:
        return [run.ends for run in self.runs]


def read_recorded(plan: Sequence[PlannedRun]) -> Recorded:
    """Read every finished run of a plan (plan.read_plan).

    A run failed where more than MOST_SKIPPED of its updates were skipped. Raises InputError where a folder holds a run
    with other settings than the plan's.
    """
    runs: list[RecordedRun] = []
    failed: list[RecordedRun] = []
    for planned in plan:
        folder, config = planned.folder, planned.config
        if not ((folder / "config.yaml").is_file() and is_complete(folder, config)):
            continue
        check_same(folder, config)
        evaluations = {step: Evaluation.load(file) for step, file in evaluation_files(folder).items()}
        metrics = read_metrics(folder)
        run = RecordedRun(planned, evaluations, metrics, json.loads((folder / "manifest.json").read_text()))
        skipped = metrics["skipped_updates"].sum() / (config.steps * config.updates_per_batch)
        (failed if skipped > MOST_SKIPPED else runs).append(run)
    return Recorded(runs, failed, len(plan))


def tidy(runs: Sequence[RecordedRun]) -> pd.DataFrame:
    """A row a run, step and problem: variant, seed, step, problem, n_samples, n_correct, n_distinct, answer_entropy."""
    parts = [
        pd.DataFrame(
            {
                "variant": run.variant,
                "seed": run.seed,
                "step": step,
                "problem": evaluation.problem_ids,
                "n_samples": evaluation.n_samples,
                "n_correct": evaluation.n_correct,
                "n_distinct": evaluation.n_distinct,
                "answer_entropy": evaluation.answer_entropy,
            }
        )
        for run in runs
        for step, evaluation in run.evaluations.items()
    ]
    types = {"variant": "category", "problem": "category", "seed": "int16", "step": "int32", "n_samples": "int16"}
    types |= {"n_correct": "int16", "n_distinct": "int16", "answer_entropy": "float32"}
    return pd.concat(parts, ignore_index=True).astype(types) if parts else pd.DataFrame(columns=list(types))


def means(evaluation: Evaluation) -> dict[str, float]:
    """Means over problems. avg@n, pass@n: per cent; distinct: correct solutions a problem; entropy of answers: nats."""
    n, values = evaluation.n_samples, {name: values.mean() for name, values in evaluation.metrics().items()}
    rates = {name: 100 * values[name] for name in (f"avg@{n}", f"pass@{n}")}
    return {**rates, "distinct": values["distinct"], "entropy": values["entropy"]}


def variant_means(runs: Sequence[RecordedRun], teacher: Evaluation | None = None) -> pd.DataFrame:
    """A row a variant after its last step: `means` over its seeds, how many those are, and the policy's entropy over
    the last LAST_STEPS steps, nats a token. Before them "base", the student before training, and the teacher."""
    if not runs:
        return pd.DataFrame()
    rows = [
        {
            "variant": run.variant,
            "seeds": 1,
            **means(run.ends.after),
            "policy entropy": run.metrics["entropy"].iloc[-LAST_STEPS:].mean(),
        }
        for run in runs
    ]
    table = pd.DataFrame(rows).groupby("variant", sort=False)
    untrained = {"base": runs[0].ends.before} | ({"teacher": teacher} if teacher else {})
    first = pd.DataFrame({name: means(evaluation) for name, evaluation in untrained.items()}).T
    return pd.concat([first, table.mean().assign(seeds=table.size())]).rename_axis("variant")


@dataclass(frozen=True)
class Between(Evaluation):
    """What evaluating between two steps would have given: metrics on the line between two evaluations, each problem's.

    Counts are those of the earlier one; share: 0 at the earlier, 1 at the later.
    """

    later: Evaluation | None = None
    share: float = 0.0

    def metrics(self) -> dict[str, np.ndarray]:
        earlier = super().metrics()
        later = self.later.metrics() if self.later else earlier
        return {name: (1 - self.share) * values + self.share * later[name] for name, values in earlier.items()}


def between(evaluations: dict[int, Evaluation], step: float) -> Evaluation:
    """The evaluation at a step, interpolated between the two around it; of the last for a step at or beyond it."""
    earlier = max(known for known in evaluations if known <= step)
    later = min((known for known in evaluations if known > step), default=earlier)
    share = (step - earlier) / (later - earlier) if later > earlier else 0.0
    return Between(**evaluations[earlier].__dict__, later=evaluations[later], share=share)


class EqualSeconds(NamedTuple):
    """Methods as they were after the same seconds: of a step, in all, and the runs."""

    per_step: dict[str, float]
    seconds: float
    runs: list[FinishedRun]


def equal_seconds(
    runs: Sequence[RecordedRun], per_step: Mapping[str, float], methods: Sequence[str] = SIX
) -> EqualSeconds | None:
    """Every method after the seconds that the quickest takes for all its steps; its runs end there instead.

    per_step  seconds a step of each method, measured beside one another: what runs log depends on what else ran
    None where a method has no run or no seconds yet.
    """
    ours = [run for run in runs if run.variant in methods]
    if {run.variant for run in ours} < set(methods) or not per_step.keys() >= set(methods):
        return None
    seconds = {method: per_step[method] for method in methods}
    least = min(seconds[run.variant] * run.steps for run in ours)
    ends = [
        run.ends._replace(after=between(run.evaluations, min(least / seconds[run.variant], run.steps))) for run in ours
    ]
    return EqualSeconds(seconds, least, ends)


def curve_over_seeds(evaluations: Sequence[Evaluation]) -> Curve:
    """Pass@k for k = 1, 2, 4, … n of one method's seeds on the same problems: means, 95 % intervals over both.

    Of a single seed over problems alone. It has no baseline: its differences are NaN.
    """
    first = evaluations[0]
    if len(evaluations) == 1:
        return pass_curve(first)
    ks = powers_of_two(first.n_samples)
    found = [contrast([pass_at_k(e.n_correct, e.n_samples, k) for e in evaluations]) for k in ks]
    unknown_K = np.full(len(ks), np.nan)
    means_K, ends_K2 = np.array([f.mean for f in found]), np.array([f.interval for f in found])
    return Curve(tuple(ks), means_K, ends_K2, unknown_K, np.stack([unknown_K] * 2, axis=1))
