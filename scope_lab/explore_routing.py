"""What lessons 01 and 02 show, as numbers: kinds of groups, what each method pushes, and how lengths intrude."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path as File

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .explore import Path, token_texts
from .objective import effective_sample_size, group_weights, rollout_coefficients, token_advantages
from .rollouts import Rollouts

KINDS = ("all wrong", "mixed", "all correct", "no verdict")


@dataclass(frozen=True)
class Recording:
    """Recorded rollouts and the text of every response token, "⏎" for the end token; `tokens` has a list a rollout."""

    rollouts: Rollouts
    tokens: list[list[str]]

    @classmethod
    def of(cls, rollouts: Rollouts) -> "Recording":
        """Rollouts whose tokens are characters (others get nothing in their cells)."""
        return cls(rollouts, [token_texts(rollouts, row) for row in range(len(rollouts))])

    @classmethod
    def load(cls, path: str | File, rollouts_per_prompt: int | None = None) -> "Recording":
        """Read `data/rollouts/*.parquet`, of every prompt the first few rollouts. Raises ValueError as `Rollouts`."""
        frame = pd.read_parquet(path)
        if rollouts_per_prompt is not None:
            frame = frame[frame.groupby("prompt_id").cumcount() < rollouts_per_prompt]
            frame.attrs = {}
        order = np.argsort(pd.factorize(frame.prompt_id)[0], kind="stable")
        ended = (frame.finish_reason == "stop").to_numpy()[order]
        texts = [list(tokens) for tokens in frame.tokens.iloc[order]]
        tokens = [[*row[:-1], "⏎"] if stop and row else row for row, stop in zip(texts, ended, strict=True)]
        return cls(Rollouts.from_frame(frame), tokens)


def split_groups(rollouts: Rollouts, rollouts_per_prompt: int) -> Rollouts:
    """Cut every prompt's recording into groups of that size, each a group of its own; what is left over goes.

    So 320 prompts × 32 rollouts give 1,280 groups of 8. Groups of one prompt stand together and share its problem.
    """
    group_B = rollouts.group_B
    first_P = torch.searchsorted(group_B, torch.arange(len(rollouts.problems)))
    piece_B = torch.div(torch.arange(len(group_B)) - first_P[group_B], rollouts_per_prompt, rounding_mode="floor")
    full_P = torch.div(torch.bincount(group_B), rollouts_per_prompt, rounding_mode="floor")
    kept = rollouts.select(piece_B < full_P[group_B])
    label_B = (group_B * (int(piece_B.max()) + 1) + piece_B)[piece_B < full_P[group_B]]
    labels, new_B = torch.unique(label_B, return_inverse=True)
    old_B = kept.group_B[torch.searchsorted(new_B, torch.arange(len(labels)))].tolist()
    prompts = [kept.prompt_tokens[p] for p in old_B] if kept.prompt_tokens else []
    return replace(kept, problems=[kept.problems[p] for p in old_B], prompt_tokens=prompts, group_B=new_B)


def group_kinds(rollouts: Rollouts) -> pd.DataFrame:
    """A row a group: how many rollouts are correct, wrong, unknown, and the group's kind (one of KINDS)."""
    n = len(rollouts.problems)
    correct_B, known_B = rollouts.correct_B, rollouts.known_B
    columns = {"correct": correct_B, "wrong": known_B & ~correct_B, "unknown": ~known_B}
    table = pd.DataFrame({k: torch.bincount(rollouts.group_B[m], minlength=n).numpy() for k, m in columns.items()})
    right, wrong = table.correct > 0, table.wrong > 0
    kind = np.select([right & wrong, right, wrong], ["mixed", "all correct", "all wrong"], "no verdict")
    table["kind"] = pd.Categorical(kind, KINDS)
    return table


def kind_shares(rollouts: Rollouts, sizes: Sequence[int]) -> pd.DataFrame:
    """A row a group size: the shares of groups of each kind, and how many groups were counted."""
    rows = []
    for size in sizes:
        kinds = group_kinds(split_groups(rollouts, size)).kind
        rows.append({"size": size, **kinds.value_counts(normalize=True), "groups": len(kinds)})
    return pd.DataFrame(rows).set_index("size")


