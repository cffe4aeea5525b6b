"""What of a model its cost depends on, from its Hugging Face config alone: no weights are loaded, none downloaded."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .errors import InputError
from .models import adapter_base, resolve


def _config(model_type: str, hidden: int, mlp: int, layers: int, heads: int, kv_heads: int, vocabulary: int, **more):
    return {
        "model_type": model_type,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        **more,
    }


def _qwen3(hidden: int, mlp: int, layers: int, heads: int, tied: bool) -> dict:
    fixed = {"head_dim": 128, "max_position_embeddings": 40_960, "tie_word_embeddings": tied}
    return _config("qwen3", hidden, mlp, layers, heads, 8, 151_936, **fixed)


_R1 = {"max_position_embeddings": 131_072, "tie_word_embeddings": False}
_SMOL = {"max_position_embeddings": 8_192, "tie_word_embeddings": True}
_QWEN25 = {"max_position_embeddings": 32_768, "tie_word_embeddings": True}
_LLAMA32 = {"max_position_embeddings": 131_072, "tie_word_embeddings": True}

# From the public model cards; a test holds their numbers of parameters.
CONFIGS = {
    "smollm2-135m": _config("llama", 576, 1_536, 30, 9, 3, 49_152, **_SMOL),
    "qwen2.5-0.5b": _config("qwen2", 896, 4_864, 24, 14, 2, 151_936, **_QWEN25),
    "qwen2.5-1.5b": _config("qwen2", 1536, 8_960, 28, 12, 2, 151_936, **_QWEN25),
    "qwen2.5-3b": _config("qwen2", 2048, 11_008, 36, 16, 2, 151_936, **_QWEN25),
    "qwen2.5-7b": _config("qwen2", 3584, 18_944, 28, 28, 4, 152_064, **{**_QWEN25, "tie_word_embeddings": False}),
    "llama-3.2-1b": _config("llama", 2048, 8_192, 16, 32, 8, 128_256, **_LLAMA32),
    "llama-3.2-3b": _config("llama", 3072, 8_192, 28, 24, 8, 128_256, **_LLAMA32),
    "qwen3-0.6b": _qwen3(1024, 3_072, 28, 16, tied=True),
    "qwen3-1.7b": _qwen3(2048, 6_144, 28, 16, tied=True),
    "qwen3-4b": _qwen3(2560, 9_728, 36, 32, tied=True),
    "qwen3-8b": _qwen3(4096, 12_288, 36, 32, tied=False),
    "r1-distill-qwen-1.5b": _config("qwen2", 1536, 8_960, 28, 12, 2, 151_936, **_R1),
    "r1-distill-qwen-7b": _config("qwen2", 3584, 18_944, 28, 28, 4, 152_064, **_R1),
}
# Models that are built the same: the last part of a hub id, lower case.
SAME = {"skywork-or1-7b": "r1-distill-qwen-7b"}


@dataclass(frozen=True)
class Architecture:
    """A decoder's sizes. Parameters are counted on the meta device, where a tensor has a shape and no memory.

    layers, hidden, heads, vocabulary  as in its config
    attention_width, kv_width          query heads × head size, key-value heads × head size
    mlp_width                          inner width of the MLP that a token passes, its chosen experts together
    parameters                         all of them; tied embeddings once
    active                             those of the layers that a token is multiplied with (chosen experts only)
    linear_width                       inputs + outputs of the layers' linear modules
    normed_heads                       whether queries and keys have a norm of their own (Qwen3)
    context                            longest sequence, or None
    """

    name: str
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    attention_width: int
    kv_width: int
    mlp_width: int
    parameters: int
    active: int
    linear_width: int
    normed_heads: bool
    context: int | None

    @property
    def head(self) -> int:
        """hidden × vocabulary: parameters of the output layer, whether tied to the embeddings or not."""
        return self.hidden * self.vocabulary

    def lora_parameters(self, rank: int) -> int:
        """rank × linear_width: two thin matrices beside every linear module of the layers."""
        return rank * self.linear_width

    def forward_flops(self, tokens: float, pairs: float, scored: float) -> float:
        """2 active tokens + 4 layers attention_width pairs + 2 head scored: FLOP of a forward pass.

        tokens read, pairs of a token and one that it looks at (`attended_pairs`), and tokens whose logits are computed
        """
        return 2 * self.active * tokens + 4 * self.layers * self.attention_width * pairs + 2 * self.head * scored


def attended_pairs(start: float, stop: float) -> float:
    """Σ (t + 1) over positions t = start … stop − 1: how many tokens those of a sequence look at, themselves too."""
    return (stop * (stop + 1) - start * (start + 1)) / 2


def architecture(name: str) -> Architecture:
    """Of a bundled or fetched model, a folder with config.json, a name in CONFIGS or the hub id of one of those.

    A LoRA adapter has its base's. Another hub id works where Hugging Face's cache holds its config.json.
    Raises InputError otherwise, and for a config that is not a causal language model's.
    """
    known = re.sub(r"^deepseek-|-(base|instruct)$", "", name.split("/")[-1].lower())
    known = SAME.get(known, known)
    if known in CONFIGS and not Path(name).exists():
        return _counted(known, known)
    source = resolve(name)
    base = adapter_base(name)
    return architecture(base) if base else _counted(name, source)


@lru_cache(maxsize=32)
def _counted(name: str, source: str) -> Architecture:
    return count(name, _read_config(name, source))


def _read_config(name: str, source: str):
    from transformers import AutoConfig

    if source in CONFIGS:
        return AutoConfig.for_model(**CONFIGS[source])
    try:
        return AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # every library under it has its own way to say that a file is not what it should be
        if Path(source).is_dir():
            reason = " ".join(str(error).split())[:160]
            raise InputError(f"model: {name}: its config.json cannot be read by transformers ({reason})") from None
        accepted = f"a folder with its config.json, or {', '.join(CONFIGS)}, or a model in Hugging Face's cache"
        fetch = f" (`hf download {name} config.json` puts it there)" if "/" in name else ""
        raise InputError(f"model: the sizes of {name} are not known here; accepted {accepted}{fetch}") from None


def count(name: str, config) -> Architecture:
    """The same from a config in memory. Raises InputError where it makes no causal language model."""
    import torch
    from transformers import AutoModelForCausalLM

    config = config.get_text_config(decoder=True)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except ValueError:
        raise InputError(f"model: {name} is a {config.model_type}, accepted a causal language model") from None
    experts = getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None) or 1
    chosen = (getattr(config, "num_experts_per_tok", None) or experts) / experts
    outside = {id(m.weight) for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m is not None}
    inside = {n: p for n, p in model.named_parameters() if p.ndim > 1 and id(p) not in outside}
    active = {n: p.numel() * (chosen if ".experts." in n else 1) for n, p in inside.items()}
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and id(m.weight) not in outside]
    heads, hidden, layers = config.num_attention_heads, config.hidden_size, config.num_hidden_layers
    head_size = getattr(config, "head_dim", None) or hidden // heads
    mlp = sum(size for n, size in active.items() if ".mlp." in n)
    return Architecture(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        vocabulary=config.vocab_size,
        attention_width=heads * head_size,
        kv_width=(getattr(config, "num_key_value_heads", None) or heads) * head_size,
        mlp_width=round(mlp / (3 * hidden * layers)),  # gate, up and down
        parameters=sum(p.numel() for p in model.parameters()),
        active=round(sum(active.values())),
        linear_width=sum(m.in_features + m.out_features for m in linear),
        normed_heads=any(n.endswith("q_norm.weight") for n, _ in model.named_parameters()),
        context=getattr(config, "max_position_embeddings", None),
    )
