"""Checkers of weights, advantages and tau (lessons 00 and 03)."""

from collections.abc import Callable

import numpy as np
import torch

from ..objective import effective_sample_size, group_weights, solve_tau, token_advantages
from .judge import Feedback, Mistake, judge


def _weights(nll, member, group, tau, power) -> np.ndarray:
    nll, member, group = (torch.as_tensor(x) for x in (nll, member, group))
    return group_weights(nll, member, group, tau, power).numpy()


# Two prompts, of which the second has more correct rollouts.
_PPL = np.array([1.2, 2.6, 3.8, 1.5, 2.0, 3.0, 1.1])
_CORRECT = np.array([True, True, False, True, True, True, False])
_GROUP = np.array([0, 0, 0, 1, 1, 1, 1])
_GROUP_CASES = [(_PPL, _CORRECT, _GROUP, tau) for tau in (1.0, 0.5, 3.0)]


def student_path_weights(answer: Callable) -> Feedback:
    """Check `answer(ppl, correct, group, tau)`: the student path's weights (Eq. 4), 0 on wrong rollouts."""

    def share(score, member, group):
        total = np.array([score[member & (group == g)].sum() for g in group])
        return np.where(member, score / total, 0.0)

    everyone = np.ones_like(_CORRECT)
    mistakes = [
        Mistake(
            "wrong sign",
            "On the student path high perplexity counts more: the exponent is +1/τ.",
            lambda p, c, g, tau: _weights(np.log(p), c, g, tau, -1),
        ),
        Mistake(
            "normalised over the batch",
            "Weights sum to 1 within each prompt's group, not over all prompts.",
            lambda p, c, g, tau: share(p ** (1 / tau), c, 0 * g),
        ),
        Mistake(
            "normalised over both paths",
            "Only correct rollouts stand in the denominator: a path shares its own unit of weight.",
            lambda p, c, g, tau: np.where(c, share(p ** (1 / tau), everyone, g), 0),
        ),
        Mistake(
            "wrong rollouts weighed too",
            "Wrong rollouts are on the other path: their weight here is 0.",
            lambda p, c, g, tau: share(p ** (1 / tau), everyone, g),
        ),
        Mistake(
            "perplexity exponentiated",
            "That is a softmax of PPL/τ. Eq. 4 raises PPL to the power 1/τ: a softmax of log PPL / τ.",
            lambda p, c, g, tau: share(np.exp(p / tau), c, g),
        ),
        Mistake(
            "temperature upside down",
            "The exponent is 1/τ, not τ: a large τ makes weights equal.",
            lambda p, c, g, tau: share(p**tau, c, g),
        ),
        Mistake("temperature left out", "τ has no effect yet.", lambda p, c, g, tau: share(p, c, g)),
    ]
    truth = lambda p, c, g, tau: _weights(np.log(p), c, g, tau, +1)  # noqa: E731
    return judge(answer, truth, _GROUP_CASES, mistakes)


def teacher_path_advantages(answer: Callable) -> Feedback:
    """Check `answer(weight, student_logp, teacher_logp)`: the advantages of one wrong rollout's tokens."""

    def truth(w, s, t):
        rows = torch.tensor(np.stack([s, t]))
        mask = torch.ones(1, len(s), dtype=torch.bool)
        return token_advantages(torch.zeros(1), torch.tensor([w]), rows[:1], rows[1:], mask)[0].numpy()

    cases = [
        (0.5, np.log([0.5, 0.2, 0.9]), np.log([0.8, 0.1, 0.9])),
        (0.2, np.log([0.3, 0.6]), np.log([0.01, 0.5])),
    ]
    mistakes = [
        Mistake(
            "wrong sign",
            "A token that the student likes more than the teacher does must become less likely.",
            lambda w, s, t: w * (s - t),
        ),
        Mistake("weight left out", "Each token's log-ratio is multiplied by w.", lambda w, s, t: t - s),
        Mistake(
            "probabilities instead of their logs",
            "The signal is a difference of log-probabilities, not of probabilities.",
            lambda w, s, t: -w * (np.exp(s) - np.exp(t)),
        ),
        Mistake("teacher alone", "The student's log-probability is missing.", lambda w, s, t: w * t),
        Mistake(
            "averaged over tokens",
            "Eq. 6 sums over tokens: nothing is divided by the length.",
            lambda w, s, t: -w * (s - t) / len(s),
        ),
        Mistake(
            "one number for all tokens",
            "Each token keeps its own log-ratio.",
            lambda w, s, t: np.full(len(s), -w * (s - t).mean()),
        ),
    ]
    return judge(answer, truth, cases, mistakes)


