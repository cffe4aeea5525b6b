"""Every checker passes the right answer, names each classic mistake, and never raises on a learner's code."""

from math import comb

import numpy as np
import pytest

from scope_lab import checks


def per_group(powered, group):
    return powered / np.array([powered[group == g].sum() for g in group])


WEIGHTS = {
    None: lambda p, c, g, tau: per_group(np.where(c, p ** (1 / tau), 0), g),
    "wrong sign": lambda p, c, g, tau: per_group(np.where(c, p ** (-1 / tau), 0), g),
    "normalised over the batch": lambda p, c, g, tau: np.where(c, p ** (1 / tau), 0) / (p[c] ** (1 / tau)).sum(),
    "normalised over both paths": lambda p, c, g, tau: c * per_group(p ** (1 / tau), g),
    "wrong rollouts weighed too": lambda p, c, g, tau: per_group(p ** (1 / tau), g),
    "perplexity exponentiated": lambda p, c, g, tau: per_group(np.where(c, np.exp(p / tau), 0), g),
    "temperature upside down": lambda p, c, g, tau: per_group(np.where(c, p**tau, 0), g),
    "temperature left out": lambda p, c, g, tau: per_group(np.where(c, p, 0), g),
}
ADVANTAGES = {
    None: lambda w, s, t: w * (t - s),
    "wrong sign": lambda w, s, t: w * (s - t),
    "weight left out": lambda w, s, t: t - s,
    "probabilities instead of their logs": lambda w, s, t: w * (np.exp(t) - np.exp(s)),
    "teacher alone": lambda w, s, t: w * t,
    "averaged over tokens": lambda w, s, t: w * (t - s) / len(t),
    "one number for all tokens": lambda w, s, t: w * np.full(len(t), np.mean(t - s)),
}
ESS = {
    None: lambda w: w.sum() ** 2 / (w**2).sum(),
    "upside down": lambda w: (w**2).sum() / w.sum() ** 2,
    "assumed a sum of 1": lambda w: 1 / (w**2).sum(),
    "largest share": lambda w: w.sum() / w.max(),
    "exponential of the entropy": lambda w: np.exp(-sum(x * np.log(x) for x in w / w.sum())),
    "count of rollouts": lambda w: len(w),
}
SHARE = {
    None: lambda a, b, s: (np.log(a) - np.log(b)) / (np.log(s) - np.log(1 - s)),
    "perplexity instead of its log": lambda a, b, s: (a - b) / np.log(s / (1 - s)),
    "share instead of odds": lambda a, b, s: np.log(a / b) / np.log(s),
    "upside down": lambda a, b, s: np.log(s / (1 - s)) / np.log(a / b),
    "wrong sign": lambda a, b, s: np.log(b / a) / np.log(s / (1 - s)),
}


def bisect(nll, fraction, power=-1.0):
    low, high = -12.0, 12.0
    for _ in range(80):
        middle = (low + high) / 2
        score = power * nll / np.exp(middle)
        share = np.exp(score - score.max())
        if share.sum() ** 2 / (share**2).sum() < fraction * len(nll):
            low = middle
        else:
            high = middle
    return np.exp(high)


AUTO = {
    None: bisect,
    "the student path's sign": lambda nll, f: bisect(nll, f, power=+1.0),
    "perplexity exponentiated": lambda nll, f: bisect(np.exp(nll), f),
    "fraction lost": lambda nll, f: bisect(nll, 1 - f),
}


def subsets(c, n, k):
    return np.nan if k > n else 1 - comb(n - c, k) / comb(n, k)


PASS = {
    None: subsets,
    "naive Pass@k": lambda c, n, k: 1 - (1 - c / n) ** k,
    "k > n": lambda c, n, k: 1.0 if n - c < k else subsets(c, n, k),
    "all k fail": lambda c, n, k: 1 - subsets(c, n, k),
    "all k succeed": lambda c, n, k: np.nan if k > n else comb(c, k) / comb(n, k),
    "k left out": lambda c, n, k: np.nan if k > n else c / n,
}


