"""Checkers about verifiers' errors (lesson 10)."""

from collections.abc import Callable

import numpy as np

from ..labelled import error_rates
from .judge import Feedback, Mistake, judge


def verifier_errors(answer: Callable) -> Feedback:
    """Check `answer(right, accepted)`: false negatives among right responses, false positives among wrong ones."""
    mistakes = [
        Mistake("of all responses", "Each rate has its own denominator: right responses, or wrong ones.",
                lambda r, a: ((r & ~a).mean(), (~r & a).mean())),
        Mistake("exchanged", "A false negative is a right response that is refused.",
                lambda r, a: error_rates(r, a)[::-1]),
        Mistake("of what was accepted", "Divide by the wrong ones, not by those that pass; likewise the other.",
                lambda r, a: ((r & ~a).sum() / (~a).sum(), (~r & a).sum() / a.sum())),
        Mistake("hits", "Those are the verdicts that are right.", lambda r, a: (a[r].mean(), (~a)[~r].mean())),
    ]  # fmt: skip
    right = np.array([True, True, True, True, False, False, False, False, False, False])
    first = np.array([True, True, False, True, False, True, False, False, False, True])
    second = np.array([False, True, False, False, True, False, False, False, False, False])
    return judge(answer, error_rates, [(right, first), (right, second)], mistakes)


def wrong_among_reinforced(answer: Callable) -> Feedback:
    """Check `answer(accuracy, negatives, positives)`: the share of wrong rollouts on the student path."""

    def truth(accuracy, negatives, positives):
        right, wrong = accuracy * (1 - negatives), (1 - accuracy) * positives
        return wrong / (right + wrong)

    mistakes = [
        Mistake("the rate itself", "The rate is a share of the wrong rollouts, not of those that are reinforced.",
                lambda p, n, f: f),
        Mistake("of all rollouts", "Divide by what is on the student path.", lambda p, n, f: (1 - p) * f),
        Mistake("no false negatives", "False negatives leave the student path, which makes it smaller.",
                lambda p, n, f: (1 - p) * f / (p + (1 - p) * f)),
        Mistake("the right share", "That is the share of correct ones.", lambda p, n, f: 1 - truth(p, n, f)),
    ]  # fmt: skip
    return judge(answer, truth, [(0.1, 0.2, 0.05), (0.5, 0.3, 0.1), (0.02, 0.1, 0.02)], mistakes)
