"""Problems from a JSONL file: one object a line with `id`, `problem` and `answer`."""

import json
import random
from pathlib import Path

from ..errors import InputError
from .answers import verify_answer
from .base import Problem, Task, Verdict, Verification, check_split, split_of


def is_problem_file(name: str) -> bool:
    return name.endswith(".jsonl")


class ProblemFile:
    """A file of problems. Without a `judge` a response's final number is compared with the answer (see `answers`).

    Splits are by a hash of the problem's text, so they stay disjoint when the file grows. A bad line is refused with
    its number; nothing is skipped in silence.
    """

    def __init__(self, path: str | Path, judge: Task | None = None):
        self.path, self.judge = Path(path), judge
        self.name = f"{judge.name}:{path}" if judge else str(path)
        self.max_new_tokens = judge.max_new_tokens if judge else 256
        self._problems = self._read()

    def _read(self) -> list[Problem]:
        if not self.path.is_file():
            raise InputError(f"task: {self.path} is not a file")
        problems: dict[str, Problem] = {}
        for number, line in enumerate(self.path.read_bytes().splitlines(), start=1):
            where = f"task: {self.path} line {number}"
            try:
                row = json.loads(line.decode("utf-8"))
            except (UnicodeDecodeError, json.JSONDecodeError) as error:
                raise InputError(f"{where}: not JSON in UTF-8 ({error})") from None
            missing = {"id", "problem", "answer"} - set(row if isinstance(row, dict) else ())
            if missing:
                raise InputError(f"{where}: missing {', '.join(sorted(missing))}; accepted id, problem, answer")
            problem = Problem(str(row["id"]), str(row["problem"]), str(row["answer"]))
            if not problem.prompt.strip():
                raise InputError(f"{where}: problem is empty")
            if problem.id in problems:
                raise InputError(f"{where}: id {problem.id!r} stands on an earlier line too")
            if self.judge and self.judge.verify(problem, "").verdict == Verdict.UNKNOWN:
                raise InputError(f"{where}: {self.judge.name} cannot read problem {problem.prompt!r}")
            problems[problem.id] = problem
        if not problems:
            raise InputError(f"task: {self.path} holds no problem")
        return list(problems.values())

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first n problems of a split in the order that `seed` gives (0: the file's order); all by default."""
        check_split(split, n)
        chosen = [problem for problem in self._problems if split_of(problem.prompt) == split]
        if seed:
            random.Random(seed).shuffle(chosen)
        if n is not None and n > len(chosen):
            raise InputError(f"{self.path}: split {split!r} has {len(chosen)} problems, {n} asked for")
        return chosen[:n]

    def verify(self, problem: Problem, response: str) -> Verification:
        """By the file's judge, else by the response's final number; unknown where the reference is no number."""
        if self.judge:
            return self.judge.verify(problem, response)
        return verify_answer(problem.reference, response)
