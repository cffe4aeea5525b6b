"""Bytes of a step: exactly what PyTorch saves for the backward pass and in its cache, nearly what it allocates."""

from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState
from torch.profiler import ProfilerActivity, profile
from transformers import AutoConfig, AutoModelForCausalLM

from scope_lab import ScopeConfig, ScopeTrainer, prefix
from scope_lab.architectures import architecture, count
from scope_lab.cost import Setup, Work, cache_bytes, cache_size
from scope_lab.devices import DEVICES, GIB, Device
from scope_lab.errors import InputError
from scope_lab.estimate import setup_from
from scope_lab.memory import activation_bytes, fits, memory, peak, remedies
from scope_lab.update import update_policy

CPU = Device("cpu", 1e11, 1e10, 8 * GIB, 1e-4, "cpu")
LARGE = Setup(architecture("qwen3-1.7b"), architecture("qwen3-8b"), DEVICES["h100"])
SHORT = Work(prompts=32, response_tokens=800, longest=2048)


def tiny(kind: str, layers: int):
    sizes = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2}
    return AutoConfig.for_model(kind, **sizes, num_hidden_layers=layers, head_dim=32, vocab_size=50)


def saved_bytes(model, mixed: bool, rows: int, length: int) -> int:
    """Bytes that the decoder keeps for the backward pass, without the weights and autocast's copies of them."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    shapes = {p.shape for p in model.parameters()} | {p.T.shape for p in model.parameters() if p.ndim == 2}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor):
        at = tensor.untyped_storage().data_ptr()
        if at not in weights and not (mixed and tensor.shape in shapes):
            kept[at] = tensor
        return tensor

    model.train()
    attention = torch.ones(rows, length).long()
    attention[:, :3] = 0  # as in a batch of prompts of different lengths
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        model.get_decoder()(torch.zeros((rows, length), dtype=torch.long), attention_mask=attention, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "mixed"])
def test_a_layer_keeps_what_the_formula_says(kind, mixed):
    rows, length, found = 3, 40, []
    for layers in (2, 5):
        config = tiny(kind, layers)
        found.append(saved_bytes(AutoModelForCausalLM.from_config(config), mixed, rows, length))
    sizes = [Setup(count("tiny", tiny(kind, layers)), None, CPU, mixed=mixed) for layers in (2, 5)]
    predicted = [activation_bytes(setup, rows * length, length) for setup in sizes]
    assert found[1] - found[0] == pytest.approx(predicted[1] - predicted[0], rel=1e-6)
    assert found[1] == pytest.approx(predicted[1], rel=0.02)


def test_checkpointing_keeps_the_inputs_of_layers():
    found = []
    for layers in (2, 5):
        model = AutoModelForCausalLM.from_config(tiny("llama", layers))
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        found.append(saved_bytes(model, False, 3, 40))
    assert found[1] - found[0] == 3 * 4 * 64 * 3 * 40


@pytest.mark.parametrize("lora_rank", [0, 4])
@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "mixed"])
def test_a_number_in_the_cache_takes_what_is_said_under_autocast_too(mixed, lora_rank):
    config = tiny("qwen3", 2)
    setup = Setup(count("tiny", config), None, CPU, mixed=mixed, lora_rank=lora_rank)
    model = AutoModelForCausalLM.from_config(config).eval()
    if setup.base_bytes == 2:
        model = model.to(torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        cache = model(torch.zeros((2, 7), dtype=torch.long), use_cache=True).past_key_values
    held = sum(x.nbytes for layer in cache.layers for x in (layer.keys, layer.values))
    assert held == cache_bytes(setup, Work()) * 2 * 7 * cache_size(setup.student)


def allocated_peak(run) -> int:
    """Most bytes that `run` held at a time, beyond what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = torch.tensor([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]).cumsum(0)
    return int(held.max())


@pytest.mark.parametrize(
    "settings",
    [{}, {"gradient_checkpointing": True}, {"precision": "bf16"}, {"tokens_per_microbatch": 2048}],
    ids=lambda settings: " ".join(settings) or "plain",
)
def test_a_real_step_allocates_what_is_predicted(settings, monkeypatch):
    monkeypatch.setattr(prefix, "WORTH_IT", 0.0)  # every row with its own prompt: the most that it can take
    AcceleratorState._reset_state(True)  # one precision a process, says accelerate
    config = ScopeConfig(
        pair="countdown", prompts_per_step=32, rollouts_per_prompt=8, temperature=1.0, eval_problems=0,
        train_problems=100, device="cpu", **settings,
    )  # fmt: skip
    trainer = ScopeTrainer(config, progress=False)
    trainer.train_step()
    batch = trainer.last_batch
    measured = {
        "update": allocated_peak(
            lambda: update_policy(
                trainer.student, trainer.optimizer, trainer.accelerator, trainer.config, trainer.spec, batch
            )
        ),
        "generation": allocated_peak(lambda: trainer.sample_rollouts(trainer.step_problems())),
    }
    AcceleratorState._reset_state(True)
    lengths = batch.rollouts.length_B.float()
    prompts = [len(prompt) for prompt in batch.rollouts.prompt_tokens]
    work = Work(
        prompts=32, prompt_tokens=sum(prompts) / 32, response_tokens=float(lengths.mean()), longest=float(lengths.max())
    )
    parts = memory(setup_from(config, CPU), work)
    there = {"student weights", "optimizer state", "teacher weights"}
    for moment, found in measured.items():
        predicted = sum(size for part, size in parts[moment].items() if part not in there)
        assert 0.75 < predicted / found < 1.25, (moment, predicted, found)


