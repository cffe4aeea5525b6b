"""Rollouts: prompts, the responses sampled for them, verdicts and log-probabilities; in memory and as a table."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .durable import whole_file
from .errors import InputError, one_line
from .logprobs import response_length, sequence_nll
from .tasks import Problem, Task, Verdict, Verification
from .tasks.verification import Verifier


@dataclass(frozen=True)
class Sampling:
    """How responses were sampled. Recorded with every rollout.

    temperature         logits are divided by it before sampling; > 0
    top_p, top_k        1 and 0 are off, as training wants: a cut distribution biases the log-ratios
    max_new_tokens      a response that has no EOS by then is truncated
    logprob_temperature of the recorded log-probabilities; None: that of sampling
    first_row           of a part of a batch: where in it these rows stand, because a row's random numbers are its own
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 32
    seed: int = 0
    logprob_temperature: float | None = None
    first_row: int = 0

    @property
    def scored_at(self) -> float:
        return self.temperature if self.logprob_temperature is None else self.logprob_temperature


class ModelInput(NamedTuple):
    """Some rows of a batch as a model reads them: left-padded prompts, then right-padded responses."""

    tokens_BL: Tensor
    attention_BL: Tensor
    mask_BT: Tensor

    @property
    def n_response(self) -> int:
        return self.mask_BT.shape[1]

    def to(self, device) -> "ModelInput":
        return ModelInput(*(x.to(device, non_blocking=True) for x in self))


