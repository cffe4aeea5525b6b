"""What a task is: problems to sample from, and a verifier that routes each response.

A verdict has three values, not two. `unknown` means that the verifier could not decide (it timed out, or the
reference itself cannot be read); such a rollout joins neither path and is only counted.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Protocol

from ..errors import InputError

SPLITS = ("train", "validation", "test")
ALL = "all"  # of a file or a fixed set: every problem, whatever its split


class Verdict(StrEnum):
    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Problem:
    """`prompt` is what the student reads (before any chat template), `reference` what the verifier reads."""

    id: str
    prompt: str
    reference: str


@dataclass(frozen=True)
class Verification:
    """A verdict, why (a short fixed phrase, so that reasons can be counted), and the answer in a canonical form.

    Responses with the same `answer` count as one solution when diversity is measured; None: no answer. `score` is
    partial credit, a share in 0..1, where a task gives some; nothing but the verdict routes.
    """

    verdict: Verdict
    reason: str
    answer: str | None = None
    score: float | None = None


class Task(Protocol):
    """A domain.

    name            what `--task` takes
    max_new_tokens  enough for any sensible response
    finite          a run trains on all that `problems("train")` gives; where False, on 10,000 by default
    """

    name: str
    max_new_tokens: int
    finite: bool

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> Sequence[Problem]:
        """The first n problems of a split in the order that `seed` gives; splits never share a problem.

        Raises InputError for more than there are. Without n: all, or as many as a task that makes its own sees fit.
        """
        ...

    def verify(self, problem: Problem, response: str) -> Verification:
        """Judge one response. Never raises on any text."""
        ...


def is_finite(task: Task) -> bool:
    """Whether all its training problems are trained on by default; so is a task that does not say."""
    return getattr(task, "finite", True)


def check_split(split: str, n: int | None = None, whole: bool = False) -> None:
    """Raises InputError for a split that there is not; whole: ALL is one too."""
    accepted = (*SPLITS, ALL) if whole else SPLITS
    if split not in accepted:
        raise InputError(f"split: found {split!r}, accepted {', '.join(accepted)}")
    if n is not None and n < 0:
        raise InputError(f"problems: found {n}, accepted 0 or more")


def different_problems(
    task: "Task",
    split: str,
    stream: Iterable[tuple[Problem, str]],
    n: int | None,
    accept: Callable[[Problem], bool] = lambda _: True,
) -> list[Problem]:
    """The first n (default 1,000) different problems of a generator that may repeat itself, and that `accept` admits.

    Raises ValueError where 10,000 + 50 n draws do not hold as many.
    """
    wanted = 1_000 if n is None else n
    admitted: dict[str, Problem | None] = {}  # None: seen, and refused
    count = 0
    for problem, _ in islice(stream, 10_000 + 50 * wanted if wanted else 0):
        if problem.id not in admitted:
            admitted[problem.id] = problem if accept(problem) else None
            count += admitted[problem.id] is not None
        if count == wanted:
            break
    if count < wanted:
        raise InputError(f"{task.name}: only {count} different problems found in split {split!r}, {wanted} asked for")
    return [problem for problem in admitted.values() if problem is not None]


def first_problems(
    name: str, chosen: Iterable[Problem], split: str, n: int | None, seed: int, total: int = 0
) -> list[Problem]:
    """The first n of a split's problems in the order that `seed` gives (0: as they stand); all by default.

    Raises InputError for more than there are; total: of how many a hash chose them.
    """
    problems = list(chosen)
    if seed:
        random.Random(seed).shuffle(problems)
    if n is not None and n > len(problems):
        lower = f"lower {'train' if split == 'train' else 'eval'}_problems or --problems"
        hashed = f", or evaluate on all {total} by --split all: a hash puts 80 % into train, 10 % each into the others"
        raise InputError(
            f"{name}: split {split!r} has {len(problems)} problems, {n} asked for; "
            f"{lower}{hashed if total > len(problems) else ''}"
        )
    return problems[:n]


def split_of(key: str) -> str:
    """Assign a problem to a split by a hash of what makes it unique: 80 % train, 10 % validation, 10 % test."""
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 10
    return "validation" if bucket == 8 else "test" if bucket == 9 else "train"
