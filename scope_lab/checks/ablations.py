"""Checkers about differences between methods: intervals, seeds, and what they allow to say (lesson 07)."""

from collections.abc import Callable

import numpy as np

from ..seeds import holm, t_quantile
from .judge import Feedback, Mistake, judge


def standard_error(answer: Callable) -> Feedback:
    """Check `answer(correct)`: standard error of a mean accuracy over drawn problems; (problems, samples) verdicts."""
    root = np.sqrt
    mistakes = [
        Mistake("samples instead of problems", "Samples of one problem succeed and fail together: problems were drawn.",
                lambda c: c.std() / root(c.size)),
        Mistake("samples instead of problems", "Samples of one problem succeed and fail together: problems were drawn.",
                lambda c: c.std(ddof=1) / root(c.size)),
        Mistake("problems divided by samples", "There are as many independent numbers as problems.",
                lambda c: c.mean(1).std(ddof=1) / root(c.size)),
        Mistake("mean over problems", "Average each problem's samples first, along the second axis.",
                lambda c: c.mean(0).std(ddof=1) / root(c.shape[1])),
        Mistake("spread of problems", "That is how far single problems lie apart: the mean of P is surer by √P.",
                lambda c: c.mean(1).std(ddof=1)),
        Mistake("root left out", "Variances shrink by P, standard errors by √P.",
                lambda c: c.mean(1).std(ddof=1) / len(c)),
        Mistake("population standard deviation", "A mean was estimated from the same values: ddof=1.",
                lambda c: c.mean(1).std() / root(len(c))),
    ]  # fmt: skip
    chance = np.array([0.05, 0.9, 0.3, 0.6, 0.0, 1.0])
    cases = [(np.random.default_rng(seed).random((6, 8)) < chance[:, None],) for seed in (0, 1)]
    return judge(answer, lambda c: c.mean(1).std(ddof=1) / root(len(c)), cases, mistakes)


