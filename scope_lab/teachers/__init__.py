"""Teachers: whatever gives one log-probability for each response token of the rollouts it is asked about."""

from typing import Protocol

from torch import Tensor

from ..rollouts import Rollouts
from .local import LocalTeacher

__all__ = ["LocalTeacher", "Teacher"]


class Teacher(Protocol):
    """A teacher may also have `tokens_per_question`, padded tokens of the rollouts that it is asked about at a
    time (else it is asked about whatever has come); and `concurrent`: False where it cannot be asked from another
    thread while the student samples and trains."""

    name: str

    def score(self, rollouts: Rollouts, rows: Tensor, temperature: float) -> Tensor:
        """Log-probabilities (len(rows), T) of the given rollouts' response tokens, nats; NaN where masked."""
        ...
