"""The command line: what it prints, and that every mistake gives one clear line and exit code 2."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scope_lab.cli import main
from scope_lab.config import ScopeConfig
from scope_lab.errors import InputError
from scope_lab.models import DATA
from scope_lab.settings import read_recipe

QUICK = [
    "train",
    "--pair",
    "countdown",
    "--prompts-per-step",
    "4",
    "--rollouts-per-prompt",
    "4",
    "--eval-problems",
    "8",
    "--eval-samples",
    "4",
]


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def other_tokenizer(tmp_path) -> Path:
    """The bundled student with two digits swapped in its tokenizer."""
    folder = tmp_path / "swapped"
    shutil.copytree(DATA / "models" / "countdown-student", folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["3"], vocabulary["4"] = vocabulary["4"], vocabulary["3"]
    path.write_text(json.dumps(content))
    return folder


MISTAKES = [
    (["--tau", "0"], "tau: found 0.0, accepted above 0"),
    (["--tau", "-2"], "tau: found -2.0, accepted above 0"),
    (["--tau", "warm"], "tau: found 'warm', accepted a number above 0, inf or auto"),
    (["--tau", "nan"], "tau: found nan"),
    (["--method", "scoop"], "did you mean scope?"),
    (["--method", "grpo", "--tau", "2"], "tau: has no effect with method grpo"),
    (["--ess-fraction", "0.3"], "ess_fraction: has no effect without tau=auto"),
    (["--steps", "many"], "steps: found 'many', accepted a whole number"),
    (["--steps", "0"], "steps: found 0, accepted above 0"),
    (["--student", "./nowhere"], "model: ./nowhere is not a folder"),
    (["--student", "."], "no config.json"),
    (["--task", "chess"], "task: found 'chess', accepted countdown"),
    (["--task", "missing.jsonl"], "task: missing.jsonl is not a file"),
    (["--pair", "romeo"], "pair: found 'romeo', accepted countdown"),
    (["--recipe", "none-such"], "recipe: none-such is neither a file nor one of"),
    (["--max-new-tokens", "4000"], "max_new_tokens: found 4000"),
    (["--top-p", "1.5"], "top_p: found 1.5"),
    (["--trackers", "abacus"], "trackers: found abacus"),
    (["--trackers", "trackio"], "trackers: trackio is not installed"),
    (["--learning_rat", "1"], "unrecognized arguments"),
    (["--device", "tpu"], "device: found 'tpu'"),
    (["--logprob-temperature", "inf"], "logprob_temperature: found inf, accepted a finite number"),
    (["--eval-temperature", "inf"], "eval_temperature: found inf, accepted a finite number"),
    (["--clip", "inf", "--updates-per-batch", "2"], "clip: found inf, accepted a finite number"),
    (["--clip", "0.2"], "clip: has no effect with one update a batch"),
    (["--method", "psr", "--teacher-failure-limit", "0.5"], "teacher_failure_limit: has no effect with method psr"),
    (["--teacher-timeout", "5"], "teacher_timeout: has no effect without teacher_servers"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_wrong_setting_is_one_line_and_writes_nothing(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "marker").touch()
    code, out, err = run(capsys, *QUICK, "--steps", "1", "--out", "run", *arguments)
    assert code == 2 and out == ""
    assert message in err and err.count("\n") == 1 and err.startswith("scope-lab: ")
    assert [path.name for path in tmp_path.iterdir()] == ["marker"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", "3", "steps: found '3', accepted a whole number"),
        ("steps", 3.5, "steps: found 3.5, accepted a whole number"),
        ("steps", True, "steps: found True, accepted a whole number"),
        ("learning_rate", None, "learning_rate: found None, accepted a number"),
        ("student", 7, "student: found 7, accepted text or none"),
        ("gradient_checkpointing", "yes", "gradient_checkpointing: found 'yes', accepted true or false"),
        ("clip", [0.2], "clip: found [0.2], accepted a number or none"),
    ],
)
def test_a_value_of_another_type_is_named(name, value, message):
    with pytest.raises(InputError) as caught:
        ScopeConfig(pair="countdown", **{name: value}).validate()
    assert str(caught.value) == message


def test_paths_and_scalars_of_numpy_are_settings(tmp_path):
    given = {"out": tmp_path / "run", "steps": np.int64(3), "learning_rate": np.float64(1e-4), "tau": 2}
    ScopeConfig(pair="countdown", **given).validate().save(tmp_path / "config.yaml")
    read = read_recipe(str(tmp_path / "config.yaml"))
    assert (read["out"], read["steps"], read["learning_rate"], read["tau"]) == (str(tmp_path / "run"), 3, 1e-4, 2.0)


def test_a_wrong_line_in_a_task_file_is_named(capsys, tmp_path):
    file = tmp_path / "problems.jsonl"
    file.write_text('{"id": 1, "problem": "8,3,5,2=21:", "answer": "21"}\n{"id": 2, "problem": "8,3\n')
    code, _, err = run(capsys, *QUICK, "--out", tmp_path / "run", "--task", f"countdown:{file}")
    assert code == 2 and "problems.jsonl line 2: not JSON" in err and err.count("\n") == 1


def test_tokenizers_that_differ_are_refused(capsys, tmp_path, other_tokenizer):
    code, _, err = run(capsys, *QUICK, "--teacher", other_tokenizer, "--out", tmp_path / "run")
    assert code == 2 and "tokenizers differ" in err and "--allow-mismatch" in err and err.count("\n") == 1


def test_recipes_with_mistakes_are_named(capsys, tmp_path):
    for content, message in (
        ("taau: 1", "unknown setting 'taau' (did you mean tau?)"),
        ("tau: [1", "is not YAML"),
        ("- 1", "holds no settings"),
        ("steps: 1.5", "steps: found 1.5, accepted a whole number"),
    ):
        recipe = tmp_path / "mine.yaml"
        recipe.write_text(content)
        code, _, err = run(capsys, "train", "--recipe", recipe, "--out", tmp_path / "run")
        assert code == 2 and message in err and "mine.yaml" in err and err.count("\n") == 1


def test_a_folder_that_holds_another_run_is_refused_and_kept(capsys, tmp_path):
    out = tmp_path / "run"
    assert run(capsys, *QUICK, "--steps", "1", "--out", out)[0] == 0
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    code, _, err = run(capsys, *QUICK, "--steps", "1", "--out", out)
    assert code == 2 and "holds another run" in err and "--resume" in err
    code, _, err = run(capsys, *QUICK, "--steps", "2", "--tau", "3", "--out", out, "--resume")
    assert code == 2 and "tau: the run in" in err
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_train_evaluate_rollout_compare_work_together(capsys, tmp_path):
    out = tmp_path / "run"
    code, text, _ = run(capsys, *QUICK, "--steps", "2", "--out", out)
    assert code == 0 and "avg@4" in text and "pass@4" in text and "interval" in text
    assert (out / "before_after.png").read_bytes().startswith(b"\x89PNG")
    for name in ("countdown-student", out / "model"):
        file = tmp_path / f"{Path(name).name}.json"
        arguments = ["--pair", "countdown", "--model", name, "--problems", "6", "--samples", "4", "--out", file]
        code, text, _ = run(capsys, "evaluate", *arguments)
        assert code == 0 and "pass@4" in text
    code, text, _ = run(capsys, "compare", tmp_path / "countdown-student.json", tmp_path / "model.json")
    assert code == 0 and "6 held-out problems" in text
    assert run(capsys, "compare", out)[0] == 0
    code, text, _ = run(capsys, "inspect", out, "--figure", tmp_path / "metrics.png")
    assert code == 0 and f"{out}: scope on countdown, step 2 of 2\n" in text and "pass@4" in text
    assert re.search(r"^reward +[\d.]+ +[\d.]+$", text, re.M) and (tmp_path / "metrics.png").is_file()
    code, _, err = run(capsys, "evaluate", "--pair", "countdown", "--model", out)
    assert code == 2 and f"did you mean {out / 'model'}?" in err
    code, text, _ = run(
        capsys, "rollout", "--pair", "countdown", "--problems", "3", "--samples", "2", "--out", tmp_path / "r.parquet"
    )
    assert code == 0 and text.startswith("6 rollouts")


def test_a_whole_file_of_ones_own_is_evaluated(capsys, tmp_path):
    file = tmp_path / "held_out.jsonl"
    rows = [{"id": i, "problem": f"8,3,5,{i}={20 + i}:", "answer": 20 + i} for i in range(1, 13)]
    file.write_text("\n".join(map(json.dumps, rows)))
    arguments = ["evaluate", "--pair", "countdown", "--task", f"countdown:{file}", "--samples", "2", "--split"]
    code, text, _ = run(capsys, *arguments, "all")
    assert code == 0 and f"12 problems of countdown:{file} (all)" in text
    code, _, err = run(capsys, *arguments, "train")
    assert code == 2 and "300 asked for; lower train_problems or --problems" in err


def test_runs_of_one_label_are_told_apart_by_their_folders(capsys):
    runs = [DATA / "runs" / "countdown" / f"scope-seed{seed}" for seed in (0, 1)]
    code, text, _ = run(capsys, "compare", *runs)
    assert code == 0
    assert f"before: scope step 200, {runs[0]}\n" in text and f"after:  scope step 200, {runs[1]}\n" in text
    assert "before: scope step 0\n" in run(capsys, "compare", runs[0])[1]


def test_inspect_says_what_is_wrong_with_a_run(capsys):
    code, text, _ = run(capsys, "inspect", DATA / "runs" / "countdown" / "psr-seed0")
    assert code == 0 and "worth a look: entropy, last over first" in text and "reverse_kl" not in text
    assert "\nbefore: psr step 0; after: psr step 200\n" in text
    text = run(capsys, "inspect", DATA / "runs" / "countdown" / "scope-seed0")[1]
    assert text.endswith("is in its healthy range\n")


def test_inspect_of_a_folder_that_is_no_run_or_a_run_without_a_step(capsys, tmp_path):
    code, _, err = run(capsys, "inspect", tmp_path)
    assert code == 2 and "is not a file of rollouts, and as a folder no run" in err
    (tmp_path / "config.yaml").write_text("method: scope\n")
    for metrics in (None, ""):
        if metrics is not None:
            (tmp_path / "metrics.jsonl").write_text(metrics)
        code, _, err = run(capsys, "inspect", tmp_path)
        assert code == 2 and "holds no metrics" in err and err.count("\n") == 1


def test_rollouts_are_written_as_what_their_name_says(capsys, tmp_path):
    code, _, err = run(capsys, "rollout", "--pair", "countdown", "--problems", "1", "--out", tmp_path / "r.csv")
    assert code == 2 and "r.csv, accepted a name that ends in .parquet" in err and not list(tmp_path.iterdir())


def test_a_flag_by_its_initials_or_nearly_is_recognised(capsys):
    err = run(capsys, *QUICK, "--lr", "1e-4")[2]
    assert "(did you mean --learning-rate or --lora-rank?); see `scope-lab train --help`" in err
    assert "(did you mean --tau?); see `scope-lab train --help`" in run(capsys, *QUICK, "--taau", "1")[2]
    assert "see `scope-lab models fetch --help`" in run(capsys, "models", "fetch", "smollm2-135m", "--fom", "hub")[2]


def test_compare_refuses_what_cannot_be_compared(capsys, tmp_path):
    assert run(capsys, "compare", tmp_path)[0] == 2
    (tmp_path / "broken.json").write_text("{")
    code, _, err = run(capsys, "compare", tmp_path / "broken.json")
    assert code == 2 and "cannot be read" in err


@pytest.mark.parametrize(
    "command",
    [
        "",
        "train",
        "evaluate",
        "rollout",
        "inspect",
        "recover",
        "compare",
        "sweep",
        "models",
        "models fetch",
        "models build",
    ],
)
def test_help_is_there_for_every_command(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0 and "usage: scope-lab" in said and "%%" not in said


def test_ctrl_c_saves_and_the_run_goes_on(tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "scope_lab", *QUICK, "--steps", "400", "--eval-problems", "0", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.time() + 120
    while time.time() < deadline and not ((out / "metrics.jsonl").exists() and (out / "metrics.jsonl").read_text()):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "this goes on: scope-lab train " in text and "--resume" in text
    done = len((out / "metrics.jsonl").read_text().splitlines())
    assert 0 < done < 400 and (out / "checkpoints" / f"step-{done:06d}" / "state.json").is_file()
    assert main([*command[3:], "--resume", "--steps", str(done + 1)]) == 0
    assert len((out / "metrics.jsonl").read_text().splitlines()) == done + 1


def test_the_command_starts_without_what_takes_long_to_import():
    """Help and a mistake in a flag come at once; torch alone takes longer than all the rest."""
    slow = "{'torch', 'transformers', 'pandas', 'matplotlib'}"
    code = f"import sys; from scope_lab.cli import build_parser; build_parser(); print({slow} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
