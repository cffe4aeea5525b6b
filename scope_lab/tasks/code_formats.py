"""Programming problems as they come: HumanEval's format, TACO's, LiveCodeBench's, Codeforces', open-r1's."""

import ast
import base64
import hashlib
import io
import json
import pickle
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

MAX_TESTS = 256 << 20  # bytes of a problem's compressed tests, once unpacked
FORMATS = (
    "HumanEval (task_id, prompt, entry_point, test), TACO (question, input_output), LiveCodeBench (question_content, "
    "public_test_cases), Codeforces (description, official_tests or examples), open-r1 (prompt, verification_info)"
)

# What graders of this kind import, and solutions rely on; builtins last, for math has a pow of its own
BEFOREHAND = (
    "import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys\n"
    "from bisect import *\nfrom collections import *\nfrom functools import *\nfrom heapq import *\n"
    "from itertools import *\nfrom math import *\nfrom typing import *\nfrom builtins import *\n"
)


@dataclass(frozen=True)
class FunctionTests:
    """A function `name` is called by `tests`, Python text; `definitions` runs before them and it."""

    name: str
    tests: str
    definitions: str = ""


@dataclass(frozen=True)
class StdinTests:
    """A program reads each input and must print the output beside it; `several`: or another that is right too."""

    cases: tuple[tuple[str, str], ...]
    several: bool = False


@dataclass(frozen=True)
class CodeProblem:
    """`statement` is for people and chat models; `starter` is code that the answer goes on from, or ""."""

    id: str
    statement: str
    starter: str
    tests: FunctionTests | StdinTests
    solution: str = ""
    seconds: float | None = None  # CPU time that the problem itself allows


def read_problem(row: Mapping[str, Any]) -> CodeProblem:
    """A problem from a row of any known format. Raises InputError that says what is wrong with it."""
    try:
        if {"prompt", "entry_point", "test"} <= row.keys():
            return _human_eval(row)
        if "verification_info" in row:
            cases = [(case, case.get("fn_name")) for case in _loaded(row["verification_info"])["test_cases"]]
        elif "input_output" in row:
            tests = _loaded(row["input_output"])
            pairs = zip(tests["inputs"], tests["outputs"], strict=True)
            cases = [({"input": given, "output": expected}, tests.get("fn_name")) for given, expected in pairs]
        elif "public_test_cases" in row:
            cases = _live_code_bench(row)
        elif any(row.get(name) for name in ("official_tests", "tests", "examples")):
            name = next(name for name in ("official_tests", "tests", "examples") if row.get(name))
            cases = [(case, None) for case in _loaded(row[name])]
            if row.get("input_mode", "stdio") not in ("stdio", None):
                raise InputError(f"input_mode: found {row['input_mode']!r}, accepted stdio")
        else:
            raise InputError(f"fields: found {', '.join(sorted(row)) or 'none'}; accepted {FORMATS}")
        return _with_cases(row, _statement(row), cases)
    except InputError:
        raise
    except (AttributeError, EOFError, KeyError, TypeError, ValueError, zlib.error, pickle.UnpicklingError) as error:
        raise InputError(f"unreadable tests ({type(error).__name__}: {error})") from None


def _human_eval(row: Mapping[str, Any]) -> CodeProblem:
    prompt = str(row["prompt"])
    tests = FunctionTests(str(row["entry_point"]), str(row["test"]), _definitions(prompt))
    return CodeProblem(_id(row, prompt), prompt, prompt, tests, str(row.get("canonical_solution", "")))


def _definitions(prompt: str) -> str:
    """A prompt that ends within a function as code that runs; "" where it is no code."""
    for ending in ("", "\n    pass\n"):
        try:
            ast.parse(prompt + ending)
        except (SyntaxError, ValueError):
            continue
        return prompt + ending
    return ""


