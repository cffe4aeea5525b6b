"""Problems from a file: JSONL, one object a line with `id`, `problem` and `answer`; or parquet with these columns.

Blank lines are passed over.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line, shown
from .answers import verify_answer
from .base import ALL, Problem, Task, Verdict, Verification, check_split, first_problems, split_of

OTHER_FORMATS = (".json", ".csv", ".tsv", ".txt", ".yaml", ".yml", ".xlsx", ".gz", ".zip")
LINES = "one JSON object a line"
MAX_NEW_TOKENS = 256  # of a response to a problem of one's own


def is_problem_file(name: str) -> bool:
    """Raises InputError for a file in another format."""
    if name.lower().endswith(OTHER_FORMATS):
        raise InputError(f"task: found {shown(name)}, accepted a file .jsonl ({LINES}) or .parquet")
    return name.endswith((".jsonl", ".parquet"))


def text_or_number(answer: Any) -> str:
    """A plain reference. Raises InputError for anything else: a null would be read as the word None."""
    if isinstance(answer, bool) or not isinstance(answer, str | int | float) or answer != answer:
        raise InputError(f"found {shown(answer)}, accepted text or a number")
    return str(answer)


def read_problems(
    path: Path, read: Callable[[Any], str] = text_or_number, check: Callable[[Problem], str] = lambda _: ""
) -> list[Problem]:
    """Problems of a .jsonl or .parquet file with id, problem, answer.

    A bad line is refused with its number; nothing is skipped in silence. `read` makes a reference from an answer (or
    raises InputError), `check` says what is wrong with a problem.
    """
    problems: dict[str, Problem] = {}
    for where, row in file_rows(path):
        missing = {"id", "problem", "answer"} - set(row)
        if missing:
            raise InputError(f"{where}: missing {', '.join(sorted(missing))}; accepted id, problem, answer")
        if not isinstance(row["problem"], str):
            raise InputError(f"{where}: problem: found {shown(row['problem'])}, accepted text")
        try:
            problem = Problem(text_or_number(row["id"]), row["problem"], read(row["answer"]))
        except InputError as error:
            raise InputError(f"{where}: id or answer: {error}") from None
        try:
            "".join((problem.id, problem.prompt, problem.reference)).encode()
        except UnicodeEncodeError as error:  # JSON can spell half a character, which no tokenizer reads
            raise InputError(f"{where}: found {shown(error.object[error.start])}, half a character") from None
        if not problem.prompt.strip():
            raise InputError(f"{where}: problem is empty")
        if problem.id in problems:
            raise InputError(f"{where}: id {shown(problem.id)} stands on an earlier line too")
        if wrong := check(problem):
            raise InputError(f"{where}: {wrong}")
        problems[problem.id] = problem
    if not problems:
        raise InputError(f"task: {path} holds no problem")
    return list(problems.values())


def file_rows(path: Path) -> Iterator[tuple[str, dict]]:
    """Each line's place in words, and the object that stands on it. Raises InputError on what is no such file."""
    if not path.is_file():
        raise InputError(f"task: {path} is not a file")
    if path.suffix == ".parquet":
        import pandas as pd

        try:
            rows = pd.read_parquet(path).to_dict("records")
        except Exception as error:
            raise InputError(f"task: {path} cannot be read as parquet ({one_line(error)})") from None
        yield from ((f"task: {path} row {number}", row) for number, row in enumerate(rows, start=1))
        return
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    for number, line in enumerate(content.splitlines(), start=1):
        where = f"task: {path} line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in brackets
            raise InputError(f"{where}: not JSON in UTF-8 ({one_line(error)}), accepted {LINES}") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}: found {shown(row)}, accepted {LINES}")
        yield where, row


class ProblemFile:
    """A file of problems. Without a `judge` a response's final number is compared with the answer (see `answers`).

    Splits are by a hash of the problem's text, 80 % train, so they stay disjoint when the file grows; `all`: no split.
    """

    finite = True

    def __init__(self, path: str | Path, judge: Task | None = None):
        self.path, self.judge = Path(path), judge
        self.name = f"{judge.name}:{path}" if judge else str(path)
        self.max_new_tokens = judge.max_new_tokens if judge else MAX_NEW_TOKENS
        self._problems = read_problems(self.path, check=self._trouble)

    def _trouble(self, problem: Problem) -> str:
        if self.judge and self.judge.verify(problem, "").verdict == Verdict.UNKNOWN:
            return f"{self.judge.name} cannot read problem {shown(problem.prompt)}"
        return ""

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first n problems of a split in the order that `seed` gives (0: the file's order); all by default."""
        check_split(split, n, whole=True)
        chosen = [problem for problem in self._problems if split in (ALL, split_of(problem.prompt))]
        return first_problems(str(self.path), chosen, split, n, seed, len(self._problems))

    def verify(self, problem: Problem, response: str) -> Verification:
        """By the file's judge, else by the response's final number; unknown where the reference is no number."""
        if self.judge:
            return self.judge.verify(problem, response)
        return verify_answer(problem.reference, response)
