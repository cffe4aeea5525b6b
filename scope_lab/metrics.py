"""What a step logs: GLOSSARY says what every name means, `step_metrics` computes what a batch of rollouts shows."""

import numpy as np
import torch

from .objective import Coefficients, effective_sample_size
from .rollouts import Rollouts

# `{path}` is student (correct rollouts) or teacher (wrong ones); quartiles stand for q25, q50 and q75.
GLOSSARY = {
    "step": "optimizer steps done",
    "reward": "share of correct rollouts among those with a verdict",
    "rollouts": "rollouts sampled, B",
    "response_tokens": "response tokens sampled",
    "mean_length": "response tokens a rollout",
    "entropy": "mean of -log pi(sampled token) over all response tokens, nats: an estimate of the policy's entropy",
    "truncated": "rollouts without EOS",
    "unknown": "rollouts without a verdict",
    "teacher_failed": "rollouts dropped because the teacher gave no usable number",
    "teacher_scored": "rollouts that the teacher scored",
    "groups_all_correct": "prompts whose rollouts with a verdict are all correct",
    "groups_all_wrong": "prompts whose rollouts with a verdict are all wrong",
    "groups_mixed": "prompts with correct and wrong rollouts",
    "{path}_count": "rollouts on the path",
    "{path}_weight_mean": "mean weight on the path",
    "{path}_weight_max": "largest weight on the path",
    "{path}_ess": "effective sample size of the path's weights, mean over prompts that have the path",
    "{path}_ess_fraction": "effective sample size as a fraction of the path's rollouts, mean over those prompts",
    "{path}_tau": "median weight temperature on the path (differs from tau only where tau is auto)",
    "{path}_ppl_q25": "perplexity on the path, by the model that weights it, per token: lower quartile",
    "{path}_ppl_q50": "the same: median",
    "{path}_ppl_q75": "the same: upper quartile",
    "student_path_loss": "coefficient-weighted negative log-likelihood of rewarded rollouts, nats",
    "teacher_path_loss": "coefficient-weighted log-ratio student - teacher of distilled rollouts, nats",
    "reverse_kl": "mean over distilled tokens of log pi_student - log pi_teacher, nats: an estimate of reverse KL",
    "loss": "value of the surrogate loss (its gradient is what matters)",
    "grad_norm": "norm of the gradient before clipping",
    "learning_rate": "of this update",
    "sampler_gap": "largest difference between a token's log-prob when sampled and in the update, over updated tokens, "
    "nats; with engine vllm between vLLM's and the student's, over all sampled tokens: the canary",
    "sampler_gap_mean": "the same: mean",
    "skipped_updates": "updates left out because loss or gradient was not finite",
    "seconds_generation": "sampling",
    "seconds_verification": "verdicts: what sampling and the next stage waited for them",
    "seconds_teacher": "teacher scoring that was waited for",
    "seconds_teacher_hidden": "teacher scoring while rollouts were sampled or the student updated",
    "seconds_update": "forward, backward and optimizer",
    "seconds": "the whole step",
    "tokens_per_second": "response tokens over seconds",
}


def metric_names() -> list[str]:
    """Every metric's full name, in the order of the glossary."""
    return [
        name.replace("{path}", path)
        for name in GLOSSARY
        for path in (("student", "teacher") if "{path}" in name else ("",))
    ]


def step_metrics(rollouts: Rollouts, coefficients: Coefficients, usable_B: torch.Tensor) -> dict[str, float | None]:
    """Counts, weights and perplexities of one batch; None where there is nothing to average.

    usable_B (B,) bool: rollouts with a verdict that the teacher did not fail on.
    """
    correct_B, known_B, group_B = rollouts.correct_B, rollouts.known_B, rollouts.group_B
    tokens = int(rollouts.mask_BT.sum())
    n_groups = len(rollouts.problems)
    right_P = torch.zeros(n_groups).index_add(0, group_B, (correct_B & known_B).float())
    known_P = torch.zeros(n_groups).index_add(0, group_B, known_B.float())
    logp = rollouts.student_logp_BT[rollouts.mask_BT]
    found: dict[str, float | None] = {
        "reward": _mean(correct_B[known_B].float()),
        "rollouts": len(rollouts),
        "response_tokens": tokens,
        "mean_length": tokens / len(rollouts),
        "entropy": None if logp.isnan().any() else float(-logp.mean()),
        "truncated": int(rollouts.truncated_B.sum()),
        "unknown": int((~known_B).sum()),
        "groups_all_correct": int(((right_P == known_P) & (known_P > 0)).sum()),
        "groups_all_wrong": int(((right_P == 0) & (known_P > 0)).sum()),
        "groups_mixed": int(((right_P > 0) & (right_P < known_P)).sum()),
    }
    for path, member_B, nll_B in (
        ("student", usable_B & correct_B, rollouts.student_nll_B),
        ("teacher", usable_B & ~correct_B, rollouts.teacher_nll_B),
    ):
        weights_B = torch.where(member_B, coefficients.weights_B, 0.0)
        ess_P = effective_sample_size(weights_B, group_B)
        count_P = torch.zeros(n_groups, dtype=torch.float64).index_add(0, group_B, member_B.double())
        weighted = ess_P > 0
        ppl = nll_B[member_B & ~nll_B.isnan()].exp().clamp_max(torch.finfo(torch.float32).max).numpy()
        quartiles = np.quantile(ppl, [0.25, 0.5, 0.75]).tolist() if ppl.size else [None] * 3
        tau = coefficients.tau_B[member_B & ~coefficients.tau_B.isnan()]
        found |= {
            f"{path}_count": int(member_B.sum()),
            f"{path}_weight_mean": _mean(weights_B[member_B]) if weighted.any() else None,
            f"{path}_weight_max": float(weights_B.max()) if weighted.any() else None,
            f"{path}_ess": _mean(ess_P[weighted]),
            f"{path}_ess_fraction": _mean(ess_P[weighted] / count_P[weighted]),
            f"{path}_tau": float(tau.median()) if tau.numel() else None,
            f"{path}_ppl_q25": quartiles[0],
            f"{path}_ppl_q50": quartiles[1],
            f"{path}_ppl_q75": quartiles[2],
        }
    return found


def _mean(values: torch.Tensor) -> float | None:
    return float(values.mean()) if values.numel() else None
