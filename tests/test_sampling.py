"""Prompts that are sampled several times are read once, and nothing that is sampled changes by it."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, MambaConfig, MambaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from scope_lab.engines import transformers as engine
from scope_lab.engines.transformers import continue_tokens
from scope_lab.models import with_adapter
from scope_lab.rollouts import Sampling

SIZES = {"hidden_size": 32, "num_hidden_layers": 4, "vocab_size": 47, "eos_token_id": 2, "pad_token_id": 0}
HEADS = {"intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
# Gemma 2 has a sliding window (here shorter than a prompt) on every other layer, and caps its logits.
MODELS = {
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, **HEADS)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, **HEADS, sliding_window=6)),
    "mamba": lambda: MambaForCausalLM(MambaConfig(**SIZES, state_size=4)),
    "lora": lambda: with_adapter(Qwen3ForCausalLM(Qwen3Config(**SIZES, **HEADS)), rank=4, alpha=8),
}
PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13], [20, 21], [30], [40, 41, 42, 43, 44]]


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(1)
    made = MODELS[request.param]()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim > 1 or "lora" in name:
                parameter.normal_(std=0.3)
    return made.eval()


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_shared_prompt_changes_no_sample(model, tokenizer, monkeypatch, repeats):
    prompts = [prompt for prompt in PROMPTS for _ in range(repeats)]
    sampling, caches = Sampling(max_new_tokens=12, seed=4), []

    def draw():
        return continue_tokens(model, tokenizer, prompts, sampling, batch_size=5)

    shared_cache = engine._shared_cache
    monkeypatch.setattr(engine, "_shared_cache", lambda *a: caches.append(shared_cache(*a)) or caches[-1])
    shared = draw()
    monkeypatch.setattr(engine, "_shared_cache", lambda *a: None)
    alone = draw()
    assert torch.equal(shared.tokens_BT, alone.tokens_BT) and torch.equal(shared.mask_BT, alone.mask_BT)
    assert (shared.logp_BT - alone.logp_BT)[shared.mask_BT].abs().max() < 1e-4
    is_shared = any(cache is not None for cache in caches)
    assert is_shared == (repeats > 1 and "Mamba" not in type(model).__name__)


def test_a_cache_reads_each_prompt_once(student, monkeypatch):
    widths = []
    student_decoder = student.get_decoder()
    handle = student_decoder.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    try:
        cache = engine._shared_cache(student, [[4, 5, 6]] * 8 + [[7, 8]] * 8, pad_id=0)
    finally:
        handle.remove()
    assert widths == [(2, 2)]
    assert cache.get_seq_length() == 2 and cache.layers[0].keys.shape[0] == 16


def test_rows_that_have_ended_are_let_go_and_no_sample_changes(model, tokenizer, monkeypatch):
    prompts, sampling = [prompt for prompt in PROMPTS for _ in range(6)], Sampling(max_new_tokens=30, seed=8)
    model.generation_config.eos_token_id = [*range(2, 9)]
    widths = []
    whole_model = getattr(model, "get_base_model", lambda: model)()
    handle = whole_model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    shrinking = continue_tokens(model, tokenizer, prompts, sampling, batch_size=24)
    assert widths[0] == 24 and widths[-1] < 12, "ended rows were computed to the last"
    widths.clear()
    monkeypatch.setattr(engine, "_keep", lambda inputs, running: False)
    whole = continue_tokens(model, tokenizer, prompts, sampling, batch_size=24)
    assert set(widths) == {24}
    handle.remove()
    assert torch.equal(shrinking.tokens_BT, whole.tokens_BT)
    assert (shrinking.logp_BT - whole.logp_BT)[whole.mask_BT].abs().max() < 1e-4


def test_a_row_is_the_same_in_whatever_batch_it_stands(student, tokenizer):
    prompts, sampling = [[4, 5, 6, 7], [8, 9]] * 5, Sampling(max_new_tokens=20, seed=2)
    drawn = [continue_tokens(student, tokenizer, prompts, sampling, batch_size=size) for size in (1, 3, 10)]
    assert torch.equal(drawn[0].tokens_BT, drawn[2].tokens_BT) and torch.equal(drawn[1].tokens_BT, drawn[2].tokens_BT)


@pytest.mark.parametrize("top_p, top_k", [(1.0, 0), (0.7, 0), (1.0, 3)])
def test_tokens_come_as_often_as_the_model_says(model, tokenizer, top_p, top_k):
    n, temperature = 6_000, 0.8
    sampling = Sampling(temperature, top_p=top_p, top_k=top_k, max_new_tokens=1, seed=5)
    drawn = continue_tokens(model, tokenizer, [PROMPTS[0]] * n, sampling, batch_size=n)
    with torch.no_grad():
        full = torch.softmax(model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1] / temperature, -1)
    order = full.argsort(descending=True)
    before = full[order].cumsum(0) - full[order]
    kept = order[(before < top_p) & (torch.arange(len(full)) < (top_k or len(full)))]
    expected = torch.zeros_like(full).index_put((kept,), full[kept] / full[kept].sum())
    found = torch.bincount(drawn.tokens_BT[:, 0], minlength=len(full)) / n
    assert ((found - expected).abs() < 5 * (expected * (1 - expected) / n).sqrt() + 1e-4).all()
    assert (drawn.logp_BT[:, 0].exp() - full[drawn.tokens_BT[:, 0]]).abs().max() < 1e-5, "of the whole distribution"
