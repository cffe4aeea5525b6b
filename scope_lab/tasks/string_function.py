"""Write code by example: the smallest programming task that is judged as large ones are, by tests in the sandbox.

    prompt    bcda,vwxyzu:
    response  s[1:]+s[0]

The prompt shows f('abcd') and f('uvwxyz') of a Python function of a string; the response is what stands behind
`lambda s:`. It is correct where it gives those, and what is wanted of five more words that the prompt does not show.
"""

import ast
import random
from collections.abc import Iterator
from functools import lru_cache

from .. import sandbox
from ..sandbox import Limits
from .base import Problem, Verdict, Verification, check_split, different_problems, split_of
from .code import REASONS

SHOWN = ("abcd", "uvwxyz")  # no letter twice: each letter of a value says where it comes from
HIDDEN = ("map", "level", "reward", "student", "perplexity")
PIECES = (
    "s", "s[0]", "s[1]", "s[2]", "s[-1]", "s[-2]", "s[1:]", "s[2:]", "s[:-1]", "s[:-2]", "s[:2]", "s[-2:]", "s[1:-1]",
    "s[::-1]", "s[::2]", "'-'",
)  # fmt: skip
LENGTHS = {1: 1, 2: 3, 3: 4, 4: 2}  # how often a function is a sum of so many pieces, of ten
LIMITS = Limits(cpu=2, wall=10.0, memory=256 << 20, processes=2, scratch=1 << 20, output=10_000)
PROGRAM = "import sys\nf = eval('lambda s: ' + {text!r})\nfor word in sys.stdin.read().split():\n    print(f(word))\n"


class StringFunction:
    """The task. Each response runs in a sandbox, a process of its own; the same text is run once."""

    name = "string_function"
    runs = "threads"
    workers = 4  # a sandbox's start is mostly waiting
    max_new_tokens = 32
    finite = False

    def prepare(self) -> None:
        """Raises InputError where there is no sandbox."""
        sandbox.require()

    def derivations(self, split: str, seed: int) -> Iterator[tuple[Problem, str]]:
        """An endless stream of (problem, a random function that makes it) from one split; problems may repeat."""
        check_split(split)
        rng = random.Random(f"{self.name} {split} {seed}")
        while True:
            (length,) = rng.choices(list(LENGTHS), list(LENGTHS.values()))
            text = "+".join(rng.choice(PIECES) for _ in range(length))
            function = eval(f"lambda s: {text}")  # a text of this module's own making
            shown = ",".join(map(function, SHOWN))
            if "s" in text and split_of(shown) == split:
                yield Problem(id=shown, prompt=f"{shown}:", reference=text), text

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first n (default 1,000) different problems of a split, in the order that `seed` gives."""
        check_split(split, n)
        return different_problems(self, split, self.derivations(split, seed), n)

    def quick(self, problem: Problem, response: str) -> Verification | None:
        """Incorrect at once where the text is no Python expression."""
        if normal_form(response) is None:
            return Verification(Verdict.INCORRECT, "no expression", response.strip() or None)
        return None

    def verify(self, problem: Problem, response: str) -> Verification:
        """Run the response, and the reference, on every word and compare what they print."""
        if found := self.quick(problem, response):
            return found
        try:
            wanted, got = outcome(problem.reference), outcome(response.strip())
        except OSError:
            return Verification(Verdict.UNKNOWN, "sandbox failed")
        if wanted.status != "finished" or wanted.returncode:
            return Verification(Verdict.UNKNOWN, "unreadable problem")
        answer = normal_form(response)
        if got.status != "finished":
            return Verification(Verdict.INCORRECT, REASONS[got.status], answer)
        if got.returncode:
            return Verification(Verdict.INCORRECT, "ended with an error", answer)
        if got.stdout != wanted.stdout:
            return Verification(Verdict.INCORRECT, "a test fails", answer)
        return Verification(Verdict.CORRECT, "all tests pass", answer)


def normal_form(text: str) -> str | None:
    """The expression as Python itself would write it; None where the text is none."""
    try:
        return ast.unparse(ast.parse(text.strip(), mode="eval"))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


@lru_cache(maxsize=100_000)
def outcome(text: str) -> sandbox.Outcome:
    """What the function prints of every word in the sandbox. Raises OSError, and forgets it, where that fails."""
    found = sandbox.run(PROGRAM.format(text=text), " ".join(SHOWN + HIDDEN), LIMITS)
    if found.status == "failed":
        raise OSError(found.stderr)
    return found
