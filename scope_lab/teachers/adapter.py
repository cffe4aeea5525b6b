"""A teacher that is a LoRA adapter on the student's own base: one base in memory, two adapters that take turns."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ..config import ScopeConfig
from ..errors import InputError
from ..models import PAIRS, adapter_base, check_adapter, resolve
from ..rollouts import Rollouts
from .local import default_tokens_per_batch, score

TEACHER = "teacher"


class AdapterTeacher:
    """Scores with the teacher's adapter switched on, then leaves the model as it found it.

    model   the student: a `peft` model whose own adapter trains while the base is frozen, or a plain model that is
            itself the student (to sample and score only: training it would train its teacher too)
    folder  the teacher's adapter, by bundled name or folder; it must name the same base (`shares_base`)

    `student` is the model to use from then on. Raises InputError where the folder holds no adapter, or peft is missing.
    """

    def __init__(self, model, folder: str, tokens_per_batch: int | None = None):
        try:
            from peft import PeftModel
        except ImportError:
            raise InputError("teacher: a LoRA adapter needs the package peft, which is not installed") from None
        if adapter_base(folder) is None:
            raise InputError(f"teacher: {folder} is a whole model, accepted a LoRA adapter")
        check_adapter(folder)
        self.name = folder
        self.concurrent = False  # it takes turns with the student
        self.tokens_per_batch = tokens_per_batch or default_tokens_per_batch(model)
        self.own: str | None = None
        self.student: Any
        if isinstance(model, PeftModel):
            self.own, self.student = str(model.active_adapter), model
            model.load_adapter(resolve(folder), adapter_name=TEACHER, is_trainable=False)
            self._switch(self.own)
        else:
            self.student = PeftModel.from_pretrained(model, resolve(folder), adapter_name=TEACHER)
            self.student.base_model.disable_adapter_layers()

    def score(self, rollouts: Rollouts, rows: Tensor, temperature: float) -> Tensor:
        """Log-probs (len(rows), T) of those rollouts' tokens at `temperature`, float32 nats; NaN where masked."""
        with self.active():
            return score(self.student, rollouts, rows, temperature, self.tokens_per_batch)

    @contextmanager
    def active(self) -> Iterator[Any]:
        """The model as the teacher, to sample from or to score with; the student again afterwards."""
        self._switch(TEACHER)
        try:
            yield self.student
        finally:
            self._switch(self.own)

    def _switch(self, adapter: str | None) -> None:
        if adapter is None:
            self.student.base_model.disable_adapter_layers()
            return
        self.student.base_model.enable_adapter_layers()
        self.student.set_adapter(adapter, inference_mode=adapter == TEACHER)


def shares_base(student: str | None, teacher: str | None) -> bool:
    """Whether the teacher is a LoRA adapter on this very student, so that one base can serve both."""
    if not student or not teacher:
        return False
    base = adapter_base(teacher)
    return base is not None and resolve(base) == resolve(student)


def adapter_of_the_same_base(config: ScopeConfig) -> str | None:
    """The teacher of a run that trains an adapter, where it too is an adapter on the same base; else None.

    None means a teacher with weights of its own: always when all weights train, because the base then moves, and for
    kd, which samples from the teacher.
    """
    student, teacher = PAIRS[config.pair][:2] if config.pair else (None, None)
    student, teacher = config.student or student, config.teacher or teacher
    apart = not config.lora_rank or not config.spec.needs_teacher or config.spec.baseline == "kd"
    return teacher if not apart and shares_base(student, teacher) else None
