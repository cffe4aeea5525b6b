"""The engine around vLLM, with a module in its place: what is asked of it, and what it may answer.

tests/real_vllm has the real one.
"""

import copy
import math
import sys

import pytest
import torch
from fake_vllm_module import install
from test_engines import Watch, of

from scope_lab import ScopeTrainer
from scope_lab.config import ScopeConfig
from scope_lab.engines.canary import Gap, score_anew
from scope_lab.engines.vllm import VllmEngine, policy_weights
from scope_lab.errors import InputError, RunStopped
from scope_lab.models import stop_token_ids, with_adapter
from scope_lab.rollouts import Sampling
from scope_lab.settings import build_config
from scope_lab.tasks import load_task
from scope_lab.teachers.local import score

PROBLEMS = load_task("countdown").problems("test", 3, seed=1)
SAMPLING = Sampling(temperature=0.7, max_new_tokens=21, seed=3)
FEW = {"pair": "countdown", "device": "cpu", "engine": "vllm", "steps": 2, "prompts_per_step": 2, "temperature": 1.0,
       "rollouts_per_prompt": 3, "eval_problems": 2, "eval_samples": 2}  # fmt: skip


@pytest.fixture
def fake(monkeypatch):
    return install(monkeypatch)


@pytest.fixture
def engine(fake, student, tokenizer) -> VllmEngine:
    engine = VllmEngine(student, tokenizer, dtype="float32", context=64)
    engine.sync(student)
    return engine


def gap(rollouts, model) -> Gap:
    everyone = torch.arange(len(rollouts))
    return score_anew(copy.copy(rollouts), lambda r: score(model, r, everyone, r.sampling.scored_at))


# What is asked of vLLM


def test_every_row_is_in_its_place_whatever_ends_first(engine, student):
    watch = Watch()
    rollouts = engine.sample(PROBLEMS, 4, SAMPLING, watch)
    assert list(watch.seen) == list(reversed(range(12)))
    assert watch.seen == {row: of(rollouts, row) for row in range(12)}
    assert gap(rollouts, student).largest < 1e-5 and gap(rollouts, student).tokens == int(rollouts.mask_BT.sum())
    assert [prompt for _, prompt, _ in engine.engine.asked] == [p for p in rollouts.prompt_tokens for _ in range(4)]
    assert set(rollouts.finish_reason) <= {"stop", "length"}


def test_settings_reach_vllm_as_they_are(engine, student, tokenizer):
    sampling = Sampling(temperature=0.7, top_p=0.9, top_k=5, max_new_tokens=9, seed=3, first_row=7)
    rollouts = engine.sample(PROBLEMS, 1, sampling)
    asked = engine.engine.asked[-1][-1]
    assert (asked.temperature, asked.top_p, asked.top_k, asked.max_tokens) == (0.7, 0.9, 5, 9)
    assert asked.stop_token_ids == stop_token_ids(student, tokenizer) and asked.output_kind == "final"
    assert asked.ignore_eos and not asked.detokenize
    assert asked.logprobs is None and rollouts.student_logp_BT.isnan().all(), "of a cut distribution: not asked for"
    arguments = engine.engine.arguments
    assert (arguments.dtype, arguments.max_model_len, arguments.max_num_seqs) == ("float32", 64, 256)
    assert arguments.skip_tokenizer_init and arguments.load_format == "dummy"


def test_a_seed_belongs_to_a_row_of_a_step(engine):
    def seeds(**changes) -> list[int]:
        before = len(engine.engine.asked)
        engine.sample(PROBLEMS, 2, Sampling(**{**SAMPLING.__dict__, "max_new_tokens": 1, **changes}))
        return [parameters.seed for *_, parameters in engine.engine.asked[before:]]

    assert seeds() == seeds() and len({*seeds(), *seeds(seed=4)}) == 12
    assert seeds(first_row=2)[:4] == seeds()[2:] and all(0 <= seed < 2**63 for seed in seeds())


@pytest.mark.parametrize("at_one, temperature, top_p, scored_at, asked", [
    (False, 0.7, 1.0, None, True), (False, 0.7, 1.0, 1.0, False), (False, 0.7, 0.9, None, False),
    (True, 0.7, 1.0, 1.0, True), (True, 0.7, 0.9, 1.0, True), (True, 0.7, 1.0, None, False), (True, 1.0, 1.0, 1, True),
])  # fmt: skip
def test_log_probs_are_kept_where_they_are_what_was_asked_for(
    fake, student, tokenizer, at_one, temperature, top_p, scored_at, asked
):
    engine = VllmEngine(student, tokenizer, dtype="float32", context=64, logp_at_one=at_one)
    engine.sync(student)
    sampling = Sampling(temperature, top_p, max_new_tokens=9, logprob_temperature=scored_at)
    rollouts = engine.sample(PROBLEMS, 1, sampling)
    assert rollouts.student_logp_BT[rollouts.mask_BT].isfinite().all() == asked
    assert gap(rollouts, student).largest < 1e-5 or not asked


