r"""The task `math`: what a box says, when two answers are the same, sets by name, and the clock on hostile ones."""

import json
import pickle
import random
import sys
import time
import types

import pandas as pd
import pytest
from bench.verifiers import BENCHMARKS, chosen_answers, judge, mixed, of_near_misses, of_rewritings, references
from math_rewrites import hostile_answers, same_answers, wrong_answers

from scope_lab.config import ScopeConfig
from scope_lab.errors import InputError
from scope_lab.problems import training_problems
from scope_lab.tasks import Problem, Verdict, load_task
from scope_lab.tasks.base import split_of
from scope_lab.tasks.latex import boxed
from scope_lab.tasks.math import Math
from scope_lab.tasks.math_answers import verify_math
from scope_lab.tasks.math_sets import SETS, reference_of
from scope_lab.tasks.own import OwnVerifier
from scope_lab.tasks.verification import Verifier


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Math("gsm8k"), workers=1) as verifier:
        yield verifier


def verdict(reference: str, text: str) -> Verdict:
    found = verify_math(reference, f"Hence \\boxed{{{text}}}.")
    assert found is not None
    return found.verdict


@pytest.mark.parametrize(
    "response, content",
    [
        ("\\boxed{5}", "5"),
        ("\\boxed{1} no, \\boxed{2}", "2"),
        ("so \\boxed{\\frac{1}{2}} is it", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{x = \\boxed{7}}", "7"),
        ("$\\boxed{3}$ and $\\boxed{4}$", "3, 4"),
        ("\\fbox{6}", "6"),
        ("\\boxed 8", "8"),
        ("\\boxed{5} and then \\boxed{unclosed", "5"),
        ("no box: 5", None),
        ("\\boxed{", None),
        ("\\boxed{" * 50_000, None),
        ("", None),
    ],
)
def test_the_last_complete_box_is_read(response, content):
    assert boxed(response) == content


@pytest.mark.parametrize(
    "reference, text",
    [
        ("\\frac{1}{2}", "0.5"),
        ("\\frac{1}{3}", "0.3333"),
        ("2.68", "2.6834"),
        ("3.61e2", "361"),
        ("50\\%", "0.5"),
        ("0.25", "25\\%"),
        ("1234", "1,234"),
        ("18", "\\$18.00"),
        ("90^\\circ", "90"),
        ("9 \\text{ cm}^2", "9"),
        ("x^2-1", "(x-1)(x+1)"),
        ("2\\sqrt{3}", "\\sqrt{12}"),
        ("1, 2", "\\{2, 1\\}"),
        ("3 \\pm 2\\sqrt{2}", "3+2\\sqrt{2}, 3-2\\sqrt{2}"),
        ("(1, 2)", "\\left( 1,2 \\right)"),
        ("(-\\infty, 3]", "(-\\infty,3]"),
        ("(0,9) \\cup (9,36)", "(9, 36) \\cup (0, 9)"),
        ("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "\\begin{bmatrix}1&2\\\\3&\\frac{8}{2}\\end{bmatrix}"),
        ("Yes", "\\text{yes, it is}"),
        ("D", "\\textbf{(D)}"),
        ("\\text{Evelyn}", "evelyn"),
        ("1+2i", "2i + 1"),
        ("k \\geq 2", "[2, \\infty)"),
        ("y = 2x + 3", "2x+3"),
        ("\\text{even}", "\\mathrm{even}"),
        ("033", "33"),
        ("R^2 - r^2", "(R-r)(R+r)"),
        ("\\pi (R + r)", "\\pi R + r\\pi"),
    ],
)
def test_the_same_answer_is_correct(reference, text):
    assert verdict(reference, text) == Verdict.CORRECT


@pytest.mark.parametrize(
    "reference, text",
    [
        ("5", "4.999"),
        ("\\frac{1}{3}", "0.34"),
        ("2.68", "2.69"),
        ("2.68", "2.7"),
        ("(1, 2)", "(2, 1)"),
        ("(0, 1)", "[0, 1]"),
        ("(0, 1]", "(0, 1)"),
        ("1, 2", "1, 2, 3"),
        ("1, 2", "1"),
        ("Yes", "No"),
        ("A", "B"),
        ("\\text{even}", "\\text{not even}"),
        ("9 \\text{ cm}", "9 \\text{ m}"),
        ("2\\sqrt{3}", "3\\sqrt{2}"),
        ("x^2", "2^x"),
        ("\\frac{1}{2} h", "\\frac{1}{2}"),
        ("3x", "3"),
        ("x = 1", "y = 1"),
        ("R^2 - r^2", "0"),
        ("R - r", "r - R"),
        ("\\frac{V_{0}}{v_{0}}", "\\frac{v_{0}}{V_{0}}"),
        ("2 R", "2 r"),
        ("5", ""),
        ("5", "5 \\text{ or } 6"),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 3 \\end{pmatrix}"),
    ],
)
def test_another_answer_is_incorrect(reference, text):
    assert verdict(reference, text) == Verdict.INCORRECT


def test_a_reference_that_cannot_be_read_is_unknown_unless_the_text_is_the_same():
    reference = "\\sup_U \\frac{|Df|^2}{f} \\leq 2 \\sup_U |D^2f|"
    assert verdict(reference, reference.replace(" ", "  ")) == Verdict.CORRECT
    assert verdict(reference, "x+1") == Verdict.UNKNOWN
    assert verdict("", "1") == Verdict.UNKNOWN


def test_correct_answers_are_one_solution_and_numbers_are_canonical():
    answers = {
        verify_math("\\frac{1}{2}", f"\\boxed{{{text}}}").answer for text in ("1/2", "0.50", "\\frac{2}{4}", "50\\%")
    }
    assert answers == {"1/2"}
    assert {verify_math("7", f"\\boxed{{{text}}}").answer for text in ("3.0", "3", "\\$3")} == {"3"}


def test_quick_verdicts_are_the_same_and_leave_formulas_alone():
    task = Math("gsm8k")
    assert task.quick(Problem("", "", "x^2-1"), "\\boxed{(x-1)(x+1)}") is None
    for reference, text in (("12", "12.0"), ("12", "13"), ("Yes", "no"), ("1,2", "2,1")):
        problem, response = Problem("", "", reference), f"\\boxed{{{text}}}"
        assert task.quick(problem, response) == task.verify(problem, response) is not None


# Sets and files


class FakeDataset(list):
    @property
    def column_names(self):
        return list(self[0])

    def select_columns(self, names):
        return FakeDataset({name: row[name] for name in names} for row in self)


@pytest.fixture
def hub(monkeypatch):
    """A `datasets` package whose hub holds ten rows of whatever is asked for, with the columns of that set."""
    asked = []

    def load_dataset(dataset, config, split):
        asked.append((dataset, config, split))
        chosen = next((s for s in SETS.values() if s.dataset == dataset), None)
        if chosen is None:
            raise ConnectionError("no such dataset\nat all")
        solution = {"gsm8k": "2+2=4\n#### 4", "solution": "So \\boxed{4}.", "final_answer": "4"}
        answer = solution["gsm8k"] if dataset == "openai/gsm8k" else solution.get(chosen.answer, 4.0)
        answer = ["3", "4"] if "Olympiad" in dataset else answer
        return FakeDataset({chosen.problem: f"{split} {i}?", chosen.answer: answer, "other": "x"} for i in range(10))

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    return asked


@pytest.mark.parametrize("name", SETS)
def test_every_ready_set_is_loaded_by_its_name(hub, name):
    task = load_task(f"math:{name}")
    assert hub == []  # nothing is asked for before it is needed
    problems = task.problems("test" if SETS[name].fixed else "train")
    assert hub == [(SETS[name].dataset, SETS[name].config, SETS[name].split)]
    assert problems[0].prompt.endswith("\n\nPlease reason step by step, and put your final answer within \\boxed{}.")
    assert problems[0].id.startswith(f"{name}-")
    reference = problems[0].reference
    assert reference == {
        "olympiadbench": "3, 4",
        "amc23": "4.0",
        "aime25": "4.0",
        "math500": "4.0",
        "minerva": "4.0",
    }.get(name, "4")
    assert task.verify(problems[0], f"\\boxed{{{reference}}}").verdict == Verdict.CORRECT


def test_benchmarks_are_tests_and_training_sets_are_split(hub):
    with pytest.raises(InputError, match="accepted test: it is a benchmark"):
        load_task("math:aime24").problems("train")
    task = load_task("math:deepmath")
    parts = [{p.id for p in task.problems(split)} for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 10
    gsm8k = load_task("math:gsm8k")
    assert [p.prompt[:4] for p in gsm8k.problems("test")] == ["test"] * 10
    assert len(gsm8k.problems("train")) + len(gsm8k.problems("validation")) == 10
    with pytest.raises(InputError, match="has 10 problems, 11 asked for"):
        gsm8k.problems("test", 11)


@pytest.mark.parametrize("judged", [False, True])
@pytest.mark.parametrize("name", ["math:gsm8k", "math:hub:zwhe99/DeepMath-103K,problem=question,answer=final_answer"])
def test_a_run_trains_on_all_of_a_set(hub, name, judged):
    task = load_task(name)
    if judged:
        task = OwnVerifier(task, "builtins:pow")  # a function of three
    assert 5 < len(training_problems(ScopeConfig(), task)) <= 10


def test_a_set_that_cannot_be_loaded_is_one_line_that_names_the_way_out(hub, monkeypatch):
    with pytest.raises(InputError, match=r"cannot load a/b from the hub \(no such dataset\).*math:FILE.jsonl"):
        load_task("math:hub:a/b").problems("train")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'scope-lab\[tasks\]'.*math:aime24:FILE.jsonl"):
        load_task("math:aime24").problems("test")


def test_any_hub_set_by_its_columns(hub):
    task = load_task("math:hub:zwhe99/DeepMath-103K,problem=question,answer=final_answer")
    assert len(task.problems("train")) == sum(split_of(f"train {i}?") == "train" for i in range(10))
    with pytest.raises(InputError, match="has no column answer, problem; found question, final_answer, other"):
        load_task("math:hub:zwhe99/DeepMath-103K").problems("train")
    with pytest.raises(InputError, match="found 'colour=red', accepted config=…"):
        load_task("math:hub:a/b,colour=red")


def test_files_of_both_kinds_and_a_ready_set_from_a_file(tmp_path):
    rows = [{"id": str(i), "problem": f"{i}+1?", "answer": f"so\n#### {i + 1}"} for i in range(40)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pd.DataFrame(rows).to_parquet(tmp_path / "own.parquet")
    one, other = (load_task(f"math:{tmp_path}/own.{kind}") for kind in ("jsonl", "parquet"))
    assert one.problems("train") == other.problems("train") != []
    assert one.problems("train")[0].reference.isdigit()
    ready = load_task(f"math:aime24:{tmp_path}/own.jsonl")
    assert len(ready.problems("test")) == 40
    assert len(pickle.dumps(ready)) < 2_000  # what goes to a process holds no problems
    with pytest.raises(InputError, match="accepted math:aime24, "):
        load_task("math:aime23")


def test_references_are_values_lists_or_ends_of_solutions():
    assert reference_of(9.0) == "9.0"
    assert reference_of(["$2$", "3"]) == "$2$, 3"
    assert reference_of("Thus \\boxed{\\frac12}") == "\\frac12"


# On real answers


@pytest.fixture(scope="module")
def answers():
    if not BENCHMARKS.is_dir():
        pytest.skip(f"no folder {BENCHMARKS}")
    return references(BENCHMARKS)


def test_references_are_verified_against_themselves(answers, verifier):
    rng = random.Random(0)
    for name, found in answers.items():
        some = rng.sample(found, min(300, len(found)))
        right = sum(v.verdict == Verdict.CORRECT for v in judge(verifier, [(answer, answer) for answer in some]))
        assert right >= 0.995 * len(some), name


def test_rewritings_are_accepted_and_near_misses_refused(answers, verifier):
    rewritings, missed = of_rewritings(verifier, chosen_answers(answers, 60))
    assert rewritings["fewest_each"] >= 12 and rewritings["percent"] >= 97, missed
    near_misses, passed = of_near_misses(verifier, mixed(chosen_answers(answers, 120, seed=1)))
    assert near_misses["of"] >= 100 and near_misses["percent"] >= 99, passed


def test_every_rewriting_of_an_answer_is_another_text_and_no_near_miss():
    rng = random.Random(0)
    for reference in ("12", "\\frac{3}{4}", "0.25", "Yes", "1,2", "(0,1]", "2\\sqrt{3}", "x^2+3x+2"):
        texts = [text for _, text in same_answers(reference)]
        assert len(texts) >= 12
        assert not set(texts) & {text for _, text in wrong_answers(reference, rng)}


def test_hostile_answers_end_and_leave_the_verifier_well(verifier):
    for text in hostile_answers(28)[::4]:
        started = time.perf_counter()
        found = judge(verifier, [("x^2+1", text)])[0]
        assert found.verdict != Verdict.CORRECT
        assert time.perf_counter() - started < 8
    assert judge(verifier, [("x^2-1", "(x-1)(x+1)")])[0].verdict == Verdict.CORRECT


def test_numeric_answers_are_fast(verifier):
    # Judged in this process, and by its own clock: a busy machine does not count.
    pairs = [(str(i), str(i + i % 2)) for i in range(3_000)]
    judge(verifier, pairs[:10])
    started = time.process_time()
    verdicts = judge(verifier, pairs)
    assert len(pairs) / (time.process_time() - started) > 2_000
    assert [v.verdict == Verdict.CORRECT for v in verdicts] == [i % 2 == 0 for i in range(3_000)]
