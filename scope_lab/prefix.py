"""Prompts that come several times in a batch are read once: keys and values of all their tokens but the last."""

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

# Reading prompts apart costs a second pass through the layers: not for less than a fifth of the tokens.
WORTH_IT = 0.8


def prompt_cache(model, tokens_PW: Tensor, attention_PW: Tensor, place_B: Tensor) -> DynamicCache | None:
    """What a model keeps of left-padded prompts but for their last token, a row for each place: prompt `place_B[i]`.

    tokens_PW (P, W) int, attention_PW (P, W) bool or int, place_B (B,) int. Carries gradient where that is enabled.
    None where the model keeps something else than keys and values of every token, whose rows cannot be told.
    """
    position_PW = (attention_PW.long().cumsum(-1) - 1).clamp_min(0)
    read = model.get_decoder()(
        input_ids=tokens_PW[:, :-1],
        attention_mask=attention_PW[:, :-1].long(),
        position_ids=position_PW[:, :-1],
        use_cache=True,
    )
    cache = getattr(read, "past_key_values", None)
    if not isinstance(cache, DynamicCache) or not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
        return None
    # by index_select: its backward adds in one order, whatever threads there are
    cache.reorder_cache(place_B)  # type: ignore[arg-type]
    return cache


def shared_prompts(model, tokens_BL: Tensor, attention_BL: Tensor, n_response: int) -> DynamicCache | None:
    """The cache of a batch's prompts, where many rows have one in common; else None, and they are read as they stand.

    It asks for a model that can be entered below its output layer: not one in a wrapper (DDP), not one whose weights
    are in pieces (FSDP2), not one that computes its activations twice.
    """
    B, W = len(tokens_BL), tokens_BL.shape[1] - n_response
    wrapped = not hasattr(model, "get_decoder") or hasattr(model, "unshard")
    if wrapped or B < 2 or W < 2 or (model.training and _computes_twice(model)):
        return None
    rows_BW = torch.where(attention_BL[:, :W], tokens_BL[:, :W], -1)
    prompts_PW, place_B = torch.unique(rows_BW, dim=0, return_inverse=True)
    if len(prompts_PW) * (W - 1) + B * n_response > WORTH_IT * B * (W - 1 + n_response):
        return None
    attention_PW = prompts_PW >= 0
    return prompt_cache(model, prompts_PW.clamp_min(0), attention_PW, place_B)


def _computes_twice(model) -> bool:
    # transformers renamed it, and warns of the old name
    new, old = "is_activation_checkpointing", "is_gradient_checkpointing"
    return bool(getattr(model, new if hasattr(model, new) else old, False))