def _seeds_and_problems(seed: int, S: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    theirs = rng.uniform(0.1, 0.6, (1, 7)) + rng.normal(0, 0.02, (S, 7))
    return theirs + rng.normal(0.05, 0.03, (S, 1)) + rng.normal(0, 0.04, (S, 7)), theirs


def relative_gain(answer: Callable) -> Feedback:
    """Check `answer(ours, theirs)`: relative improvement of the mean in per cent; (seeds, problems) scores of two."""

    def best(x):
        return x.mean(1).max()

    mistakes = [
        Mistake("percentage points", "That is the difference; relative to what theirs had is wanted.",
                lambda a, b: 100 * (a.mean() - b.mean())),
        Mistake("best seed picked", "The best of several seeds is luck, chosen after looking: average them.",
                lambda a, b: 100 * (best(a) / best(b) - 1)),
        Mistake("best seed picked", "The best of several seeds is luck, chosen after looking: average them.",
                lambda a, b: 100 * (best(a) / b.mean() - 1)),
        Mistake("best seed picked", "The best of several seeds is luck, chosen after looking: average them.",
                lambda a, b: 100 * (a.mean(1) / b.mean(1) - 1).max()),
        Mistake("mean of ratios", "A problem that theirs hardly solves would rule: divide mean by mean.",
                lambda a, b: 100 * (a / b - 1).mean()),
        Mistake("relative to ours", "An improvement is measured against what was there before.",
                lambda a, b: 100 * (1 - b.mean() / a.mean())),
        Mistake("a fraction", "Per cent are wanted.", lambda a, b: a.mean() / b.mean() - 1),
        Mistake("one not taken off", "Equal scores are an improvement of 0 %.", lambda a, b: 100 * a.mean() / b.mean()),
    ]  # fmt: skip
    cases = [_seeds_and_problems(0, 3), _seeds_and_problems(1, 5)]
    return judge(answer, lambda a, b: 100 * (a.mean() / b.mean() - 1), cases, mistakes)


def interval_over_seeds(answer: Callable) -> Feedback:
    """Check `answer(ours, theirs, t)`: (low, high) of the paired mean difference over seeds; t: Student's quantile."""

    def around(values, error, t):
        return np.mean(values) + np.array([-1, 1]) * t * error

    def truth(a, b, t):
        means = (a - b).mean(1)
        return around(means, means.std(ddof=1) / np.sqrt(len(means)), t)

    def unpaired(a, b, t):
        spreads = [x.mean(1).var(ddof=1) / len(x) for x in (a, b)]
        return around(a - b, np.sqrt(sum(spreads)), t)

    def best_seed(a, b, t):
        values = (a - b)[(a - b).mean(1).argmax()]
        return around(values, values.std(ddof=1) / np.sqrt(len(values)), t)

    mistakes = [
        Mistake("unpaired", "Both trained with the same seeds: take each seed's difference first.", unpaired),
        Mistake("problems instead of seeds", "Problems were not trained: average over them, and look at the spread of "
                "what is left.",
                lambda a, b, t: around(a - b, (a - b).mean(0).std(ddof=1) / np.sqrt(a.shape[1]), t)),
        Mistake("every value counted as independent", "All problems of a seed share its luck: there are S numbers.",
                lambda a, b, t: around(a - b, (a - b).std(ddof=1) / np.sqrt(a.size), t)),
        Mistake("best seed picked", "The best of several seeds is luck, chosen after looking: use all.", best_seed),
        Mistake("spread of seeds", "The mean of S seeds is surer than one by √S.",
                lambda a, b, t: around(a - b, (a - b).mean(1).std(ddof=1), t)),
        Mistake("root left out", "Variances shrink by S, standard errors by √S.",
                lambda a, b, t: around(a - b, (a - b).mean(1).std(ddof=1) / len(a), t)),
        Mistake("population standard deviation", "A mean was estimated from the same few values: ddof=1.",
                lambda a, b, t: around(a - b, (a - b).mean(1).std() / np.sqrt(len(a)), t)),
        Mistake("1.96 instead of t", "With few seeds their spread is itself uncertain: that is what t is for.",
                lambda a, b, t: truth(a, b, 1.96)),
        Mistake("wrong sign", "A gain is ours − theirs.", lambda a, b, t: truth(b, a, t)),
    ]  # fmt: skip
    cases = [(*_seeds_and_problems(seed, S), t_quantile(0.975, S - 1)) for seed, S in ((2, 3), (3, 5))]
    return judge(answer, truth, cases, mistakes)


def claim_status(answer: Callable) -> Feedback:
    """Check `answer(low, high, p, smallest)` for a claimed gain: +1 supported, -1 contradicted, 0 open."""

    def truth(low, high, p, smallest):
        return 1 if p < 0.05 and low > 0 else -1 if high < smallest else 0

    mistakes = [
        Mistake("absence of evidence", "A large p says that little is known, not that there is no effect.",
                lambda low, high, p, s: 1 if p < 0.05 and low > 0 else -1),
        Mistake("sign ignored", "A clear loss does not support a claimed gain.",
                lambda low, high, p, s: 1 if p < 0.05 else -1 if high < s else 0),
        Mistake("middle of the interval", "The middle is a guess: the ends say what it may still be.",
                lambda low, high, p, s: int(np.sign((low + high) / 2))),
        Mistake("only a loss contradicts", "An interval that ends below what matters excludes the claim too.",
                lambda low, high, p, s: 1 if p < 0.05 and low > 0 else -1 if high < 0 else 0),
        Mistake("smallest difference demanded", "Support needs the sign alone; the size is asked of a contradiction.",
                lambda low, high, p, s: 1 if p < 0.05 and low > s else -1 if high < s else 0),
    ]  # fmt: skip
    cases = [
        (0.2, 3.0, 0.03, 0.5), (-3.0, -1.0, 0.001, 0.5), (-1.0, 4.0, 0.3, 0.5), (-0.3, 0.2, 0.7, 0.5),
        (0.1, 0.3, 0.01, 0.5), (-4.0, 1.0, 0.2, 0.5), (-0.2, 0.4, 0.4, 0.5),
    ]  # fmt: skip
    return judge(answer, truth, cases, mistakes)


def holm_adjusted(answer: Callable) -> Feedback:
    """Check `answer(p)`: Holm's adjusted p-values, in the order in which they came."""

    def steps(p):
        return np.sort(p) * (len(p) - np.arange(len(p)))

    def back(p, ordered):
        values = np.empty(len(p))
        values[np.argsort(p)] = ordered
        return values

    def benjamini_hochberg(p):
        ratio = np.sort(p) * len(p) / (1 + np.arange(len(p)))
        return back(p, np.minimum(np.minimum.accumulate(ratio[::-1])[::-1], 1))

    mistakes = [
        Mistake("not adjusted", "The more is tried, the more comes out by chance.", lambda p: p),
        Mistake("Bonferroni", "Only the smallest is multiplied by m, the next by m − 1.",
                lambda p: np.minimum(p * len(p), 1)),
        Mistake("order lost", "Each value goes back to where it came from.",
                lambda p: np.minimum(np.maximum.accumulate(steps(p)), 1)),
        Mistake("falls again", "An adjusted value is never below that of a smaller p: take the running maximum.",
                lambda p: back(p, np.minimum(steps(p), 1))),
        Mistake("above one", "No p-value is above 1.", lambda p: back(p, np.maximum.accumulate(steps(p)))),
        Mistake("Benjamini and Hochberg", "That bounds the share of false alarms; Holm bounds the chance of any.",
                benjamini_hochberg),
    ]  # fmt: skip
    cases = [(np.array([0.03, 0.01, 0.02, 0.6]),), (np.array([0.04, 0.9, 0.001, 0.7, 0.012]),)]
    return judge(answer, holm, cases, mistakes)
