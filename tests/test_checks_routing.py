"""Checkers of lessons 01 and 02: the right answer passes, and each classic mistake is called by its name."""

import numpy as np
import pytest

from scope_lab import checks


def spread(c, g, ddof=1, guard=1e-6):
    mean, std = (np.array([f(c[g == x].astype(float)) for x in g]) for f in (np.mean, lambda r: r.std(ddof=ddof)))
    return (c - mean) / (std + guard)


def kinds(c, g):
    means = np.array([c[g == x].mean() for x in sorted(set(g.tolist()))])
    return np.array([(means == 0).sum(), ((means > 0) & (means < 1)).sum(), (means == 1).sum()])


def rollouts_of_kinds(c, g):
    means = np.array([c[g == x].mean() for x in g])
    return np.array([(means == 0).sum(), ((means > 0) & (means < 1)).sum(), (means == 1).sum()])


def powered(ppl, tau=1.0):
    return ppl ** (1 / tau) / (ppl ** (1 / tau)).sum()


def log_shares(nll, wrong, tau=1.0, power=-1):
    score = np.where(wrong, power * nll / tau, -np.inf)
    share = np.exp(score - score.max())
    return share / share.sum()


ROUTE = {
    None: lambda c, k: [0 if not known else 1 if right else -1 for right, known in zip(c, k, strict=True)],
    "unknown counted as wrong": lambda c, k: 2 * c.astype(int) - 1,
    "paths swapped": lambda c, k: k * (1 - 2 * c.astype(int)),
    "unknown counted as correct": lambda c, k: np.where(~k, 1, 2 * c.astype(int) - 1),
    "teacher path left out": lambda c, k: (c & k).astype(int),
}
KINDS = {
    None: kinds,
    "rollouts counted instead of groups": rollouts_of_kinds,
    "the other order": lambda c, g: kinds(c, g)[::-1],
    "the whole batch as one group": lambda c, g: kinds(c, np.zeros(len(g))),
    "any correct one makes it all correct": lambda c, g: [kinds(c, g)[0], 0, kinds(c, g)[1] + kinds(c, g)[2]],
}
GRPO = {
    None: spread,
    "not divided by the spread": lambda c, g: c - np.array([c[g == x].mean() for x in g]),
    "divided by zero": lambda c, g: spread(c, g, guard=0),
    "normalised over the batch": lambda c, g: spread(c, np.zeros(len(g))),
    "population standard deviation": lambda c, g: spread(c, g, ddof=0),
}
CHANCE = {
    None: lambda p, n: 1 - p**n - (1 - p) ** n,
    "all-correct groups forgotten": lambda p, n: 1 - (1 - p) ** n,
    "all-wrong groups forgotten": lambda p, n: 1 - p**n,
    "the chance of the opposite": lambda p, n: p**n + (1 - p) ** n,
    "one correct exactly": lambda p, n: n * p * (1 - p) ** (n - 1),
}
PPL = {
    None: lambda x, m: np.array([np.exp(-row[use].mean()) for row, use in zip(x, m, strict=True)]),
    "pads counted": lambda x, m: np.exp(-x.mean(1)),
    "divided by the padded length": lambda x, m: np.exp(-(x * m).mean(1)),
    "sum instead of mean": lambda x, m: np.exp(-(x * m).sum(1)),
    "wrong sign": lambda x, m: np.exp((x * m).sum(1) / m.sum(1)),
    "exponential left out": lambda x, m: -(x * m).sum(1) / m.sum(1),
    "mean of probabilities": lambda x, m: 1 / ((np.exp(x) * m).sum(1) / m.sum(1)),
    "mean of the tokens' perplexities": lambda x, m: (np.exp(-x) * m).sum(1) / m.sum(1),
    "one number for the batch": lambda x, m: np.exp(-x[m].mean()) * np.ones(len(x)),
}
TEACHER = {
    None: log_shares,
    "the student path's sign": lambda x, w, tau: log_shares(x, w, tau, power=+1),
    "perplexity overflows": lambda x, w, tau: (w * np.exp(x) ** (-1 / tau)) / (w * np.exp(x) ** (-1 / tau)).sum(),
    "correct rollouts weighed too": lambda x, w, tau: log_shares(x, w | True, tau),
    "normalised over both paths": lambda x, w, tau: w * log_shares(x, w | True, tau),
    "temperature upside down": lambda x, w, tau: log_shares(x, w, 1 / tau),
    "temperature left out": lambda x, w, tau: log_shares(x, w),
}
BONUS = {
    None: lambda p, n: p**n,
    "no bonus": lambda p, n: 1,
    "added instead of multiplied": lambda p, n: p * n,
    "wrong sign": lambda p, n: 1 / p**n,
    "left in nats": lambda p, n: n * np.log(p),
}
REFERENCE = {
    None: lambda p, tau: len(p) * powered(1 / p, tau),
    "the paper's sign": lambda p, tau: len(p) * powered(p, tau),
    "the paper's scale": lambda p, tau: powered(1 / p, tau),
    "the paper's Eq. 4": powered,
    "temperature upside down": lambda p, tau: len(p) * powered(1 / p, 1 / tau),
}
EXERCISES = {
    checks.route: ROUTE,
    checks.count_kinds: KINDS,
    checks.group_relative_reward: GRPO,
    checks.chance_of_a_mixed_group: CHANCE,
    checks.response_perplexity: PPL,
    checks.teacher_path_weights: TEACHER,
    checks.equal_length_bonus: BONUS,
    checks.reference_weights: REFERENCE,
}
CASES = [(check, name, answer) for check, answers in EXERCISES.items() for name, answer in answers.items()]


@pytest.mark.parametrize("check, mistake, answer", CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_right_answers_pass_and_classic_mistakes_are_named(check, mistake, answer):
    feedback = check(answer)
    assert feedback.mistake == mistake
    assert feedback.passed == (mistake is None)


@pytest.mark.parametrize("check", EXERCISES)
def test_unfinished_and_broken_answers_are_told_apart(check):
    assert check(lambda *_: ...).mistake == "not answered"
    assert check(lambda *_: 1 / 0).mistake == "raises"
    assert check(lambda *_: np.zeros((2, 3, 4))).mistake == "shape"
    unknown = check(lambda *case: np.zeros_like(EXERCISES[check][None](*case), dtype=float) + 7.0)
    assert not unknown.passed and unknown.mistake is None and "found" in unknown.message