@dataclass
class Rollouts:
    """A batch of B rollouts of P prompts, on the CPU. Rollouts of a prompt stand together; `group_B` says which prompt.

    tokens_BT        (B, T) int     response tokens, through the first EOS, then padding
    mask_BT          (B, T) bool    true through the first EOS
    student_logp_BT  (B, T) nats    of the policy that sampled, at `sampling.scored_at`; NaN where masked
    teacher_logp_BT  (B, T) nats    NaN where masked and on rollouts that the teacher was not asked about
    finish_reason    (B,) str       "stop" (EOS) or "length" (truncated)
    """

    task: str
    problems: list[Problem]
    group_B: Tensor
    tokens_BT: Tensor
    mask_BT: Tensor
    responses: list[str]
    finish_reason: list[str]
    student_logp_BT: Tensor
    sampling: Sampling
    prompt_tokens: list[list[int]] = field(default_factory=list)
    teacher_logp_BT: Tensor = field(default=None)  # type: ignore[assignment]  # all NaN unless given
    verifications: list[Verification] = field(default_factory=list)
    student: str = ""
    teacher: str = ""
    step: int = 0
    pad_id: int = 0

    def __post_init__(self):
        if self.teacher_logp_BT is None:
            self.teacher_logp_BT = torch.full_like(self.student_logp_BT, torch.nan)

    def __len__(self) -> int:
        return len(self.responses)

    @property
    def length_B(self) -> Tensor:
        return response_length(self.mask_BT)

    @property
    def verdicts(self) -> np.ndarray:
        return np.array([str(v.verdict) for v in self.verifications])

    @property
    def correct_B(self) -> Tensor:
        return torch.tensor([v.verdict == Verdict.CORRECT for v in self.verifications], dtype=torch.bool)

    @property
    def known_B(self) -> Tensor:
        return torch.tensor([v.verdict != Verdict.UNKNOWN for v in self.verifications], dtype=torch.bool)

    @property
    def unknown_reasons(self) -> Counter[str]:
        """Why rollouts have no verdict, and how many for each reason."""
        return Counter(v.reason for v in self.verifications if v.verdict == Verdict.UNKNOWN)

    @property
    def truncated_B(self) -> Tensor:
        return torch.tensor([reason == "length" for reason in self.finish_reason], dtype=torch.bool)

    @property
    def student_nll_B(self) -> Tensor:
        return sequence_nll(self.student_logp_BT, self.mask_BT)

    @property
    def teacher_nll_B(self) -> Tensor:
        """Nats per token; NaN on rollouts that the teacher was not asked about."""
        return sequence_nll(self.teacher_logp_BT, self.mask_BT)

    def verify(self, task: Task | Verifier, truncated: str = "incorrect") -> None:
        """Give every rollout a verdict. `truncated` is what a response without EOS gets: "incorrect" or "unknown".

        Given a Verifier its workers stay for the next call; given a task that needs some, they come and go.
        """
        if not isinstance(task, Verifier):
            with Verifier(task) as verifier:
                return self.verify(verifier, truncated)
        verdicts: list[Verification | Future[Verification]] = []
        for row in range(len(self)):
            verdict = self.submit(row, task, truncated)
            # futures that are kept cost the garbage collector more than verifying does
            verdicts.append(verdict.result() if verdict.done() else verdict)
        self.verifications = [v.result() if isinstance(v, Future) else v for v in verdicts]

    def submit(self, row: int, verifier: Verifier, truncated: str = "incorrect") -> Future[Verification]:
        """The verdict to come of one rollout, as in `verify`."""
        response = self.responses[row]
        if self.finish_reason[row] != "length":
            return verifier.submit(self.problems[int(self.group_B[row])], response)
        cut: Future[Verification] = Future()
        verdict = Verdict.UNKNOWN if truncated == "unknown" else Verdict.INCORRECT
        cut.set_result(Verification(verdict, "truncated", response or None))
        return cut

    def prompt_length(self, row: int) -> int:
        """Tokens of a rollout's prompt."""
        return len(self.prompt_tokens[int(self.group_B[row])])

    def select(self, rows: Sequence[int] | Tensor) -> "Rollouts":
        """These rollouts alone (row numbers in any order, or a bool for each); problems left without rollouts go."""
        rows = as_rows(rows)
        kept, group_B = torch.unique(self.group_B[rows], return_inverse=True)
        index = rows.tolist()
        return replace(
            self,
            problems=[self.problems[i] for i in kept.tolist()],
            prompt_tokens=[self.prompt_tokens[i] for i in kept.tolist()] if self.prompt_tokens else [],
            group_B=group_B,
            tokens_BT=self.tokens_BT[rows],
            mask_BT=self.mask_BT[rows],
            responses=[self.responses[i] for i in index],
            finish_reason=[self.finish_reason[i] for i in index],
            student_logp_BT=self.student_logp_BT[rows],
            teacher_logp_BT=self.teacher_logp_BT[rows],
            verifications=[self.verifications[i] for i in index] if self.verifications else [],
        )

    def model_input(self, rows: Sequence[int] | Tensor) -> ModelInput:
        """Rows as model input, trimmed to the longest prompt and the longest response among them."""
        rows = as_rows(rows)
        if not self.prompt_tokens:
            raise ValueError("rollouts: no prompt tokens; load them with a tokenizer")
        prompts = [self.prompt_tokens[i] for i in self.group_B[rows].tolist()]
        width = max(len(prompt) for prompt in prompts)
        prompt_BS = torch.full((len(prompts), width), self.pad_id)
        attention_BS = torch.zeros((len(prompts), width), dtype=torch.bool)
        for i, prompt in enumerate(prompts):
            prompt_BS[i, width - len(prompt) :] = torch.tensor(prompt)
            attention_BS[i, width - len(prompt) :] = True
        longest = int(self.length_B[rows].max())
        tokens_BT, mask_BT = self.tokens_BT[rows, :longest], self.mask_BT[rows, :longest]
        return ModelInput(torch.cat([prompt_BS, tokens_BT], 1), torch.cat([attention_BS, mask_BT], 1), mask_BT)

    def batches(self, rows: Sequence[int] | Tensor, token_budget: int) -> list[Tensor]:
        """Split rows into batches of similar length, each at most `token_budget` padded tokens (or a single row)."""
        rows = as_rows(rows)
        prompt_length_P = torch.tensor([len(prompt) for prompt in self.prompt_tokens])
        prompt_B, response_B = prompt_length_P[self.group_B[rows]], self.length_B[rows]
        batches: list[Tensor] = []
        start, widest_prompt, widest_response = 0, 0, 0
        order = torch.argsort(prompt_B + response_B, descending=True, stable=True)
        for position, i in enumerate(order.tolist()):
            widest_prompt = max(widest_prompt, int(prompt_B[i]))
            widest_response = max(widest_response, int(response_B[i]))
            if position > start and (position - start + 1) * (widest_prompt + widest_response) > token_budget:
                batches.append(rows[order[start:position]])
                start, widest_prompt, widest_response = position, int(prompt_B[i]), int(response_B[i])
        if len(order):
            batches.append(rows[order[start:]])
        return batches

    def to_frame(self, tokenizer) -> pd.DataFrame:
        """A row a rollout, with the columns of `data/rollouts/*.parquet` (data/README.md)."""
        from .rollout_table import to_frame

        return to_frame(self, tokenizer)

    def save(self, path: str | Path, tokenizer) -> None:
        """Write parquet, whole or not at all. Sampling settings beyond the columns go into the file's metadata."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = self.to_frame(tokenizer)
        frame.attrs = {"sampling": asdict(self.sampling)}
        with whole_file(path) as unfinished:
            frame.to_parquet(unfinished, index=False, compression="zstd")

    @classmethod
    def load(cls, path: str | Path, tokenizer=None) -> "Rollouts":
        """Read what `save` wrote; with a tokenizer also the prompts' tokens, which scoring needs.

        Raises ValueError naming the file where it cannot be read as rollouts.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"rollouts: {path} is not a file")
        try:
            frame = pd.read_parquet(path)
        except Exception as error:
            raise InputError(f"rollouts: {path} cannot be read as parquet ({error})") from None
        try:
            return cls.from_frame(frame, tokenizer)
        except InputError as error:
            raise InputError(f"rollouts: {path}: {error}") from None
        except Exception as error:  # wrong bytes in a sound frame: libraries find them late, each in its own way
            raise InputError(f"rollouts: {path} cannot be read as rollouts ({one_line(error)})") from None

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, tokenizer=None) -> "Rollouts":
        """The inverse of `to_frame`. Rows of a prompt may stand anywhere; they are brought together."""
        from .rollout_table import from_frame

        return from_frame(frame, tokenizer)


