"""Checkers of lesson 09 pass the right answer and name each classic mistake."""

import numpy as np
import pytest

from scope_lab import checks

EXERCISES = {
    checks.training_bytes: {
        None: lambda n, k, t: 4 * n + 4 * k + 8 * k + 2 * t,
        "everything trains": lambda n, k, t: 16 * n + 2 * t,
        "four bytes short": lambda n, k, t: 4 * n + 8 * k + 2 * t,
        "weights alone": lambda n, k, t: 4 * n + 2 * t,
        "a teacher that trains": lambda n, k, t: 4 * n + 12 * k + 14 * t,
        "a teacher in float32": lambda n, k, t: 4 * (n + t) + 12 * k,
        "teacher forgotten": lambda n, k, t: 4 * n + 12 * k,
        "frozen weights forgotten": lambda n, k, t: 16 * k + 2 * t,
    },
    checks.cache_bytes: {
        None: lambda n, h, k, d, r, t: 2 * n * k * d * r * t * 4,
        "half of it": lambda n, h, k, d, r, t: 2 * n * k * d * r * t * 2,
        "query heads": lambda n, h, k, d, r, t: 2 * n * h * d * r * t * 4,
        "one row": lambda n, h, k, d, r, t: 2 * n * k * d * t * 4,
        "one layer": lambda n, h, k, d, r, t: 2 * k * d * r * t * 4,
        "numbers instead of bytes": lambda n, h, k, d, r, t: 2 * n * k * d * r * t,
    },
    checks.decode_seconds: {
        None: lambda w, b, r, n: max(n) * w / b,
        "weights read for every row": lambda w, b, r, n: sum(n) * w / b,
        "mean length": lambda w, b, r, n: np.mean(n) * w / b,
        "one step": lambda w, b, r, n: w / b,
        "upside down": lambda w, b, r, n: max(n) * b / w,
        "divided by the rows": lambda w, b, r, n: max(n) * w / b / r,
    },
    checks.scope_over_grpo: {
        None: lambda g, u, t, w: 1 + w * t / (g + u),
        "asked about everything": lambda g, u, t, w: 1 + t / (g + u),
        "asked about the correct ones": lambda g, u, t, w: 1 + (1 - w) * t / (g + u),
        "upside down": lambda g, u, t, w: (g + u) / (g + u + w * t),
        "the excess alone": lambda g, u, t, w: w * t / (g + u),
        "share of SCOPE's step": lambda g, u, t, w: w * t / (g + u + w * t),
        "wrong ones alone trained": lambda g, u, t, w: (g + w * (u + t)) / (g + u),
    },
}
CASES = [(check, mistake) for check, answers in EXERCISES.items() for mistake in answers]


@pytest.mark.parametrize("check, mistake", CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_answers_are_told_apart(check, mistake):
    feedback = check(EXERCISES[check][mistake])
    assert feedback.mistake == mistake, feedback
    assert feedback.passed == (mistake is None)


def test_a_batch_that_pays_for_every_row_is_found_in_its_other_form():
    assert checks.decode_seconds(lambda w, b, r, n: r * max(n) * w / b).mistake == "weights read for every row"


@pytest.mark.parametrize("check", EXERCISES, ids=lambda check: check.__name__)
def test_stubs_wait_and_errors_are_told(check):
    assert check(lambda *_: ...).mistake == "not answered"
    assert check(lambda *_: 1 / 0).mistake == "raises"
    unknown = check(lambda *_: 123.0)
    assert not unknown.passed and unknown.mistake is None
