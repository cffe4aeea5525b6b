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
