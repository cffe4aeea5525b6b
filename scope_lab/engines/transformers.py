"""Sampling with `transformers`: left-padded batches that shrink as their rows end, with log-probs of what they draw."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import Cache

from ..errors import InputError, RunStopped
from ..logprobs import response_mask
from ..models import stop_token_ids
from ..prefix import prompt_cache
from ..rollouts import Rollouts, Sampling, check_context, encode_prompts
from ..tasks import Problem
from . import OnFinished
from .filling import Filling
from .finished import FinishedBatches


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


# Called with the rows (n,) of a batch that have just ended, their tokens and log-probs (n, L), on the CPU, and whether
# they ended with an EOS. Rows that end together have the same length.
OnEnded = Callable[[Tensor, Tensor, Tensor, bool], None]


def continue_tokens(model, tokenizer, prompts: Sequence[list[int]], sampling: Sampling, **how) -> Continuations:
    """Sample one continuation of every list of token ids (a prompt, or a prompt with the start of a response).

    `how` and what is raised as in `write`.
    """
    B, T = len(prompts), sampling.max_new_tokens
    tokens_BT = torch.full((B, T), pad_token_id(model, tokenizer))
    mask_BT, ended_B = torch.zeros((B, T), dtype=torch.bool), torch.zeros(B, dtype=torch.bool)
    logp_BT = torch.full((B, T), torch.nan)

    def keep(rows: Tensor, tokens_nL: Tensor, logp_nL: Tensor, ended: bool) -> None:
        length = tokens_nL.shape[1]
        tokens_BT[rows, :length], logp_BT[rows, :length] = tokens_nL, logp_nL
        mask_BT[rows, :length], ended_B[rows] = True, ended

    write(model, tokenizer, prompts, sampling, keep, **how)
    T = max(int(mask_BT.sum(-1).max()), 1)
    return Continuations(tokens_BT[:, :T], mask_BT[:, :T], logp_BT[:, :T], ended_B)


@torch.no_grad()
def write(
    model,
    tokenizer,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    on_ended: OnEnded,
    *,
    batch_size: int = 256,
    progress: Callable[[Iterable], Iterable] = lambda batches: batches,
    finished: FinishedBatches | None = None,
) -> None:
    """Sample a continuation of every list of token ids, and hand over each as it ends.

    `batch_size` counts sequences; those that `finished` holds are read, the others are kept there as they end.
    The global random state is left as it was: `sampling.seed` alone decides.
    Raises ValueError where the longest prompt and max_new_tokens cannot fit the model's context.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    check_context(max(len(prompt) for prompt in prompts), sampling.max_new_tokens, context, "the model's context")
    stop_ids, pad_id = stop_token_ids(model, tokenizer), pad_token_id(model, tokenizer)
    # One number a token decides it: a row comes out the same in whatever batch it stands, and after a resume.
    first, generator = sampling.first_row, torch.Generator().manual_seed(sampling.seed)
    chance_BT = torch.rand((first + len(prompts), sampling.max_new_tokens), generator=generator)[first:]
    if finished:
        finished.begin(model, prompts, sampling, batch_size)
    with _own_generation_config(model):
        for start in progress(range(0, len(prompts), batch_size)):
            rows = slice(start, start + batch_size)

            def hand_over(ended_rows, tokens_nL, logp_nL, ended, start=start) -> None:
                on_ended(ended_rows + start, tokens_nL, logp_nL, ended)

            if finished and (written := finished.load(start)):
                _replay(*written, stop_ids, hand_over)
                continue
            decoding = Decoding(chance_BT[rows], sampling, stop_ids, pad_id, model.device, hand_over)
            _generate(model, prompts[rows], sampling, stop_ids, pad_id, decoding)
            if finished:
                finished.save(start, decoding.tokens_BT.cpu(), decoding.logp_BT.cpu())


