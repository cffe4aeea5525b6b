"""Every recipe is a valid run, starts as its comment says, and costs what its comment says."""

import re
import shlex
from pathlib import Path

import pytest

from scope_lab.cli import build_parser
from scope_lab.commands.plan import plan_of
from scope_lab.config import ScopeConfig
from scope_lab.devices import device
from scope_lab.errors import InputError
from scope_lab.estimate import setup_from, summary, work_from
from scope_lab.settings import RECIPES, build_config, read_plan

FILES = sorted(RECIPES.glob("*.yaml"))
PLANNED = [path for path in FILES if "# plan:" in path.read_text()]
ONE_PROCESS = [path for path in PLANNED if "launch: scope-lab" in path.read_text()]
PAPER = [path for path in FILES if path.stem.startswith("paper")]


def commands(path: Path, word: str) -> list[list[str]]:
    return [shlex.split(line) for line in re.findall(rf"^# {word}: +scope-lab (.+)$", path.read_text(), re.M)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_a_valid_run(path):
    build_config(path.stem, {})


def test_those_that_are_asked_for_are_there():
    assert {"paper-r1-1.5b", "paper-qwen3-1.7b", "laptop", "one_gpu"} <= {path.stem for path in ONE_PROCESS}
    assert {path.stem for path in PLANNED} - {path.stem for path in ONE_PROCESS} == {"eight_gpus", "several_nodes"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_planned_for_the_devices_that_its_launch_line_names(path):
    launched = re.findall(r"--num_processes (\d+)", path.read_text())
    assert read_plan(path.stem).get("devices", 1) == int(launched[0] if launched else 1)


def test_a_plan_of_other_things_is_refused(tmp_path):
    file = tmp_path / "mine.yaml"
    for content in ("plan: 8", "plan: {gpus: 8}", "plan: {devices: many}"):
        file.write_text(content)
        with pytest.raises(InputError, match=r"plan: found .*, accepted devices, teacher_at, teacher_devices"):
            read_plan(str(file))


@pytest.mark.parametrize("path", ONE_PROCESS, ids=lambda path: path.stem)
def test_its_launch_line_starts_it(path):
    ((name, *words),) = commands(path, "launch")
    parsed = build_parser().parse_args([name, *words])
    settings = {key[4:]: value for key, value in vars(parsed).items() if key.startswith("set_")}
    assert name == "train" and parsed.recipe == path.stem
    assert build_config(parsed.recipe, settings).out


@pytest.mark.parametrize("path", PLANNED, ids=lambda path: path.stem)
def test_its_estimate_is_what_plan_says(path):
    said = " ".join(line.lstrip("# ") for line in path.read_text().splitlines())
    for words in commands(path, "plan"):
        parsed = build_parser().parse_args(words)
        assert parsed.recipe == path.stem
        assert summary(*plan_of(parsed)[:2]) in said


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_the_papers_settings_are_the_papers(path):
    config = build_config(path.stem, {})
    assert (config.method, config.tau, config.learning_rate, config.weight_decay) == ("scope", 1.0, 5e-5, 0.01)
    assert (config.prompts_per_step, config.rollouts_per_prompt, config.updates_per_batch) == (256, 8, 1)
    assert (config.temperature, config.max_new_tokens, config.schedule, config.warmup_steps) == (
        0.6, 12_288, "constant", 0,
    )  # fmt: skip
    assert (config.eval_temperature, config.eval_top_p, config.eval_top_k, config.eval_samples) == (0.6, 0.95, 20, 32)
    assert (config.top_p, config.top_k, config.lora_rank, config.kl_coef) == (1.0, 0, 0, 0.0)


def test_no_recipe_promises_a_device_it_does_not_fit():
    for name, on in (
        ("paper-r1-1.5b", "h100"),
        ("paper-qwen3-1.7b", "h100"),
        ("one_gpu", "a100-80"),
        ("eight_gpus", "a100-80"),
        ("several_nodes", "a100-80"),
    ):
        config = build_config(name, {})
        assert ": fits, " in summary(setup_from(config, device(on), **read_plan(name)), work_from(config))


def test_what_an_override_switches_off_a_recipes_lines_go_with():
    config, plain = build_config("several_nodes", {"method": "grpo", "engine": "transformers"}), ScopeConfig()
    names = ("teacher_servers", "teacher_concurrency", "engine_memory")
    assert [getattr(config, name) for name in names] == [getattr(plain, name) for name in names]
    with pytest.raises(InputError, match="engine_memory: has no effect without engine=vllm"):
        build_config("one_gpu", {"engine": "transformers", "engine_memory": "0.31"})
