"""Write code for a sequence: the smallest programming task that is judged as large ones are, by tests in the sandbox.

    prompt    1,4,9,16:
    response  (x+1)*(x+1)

The prompt shows f(0) to f(3) of a Python function of x; the response is what stands behind `lambda x:`. It is correct
where it gives those and f(4) and f(5), which the prompt does not show.
"""

import ast
import random
from collections.abc import Iterator
from functools import lru_cache

from .. import sandbox
from ..sandbox import Limits
from .base import Problem, Verdict, Verification, check_split, different_problems, split_of

SHOWN, TESTED = 4, 6  # values that the prompt shows, and that are tested
LARGEST = 99
OPERATIONS = ("+", "-", "*", "//", "%")
LIMITS = Limits(cpu=2, wall=10.0, memory=256 << 20, processes=2, scratch=1 << 20, output=10_000)
PROGRAM = "f = eval('lambda x: ' + {text!r})\nprint([f(x) for x in range({tested})])"


class Formula:
    """The task. Each response runs in a sandbox, a process of its own; the same text is run once."""

    name = "formula"
    runs = "threads"
    max_new_tokens = 24

    def prepare(self) -> None:
        """Raises InputError where there is no sandbox."""
        sandbox.require()

    def derivations(self, split: str, seed: int) -> Iterator[tuple[Problem, str]]:
        """An endless stream of (problem, a random function that makes it) from one split; problems may repeat."""
        check_split(split)
        rng = random.Random(f"{self.name} {split} {seed}")
        while True:
            text, values = random_function(rng)
            shown = ",".join(map(str, values[:SHOWN]))
            if split_of(shown) == split:
                yield Problem(id=shown, prompt=f"{shown}:", reference=text), text

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first n (default 1,000) different problems of a split, in the order that `seed` gives."""
        check_split(split, n)
        return different_problems(self, split, self.derivations(split, seed), n)

    def quick(self, problem: Problem, response: str) -> Verification | None:
        """Incorrect at once where the text is no Python expression."""
        try:
            ast.parse(response.strip(), mode="eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return Verification(Verdict.INCORRECT, "no expression", response.strip() or None)
        return None

    def verify(self, problem: Problem, response: str) -> Verification:
        """Run the response, and the reference, on x = 0 … 5 and compare what they print."""
        if found := self.quick(problem, response):
            return found
        text = response.strip()
        wanted, got = outcome(problem.reference), outcome(text)
        if wanted.status != "finished" or wanted.returncode or got.status == "failed":
            return Verification(Verdict.UNKNOWN, "sandbox failed" if got.status == "failed" else "unreadable problem")
        answer = ast.unparse(ast.parse(text, mode="eval"))
        if got.status != "finished":
            return Verification(Verdict.INCORRECT, f"{got.status} limit", answer)
        if got.returncode:
            return Verification(Verdict.INCORRECT, "it raises", answer)
        if got.stdout != wanted.stdout:
            return Verification(Verdict.INCORRECT, "a test fails", answer)
        return Verification(Verdict.CORRECT, "all tests pass", answer)


@lru_cache(maxsize=100_000)
def outcome(text: str) -> sandbox.Outcome:
    """What the function prints of its values in the sandbox; no text runs twice."""
    return sandbox.run(PROGRAM.format(text=text, tested=TESTED), limits=LIMITS)


def random_function(rng: random.Random) -> tuple[str, list[int]]:
    """A formula of two to four leaves, x or a digit, that is not constant, and its values, all in 0 … LARGEST."""
    while True:
        leaves = [rng.choice(["x", "x", str(rng.randint(1, 9))]) for _ in range(rng.choice([2, 3, 4, 4]))]
        text = joined(rng, leaves)[1:-1]
        function = eval(f"lambda x: {text}")  # a text of this function's own making
        try:
            values = [function(x) for x in range(TESTED)]
        except ZeroDivisionError:
            continue
        if len(set(values)) > 1 and min(values) >= 0 and max(values) <= LARGEST:
            return text, values


def joined(rng: random.Random, leaves: list[str]) -> str:
    """The leaves in their order under a random tree of operations, each in brackets."""
    if len(leaves) == 1:
        return leaves[0]
    cut = rng.randint(1, len(leaves) - 1)
    return f"({joined(rng, leaves[:cut])}{rng.choice(OPERATIONS)}{joined(rng, leaves[cut:])})"