def test_parts_by_hand():
    parts = memory(replace(LARGE, gradient_checkpointing=True), SHORT)
    n, teacher = LARGE.student.parameters, LARGE.teacher.parameters
    for moment in parts.values():
        assert moment["student weights"] == 4 * n and moment["optimizer state"] == 8 * n
        assert moment["teacher weights"] == 2 * teacher
    assert parts["update"]["gradients"] == 4 * n and "gradients" not in parts["generation"]
    assert parts["generation"]["KV cache"] == 4 * 256 * (200 + 2048) * 2 * 28 * 1024
    assert parts["update"]["logits"] == 12 * 2**28
    moment, most = peak(parts)
    assert moment == "generation" and most == sum(parts["generation"].values())


def test_settings_change_the_parts_that_they_should():
    whole = memory(LARGE, SHORT)
    lora = memory(replace(LARGE, lora_rank=16), SHORT)
    assert lora["update"]["gradients"] == 4 * 16 * LARGE.student.linear_width
    assert lora["update"]["optimizer state"] < whole["update"]["optimizer state"] / 50
    n, trained = LARGE.student.parameters, 16 * LARGE.student.linear_width
    assert lora["update"]["student weights"] == 2 * n + 4 * trained and "bfloat16 copies" not in lora["update"]
    assert lora["generation"]["KV cache"] == whole["generation"]["KV cache"] / 2
    assert memory(replace(LARGE, lora_rank=16, mixed=False), SHORT)["update"]["student weights"] == 4 * (n + trained)
    checkpointed = memory(replace(LARGE, gradient_checkpointing=True), SHORT)
    assert checkpointed["update"]["activations"] < whole["update"]["activations"] / 5
    assert checkpointed["generation"] == whole["generation"]
    for place in ("adapter", "elsewhere"):
        assert "teacher weights" not in memory(replace(LARGE, teacher_at=place), SHORT)["update"]
    assert "reference weights" in memory(replace(LARGE, reference=True), SHORT)["update"]
    assert "bfloat16 copies" not in memory(replace(LARGE, mixed=False), SHORT)["update"]
    vllm = memory(replace(LARGE, engine="vllm", engine_memory=0.25), SHORT)
    assert all(parts.pop("vLLM") == LARGE.device.memory / 4 for parts in vllm.values())
    assert vllm["update"] == whole["update"] and vllm["generation"].keys() < whole["generation"].keys()
    few = memory(replace(LARGE, sequences_per_batch=8), SHORT)["generation"]["KV cache"]
    assert few == whole["generation"]["KV cache"] / 32


@pytest.mark.parametrize("mixed, size", [(True, 2), (False, 4)], ids=["mixed", "float32"])
def test_several_devices_hold_shards_and_whole_what_they_compute_with(mixed, size):
    one, eight = (memory(replace(LARGE, devices=n, mixed=mixed), replace(SHORT, prompts=4 * n)) for n in (1, 8))
    n = LARGE.student.parameters
    assert set(one) == {"generation", "update"} and set(eight) == {*one, "exchange"}
    for name, moment in eight.items():
        assert (moment["student weights"], moment["optimizer state"]) == (4 * n / 8, 8 * n / 8)
        assert moment.get("whole weights", 0) == (size * n if name != "exchange" else 0)
        assert moment["teacher weights"] == size * LARGE.teacher.parameters
        assert "bfloat16 copies" not in moment
    assert eight["update"]["gradients"] == eight["exchange"]["gradients"] == 4 * n / 8
    assert eight["exchange"]["whole gradients"] == (size + 4) * n
    for part in ("activations", "logits"):
        assert eight["update"][part] == one["update"][part]
    assert eight["generation"]["KV cache"] == one["generation"]["KV cache"]  # of 32 rollouts each


def test_what_does_not_fit_gets_advice_that_does():
    assert not fits(LARGE, SHORT)
    found = remedies(LARGE, SHORT)
    assert found and all(fits(new, SHORT) for new in found)
    assert remedies(found[0], SHORT) == []


def test_one_change_where_one_is_enough():
    setup = replace(LARGE, gradient_checkpointing=True, sequences_per_batch=256)
    changed = [new.sequences_per_batch for new in remedies(setup, SHORT)]
    assert changed == [64]


def test_nothing_is_promised_where_nothing_helps():
    huge = replace(LARGE, student=architecture("qwen3-8b"), device=DEVICES["l4"], reference=True)
    assert remedies(huge, SHORT) == []


def test_kd_keeps_the_teachers_cache():
    ours, theirs = (memory(LARGE, replace(SHORT, method=m))["generation"]["KV cache"] for m in ("psr", "kd"))
    assert theirs / ours == pytest.approx(36 / 28 / 2)  # more layers, and bfloat16
    with pytest.raises(InputError):
        memory(replace(LARGE, teacher=None), replace(SHORT, method="kd"))
