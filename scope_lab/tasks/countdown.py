"""Countdown: reach a target from a few numbers by + − × ÷, each number used once, written as steps.

    prompt    8,3,5,2=21:
    response  8*3=24,24-5=19,19+2=21

The verifier replays the steps exactly. A wrong response therefore has a precise first broken step, and a problem
has many different correct responses: the two things that SCOPE's weights are about.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..errors import InputError
from .base import Problem, Verdict, Verification, check_split, different_problems, split_of

NUMBER = r"(0|[1-9]\d{0,3})"
STEP = re.compile(rf"{NUMBER}([-+*/]){NUMBER}={NUMBER}", re.ASCII)
PROMPT = re.compile(r"(\d{1,4}(?:,\d{1,4})+)=(\d{1,4}):")


@dataclass(frozen=True)
class Difficulty:
    """What problems look like. Solutions are counted as distinct expression trees (`solutions`)."""

    n_numbers: int = 4
    max_number: int = 12
    max_value: int = 99
    operations: str = "+-*/"
    min_solutions: int = 1
    max_solutions: int | None = None


# Easy and hard keep the format and number range on which the bundled models are trained.
DIFFICULTIES = {
    "standard": Difficulty(),
    "easy": Difficulty(min_solutions=20),
    "hard": Difficulty(max_solutions=8),
    "tiny": Difficulty(n_numbers=3, max_number=9),
}


def apply_operation(a: int, operation: str, b: int) -> int | None:
    """a (operation) b, or None where the quotient is not a whole number or the difference is negative."""
    match operation:
        case "+":
            return a + b
        case "-":
            return a - b if a >= b else None
        case "*":
            return a * b
        case "/":
            return a // b if b and a % b == 0 else None
    raise ValueError(f"operation: found {operation!r}, accepted + - * /")


def join_expressions(a: str, operation: str, b: str) -> str:
    """An expression tree as text; a sum or product reads the same whichever side came first."""
    if operation in "+*" and b < a:
        a, b = b, a
    return f"({a}{operation}{b})"


@lru_cache(maxsize=65_536)
def _reachable(pool: tuple[tuple[int, str], ...], max_value: int, operations: str) -> tuple[tuple[int, str], ...]:
    """Every (value, expression tree) that uses the whole sorted pool of (value, expression) exactly once."""
    if len(pool) == 1:
        return pool
    found: dict[tuple[int, str], None] = {}
    for i, (a, tree_a) in enumerate(pool):
        for j, (b, tree_b) in enumerate(pool):
            if i == j:
                continue
            rest = pool[: min(i, j)] + pool[min(i, j) + 1 : max(i, j)] + pool[max(i, j) + 1 :]
            for operation in operations:
                if operation in "+*" and i > j:
                    continue  # the same tree as (j, i)
                value = apply_operation(a, operation, b)
                if value is None or value > max_value:
                    continue
                joined = (value, join_expressions(tree_a, operation, tree_b))
                found.update(dict.fromkeys(_reachable(tuple(sorted((*rest, joined))), max_value, operations)))
    return tuple(found)


def solutions(numbers: list[int], target: int, max_value: int = 99, operations: str = "+-*/") -> set[str]:
    """All distinct expression trees that make `target` from all `numbers`, intermediate results within 0..max_value."""
    pool = tuple(sorted((n, str(n)) for n in numbers))
    return {tree for value, tree in _reachable(pool, max_value, operations) if value == target}


def random_derivation(rng: random.Random, difficulty: Difficulty) -> tuple[list[int], int, str]:
    """Numbers in shuffled order, the target that a random walk of steps reaches, and that walk as a response."""
    while True:
        numbers = [rng.randint(1, difficulty.max_number) for _ in range(difficulty.n_numbers)]
        pool, steps = list(numbers), []
        while len(pool) > 1:
            a, b = pool.pop(rng.randrange(len(pool))), pool.pop(rng.randrange(len(pool)))
            operation = rng.choice(difficulty.operations)
            value = apply_operation(a, operation, b)
            if value is None or value > difficulty.max_value:
                break
            pool.append(value)
            steps.append(f"{a}{operation}{b}={value}")
        else:
            if pool[0] > 0:
                return numbers, pool[0], ",".join(steps)


def problem_key(numbers: list[int], target: int) -> str:
    """The same for every order of the numbers, so that a shuffled train problem is never a test problem."""
    return ",".join(map(str, sorted(numbers))) + f"={target}"


class Countdown:
    """The task. `difficulty` is a name of DIFFICULTIES; the bundled pair is trained on `standard` problems."""

    finite = False

    def __init__(self, difficulty: str = "standard"):
        if difficulty not in DIFFICULTIES:
            raise InputError(f"countdown difficulty: found {difficulty!r}, accepted {', '.join(DIFFICULTIES)}")
        self.difficulty = DIFFICULTIES[difficulty]
        self.name = "countdown" if difficulty == "standard" else f"countdown:{difficulty}"
        # A step is at most 8 characters, then a comma or EOS; one more each for slack.
        self.max_new_tokens = 10 * (self.difficulty.n_numbers - 1)

    def derivations(self, split: str, seed: int) -> Iterator[tuple[Problem, str]]:
        """An endless stream of (problem, correct response) from one split; problems may repeat."""
        check_split(split)
        rng = random.Random(f"countdown {split} {seed}")
        while True:
            numbers, target, response = random_derivation(rng, self.difficulty)
            key = problem_key(numbers, target)
            if split_of(key) == split:
                prompt = ",".join(map(str, numbers)) + f"={target}:"
                yield Problem(id=key, prompt=prompt, reference=str(target)), response

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first n (default 1,000) different problems of a split, in the order that `seed` gives."""
        check_split(split, n)
        return different_problems(self, split, self.derivations(split, seed), n, self._difficult_enough)

    def _difficult_enough(self, problem: Problem) -> bool:
        d = self.difficulty
        if d.min_solutions <= 1 and d.max_solutions is None:
            return True  # a derivation exists, so there is at least one
        numbers, target = parse_prompt(problem.prompt)
        count = len(solutions(numbers, target, d.max_value, d.operations))
        return d.min_solutions <= count <= (d.max_solutions or count)

    def verify(self, problem: Problem, response: str) -> Verification:
        """Replay the steps: every operand must be in the pool, every result right, one number left, the target.

        `answer` is the expression tree of a correct response, so that 8*3 and 3*8 are one solution; of a wrong
        response it is the text itself.
        """
        try:
            numbers, target = parse_prompt(problem.prompt)
        except ValueError:
            return Verification(Verdict.UNKNOWN, "unreadable problem")
        text = response.strip()

        def wrong(reason: str) -> Verification:
            return Verification(Verdict.INCORRECT, reason, text or None)

        if not text:
            return wrong("empty response")
        pool = [(n, str(n)) for n in numbers]
        for step in text.split(","):
            match = STEP.fullmatch(step)
            if match is None:
                return wrong("malformed step")
            a, operation, b, claimed = int(match[1]), match[2], int(match[3]), int(match[4])
            operands = []
            for value in (a, b):
                held = next((item for item in pool if item[0] == value), None)
                if held is None:
                    return wrong("number not available")
                pool.remove(held)
                operands.append(held[1])
            result = apply_operation(a, operation, b)
            if result is None:
                return wrong("negative or fractional result")
            if result != claimed:
                return wrong("wrong arithmetic")
            if result > self.difficulty.max_value:
                return wrong("result too large")
            pool.append((result, join_expressions(operands[0], operation, operands[1])))
        if len(pool) > 1:
            return wrong("numbers left over")
        if pool[0][0] != target:
            return wrong("target missed")
        return Verification(Verdict.CORRECT, "target reached", pool[0][1])


def parse_prompt(prompt: str) -> tuple[list[int], int]:
    """`8,3,5,2=21:` -> ([8, 3, 5, 2], 21). Raises ValueError on anything else."""
    match = PROMPT.fullmatch(prompt) if prompt.isascii() else None
    if match is None:
        raise ValueError(f"countdown prompt: found {prompt!r}, accepted like '8,3,5,2=21:'")
    return [int(n) for n in match[1].split(",")], int(match[2])
