"""The real pretrained pair, where it is in the cache (`make smollm2` brings it): one base, two models, one step."""

import json
from itertools import islice

import pytest
import torch

from scope_lab import ScopeConfig, ScopeTrainer, load_pair
from scope_lab.cli import main
from scope_lab.engines.transformers import sample
from scope_lab.fetch import cached
from scope_lab.logprobs import perplexity
from scope_lab.models import load_model, load_tokenizer
from scope_lab.rollouts import Rollouts, Sampling, encode_prompts
from scope_lab.tasks import load_task
from scope_lab.teachers import LocalTeacher

pytestmark = pytest.mark.skipif(cached("smollm2-135m") is None, reason="SmolLM2 is not in the cache: `make smollm2`")


@pytest.fixture(scope="module")
def drawn():
    """Two problems × 4 short responses, with the log-probs of sampling, and the model that wrote them."""
    model, tokenizer = load_model("smollm2-135m", device="cpu"), load_tokenizer("smollm2-135m")
    task = load_task("word_problems")
    rollouts = sample(
        model, tokenizer, task.problems("test", 2, seed=1), 4, Sampling(0.6, max_new_tokens=32, seed=5), task=task.name
    )
    rollouts.verify(task)
    return model, tokenizer, rollouts


def test_prompts_go_through_the_chat_template(drawn):
    _, tokenizer, rollouts = drawn
    text = tokenizer.decode(rollouts.prompt_tokens[0])
    assert rollouts.problems[0].prompt in text
    assert text.endswith("<|im_start|>assistant\n") and "<|im_start|>user\n" in text


def test_sampling_and_scoring_agree_on_every_token(drawn):
    model, _, rollouts = drawn
    scored_BT = LocalTeacher(model).score(rollouts, torch.arange(len(rollouts)), 0.6)
    assert (scored_BT - rollouts.student_logp_BT)[rollouts.mask_BT].abs().max() < 1e-3


def test_it_writes_words_and_its_perplexity_is_that_of_a_language_model(drawn):
    _, _, rollouts = drawn
    assert all(len(response.split()) >= 3 for response in rollouts.responses)
    assert 1 < perplexity(rollouts.student_logp_BT, rollouts.mask_BT).median() < 3
    assert len(set(rollouts.responses)) > 1


def test_the_teacher_gives_held_out_solutions_more_likelihood(drawn):
    pair = load_pair("smollm2", device="cpu")
    gains = []
    for problem, solution in islice(load_task("word_problems").solutions("test", seed=2), 4):
        prompt = encode_prompts(pair.tokenizer, [problem])[0]
        tokens = torch.tensor([prompt + pair.tokenizer(solution, add_special_tokens=False).input_ids])
        with torch.no_grad():
            nll = [
                float(model(tokens, labels=labelled(tokens, len(prompt))).loss)
                for model in (pair.student, pair.teacher)
            ]
        gains.append(nll[0] - nll[1])
    assert min(gains) > 0 and sum(gains) / len(gains) > 0.2


def labelled(tokens, start: int):
    return tokens.masked_fill(torch.arange(tokens.shape[1]) < start, -100)


def test_a_step_trains_an_adapter_on_the_shared_base(tmp_path):
    config = ScopeConfig(
        pair="smollm2",
        method="opd",
        steps=1,
        prompts_per_step=1,
        rollouts_per_prompt=2,
        max_new_tokens=16,
        eval_problems=0,
        lora_rank=4,
        learning_rate=1e-3,
        device="cpu",
        out=str(tmp_path / "run"),
    )
    ScopeTrainer(config).train()
    (line,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert line["teacher_scored"] == 2 and line["grad_norm"] > 0
    assert line["sampler_gap"] < 1e-3 and line["reverse_kl"] != 0


def test_rollouts_of_both_models_are_recorded(tmp_path):
    out = tmp_path / "rollouts.parquet"
    command = ["rollout", "--pair", "smollm2", "--problems", "1", "--samples", "2", "--max-new-tokens", "12"]
    assert main([*command, "--device", "cpu", "--out", str(out)]) == 0
    rollouts = Rollouts.load(out)
    assert (rollouts.student, rollouts.teacher) == ("smollm2-135m", "smollm2-teacher")
    assert torch.isfinite(rollouts.teacher_logp_BT[rollouts.mask_BT]).all()
    assert not torch.equal(rollouts.teacher_logp_BT, rollouts.student_logp_BT)
