"""Checkers of Pass@k, intervals and diversity (lesson 04)."""

from collections.abc import Callable
from math import comb

import numpy as np

from ..diversity import expected_estimate, naive_pass_at_k
from ..evaluation import pass_at_k
from .judge import Feedback, Mistake, judge


def _refusing(estimate: Callable) -> Callable:
    """The estimate where n >= k, else NaN."""
    return lambda c, n, k: estimate(c, n, k) if k <= n else np.nan


def unbiased_pass_at_k(answer: Callable) -> Feedback:
    """Check `answer(c, n, k)`: Pass@k of one problem from c correct of n samples, NaN for k > n."""
    fair = lambda c, n, k: pass_at_k(c, n, k)  # noqa: E731
    failing = lambda c, n, k: 1 - fair(c, n, k)  # noqa: E731
    naive = Mistake("naive Pass@k", "1 − (1 − c/n)^k draws with replacement: count subsets instead.", naive_pass_at_k)
    beyond = "k samples cannot be chosen from fewer: return NaN for k > n, as nothing is known there."
    mistakes = [
        naive,
        Mistake(naive.name, naive.hint, _refusing(naive_pass_at_k)),
        Mistake("k > n", beyond, lambda c, n, k: fair(c, n, k) if k <= n else 1.0),
        Mistake("k > n", beyond, lambda c, n, k: fair(c, n, k) if k <= n else 0.0),
        Mistake("k > n", beyond, lambda c, n, k: fair(c, n, min(k, n))),
        Mistake("k > n", beyond, lambda c, n, k: fair(c, n, k) if k <= n else naive_pass_at_k(c, n, k)),
        Mistake("all k fail", "That is the chance that no sample is correct: take it from 1.", _refusing(failing)),
        Mistake("all k succeed", "C(c, k) / C(n, k) is the chance that every sample is correct.",
                _refusing(lambda c, n, k: comb(c, k) / comb(n, k))),
        Mistake("k left out", "That is Pass@1, whatever k.", _refusing(lambda c, n, k: c / n)),
    ]  # fmt: skip
    cases = [(1, 4, 2), (3, 8, 4), (0, 8, 3), (7, 8, 2), (2, 8, 8), (1, 4, 5)]
    return judge(answer, _refusing(fair), cases, mistakes)


_BEFORE = np.array([0.1, 0.9, 0.4, 0.0, 0.7, 0.3, 1.0, 0.5])
_AFTER = np.array([0.3, 1.0, 0.4, 0.2, 0.6, 0.6, 1.0, 0.8])


def paired_interval(answer: Callable) -> Feedback:
    """Check `answer(before, after, rows)`: the 95 % interval (low, high) of the mean difference over resamples."""

    def ends(means, level=0.95):
        return np.quantile(means, [(1 - level) / 2, (1 + level) / 2])

    def unpaired(b, a, r):
        (low_b, high_b), (low_a, high_a) = ends(b[r].mean(1)), ends(a[r].mean(1))
        return np.array([low_a - high_b, high_a - low_b])

    rows = [np.random.default_rng(seed).integers(0, 8, (200, 8)) for seed in (0, 1)]
    mistakes = [
        Mistake("unpaired", "Ends of two intervals were subtracted. Take each problem's difference first.", unpaired),
        Mistake("unpaired", "Before and after must be looked up at the same resampled problems.",
                lambda b, a, r: ends(a[r].mean(1) - b[r[::-1]].mean(1))),
        Mistake("wrong sign", "A gain is after − before.", lambda b, a, r: ends((b - a)[r].mean(1))),
        Mistake("spread of problems", "Average each resample over its problems, then take quantiles of the means.",
                lambda b, a, r: ends(a - b)),
        Mistake("spread of problems", "Average each resample over its problems, then take quantiles of the means.",
                lambda b, a, r: ends((a - b)[r])),
        Mistake("averaged over resamples", "The mean runs over problems, the second axis of rows.",
                lambda b, a, r: ends((a - b)[r].mean(0))),
        Mistake("90 % interval", "95 % leaves 2.5 % on either side.", lambda b, a, r: ends((a - b)[r].mean(1), 0.9)),
        Mistake("after alone", "The values before training are missing.", lambda b, a, r: ends(a[r].mean(1))),
    ]  # fmt: skip
    truth = lambda b, a, r: ends((a - b)[r].mean(1))  # noqa: E731
    return judge(answer, truth, [(_BEFORE, _AFTER, r) for r in rows], mistakes)


def naive_bias(answer: Callable) -> Feedback:
    """Check `answer(p, n, k)`: expected naive estimate of Pass@k minus the truth, by summing over all outcomes."""
    truth = lambda p, n, k: expected_estimate(naive_pass_at_k, p, n, k) - (1 - (1 - p) ** k)  # noqa: E731

    def unordered(p, n, k):
        c = np.arange(n + 1)
        return (p**c * (1 - p) ** (n - c) * naive_pass_at_k(c, n, k)).sum() - (1 - (1 - p) ** k)

    mistakes = [
        Mistake("wrong sign", "Bias is the expected estimate minus the truth.", lambda p, n, k: -truth(p, n, k)),
        Mistake("no expectation taken", "Zero comes of the average count, or of the unbiased estimate. "
                "Sum the naive estimate of each outcome times its chance.", lambda p, n, k: 0.0),
        Mistake("orders not counted", "c successes among n samples can come in C(n, c) orders.", unordered),
        Mistake("truth left out", "That is the expected estimate: subtract 1 − (1 − p)^k.",
                lambda p, n, k: expected_estimate(naive_pass_at_k, p, n, k)),
    ]  # fmt: skip
    return judge(answer, truth, [(0.3, 4, 2), (0.1, 8, 8), (0.6, 6, 3)], mistakes)


def distinct_solutions(answer: Callable) -> Feedback:
    """Check `answer(answers, correct)`: how many different correct solutions one problem's samples hold."""
    cases = [
        (np.array(["a", "b", "a", "c", "d"]), np.array([True, True, True, False, False])),
        (np.array(["a", "a", "a"]), np.array([True, True, True])),
        (np.array(["a", "b"]), np.array([False, False])),
    ]
    mistakes = [
        Mistake("wrong answers counted", "A wrong answer is no solution: keep the correct ones first.",
                lambda a, c: len(set(a))),
        Mistake("repeats counted", "The same solution twice is one solution.", lambda a, c: c.sum()),
        Mistake("wrong ones only", "Those are the different wrong answers.", lambda a, c: len(set(a[~c]))),
    ]  # fmt: skip
    return judge(answer, lambda a, c: len(set(a[c])), cases, mistakes)
