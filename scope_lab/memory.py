"""What a step holds of a device's memory, in bytes by part, at the moments when most is held; and whether it fits.

Formulas stand at the functions. Tests compare them with what PyTorch saves and allocates on small models.
"""

from collections.abc import Callable
from dataclasses import replace

from .architectures import Architecture
from .cost import Setup, Work, cache_bytes, cache_size, sampler
from .vocabulary import LOGITS_AT_A_TIME

# Kept free for the CUDA context, temporary tensors and fragmentation.
KEPT_FREE = 0.1


def activation_bytes(setup: Setup, tokens: float, length: float) -> float:
    """What the layers keep for the backward pass, for `tokens` in rows of `length`.

    A token of a layer, with a = attention_width, k = kv_width, f = mlp_width, h = hidden, in bytes:
    float32  24 h + 16 a + 16 f + 4 length + 4 heads + 8, with normed heads also 8 (a + k) + 4 (heads + kv heads)
    mixed    26 h +  8 a +  8 f + 2 length + 4 heads + 8, with normed heads also 6 (a + k) + 4 (heads + kv heads)
    of which `length` is the row of the attention mask. Checkpointing keeps 4 h a layer, and all of this of one layer at
    a time. After the layers: 8 h + 4.
    """
    model = setup.student
    h, a, k, f = model.hidden, model.attention_width, model.kv_width, model.mlp_width
    normed, fixed = model.normed_heads, 4 * model.heads + 8
    if setup.mixed:
        layer = 26 * h + 8 * a + 8 * f + 2 * length + normed * 6 * (a + k) + fixed
    else:
        layer = 24 * h + 16 * a + 16 * f + 4 * length + normed * 8 * (a + k) + fixed
    layer += normed * 4 * model.heads * (1 + k / a)
    layers = layer + 4 * h * model.layers if setup.gradient_checkpointing else layer * model.layers
    return tokens * (layers + 8 * h + 4)


def passing_bytes(setup: Setup, tokens: float) -> float:
    """tokens · (12 f + 8 h), mixed tokens · (6 f + 8 h): gradients on their way back through one layer."""
    return tokens * ((6 if setup.mixed else 12) * setup.student.mlp_width + 8 * setup.student.hidden)


def logits_bytes(model: Architecture, kind: str, tokens: float) -> float:
    """12 bytes a logit, as three float32 copies, of those that exist at a time (scope_lab.vocabulary)."""
    return 12 * min(LOGITS_AT_A_TIME[kind], tokens * model.vocabulary)


