"""The trainer on the bundled pair: every method, exact resume, who is asked, and what a bad number does."""

import copy
import json

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from scope_lab import ScopeConfig, ScopeTrainer, load_task
from scope_lab.checkpoint import load_weights, save_model
from scope_lab.errors import InputError
from scope_lab.methods import METHODS
from scope_lab.metrics import metric_names
from scope_lab.models import Pair, load_pair, with_adapter
from scope_lab.settings import build_config
from scope_lab.tasks import Problem, Verdict, Verification
from scope_lab.teachers import LocalTeacher

SMALL = {"pair": "countdown", "steps": 2, "prompts_per_step": 4, "rollouts_per_prompt": 4, "eval_problems": 0}
TIMES = {"tokens_per_second", "seconds"}


def small(**changes) -> ScopeConfig:
    return build_config(None, {**SMALL, **changes})


def trainer(config, **changes) -> ScopeTrainer:
    return ScopeTrainer(config, progress=False, **changes)


def without_times(history: list[dict]) -> list[dict]:
    return [{k: v for k, v in m.items() if k not in TIMES and not k.startswith("seconds_")} for m in history]


def weights(model) -> dict:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.fixture(scope="module")
def pair():
    return load_pair("countdown")


def fresh(pair: Pair, **changes) -> Pair:
    """The same pair with a student of its own, so that training one test's student leaves the next one's alone."""
    held = {"teacher": pair.teacher, "student": copy.deepcopy(pair.student), **changes}
    return Pair(held["student"], held["teacher"], pair.tokenizer, "countdown-student", "countdown-teacher", "countdown")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_logs_the_whole_glossary(method, pair):
    own = fresh(pair)
    before = weights(own.student)
    history = trainer(small(method=method, prompts_per_step=8, steps=1), pair=own).train()
    assert list(sorted(history[-1])) == sorted(metric_names())
    assert history[-1]["skipped_updates"] == 0 and history[-1]["grad_norm"] > 0
    assert any(not torch.equal(before[name], p) for name, p in own.student.named_parameters())


class AskedTeacher(LocalTeacher):
    """Keeps what it was asked about; answers NaN for the first `broken` rollouts of every call."""

    def __init__(self, model, broken: int = 0):
        super().__init__(model, "asked")
        self.broken, self.calls = broken, []

    def score(self, rollouts, rows, temperature):
        self.calls.append(rows.tolist())
        logp = super().score(rollouts, rows, temperature)
        logp[: self.broken] = torch.nan
        return logp


def test_the_teacher_is_asked_about_wrong_rollouts_and_no_others(pair):
    teacher = AskedTeacher(pair.teacher)
    run = trainer(small(steps=1, prompts_per_step=16), pair=fresh(pair), teacher=teacher)
    run.train()
    rollouts = run.last_batch.rollouts
    asked = sorted(row for call in teacher.calls for row in call)
    assert asked == (~rollouts.correct_B).nonzero().squeeze(1).tolist()
    assert rollouts.teacher_logp_BT[rollouts.correct_B].isnan().all()


def test_a_failed_teacher_score_is_dropped_and_counted_never_used(pair):
    teacher = AskedTeacher(pair.teacher, broken=1)
    run = trainer(small(steps=1, prompts_per_step=16), pair=fresh(pair), teacher=teacher)
    metrics = run.train()[-1]
    dropped = [row for call in teacher.calls for row in call[:1]]
    batch = run.last_batch
    assert metrics["teacher_failed"] == len(dropped)
    assert batch.coefficients.distill_B[dropped].tolist() == [0.0] * len(dropped)
    assert metrics["skipped_updates"] == 0
    assert metrics["teacher_count"] == sum(map(len, teacher.calls)) - len(dropped)


TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128}
DROPOUT = {
    "gpt2": {"n_positions": 128},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "attention_dropout": 0.3, "layerdrop": 0.3},
    "falcon": {"hidden_dropout": 0.3, "attention_dropout": 0.3},
    "llama": {"intermediate_size": 48, "attention_dropout": 0.3},
}


@pytest.mark.parametrize("architecture", DROPOUT)
def test_a_student_with_dropout_trains_without(architecture, pair):
    tokenizer = pair.tokenizer
    tokens = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    config = AutoConfig.for_model(architecture, **TINY, **DROPOUT[architecture], **tokens, pad_token_id=0)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    own = fresh(pair, student=model, teacher=copy.deepcopy(model).eval())
    metrics = trainer(small(method="opd", steps=1, temperature=1.0), pair=own).train()[-1]
    assert metrics["sampler_gap"] < 1e-5 and metrics["grad_norm"] < 1e-4


def test_kd_wants_a_teacher_to_sample_from(pair):
    own = fresh(pair, teacher=None)
    with pytest.raises(InputError, match="teacher: found an object that scores, accepted with method kd a model"):
        trainer(small(method="kd"), pair=own, teacher=LocalTeacher(pair.teacher, "mine"))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.6])
