"""What the figures and widgets show, as numbers: each path's weights, and what they amount to in every group."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .methods import METHODS
from .objective import effective_sample_size, group_weights
from .rollouts import Rollouts


@dataclass(frozen=True)
class Path:
    """One of SCOPE's two paths through some rollouts: who is on it, and whose perplexity weighs them.

    name     "student" (correct rollouts, student's perplexity) or "teacher" (wrong rollouts, teacher's perplexity)
    nll_B    (B,) nats per token, log of the perplexity; member_B (B,) bool; group_B (B,) int: prompt of each rollout
    power    sign of the exponent 1/tau: +1 high perplexity counts more (Eq. 4), -1 less (Eq. 5)
    """

    name: str
    nll_B: Tensor
    member_B: Tensor
    group_B: Tensor
    power: float

    @property
    def verdict(self) -> str:
        return "correct" if self.name == "student" else "wrong"

    @property
    def size_P(self) -> np.ndarray:
        """Rollouts on the path, one count a prompt."""
        return torch.bincount(self.group_B[self.member_B], minlength=int(self.group_B.max()) + 1).numpy()

    def members(self, group: int) -> np.ndarray:
        """Rows of one prompt's members, from low to high perplexity."""
        rows = torch.nonzero(self.member_B & (self.group_B == group)).squeeze(1)
        return rows[torch.argsort(self.nll_B[rows], stable=True)].numpy()


def paths(rollouts: Rollouts) -> tuple[Path, Path]:
    """Student path and teacher path of verified rollouts; those without a verdict are on neither.

    Raises ValueError where a verdict or the teacher's log-probabilities of wrong rollouts are missing.
    """
    if not rollouts.verifications:
        raise ValueError("rollouts: found no verdicts, accepted rollouts after `rollouts.verify(task)`")
    correct_B, known_B, scope = rollouts.correct_B, rollouts.known_B, METHODS["scope"]
    wrong_B, teacher_nll_B = known_B & ~correct_B, rollouts.teacher_nll_B
    unscored = int(torch.isnan(teacher_nll_B[wrong_B]).sum())
    if unscored:
        raise ValueError(f"rollouts: found {unscored} wrong rollouts that no teacher has scored, accepted none")
    student = Path("student", rollouts.student_nll_B, correct_B, rollouts.group_B, scope.student_power)
    return student, Path("teacher", teacher_nll_B, wrong_B, rollouts.group_B, scope.teacher_power)


@dataclass(frozen=True)
class Shares:
    """A path's weights at one tau, and per prompt what they amount to (NaN where the path is empty).

    weights_B    (B,) share of the prompt's one unit of weight, 0 off the path
    size_P       rollouts on the path
    ess_P        rollouts: effective sample size 1 / sum w², from 1 to size
    largest_P    the largest single share, from 1 / size to 1
    entropy_P    nats, -sum w log w, from 0 to log size
    """

    weights_B: np.ndarray
    size_P: np.ndarray
    ess_P: np.ndarray
    largest_P: np.ndarray
    entropy_P: np.ndarray

    @property
    def kept_P(self) -> np.ndarray:
        """Effective sample size as a fraction of the path's rollouts; NaN on paths of fewer than two."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.size_P > 1, self.ess_P / self.size_P, np.nan)


def weigh(path: Path, tau) -> Shares:
    """The path's weights at tau (a number above 0, infinity, or one a rollout) and their size in every group."""
    weights_B = group_weights(path.nll_B, path.member_B, path.group_B, tau, path.power)
    size_P = path.size_P
    empty = size_P == 0
    largest_P = torch.zeros(len(size_P)).scatter_reduce(0, path.group_B, weights_B, "amax").numpy()
    entropy_P = torch.zeros(len(size_P)).index_add(0, path.group_B, torch.special.entr(weights_B)).numpy()
    return Shares(
        weights_B.numpy(),
        size_P,
        np.where(empty, np.nan, effective_sample_size(weights_B, path.group_B).numpy()),
        np.where(empty, np.nan, largest_P),
        np.where(empty, np.nan, entropy_P),
    )


def tau_table(rollouts: Rollouts, taus) -> pd.DataFrame:
    """A row a path and tau: medians over all groups with at least two rollouts on that path.

    kept      effective sample size as a fraction of the path's rollouts
    largest   largest single share; entropy: as a fraction of its maximum, log size
    groups    how many groups are counted
    """
    rows = []
    for path in paths(rollouts):
        several = path.size_P > 1
        for tau in taus:
            shares = weigh(path, tau)
            entropy = shares.entropy_P[several] / np.log(shares.size_P[several])
            rows.append(
                {
                    "path": path.name,
                    "tau": float(tau),
                    "kept": np.median(shares.kept_P[several]),
                    "kept_low": np.quantile(shares.kept_P[several], 0.1),
                    "kept_high": np.quantile(shares.kept_P[several], 0.9),
                    "largest": np.median(shares.largest_P[several]),
                    "entropy": np.median(entropy),
                    "groups": int(several.sum()),
                }
            )
    return pd.DataFrame(rows)


def mixed_groups(rollouts: Rollouts, least: int = 2) -> list[int]:
    """Prompts with at least `least` rollouts on both paths, so that both have something to weigh."""
    student, teacher = paths(rollouts)
    return np.flatnonzero((student.size_P >= least) & (teacher.size_P >= least)).tolist()


def smaller_groups(rollouts: Rollouts, rollouts_per_prompt: int) -> Rollouts:
    """The first few rollouts of every prompt: a recording cut to the group size of a training step."""
    group_B = rollouts.group_B
    first_P = torch.searchsorted(group_B, torch.arange(len(rollouts.problems)))
    return rollouts.select(torch.nonzero(torch.arange(len(group_B)) - first_P[group_B] < rollouts_per_prompt)[:, 0])