def memory(setup: Setup, work: Work) -> dict[str, dict[str, float]]:
    """Bytes by part, of the moments when most is held: "generation", "update" and, of several devices, "exchange".

    always      student weights, and a reference copy, 4 N each (mixed and an adapter's base: 2 N); optimizer state
                8 · trained parameters (AdamW's two moments); teacher weights, if "here", 2 N_T (mixed) or 4 N_T
    generation  KV cache, `cost.cache_bytes` a number (`cost.cache_size`), of `sequences_per_batch` rows, all of
                prompt + longest response, an evaluation's too; logits of one token a row
    update      gradients 4 · trained parameters; activations of a micro-batch (`activation_bytes`) and their gradients
                (`passing_bytes`); a chunk of logits (`logits_bytes`)
    vLLM        always holds `engine_memory` of the device, with its cache and its copy of the weights
    mixed       where all weights train also autocast's bfloat16 copies: 2 bytes a weight that a token is multiplied by
    devices     N > 1 (FSDP2) hold 1/N each of student weights, optimizer state and gradients, and instead of autocast's
                copies all weights whole in the precision of the arithmetic, 2 bytes (float32: 4) each
    exchange    when the backward pass is over and gradients are added up over devices, they, and no longer the weights,
                are whole in that precision and once more as float32
    """
    student, work, n = setup.student, setup.share(work), setup.devices
    weights = float(setup.base_bytes * student.parameters)
    base = {"student weights": weights / n, "optimizer state": 8.0 * setup.trainable / n}
    if setup.lora_rank:
        base["student weights"] += 4 * setup.trainable / n
    computed_in = 2.0 if setup.mixed else 4.0
    if setup.reference:
        base["reference weights"] = weights
    if setup.teacher and setup.teacher_at == "here":
        base["teacher weights"] = computed_in * setup.teacher.parameters
    if setup.engine == "vllm":
        base["vLLM"] = setup.engine_memory * setup.device.memory
    longest = work.prompt_tokens + work.longest
    copies = 2.0 * (student.active + student.head) if setup.mixed and n == 1 and not setup.lora_rank else 0.0
    rows, writer = min(setup.sequences_per_batch, work.rollouts), sampler(setup, work)
    longest_sampled = work.prompt_tokens + max(work.longest, work.eval_longest)
    generation = {
        "KV cache": float(cache_bytes(setup, work)) * rows * longest_sampled * cache_size(writer),
        "logits": 16.0 * rows * writer.vocabulary,
        "bfloat16 copies": copies,
    }
    if setup.engine == "vllm":
        generation = {}
    tokens = min(
        max(setup.tokens_per_microbatch, longest),
        max(work.updated * work.rollouts, 1) * (work.prompt_tokens + work.response_tokens),
    )
    gradients = 4.0 * setup.trainable / n
    update = {
        "gradients": gradients,
        "activations": activation_bytes(setup, tokens, min(longest, tokens)) + passing_bytes(setup, tokens),
        "logits": logits_bytes(student, setup.device.kind, tokens),
        "bfloat16 copies": copies,
    }
    whole = {"whole weights": computed_in * student.parameters if n > 1 else 0.0}
    moments = {"generation": {**base, **whole, **generation}, "update": {**base, **whole, **update}}
    if n > 1:
        moments["exchange"] = {**base, "gradients": gradients, "whole gradients": (computed_in + 4) * setup.trainable}
    return {moment: {part: size for part, size in parts.items() if size} for moment, parts in moments.items()}


def peak(parts: dict[str, dict[str, float]]) -> tuple[str, float]:
    """The moment that holds most, and its bytes."""
    moment = max(parts, key=lambda name: sum(parts[name].values()))
    return moment, sum(parts[moment].values())


def fits(setup: Setup, work: Work, moment: str | None = None) -> bool:
    """Whether a moment, by default the fullest, leaves a tenth of the device's memory free."""
    parts = memory(setup, work)
    held = sum(parts[moment].values()) if moment else peak(parts)[1]
    return held <= (1 - KEPT_FREE) * setup.device.memory


def remedies(setup: Setup, work: Work) -> list[Setup]:
    """The same with settings changed so that it fits: by one change each, where one is enough; else by several.

    Empty where it fits already, and where nothing that the trainer can set is enough.
    """

    def smaller(name: str, moment: str) -> Callable[[Setup], Setup]:
        def halve(now: Setup) -> Setup:
            while not fits(now, work, moment) and getattr(now, name) > 1:
                now = replace(now, **{name: getattr(now, name) // 2})
            return now

        return halve

    changes: list[Callable[[Setup], Setup]] = [
        lambda now: replace(now, gradient_checkpointing=True),
        smaller("sequences_per_batch", "generation"),
        smaller("tokens_per_microbatch", "update"),
        lambda now: replace(now, lora_rank=now.lora_rank or 16),
        lambda now: replace(now, teacher_at="elsewhere"),
    ]
    if fits(setup, work):
        return []
    if alone := [new for new in (change(setup) for change in changes) if fits(new, work)]:
        return alone
    for change in (changes[0], *changes[3:]):  # what cannot be halved first, then as little halving as is needed
        setup = change(setup)
        new = changes[2](changes[1](setup))
        if fits(new, work):
            return [new]
    return []
