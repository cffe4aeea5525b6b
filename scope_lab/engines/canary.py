"""The canary: whether an engine with weights of its own samples from the student, seen in the tokens that it drew."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import RunStopped
from ..rollouts import Rollouts


class Gap(NamedTuple):
    """|log-prob by the engine - log-prob by the student| of sampled tokens, nats: sum, largest, how many."""

    total: float = 0.0
    largest: float = 0.0
    tokens: int = 0

    @classmethod
    def between(cls, engine_logp_BT: Tensor, student_logp_BT: Tensor, mask_BT: Tensor) -> "Gap":
        """Of one engine's rollouts. What is not finite is infinitely far."""
        gap = (engine_logp_BT - student_logp_BT)[mask_BT].abs().double().nan_to_num(nan=torch.inf)
        return cls(float(gap.sum()), float(gap.max()), gap.numel()) if gap.numel() else cls()

    @classmethod
    def of_all(cls, gaps: Sequence["Gap"]) -> "Gap":
        return cls(sum(g.total for g in gaps), max(g.largest for g in gaps), sum(g.tokens for g in gaps))

    @property
    def mean(self) -> float:
        return self.total / self.tokens if self.tokens else 0.0

    @property
    def metrics(self) -> dict[str, float]:
        return {"sampler_gap": self.largest, "sampler_gap_mean": self.mean}

    def check(self, limit: float) -> None:
        """RunStopped where the mean is above `limit` nats: rounding in half precision makes a tenth of that."""
        if self.mean > limit:
            raise RunStopped(
                f"engine_gap_limit: log-probs of sampled tokens differ between engine and student by {self.mean:.3g} "
                f"nats in the mean, accepted at most {limit:g}: the engine does not sample from the student"
            )


def score_anew(rollouts: Rollouts, logprobs: Callable[[Rollouts], Tensor]) -> Gap:
    """The engine's log-probs give way to the student's, (B, T) in nats; how far they are apart."""
    sampled_logp_BT = rollouts.student_logp_BT
    rollouts.student_logp_BT = logprobs(rollouts)
    return Gap.between(sampled_logp_BT, rollouts.student_logp_BT, rollouts.mask_BT)
