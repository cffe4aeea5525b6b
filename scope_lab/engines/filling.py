"""Rollouts that fill up row by row, as an engine finishes them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..rollouts import Rollouts, Sampling
from ..tasks import Problem
from . import OnFinished


class Filling:
    """Empty rollouts of some prompts at first; `add` finished rows in any order, `result` at the end.

    prompts  token ids of each problem's prompt; pad_id fills what follows a response
    """

    def __init__(
        self,
        tokenizer,
        problems: Sequence[Problem],
        prompts: list[list[int]],
        rollouts_per_prompt: int,
        sampling: Sampling,
        pad_id: int,
        on_finished: OnFinished | None = None,
        task: str = "",
    ):
        B, T = len(problems) * rollouts_per_prompt, sampling.max_new_tokens
        self.tokenizer, self.on_finished = tokenizer, on_finished
        self.rollouts = Rollouts(
            task=task,
            problems=list(problems),
            group_B=torch.arange(len(problems)).repeat_interleave(rollouts_per_prompt),
            tokens_BT=torch.full((B, T), pad_id),
            mask_BT=torch.zeros((B, T), dtype=torch.bool),
            responses=[""] * B,
            finish_reason=[""] * B,
            student_logp_BT=torch.full((B, T), torch.nan),
            sampling=sampling,
            prompt_tokens=prompts,
            pad_id=pad_id,
        )

    def add(self, rows: Tensor, tokens_nL: Tensor, logp_nL: Tensor, ended: bool) -> None:
        """Rows (n,) whose responses have L tokens each, log-probs in nats beside them, on the CPU.

        ended  whether the last token is an EOS; else the response is truncated
        """
        rollouts, length = self.rollouts, tokens_nL.shape[1]
        rollouts.tokens_BT[rows, :length] = tokens_nL
        rollouts.student_logp_BT[rows, :length] = logp_nL
        rollouts.mask_BT[rows, :length] = True
        # Only the final EOS is dropped: a special token in the middle is part of what the verifier judges.
        said_nL = tokens_nL[:, : length - ended].tolist()
        for row, said in zip(rows.tolist(), said_nL, strict=True):
            rollouts.responses[row] = self.tokenizer.decode(said)
            rollouts.finish_reason[row] = "stop" if ended else "length"
        if self.on_finished:
            self.on_finished(rollouts, rows)

    def result(self) -> Rollouts:
        """All rows, cut to the longest response. Raises RuntimeError where a row was never added."""
        rollouts = self.rollouts
        if missing := rollouts.finish_reason.count(""):
            raise RuntimeError(f"engine: {missing} of {len(rollouts)} rollouts never finished")
        T = max(int(rollouts.length_B.max()), 1)
        return replace(
            rollouts,
            tokens_BT=rollouts.tokens_BT[:, :T],
            mask_BT=rollouts.mask_BT[:, :T],
            student_logp_BT=rollouts.student_logp_BT[:, :T],
            teacher_logp_BT=rollouts.teacher_logp_BT[:, :T],
        )
