"""What a run trains on and is evaluated on: numbers of problems, a task of its own for evaluation, problems in both."""

import json
import warnings
from dataclasses import replace

import pytest

from scope_lab.checkpoint import check_same
from scope_lab.config import ScopeConfig
from scope_lab.errors import InputError
from scope_lab.evaluation import Evaluation
from scope_lab.models import DATA
from scope_lab.plan import read_plan
from scope_lab.problems import RunProblems, held_out_problems
from scope_lab.settings import build_config
from scope_lab.tasks import load_task
from scope_lab.trainer import ScopeTrainer

SMALL = {"pair": "countdown", "steps": 1, "prompts_per_step": 2, "rollouts_per_prompt": 2, "eval_samples": 2}
COUNTDOWN = load_task("countdown")


@pytest.fixture
def held_out(tmp_path) -> str:
    """Three hard problems in a file."""
    path = tmp_path / "held_out.jsonl"
    hard = load_task("countdown:hard").problems("test", 3, seed=7)
    path.write_text("".join(f"{json.dumps({'id': p.id, 'problem': p.prompt, 'answer': 0})}\n" for p in hard))
    return f"countdown:{path}"


def questions(path, n: int) -> str:
    path.write_text("".join(json.dumps({"id": i, "problem": f"{i} + 1?", "answer": i + 1}) + "\n" for i in range(n)))
    return str(path)


def test_an_evaluation_task_of_its_own_is_taken_whole_and_judged_by_its_own_verifier(tmp_path, held_out):
    out = tmp_path / "run"
    config = build_config(None, {**SMALL, "out": out, "eval_task": held_out, "eval_max_new_tokens": 7})
    trainer = ScopeTrainer(config, progress=False)
    trainer.train()
    assert {problem.id for problem in trainer.problems.held_out} == set(trainer.evaluations[1].problem_ids)
    for step in (0, 1):
        evaluation = Evaluation.load(out / f"evaluations/step-00000{step}.json")
        assert len(evaluation.problem_ids) == 3 and (evaluation.task, evaluation.split) == (held_out, "all")
        assert evaluation.settings["max_new_tokens"] == 7
    assert trainer.problems.response_limit == COUNTDOWN.max_new_tokens != 7
    with pytest.raises(InputError, match="eval_task: the run in "):
        check_same(out, build_config(None, {**SMALL, "out": out}))


def test_a_run_from_before_a_default_was_left_open_goes_on(tmp_path):
    """What is None now stood there as a word and a number."""
    config = build_config(None, SMALL)
    assert (config.eval_split, config.eval_problems) == (None, None)
    replace(config, eval_split="test", eval_problems=200).save(tmp_path / "config.yaml")
    check_same(tmp_path, config)
    with pytest.raises(InputError, match=r"eval_split: the run in .* has 'test', found 'validation'"):
        check_same(tmp_path, replace(config, eval_split="validation"))


@pytest.mark.parametrize("name", ["countdown", "smollm2"])
def test_recorded_runs_are_the_plans(name):
    for run in read_plan(name):
        folder = DATA / "runs" / name / run.name
        if folder.is_dir():
            check_same(folder, run.config)


def test_an_object_may_be_evaluated_on(held_out):
    class OneSolution:
        name, max_new_tokens = "one solution", 20

        def problems(self, split, n=None, seed=0):
            assert split == "test", "it need not know more than the three"
            return load_task(held_out).problems("all", n, seed)

        def verify(self, problem, response):
            return COUNTDOWN.verify(problem, response)

    trainer = ScopeTrainer(build_config(None, SMALL), eval_task=OneSolution(), progress=False)
    assert trainer.config.eval_task == "object:one solution"
    evaluation = trainer.evaluate_now()
    assert evaluation is not None and evaluation.task == "one solution" and len(evaluation.problem_ids) == 3


def test_how_many_problems_are_held_out_where_nothing_says_it(tmp_path):
    small, large = load_task(questions(tmp_path / "small.jsonl", 50)), load_task(questions(tmp_path / "l.jsonl", 3_000))
    plain, own = ScopeConfig(), ScopeConfig(eval_task="it")
    assert 1 < len(held_out_problems(plain, small)) < 15, "a tenth"
    assert len(held_out_problems(plain, large)) == len(held_out_problems(plain, COUNTDOWN)) == 200
    assert len(held_out_problems(own, large)) == 3_000
    assert len(held_out_problems(ScopeConfig(eval_task="it", eval_problems=5), large)) == 5
    assert held_out_problems(ScopeConfig(eval_problems=0), large) == []
    with pytest.raises(InputError, match="lower eval_problems"):
        held_out_problems(ScopeConfig(eval_problems=200), small)
    with pytest.raises(InputError, match="'all'"):
        held_out_problems(own, COUNTDOWN)


def test_problems_that_are_trained_on_and_evaluated_on_are_counted(tmp_path, tokenizer):
    first = load_task(questions(tmp_path / "first.jsonl", 60))
    second = load_task(questions(tmp_path / "second.jsonl", 3))
    with pytest.warns(UserWarning, match=r"evaluation: \d+ of its 60 problems are trained on"):
        RunProblems(ScopeConfig(eval_task="it"), first, first, tokenizer, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problems = RunProblems(ScopeConfig(), first, first, tokenizer, None)
        RunProblems(ScopeConfig(eval_task="it"), COUNTDOWN, second, tokenizer, None)
    assert not {p.prompt for p in problems.train} & {p.prompt for p in problems.held_out}


def test_each_kind_of_response_must_fit_the_context(tokenizer):
    for settings, named in (({"max_new_tokens": 60}, "beside max"), ({"eval_max_new_tokens": 60}, "beside eval_max")):
        with pytest.raises(InputError, match=f"accepted at most 4 {named}"):
            RunProblems(ScopeConfig(**settings), COUNTDOWN, COUNTDOWN, tokenizer, 64)


def test_settings_of_an_evaluation_that_there_is_not_are_refused(held_out):
    with pytest.raises(InputError, match="eval_task: has no effect with eval_problems 0"):
        build_config(None, {**SMALL, "eval_task": held_out, "eval_problems": 0})
