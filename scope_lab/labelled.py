"""Responses whose truth is known, because they were made from the answer: how often do verifiers err on them?

A right response says the reference answer in another form, a wrong one is a near miss. So a verifier's two errors can
be counted: a false negative is a right response that it refuses, a false positive a wrong one that it accepts.
"""

import re
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from .tasks.answers import verify_answer
from .tasks.base import Verdict
from .tasks.math_answers import verify_math

BOX = r"\boxed{%s}"
# Of a whole number n: how a response may say it, and how it may miss it. Fields: n, n + 1, n - 1, 10 n.
RIGHT_NUMBERS = {
    "the box": r"\boxed{{{n}}}",
    "spaces": r"So \boxed{{ {n} }}.",
    "a decimal": r"\boxed{{{n}.0}}",
    "a unit": r"\boxed{{{n}\text{{ apples}}}}",
    "an equation": r"\boxed{{x = {n}}}",
    "dollars": r"\boxed{{\${n}}}",
    "text behind": r"\boxed{{{n}}} I checked it in 2 ways.",
    "a sentence": "The answer is {n}.",
    "bold": "She has **{n}** apples left in 3 boxes.",
    "a worked sum": "{less} + 1 = {n}",
}
WRONG_NUMBERS = {
    "one more": r"\boxed{{{more}}}",
    "a digit too many": r"\boxed{{{n}0}}",
    "minus": r"\boxed{{-{n}}}",
    "a half more": r"\boxed{{{n}.5}}",
    "corrected away": "It is not {n}, the answer is {more}.",
    "operand": r"\boxed{{{more}}}, because {more} - 1 = {n}",
    "the number elsewhere": "The answer is {more}. I used {n} steps: {n}",
    "two answers": r"\boxed{{{n} \text{{ or }} {more}}}",
}
# Of a formula: the reference, other ways to write it, near misses. All stand in a box.
FORMULAS = (
    (r"\frac{3}{4}", ("3/4", "0.75", r"\dfrac{3}{4}", r"\frac{6}{8}"), (r"\frac{4}{3}", "0.76", r"-\frac{3}{4}")),
    (r"2\sqrt{3}", (r"\sqrt{12}", r"2 \sqrt 3", r"2\cdot\sqrt{3}"), (r"3\sqrt{2}", r"\sqrt{6}", "3.46")),
    ("x^2+1", ("1+x^2", "x^{2} + 1", r"x\cdot x+1"), ("x^2-1", "2x+1", "x^3+1")),
    (
        r"\{1,2,4\}",
        (r"\{4,2,1\}", r"\{ 1, 2, 4 \}", r"\left\{1,2,4\right\}"),
        (r"\{1,2\}", r"\{1,2,3\}", r"\{1,2,4,8\}"),
    ),
    ("(3, 5)", ("(3,5)", r"\left(3,5\right)", "(3.0, 5)"), ("(5, 3)", "(3, 6)", "(-3, 5)")),
    (r"\pi/6", (r"\frac{\pi}{6}", r"\frac{1}{6}\pi"), (r"\frac{\pi}{3}", r"6\pi", "30")),
)


def string_in_box(reference: str, response: str) -> bool:
    """The last box, or the whole response, character by character: what the released code does."""
    boxes = re.findall(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}", response)
    return (boxes[-1] if boxes else response) == reference


def last_number(reference: str, response: str) -> bool:
    """The last number of the response, wherever it stands, against the last of the reference."""
    ours, theirs = (re.findall(r"-?\d+(?:\.\d+)?", text) for text in (reference, response))
    return bool(ours and theirs) and float(ours[-1]) == float(theirs[-1])


def number_in_context(reference: str, response: str) -> bool:
    """The package's rule for free text (`tasks.answers`): the box, else the stated answer, else the last conclusion."""
    return verify_answer(reference, response).verdict == Verdict.CORRECT


def mathematics(reference: str, response: str) -> bool:
    """The package's rule for `math` tasks: the last box, as mathematics, by math-verify where it is a formula."""
    found = verify_math(reference, response)
    return found is not None and found.verdict == Verdict.CORRECT


VERIFIERS: dict[str, Callable[[str, str], bool]] = {
    "string": string_in_box,
    "last number": last_number,
    "number in context": number_in_context,
    "mathematics": mathematics,
}


def labelled_answers(numbers: Iterable[int] = range(3, 43)) -> pd.DataFrame:
    """Responses made from whole numbers and from FORMULAS: columns reference, response, form, right (bool)."""
    rows = []
    for n in numbers:
        fields = {"n": n, "more": n + 1, "less": n - 1}
        for right, forms in ((True, RIGHT_NUMBERS), (False, WRONG_NUMBERS)):
            rows += [(str(n), form.format(**fields), name, right) for name, form in forms.items()]
    for reference, same, near in FORMULAS:
        rows += [(reference, BOX % text, "a formula", True) for text in (reference, *same)]
        rows += [(reference, BOX % text, "a formula", False) for text in near]
    return pd.DataFrame(rows, columns=["reference", "response", "form", "right"])


def accepted(frame: pd.DataFrame) -> pd.DataFrame:
    """What each of VERIFIERS says of each row, (rows, verifiers) bool."""
    pairs = list(zip(frame.reference, frame.response, strict=True))
    return pd.DataFrame(
        {name: [verify(*pair) for pair in pairs] for name, verify in VERIFIERS.items()}, index=frame.index
    )


def error_rates(right, accepted) -> tuple[float, float]:
    """False negatives among right responses, and false positives among wrong ones; NaN where there are none."""
    right, accepted = np.asarray(right, dtype=bool), np.asarray(accepted, dtype=bool)
    missed, let_through = ~accepted[right], accepted[~right]
    return (
        float(missed.mean()) if missed.size else float("nan"),
        float(let_through.mean()) if let_through.size else float("nan"),
    )


def error_table(right, found: pd.DataFrame) -> pd.DataFrame:
    """Both rates of every verifier, a row each."""
    rates = [error_rates(right, found[name]) for name in found]
    return pd.DataFrame(rates, index=list(found), columns=["false negatives", "false positives"])
