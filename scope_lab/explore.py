"""What the figures and widgets show, as numbers: each path's weights, and what they amount to in every group."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .methods import METHODS
from .objective import effective_sample_size, group_weights, solve_tau
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
    student = Path("student", rollouts.student_nll_B, correct_B, rollouts.group_B, scope.student_power or 0)
    return student, Path("teacher", teacher_nll_B, wrong_B, rollouts.group_B, scope.teacher_power or 0)


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


def solved_taus(rollouts: Rollouts, ess_fraction: float) -> dict[str, np.ndarray]:
    """By path: the tau at which each group keeps `ess_fraction` of it, for groups where such a tau exists.

    It exists where the path has two rollouts or more of different perplexity and the fraction of it is more than one.
    """
    solved = {}
    for path in paths(rollouts):
        tau_B = solve_tau(path.nll_B, path.member_B, path.group_B, path.power, ess_fraction)
        tau_P = torch.zeros(len(path.size_P), dtype=tau_B.dtype).index_put((path.group_B,), tau_B).numpy()
        kept_P = weigh(path, tau_B).kept_P
        exists = np.isclose(kept_P, ess_fraction, rtol=1e-3) & (ess_fraction * path.size_P > 1.001)
        solved[path.name] = tau_P[exists]
    return solved


def mixed_groups(rollouts: Rollouts, least: int = 2) -> list[int]:
    """Prompts with at least `least` rollouts on both paths, so that both have something to weigh."""
    student, teacher = paths(rollouts)
    return np.flatnonzero((student.size_P >= least) & (teacher.size_P >= least)).tolist()


def smaller_groups(rollouts: Rollouts, rollouts_per_prompt: int) -> Rollouts:
    """The first few rollouts of every prompt: a recording cut to the group size of a training step."""
    group_B = rollouts.group_B
    first_P = torch.searchsorted(group_B, torch.arange(len(rollouts.problems)))
    return rollouts.select(torch.nonzero(torch.arange(len(group_B)) - first_P[group_B] < rollouts_per_prompt)[:, 0])


def percent(value: float) -> str:
    """0.0713 -> "7.1 %", 0.713 -> "71 %", 0.9991 -> "99.9 %": never 100 % for less, but for rounding at 1e-5."""
    if value < 0.0995:
        return f"{100 * value:.1f} %"
    if value < 0.99 or value > 1 - 1e-5:
        return f"{100 * value:.0f} %"
    return f"{min(100 * value, 99.99):.{1 if value < 0.999 else 2}f} %"


def brief(text: str, most: int = 60) -> str:
    """A text on one line, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def path_title(path: Path, n: int | None = None) -> str:
    count = f"{n} {path.verdict}" if n is not None else path.verdict
    return f"{path.name.capitalize()} path: {count} rollout{'' if n == 1 else 's'}"


def group_title(rollouts: Rollouts, both: tuple[Path, Path], group: int) -> str:
    """A prompt, cut where it is long, and how many of its rollouts are on either path."""
    counts = (f"{path.size_P[group]} {path.verdict}" for path in both)
    return f"prompt {brief(rollouts.problems[group].prompt)}  {', '.join(counts)}"


def path_words(path: Path, shares: Shares, group: int) -> str:
    """One path of one prompt in words, with numbers."""
    n = int(shares.size_P[group])
    if n < 2:
        return f"{path.name} path: " + (f"one {path.verdict} rollout with all the weight" if n else "empty")
    return (
        f"{path.name} path: {n} {path.verdict} rollouts count as {shares.ess_P[group]:.1f}, "
        f"largest share {percent(shares.largest_P[group])} (equal share {percent(1 / n)}), "
        f"entropy {shares.entropy_P[group]:.2f} of {np.log(n):.2f} nats"
    )


def kept_words(path: Path, shares: Shares) -> str:
    several = shares.size_P > 1
    if not several.any():
        return f"no group has two rollouts on the {path.name} path"
    median = percent(np.median(shares.kept_P[several]))
    return f"{path.name} path keeps {median} of its rollouts (median of {several.sum()} groups with two or more)"


def token_texts(rollouts: Rollouts, row: int) -> list[str]:
    """What stands in each token's cell: its character where tokens are characters, ⏎ for EOS; else nothing."""
    n, response = int(rollouts.length_B[row]), rollouts.responses[row]
    ended = rollouts.finish_reason[row] == "stop"
    return [*response, "⏎"][:n] if len(response) + ended == n else [""] * n