def _replay(tokens_BT: Tensor, logp_BT: Tensor, stop_ids: list[int], on_ended: OnEnded) -> None:
    """Hand over a batch that was written earlier, in the order in which it ended."""
    # A row that ended early is padded, and padding may be EOS itself: the mask ends at the first.
    length_B = response_mask(tokens_BT, stop_ids).sum(-1)
    ended_B = torch.isin(tokens_BT, torch.tensor(stop_ids)).any(-1)
    for ended in (True, False):
        for length in length_B[ended_B == ended].unique().tolist():
            rows = ((length_B == length) & (ended_B == ended)).nonzero().squeeze(1)
            on_ended(rows, tokens_BT[rows, :length], logp_BT[rows, :length], ended)


def _generate(
    model, prompts: Sequence[list[int]], sampling: Sampling, stop_ids: list[int], pad_id: int, decoding: "Decoding"
) -> None:
    """Decode one batch."""
    tokens_BW, attention_BW = _left_padded(prompts, pad_id, model.device)
    model.generate(
        input_ids=tokens_BW,
        attention_mask=attention_BW,
        generation_config=GenerationConfig(
            do_sample=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=stop_ids,
            pad_token_id=pad_id,
        ),
        past_key_values=_shared_cache(model, prompts, pad_id),
        custom_generate=decoding,
    )


class Decoding:
    """The loop that `generate` hands its prepared inputs to: samples, keeps log-probs, lets go of rows that have ended.

    `generate`'s own loop computes every row until the longest has ended, and gives no log-probabilities; here a batch
    shrinks as its rows end, and `on_ended` gets them at once. chance_BT (B, T) in [0, 1) decides each token, by the
    inverse of the distribution function. tokens_BT and logp_BT: padding and NaN after the first EOS.
    """

    def __init__(
        self, chance_BT: Tensor, sampling: Sampling, stop_ids: list[int], pad_id: int, device, on_ended: OnEnded
    ):
        self.chance_BT, self.sampling, self.on_ended = chance_BT.to(device), sampling, on_ended
        self.stop_ids = torch.tensor(stop_ids, device=device)
        self.tokens_BT = torch.full(chance_BT.shape, pad_id, device=device)
        self.logp_BT = torch.full(chance_BT.shape, torch.nan, device=device)

    def __call__(self, model, input_ids, *, logits_processor, stopping_criteria, generation_config, **inputs):
        rows = torch.arange(len(input_ids), device=input_ids.device)
        running = torch.ones_like(rows, dtype=torch.bool)
        cache = inputs.get("past_key_values")
        left = len(rows)
        unread = input_ids.shape[1] - (cache.get_seq_length() if cache is not None else 0)
        for t in range(self.chance_BT.shape[1]):
            prepared = model.prepare_inputs_for_generation(
                input_ids, next_sequence_length=unread if t == 0 else 1, is_first_iteration=t == 0, **inputs
            )
            outputs = model(**prepared, return_dict=True)
            inputs = model._update_model_kwargs_for_generation(outputs, inputs)
            tokens_B, logp_B = self._sample(outputs.logits[:, -1].float(), input_ids, logits_processor, rows, t)
            del outputs
            here = rows[running]
            self.tokens_BT[here, t], self.logp_BT[here, t] = tokens_B[running], logp_B[running]
            stopped = running & torch.isin(tokens_B, self.stop_ids)
            running &= ~stopped
            input_ids = torch.cat([input_ids, tokens_B[:, None]], 1)
            before, left = left, int(running.sum())
            if left < before:
                self._hand_over(rows[stopped], t + 1, ended=True)
            if left == 0:
                break
            if left <= 0.75 * len(rows) and _keep(inputs, running):
                input_ids, rows, running = input_ids[running], rows[running], running[running]
        if left:
            self._hand_over(rows[running], self.chance_BT.shape[1], ended=False)
        return input_ids

    def _hand_over(self, rows: Tensor, length: int, ended: bool) -> None:
        tokens_nL, logp_nL = self.tokens_BT[rows, :length], self.logp_BT[rows, :length]
        self.on_ended(rows.cpu(), tokens_nL.cpu(), logp_nL.cpu(), ended)

    def _sample(self, logits_BV: Tensor, input_ids: Tensor, logits_processor, rows: Tensor, t: int):
        """A token for each running row and its log-prob at `scored_at`, (B,) both."""
        sampling = self.sampling
        logp_BV = torch.log_softmax(logits_BV / sampling.scored_at, dim=-1)
        if (sampling.top_p, sampling.top_k, sampling.temperature) == (1.0, 0, sampling.scored_at):
            weight_BV = logp_BV.exp()
        else:
            weight_BV = torch.softmax(logits_processor(input_ids, logits_BV), dim=-1)
        below_BV = weight_BV.cumsum_(-1)
        if not below_BV[:, -1].isfinite().all():
            raise RunStopped("sampling: the model's logits are not finite, so that no token can be drawn")
        # A little less than all, so that rounding never reaches for a token past the last possible one.
        chosen_B1 = self.chance_BT[rows, t, None] * below_BV[:, -1:] * (1 - 1e-6)
        tokens_B1 = torch.searchsorted(below_BV, chosen_B1, right=True)
        return tokens_B1.squeeze(1), logp_BV.gather(1, tokens_B1).squeeze(1)