def test_the_random_state_is_left_as_it_was(fake, student, tokenizer):
    before = torch.random.get_rng_state()
    engine = VllmEngine(student, tokenizer, dtype="float32", context=64)
    engine.sample(PROBLEMS, 1, SAMPLING)
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_cannot_be_sampled_is_said_before(engine):
    with pytest.raises(InputError, match=r"max_new_tokens: found 60 after a prompt of 1. tokens, accepted at most 5."):
        engine.sample(PROBLEMS, 1, Sampling(max_new_tokens=60))
    with pytest.raises(InputError, match=r"temperature: found 0.001, accepted 0.01 to 2"):
        engine.sample(PROBLEMS, 1, Sampling(temperature=0.001))
    with pytest.raises(InputError, match="problems: found none"):
        engine.sample([], 1, SAMPLING)
    assert not engine.engine.asked


def test_one_line_where_vllm_is_missing_or_does_not_start(monkeypatch, student, tokenizer):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InputError, match=r"^engine: vllm cannot be imported .*scope-lab\[gpu\]"):
        VllmEngine(student, tokenizer, dtype="float32", context=64)
    install(monkeypatch)
    with pytest.raises(
        InputError, match=r"^engine: vllm does not start .No available memory for the cache blocks. Try"
    ):
        VllmEngine(student, tokenizer, dtype="float32", context=64, memory=0.95)


# What vLLM may answer


@pytest.mark.parametrize("change", [
    {"logprobs": None}, {"logprobs": []}, {"logprobs": [{-1: None}] * 21}, {"token_ids": []},
    {"finish_reason": "abort"}, {"finish_reason": None}, {"token_ids": [5] * 9, "finish_reason": "stop"},
])  # fmt: skip
def test_an_answer_that_makes_no_sense_ends_the_sampling_and_nothing_of_it_stays(engine, change):
    before = engine.sample(PROBLEMS, 2, SAMPLING)
    engine.engine.spoil = lambda output: vars(output).update(change)
    with pytest.raises(RunStopped, match=r"^vllm: a "):
        engine.sample(PROBLEMS, 2, SAMPLING)
    assert len(engine.engine.aborted) == 6 and not engine.engine.waiting
    engine.engine.spoil = lambda output: None
    assert engine.sample(PROBLEMS, 2, SAMPLING).responses == before.responses


def test_what_a_watcher_raises_ends_the_sampling_and_nothing_of_it_stays(engine):
    def refuse(rollouts, rows):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.sample(PROBLEMS, 2, SAMPLING, refuse)
    assert len(engine.engine.aborted) == 5 and not engine.engine.waiting


def test_a_request_that_is_lost_is_missed(engine):
    engine.engine.lost = {2}
    with pytest.raises(RuntimeError, match="1 of 6 rollouts never finished"):
        engine.sample(PROBLEMS, 2, SAMPLING)


# Weights


