"""Prompts that come several times are read once: the same log-probs, the same gradient, fewer tokens."""

import copy

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from scope_lab import prefix
from scope_lab.logprobs import masked_mean, response_logprobs
from scope_lab.prefix import shared_prompts


@pytest.fixture
def inputs(rollouts):
    return rollouts.model_input(range(len(rollouts)))  # 6 prompts of several lengths, 8 rollouts each


def scored(model, inputs):
    model.zero_grad()
    logp_BT = response_logprobs(model, inputs.tokens_BL, inputs.attention_BL, inputs.n_response, 0.7)
    masked_mean(logp_BT * torch.linspace(-1, 2, logp_BT.shape[1]), inputs.mask_BT, 1.0).backward()
    return logp_BT.detach()[inputs.mask_BT], torch.cat([p.grad.flatten() for p in model.parameters()])


def tokens_read(model) -> list[int]:
    """Grows by the tokens of every pass through the layers."""
    read: list[int] = []
    model.get_decoder().register_forward_pre_hook(
        lambda module, inputs, named: read.append(named["input_ids"].numel()), with_kwargs=True
    )
    return read


def test_logprobs_and_gradient_are_those_of_whole_rows(student, inputs, monkeypatch):
    model = copy.deepcopy(student).double().train()
    read = tokens_read(model)
    shared = scored(model, inputs)
    n_shared = sum(read)
    monkeypatch.setattr(prefix, "WORTH_IT", 0.0)
    whole = scored(model, inputs)
    torch.testing.assert_close(shared[0], whole[0], atol=1e-6, rtol=0)  # its norms are in single precision
    assert (shared[1] - whole[1]).norm() < 1e-6 * whole[1].norm()
    assert n_shared < 0.8 * (sum(read) - n_shared)


def test_with_an_adapter_too(student, inputs, monkeypatch):
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    model = peft.get_peft_model(copy.deepcopy(student), settings).train()
    read, found = tokens_read(model), []
    for worth_it in (0.8, 0.0):
        monkeypatch.setattr(prefix, "WORTH_IT", worth_it)
        with torch.no_grad():
            found.append(response_logprobs(model, inputs.tokens_BL, inputs.attention_BL, inputs.n_response))
    torch.testing.assert_close(found[0][inputs.mask_BT], found[1][inputs.mask_BT], atol=1e-4, rtol=0)
    assert sum(read[:-1]) < 0.8 * read[-1]


def test_nothing_is_shared_where_little_is_saved_or_a_model_cannot_be_entered(student, inputs):
    tokens_BL, attention_BL, T = inputs.tokens_BL, inputs.attention_BL, inputs.n_response
    model = copy.deepcopy(student)
    assert shared_prompts(model, tokens_BL, attention_BL, T) is not None
    one_each = slice(0, None, 8)
    assert shared_prompts(model, tokens_BL[one_each], attention_BL[one_each], T) is None
    assert shared_prompts(torch.nn.Sequential(model), tokens_BL, attention_BL, T) is None
    model.gradient_checkpointing_enable()
    assert shared_prompts(model.train(), tokens_BL, attention_BL, T) is None
    assert shared_prompts(model.eval(), tokens_BL, attention_BL, T) is not None


@pytest.mark.parametrize("window", [8, 100])
def test_attention_within_a_window_is_the_same_too(inputs, monkeypatch, window):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64, "intermediate_size": 48}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": window}
    model = Gemma2ForCausalLM(Gemma2Config(**sizes, **heads)).train()
    read = tokens_read(model)
    shared = scored(model, inputs)
    n_shared = sum(read)
    monkeypatch.setattr(prefix, "WORTH_IT", 0.0)
    whole = scored(model, inputs)
    torch.testing.assert_close(shared[0], whole[0], atol=1e-5, rtol=0)
    assert (shared[1] - whole[1]).norm() < 1e-5 * whole[1].norm()
    assert n_shared < 0.8 * (sum(read) - n_shared)


def test_gradient_is_the_same_every_time_on_several_threads(student, rollouts):
    inputs = rollouts.model_input([*range(len(rollouts))] * 8)  # enough that threads share a sum
    model, threads = copy.deepcopy(student).train(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _, first = scored(model, inputs)
        again = [scored(model, inputs)[1] for _ in range(10)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, gradient) for gradient in again)