def as_rows(rows: Sequence[int] | Tensor) -> Tensor:
    """Row numbers from a list, a tensor, or a (B,) bool tensor."""
    rows = torch.as_tensor(rows)
    return rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows.long()


def check_context(prompt: float, max_new_tokens: float, context: int | None, whose: str) -> None:
    """Raises InputError where a prompt of so many tokens and the longest response do not fit a context, if it ends."""
    if context is None or prompt + max_new_tokens <= context:
        return
    left = int(context - prompt)
    if left < 1:
        raise InputError(f"task: found a prompt of {prompt:.6g} tokens, accepted less than {whose}, {context}")
    raise InputError(
        f"max_new_tokens: found {max_new_tokens:.0f} after a prompt of {prompt:.6g} tokens, "
        f"accepted at most {left} in {whose}, {context}"
    )


def encode_prompts(tokenizer, problems: Sequence[Problem]) -> list[list[int]]:
    """Prompt tokens: through the chat template where the tokenizer has one, else the plain text with its BOS."""
    if tokenizer.chat_template is None:
        return [tokenizer(problem.prompt).input_ids for problem in problems]
    try:
        return [
            list(
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": problem.prompt}],
                    add_generation_prompt=True,
                    tokenize=True,
                    return_dict=False,
                )
            )
            for problem in problems
        ]
    except Exception as error:  # a template is a program, which may fail in any way
        raise InputError(f"chat template: the tokenizer's cannot be used ({one_line(error)})") from None
