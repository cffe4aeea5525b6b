"""Batches whose loss or gradient was not finite, kept in the run folder: which rows hold what.

RUN/skipped/step-*.parquet is an ordinary rollouts file (`scope-lab inspect` reads it) with three columns more,
`reward`, `distill` and `update_logp`: each rollout's two coefficients in the loss, and the student's log-probs in the
update that was left out. step-*.json beside it has the step's metrics.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .durable import whole_file, write_text
from .teachers.local import default_tokens_per_batch, score
from .update import Batch

KEPT = 5  # batches in a run folder; the first ones tell the most
LOGPROBS = {
    "student_logp": "the student's, when sampling",
    "teacher_logp": "the teacher's",
    "update_logp": "the student's, in the update",
}


def keep_batch(run: Path, step: int, batch: Batch, student, tokenizer, metrics: dict) -> Path | None:
    """Write the batch of a skipped update; None where the run holds as many as it may."""
    folder = run / "skipped"
    path = folder / f"step-{step:06d}.parquet"
    if len(list(folder.glob("step-*.parquet"))) >= KEPT and not path.exists():
        return None
    folder.mkdir(exist_ok=True)
    rollouts = batch.rollouts
    update_logp_BT = score(
        student, rollouts, torch.arange(len(rollouts)), rollouts.sampling.scored_at, default_tokens_per_batch(student)
    )
    # A table holds nothing of a teacher's row of which one token is NaN: here it matters.
    teacher_logp = [None if np.isnan(row).all() else row for row in _rows(rollouts.teacher_logp_BT, batch)]
    frame = rollouts.to_frame(tokenizer).assign(
        teacher_logp=pd.Series(teacher_logp, dtype=object),
        update_logp=pd.Series(_rows(update_logp_BT, batch), dtype=object),
        reward=batch.coefficients.reward_B.numpy(),
        distill=batch.coefficients.distill_B.numpy(),
    )
    with whole_file(path) as unfinished:
        frame.to_parquet(unfinished, index=False, compression="zstd")
    write_text(path.with_suffix(".json"), json.dumps(metrics, indent=1) + "\n")
    return path


def _rows(logp_BT: Tensor, batch: Batch) -> list[np.ndarray]:
    """Each rollout's response tokens alone."""
    lengths = batch.rollouts.length_B.tolist()
    return [row[:n].numpy() for row, n in zip(logp_BT.float(), lengths, strict=True)]


def findings(path: str | Path) -> list[str]:
    """What is wrong with the numbers of a rollouts file, a line each: kind, how many rows, and which; [] where nothing.

    Of a kept batch it also says where every log-prob is finite, and which row weighs the most: its gradient overflowed.
    """
    frame = pd.read_parquet(path)
    lines = []
    for column, whose in LOGPROBS.items():
        if column not in frame.columns:
            continue
        for kind, test in (("NaN", np.isnan), ("infinite", np.isinf), ("above 0", lambda x: x > 1e-3)):
            bad = [i for i, x in enumerate(frame[column]) if x is not None and test(np.asarray(x, dtype=float)).any()]
            if bad:
                shown = ", ".join(map(str, bad[:8])) + (", …" if len(bad) > 8 else "")
                lines.append(f"{len(bad)} rows have log-probs that are {kind} ({whose}): {shown}")
    if "update_logp" in frame.columns and not lines:
        weight = frame.reward.abs() + frame.distill.abs()
        heaviest = f"row {weight.idxmax()} weighs the most ({weight.max():g})"
        lines.append(f"every log-prob is finite: loss or gradient overflowed; {heaviest}")
    return lines
