"""Checkers of lessons 06 and 07: the right answer passes, and each classic mistake is called by its name."""

import numpy as np
import pytest
import torch

from scope_lab import checks

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
EXERCISES = {checks.teacher_rows: ROWS, checks.prompts_of_step: WALK, checks.clipped_gradient: CLIP}
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
