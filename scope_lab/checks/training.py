"""Checkers of the training loop (lesson 06)."""

from collections.abc import Callable

import numpy as np
import torch

from .judge import Feedback, Mistake, judge


def teacher_rows(answer: Callable) -> Feedback:
    """Check `answer(correct, known)`: the indices of the rollouts that SCOPE asks the teacher about."""

    rows = np.flatnonzero
    c, k = np.array([1, 0, 0, 1, 0, 1], dtype=bool), np.array([1, 1, 0, 1, 1, 0], dtype=bool)
    mistakes = [
        Mistake("unknown ones asked", "A rollout without a verdict joins neither path.", lambda c, k: rows(~c)),
        Mistake("the correct ones", "Those are reinforced; the teacher corrects the wrong ones.",
                lambda c, k: rows(c & k)),
        Mistake("everyone asked", "That is on-policy distillation; SCOPE spares itself the correct ones.",
                lambda c, k: rows(k)),
        Mistake("a mask", "Indices are wanted: np.flatnonzero.", lambda c, k: ~c & k),
    ]  # fmt: skip
    return judge(answer, lambda c, k: rows(~c & k), [(c, k), (~c, k), (c, k | True)], mistakes)


def prompts_of_step(answer: Callable) -> Feedback:
    """Check `answer(step, P, n)`: which of n problems, numbered from 0, the step's P prompts are (steps from 0)."""

    def truth(step, P, n):
        return (step * P + np.arange(P)) % n

    def cut(step, P, n):
        start = step * P % n
        return np.arange(start, min(start + P, n))

    mistakes = [
        Mistake("a short step", "A slice stops at the end of the list: the rest comes from its start.", cut),
        Mistake("starts again", "Every step would train on the same prompts.", lambda s, P, n: np.arange(P)),
        Mistake("runs past the end", "After the last problem comes the first: take the remainder.",
                lambda s, P, n: s * P + np.arange(P)),
        Mistake("moves on by one", "A step uses up P prompts.", lambda s, P, n: (s + np.arange(P)) % n),
        Mistake("last ones never met", "Where P does not divide n, the last problems are skipped on every pass.",
                lambda s, P, n: s % (n // P) * P + np.arange(P)),
        Mistake("steps from one", "The first step is number 0.", lambda s, P, n: truth(s - 1, P, n)),
    ]  # fmt: skip
    return judge(answer, truth, [(0, 4, 10), (1, 4, 10), (2, 4, 10), (5, 3, 7)], mistakes)


def clipped_gradient(answer: Callable) -> Feedback:
    """Check `answer(gradient, limit)`: the gradient, shortened to norm `limit` where it is longer."""

    def norm(g):
        return np.sqrt((g**2).sum())

    mistakes = [
        Mistake("always rescaled", "A gradient shorter than the limit stays as it is.", lambda g, m: g * m / norm(g)),
        Mistake("every component clipped", "Shorten the whole vector by one factor: its direction must not change.",
                lambda g, m: np.clip(g, -m, m)),
        Mistake("squared norm", "The norm is the square root of the sum of squares.",
                lambda g, m: g * min(1.0, m / (g**2).sum())),
        Mistake("not clipped", "The first gradient is longer than the limit.", lambda g, m: g),
        Mistake("dropped", "A long gradient is shortened, not thrown away.",
                lambda g, m: g * float(norm(g) <= m)),
    ]  # fmt: skip
    cases = [(np.array([3.0, -4.0, 0.0]), 1.0), (np.array([0.3, 0.1, -0.2]), 1.0), (np.array([6.0, 8.0]), 2.0)]
    return judge(answer, lambda g, m: g * min(1.0, m / norm(g)), cases, mistakes)


def optimizer_step(answer: Callable) -> Feedback:
    """Check `answer(optimizer, loss)`: one update. It is called for several losses in turn, on one parameter."""

    def train(update: Callable) -> Callable:
        def run(start, targets):
            p = torch.tensor(start, dtype=torch.float64, requires_grad=True)
            optimizer = torch.optim.SGD([p], lr=0.1)
            for target in targets:
                if update(optimizer, (p - target).square().sum()) is ...:  # the exercise's stub
                    return ...
            return p.detach().numpy().copy()

        return run

    def right(optimizer, loss):
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def forgot_zero(optimizer, loss):
        loss.backward()
        optimizer.step()

    def step_first(optimizer, loss):
        optimizer.step()
        loss.backward()

    def step_before_backward(optimizer, loss):
        optimizer.step()
        optimizer.zero_grad()
        loss.backward()

    def zero_between(optimizer, loss):
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()

    mistakes = [
        Mistake("forgot zero_grad", "Gradients add up: the first step's is still there in the second.",
                train(forgot_zero)),
        Mistake("step before backward", "There is no gradient of this loss yet.", train(step_before_backward)),
        Mistake("step before backward", "There is no gradient of this loss yet.", train(step_first)),
        Mistake("nothing moved", "backward fills the gradients, step uses them, zero_grad empties them: in that order.",
                train(zero_between)),
    ]  # fmt: skip
    cases = [(np.array([0.0, 1.0]), (3.0, -2.0, 1.0)), (np.array([5.0]), (1.0, 1.0))]
    return judge(train(answer), train(right), cases, mistakes)
