"""Healthy recorded runs have no symptom, real failing runs have the one that their cause predicts."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from scope_lab import ScopeConfig, ScopeTrainer, load_pair, load_task
from scope_lab.cli import main
from scope_lab.diversity import recorded_runs
from scope_lab.health import WATCH, Symptom, symptoms, watch_table
from scope_lab.metrics import metric_names
from scope_lab.models import DATA
from scope_lab.plots.health import alt_gallery, plot_gallery
from scope_lab.tasks import Verdict, Verification


@pytest.fixture(scope="module")
def pair():
    return load_pair("countdown", device="cpu")


class Generous:
    """Countdown, where everything is right."""

    def __init__(self):
        self.task = load_task("countdown")
        self.name, self.max_new_tokens = self.task.name, self.task.max_new_tokens

    def problems(self, *arguments, **more):
        return self.task.problems(*arguments, **more)

    def verify(self, problem, response):
        return Verification(Verdict.CORRECT, "generous", response)


def history(pair, task=None, teacher=None, **settings) -> list[dict]:
    common = {"pair": "countdown", "steps": 4, "prompts_per_step": 8, "rollouts_per_prompt": 8, "temperature": 1.0}
    common |= {"learning_rate": 3e-4, "eval_problems": 0, "train_problems": 60, "device": "cpu"}
    pair = replace(pair, student=copy.deepcopy(pair.student), teacher=teacher or pair.teacher)
    return ScopeTrainer(ScopeConfig(**{**common, **settings}), pair=pair, task=task, progress=False).train()


def names(found: list[Symptom]) -> str:
    return " ".join(symptom.name for symptom in found)


@pytest.mark.parametrize("method", ["scope", "opd", "kd"])
def test_recorded_runs_that_keep_variety_are_healthy(method):
    (run,) = [run for run in recorded_runs(DATA / "runs") if run.method == method]
    assert symptoms(run.metrics) == []


@pytest.mark.parametrize("method", ["psr", "grpo"])
def test_recorded_runs_that_lose_variety_are_told(method):
    (run,) = [run for run in recorded_runs(DATA / "runs") if run.method == method]
    assert names(symptoms(run.metrics)) == "entropy, last over first"


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"learning_rate": 0.03}, "reverse_kl, last over first"),
        ({"tau": 0.02}, "teacher_ess_fraction"),
        ({"task": Generous()}, "reward"),
        ({"max_new_tokens": 12}, "truncated"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_each_failing_run_has_its_symptom(pair, change, expected):
    assert expected in names(symptoms(history(pair, **change)))


def test_a_teacher_that_is_the_student_is_found_at_the_first_step(pair):
    found = symptoms(history(pair, teacher=copy.deepcopy(pair.student)))
    assert "reverse_kl, nats, first step" in names(found)
    assert "is it the student itself" in str(found[0])


def test_ranges_by_hand():
    steps = [{"reward": 0.5, "truncated": 0, "rollouts": 8, "entropy": e} for e in (1.0, 0.9, 0.4)]
    (found,) = symptoms(steps)
    assert found.name == "entropy, last over first" and found.value == pytest.approx(0.4)
    assert symptoms(steps[:2]) == []
    assert names(symptoms([{"skipped_updates": 1}])) == "skipped_updates"
    assert symptoms([{"reverse_kl": None}]) == [] and symptoms([]) == []


def test_train_ends_with_what_is_worth_a_look(capsys, tmp_path):
    settings = "--pair countdown --steps 1 --prompts-per-step 4 --rollouts-per-prompt 4 --eval-problems 0 --device cpu"
    cut = ["--max-new-tokens", "12", "--truncated", "unknown", "--out", str(tmp_path / "run")]
    assert main(["train", *settings.split(), *cut]) == 0
    text = capsys.readouterr().out
    assert "without a verdict: 16 of the 16 rollouts trained on" in text
    assert "worth a look: truncated, share of rollouts 1: responses are cut off" in text


def test_every_rule_reads_a_metric_that_is_logged():
    for watch in WATCH:
        assert watch.name.split(",")[0] in metric_names()
        assert bool(watch.low) == np.isfinite(watch.at_least) and bool(watch.high) == np.isfinite(watch.at_most)
    table = watch_table()
    assert table.loc["groups_mixed, share of groups", "healthy"] == "at least 0.1"


def test_the_gallery_draws_each_run_beside_a_healthy_one():
    steps = [{"entropy": 0.3, "reward": None}, {"entropy": 0.31, "reward": 0.2}]
    failing = {"too fast": ([{"entropy": 0.3}, {"entropy": 2.0}], "entropy")}
    figure = plot_gallery(steps, failing)
    assert figure.axes[0].lines[1].get_ydata().tolist() == [0.3, 2.0]
    assert "too fast, entropy 0.3 to 2 (healthy: 0.31)" in alt_gallery(steps, failing)