def pushes(rollouts: Rollouts, method: str, tau: float = 1.0) -> Tensor:
    """The advantage of every token under a method, (B, T): what the step's loss multiplies with the token's ratio.

    Times the number of prompts, so that one prompt's turn in the step is worth 1: SCOPE gives w on correct rollouts
    and -w · (log pi_S - log pi_T) on wrong ones; OPD minus the log-ratio, PSR 1 and GRPO its standardised reward,
    these three divided by the rollouts of a prompt.
    Rollouts without a verdict get 0, but for OPD, which reads no verdict.
    """
    known_B = torch.ones_like(rollouts.known_B) if method in ("opd", "kd") else rollouts.known_B
    coefficients = rollout_coefficients(
        method,
        rollouts.student_nll_B,
        rollouts.teacher_nll_B,
        rollouts.correct_B,
        rollouts.group_B,
        rollouts.length_B,
        usable_B=known_B,
        tau=tau,
    )
    n = len(rollouts.problems)
    reward_B, distill_B = coefficients.reward_B * n, coefficients.distill_B * n
    return token_advantages(
        reward_B, distill_B, rollouts.student_logp_BT, rollouts.teacher_logp_BT, rollouts.mask_BT
    ).float()


def learning_groups(rollouts: Rollouts, methods: Sequence[str]) -> pd.DataFrame:
    """A row a method: the share of rollouts, and of groups of each kind, in which some token has an advantage."""
    kinds, group_B = group_kinds(rollouts), rollouts.group_B.numpy()
    rows = []
    for method in methods:
        pushed_B = (pushes(rollouts, method) != 0).any(1).numpy()
        pushed_P = np.bincount(group_B[pushed_B], minlength=len(kinds)) > 0
        by_kind = pd.Series(pushed_P).groupby(kinds.kind, observed=True).mean()
        rows.append({"method": method, "rollouts": pushed_B.mean(), "groups": pushed_P.mean(), **by_kind})
    return pd.DataFrame(rows).set_index("method")


def length_weights(path: Path, length_B: Tensor, tau: float = 1.0) -> dict[str, np.ndarray]:
    """A path's weights by the mean over tokens, as the paper has it, and by the sum, which forgets the length."""
    sum_B = path.nll_B.double() * length_B
    kinds = {"mean over tokens": path.nll_B, "sum over tokens": sum_B}
    return {
        name: group_weights(nll_B, path.member_B, path.group_B, tau, path.power).numpy()
        for name, nll_B in kinds.items()
    }


def length_table(path: Path, length_B: Tensor, tau: float = 1.0, least: int = 3) -> pd.DataFrame:
    """A row a normalisation: medians over groups with at least `least` rollouts, and how lengths steer weights.

    kept         effective sample size as a fraction of the path's rollouts
    largest      largest single share
    with length  mean over groups of the rank correlation of weight and length, from -1 to 1 (groups of one length
                 or of equal weights are left out)
    """
    rows = []
    for name, weights_B in length_weights(path, length_B, tau).items():
        ess_P = effective_sample_size(torch.from_numpy(weights_B), path.group_B).numpy()
        groups = np.flatnonzero(path.size_P >= least).tolist()
        members = [path.members(g) for g in groups]
        rank = [
            np.corrcoef(pd.Series(length_B[m].numpy()).rank(), pd.Series(weights_B[m]).rank())[0, 1]
            for m in members
            if np.ptp(length_B[m].numpy()) and np.ptp(weights_B[m])
        ]
        rows.append(
            {
                "weights by": name,
                "kept": np.median(ess_P[groups] / path.size_P[groups]),
                "largest": np.median([weights_B[m].max() for m in members]),
                "with length": np.mean(rank) if rank else np.nan,
                "flipped": _flipped(path, length_B, members) if name.startswith("sum") else 0.0,
                "groups": len(groups),
            }
        )
    return pd.DataFrame(rows).set_index("weights by")


def _flipped(path: Path, length_B: Tensor, members: list[np.ndarray]) -> float:
    flipped = pairs = 0
    for rows in members:
        mean, length = path.nll_B[rows].double().numpy(), length_B[rows].numpy()
        by_mean, by_sum = (np.sign(x[:, None] - x[None]) for x in (mean, mean * length))
        flipped += int((by_mean * by_sum < 0).sum()) // 2
        pairs += len(rows) * (len(rows) - 1) // 2
    return flipped / max(pairs, 1)
