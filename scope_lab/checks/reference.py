"""Checkers about what the released code does otherwise (lesson 08)."""

from collections.abc import Callable

import numpy as np
import torch

from ..objective import group_weights
from .judge import Feedback, Mistake, judge


def cosine(answer: Callable) -> Feedback:
    """Check `answer(a, b)`: the cosine of the angle between two gradients."""

    def truth(a, b):
        return a @ b / np.sqrt((a @ a) * (b @ b))

    a, b, c = np.array([1.0, 2.0, -1.0, 0.5]), np.array([0.3, 1.5, 2.0, -1.0]), np.array([-2.0, -4.0, 2.0, -1.0])
    mistakes = [
        Mistake("lengths left in", "Divide by both lengths: a long gradient may still point elsewhere.",
                lambda a, b: a @ b),
        Mistake("one length only", "Divide by the length of both.", lambda a, b: a @ b / np.sqrt(a @ a)),
        Mistake("squared lengths", "A length is the square root of the sum of squares.",
                lambda a, b: a @ b / ((a @ a) * (b @ b))),
        Mistake("angle instead", "That is the angle: its cosine is wanted.", lambda a, b: np.arccos(truth(a, b))),
        Mistake("sign lost", "Opposite gradients have cosine −1: keep the sign.", lambda a, b: abs(truth(a, b))),
        Mistake("means taken off", "A correlation takes the mean off each; a direction has no mean to take off.",
                lambda a, b: np.corrcoef(a, b)[0, 1]),
    ]  # fmt: skip
    return judge(answer, truth, [(a, b), (a, c), (3 * b, a)], mistakes)


def path_balance(answer: Callable) -> Feedback:
    """Check `answer(correct_tokens, wrong_tokens)`: the teacher path's part over the student path's, a push of 1 each.

    The released code divides the sum over correct tokens by their number, the sum over wrong tokens by all tokens.
    """
    mistakes = [
        Mistake("both by their own tokens", "The wrong ones are divided by all tokens.", lambda c, w: 1.0),
        Mistake("upside down", "Teacher path over student path.", lambda c, w: (c + w) / w),
        Mistake("share of correct tokens", "That is c; the balance is 1 − c to 1.", lambda c, w: c / (c + w)),
        Mistake("counts instead of means", "Both sums are divided: by c tokens, and by c + w.", lambda c, w: w / c),
    ]  # fmt: skip
    return judge(answer, lambda c, w: w / (c + w), [(30.0, 70.0), (5.0, 95.0), (90.0, 10.0)], mistakes)


def weights_without_failed_calls(answer: Callable) -> Feedback:
    """Check `answer(nll, failed, tau)`: teacher-path weights of one prompt's wrong rollouts, failed calls dropped."""

    def weights(nll, member, tau, power=-1):
        group = torch.zeros(len(nll), dtype=torch.long)
        return group_weights(torch.tensor(nll), torch.tensor(member), group, tau, power).numpy()

    def truth(nll, failed, tau):
        return weights(np.where(failed, 0.0, nll), ~failed, tau)

    everyone = lambda nll: np.ones(len(nll), dtype=bool)  # noqa: E731
    mistakes = [
        Mistake("failed calls read as certainty", "A missing answer became log-prob 0: perplexity 1, the top weight.",
                lambda n, f, t: weights(np.where(f, 0.0, n), everyone(n), t)),
        Mistake("normalised before dropping", "What the failed ones held is lost: the others no longer sum to 1.",
                lambda n, f, t: np.where(f, 0, weights(np.where(f, 0.0, n), everyone(n), t))),
        Mistake("failed calls get the mean", "Nothing is known about them: they join no path.",
                lambda n, f, t: weights(np.where(f, n[~f].mean(), n), everyone(n), t)),
        Mistake("wrong sign", "Eq. 5: a high perplexity of the teacher counts less.",
                lambda n, f, t: weights(np.where(f, 0.0, n), ~f, t, power=1)),
        Mistake("uniform weights", "The teacher's perplexity still weighs those that it answered.",
                lambda n, f, t: ~f / (~f).sum()),
    ]  # fmt: skip
    nll, failed = np.array([0.4, np.nan, 1.2, 0.7]), np.array([False, True, False, False])
    return judge(answer, truth, [(nll, failed, 1.0), (nll[::-1].copy(), failed[::-1].copy(), 0.5)], mistakes)


def mean_one(answer: Callable) -> Feedback:
    """Check `answer(weights)`: a path's weights of one prompt, summing to 1, as the released code scales them."""
    mistakes = [
        Mistake("largest is one", "They average 1, the largest is above it.", lambda w: w / w.max()),
        Mistake("unchanged", "Weights that sum to 1 average 1/n.", lambda w: w),
        Mistake("one for all", "The weights still differ.", lambda w: np.ones(len(w))),
        Mistake("shifted", "Scale them; adding to them changes their ratios.", lambda w: w - w.mean() + 1),
    ]
    cases = [(np.array([0.5, 0.3, 0.2]),), (np.array([0.1, 0.2, 0.3, 0.4]),)]
    return judge(answer, lambda w: w * len(w), cases, mistakes)
