"""The optimizer's side of a step: one batch of weighted rollouts in micro-batches, and the student is updated."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from .config import ScopeConfig
from .distributed import Ranks
from .logprobs import masked_mean, response_logprobs
from .methods import Method
from .objective import Coefficients, policy_loss, token_advantages
from .rollouts import Rollouts
from .sharding import exchange_at


class Batch(NamedTuple):
    """Routed, scored and weighted rollouts. The starting student's log-probs are there only where kl_coef asks.

    part_B  (B,) bool: of a batch that comes in parts, which rows are this one's; None: all
    """

    rollouts: Rollouts
    coefficients: Coefficients
    usable_B: Tensor
    reference_logp_BT: Tensor | None = None
    part_B: Tensor | None = None

    def kl_B(self, kl_coef: float) -> Tensor:
        """Each rollout's coefficient of the KL to the starting student."""
        return self.usable_B.float() * (kl_coef / len(self.rollouts))

    def rows(self, kl_coef: float) -> Tensor:
        """Those that train: of this part, with a coefficient that is not 0."""
        rewarded_B, distilled_B = self.coefficients.reward_B != 0, self.coefficients.distill_B != 0
        trains_B = rewarded_B | distilled_B | (self.kl_B(kl_coef) != 0)
        return (trains_B if self.part_B is None else trains_B & self.part_B).nonzero().squeeze(1)


def update_policy(
    student,
    optimizer,
    accelerator,
    config: ScopeConfig,
    method: Method,
    batch: Batch | Iterable[Batch],
    ranks: Ranks | None = None,
) -> dict:
    """`updates_per_batch` optimizer steps on one batch, the same on every rank; returns the metrics of the last.

    A batch may come in parts, each when it is ready, as many on every rank. The loss is a plain sum over parts,
    micro-batches and ranks, because the coefficients hold the step's global denominators: how rows are packed and dealt
    out changes nothing. Rows whose coefficients are all 0 are left out. An update whose loss or gradient is not finite
    is skipped, on all ranks, and counted.
    """
    ranks = ranks or Ranks()
    batches: Iterable[Batch] = [batch] if isinstance(batch, Batch) else batch
    if config.updates_per_batch > 1:
        batches = list(batches)
    found: dict = {}
    skipped = 0
    student.train()
    for _ in range(config.updates_per_batch):
        mine = [done for part in batches for done in _backward(student, accelerator, config, method, part, ranks)]
        parts = [part for of_rank in ranks.collect(mine) for part in of_rank]
        norm = float(accelerator.clip_grad_norm_(student.parameters(), config.max_grad_norm))
        found = summarise(parts)
        if math.isfinite(norm) and math.isfinite(found["loss"]):
            if parts:
                optimizer.step()
        else:
            skipped += 1
        optimizer.zero_grad()
    return {**found, "grad_norm": norm, "skipped_updates": skipped}


def _backward(student, accelerator, config: ScopeConfig, method: Method, batch: Batch, ranks: Ranks) -> list[dict]:
    """Forward and backward of this rank's share of a batch, or of its part; what each micro-batch found."""
    rollouts, rows = batch.rollouts, batch.rows(config.kl_coef)
    microbatches = rollouts.batches(ranks.deal(rows, rollouts.length_B), config.tokens_per_microbatch)
    # Ranks exchange weights or gradients within a pass, so that all need as many: the last ones may count for nothing.
    n_passes = max(ranks.collect(len(microbatches)))
    idle = rows[rollouts.length_B[rows].argmin()][None] if n_passes else rows
    found = []
    for i in range(n_passes):
        works = i < len(microbatches)
        # DDP and FSDP2 average over ranks.
        now, scale = (microbatches[i], ranks.size) if works else (idle, 0)
        with exchange_at(i == n_passes - 1, student):
            done = microbatch_backward(student, accelerator, config, method, batch, now, scale)
        found += [done] if works else []
    return found


def microbatch_backward(
    student, accelerator, config: ScopeConfig, method: Method, batch: Batch, rows: Tensor, scale: int
) -> dict:
    """Forward and backward of some rows; `scale` times their gradient is added up.

    The log-ratio is of the student as it is now (Eq. 2).
    """
    rollouts, device = batch.rollouts, accelerator.device
    inputs = rollouts.model_input(rows).to(device)
    T, mask_BT = inputs.n_response, inputs.mask_BT
    of_batch = (batch.coefficients.reward_B, batch.coefficients.distill_B, batch.kl_B(config.kl_coef))
    reward_B, distill_B, kl_B = (x[rows].to(device) for x in of_batch)
    sampled_logp_BT, teacher_logp_BT = (
        x[rows, :T].to(device) for x in (rollouts.student_logp_BT, rollouts.teacher_logp_BT)
    )
    with accelerator.autocast():
        logp_BT = response_logprobs(student, inputs.tokens_BL, inputs.attention_BL, T, rollouts.sampling.scored_at)
    now_BT = logp_BT.detach()
    advantages_BT = token_advantages(reward_B, distill_B, now_BT, teacher_logp_BT, mask_BT)
    if batch.reference_logp_BT is not None:
        reference_logp_BT = batch.reference_logp_BT[rows, :T].to(device)
        advantages_BT += token_advantages(torch.zeros_like(kl_B), kl_B, now_BT, reference_logp_BT, mask_BT)
    # One update a batch starts at the policy that sampled, so rho is 1; kd's sampler is not the student at all.
    off_policy = config.updates_per_batch > 1 and method.baseline != "kd"
    loss = policy_loss(
        logp_BT,
        sampled_logp_BT if off_policy else None,
        advantages_BT,
        mask_BT,
        clip=config.clip,
        log_form_B=(reward_B > 0) if method.mle_form == "logp" else None,
    )
    accelerator.backward(loss * scale)
    distilled_BT = mask_BT & (distill_B != 0)[:, None]
    ratio_BT = torch.where(distilled_BT, now_BT - teacher_logp_BT, 0.0)
    gap_BT = torch.where(mask_BT, now_BT - sampled_logp_BT, 0.0).abs().nan_to_num()
    found = {
        "loss": loss.detach(),
        "student_path_loss": masked_mean(-reward_B[:, None] * now_BT, mask_BT, 1.0),
        "teacher_path_loss": (distill_B[:, None] * ratio_BT).sum(),
        "sampler_gap": gap_BT.max(),
        "gap_sum": gap_BT.sum(),
        "gap_count": mask_BT.sum(),
        "ratio_sum": ratio_BT.sum(),
        "ratio_count": distilled_BT.sum(),
    }
    # One wait for the device, not one a number.
    return dict(zip(found, torch.stack([x.double() for x in found.values()]).tolist(), strict=True))


def summarise(parts: list[dict]) -> dict:
    """Micro-batches' sums as the step's metrics."""
    count, tokens = (sum(part[name] for part in parts) for name in ("ratio_count", "gap_count"))
    return {
        **{name: sum(part[name] for part in parts) for name in ("loss", "student_path_loss", "teacher_path_loss")},
        "sampler_gap": max((part["sampler_gap"] for part in parts), default=0.0),
        "sampler_gap_mean": sum(part["gap_sum"] for part in parts) / tokens if tokens else 0.0,
        "reverse_kl": sum(part["ratio_sum"] for part in parts) / count if count else None,
    }
