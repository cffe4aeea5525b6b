"""Checkers of routing (lesson 01): paths, kinds of groups, the group-relative reward, the chance of a mixed group."""

from collections.abc import Callable

import numpy as np
import torch

from ..objective import grpo_advantages
from .judge import Feedback, Mistake, judge

_CORRECT = np.array([True, False, False, True, True, False, False, False])
_KNOWN = np.array([True, True, False, True, True, True, True, False])
_GROUP = np.array([0, 0, 0, 1, 1, 2, 2, 2])


def route(answer: Callable) -> Feedback:
    """Check `answer(correct, known)`: +1 on the student path, -1 on the teacher path, 0 on neither."""
    mistakes = [
        Mistake("unknown counted as wrong", "Without a verdict a rollout joins neither path: 0.",
                lambda c, k: np.where(c, 1, -1)),
        Mistake("paths swapped", "Correct rollouts take the student path, wrong ones the teacher path.",
                lambda c, k: np.where(k, np.where(c, -1, 1), 0)),
        Mistake("unknown counted as correct", "Without a verdict nothing is known, success least of all.",
                lambda c, k: np.where(c | ~k, 1, -1)),
        Mistake("teacher path left out", "Wrong rollouts are not thrown away: they are the teacher's.",
                lambda c, k: np.where(c & k, 1, 0)),
    ]  # fmt: skip
    truth = lambda c, k: np.where(k, np.where(c, 1, -1), 0)  # noqa: E731
    cases = [(_CORRECT, _KNOWN), (np.array([False, True]), np.array([False, True]))]
    return judge(answer, truth, cases, mistakes)


def count_kinds(answer: Callable) -> Feedback:
    """Check `answer(correct, group)`: how many groups are all wrong, mixed and all correct."""

    def kinds(correct, group):
        means = np.array([correct[group == g].mean() for g in np.unique(group)])
        return np.array([(means == 0).sum(), ((means > 0) & (means < 1)).sum(), (means == 1).sum()])

    def rollouts(correct, group):
        means = np.array([correct[group == g].mean() for g in group])
        return np.array([(means == 0).sum(), ((means > 0) & (means < 1)).sum(), (means == 1).sum()])

    mistakes = [
        Mistake("rollouts counted instead of groups", "Each group counts once, whatever its size.", rollouts),
        Mistake("the other order", "Return all wrong, mixed, all correct, in this order.",
                lambda c, g: kinds(c, g)[::-1]),
        Mistake("the whole batch as one group", "Judge each prompt's group by itself.", lambda c, g: kinds(c, 0 * g)),
        Mistake("any correct one makes it all correct", "One correct rollout among wrong ones makes a mixed group.",
                lambda c, g: np.array([kinds(c, g)[0], 0, kinds(c, g)[1:].sum()])),
    ]  # fmt: skip
    correct = np.array([True, True, False, False, True, False, False, False, False, True, False])
    group = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3])
    cases = [(correct, group), (np.array([False, False, True]), np.array([4, 5, 9]))]
    return judge(answer, kinds, cases, mistakes)


def group_relative_reward(answer: Callable) -> Feedback:
    """Check `answer(correct, group)`: GRPO's advantage of every rollout, 0 in groups without a contrast."""

    def spread(correct, group, ddof, guard=1e-6):
        reward = correct.astype(float)
        mean = np.array([reward[group == g].mean() for g in group])
        std = np.array([reward[group == g].std(ddof=ddof) for g in group])
        return (reward - mean) / (std + guard)

    def truth(correct, group):
        return grpo_advantages(torch.tensor(correct), torch.ones(len(correct)).bool(), torch.tensor(group)).numpy()

    def centred(correct, group):
        return correct - np.array([correct[group == g].mean() for g in group])

    mistakes = [
        Mistake("not divided by the spread", "Divide by the group's standard deviation.", centred),
        Mistake("divided by zero", "A group without a contrast has a spread of 0: add a small ε to it.",
                lambda c, g: spread(c, g, 1, guard=0.0)),
        Mistake("normalised over the batch", "Mean and spread are those of the prompt's own group.",
                lambda c, g: spread(c, 0 * g, 1)),
        Mistake("population standard deviation", "Here the spread is the sample's: ddof=1, divide by n − 1.",
                lambda c, g: spread(c, g, 0)),
    ]  # fmt: skip
    correct = np.array([True, False, False, False, True, True, False, True, False, False])
    group = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
    with np.errstate(all="ignore"):
        return judge(answer, truth, [(correct, group), (correct[:4], group[:4])], mistakes)


def chance_of_a_mixed_group(answer: Callable) -> Feedback:
    """Check `answer(p, n)`: the chance that n rollouts, each correct with chance p, make a mixed group."""
    mistakes = [
        Mistake("all-correct groups forgotten", "A group may also be all correct: take that chance away too.",
                lambda p, n: 1 - (1 - p) ** n),
        Mistake("all-wrong groups forgotten", "A group may also be all wrong: take that chance away too.",
                lambda p, n: 1 - p**n),
        Mistake("the chance of the opposite", "That is the chance of a group without a contrast.",
                lambda p, n: p**n + (1 - p) ** n),
        Mistake("one correct exactly", "A mixed group may have any number of correct rollouts but none and all.",
                lambda p, n: n * p * (1 - p) ** (n - 1)),
    ]  # fmt: skip
    truth = lambda p, n: 1 - p**n - (1 - p) ** n  # noqa: E731
    return judge(answer, truth, [(0.15, 8), (0.5, 2), (0.9, 4)], mistakes)
