"""Checkers of lessons 06 and 07: the right answer passes, and each classic mistake is called by its name."""

import numpy as np
import pytest
import torch

from scope_lab import checks
from scope_lab.seeds import holm, over_seeds, relative

ROWS = {
    None: lambda c, k: [i for i in range(len(c)) if k[i] and not c[i]],
    "unknown ones asked": lambda c, k: np.flatnonzero(~c),
    "the correct ones": lambda c, k: np.flatnonzero(c & k),
    "everyone asked": lambda c, k: np.flatnonzero(k),
    "a mask": lambda c, k: k & ~c,
}
WALK = {
    None: lambda step, P, n: [i % n for i in range(step * P, (step + 1) * P)],
    "a short step": lambda step, P, n: list(range(n))[step * P % n :][:P],
    "starts again": lambda step, P, n: list(range(P)),
    "runs past the end": lambda step, P, n: [step * P + i for i in range(P)],
    "moves on by one": lambda step, P, n: [(step + i) % n for i in range(P)],
    "last ones never met": lambda step, P, n: [step % (n // P) * P + i for i in range(P)],
    "steps from one": lambda step, P, n: [i % n for i in range((step - 1) * P, step * P)],
}
CLIP = {
    None: lambda g, limit: g / max(1.0, np.linalg.norm(g) / limit),
    "always rescaled": lambda g, limit: limit * g / np.linalg.norm(g),
    "every component clipped": lambda g, limit: np.maximum(np.minimum(g, limit), -limit),
    "squared norm": lambda g, limit: g * min(1.0, limit / (g @ g)),
    "not clipped": lambda g, limit: g,
    "dropped": lambda g, limit: g if np.linalg.norm(g) <= limit else 0 * g,
}


def calls(order: str):
    """An update that makes its calls in this order: b backward, s step, z zero_grad."""

    def update(optimizer, loss):
        for call in order:
            {"b": loss.backward, "s": optimizer.step, "z": optimizer.zero_grad}[call]()

    return update


UPDATES = {
    None: ("bsz", "zbs"),
    "forgot zero_grad": ("bs",),
    "step before backward": ("szb", "sb"),
    "nothing moved": ("bzs", ""),
}


def spread(x, ddof=1):
    """Standard error of the mean of independent numbers."""
    return np.std(x, ddof=ddof) / np.sqrt(len(x))


def per_problem(correct):
    return np.array([row.mean() for row in correct])


ERROR = {
    None: lambda c: spread(per_problem(c)),
    "samples instead of problems": lambda c: np.sqrt(c.mean() * (1 - c.mean()) / c.size),
    "problems divided by samples": lambda c: per_problem(c).std(ddof=1) / np.sqrt(c.size),
    "mean over problems": lambda c: spread(per_problem(c.T)),
    "spread of problems": lambda c: per_problem(c).std(ddof=1),
    "root left out": lambda c: per_problem(c).std(ddof=1) / len(c),
    "population standard deviation": lambda c: spread(per_problem(c), ddof=0),
}
GAIN = {
    None: lambda a, b: 100 * (np.mean(a) - np.mean(b)) / np.mean(b),
    "percentage points": lambda a, b: 100 * np.mean(a - b),
    "best seed picked": lambda a, b: 100 * (max(per_problem(a)) / max(per_problem(b)) - 1),
    "mean of ratios": lambda a, b: 100 * np.mean((a - b) / b),
    "relative to ours": lambda a, b: 100 * (np.mean(a) - np.mean(b)) / np.mean(a),
    "a fraction": lambda a, b: (np.mean(a) - np.mean(b)) / np.mean(b),
    "one not taken off": lambda a, b: 100 * np.mean(a) / np.mean(b),
}


def ends(values, error, t):
    return np.mean(values) - t * error, np.mean(values) + t * error


def best(a, b):
    return max(a - b, key=np.mean)


SEEDS = {
    None: lambda a, b, t: ends(a - b, spread(per_problem(a - b)), t),
    "unpaired": lambda a, b, t: ends(a - b, np.hypot(spread(per_problem(a)), spread(per_problem(b))), t),
    "problems instead of seeds": lambda a, b, t: ends(a - b, spread(per_problem((a - b).T)), t),
    "every value counted as independent": lambda a, b, t: ends(a - b, spread((a - b).ravel()), t),
    "best seed picked": lambda a, b, t: ends(best(a, b), spread(best(a, b)), t),
    "spread of seeds": lambda a, b, t: ends(a - b, per_problem(a - b).std(ddof=1), t),
    "root left out": lambda a, b, t: ends(a - b, per_problem(a - b).std(ddof=1) / len(a), t),
    "population standard deviation": lambda a, b, t: ends(a - b, spread(per_problem(a - b), ddof=0), t),
    "1.96 instead of t": lambda a, b, t: ends(a - b, spread(per_problem(a - b)), 1.96),
    "wrong sign": lambda a, b, t: ends(b - a, spread(per_problem(b - a)), t),
}


def claim(low, high, p, smallest):
    if p < 0.05 and low > 0:
        return 1
    return -1 if high < smallest else 0


CLAIM = {
    None: claim,
    "absence of evidence": lambda low, high, p, s: claim(low, high, p, s) or -1,
    "sign ignored": lambda low, high, p, s: 1 if p < 0.05 else claim(low, high, p, s),
    "middle of the interval": lambda low, high, p, s: 1 if low + high > 0 else -1,
    "only a loss contradicts": lambda low, high, p, s: claim(low, high, p, 0),
    "smallest difference demanded": lambda low, high, p, s: claim(low - s, high, p, s),
}


def adjust(p, factor=lambda m, i: m - i, rising=True, cap=1.0):
    values, highest = np.zeros(len(p)), 0.0
    for i, place in enumerate(np.argsort(p)):
        value = factor(len(p), i) * p[place]
        highest = max(highest, value)
        values[place] = min(highest if rising else value, cap)
    return values


def false_discovery(p):
    ranks = np.argsort(np.argsort(p)) + 1
    return np.array([min(p[j] * len(p) / ranks[j] for j in range(len(p)) if p[j] >= p[i]) for i in range(len(p))])


HOLM = {
    None: adjust,
    "not adjusted": lambda p: p,
    "Bonferroni": lambda p: adjust(p, factor=lambda m, i: m),
    "order lost": lambda p: np.sort(adjust(p)),
    "falls again": lambda p: adjust(p, rising=False),
    "above one": lambda p: adjust(p, cap=np.inf),
    "Benjamini and Hochberg": false_discovery,
}
EXERCISES = {
    checks.teacher_rows: ROWS,
    checks.prompts_of_step: WALK,
    checks.clipped_gradient: CLIP,
    checks.standard_error: ERROR,
    checks.relative_gain: GAIN,
    checks.interval_over_seeds: SEEDS,
    checks.claim_status: CLAIM,
    checks.holm_adjusted: HOLM,
}
CASES = [(check, name, answer) for check, answers in EXERCISES.items() for name, answer in answers.items()]


@pytest.mark.parametrize("check, mistake, answer", CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_right_answers_pass_and_classic_mistakes_are_named(check, mistake, answer):
    feedback = check(answer)
    assert feedback.mistake == mistake
    assert feedback.passed == (mistake is None)


@pytest.mark.parametrize("check", EXERCISES)
def test_unfinished_and_broken_answers_are_told_apart(check):
    assert check(lambda *_: ...).mistake == check(lambda *_: None).mistake == "not answered"
    assert check(lambda *_: 1 / 0).mistake == "raises"
    assert check(lambda *_: "much").mistake == "not a number"
    assert check(lambda *_: np.zeros((2, 3, 4))).mistake == "shape"
    unknown = check(lambda *case: np.zeros_like(EXERCISES[check][None](*case), dtype=float) + 7.5)
    assert not unknown.passed and unknown.mistake is None and "found" in unknown.message


@pytest.mark.parametrize("mistake, order", [(name, order) for name, orders in UPDATES.items() for order in orders])
def test_the_order_of_an_update_is_read_from_where_the_parameter_ends(mistake, order):
    feedback = checks.optimizer_step(calls(order))
    assert feedback.mistake == mistake and feedback.passed == (mistake is None)


def test_an_update_that_is_unfinished_or_broken_or_something_else():
    assert checks.optimizer_step(lambda optimizer, loss: ...).mistake == "not answered"
    assert checks.optimizer_step(lambda optimizer, loss: loss.sideways()).mistake == "raises"

    def twice(optimizer, loss):
        calls("bsz")(optimizer, 2 * torch.abs(loss))

    feedback = checks.optimizer_step(twice)
    assert not feedback.passed and feedback.mistake is None and "found" in feedback.message


@pytest.mark.parametrize(
    "pick",
    [
        lambda a, b: max(per_problem(a)) / np.mean(b) - 1,
        lambda a, b: max(per_problem(a) / per_problem(b)) - 1,
    ],
)
def test_other_ways_to_pick_a_seed_are_named_too(pick):
    assert checks.relative_gain(lambda a, b: 100 * pick(a, b)).mistake == "best seed picked"


def test_the_checked_formulas_are_the_packages():
    assert checks.holm_adjusted(holm).passed
    assert checks.interval_over_seeds(lambda a, b, t: over_seeds(a - b)).passed
    assert checks.relative_gain(lambda a, b: 100 * relative(a, b)[0]).passed