def _keep(inputs: dict, running: Tensor) -> bool:
    """Let go of the other rows in everything that the next forward pass reads. False, and nothing done, where a model
    keeps something whose rows cannot be told."""
    size, rows = len(running), running.nonzero().squeeze(1)
    caches = [value for value in inputs.values() if isinstance(value, Cache)]
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor) and value.ndim}
    if not caches or any(len(value) != size for value in tensors.values()):
        return False
    for cache in caches:
        cache.reorder_cache(rows)  # type: ignore[arg-type]
    inputs.update({name: value[rows] for name, value in tensors.items()})
    return True


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
    place = {prompt: i for i, prompt in enumerate(distinct)}
    place_B = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=model.device)
    return prompt_cache(model, tokens_PW, attention_PW, place_B)


def pad_token_id(model, tokenizer) -> int:
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stop_token_ids(model, tokenizer)[0]


def sample(
    model,
    tokenizer,
    problems: Sequence[Problem],
    rollouts_per_prompt: int,
    sampling: Sampling,
    *,
    task: str = "",
    on_finished: OnFinished | None = None,
    **how,
) -> Rollouts:
    """Sample `rollouts_per_prompt` responses for every problem; verdicts and teacher log-probs are not filled in.

    `on_finished` gets rollouts as they finish (`Engine`); `how` (batch_size, progress, finished) and what is raised as
    in `write`. Raises ValueError where a prompt and its response cannot fit the model's context.
    """
    if not problems:
        raise InputError("problems: found none, accepted at least one")
    prompts = encode_prompts(tokenizer, problems)
    pad_id = pad_token_id(model, tokenizer)
    filling = Filling(tokenizer, problems, prompts, rollouts_per_prompt, sampling, pad_id, on_finished, task)
    wanted = [prompts[i] for i in filling.rollouts.group_B.tolist()]
    write(model, tokenizer, wanted, sampling, filling.add, **how)
    return filling.result()


class TransformersEngine:
    """Samples with the student itself, which therefore is always the one that trains (scope_lab.engines.Engine).

    batch_size  sequences generated at a time
    autocast    makes the context in which the model computes
    """

    def __init__(
        self,
        model,
        tokenizer,
        batch_size: int = 256,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ):
        self.model, self.tokenizer = model, tokenizer
        self.batch_size, self.autocast = batch_size, autocast

    def sample(
        self,
        problems: Sequence[Problem],
        rollouts_per_prompt: int,
        sampling: Sampling,
        on_finished: OnFinished | None = None,
    ) -> Rollouts:
        with self.autocast():
            return sample(
                self.model,
                self.tokenizer,
                problems,
                rollouts_per_prompt,
                sampling,
                on_finished=on_finished,
                batch_size=self.batch_size,
            )

    def sync(self, model) -> None:
        """Nothing to do."""
