"""Real vLLM in the training process: it samples what the student would, follows it after a sync, and a run trains."""

import copy
import json
import os

import pytest
import torch
from serve import QUIET, SMALL
from test_distributed import WAYS, finished, launch
from test_engines import Watch, of

from scope_lab import ScopeTrainer
from scope_lab.engines.canary import Gap, score_anew
from scope_lab.engines.transformers import TransformersEngine
from scope_lab.errors import RunStopped
from scope_lab.models import with_adapter
from scope_lab.rollouts import Sampling
from scope_lab.settings import build_config
from scope_lab.tasks import load_task
from scope_lab.teachers.local import score

pytestmark = pytest.mark.vllm
PROBLEMS = load_task("countdown").problems("test", 12, seed=1)
SAMPLING = Sampling(temperature=0.7, max_new_tokens=21, seed=3)  # short, so that some are truncated
CLOSE = 1e-4  # nats, fp32


@pytest.fixture(scope="module")
def engine(student, tokenizer):
    pytest.importorskip("vllm", reason="`make test-vllm` runs this where vLLM is installed")
    from scope_lab.engines.vllm import VllmEngine

    os.environ.update(QUIET | SMALL)
    before = torch.random.get_rng_state()
    engine = VllmEngine(student, tokenizer, dtype="float32", context=64)
    assert torch.equal(before, torch.random.get_rng_state())
    return engine


@pytest.fixture
def synced(engine, student):
    engine.sync(student)
    return engine


def gap(rollouts, model) -> Gap:
    """Between the log-probs that an engine gave with its rollouts and a model's."""
    everyone, anew = torch.arange(len(rollouts)), copy.copy(rollouts)
    return score_anew(anew, lambda r: score(model, r, everyone, r.sampling.scored_at))


def test_greedy_tokens_are_those_of_transformers(synced, student, tokenizer):
    greedy = Sampling(temperature=0.7, top_k=1, max_new_tokens=27)
    ours, theirs = (e.sample(PROBLEMS, 1, greedy) for e in (TransformersEngine(student, tokenizer), synced))
    assert theirs.tokens_BT.tolist() == ours.tokens_BT.tolist() and theirs.mask_BT.equal(ours.mask_BT)
    assert theirs.responses == ours.responses and theirs.finish_reason == ours.finish_reason


def test_log_probs_are_those_of_transformers_and_every_row_is_called_finished_once(synced, student):
    watch = Watch()
    rollouts = synced.sample(PROBLEMS, 16, SAMPLING, watch)
    found = gap(rollouts, student)
    print(f"log-probs of {found.tokens} sampled tokens, fp32: {found.mean:.2g} nats apart, {found.largest:.2g} at most")
    assert found.largest <= CLOSE
    assert set(rollouts.finish_reason) == {"stop", "length"}
    assert watch.seen == {row: of(rollouts, row) for row in range(len(rollouts))}
    assert list(watch.seen) != sorted(watch.seen), "those that end first come first"


def test_it_samples_from_the_same_distribution(synced, student, tokenizer):
    sampling = Sampling(temperature=0.7, max_new_tokens=27, seed=8)
    mean, error = zip(
        *[
            (values.mean().item(), values.std().item() / len(values) ** 0.5)
            for e in (TransformersEngine(student, tokenizer), synced)
            for values in [e.sample(PROBLEMS, 64, sampling).student_nll_B]
        ],
        strict=True,
    )
    assert abs(mean[0] - mean[1]) < 4 * sum(x**2 for x in error) ** 0.5


def test_a_row_is_a_function_of_seed_and_row(synced):
    whole = synced.sample(PROBLEMS, 4, SAMPLING)
    again = synced.sample(PROBLEMS, 4, SAMPLING)
    part = synced.sample(PROBLEMS[6:], 4, Sampling(**{**SAMPLING.__dict__, "first_row": 24}))
    other = synced.sample(PROBLEMS, 4, Sampling(**{**SAMPLING.__dict__, "seed": 4}))
    assert whole.responses == again.responses and whole.responses[24:] == part.responses
    assert whole.responses != other.responses
    assert len(set(whole.responses[:4])) > 1