def middle(means, share=0.95):
    return np.quantile(means, [0.5 - share / 2, 0.5 + share / 2])


INTERVAL = {
    None: lambda b, a, rows: middle([(a[row] - b[row]).mean() for row in rows]),
    "unpaired": lambda b, a, r: middle(a[r].mean(1)) - middle(b[r].mean(1))[::-1],
    "wrong sign": lambda b, a, r: middle((b - a)[r].mean(1)),
    "spread of problems": lambda b, a, r: middle(a - b),
    "averaged over resamples": lambda b, a, r: middle((a - b)[r].mean(0)),
    "90 % interval": lambda b, a, r: middle((a - b)[r].mean(1), 0.9),
    "after alone": lambda b, a, r: middle(a[r].mean(1)),
}


def expected_error(p, n, k, orders=comb, naive=True):
    """Summed outcome by outcome, as a learner would."""
    total = 0.0
    for c in range(n + 1):
        estimate = 1 - (1 - c / n) ** k if naive else subsets(c, n, k)
        total += orders(n, c) * p**c * (1 - p) ** (n - c) * estimate
    return total - (1 - (1 - p) ** k)


BIAS = {
    None: expected_error,
    "wrong sign": lambda p, n, k: -expected_error(p, n, k),
    "no expectation taken": lambda p, n, k: expected_error(p, n, k, naive=False),
    "orders not counted": lambda p, n, k: expected_error(p, n, k, orders=lambda n, c: 1),
    "truth left out": lambda p, n, k: expected_error(p, n, k) + 1 - (1 - p) ** k,
}
DISTINCT = {
    None: lambda answers, correct: len({a for a, right in zip(answers, correct, strict=True) if right}),
    "wrong answers counted": lambda answers, correct: len(np.unique(answers)),
    "repeats counted": lambda answers, correct: int(correct.sum()),
    "wrong ones only": lambda answers, correct: len(np.unique(answers[~correct])),
}


def inside(x, mask):
    return sum(x[i, t] for i, t in zip(*np.nonzero(mask), strict=True))


SURROGATE = {
    None: lambda x, o, a, m: -inside(np.exp(x) / np.exp(o) * a, m),
    "wrong sign": lambda x, o, a, m: inside(np.exp(x - o) * a, m),
    "pads counted": lambda x, o, a, m: -(np.exp(x - o) * a).sum(),
    "ratio upside down": lambda x, o, a, m: -inside(np.exp(o - x) * a, m),
    "log-probability instead of the ratio": lambda x, o, a, m: -inside(x * a, m),
    "log of the ratio": lambda x, o, a, m: -inside((x - o) * a, m),
    "averaged over tokens": lambda x, o, a, m: -inside(np.exp(x - o) * a, m) / m.sum(),
    "ratio left out": lambda x, o, a, m: -inside(a, m),
}


def score(student, token):
    return np.eye(len(student))[token] - student


