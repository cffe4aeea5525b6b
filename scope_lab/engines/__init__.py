"""Engines: whatever samples rollouts, and can say of each that it is finished while others are still written."""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from ..rollouts import Rollouts, Sampling
from ..tasks import Problem

__all__ = ["Engine", "OnFinished"]

# Called with rollouts and the numbers (n,) of those rows that have just been finished: their tokens, mask, log-probs,
# response and finish reason are final and may be read from any thread; other rows may still be empty.
OnFinished = Callable[[Rollouts, Tensor], object]


class Engine(Protocol):
    def sample(
        self,
        problems: Sequence[Problem],
        rollouts_per_prompt: int,
        sampling: Sampling,
        on_finished: OnFinished | None = None,
    ) -> Rollouts:
        """`rollouts_per_prompt` responses to every problem, without verdicts, teacher log-probs and names.

        Row p · rollouts_per_prompt + g is response g to problem p, in whatever order they end. `on_finished` is called
        in the calling thread, once for every row, some rows at a time; what it raises ends the sampling.
        (`engines.filling.Filling` does the bookkeeping.)
        """
        ...

    def sync(self, model) -> None:
        """Sample with this student's weights as they are now. Called before sampling, if the student has changed."""
        ...
