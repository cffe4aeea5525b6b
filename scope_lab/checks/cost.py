"""Checkers about what a step costs (lesson 09)."""

from collections.abc import Callable

import numpy as np

from .judge import Feedback, Mistake, judge


def training_bytes(answer: Callable) -> Feedback:
    """Check `answer(student, trained, teacher)`: bytes of weights, gradients and AdamW's state, before any activation.

    Parameters of the student, those of them that train, the teacher's. Float32; the teacher, which does not train,
    bfloat16.
    """
    mistakes = [
        Mistake("everything trains", "Only trained parameters have a gradient and two moments.",
                lambda n, k, t: 16 * n + 2 * t),
        Mistake("four bytes short", "A trained parameter has a gradient and two moments of four bytes each.",
                lambda n, k, t: 4 * n + 8 * k + 2 * t),
        Mistake("weights alone", "Training needs a gradient and AdamW's two moments besides.",
                lambda n, k, t: 4 * n + 2 * t),
        Mistake("a teacher that trains", "The teacher has no gradient and no moments.",
                lambda n, k, t: 4 * n + 12 * k + 14 * t),
        Mistake("a teacher in float32", "It does not train: two bytes a parameter are enough.",
                lambda n, k, t: 4 * n + 12 * k + 4 * t),
        Mistake("teacher forgotten", "It sits on the same device.", lambda n, k, t: 4 * n + 12 * k),
        Mistake("frozen weights forgotten", "A frozen parameter is still there: four bytes.",
                lambda n, k, t: 16 * k + 2 * t),
    ]  # fmt: skip
    cases = [(1.7e9, 1.7e9, 8.2e9), (1.7e9, 17e6, 8.2e9), (6e8, 6e8, 1.7e9)]
    return judge(answer, lambda n, k, t: 4 * n + 12 * k + 2 * t, cases, mistakes)


def cache_bytes(answer: Callable) -> Feedback:
    """Check `answer(layers, heads, kv_heads, head_size, rows, tokens)`: bytes of a float32 KV cache."""
    mistakes = [
        Mistake("half of it", "Keys and values are both kept, at four bytes a number.",
                lambda n, h, k, d, r, t: 4 * n * k * d * r * t),
        Mistake("query heads", "Only key-value heads are kept; several query heads share one.",
                lambda n, h, k, d, r, t: 8 * n * h * d * r * t),
        Mistake("one row", "Every row of the batch has a cache of its own.",
                lambda n, h, k, d, r, t: 8 * n * k * d * t),
        Mistake("one layer", "Every layer has its own keys and values.", lambda n, h, k, d, r, t: 8 * k * d * r * t),
        Mistake("numbers instead of bytes", "A float32 number has four bytes.",
                lambda n, h, k, d, r, t: 2 * n * k * d * r * t),
    ]  # fmt: skip
    cases = [(28, 16, 8, 128, 64, 2248), (36, 32, 8, 128, 16, 4096), (3, 3, 1, 32, 256, 43)]
    return judge(answer, lambda n, h, k, d, r, t: 8 * n * k * d * r * t, cases, mistakes)


def decode_seconds(answer: Callable) -> Feedback:
    """Check `answer(weight_bytes, bandwidth, rows, lengths)`: seconds of reading the weights while a batch decodes.

    lengths: response tokens of every row; the batch runs until its longest row has ended.
    """
    mistakes = [
        Mistake("weights read for every row", "One read serves all rows of the batch: that is why batches pay.",
                lambda w, b, r, n: w / b * n.sum()),
        Mistake("weights read for every row", "One read serves all rows of the batch: that is why batches pay.",
                lambda w, b, r, n: w / b * r * n.max()),
        Mistake("mean length", "The batch waits for its longest row.", lambda w, b, r, n: w / b * n.mean()),
        Mistake("one step", "Every token of the longest row is a step.", lambda w, b, r, n: w / b),
        Mistake("upside down", "Bytes divided by bytes a second.", lambda w, b, r, n: b / w * n.max()),
        Mistake("divided by the rows", "More rows do not make a step shorter.",
                lambda w, b, r, n: w / b * n.max() / r),
    ]  # fmt: skip
    cases = [
        (3.4e9, 2.0e12, 4, np.array([100.0, 900.0, 250.0, 400.0])),
        (16e9, 3.35e12, 3, np.array([2048.0, 64.0, 512.0])),
    ]
    return judge(answer, lambda w, b, r, n: w / b * n.max(), cases, mistakes)


def scope_over_grpo(answer: Callable) -> Feedback:
    """Check `answer(generation, update, teacher, wrong)`: SCOPE's step over GRPO's, one stage after the other.

    teacher: seconds of scoring all rollouts; wrong: share of rollouts that are wrong. Both methods generate and update
    alike.
    """
    mistakes = [
        Mistake("asked about everything", "SCOPE's teacher scores the wrong rollouts only.",
                lambda g, u, t, w: (g + u + t) / (g + u)),
        Mistake("asked about the correct ones", "The teacher corrects the wrong ones.",
                lambda g, u, t, w: (g + u + (1 - w) * t) / (g + u)),
        Mistake("upside down", "SCOPE over GRPO.", lambda g, u, t, w: (g + u) / (g + u + w * t)),
        Mistake("the excess alone", "The ratio of the steps: 1 where the teacher costs nothing.",
                lambda g, u, t, w: w * t / (g + u)),
        Mistake("share of SCOPE's step", "Divide by GRPO's step.", lambda g, u, t, w: w * t / (g + u + w * t)),
        Mistake("wrong ones alone trained", "Both paths of SCOPE are trained on.",
                lambda g, u, t, w: (g + w * u + w * t) / (g + u)),
    ]  # fmt: skip
    cases = [(247.7, 154.1, 200.0, 0.5), (0.25, 0.47, 0.57, 0.86), (100.0, 50.0, 30.0, 0.1)]
    return judge(answer, lambda g, u, t, w: (g + u + w * t) / (g + u), cases, mistakes)