def test_a_teacher_equal_to_the_student_has_nothing_to_say(temperature, pair):
    own = fresh(pair)
    own.teacher = copy.deepcopy(own.student)
    metrics = trainer(small(method="scope-teacher-path", steps=1, temperature=temperature), pair=own).train()[-1]
    assert metrics["teacher_count"] > 0
    assert abs(metrics["reverse_kl"]) < 1e-6  # two forward passes of different padding
    assert metrics["grad_norm"] < 1e-3


def test_the_reference_preset_scores_the_teacher_at_temperature_one(pair):
    own = fresh(pair)
    own.teacher = copy.deepcopy(own.student)
    run = trainer(small(method="reference", steps=1, temperature=0.6), pair=own)
    run.train()
    rollouts = run.last_batch.rollouts
    signal_BT = (rollouts.student_logp_BT - rollouts.teacher_logp_BT)[~rollouts.correct_B]
    assert signal_BT.abs().nanmean() > 0.05  # a teacher equal to the student, and yet a signal


class OpinionlessTask:
    """Countdown whose verifier never has a verdict."""

    name, max_new_tokens = "opinionless", 30

    def __init__(self, task):
        self.task = task

    def problems(self, split: str, n=None, seed: int = 0) -> list[Problem]:
        return self.task.problems(split, n, seed)

    def verify(self, problem, response) -> Verification:
        return Verification(Verdict.UNKNOWN, "no opinion")


def test_rollouts_without_a_verdict_change_nothing(pair):
    own = fresh(pair)
    before = weights(own.student)
    config = small(steps=1, truncated="unknown")
    metrics = trainer(config, pair=own, task=OpinionlessTask(load_task("countdown"))).train()[-1]
    assert metrics["student_count"] == metrics["teacher_count"] == metrics["teacher_scored"] == 0
    assert metrics["unknown"] == metrics["rollouts"] and metrics["reward"] is None
    assert all(torch.equal(before[name], p) for name, p in own.student.named_parameters())


class OwnTask(OpinionlessTask):
    """Countdown by another name."""

    name = "mine"

    def verify(self, problem, response):
        return self.task.verify(problem, response)


def test_objects_of_ones_own_are_enough_and_a_run_does_not_go_on_without_them(pair, tmp_path):
    own = {"pair": fresh(pair), "task": OwnTask(load_task("countdown")), "teacher": AskedTeacher(pair.teacher)}
    settings = {"student": "countdown-student", "out": str(tmp_path / "run"), "eval_problems": 0, "steps": 1}
    config = ScopeConfig(**settings, prompts_per_step=2, rollouts_per_prompt=2)
    trainer(config, **own).train()
    assert config.task is None
    held = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert (held["task"], held["teacher"]) == ("object:mine", "object:asked")
    trainer(config, **own, resume=True)
    named = ScopeConfig(**{**vars(config), "teacher": "countdown-teacher", "task": "countdown"})
    for given, line in (
        ({}, r"^teacher: .* has 'object:asked', found 'countdown-teacher'"),
        ({"teacher": own["teacher"]}, r"^task: .* has 'object:mine', found 'countdown'"),
    ):
        with pytest.raises(InputError, match=line):
            trainer(named, pair=own["pair"], **given, resume=True)
    with pytest.raises(InputError, match=r"^task: found 'object:mine', accepted countdown"):
        load_task("object:mine")


class Nameless:
    def score(self, rollouts, rows, temperature): ...


class YesTask(OwnTask):
    def verify(self, problem, response):
        return True


def test_objects_that_are_not_what_is_asked_for_are_named(pair):
    for wrong, line in (
        (
            {"task": "countdown"},
            "task: found a str without name, accepted an object with name, max_new_tokens, problems",
        ),
        ({"teacher": Nameless()}, "teacher: found a Nameless without name, accepted an object with name, score"),
    ):
        with pytest.raises(InputError, match=f"^{line}"):
            trainer(small(), pair=pair, **wrong)
    run = trainer(small(), pair=fresh(pair), task=YesTask(load_task("countdown")))
    with pytest.raises(InputError, match=r"^task: verify of mine returned True, accepted scope_lab.tasks.Verification"):
        run.train_step()