def effective_rollouts(answer: Callable) -> Feedback:
    """Check `answer(weights)`: the effective sample size of any positive weights, whatever they sum to."""
    weights = (np.array([0.5, 0.3, 0.2]), np.array([2.0, 1.0, 0.5, 0.5]), np.array([3.0]))
    share = lambda w: w / w.sum()  # noqa: E731
    mistakes = [
        Mistake("upside down", "That is the sum of squared shares; its inverse counts rollouts.",
                lambda w: (share(w) ** 2).sum()),
        Mistake("assumed a sum of 1", "Turn the weights into shares first.", lambda w: 1 / (w**2).sum()),
        Mistake("largest share", "1 / largest share looks at one rollout only.", lambda w: 1 / share(w).max()),
        Mistake("exponential of the entropy", "That is another effective number; here it is 1 / Σ w².",
                lambda w: np.exp(-(share(w) * np.log(share(w))).sum())),
        Mistake("count of rollouts", "That counts rollouts without their weights.", len),
    ]  # fmt: skip
    truth = lambda w: effective_sample_size(torch.tensor(w), torch.zeros(len(w), dtype=torch.long))[0]  # noqa: E731
    return judge(answer, truth, [(w,) for w in weights], mistakes)


def tau_for_share(answer: Callable) -> Feedback:
    """Check `answer(ppl_high, ppl_low, share)`: the tau at which the higher of two perplexities gets that share."""
    logit = lambda s: np.log(s / (1 - s))  # noqa: E731
    mistakes = [
        Mistake("perplexity instead of its log", "Weights are a softmax of log PPL / τ.",
                lambda a, b, s: (a - b) / logit(s)),
        Mistake("share instead of odds", "The two weights' ratio is s / (1 - s), not s.",
                lambda a, b, s: np.log(a / b) / np.log(s)),
        Mistake("upside down", "Solve for τ, not for 1/τ.", lambda a, b, s: logit(s) / np.log(a / b)),
        Mistake("wrong sign", "τ is positive: the higher perplexity has the larger share.",
                lambda a, b, s: -np.log(a / b) / logit(s)),
    ]  # fmt: skip
    truth = lambda a, b, s: np.log(a / b) / logit(s)  # noqa: E731
    return judge(answer, truth, [(2.0, 1.0, 0.8), (1.4, 1.3, 0.6), (4.5, 1.7, 0.99)], mistakes)


def tau_by_bisection(answer: Callable) -> Feedback:
    """Check `answer(nll, fraction)`: the tau at which wrong rollouts of one prompt keep that fraction of themselves."""

    def solved(nll, fraction, power=-1):
        member, group = torch.ones(len(nll), dtype=torch.bool), torch.zeros(len(nll), dtype=torch.long)
        return float(solve_tau(torch.tensor(nll), member, group, power, fraction)[0])

    nll = np.log([1.3, 1.5, 1.6, 2.2, 3.9, 7.0])
    mistakes = [
        Mistake("the student path's sign", "Wrong rollouts: low teacher perplexity counts more, the power is -1.",
                lambda x, f: solved(x, f, +1)),
        Mistake("perplexity exponentiated", "The softmax takes nll / τ, not exp(nll) / τ.",
                lambda x, f: solved(np.exp(x), f)),
        Mistake("fraction lost", "That loses the wanted fraction instead of keeping it.",
                lambda x, f: solved(x, 1 - f)),
    ]  # fmt: skip
    return judge(answer, solved, [(nll, 0.6), (nll[:5], 0.7), (nll, 0.8)], mistakes)
