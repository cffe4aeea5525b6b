"""A run on several processes: each samples and updates its share, all know the whole step, one of them writes.

accelerate launch --multi_gpu --num_processes 8 -m scope_lab train …                    DDP: all weights on every device
accelerate launch --use_fsdp --fsdp_version 2 --num_processes 8 -m scope_lab train …    FSDP2: shards of them

Prompts are dealt out whole, in blocks: each rank samples, verifies and scores its own. Then every rank is sent all
rollouts, so that weights, denominators and metrics are those of one process; a rank holds the whole step in its memory
(2,048 rollouts of 12,288 tokens are 0.4 GB). For the update rows are dealt anew, by length, whatever their prompt.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import accumulate
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.nn.functional import pad

from .errors import InputError, RunStopped
from .evaluation import Evaluation
from .rollouts import Rollouts

# How long ranks wait for one another: the longest rollouts of one may take hours. A rank that ends is noticed at once.
PATIENCE = timedelta(hours=6)


class Ranks:
    """The processes that train one student together; a run started as ever is one of one. Made after the Accelerator.

    rank, size  this process's number, and how many there are; is_main: whether it is the one that writes
    """

    def __init__(self):
        from accelerate import PartialState

        state = PartialState()
        self.rank, self.size = state.process_index, state.num_processes
        # Over the CPU: what is sent here are rollouts and small facts, which a GPU has no use for.
        self.group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE) if self.size > 1 else None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, n: int) -> range:
        """This rank's block of n things; blocks differ in size by one at most, and may be empty."""
        size, more = divmod(n, self.size)
        start = self.rank * size + min(self.rank, more)
        return range(start, start + size + (self.rank < more))

    def collect(self, mine: Any) -> list:
        """What every rank gives, in their order, on every rank. All must call it, as often and in the same order."""
        if self.size == 1:
            return [mine]
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, mine, group=self.group)
        return found

    def any(self, flag: bool) -> bool:
        return any(self.collect(bool(flag)))

    def from_main(self, mine: Any) -> Any:
        """What the main rank gives."""
        return self.collect(mine if self.is_main else None)[0]

    def deal(self, rows: Tensor, load_B: Tensor) -> Tensor:
        """This rank's rows of those that train: sorted by their load, every `size`-th, so that loads are alike."""
        if self.size == 1:
            return rows
        return rows[torch.argsort(load_B[rows], descending=True, stable=True)][self.rank :: self.size]

    @contextmanager
    def same_fate(self) -> Iterator[None]:
        """An InputError or RunStopped in the block on any rank ends all: one with its line, the others without a word.

        Leaving the block, ranks wait for one another. Any other exception ends its process, at which the others' next
        exchange fails.
        """
        mistake: Exception | None = None
        try:
            yield
        except (InputError, RunStopped) as error:
            mistake = error
        first = next((found for found in self.collect(mistake) if found), None)
        if first is None:
            return
        if self.is_main:
            raise first
        time.sleep(3)  # a launcher ends all ranks when it sees one end: the main one speaks first
        raise SystemExit(2 if isinstance(first, InputError) else 1)

    def close(self) -> None:
        """At the end of the program."""
        if self.size > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def stacked(parts: Sequence[Tensor], fill) -> Tensor:
    """(B_i, T_i) tensors as one (B, T), filled up on the right to the longest."""
    T = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, T - part.shape[1]), value=fill) for part in parts])


def joined(parts: Sequence[Rollouts]) -> Rollouts:
    """Rollouts of different prompts as one batch, in their order; what is not a row's is the first one's."""
    first, *others = parts
    if not others:
        return first
    before = [0, *accumulate(len(part.problems) for part in parts)]
    fills = {"tokens_BT": first.pad_id, "mask_BT": False, "student_logp_BT": torch.nan, "teacher_logp_BT": torch.nan}
    changes: dict[str, Any] = {name: stacked([getattr(part, name) for part in parts], fills[name]) for name in fills}
    for name in ("problems", "prompt_tokens", "responses", "finish_reason", "verifications"):
        changes[name] = in_a_row(parts, name)
    group_B = torch.cat([part.group_B + n for part, n in zip(parts, before, strict=False)])
    return replace(first, group_B=group_B, **changes)


def evaluations_joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Evaluations of different problems, sampled alike, as one."""
    first, *others = parts
    if not others:
        return first
    names = ("problem_ids", "n_correct", "n_distinct", "answer_entropy")
    changes: dict[str, Any] = {name: in_a_row(parts, name) for name in names}
    tokens = sum(part.mean_length * len(part.problem_ids) for part in parts)
    changes["mean_length"] = round(tokens / len(changes["problem_ids"]), 3)
    for name in ("n_unknown", "n_truncated"):
        changes[name] = sum(getattr(part, name) for part in parts)
    return replace(first, **changes)


def in_a_row(parts: Sequence, name: str) -> list:
    return [item for part in parts for item in getattr(part, name)]
