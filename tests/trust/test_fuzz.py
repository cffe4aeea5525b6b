"""Parsers on anything at all: a result, or one InputError; never another exception, and nothing that hangs."""

import json
import os
import re
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scope_lab.checkpoint import checkpoint_step, read_lines
from scope_lab.errors import InputError, shown
from scope_lab.evaluation import Evaluation
from scope_lab.models import DATA
from scope_lab.plan import KEYS, read_plan
from scope_lab.redaction import without_secrets
from scope_lab.rollouts import Rollouts
from scope_lab.settings import build_config, read_recipe, read_value
from scope_lab.tasks import Problem, Verdict, load_task
from scope_lab.tasks.answers import final_number, verify_answer
from scope_lab.tasks.countdown import parse_prompt
from scope_lab.tasks.problem_file import ProblemFile

# `make test-trust` draws many more.
fuzz = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")),
    deadline=2000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Text that looks like what a parser reads, cut and joined at random, beside text of any kind.
PIECES = (
    *"0123456789+-*/=,.:;%$#()[]{}<>\\\n\t \"'", "\\boxed{", "\\frac{", "####", "answer is", "Final answer:", "1e999",
    "٣", "½", "１２", "∞", "−", "one hundred", "9" * 400, "1/0", "0.0", "-0", "NaN", "\u202e", "\ufeff", "\U0001f600",
    "8,3,5,2=21:", "8*3=24", "\x00", "\x85", "²", "Ⅻ",
)  # fmt: skip
texts = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just(10**400)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


@fuzz
@given(texts, texts)
def test_answers(reference, response):
    found = verify_answer(reference, response)
    assert found.verdict in set(Verdict) and len(found.reason) < 60
    final_number(response)


@fuzz
@given(texts, texts)
@pytest.mark.parametrize("task", ["countdown", "word_problems"])
def test_verifiers(task, prompt, response):
    assert load_task(task).verify(Problem("1", prompt, response), response).verdict in set(Verdict)


@fuzz
@given(texts)
def test_countdown_prompts(prompt):
    try:
        numbers, target = parse_prompt(prompt)
    except ValueError:
        return
    assert len(numbers) > 1 and target >= 0


@pytest.mark.parametrize("size", [10_000, 300_000])
@pytest.mark.parametrize("piece", ["9", "(", "1+", "\\boxed{", "answer is ", ". ", "1/", "one ", "8*3=24,", "{", "a1 "])
def test_a_response_without_end_is_judged_in_time(piece, size, faults):
    response = piece * (size // len(piece))
    with faults("a response of 300,000 characters"):
        started = time.process_time()
        verify_answer("12", response)
        load_task("countdown").verify(Problem("1", "8,3,5,2=21:", "21"), response)
        assert time.process_time() - started < 2


lines = st.one_of(
    st.binary(max_size=60),
    values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries({"id": values, "problem": values, "answer": values}).map(
        lambda row: json.dumps(row).encode()
    ),
)


@fuzz
@given(st.lists(lines, max_size=5))
def test_problem_files(tmp_path, content):
    file = tmp_path / "problems.jsonl"
    file.write_bytes(b"\n".join(content))
    try:
        task = ProblemFile(file)
    except InputError as error:
        assert "problems.jsonl" in str(error)
        return
    for problem in task.problems("train"):
        task.verify(problem, problem.prompt)


SETTINGS = st.sampled_from(
    ["tau", "steps", "method", "task", "allow_mismatch", "out", "seed", "pair", "clip", "taau", ""]
)
recipes = st.one_of(
    st.binary(max_size=80),
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.dictionaries(SETTINGS, values, max_size=4).map(lambda content: yaml.safe_dump(content).encode()),
    st.lists(st.tuples(SETTINGS, texts), max_size=4).map(lambda rows: "\n".join(f"{k}: {v}" for k, v in rows).encode()),
)


@fuzz
@given(recipes)
def test_recipes(tmp_path, content):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    try:
        found = read_recipe(str(file))
        build_config(str(file), {"pair": "countdown"})
    except InputError as error:
        assert len(str(error)) < 1000
        return
    assert all(isinstance(name, str) for name in found)


@fuzz
@given(SETTINGS, values)
def test_settings(name, value):
    try:
        read_value(name, value)
        build_config(None, {"pair": "countdown", name: value})
    except InputError as error:
        assert len(str(error)) < 1000


@fuzz
@given(st.dictionaries(st.sampled_from([*KEYS, "x"]), values, max_size=5))
def test_plans(tmp_path, content):
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump({"out": "runs", "seeds": [0], "variants": {"a": {"pair": "countdown"}}} | content))
    try:
        read_plan(str(file))
    except InputError as error:
        assert "plan" in str(error)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[Path, pd.DataFrame, bytes]:
    """A place for files, a good table of a few rows, and its bytes."""
    folder = tmp_path_factory.mktemp("rollouts")
    frame = pd.read_parquet(DATA / "rollouts" / "countdown.parquet").head(6)
    frame.to_parquet(folder / "good.parquet", index=False)
    return folder, frame, (folder / "good.parquet").read_bytes()


