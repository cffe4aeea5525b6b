"""What checkers share: an answer is compared with the truth on small cases, then with each classic mistake."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Feedback:
    """What a checker found. `mistake` is the name of a classic mistake, or None."""

    passed: bool
    message: str
    mistake: str | None = None

    def __str__(self) -> str:
        symbol = "✓" if self.passed else "…" if self.mistake == "not answered" else "✗"
        return f"{symbol} {self.message}"

    __repr__ = __str__


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer: its name, the hint it earns, and the function that makes it."""

    name: str
    hint: str
    function: Callable


def judge(answer: Callable, truth: Callable, cases: Sequence[tuple], mistakes: Sequence[Mistake]) -> Feedback:
    """Compare an answer with the truth on every case, then with each known mistake."""
    found, wanted = [], [np.asarray(truth(*case), dtype=float) for case in cases]
    for case in cases:
        copies = [value.copy() if isinstance(value, np.ndarray) else value for value in case]
        try:
            value = answer(*copies)
        except Exception as error:  # the learner's code may raise anything
            return Feedback(False, f"Your function raised {type(error).__name__}: {error}", "raises")
        if value is None or value is ...:
            return Feedback(False, "Not answered yet: your function returns nothing.", "not answered")
        try:
            found.append(np.asarray(value, dtype=float))
        except (TypeError, ValueError):
            return Feedback(False, f"Found a {type(value).__name__}, accepted numbers.", "not a number")
    if _agree(found, wanted):
        return Feedback(True, f"Right, on {len(cases)} cases.")
    for mistake in mistakes:
        with np.errstate(all="ignore"):
            known = [np.asarray(mistake.function(*case), dtype=float) for case in cases]
        # A mistake may be told by its shape; one that is a single number stands for the right shape.
        if _agree(found, [x if x.ndim else np.full(y.shape, x) for x, y in zip(known, wanted, strict=True)]):
            return Feedback(False, f"Not yet ({mistake.name}). {mistake.hint}", mistake.name)
    for ours, right in zip(found, wanted, strict=True):
        if ours.shape != right.shape:
            shapes = f"found shape {ours.shape}, accepted {right.shape}"
            return Feedback(False, f"The result has another shape: {shapes}.", "shape")
    first = next(i for i in range(len(cases)) if not _agree(found[i : i + 1], wanted[i : i + 1]))
    ours, right = (np.round(x[first], 3).tolist() for x in (found, wanted))
    return Feedback(False, f"Not yet. On case {first + 1} found {ours}, accepted {right}.")


def _agree(found, known) -> bool:
    """Of one shape, and equal. A mistake may be to return NaN; the truth never holds any."""
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
        for a, b in zip(found, known, strict=True)
    )
