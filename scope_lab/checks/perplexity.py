"""Checkers of perplexity and its weights (lesson 02)."""

from collections.abc import Callable

import numpy as np
import torch

from ..logprobs import perplexity
from ..objective import group_weights
from .judge import Feedback, Mistake, judge


def response_perplexity(answer: Callable) -> Feedback:
    """Check `answer(logp, mask)`: perplexity per token of padded responses."""
    logp = np.log([[0.5, 0.25, 0.9, 0.7], [0.8, 0.8, 0.3, 0.6], [0.1, 0.9, 0.9, 0.9]])
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], dtype=bool)

    def masked(logp, mask):
        return np.where(mask, logp, 0)

    mistakes = [
        Mistake("pads counted", "Padding is no part of the response: mask it, and divide by the response's length.",
                lambda x, m: np.exp(-x.mean(1))),
        Mistake("divided by the padded length", "Divide by each response's own length, mask.sum(1).",
                lambda x, m: np.exp(-masked(x, m).mean(1))),
        Mistake("sum instead of mean", "Divide by the length, or a long response is surprising for being long.",
                lambda x, m: np.exp(-masked(x, m).sum(1))),
        Mistake("wrong sign", "Perplexity is at least 1: the mean log-probability needs a minus.",
                lambda x, m: np.exp(masked(x, m).sum(1) / m.sum(1))),
        Mistake("exponential left out", "That is its log, in nats per token.",
                lambda x, m: -masked(x, m).sum(1) / m.sum(1)),
        Mistake("mean of probabilities", "Average the logs first, then take one exponential.",
                lambda x, m: m.sum(1) / masked(np.exp(x), m).sum(1)),
        Mistake("mean of the tokens' perplexities", "Average the logs first, then take one exponential.",
                lambda x, m: np.where(m, np.exp(-x), 0).sum(1) / m.sum(1)),
        Mistake("one number for the batch", "Each response has its own mean.",
                lambda x, m: np.full(len(x), np.exp(-masked(x, m).sum() / m.sum()))),
    ]  # fmt: skip
    truth = lambda x, m: perplexity(torch.tensor(x), torch.tensor(m)).numpy()  # noqa: E731
    return judge(answer, truth, [(logp, mask), (logp[:2, :3], mask[:2, :3])], mistakes)


def _shares(score: np.ndarray) -> np.ndarray:
    share = np.exp(score - np.max(score))
    return share / share.sum()


def teacher_path_weights(answer: Callable) -> Feedback:
    """Check `answer(nll, wrong, tau)`: the teacher path's weights of one group (Eq. 5), 0 on correct rollouts."""

    def truth(nll, wrong, tau):
        group = torch.zeros(len(nll), dtype=torch.long)
        return group_weights(torch.tensor(nll), torch.tensor(wrong), group, tau, power=-1).numpy()

    def member_shares(score, wrong):
        return np.where(wrong, _shares(np.where(wrong, score, -np.inf)), 0)

    def overflowing(nll, wrong, tau):
        powered = np.where(wrong, np.exp(nll) ** (-1 / tau), 0)
        return powered / powered.sum()

    # The last case has responses so unlikely that their perplexity is no number any more.
    cases = [
        (np.log([4.5, 2.9, 1.7, 1.3]), np.array([True, True, True, False]), 1.0),
        (np.log([1.2, 1.9, 1.5]), np.array([True, False, True]), 0.5),
        (np.array([900.0, 901.0, 0.3]), np.array([True, True, False]), 1.0),
    ]
    mistakes = [
        Mistake("the student path's sign", "Wrong rollouts that surprise the teacher count less: exponent −1/τ.",
                lambda x, w, tau: member_shares(x / tau, w)),
        Mistake("perplexity overflows", "Keep to logs: a softmax of −nll/τ, with its maximum subtracted first.",
                overflowing),
        Mistake("correct rollouts weighed too", "Correct rollouts are on the other path: 0, and not in the sum.",
                lambda x, w, tau: _shares(-x / tau)),
        Mistake("normalised over both paths", "Only wrong rollouts stand in the denominator.",
                lambda x, w, tau: np.where(w, _shares(-x / tau), 0)),
        Mistake("temperature upside down", "Divide by τ.", lambda x, w, tau: member_shares(-x * tau, w)),
        Mistake("temperature left out", "τ has no effect yet.", lambda x, w, tau: member_shares(-x, w)),
    ]  # fmt: skip
    with np.errstate(all="ignore"):
        return judge(answer, truth, cases, mistakes)


def equal_length_bonus(answer: Callable) -> Feedback:
    """Check `answer(ppl, extra)`: the factor that `extra` more tokens bring under the sum, at tau = 1."""
    mistakes = [
        Mistake("no bonus", "That holds for the mean. The sum grows with every token.", lambda p, n: 1.0),
        Mistake("added instead of multiplied", "Nats add, so perplexities multiply: a power, not a product.",
                lambda p, n: p * n),
        Mistake("wrong sign", "On the student path a larger sum weighs more.", lambda p, n: p**-n),
        Mistake("left in nats", "Those are the nats; the weights' ratio is their exponential.",
                lambda p, n: n * np.log(p)),
    ]  # fmt: skip
    return judge(answer, lambda p, n: float(p) ** n, [(1.3, 8), (1.5, 4), (2.0, 3)], mistakes)


def reference_weights(answer: Callable) -> Feedback:
    """Check `answer(ppl, tau)`: the released scripts' weights of one prompt's correct rollouts: low up, mean 1."""
    shares = lambda p, tau: _shares(-np.log(p) / tau)  # noqa: E731
    mistakes = [
        Mistake("the paper's sign", "The released scripts give *low* student perplexity the larger weight.",
                lambda p, tau: len(p) * _shares(np.log(p) / tau)),
        Mistake("the paper's scale", "The released code multiplies by the path's size: the mean is 1, not the sum.",
                shares),
        Mistake("the paper's Eq. 4", "Both sign and scale differ from the paper in the released scripts.",
                lambda p, tau: _shares(np.log(p) / tau)),
        Mistake("temperature upside down", "Divide by τ.", lambda p, tau: len(p) * _shares(-np.log(p) * tau)),
    ]  # fmt: skip
    cases = [(np.array([1.2, 2.6, 3.8]), 0.5), (np.array([1.3, 1.1]), 2.0)]
    return judge(answer, lambda p, tau: len(p) * shares(p, tau), cases, mistakes)
