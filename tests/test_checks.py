"""Every checker passes the right answer, names each classic mistake, and never raises on a learner's code."""

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
EXERCISES = {
    checks.student_path_weights: WEIGHTS,
    checks.teacher_path_advantages: ADVANTAGES,
    checks.effective_rollouts: ESS,
    checks.tau_for_share: SHARE,
    checks.tau_by_bisection: AUTO,
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


def test_a_checker_does_not_give_its_cases_away_to_be_changed():
    def spoil(ppl, correct, group, tau):
        ppl *= 0
        return WEIGHTS[None](ppl + 1, correct, group, tau)

    assert not checks.student_path_weights(spoil).passed
    assert checks.student_path_weights(WEIGHTS[None]).passed
