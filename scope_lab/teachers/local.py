"""A teacher in the same process: scores only the rollouts asked for, sorted by length, without gradient."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..hardware import free_cores
from ..logprobs import response_logprobs
from ..rollouts import Rollouts, as_rows


class LocalTeacher:
    """Wraps any causal language model. `tokens_per_batch` bounds padded tokens, prompt included, of one forward.

    By default that is 16,384, fewer for a large vocabulary. `progress` goes around the batches of a call.
    """

    def __init__(
        self,
        model,
        name: str = "",
        tokens_per_batch: int | None = None,
        progress: Callable[[Iterable], Iterable] = lambda batches: batches,
    ):
        self.model = model
        self.name = name or model.name_or_path
        self.tokens_per_batch = tokens_per_batch or default_tokens_per_batch(model)
        self.progress = progress

    @property
    def concurrent(self) -> bool:
        """Whether it may work beside the student: on a CPU only where torch leaves it a core."""
        return self.model.device.type != "cpu" or free_cores() > torch.get_num_threads()

    @property
    def tokens_per_question(self) -> int:
        """Padded tokens of the rollouts that it is asked about at a time: few on a CPU, where a small batch costs
        little more than its share, so that it begins early."""
        early = self.model.device.type == "cpu" and self.concurrent
        return min(self.tokens_per_batch, 1_024) if early else self.tokens_per_batch

    def score(self, rollouts: Rollouts, rows: Tensor, temperature: float) -> Tensor:
        """Log-probs (len(rows), T) of those rollouts' tokens at `temperature`, float32 nats; NaN where masked."""
        return score(self.model, rollouts, rows, temperature, self.tokens_per_batch, self.progress)


def default_tokens_per_batch(model) -> int:
    return min(16_384, max(2**27 // model.config.vocab_size, 1_024))


@torch.no_grad()
def score(
    model,
    rollouts: Rollouts,
    rows: Tensor,
    temperature: float,
    tokens_per_batch: int = 16_384,
    progress: Callable[[Iterable], Iterable] = lambda batches: batches,
) -> Tensor:
    """Log-probabilities of some rollouts under any model. With teacher = student the two agree to the last bit."""
    rows = as_rows(rows)
    was_training = model.training
    model.eval()
    logp_BT = torch.full((len(rows), rollouts.mask_BT.shape[1]), torch.nan)
    place_B = torch.zeros(len(rollouts), dtype=torch.long).index_copy(0, rows, torch.arange(len(rows)))
    for batch in progress(rollouts.batches(rows, tokens_per_batch)):
        inputs = rollouts.model_input(batch).to(model.device)
        scored = response_logprobs(model, inputs.tokens_BL, inputs.attention_BL, inputs.n_response, temperature)
        logp_BT[place_B[batch], : inputs.n_response] = scored.float().where(inputs.mask_BT, torch.nan).cpu()
    model.train(was_training)
    return logp_BT
