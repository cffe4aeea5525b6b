"""Sampling with `transformers`: left-padded batches, log-probabilities taken from the distribution that was sampled."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.cache_utils import DynamicLayer

from ..errors import InputError
from ..logprobs import response_mask
from ..models import stop_token_ids
from ..rollouts import Rollouts, Sampling, encode_prompts
from ..tasks import Problem
from .finished import FinishedBatches


class LogprobRecorder(LogitsProcessor):
    """Keeps the log-probability of every sampled token while generation runs, one (B, V) distribution at a time.

    `generate` calls it with raw logits and the tokens so far: the distribution of one call scores the token that the
    next call finds at the end.
    """

    def __init__(self, temperature: float):
        self.temperature = temperature
        self.log_probs_BV: Tensor | None = None
        self.columns: list[Tensor] = []

    def _score(self, tokens_B: Tensor) -> None:
        if self.log_probs_BV is not None:
            self.columns.append(self.log_probs_BV.gather(1, tokens_B[:, None]).squeeze(1))

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._score(input_ids[:, -1])
        self.log_probs_BV = torch.log_softmax(scores.float() / self.temperature, dim=-1)
        return scores

    def finish(self, tokens_BT: Tensor) -> Tensor:
        """(B, T) nats, once generation is over."""
        self._score(tokens_BT[:, -1])
        return torch.stack(self.columns, dim=1)


@contextmanager
def _own_generation_config(model):
    """`generate` fills a call's gaps from the model's own config (top-k, penalties): keep that out."""
    kept, was_training = model.generation_config, model.training
    model.generation_config = GenerationConfig()
    model.eval()
    try:
        yield
    finally:
        model.generation_config = kept
        model.train(was_training)


class Continuations(NamedTuple):
    """What a model wrote after each prompt, on the CPU, padded on the right to the longest.

    tokens_BT  (B, T) int     through the first EOS, then padding
    mask_BT    (B, T) bool    true through the first EOS
    logp_BT    (B, T) nats    of the model that wrote, at `sampling.scored_at`; NaN where masked
    ended_B    (B,)   bool    whether an EOS came within max_new_tokens
    """

    tokens_BT: Tensor
    mask_BT: Tensor
    logp_BT: Tensor
    ended_B: Tensor


@torch.no_grad()
def continue_tokens(
    model,
    tokenizer,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    *,
    batch_size: int = 256,
    progress: Callable[[Iterable], Iterable] = lambda batches: batches,
    finished: FinishedBatches | None = None,
) -> Continuations:
    """Sample one continuation of every list of token ids (a prompt, or a prompt with the start of a response).

    `batch_size` counts sequences; those that `finished` holds are read, the others are kept there as they end.
    The global random state is left as it was: `sampling.seed` alone decides.
    Raises ValueError where the longest prompt and max_new_tokens cannot fit the model's context.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    longest = max(len(prompt) for prompt in prompts)
    if context and longest + sampling.max_new_tokens > context:
        raise InputError(
            f"max_new_tokens: found {sampling.max_new_tokens} after a prompt of {longest} tokens, "
            f"accepted at most {context - longest} in this model's context of {context}"
        )
    stop_ids = stop_token_ids(model, tokenizer)
    pad_id = _pad_id(tokenizer, stop_ids)
    settings = GenerationConfig(
        do_sample=True,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=stop_ids,
        pad_token_id=pad_id,
    )
    T = sampling.max_new_tokens
    tokens_BT = torch.full((len(prompts), T), pad_id)
    logp_BT = torch.full((len(prompts), T), torch.nan)
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _own_generation_config(model):
        torch.manual_seed(sampling.seed)
        if finished:
            finished.begin(model, prompts, sampling, batch_size)
        for start in progress(range(0, len(prompts), batch_size)):
            batch = prompts[start : start + batch_size]
            written = finished.load(start) if finished else None
            if written is None:
                written = _generate(model, batch, settings, sampling.scored_at)
                if finished:
                    finished.save(start, written[0], written[1], model.device)
            rows, columns = slice(start, start + len(batch)), slice(written[0].shape[1])
            tokens_BT[rows, columns], logp_BT[rows, columns] = written
    ended_B = torch.isin(tokens_BT, torch.tensor(stop_ids)).any(-1)
    # A row that ended early is padded, and padding may be EOS itself: the mask ends at the first.
    mask_BT = response_mask(tokens_BT, stop_ids)
    T = max(int(mask_BT.sum(-1).max()), 1)
    tokens_BT, mask_BT, logp_BT = tokens_BT[:, :T], mask_BT[:, :T], logp_BT[:, :T]
    return Continuations(tokens_BT.where(mask_BT, pad_id), mask_BT, logp_BT.where(mask_BT, torch.nan), ended_B)