def test_weights_come_under_the_names_of_a_checkpoint(student):
    found = dict(policy_weights(student))
    assert found.keys() == dict(student.named_parameters()).keys() and "lm_head.weight" not in found
    twice = dict(policy_weights(student, with_tied=True))
    assert twice.keys() - found.keys() == {"lm_head.weight"}
    assert twice["lm_head.weight"].equal(found["model.embed_tokens.weight"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_comes_merged_and_the_student_stays_as_it_is(student, rollouts, dtype):
    adapted = with_adapter(copy.deepcopy(student).to(dtype), 4, 8)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    before = {name: weight.clone() for name, weight in adapted.named_parameters()}
    merged = copy.deepcopy(student)
    merged.load_state_dict(dict(policy_weights(adapted, with_tied=True)))
    assert all(weight.equal(before[name]) for name, weight in adapted.named_parameters())
    everyone = torch.arange(len(rollouts))
    with_product, with_merged = (score(model, rollouts, everyone, 1.0).nan_to_num() for model in (adapted, merged))
    assert (with_product - with_merged).abs().max() < (1e-4 if dtype == torch.float32 else 0.5)
    adapted.base_model.disable_adapter_layers()
    plain = dict(policy_weights(adapted))
    assert all(plain[name].equal(weight.to(dtype)) for name, weight in student.named_parameters())


def test_prompts_of_earlier_weights_are_forgotten(engine, student):
    engine.engine.frees = False
    with pytest.raises(RuntimeError, match="earlier weights are still in use"):
        engine.sync(student)


# The canary


def test_gap_by_hand():
    mask = torch.tensor([[True, True], [True, False]])
    found = Gap.between(
        torch.tensor([[-1.0, -2.0], [-3.0, torch.nan]]), torch.tensor([[-1.5, -2.0], [-2.0, 0.0]]), mask
    )
    assert found == Gap(1.5, 1.0, 3) and found.mean == 0.5
    assert Gap.of_all([found, Gap(), Gap(0.5, 0.5, 1)]) == Gap(2.0, 1.0, 4)
    assert Gap.between(torch.full((1, 1), torch.nan), torch.zeros(1, 1), mask[:1, :1]).mean == math.inf
    found.check(0.5)
    Gap().check(0.1)
    with pytest.raises(RunStopped, match=r"^engine_gap_limit: .* by 0.5 nats in the mean, accepted at most 0.4"):
        found.check(0.4)


# A run


def trainer(**changes) -> ScopeTrainer:
    return ScopeTrainer(build_config(None, {**FEW, **changes}), progress=False)


def test_a_run_samples_and_evaluates_with_vllm_and_syncs_where_the_student_changed(fake):
    run = trainer()
    history = run.train()
    (engine,) = fake.started
    assert engine.arguments.logprobs_mode == "raw_logprobs"
    assert len(engine.asked) == 2 * 2 * 3 + 2 * 2 * 2
    # Before the first evaluation, before the second step, before the last evaluation.
    assert len(engine.synced) == 3
    assert all(0 < metrics["sampler_gap_mean"] <= metrics["sampler_gap"] < 1e-4 for metrics in history)
    assert list(run.evaluations) == [0, 2]


def test_a_run_that_trains_an_adapter_samples_with_it_merged(fake):
    history = trainer(lora_rank=4, learning_rate=0.1, eval_problems=0).train()
    first, second = fake.started[0].synced
    assert all(metrics["sampler_gap"] < 1e-4 for metrics in history)
    assert first.keys() == second.keys() and not any("lora" in name for name in first)
    assert any(not first[name].equal(second[name]) for name in first)


def test_log_probs_of_the_batch_are_the_students_own(fake):
    run = trainer(logprob_temperature=1.0, temperature=0.7, eval_problems=0, steps=1)
    before = copy.deepcopy(run.unwrapped)
    run.train()
    rollouts = run.last_batch.rollouts
    anew = score(before, rollouts, torch.arange(len(rollouts)), 1.0)
    assert torch.equal(rollouts.student_logp_BT.nan_to_num(), anew.nan_to_num())


def test_an_update_that_is_left_out_costs_no_sync(fake, monkeypatch):
    run = trainer(eval_problems=0)
    monkeypatch.setattr(run.accelerator, "clip_grad_norm_", lambda *_: torch.tensor(torch.nan))
    assert [metrics["skipped_updates"] for metrics in run.train()] == [1, 1]
    assert len(fake.started[0].synced) == 1


def test_a_run_whose_engine_does_not_follow_stops_with_a_checkpoint(fake, tmp_path):
    run = trainer(out=str(tmp_path / "run"), engine_gap_limit=1e-3, learning_rate=0.1, eval_problems=0)
    fake.started[0].collective_rpc = lambda *_, **__: None  # random weights
    with pytest.raises(
        RunStopped, match=r"engine_gap_limit: .* accepted at most 0.001: .* --resume goes on from there"
    ):
        run.train()


@pytest.mark.parametrize("changes, message", [
    ({"engine": "vlm"}, "engine: found 'vlm', accepted transformers, vllm .did you mean vllm"),
    ({"engine": "transformers", "engine_memory": 0.5}, "engine_memory: has no effect without engine=vllm"),
    ({"engine": "transformers", "engine_gap_limit": 0.5}, "engine_gap_limit: has no effect without engine=vllm"),
    ({"engine_memory": 1.0}, "engine_memory: found 1.0, accepted above 0 and below 1"),
    ({"engine_gap_limit": 0.0}, "engine_gap_limit: found 0.0, accepted above 0"),
    ({"method": "kd"}, "engine: found vllm, accepted transformers with method kd"),
    ({"temperature": 0.6, "logprob_temperature": 0.8}, "logprob_temperature: found 0.8, accepted with engine=vllm 1"),
    ({"temperature": 0.6, "top_p": 0.9}, "logprob_temperature: found 0.6, accepted with engine=vllm 1"),
])  # fmt: skip
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(InputError, match=f"^{message}"):
        ScopeConfig(**{**FEW, **changes}).validate()


def test_the_default_is_the_student_itself(student):
    assert ScopeConfig(pair="countdown").validate().engine == "transformers"
