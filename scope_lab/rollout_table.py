"""Rollouts as a table, a row a rollout: what `Rollouts.save` writes as parquet and `Rollouts.load` reads."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .errors import InputError, one_line, shown
from .rollouts import Rollouts, Sampling, encode_prompts
from .tasks import Problem, Verdict, Verification

# The columns of a rollouts table, a row a rollout; log-probs are lists of float32 nats.
COLUMNS = (
    "task",
    "prompt_id",
    "rollout_id",
    "prompt",
    "reference",
    "response",
    "verdict",
    "finish_reason",
    "token_ids",
    "tokens",
    "student_logp",
    "teacher_logp",
    "student",
    "teacher",
    "sampling_temperature",
    "logprob_temperature",
    "seed",
    "step",
)
SCORE = "score"  # one more column, where the task gives partial credit: a share in 0..1, empty where it gave none


def to_frame(rollouts: Rollouts, tokenizer) -> pd.DataFrame:
    """A row a rollout, with the columns of `data/rollouts/*.parquet` (data/README.md)."""
    decoded = cache(lambda token: tokenizer.decode([token]))
    problems = [rollouts.problems[group] for group in rollouts.group_B.tolist()]
    lengths = rollouts.length_B.tolist()
    scored_B = ~(rollouts.teacher_logp_BT.isnan() & rollouts.mask_BT).any(-1)

    def unpadded(x_BT: Tensor, dtype) -> list[np.ndarray]:
        return [row[:length] for row, length in zip(x_BT.numpy().astype(dtype), lengths, strict=True)]

    token_ids = unpadded(rollouts.tokens_BT, np.int32)
    teacher_logp = unpadded(rollouts.teacher_logp_BT, np.float32)
    columns: dict[str, Any] = {
        "task": rollouts.task,
        "prompt_id": [problem.id for problem in problems],
        "rollout_id": pd.Series(rollouts.group_B.numpy()).groupby(rollouts.group_B.numpy()).cumcount(),
        "prompt": [problem.prompt for problem in problems],
        "reference": [problem.reference for problem in problems],
        "response": rollouts.responses,
        "verdict": [str(v.verdict) for v in rollouts.verifications] or "unknown",
        "finish_reason": rollouts.finish_reason,
        "token_ids": token_ids,
        "tokens": [[decoded(token) for token in ids.tolist()] for ids in token_ids],
        "student_logp": unpadded(rollouts.student_logp_BT, np.float32),
        "teacher_logp": [x if scored else None for x, scored in zip(teacher_logp, scored_B.tolist(), strict=True)],
        "student": rollouts.student,
        "teacher": rollouts.teacher,
        "sampling_temperature": rollouts.sampling.temperature,
        "logprob_temperature": rollouts.sampling.scored_at,
        "seed": rollouts.sampling.seed,
        "step": rollouts.step,
    }
    frame = pd.DataFrame(columns)
    scores = [verification.score for verification in rollouts.verifications]
    return frame if all(score is None for score in scores) else frame.assign(**{SCORE: np.array(scores, dtype=float)})


def _check_columns(frame: pd.DataFrame) -> None:
    """Raises InputError naming the first column that holds what it should not; non-finite log-probs are let through."""

    def demand(right: pd.Series, name: str, accepted: str) -> None:
        if not right.all():
            raise InputError(f"{name}: found {shown(frame[name][~right].iloc[0])}, accepted {accepted}")

    for name in ("task", "prompt", "response", "student", "teacher"):
        demand(frame[name].map(lambda value: isinstance(value, str)), name, "text")
    for name in ("prompt_id", "reference"):
        demand(frame[name].map(lambda value: isinstance(value, str | int | np.integer)), name, "text or a whole number")
    for name, accepted in (("verdict", {str(v) for v in Verdict}), ("finish_reason", {"stop", "length"})):
        demand(frame[name].isin(accepted), name, ", ".join(sorted(accepted)))
    for name in ("sampling_temperature", "logprob_temperature", "seed", "step"):
        if not pd.api.types.is_numeric_dtype(frame[name]):
            raise InputError(f"{name}: found {shown(frame[name].iloc[0])}, accepted numbers")
    for name in ("sampling_temperature", "logprob_temperature"):
        demand((frame[name] > 0) & (frame[name] < np.inf), name, "a number above 0")
    if SCORE in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[SCORE]):
            raise InputError(f"{SCORE}: found {shown(frame[SCORE].iloc[0])}, accepted numbers")
        demand(frame[SCORE].isna() | frame[SCORE].between(0, 1), SCORE, "a share from 0 to 1")
    demand(frame.token_ids.map(_are_token_ids), "token_ids", "whole numbers from 0 on, one at least")
    for name in ("student_logp", "teacher_logp"):
        demand(frame[name].map(lambda values: values is None or _are_numbers(values)), name, "a list of numbers")
    demand(frame.task == frame.task.iloc[0], "task", f"{frame.task.iloc[0]!r}, as in the first row")
    demand(frame.groupby("prompt_id").prompt.transform("nunique") == 1, "prompt", "one prompt for each prompt_id")


def _are_numbers(values) -> bool:
    return isinstance(values, np.ndarray | list) and np.asarray(values).dtype.kind in "fiu"


def _are_token_ids(values) -> bool:
    return _are_numbers(values) and np.asarray(values).dtype.kind in "iu" and bool(len(values)) and np.min(values) >= 0


def from_frame(frame: pd.DataFrame, tokenizer=None) -> Rollouts:
    """The inverse of `to_frame`. Rows of a prompt may stand anywhere; they are brought together."""
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise InputError(f"missing columns {', '.join(missing)}")
    for column in COLUMNS:
        if column != "teacher_logp" and frame[column].isna().any():
            raise InputError(f"{column}: found an empty cell, accepted a value in every row")
    if frame.empty:
        raise InputError("found no rows, accepted at least one")
    _check_columns(frame)
    group_codes, _ = pd.factorize(frame.prompt_id)
    order = np.argsort(group_codes, kind="stable")
    frame, group_B = frame.iloc[order], torch.from_numpy(group_codes[order])
    firsts = frame.drop_duplicates("prompt_id")
    problems = [
        Problem(str(i), p, r) for i, p, r in zip(firsts.prompt_id, firsts.prompt, firsts.reference, strict=True)
    ]
    lengths = np.array([len(ids) for ids in frame.token_ids])
    for name in ("student_logp", "teacher_logp"):
        for length, values, i in zip(lengths, frame[name], frame.prompt_id, strict=True):
            if values is not None and len(values) != length:
                raise InputError(f"{name} of prompt {i}: found {len(values)} values, accepted {length}")
    mask_BT = torch.from_numpy(np.arange(lengths.max())[None, :] < lengths[:, None])

    def padded(column: str, fill, dtype) -> Tensor:
        out = np.full(mask_BT.shape, fill, dtype=dtype)
        for i, values in enumerate(frame[column]):
            if values is not None:
                out[i, : len(values)] = values
        return torch.from_numpy(out)

    first = frame.iloc[0]
    recorded: dict[str, Any] = frame.attrs.get("sampling") or {
        "temperature": float(first.sampling_temperature),
        "logprob_temperature": float(first.logprob_temperature),
        "max_new_tokens": int(lengths.max()),
        "seed": int(first.seed),
    }
    try:
        sampling = Sampling(**recorded)
    except TypeError as error:
        raise InputError(f"sampling settings in the file's metadata: {one_line(error)}") from None
    return Rollouts(
        task=first.task,
        problems=problems,
        group_B=group_B,
        tokens_BT=padded("token_ids", 0, np.int64),
        mask_BT=mask_BT,
        responses=frame.response.tolist(),
        finish_reason=frame.finish_reason.tolist(),
        student_logp_BT=padded("student_logp", np.nan, np.float32),
        teacher_logp_BT=padded("teacher_logp", np.nan, np.float32),
        verifications=_verifications(frame),
        sampling=sampling,
        prompt_tokens=encode_prompts(tokenizer, problems) if tokenizer is not None else [],
        pad_id=tokenizer.pad_token_id if tokenizer is not None else 0,
        student=first.student,
        teacher=first.teacher,
        step=int(first.step),
    )


def _verifications(frame: pd.DataFrame) -> list[Verification]:
    scores = frame[SCORE] if SCORE in frame.columns else [None] * len(frame)
    return [
        Verification(Verdict(verdict), "recorded", score=None if pd.isna(score) else float(score))
        for verdict, score in zip(frame.verdict, scores, strict=True)
    ]
