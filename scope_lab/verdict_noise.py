"""A verifier that errs, on real rollouts: which rollouts change their path, how much they weigh, where the step goes.

Verdicts of recorded rollouts are flipped at random: a correct rollout is called wrong at the rate of false negatives,
a wrong one correct at the rate of false positives. All else is the package's own: routing, weights, gradients.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from .explore import percent
from .explore_reference import loss_gradient
from .methods import METHODS
from .objective import rollout_coefficients
from .rollouts import Rollouts

RATES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
DRAWS = 16  # random flips that every number is a mean over


class NoisyVerdicts:
    """One real step under a verifier with any two error rates.

    model     the student; its gradients are taken once, two backward passes a rollout
    rollouts  with verdicts that are held to be true, prompts' tokens, and the teacher's log-probs of every rollout

    Draws use the same random numbers at every rate, so that a higher rate flips what a lower one does, and more.
    """

    def __init__(self, model, rollouts: Rollouts, tau: float = 1.0, seed: int = 0):
        self.rollouts, self.tau = rollouts, tau
        if rollouts.teacher_nll_B.isnan().any():
            raise ValueError("rollouts: found some that the teacher did not score, accepted all scored")
        self.right_B = rollouts.correct_B
        self.draws_DB = torch.rand(DRAWS, len(rollouts), generator=torch.Generator().manual_seed(seed))
        gradients_KN = torch.stack(
            [self._gradient(model, row, path) for path in (0.0, 1.0) for row in range(len(rollouts))]
        )
        self.inner_KK = (gradients_KN @ gradients_KN.T).double()
        self.true_K = self.coefficients(self.right_B)
        self.at = cache(self._at)

    def _gradient(self, model, row: int, distill: float) -> Tensor:
        coefficient = torch.tensor([distill])
        return -loss_gradient(model, self.rollouts, [row], 1 - coefficient, coefficient, self.rollouts.teacher_logp_BT)

    def coefficients(self, correct_B: Tensor) -> Tensor:
        """(2 B,): SCOPE's weight of each rollout on the student path, then on the teacher path."""
        rollouts = self.rollouts
        found = rollout_coefficients(
            METHODS["scope"],
            rollouts.student_nll_B,
            rollouts.teacher_nll_B,
            correct_B,
            rollouts.group_B,
            rollouts.length_B,
            rollouts.known_B,
            self.tau,
        )
        return torch.cat([found.reward_B, found.distill_B]).double()

    def verdicts(self, negatives: float, positives: float) -> Tensor:
        """(DRAWS, B) bool: what the erring verifier calls correct, each draw."""
        return torch.where(self.right_B, self.draws_DB >= negatives, self.draws_DB < positives)

    def _at(self, negatives: float, positives: float) -> dict[str, float]:
        """Means over draws, at a rate of false negatives and one of false positives:

        student share, teacher share    of the rollouts on a path, those whose true verdict is the other one
        student weight, teacher weight  their share of the path's weight
        cosine                          of the step's gradient to the one with true verdicts
        """
        rows = [self._one(correct_B) for correct_B in self.verdicts(negatives, positives)]
        return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}

    def _one(self, correct_B: Tensor) -> dict[str, float]:
        found_K = self.coefficients(correct_B)
        student_B, teacher_B = found_K.chunk(2)
        known_B = self.rollouts.known_B
        result = {}
        for name, weight_B, on_B, astray_B in (
            ("student", student_B, correct_B & known_B, ~self.right_B),
            ("teacher", teacher_B, ~correct_B & known_B, self.right_B),
        ):
            result[f"{name} share"] = float((on_B & astray_B).sum() / on_B.sum())
            result[f"{name} weight"] = float(weight_B[astray_B].sum() / weight_B.sum())
        inner = found_K @ self.inner_KK
        length = (inner @ found_K).sqrt() * (self.true_K @ self.inner_KK @ self.true_K).sqrt()
        return {**result, "cosine": float(inner @ self.true_K / length)}

    def cosines(self) -> np.ndarray:
        """(false negatives, false positives) over RATES."""
        return np.array([[self.at(negatives, positives)["cosine"] for positives in RATES] for negatives in RATES])


def noise_words(noise: NoisyVerdicts, negatives: float, positives: float) -> str:
    """The state in a sentence or two."""
    found = noise.at(negatives, positives)
    return (
        f"{percent(negatives)} false negatives, {percent(positives)} false positives: wrong rollouts are "
        f"{percent(found['student share'])} of the student path and hold {percent(found['student weight'])} of its "
        f"weight; correct ones are {percent(found['teacher share'])} of the teacher path and hold "
        f"{percent(found['teacher weight'])} of its weight. Cosine of the step to the true one: {found['cosine']:.2f}."
    )