def _with_cases(row: Mapping[str, Any], statement: str, cases: Iterable[tuple[Mapping, str | None]]) -> CodeProblem:
    cases = list(cases)
    if not cases:
        raise InputError("tests: found none")
    names = {name for _, name in cases if name}
    starter, limit = str(row.get("starter_code") or ""), row.get("time_limit")
    tests: FunctionTests | StdinTests
    if names:
        if len(names) > 1:
            raise InputError(f"fn_name: found {', '.join(sorted(names))}, accepted one")
        calls = [(_arguments(case["input"]), _value(case["output"])) for case, _ in cases]
        tests = FunctionTests(names.pop(), _calls(calls), BEFOREHAND)
    else:
        checker = row.get("generated_checker")  # open-r1's, of a Codeforces problem with several right outputs
        texts = tuple((_text(case["input"]), _text(case["output"])) for case, _ in cases)
        tests = StdinTests(texts, several=isinstance(checker, str) and bool(checker.strip()))
    seconds = float(limit) if isinstance(limit, int | float) and limit > 0 else None
    return CodeProblem(_id(row, statement), statement, starter, tests, seconds=seconds)


def _live_code_bench(row: Mapping[str, Any]) -> list[tuple[Mapping, str | None]]:
    cases = [*_loaded(row["public_test_cases"]), *_private(row.get("private_test_cases") or [])]
    kinds = {case["testtype"] for case in cases}
    if not kinds <= {"stdin", "functional"}:
        raise InputError(f"testtype: found {', '.join(sorted(kinds))}, accepted stdin, functional")
    name = (_loaded(row.get("metadata") or "{}")).get("func_name") if "functional" in kinds else None
    if "functional" in kinds and not name:
        raise InputError("metadata: found no func_name, which functional tests need")
    return [(case, name) for case in cases]


class _PlainUnpickler(pickle.Unpickler):
    """LiveCodeBench keeps its tests as a pickled string; a pickle that asks for anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}")


def _private(cases: Any) -> list:
    if not isinstance(cases, str):
        return _loaded(cases)
    try:
        return json.loads(cases)
    except ValueError:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(cases), MAX_TESTS)
        if unpacker.unconsumed_tail:
            raise InputError(f"private_test_cases: larger than {MAX_TESTS >> 20} MiB") from None
        return _loaded(_PlainUnpickler(io.BytesIO(content)).load())


def _loaded(value: Any) -> Any:
    """JSON text, or what it stands for."""
    if isinstance(value, str):
        return json.loads(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _text(value: Any) -> str:
    """Lines come as one string or as a list of them."""
    return value if isinstance(value, str) else "\n".join(str(line) for line in value)


def _arguments(given: Any) -> list:
    """A list of arguments; as text, one JSON value a line."""
    return [json.loads(line) for line in given.splitlines() if line.strip()] if isinstance(given, str) else list(given)


def _value(expected: Any) -> Any:
    """As text, JSON where it is that; in a list of one, the value or (as TACO has it) a list around it."""
    if isinstance(expected, str):
        try:
            return [json.loads(expected)]
        except ValueError:
            return [expected]
    return [expected, expected[0]] if isinstance(expected, list) and len(expected) == 1 else [expected]


def _calls(calls: list[tuple[list, list]]) -> str:
    """Tests as text: each call must return one of the values beside it."""
    return (
        f"import json\nCALLS = json.loads({json.dumps(calls)!r})\n"
        "def check(candidate):\n"
        "    for arguments, accepted in CALLS:\n"
        "        assert any(same(found, value) for found in [candidate(*arguments)] for value in accepted)\n"
    )


def _statement(row: Mapping[str, Any]) -> str:
    """The problem in words; Codeforces keeps its parts and examples in fields of their own."""
    names = ("question_content", "question", "description", "problem_statement", "problem", "prompt")
    text = next((str(row[name]) for name in names if row.get(name)), "")
    if not text:
        raise InputError(f"statement: found none of {', '.join(names)}")
    if "input_format" in row:
        parts = {"Input": row["input_format"], "Output": row.get("output_format")}
        text += "".join(f"\n\n{title}\n{part}" for title, part in parts.items() if part)
        for case in _loaded(row.get("examples")) or ():
            text += f"\n\nExample input\n{_text(case['input'])}\n\nExample output\n{_text(case['output'])}"
    return text


def _id(row: Mapping[str, Any], statement: str) -> str:
    for name in ("task_id", "question_id", "problem_id", "id"):
        if row.get(name) not in (None, ""):
            return str(row[name])
    return hashlib.sha256(statement.encode("utf-8", "replace")).hexdigest()[:16]