def load(file: Path) -> None:
    try:
        found = Rollouts.load(file)
    except InputError as error:
        assert file.name in str(error)
        return
    assert found.tokens_BT.shape == found.mask_BT.shape == found.student_logp_BT.shape


@fuzz
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 10**6))
def test_rollouts_files_with_wrong_bytes(recorded, changes, length):
    folder, _, content = recorded
    wrong = bytearray(content)
    for place, value in changes:
        wrong[place % len(wrong)] = value
    file = folder / "wrong.parquet"
    file.write_bytes(wrong if length % 3 else wrong[: length % len(wrong)])
    load(file)


cells = st.one_of(
    st.none(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=5),
    st.lists(st.one_of(st.integers(-5, 5), st.floats()), max_size=4),
)  # fmt: skip


@fuzz
@given(st.data())
def test_rollouts_tables_with_wrong_cells(recorded, data):
    folder, frame, _ = recorded
    column = data.draw(st.sampled_from(list(frame.columns)))
    value = data.draw(cells)
    wrong = frame.copy()
    wrong[column] = [value] * len(frame) if data.draw(st.booleans()) else [value, *frame[column][1:]]
    file = folder / "wrong.parquet"
    try:
        wrong.to_parquet(file, index=False)
    except Exception:  # a mixture that parquet cannot hold
        return
    load(file)


GOOD_EVALUATION = json.loads((DATA / "results" / "smollm2-student.json").read_text())


@fuzz
@given(st.dictionaries(st.sampled_from([*GOOD_EVALUATION, "x"]), values, max_size=3), st.booleans())
def test_evaluations(tmp_path, change, whole):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(GOOD_EVALUATION | change if whole else change))
    try:
        Evaluation.load(file).summary()
    except InputError as error:
        assert "mine.json" in str(error)


@fuzz
@given(texts)
def test_metrics_lines_and_checkpoint_states(tmp_path, text):
    try:
        assert all("step" in row for row in read_lines(text, Path("metrics.jsonl")))
    except InputError as error:
        assert "metrics.jsonl line" in str(error)
    (tmp_path / "state.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert checkpoint_step(tmp_path) is None or text.strip().startswith("{")


@fuzz
@given(values)
def test_what_was_found_always_fits_a_line(value):
    assert len(shown(value)) < 1000


@fuzz
@given(st.lists(texts, max_size=5))
def test_a_command_is_recorded_without_its_secrets(arguments):
    recorded = without_secrets([*arguments, "--api-key=canary", "https://me:canary@host"])
    assert "canary" not in " ".join(recorded[-2:]) and len(recorded) == len(arguments) + 2
    assert re.search(r"https://\*\*\*@host", recorded[-1])
