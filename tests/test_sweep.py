"""Sweeps of tiny trainings: what is recorded, skipped, reported, and what a kill or Ctrl-C leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scope_lab.checkpoint import evaluation_file, read_metrics
from scope_lab.cli import main
from scope_lab.evaluation import Evaluation
from scope_lab.plan import read_plan
from scope_lab.sweep import default_jobs

PLAN = """
out: {out}
seeds: [0]
keep_model: [scope-seed0]
defaults:
  pair: countdown
  steps: {steps}
  prompts_per_step: 4
  rollouts_per_prompt: 2
  eval_problems: 8
  eval_samples: 4
  checkpoint_every: 3
variants:
  scope: {{}}
  opd-one: {{method: opd, prompts_per_step: 8, rollouts_per_prompt: 1}}
"""


def write_plan(folder: Path, steps: int, more: str = "") -> str:
    path = folder / "plan.yaml"
    path.write_text(PLAN.format(out=folder / "runs", steps=steps) + more)
    return str(path)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_times(folder: Path):
    metrics = read_metrics(folder)
    return metrics.drop(columns=[name for name in metrics if "seconds" in name or name == "tokens_per_second"])


def test_a_sweep_records_little_names_what_failed_and_skips_what_is_done(tmp_path, capsys):
    plan = write_plan(tmp_path, steps=2, more="  lost: {teacher: ./nowhere}\n")
    assert main(["sweep", plan, "--jobs", "1"]) == 1
    out, err = capsys.readouterr()
    failed = [line for line in out.splitlines() if "failed" in line]
    assert len(failed) == 2 and failed[0] == failed[1]  # when it happened, and at the end
    assert failed[0].startswith("lost-seed0: failed, model: ./nowhere is not a folder (more in ")
    assert "2 of 3 runs are finished, 2 of them now" in out and "step" in err
    scope, opd = tmp_path / "runs/scope-seed0", tmp_path / "runs/opd-one-seed0"
    recorded = ["config.yaml", "evaluations/step-000000.json", "evaluations/step-000002.json", "manifest.json"]
    assert sorted(files(opd)) == [*recorded, "metrics.jsonl.gz"]
    assert {name.split("/")[0] for name in files(scope)} - {name.split("/")[0] for name in files(opd)} == {"model"}
    assert list(read_metrics(opd).step) == [1, 2] and (read_metrics(opd).rollouts == 8).all()
    first, second = (Evaluation.load(evaluation_file(folder, 0)) for folder in (scope, opd))
    assert (first.label, second.label) == ("scope step 0", "opd step 0")
    assert first.n_correct == second.n_correct  # sampled once, for both

    before = files(tmp_path / "runs")
    write_plan(tmp_path, steps=2)
    started = time.monotonic()
    assert main(["sweep", plan, "--jobs", "1"]) == 0
    assert time.monotonic() - started < 3  # no process was started
    assert "2 of 2 runs are finished, 0 of them now" in capsys.readouterr().out
    assert main(["sweep", plan, "--list"]) == 0
    assert capsys.readouterr().out.split() == ["scope-seed0", "finished", "opd-one-seed0", "finished"]

    Path(plan).write_text(Path(plan).read_text().replace("method: opd", "method: opd, learning_rate: 0.5"))
    assert main(["sweep", plan]) == 2
    assert "learning_rate: the run in" in capsys.readouterr().err
    assert files(tmp_path / "runs") == before
    assert main(["train", "--recipe", str(opd / "config.yaml"), "--out", str(opd), "--resume"]) == 2
    assert "keeps no checkpoint to go on from" in capsys.readouterr().err


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_was_ended_goes_on_and_gives_what_it_would_have_given(end, tmp_path, capsys):
    plan, folder = write_plan(tmp_path, steps=60), tmp_path / "runs/scope-seed0"
    command = [sys.executable, "-m", "scope_lab", "sweep", plan, "--jobs", "1"]
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    while sweep.poll() is None and not list(folder.glob("checkpoints/step-*/state.json")):
        time.sleep(0.02)
    sweep.send_signal(end)
    out, err = sweep.communicate(timeout=120)
    if end == signal.SIGINT:
        assert sweep.returncode == 1 and "stopped; the same command goes on" in out and "failed" not in out, err
        assert "scope-seed0: stopped at step" in out
    waited = time.monotonic()
    while not list(folder.glob("manifest.json")):  # written when a process ended as asked, its sweep gone or not
        assert time.monotonic() - waited < 60
        time.sleep(0.1)
    assert 0 < json.loads((folder / "manifest.json").read_text())["steps"] < 60
    assert main(["sweep", plan, "--jobs", "1", "--only", "scope*"]) == 0
    capsys.readouterr()
    whole = tmp_path / "whole"
    assert main(["sweep", plan, "--jobs", "1", "--only", "scope*", "--out", str(whole)]) == 0
    assert without_times(folder).equals(without_times(whole / "scope-seed0"))
    ours, theirs = (Evaluation.load(evaluation_file(path, 60)) for path in (folder, whole / "scope-seed0"))
    assert ours == theirs


def test_a_run_that_failed_is_tried_again_next_time(tmp_path, capsys):
    plan, folder = write_plan(tmp_path, steps=2), tmp_path / "runs/scope-seed0"
    run = read_plan(plan, only="scope*")[0]
    folder.mkdir(parents=True)
    run.config.save(folder / "config.yaml")
    (folder / "evaluations").mkdir()
    (folder / "evaluations/step-000000.json").write_text("{")  # what a broken disk may leave
    assert main(["sweep", plan, "--only", "scope*"]) == 1
    assert "scope-seed0: failed, evaluation: " in capsys.readouterr().out
    (folder / "evaluations/step-000000.json").unlink()
    assert main(["sweep", plan, "--only", "scope*"]) == 0


def test_as_many_processes_as_cores_that_may_be_used():
    assert 1 <= default_jobs() <= (os.cpu_count() or 1)


def test_jobs_must_be_a_count(tmp_path, capsys):
    assert main(["sweep", write_plan(tmp_path, steps=2), "--jobs", "0"]) == 2
    assert "jobs: found 0, accepted 1 or more" in capsys.readouterr().err