@pytest.mark.parametrize(
    "changes", [{}, {"method": "grpo", "kl_coef": 0.01}, {"lora_rank": 2}, {"updates_per_batch": 2, "clip": 0.2}]
)
def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one(changes, tmp_path):
    whole = trainer(small(steps=4, out=str(tmp_path / "whole"), **changes)).train()
    trainer(small(steps=3, out=str(tmp_path / "cut"), checkpoint_every=2, **changes)).train()
    lost = max((tmp_path / "cut/checkpoints").glob("step-*"))  # as if killed before it was complete
    (lost / "state.json").unlink()
    resumed = trainer(small(steps=4, out=str(tmp_path / "cut"), **changes), resume=True).train()
    assert without_times(resumed) == without_times(whole)
    lines = (tmp_path / "cut/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    name = "adapter_model.safetensors" if "lora_rank" in changes else "model.safetensors"
    ours, theirs = (load_file(tmp_path / run / "model" / name) for run in ("cut", "whole"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("rank", [0, 4])
def test_a_checkpoint_of_other_weights_than_the_models_is_refused(rank, pair, tmp_path):
    model = copy.deepcopy(pair.student)
    model = with_adapter(model, rank, 8) if rank else model
    save_model(model, pair.tokenizer, tmp_path)
    (file,) = tmp_path.glob("*model.safetensors")
    load_weights(model, tmp_path)
    state = load_file(file)
    for wrong in (dict(list(state.items())[:2]), {**state, "other": torch.zeros(1)}):
        save_file(wrong, file)
        with pytest.raises(InputError, match=r"weights do not fit the model \(.+\)"):
            load_weights(model, tmp_path)


def test_gradient_checkpointing_and_micro_batches_change_no_number(pair):
    def after(**changes):
        own = fresh(pair)
        trainer(small(steps=1, **changes), pair=own).train()
        return torch.cat([p.detach().flatten() for p in own.student.parameters()])

    start = torch.cat([p.detach().flatten() for p in pair.student.parameters()])
    plain = after() - start
    for changes in ({"gradient_checkpointing": True}, {"tokens_per_microbatch": 100}):
        assert (after(**changes) - start - plain).norm() < 2e-3 * plain.norm()  # AdamW enlarges tiny gradients


def test_a_run_that_ends_earlier_than_planned_is_evaluated_there(tmp_path):
    settings = {"out": str(tmp_path / "run"), "eval_problems": 4, "eval_samples": 4, "checkpoint_every": 1}
    trainer(small(steps=2, **settings)).train()
    evaluations = tmp_path / "run/evaluations"
    last = (evaluations / "step-000002.json").read_bytes()
    (evaluations / "step-000002.json").unlink()  # as if it had been stopped there by hand on its way to more steps
    assert trainer(small(steps=2, **settings), resume=True).train()[-1]["step"] == 2
    assert (evaluations / "step-000002.json").read_bytes() == last
    with pytest.raises(InputError, match=r"^steps: .*run is at step 2, accepted as many or more"):
        trainer(small(steps=1, **settings), resume=True)


def test_a_run_folder_holds_all_that_its_tree_says(tmp_path):
    out = tmp_path / "run"
    config = small(out=str(out), eval_problems=4, eval_samples=4, eval_every=1, trackers="tensorboard")
    run = trainer(config)
    run.train()
    assert sorted(run.evaluations) == [0, 1, 2]
    for name in ("config.yaml", "manifest.json", "metrics.jsonl", "evaluations/step-000002.json", "model/config.json"):
        assert (out / name).is_file(), name
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["seed"] == 0 and manifest["steps"] == 2 and "torch" in manifest["versions"]
    assert list(out.rglob("events.out.tfevents*")), "the tracker wrote nothing"


def test_every_training_prompt_comes_once_an_epoch(pair):
    run = trainer(small(train_problems=10), pair=fresh(pair))
    seen = []
    for run.step in range(5):
        seen += [problem.id for problem in run.step_problems()]
    assert len(set(seen[:10])) == 10 and sorted(seen[:10]) == sorted(seen[10:20])
    assert seen[:10] != seen[10:20]


def train_on_a_few_prompts(method, pair) -> tuple[list[dict], list[dict]]:
    """The first and the last five of 25 steps on the same eight prompts."""
    config = small(
        method=method,
        task="countdown:easy",
        steps=25,
        prompts_per_step=8,
        rollouts_per_prompt=8,
        train_problems=8,
        warmup_steps=10,
    )
    history = trainer(config, pair=fresh(pair)).train()
    return history[:5], history[-5:]


def mean(name: str, history: list[dict]) -> float:
    return sum(metrics[name] for metrics in history) / len(history)


@pytest.mark.parametrize("method", ["scope", "psr"])
def test_training_raises_the_reward_on_its_own_prompts(method, pair):
    first, last = train_on_a_few_prompts(method, pair)
    assert mean("reward", last) > mean("reward", first) + 0.05


def test_learning_rate_schedules():
    constant = small(steps=10, warmup_steps=3, learning_rate=1.0)
    assert [constant.learning_rate_at(step) for step in (0, 1, 2, 3, 9)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    cosine = small(steps=10, warmup_steps=0, schedule="cosine", learning_rate=1.0)
    assert cosine.learning_rate_at(0) == 1.0 and cosine.learning_rate_at(5) == pytest.approx(0.5)
    assert 0 < cosine.learning_rate_at(9) < 0.03
