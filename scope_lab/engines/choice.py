"""The engine that a run's settings ask for."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

from ..config import ScopeConfig
from ..tasks import Task
from . import Engine
from .transformers import TransformersEngine


def engine_of(
    config: ScopeConfig,
    model,
    tokenizer,
    task: Task,
    *,
    longest_prompt: int,
    dtype: str,
    autocast: Callable[[], AbstractContextManager],
    several_ranks: bool = False,
) -> Engine:
    """What samples from `model` in this run: `config.engine`.

    longest_prompt  tokens of the longest of those prompts that were read
    dtype           "float32" or "bfloat16": what the student computes in
    autocast        makes the context in which the student computes
    several_ranks   whether this process is one of several that a launcher started

    Raises InputError where vLLM is asked for and is not installed, or does not start.
    """
    if config.engine == "transformers":
        return TransformersEngine(model, tokenizer, task.name, config.sequences_per_batch, autocast)
    from .vllm import VllmEngine

    limit = config.max_new_tokens or task.max_new_tokens
    context = getattr(model.config, "max_position_embeddings", None) or math.inf
    return VllmEngine(
        model,
        tokenizer,
        task.name,
        dtype=dtype,
        context=int(min(2 * longest_prompt + limit, context)),  # a prompt that was not read may be longer
        sequences=config.sequences_per_batch,
        memory=config.engine_memory,
        logp_at_one=(config.logprob_temperature or config.temperature) == 1,
        several_ranks=several_ranks,
    )
