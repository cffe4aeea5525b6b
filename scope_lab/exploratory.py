"""Why SCOPE does or does not beat OPD: what its runs logged. Looked at afterwards: it suggests, and decides nothing."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from .ablations import FinishedRun, paired
from .diversity import difficulty_bands, solution_counts
from .explore_reference import loss_gradient
from .methods import METHODS
from .objective import rollout_coefficients
from .results import RecordedRun
from .rollouts import Rollouts
from .seeds import contrast, over_problems

# A quantity of metrics.jsonl, in words; {path}: student or teacher.
SIGNALS = {
    "{path}_count": "rollouts on the {path} path, a step",
    "{path}_ess_fraction": "effective share of the {path} path (1: its weights are equal)",
    "{path}_weight_max": "largest weight on the {path} path",
    "{path}_ppl_q50": "median perplexity on the {path} path",
    "{path}_path_loss": "{path} path's part of the loss, nats",
    "reverse_kl": "log-ratio to the teacher on wrong rollouts, nats a token",
}
GROUPS = {
    "groups_all_wrong": "prompts without a correct rollout, share",
    "groups_mixed": "prompts with both paths, share",
    "groups_all_correct": "prompts without a wrong rollout, share",
}


def signals(runs: Sequence[RecordedRun], variant: str = "scope", window: int = 20) -> pd.DataFrame:
    """What a variant's runs logged, means over seeds: a row a quantity (in words), columns "first" and "last" steps.

    Empty without such runs; a quantity that was not logged is left out.
    """
    logs = [run.metrics for run in runs if run.variant == variant]
    if not logs:
        return pd.DataFrame(columns=["first", "last"])
    words = {
        name.replace("{path}", path): text.replace("{path}", path)
        for name, text in SIGNALS.items()
        for path in (("student", "teacher") if "{path}" in name else ("",))
    }
    if all(set(GROUPS) <= set(log) for log in logs):
        logs = [log.assign(**_shares(log)) for log in logs]
    rows = {}
    for name, text in {**words, **GROUPS}.items():
        if all(name in log for log in logs):
            rows[text] = {
                "first": np.nanmean([log[name].iloc[:window].mean() for log in logs]),
                "last": np.nanmean([log[name].iloc[-window:].mean() for log in logs]),
            }
    return pd.DataFrame(rows, index=["first", "last"]).T


def _shares(log: pd.DataFrame) -> dict[str, pd.Series]:
    prompts = log[list(GROUPS)].sum(axis=1)
    return {name: log[name] / prompts for name in GROUPS}


def by_difficulty(runs: Sequence[FinishedRun], baselines: Sequence[str] = ("opd-one", "opd")) -> pd.DataFrame:
    """SCOPE less OPD on hard, medium and easy problems, points: a row a baseline, metric and band.

    Countdown alone has such bands: no rows for another task. Pairs that share no seed are left out.
    """
    seeds = {m: {run.seed for run in runs if run.method == m} for m in ("scope", *baselines)}
    columns = ["baseline", "band", "problems", "metric", "seeds", "mean", "low", "high"]
    rows = []
    for baseline in baselines:
        if not seeds["scope"] & seeds[baseline] or not runs[0].after.task.startswith("countdown"):
            continue
        n = runs[0].after.n_samples
        bands = difficulty_bands(solution_counts(runs[0].after))
        for metric in (f"avg@{n}", f"pass@{n}"):
            values_SP = 100 * paired(runs, "scope", baseline, metric).difference_SP
            for band, mask in bands.items():
                if band != "all" and mask.sum() > 1:
                    found = contrast(values_SP[:, mask])
                    ends = found.interval if len(values_SP) > 1 else over_problems(values_SP[:, mask])
                    rows.append((baseline, band, mask.sum(), metric, len(values_SP), found.mean, *ends))
    return pd.DataFrame(rows, columns=columns)


def path_gradients(model, rollouts: Rollouts, tau: float = 1.0) -> dict[str, float]:
    """Of one SCOPE step on these rollouts, scored by the teacher: the gradient of each path by itself.

    Returns student and teacher, the gradients' lengths, and cosine, that of the angle between them: NaN where a path is
    empty.
    """
    found = rollout_coefficients(
        METHODS["scope"],
        rollouts.student_nll_B,
        rollouts.teacher_nll_B,
        rollouts.correct_B,
        rollouts.group_B,
        rollouts.length_B,
        rollouts.known_B,
        tau,
    )
    rows, nothing_B = range(len(rollouts)), torch.zeros_like(found.reward_B)
    student_N = loss_gradient(model, rollouts, rows, found.reward_B, nothing_B)
    teacher_N = loss_gradient(model, rollouts, rows, nothing_B, found.distill_B, rollouts.teacher_logp_BT)
    student, teacher = float(student_N.norm()), float(teacher_N.norm())
    both = student * teacher
    return {"student": student, "teacher": teacher, "cosine": float(student_N @ teacher_N) / both if both else math.nan}