GRADIENT = {
    None: lambda s, t, a: (np.log(s[a]) - np.log(t[a])) * score(s, a),
    "wrong sign": lambda s, t, a: (np.log(t[a]) - np.log(s[a])) * score(s, a),
    "forgot to detach": lambda s, t, a: (1 + np.log(s[a] / t[a])) * score(s, a),
    "k1 back-propagated": lambda s, t, a: score(s, a),
    "softmax forgotten": lambda s, t, a: np.log(s[a] / t[a]) * np.eye(len(s))[a],
    "distance of distributions": lambda s, t, a: s - t,
    "exact gradient": lambda s, t, a: sum(s[v] * np.log(s[v] / t[v]) * score(s, v) for v in range(len(s))),
}
REVERSE_KL = {
    None: lambda s, t: sum(s * (np.log(s) - np.log(t))),
    "wrong KL direction": lambda s, t: sum(t * np.log(t / s)),
    "wrong sign": lambda s, t: sum(s * np.log(t / s)),
    "not weighted": lambda s, t: np.mean(np.log(s / t)),
    "bits": lambda s, t: sum(s * np.log2(s / t)),
    "cross-entropy": lambda s, t: -sum(s * np.log(t)),
}
DENOMINATOR = {
    None: lambda s, n, b: [s[rows].sum() / n.sum() for rows in b],
    "local denominators": lambda s, n, b: [s[rows].sum() / n[rows].sum() for rows in b],
    "rollouts counted": lambda s, n, b: [s[rows].sum() / len(s) for rows in b],
    "pads counted": lambda s, n, b: [s[rows].sum() / (len(n) * max(n)) for rows in b],
    "divided twice": lambda s, n, b: [s[rows].sum() / n.sum() / len(b) for rows in b],
    "not divided": lambda s, n, b: [s[rows].sum() for rows in b],
}
EXERCISES = {
    checks.student_path_weights: WEIGHTS,
    checks.teacher_path_advantages: ADVANTAGES,
    checks.effective_rollouts: ESS,
    checks.tau_for_share: SHARE,
    checks.tau_by_bisection: AUTO,
    checks.unbiased_pass_at_k: PASS,
    checks.paired_interval: INTERVAL,
    checks.naive_bias: BIAS,
    checks.distinct_solutions: DISTINCT,
    checks.surrogate_loss: SURROGATE,
    checks.teacher_path_gradient: GRADIENT,
    checks.reverse_kl: REVERSE_KL,
    checks.global_denominator: DENOMINATOR,
}
CASES = [(check, name, answer) for check, answers in EXERCISES.items() for name, answer in answers.items()]


@pytest.mark.parametrize("check, mistake, answer", CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_right_answers_pass_and_classic_mistakes_are_named(check, mistake, answer):
    feedback = check(answer)
    assert feedback.mistake == mistake
    assert feedback.passed == (mistake is None)
    assert str(feedback).startswith("✓" if feedback.passed else "✗")


@pytest.mark.parametrize("check", EXERCISES)
def test_unfinished_and_broken_answers_are_told_apart(check):
    assert check(lambda *_: ...).mistake == check(lambda *_: None).mistake == "not answered"
    assert check(lambda *_: 1 / 0).mistake == "raises"
    assert check(lambda *_: "much").mistake == "not a number"
    assert check(lambda *_: np.zeros((2, 3, 4))).mistake == "shape"
    unknown = check(lambda *case: np.zeros_like(EXERCISES[check][None](*case)) + 7.0)
    assert not unknown.passed and unknown.mistake is None and "found" in unknown.message


@pytest.mark.parametrize(
    "answer, mistake",
    [
        (lambda c, n, k: np.nan if k > n else 1 - (1 - c / n) ** k, "naive Pass@k"),
        (lambda c, n, k: 0.0 if k > n else subsets(c, n, k), "k > n"),
        (lambda c, n, k: subsets(c, n, min(k, n)), "k > n"),
        (lambda c, n, k: 1 - (1 - c / n) ** k if k > n else subsets(c, n, k), "k > n"),
    ],
)
def test_other_shapes_of_a_mistake_in_pass_at_k_are_named_too(answer, mistake):
    assert checks.unbiased_pass_at_k(answer).mistake == mistake


def test_other_shapes_of_mistakes_in_kl_and_denominators_are_named_too():
    assert checks.reverse_kl(lambda s, t: np.log(s / t).sum()).mistake == "not weighted"
    mean_of_means = checks.global_denominator(lambda s, n, b: [s[r].sum() / n[r].sum() / len(b) for r in b])
    assert mean_of_means.mistake == "local denominators"


def test_a_checker_does_not_give_its_cases_away_to_be_changed():
    def spoil(ppl, correct, group, tau):
        ppl *= 0
        return WEIGHTS[None](ppl + 1, correct, group, tau)

    assert not checks.student_path_weights(spoil).passed
    assert checks.student_path_weights(WEIGHTS[None]).passed
