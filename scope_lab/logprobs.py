"""From a model to log-probabilities of response tokens. The only place that shifts by one token."""

import torch
from torch import Tensor


def token_logprobs(logits_BTV: Tensor, tokens_BT: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) of the given tokens, (B, T) nats; half precision is computed in float32."""
    return _log_softmax(logits_BTV, temperature).gather(-1, tokens_BT[..., None]).squeeze(-1)


def _log_softmax(logits_BTV: Tensor, temperature: float) -> Tensor:
    if logits_BTV.dtype in (torch.float16, torch.bfloat16):
        logits_BTV = logits_BTV.float()
    return torch.log_softmax(logits_BTV / temperature, dim=-1)


def response_logprobs(
    model, tokens_BL: Tensor, attention_BL: Tensor, n_response: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probability of each response token, and the entropy of the distribution it came from.

    tokens_BL     (B, L) int    left-padded prompts, then right-padded responses in the last `n_response` = T columns
    attention_BL  (B, L) bool   true on prompt and response tokens
    temperature   > 0           logits are divided by it, as when sampling

    Returns logp_BT (nats, with gradient) and entropy_BT (nats, without). Padded slots hold numbers without meaning.
    """
    # Positions count from the first real token: left padding must not move the prompt.
    positions_BL = (attention_BL.long().cumsum(-1) - 1).clamp_min(0)
    output = model(
        input_ids=tokens_BL,
        attention_mask=attention_BL.long(),
        position_ids=positions_BL,
        use_cache=False,
        logits_to_keep=n_response + 1,
    )
    # The logits at t score token t + 1, so the last one scores nothing and the prompt's last one the first token.
    log_probs_BTV = _log_softmax(output.logits[:, :-1], temperature)
    logp_BT = log_probs_BTV.gather(-1, tokens_BL[:, -n_response:, None]).squeeze(-1)
    with torch.no_grad():
        entropy_BT = -(log_probs_BTV.exp() * log_probs_BTV).sum(-1)
    return logp_BT, entropy_BT


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