def _generate(model, prompts: Sequence[list[int]], settings: GenerationConfig, scored_at: float):
    """One batch: sampled tokens and their log-probs, both (B, T), on the CPU."""
    tokens_BW, attention_BW = _left_padded(prompts, settings.pad_token_id, model.device)
    recorder = LogprobRecorder(scored_at)
    tokens_BT = model.generate(
        input_ids=tokens_BW,
        attention_mask=attention_BW,
        generation_config=settings,
        logits_processor=LogitsProcessorList([recorder]),
        past_key_values=_shared_cache(model, prompts, settings.pad_token_id),
    )[:, tokens_BW.shape[1] :]
    return tokens_BT.cpu(), recorder.finish(tokens_BT).cpu()


def _left_padded(prompts: Sequence[Sequence[int]], pad_id: int, device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, (B, W)."""
    width = max(len(prompt) for prompt in prompts)
    tokens = [[pad_id] * (width - len(prompt)) + [*prompt] for prompt in prompts]
    attention = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(tokens, device=device), torch.tensor(attention, device=device)


def _shared_cache(model, prompts: Sequence[list[int]], pad_id: int) -> DynamicCache | None:
    """Keys and values of every prompt but its last token: of a prompt that is sampled G times, computed once.

    None where no prompt comes twice, or where the model keeps another kind of cache: `generate` then computes its own.
    """
    distinct = list(dict.fromkeys(map(tuple, prompts)))
    if len(distinct) == len(prompts) or max(map(len, distinct)) < 2:
        return None
    tokens_PW, attention_PW = _left_padded(distinct, pad_id, model.device)
    position_PW = (attention_PW.cumsum(-1) - 1).clamp(min=0)
    read = model.get_decoder()(
        input_ids=tokens_PW[:, :-1],
        attention_mask=attention_PW[:, :-1],
        position_ids=position_PW[:, :-1],
        use_cache=True,
    )
    cache = getattr(read, "past_key_values", None)
    if not isinstance(cache, DynamicCache) or not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
        return None
    place = {prompt: i for i, prompt in enumerate(distinct)}
    cache.batch_select_indices(torch.tensor([place[tuple(prompt)] for prompt in prompts], device=model.device))
    return cache


def _pad_id(tokenizer, stop_ids: list[int]) -> int:
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stop_ids[0]


def sample(
    model,
    tokenizer,
    problems: Sequence[Problem],
    rollouts_per_prompt: int,
    sampling: Sampling,
    *,
    task: str = "",
    batch_size: int = 256,
    progress: Callable[[Iterable], Iterable] = lambda batches: batches,
    finished: FinishedBatches | None = None,
) -> Rollouts:
    """Sample `rollouts_per_prompt` responses for every problem; verdicts and teacher log-probs are not filled in.

    `batch_size`, `finished` and what is raised as in `continue_tokens`.
    Raises ValueError where a prompt and its response cannot fit the model's context.
    """
    if not problems:
        raise InputError("problems: found none, accepted at least one")
    prompts = encode_prompts(tokenizer, problems)
    group_B = torch.arange(len(problems)).repeat_interleave(rollouts_per_prompt)
    written = continue_tokens(
        model,
        tokenizer,
        [prompts[i] for i in group_B.tolist()],
        sampling,
        batch_size=batch_size,
        progress=progress,
        finished=finished,
    )
    lengths_B = written.mask_BT.sum(-1) - written.ended_B.long()
    return Rollouts(
        task=task,
        problems=list(problems),
        group_B=group_B,
        tokens_BT=written.tokens_BT,
        mask_BT=written.mask_BT,
        # Only the final EOS is dropped: a special token in the middle is part of what the verifier judges.
        responses=[
            tokenizer.decode(tokens[:length])
            for tokens, length in zip(written.tokens_BT, lengths_B.tolist(), strict=True)
        ],
        finish_reason=["stop" if ended else "length" for ended in written.ended_B.tolist()],
        student_logp_BT=written.logp_BT,
        sampling=sampling,
        prompt_tokens=prompts,
        pad_id=_pad_id(tokenizer, stop_token_ids(model, tokenizer)),
    )