def test_a_sampling_that_is_broken_off_leaves_nothing_behind(synced, student):
    def refuse(rollouts, rows):
        raise KeyboardInterrupt

    before = synced.sample(PROBLEMS, 4, SAMPLING)
    with pytest.raises(KeyboardInterrupt):
        synced.sample(PROBLEMS, 4, SAMPLING, refuse)
    synced.sync(student)
    assert synced.sample(PROBLEMS, 4, SAMPLING).responses == before.responses


def test_after_a_change_only_a_sync_brings_the_new_weights(synced, student):
    changed = copy.deepcopy(student)
    with torch.no_grad():
        for weight in changed.parameters():
            weight.mul_(1.1)
    stale = synced.sample(PROBLEMS, 4, SAMPLING)
    assert gap(stale, student).largest <= CLOSE
    assert gap(stale, changed).mean > 0.05, "the canary sees weights that did not come"
    synced.sync(changed)
    assert gap(synced.sample(PROBLEMS, 4, SAMPLING), changed).largest <= CLOSE


def test_an_adapter_comes_merged_and_the_student_stays_as_it_is(synced, student):
    adapted = with_adapter(copy.deepcopy(student), 4, 8)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    before = {name: weight.clone() for name, weight in adapted.named_parameters()}
    synced.sync(adapted)
    rollouts = synced.sample(PROBLEMS, 4, SAMPLING)
    assert gap(rollouts, adapted).largest <= CLOSE < gap(rollouts, student).mean
    assert all(weight.equal(before[name]) for name, weight in adapted.named_parameters())


def settings(**changes) -> dict:
    few = {"steps": 4, "prompts_per_step": 4, "rollouts_per_prompt": 4, "eval_problems": 6, "eval_samples": 4}
    return {"pair": "countdown", "device": "cpu", "engine": "vllm", "temperature": 1.0, **few, **changes}


def test_a_run_trains(engine, tmp_path):
    trainer = ScopeTrainer(build_config(None, settings(out=str(tmp_path / "run"))), progress=False)
    history = trainer.train()
    print("largest gap of each step:", [metrics["sampler_gap"] for metrics in history])
    assert all(metrics["sampler_gap"] <= CLOSE and metrics["skipped_updates"] == 0 for metrics in history)
    assert all(metrics["sampler_gap_mean"] <= metrics["sampler_gap"] for metrics in history)
    assert list(trainer.evaluations) == [0, 4]
    trainer.train_step()
    rollouts = trainer.sample_rollouts(trainer.step_problems())
    assert gap(rollouts, trainer.unwrapped).largest > CLOSE, "not synced since the last update"
    with trainer.sampling_student():
        assert gap(trainer.sample_rollouts(trainer.step_problems()), trainer.unwrapped).largest <= CLOSE


def test_a_run_whose_engine_does_not_follow_stops(engine, tmp_path, monkeypatch):
    changes = {"learning_rate": 3e-2, "steps": 20, "eval_problems": 0, "out": str(tmp_path / "run")}
    trainer = ScopeTrainer(build_config(None, settings(**changes)), progress=False)
    with trainer.sampling_student():
        monkeypatch.setattr(trainer.engine, "sync", lambda model: None)
    with pytest.raises(RunStopped, match=r"engine_gap_limit: .* does not sample from the student; .*--resume"):
        trainer.train()


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_with_an_engine_each_sample_what_one_does(engine, tmp_path, way):
    """Launched as a user launches them: DDP, and FSDP2, whose weights are whole only while it samples."""
    changes = settings(steps=2, eval_problems=0, prompts_per_step=5, learning_rate=1e-3)
    words = [word for name, value in changes.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    finished(launch(way, "-m", "scope_lab", "train", *words, "--out", str(tmp_path)))
    both = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    one = ScopeTrainer(build_config(None, changes), progress=False).train()
    print(f"largest gap of each step, {way}:", [metrics["sampler_gap"] for metrics in both])
    assert all(metrics["sampler_gap"] <= CLOSE for metrics in both)
    for name in ("reward", "response_tokens", "truncated", "grad_norm"):
        assert [metrics[name] for metrics in both] == pytest.approx([metrics[name] for metrics in one], rel=1e-3), name
