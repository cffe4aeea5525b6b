"""Sizes from configs: parameters as model cards print them, FLOP as PyTorch counts them, models refused in one line."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from scope_lab.architectures import CONFIGS, architecture, attended_pairs, count
from scope_lab.devices import DEVICES, Device, device, probe
from scope_lab.errors import InputError
from scope_lab.models import load_model

# What the hub shows for the safetensors of each.
PARAMETERS = {
    "smollm2-135m": 134_515_008,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "r1-distill-qwen-1.5b": 1_777_088_000,
    "r1-distill-qwen-7b": 7_615_616_512,
}
TINY = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 50,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_model_card(name):
    assert architecture(name).parameters == PARAMETERS[name]


@pytest.mark.parametrize(
    "hub_id, name",
    [
        ("Qwen/Qwen3-1.7B-Base", "qwen3-1.7b"),
        ("Qwen/Qwen3-8B", "qwen3-8b"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "r1-distill-qwen-1.5b"),
        ("Skywork/Skywork-OR1-7B", "r1-distill-qwen-7b"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m"),
        ("Qwen/Qwen2.5-1.5B-Instruct", "qwen2.5-1.5b"),
        ("meta-llama/Llama-3.2-1B", "llama-3.2-1b"),
    ],
)
def test_hub_ids_of_known_models_are_found_without_a_download(hub_id, name):
    assert architecture(hub_id) == architecture(name)


def test_a_bundled_model_has_its_own_parameters():
    model = load_model("countdown-teacher", device="cpu")
    sizes = architecture("countdown-teacher")
    assert sizes.parameters == sum(p.numel() for p in model.parameters())
    assert sizes.active + sizes.head == sizes.parameters - sum(p.numel() for p in model.parameters() if p.ndim == 1)


def test_an_adapter_has_the_sizes_of_its_base(tmp_path):
    settings = {"base_model_name_or_path": "smollm2-135m", "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    assert architecture(str(tmp_path)) == architecture("smollm2-135m")


def test_a_folder_with_a_config_needs_no_weights(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3", **TINY}))
    sizes = architecture(str(tmp_path))
    assert (sizes.layers, sizes.hidden, sizes.attention_width, sizes.kv_width) == (2, 64, 128, 64)
    assert sizes.mlp_width == 160 and sizes.normed_heads and sizes.vocabulary == 50


def test_a_hub_id_whose_config_is_in_the_cache_is_known(tmp_path, monkeypatch):
    repository = tmp_path / "models--somebody--tiny-1b"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc" / "config.json").write_text(json.dumps({"model_type": "qwen3", **TINY}))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert architecture("somebody/tiny-1b").hidden == TINY["hidden_size"]


def test_of_a_mixture_only_the_chosen_experts_are_active():
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "decoder_sparse_step": 1}
    sizes = count("tiny", AutoConfig.for_model("qwen3_moe", **TINY, **experts))
    attention = 64 * (128 + 64 + 64) + 128 * 64
    router, expert = 8 * 64, 3 * 64 * 48
    assert sizes.active == 2 * (attention + router + 2 * expert)
    assert sizes.parameters > 2 * 8 * expert


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_flop_of_a_forward_pass_are_those_that_pytorch_counts(kind):
    config = AutoConfig.for_model(kind, **TINY, tie_word_embeddings=True, attn_implementation="eager")
    model, tokens = AutoModelForCausalLM.from_config(config), torch.zeros((3, 20), dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(tokens, use_cache=False)
    # Eager attention computes the masked half too.
    predicted = count("tiny", config).forward_flops(60, 3 * 20 * 20, 60)
    # Tables of positions, and nothing else, are beside it.
    assert counter.get_total_flops() == pytest.approx(predicted, rel=0.01)


def test_attended_pairs_by_hand():
    assert attended_pairs(0, 3) == 1 + 2 + 3
    assert attended_pairs(3, 5) == 4 + 5
    assert attended_pairs(4, 4) == 0


def test_lora_parameters_are_those_that_peft_adds():
    peft = pytest.importorskip("peft")
    assert peft
    from scope_lab.models import with_adapter

    model = with_adapter(load_model("countdown-student", device="cpu"), 4, 8)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert architecture("countdown-student").lora_parameters(4) == trained


@pytest.mark.parametrize(
    "name, words",
    [
        ("somebody/unheard-of-3b", "the sizes of somebody/unheard-of-3b are not known here; accepted a folder"),
        ("./nowhere", "not a folder"),
    ],
)
def test_unknown_models_are_refused_in_one_line(name, words):
    with pytest.raises(InputError, match=words):
        architecture(name)


@pytest.mark.parametrize("text, words", [("{", "cannot be read"), ('{"model_type": "vit"}', "causal language model")])
def test_configs_that_are_none_are_refused(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=words) as error:
        architecture(str(tmp_path))
    assert "\n" not in str(error.value)


def test_devices_by_name():
    assert device("h100") is DEVICES["h100"]
    with pytest.raises(InputError, match="accepted h100, a100-80"):
        device("abacus")


def test_a_probe_measures_in_the_time_it_is_given():
    probe("cpu", seconds=0.03)
    here = probe("cpu", seconds=0.15)
    assert isinstance(here, Device) and here.kind == "cpu" and "thread" in here.name
    assert 1e9 < here.flops < 1e13 and 1e8 < here.bandwidth < 1e12
    assert 1e-6 < here.layer_seconds < 0.1 and here.memory > 2**30
