"""From a model to log-probabilities of response tokens. The only place that shifts by one token."""

from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Logits that exist at a time: few on a CPU, whose caches they should not leave far; many on a GPU, where few are slow.
LOGITS_AT_A_TIME = {"cpu": 2**22, "cuda": 2**27}


def token_logprobs(logits_BTV: Tensor, tokens_BT: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) of the given tokens, (B, T) nats; half precision is computed in float32."""
    return _log_softmax(logits_BTV, temperature).gather(-1, tokens_BT[..., None]).squeeze(-1)


def _log_softmax(logits_BTV: Tensor, temperature: float) -> Tensor:
    if logits_BTV.dtype in (torch.float16, torch.bfloat16):
        logits_BTV = logits_BTV.float()
    return torch.log_softmax(logits_BTV / temperature, dim=-1)


def response_logprobs(
    model, tokens_BL: Tensor, attention_BL: Tensor, n_response: int, temperature: float = 1.0
) -> Tensor:
    """Log-probability of each response token, log softmax(logits / temperature), without a (B, T, V) tensor.

    tokens_BL     (B, L) int    left-padded prompts, then right-padded responses in the last `n_response` = T columns
    attention_BL  (B, L) bool   true on prompt and response tokens
    temperature   > 0           logits are divided by it, as when sampling

    Returns (B, T) nats, with gradient. Padded slots hold numbers without meaning. The vocabulary is gone through in
    chunks of tokens, forward and backward, wherever the model's logits are what its output layer returns; a model that
    changes them afterwards (softcap, scale) or has no output layer of its own gives its logits whole.
    """
    # Positions count from the first real token: left padding must not move the prompt.
    inputs = {
        "input_ids": tokens_BL,
        "attention_mask": attention_BL.long(),
        "position_ids": (attention_BL.long().cumsum(-1) - 1).clamp_min(0),
        "use_cache": False,
        "logits_to_keep": n_response + 1,
    }
    targets_BT = tokens_BL[:, -n_response:]
    head = _plain_head(model)
    if head is None:
        # The logits at t score token t + 1, so the last one scores nothing and the prompt's last one the first token.
        return token_logprobs(model(**inputs).logits[:, :-1], targets_BT, temperature)
    mask_BT, project = attention_BL[:, -n_response:].bool(), head.forward

    def scores(hidden_BLH: Tensor) -> Tensor:
        logp_N = _chunked_logprobs(head, project, hidden_BLH[:, :-1][mask_BT], targets_BT[mask_BT], temperature)
        logp_BL = logp_N.new_zeros(hidden_BLH.shape[:2])
        logp_BL[:, :-1][mask_BT] = logp_N
        return logp_BL[..., None]

    with _forward_of(head, scores):
        return model(**inputs).logits[:, :-1, 0]


def _chunked_logprobs(head, project, hidden_NH: Tensor, tokens_N: Tensor, temperature: float) -> Tensor:
    """(N,) nats from the output layer's inputs; of several chunks, each computes its logits again going backward."""

    def score(hidden_nH: Tensor, tokens_n: Tensor) -> Tensor:
        return token_logprobs(project(hidden_nH), tokens_n, temperature)

    size = max(1, LOGITS_AT_A_TIME.get(hidden_NH.device.type, 2**27) // head.weight.shape[0])
    if len(tokens_N) <= size:
        return score(hidden_NH, tokens_N)
    chunks = zip(hidden_NH.split(size), tokens_N.split(size), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([score(*chunk) for chunk in chunks])
    return torch.cat([checkpoint(score, *chunk, use_reentrant=False) for chunk in chunks])


def _plain_head(model):
    """The output layer whose result is the model's logits as it stands, or None. Found out once a model, by a probe."""
    unwrapped = getattr(model, "module", model)
    head = getattr(unwrapped, "get_output_embeddings", lambda: None)()
    if head is None:
        return None
    if not hasattr(head, "_scope_is_plain"):
        marker = -torch.arange(1.0, 9.0, device=head.weight.device)[None, :, None]
        tokens = torch.zeros((1, 8), dtype=torch.long, device=head.weight.device)
        with torch.no_grad(), _forward_of(head, lambda hidden: marker):
            head._scope_is_plain = torch.equal(model(input_ids=tokens, use_cache=False).logits, marker)
    return head if head._scope_is_plain else None


@contextmanager
def _forward_of(module, function):
    """A module computes something else for a while; hooks and wrappers around it stay in force."""
    kept = module.__dict__.get("forward")
    module.forward = function
    try:
        yield
    finally:
        del module.forward
        if kept is not None:
            module.forward = kept


def masked_mean(x: Tensor, mask: Tensor, denominator: Tensor | float) -> Tensor:
    """Sum of x where mask is true, over a denominator that the caller names. Masked NaN does not count."""
    return torch.where(mask, x, 0.0).sum() / denominator


def sequence_nll(logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean negative log-probability of each response, (B,) nats per token; NaN for a row without response tokens."""
    return -torch.where(mask_BT, logp_BT, 0.0).sum(-1) / mask_BT.sum(-1)


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
