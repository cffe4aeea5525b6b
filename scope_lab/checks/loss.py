"""Checkers of the surrogate loss, its gradient, KL and denominators (lesson 05)."""

from collections.abc import Callable

import numpy as np
import torch

from ..kl import kl_divergence
from ..objective import policy_loss
from .judge import Feedback, Mistake, judge


def surrogate_loss(answer: Callable) -> Feedback:
    """Check `answer(logp, old_logp, advantages, mask)`: -Σ ρ·A over response tokens, undivided. All (B, T)."""

    def truth(logp, old, advantages, mask):
        return float(policy_loss(*(torch.tensor(x) for x in (logp, old, advantages, mask))))

    logp = np.log([[0.5, 0.2, 0.9], [0.3, 0.6, 0.4]])
    old = np.log([[0.4, 0.3, 0.9], [0.3, 0.5, 0.8]])
    advantages = np.array([[0.5, 0.5, 0.5], [-0.2, 0.7, 0.3]])
    mask = np.array([[True, True, True], [True, True, False]])
    inside = lambda x, m: x[m].sum()  # noqa: E731
    mistakes = [
        Mistake("wrong sign", "The loss is minus the gain.", lambda x, o, a, m: -truth(x, o, a, m)),
        Mistake("pads counted", "Only slots where the mask is true are response tokens.",
                lambda x, o, a, m: -(np.exp(x - o) * a).sum()),
        Mistake("ratio upside down", "ρ is the new policy over the old one.",
                lambda x, o, a, m: -inside(np.exp(o - x) * a, m)),
        Mistake("log-probability instead of the ratio", "Its gradient agrees at ρ = 1, its value does not.",
                lambda x, o, a, m: -inside(x * a, m)),
        Mistake("log of the ratio", "ρ itself is multiplied by A: take the exponential.",
                lambda x, o, a, m: -inside((x - o) * a, m)),
        Mistake("averaged over tokens", "Eq. 6 sums over tokens.", lambda x, o, a, m: truth(x, o, a, m) / m.sum()),
        Mistake("ratio left out", "Without ρ nothing depends on the policy.", lambda x, o, a, m: -inside(a, m)),
    ]  # fmt: skip
    return judge(answer, truth, [(logp, old, advantages, mask), (old, logp, advantages, mask)], mistakes)


def teacher_path_gradient(answer: Callable) -> Feedback:
    """Check `answer(student, teacher, token)`: the gradient of one token's teacher-path loss in the student's logits.

    student, teacher  (V,) probabilities; token: the sampled one. At π_θ = π_old, with weight 1.
    """

    def truth(student, teacher, token):
        logits = torch.tensor(np.log(student), requires_grad=True)
        logp = torch.log_softmax(logits, -1)[token].reshape(1, 1)
        advantage = np.log(teacher[token]) - logp.detach()
        policy_loss(logp, None, advantage, torch.ones(1, 1, dtype=torch.bool)).backward()
        assert logits.grad is not None
        return logits.grad.numpy()

    score = lambda s, a: np.eye(len(s))[a] - s  # noqa: E731
    ratio = lambda s, t, a: np.log(s[a] / t[a])  # noqa: E731
    s, t = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.7, 0.1])
    mistakes = [
        Mistake("wrong sign", "The loss is ρ·(log π_S − log π_T): its gradient is that log-ratio times ∇log π.",
                lambda s, t, a: -truth(s, t, a)),
        Mistake("forgot to detach", "The log-ratio is a constant: its own gradient, ∇log π once more, is not added.",
                lambda s, t, a: (ratio(s, t, a) + 1) * score(s, a)),
        Mistake("k1 back-propagated", "That is the gradient of the log-ratio itself. On average it is zero.",
                lambda s, t, a: score(s, a)),
        Mistake("softmax forgotten", "Raising one logit lowers all other probabilities: ∇log π(a) = onehot(a) − π.",
                lambda s, t, a: ratio(s, t, a) * np.eye(len(s))[a]),
        Mistake("distance of distributions", "Only the sampled token's log-ratio is known here.",
                lambda s, t, a: s - t),
        Mistake("exact gradient", "That is the mean over all tokens: here one token was sampled.",
                lambda s, t, a: s * (np.log(s / t) - kl_divergence(s, t))),
    ]  # fmt: skip
    return judge(answer, truth, [(s, t, 0), (s, t, 1), (t, s, 2)], mistakes)


def reverse_kl(answer: Callable) -> Feedback:
    """Check `answer(student, teacher)`: the exact reverse KL of two distributions, in nats."""
    s, t, u = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.7, 0.1]), np.array([0.05, 0.05, 0.9])
    mistakes = [
        Mistake("wrong KL direction", "That is forward KL, averaged over the teacher. Reverse KL is averaged over the "
                "student, who does the sampling.", lambda s, t: kl_divergence(t, s)),
        Mistake("wrong sign", "A KL divergence is never negative: the student stands above the fraction line.",
                lambda s, t: -kl_divergence(s, t)),
        Mistake("not weighted", "Each token counts by how often the student samples it, not equally.",
                lambda s, t: np.log(s / t).mean()),
        Mistake("not weighted", "Multiply each log-ratio by the student's probability before summing.",
                lambda s, t: np.log(s / t).sum()),
        Mistake("bits", "Nats want the natural logarithm.", lambda s, t: kl_divergence(s, t) / np.log(2)),
        Mistake("cross-entropy", "The student's own entropy is missing.", lambda s, t: -(s * np.log(t)).sum()),
    ]  # fmt: skip
    return judge(answer, kl_divergence, [(s, t), (t, s), (u, s)], mistakes)


def global_denominator(answer: Callable) -> Feedback:
    """Check `answer(sums, lengths, batches)`: each micro-batch's part of the token mean over the whole step."""
    sums, lengths = np.array([2.0, -1.0, 6.0, 0.5, 1.2]), np.array([2, 4, 8, 1, 5])
    packings = ((np.array([0, 1]), np.array([2, 3, 4])), (np.array([2]), np.array([0, 3]), np.array([1, 4])))

    def parts(denominator):
        return lambda s, n, b: np.array([s[rows].sum() / denominator(n, rows, b) for rows in b])

    mistakes = [
        Mistake("local denominators", "Dividing by a micro-batch's own tokens makes the loss depend on packing.",
                parts(lambda n, rows, b: n[rows].sum())),
        Mistake("local denominators", "A mean of micro-batch means is not the mean over the step.",
                parts(lambda n, rows, b: n[rows].sum() * len(b))),
        Mistake("rollouts counted", "Divide by tokens, not by rollouts.", parts(lambda n, rows, b: len(n))),
        Mistake("pads counted", "Rollouts × longest response counts padding too.",
                parts(lambda n, rows, b: len(n) * n.max())),
        Mistake("divided twice", "Micro-batches' parts are added: nothing more is to be divided by.",
                parts(lambda n, rows, b: n.sum() * len(b))),
        Mistake("not divided", "Divide by the step's number of tokens.", parts(lambda n, rows, b: 1)),
    ]  # fmt: skip
    truth = parts(lambda n, rows, b: n.sum())
    return judge(answer, truth, [(sums, lengths, packing) for packing in packings], mistakes)
