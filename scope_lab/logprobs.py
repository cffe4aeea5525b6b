"""From a model to log-probabilities of response tokens. The only place that shifts by one token."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from .prefix import shared_prompts
from .vocabulary import chunked_logprobs, forward_of, logit_change, token_logprobs, unchanged_logits

__all__ = ["by_rows", "masked_mean", "perplexity", "response_length", "response_logprobs", "response_mask",
           "sequence_nll", "token_logprobs"]  # fmt: skip

IN_CACHE = 2**17  # numbers: half a megabyte of float32


def by_rows(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorates a function of tensors of B rows, at least one (B, T), that makes of each row a row by itself.

    On a CPU it is called with so many rows at a time that what it makes on its way stays in the processor's cache:
    large batches then take no longer a row than small ones, and no memory but their result's.
    """

    @wraps(function)
    def in_pieces(*tensors: Tensor) -> Tensor:
        rows = max(IN_CACHE // max(1, *(x[:1].numel() for x in tensors)), 1)
        if len(tensors[0]) <= rows or tensors[0].device.type != "cpu":
            return function(*tensors)
        return torch.cat([function(*piece) for piece in zip(*(x.split(rows) for x in tensors), strict=True)])

    return in_pieces


def response_logprobs(
    model, tokens_BL: Tensor, attention_BL: Tensor, n_response: int, temperature: float = 1.0
) -> Tensor:
    """Log-probability of each response token, log softmax(logits / temperature), without a (B, T, V) tensor.

    tokens_BL     (B, L) int    left-padded prompts, then right-padded responses in the last `n_response` = T columns
    attention_BL  (B, L) bool   true on prompt and response tokens
    temperature   > 0           logits are divided by it, as when sampling

    Returns (B, T) nats, with gradient. Padded slots hold numbers without meaning. The vocabulary is gone through in
    chunks, forward and backward (scope_lab.vocabulary); only a model that does something unknown to its output layer's
    result, or has no such layer, gives its logits whole. A prompt that several rows begin with is read once
    (scope_lab.prefix), where that saves a fifth of the tokens.
    """
    # The logits at t score token t + 1: the prompt's last token scores the first, and the last one is not read at all.
    read, targets_BT = slice(0, -1), tokens_BL[:, -n_response:]
    cache = shared_prompts(model, tokens_BL, attention_BL, n_response)
    if cache is not None:
        read = slice(-n_response - 1, -1)
    # Positions count from the first real token: left padding must not move the prompt.
    position_BL = (attention_BL.long().cumsum(-1) - 1).clamp_min(0)
    inputs = {
        "input_ids": tokens_BL[:, read],
        "attention_mask": attention_BL[:, :-1].long(),
        "position_ids": position_BL[:, read],
        "past_key_values": cache,
        "use_cache": cache is not None,
        "logits_to_keep": n_response,
    }
    head = getattr(getattr(model, "module", model), "get_output_embeddings", lambda: None)()
    change = None if head is None else logit_change(model, head)
    if head is None or change is None:
        return token_logprobs(model(**inputs).logits, targets_BT, temperature)
    mask_BT, project = attention_BL[:, -n_response:].bool(), head.forward

    def scores(hidden_BTH: Tensor) -> Tensor:
        logp_N = chunked_logprobs(head, project, hidden_BTH[mask_BT], targets_BT[mask_BT], temperature, change)
        mask_BT1 = mask_BT[..., None]  # the result is no view: FSDP2 hangs its hooks on it
        return logp_N.new_zeros(mask_BT1.shape).masked_scatter(mask_BT1, logp_N)

    with forward_of(head, scores), unchanged_logits(model):
        return model(**inputs).logits[..., 0]


def masked_mean(x: Tensor, mask: Tensor, denominator: Tensor | float) -> Tensor:
    """Sum of x where mask is true, over a denominator that the caller names. Masked NaN does not count."""
    return torch.where(mask, x, 0.0).sum() / denominator


@by_rows
def response_length(mask_BT: Tensor) -> Tensor:
    """Response tokens, (B,) int."""
    return mask_BT.sum(-1)


@by_rows
def sequence_nll(logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean negative log-probability of each response, (B,) nats per token; NaN for a row without response tokens."""
    return -torch.where(mask_BT, logp_BT, 0.0).sum(-1) / response_length(mask_BT)


def perplexity(logp_BT, mask_BT) -> Tensor:
    """Trajectory perplexity exp(-Σ_t log π(a_t) / length), (B,), per token, response tokens only (Eq. 12).

    logp_BT (B, T) nats, mask_BT (B, T) bool. 1 is certainty; NaN for a row without response tokens.
    """
    return sequence_nll(torch.as_tensor(logp_BT), torch.as_tensor(mask_BT).bool()).exp()


def response_mask(tokens_BT: Tensor, stop_ids: list[int]) -> Tensor:
    """True through the first stop token (EOS), which counts as part of the response; all true where there is none.

    Found by position, not by token, so it is right where the padding token is EOS itself.
    """
    stops_BT = torch.isin(tokens_BT, torch.tensor(stop_ids, device=tokens_BT.device))
    return stops_BT.long().cumsum(-1) - stops_BT.long() == 0
