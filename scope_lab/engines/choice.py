"""The engine that a run's settings ask for."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

from ..config import ScopeConfig
from . import Engine
from .transformers import TransformersEngine


def engine_of(
    config: ScopeConfig,
    model,
    tokenizer,
    *,
    longest: int,
    dtype: str,
    autocast: Callable[[], AbstractContextManager],
    several_ranks: bool = False,
) -> Engine:
    """What samples from `model` in this run: `config.engine`.

    longest         tokens of the longest prompt and response that are expected
    dtype           "float32" or "bfloat16": what the student computes in
    autocast        makes the context in which the student computes
    several_ranks   whether this process is one of several that a launcher started

    Raises InputError where vLLM is asked for and is not installed, or does not start.
    """
    if config.engine == "transformers":
        return TransformersEngine(model, tokenizer, config.sequences_per_batch, autocast)
    from .vllm import VllmEngine

    context = getattr(model.config, "max_position_embeddings", None) or math.inf
    return VllmEngine(
        model,
        tokenizer,
        dtype=dtype,
        context=int(min(longest, context)),
        sequences=config.sequences_per_batch,
        memory=config.engine_memory,
        logp_at_one=(config.logprob_temperature or config.temperature) == 1,
        several_ranks=several_ranks,
    )
