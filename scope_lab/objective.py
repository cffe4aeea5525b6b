"""The paper in one file: routing, weights within a group, advantages of every token, and the surrogate loss.

Every method is a policy gradient that differs from the others only in two coefficients of each rollout:

    A_{i,t} = reward_i - distill_i * (log pi_student - log pi_teacher)_{i,t}     loss = - sum_{i,t} A_{i,t} * rho_{i,t}

SCOPE (Eq. 6) puts reward_i = w_i on correct rollouts and distill_i = w_i on wrong ones; on-policy distillation has
distill_i = 1 everywhere; GRPO a reward alone. Axis letters (P, G, B, T) are defined in `scope_lab/__init__.py`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .logprobs import by_rows, response_length, sequence_nll
from .methods import Method, get_method


def _segments(group_B: Tensor) -> tuple[Tensor, int]:
    """Group labels as 0..n-1 in their order, and n. Labels between 0 and B are only counted, which saves a sort."""
    B = group_B.numel()
    if B and group_B.dtype == torch.int64 and group_B.min() >= 0 and group_B.max() < B:
        upto = torch.zeros_like(group_B).index_fill_(0, group_B, 1).cumsum(0)
        return upto[group_B] - 1, int(upto[-1])
    labels, segment_B = torch.unique(group_B, return_inverse=True)
    return segment_B, labels.numel()


def _segment_max(x_B: Tensor, segment_B: Tensor, n: int) -> Tensor:
    return x_B.new_full((n,), -math.inf).scatter_reduce(0, segment_B, x_B, "amax")


def _segment_sum(x_B: Tensor, segment_B: Tensor, n: int) -> Tensor:
    return x_B.new_zeros(n).index_add(0, segment_B, x_B)


def _distance_to_best(nll_B, member_B, group_B, power) -> tuple[Tensor, Tensor, Tensor, int]:
    """max_j(power·nll_j) - power·nll_i >= 0 among a group's members, 0 for others, float64; and members, segments,
    their number."""
    nll_B, member_B, group_B = torch.as_tensor(nll_B), torch.as_tensor(member_B), torch.as_tensor(group_B)
    if not (nll_B.shape == member_B.shape == group_B.shape) or nll_B.dim() != 1:
        shapes = f"{tuple(nll_B.shape)}, {tuple(member_B.shape)}, {tuple(group_B.shape)}"
        raise ValueError(f"nll_B, member_B, group_B: found shapes {shapes}, accepted one shape (B,)")
    member_B = member_B.bool()
    nll_B = torch.where(member_B, nll_B.detach().double(), 0.0)
    if not torch.isfinite(nll_B).all():
        raise ValueError("nll_B: found NaN or infinity among the members, accepted finite numbers")
    segment_B, n = _segments(group_B)
    score_B = torch.where(member_B, power * nll_B, -math.inf)
    best_B = _segment_max(score_B, segment_B, n)[segment_B]
    return torch.where(member_B, best_B - score_B, 0.0), member_B, segment_B, n


@torch.no_grad()
def group_weights(nll_B, member_B, group_B, tau, power) -> Tensor:
    """Share one unit of weight among a path's rollouts of each prompt: w_i ∝ PPL_i ** (power / tau)  (Eq. 4 and 5).

    nll_B      (B,) float   mean negative log-probability of each response, nats per token (log of its perplexity)
    member_B   (B,) bool    which rollouts are on this path
    group_B    (B,) int     prompt of each rollout; weights never cross prompts
    tau        > 0          weight temperature, a number or one per rollout (B,), equal within a group; infinity is
                            uniform; power: +1 favours high perplexity (student), -1 low (teacher), 0 is uniform

    Returns (B,) float32: sums to 1 over each prompt's members, 0 elsewhere; a lone member gets 1. Computed as a
    softmax of power·nll/tau, so no perplexity is ever exponentiated. Carries no gradient.
    Raises ValueError on tau <= 0, a NaN or infinity among the members, or shapes that differ.
    """
    tau = torch.as_tensor(tau, dtype=torch.float64)
    if not (tau > 0).all():
        raise ValueError(f"tau: found {tau.min().item():g}, accepted a number above 0 (infinity: uniform weights)")
    distance_B, member_B, segment_B, n = _distance_to_best(nll_B, member_B, group_B, power)
    share_B = torch.where(member_B, torch.exp(distance_B / -tau), 0.0)
    total = _segment_sum(share_B, segment_B, n).clamp_min(1)  # the best member's share is 1
    return (share_B / total[segment_B]).float()


def effective_sample_size(weights_B, group_B) -> Tensor:
    """How many rollouts a group's weights amount to: (sum w)² / sum w², which is 1 / sum w² where they sum to 1.

    weights_B (B,) float >= 0, group_B (B,) int. Returns (number of groups,) float64 in the order of the sorted
    group labels: from 1 (one rollout has all the weight) to the path's size (uniform), 0 for a group without weight.
    """
    weights_B = torch.as_tensor(weights_B).double()
    segment_B, n = _segments(torch.as_tensor(group_B))
    total, squares = _segment_sum(weights_B, segment_B, n), _segment_sum(weights_B**2, segment_B, n)
    return torch.where(squares > 0, total**2 / squares.clamp_min(1e-300), 0.0)


@torch.no_grad()
def solve_tau(nll_B, member_B, group_B, power, ess_fraction) -> Tensor:
    """The tau at which each path keeps an effective sample size of `ess_fraction` times its number of rollouts.

    Arguments as for `group_weights`; 0 < ess_fraction <= 1. The effective sample size grows with tau, so bisection
    on log tau finds it, for all groups at once.

    Returns (B,) float64, the group's tau on every rollout of the group. Infinity (uniform weights) where nothing can be
    told apart: one member, members of equal perplexity, power 0, no members, or ess_fraction = 1. Where even the
    smallest tau keeps more than is wanted (two rollouts cannot fall below one), that smallest tau.
    Raises ValueError on a fraction outside (0, 1], and as `group_weights` does.
    """
    if not 0 < ess_fraction <= 1:
        raise ValueError(f"ess_fraction: found {ess_fraction}, accepted above 0 and at most 1")
    distance_B, member_B, segment_B, n = _distance_to_best(nll_B, member_B, group_B, power)
    widest = _segment_max(distance_B, segment_B, n)
    nearest = -_segment_max(torch.where(distance_B > 0, -distance_B, -math.inf), segment_B, n)
    wanted = ess_fraction * _segment_sum(member_B.double(), segment_B, n)
    # e^-40 of a share is nothing beside 1, and at 10^6 times the widest gap all shares are equal.
    solvable = (widest > 0) & (ess_fraction < 1)
    low = torch.where(solvable, nearest / 40, 1.0).log()
    high = torch.where(solvable, widest * 1e6, 1.0).log()
    for _ in range(60):
        middle = (low + high) / 2
        share_B = torch.where(member_B, torch.exp(distance_B / -middle.exp()[segment_B]), 0.0)
        total, squares = _segment_sum(share_B, segment_B, n), _segment_sum(share_B**2, segment_B, n)
        enough = total**2 >= wanted * squares
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return torch.where(solvable, high.exp(), math.inf)[segment_B]


def grpo_advantages(correct_B, known_B, group_B, epsilon: float = 1e-6) -> Tensor:
    """(R_i - mean) / (std + epsilon) over a prompt's rollouts with a verdict; 0 for others and in a group of one.

    All (B,); std is the sample standard deviation (n - 1), 0 in groups that are all correct or all wrong. Float32.
    """
    known_B = torch.as_tensor(known_B).bool()
    reward_B = torch.where(known_B, torch.as_tensor(correct_B).double(), 0.0)
    segment_B, n = _segments(torch.as_tensor(group_B))
    count = _segment_sum(known_B.double(), segment_B, n)
    mean = _segment_sum(reward_B, segment_B, n) / count.clamp_min(1)
    centred_B = torch.where(known_B, reward_B - mean[segment_B], 0.0)
    std = (_segment_sum(centred_B**2, segment_B, n) / (count - 1).clamp_min(1)).sqrt()
    return (centred_B / (std[segment_B] + epsilon)).float()


@dataclass(frozen=True)
class Coefficients:
    """reward_i and distill_i of each rollout (see the head of this file), divided by the step's global denominators.

    `weights_B` are the weights before that division, for logs and plots: w_i on the rollout's own path. `tau_B` is the
    tau that made them, NaN for methods without weights.
    """

    reward_B: Tensor
    distill_B: Tensor
    weights_B: Tensor
    tau_B: Tensor


def rollout_coefficients(
    method: Method | str,
    student_nll_B: Tensor,
    teacher_nll_B: Tensor,
    correct_B: Tensor,
    group_B: Tensor,
    length_B: Tensor,
    usable_B: Tensor | None = None,
    tau: float | str = 1.0,
    ess_fraction: float = 0.5,
) -> Coefficients:
    """Route a step's rollouts and give each its two coefficients.

    student_nll_B, teacher_nll_B  (B,) nats per token; the teacher's is read on wrong rollouts only
    correct_B, usable_B           (B,) bool: the verdict; which rollouts may be used at all: those with a verdict
                                  (opd and kd read none) on which the teacher did not fail
    group_B, length_B             (B,) int: prompt of each rollout; response tokens
    tau                           > 0, or "auto": solved for each path and prompt so as to keep `ess_fraction`
    An empty path contributes nothing. Raises ValueError on an unknown method, and as `group_weights` does.
    """
    spec = get_method(method)
    correct_B = torch.as_tensor(correct_B).bool()
    usable_B = torch.ones_like(correct_B) if usable_B is None else torch.as_tensor(usable_B).bool()
    right_B, wrong_B = correct_B & usable_B, ~correct_B & usable_B
    zero_B = torch.zeros(correct_B.shape, dtype=torch.float32, device=correct_B.device)
    reward_B, distill_B, weights_B, tau_B = zero_B, zero_B, zero_B, torch.full_like(zero_B, math.nan)
    teacher_nll_B = teacher_nll_B if spec.asks_teacher else zero_B
    paths = [(spec.student_power, right_B, student_nll_B), (spec.teacher_power, wrong_B, teacher_nll_B)]
    if spec.weighted:
        shares = []
        for power, member_B, nll_B in paths:
            if power is None:
                shares.append(zero_B)
                continue
            path_tau = (
                solve_tau(nll_B, member_B, group_B, power, ess_fraction)
                if tau == "auto"
                else torch.full_like(zero_B, float(tau), dtype=torch.float64)
            )
            share_B = group_weights(nll_B, member_B, group_B, path_tau, power)
            if spec.weight_scale == "mean":
                segment_B, n = _segments(group_B)
                share_B = share_B * _segment_sum(member_B.float(), segment_B, n)[segment_B]
            shares.append(share_B)
            tau_B = torch.where(member_B, path_tau.float(), tau_B)
        weights_B = shares[0] + shares[1]
        reward_B, distill_B = _signals(spec, *shares)
    elif spec.baseline == "grpo":
        reward_B = grpo_advantages(correct_B, usable_B, group_B)
    elif spec.baseline == "psr":
        reward_B = right_B.float()
    elif spec.baseline == "kd":
        reward_B = usable_B.float()
    elif spec.baseline == "opd":
        distill_B = usable_B.float()
    prompts, rollouts = _segments(group_B)[1], correct_B.numel()
    rewarded_B = usable_B if spec.rewards_wrong else right_B
    tokens, rewarded_tokens = int(length_B.sum()), int(length_B[rewarded_B].sum())
    of_reward, of_distill = {
        "prompts": (prompts, prompts),
        "rollouts": (rollouts, rollouts),
        "tokens": (tokens, tokens),
        "path-tokens": (rewarded_tokens, tokens),
    }[spec.denominator]
    return Coefficients(reward_B / max(of_reward, 1), distill_B / max(of_distill, 1), weights_B, tau_B)


def _signals(spec: Method, right_share_B: Tensor, wrong_share_B: Tensor) -> tuple[Tensor, Tensor]:
    """What both paths' weights are spent on: (reward_B, distill_B)."""
    if spec.asks_teacher:
        return right_share_B, wrong_share_B
    return right_share_B - wrong_share_B, torch.zeros_like(wrong_share_B)


@by_rows
def token_advantages(reward_B, distill_B, student_logp_BT, teacher_logp_BT, mask_BT) -> Tensor:
    """A_{i,t} = reward_i - distill_i · (log pi_student - log pi_teacher)_{i,t} on response tokens, 0 elsewhere.

    The log-ratio is read only where distill_i is not 0, so values of other rows may be NaN. (B, T), no gradient.
    """
    reads_BT = mask_BT & (distill_B != 0)[:, None]
    ratio_BT = torch.where(reads_BT, student_logp_BT.detach() - teacher_logp_BT.detach(), 0.0)
    return torch.where(mask_BT, reward_B[:, None] - distill_B[:, None] * ratio_BT, 0.0)


def scope_advantages(
    student_logp_BT,
    teacher_logp_BT,
    mask_BT,
    correct_B,
    group_B,
    tau: float | str = 1.0,
    *,
    known_B=None,
    method: Method | str = "scope",
    ess_fraction: float = 0.5,
) -> Tensor:
    """Advantages of Eq. 6 before its mean over prompts: +w_i on correct, -w_i·(log pi_S - log pi_T) on wrong.

    student_logp_BT, teacher_logp_BT  (B, T) nats, log-probability of the sampled token; the teacher's rows of correct
                                      rollouts may be NaN and do not matter
    mask_BT    (B, T) bool            true from the first response token through the first EOS
    correct_B  (B,) bool              the verifier's verdict; known_B (B,) bool: False where it had none
    group_B    (B,) int               prompt of each rollout
    tau        > 0, or "auto"         see `group_weights` and `solve_tau`
    method                            "scope" or one of its ablations in METHODS

    Returns (B, T), no gradient; 0 where masked or without verdict. A path that is empty contributes nothing.
    """
    spec = get_method(method)
    if not spec.weighted:
        raise ValueError(f"method: found {method!r}, accepted one with weights: scope and its ablations")
    student_logp_BT, teacher_logp_BT = torch.as_tensor(student_logp_BT), torch.as_tensor(teacher_logp_BT)
    mask_BT, group_B = torch.as_tensor(mask_BT).bool(), torch.as_tensor(group_B)
    correct_B = torch.as_tensor(correct_B).bool()
    known_B = torch.ones_like(correct_B) if known_B is None else torch.as_tensor(known_B).bool()
    for name, found, wanted in (
        ("teacher_logp_BT", teacher_logp_BT, student_logp_BT.shape),
        ("mask_BT", mask_BT, student_logp_BT.shape),
        ("correct_B", correct_B, student_logp_BT.shape[:1]),
        ("known_B", known_B, student_logp_BT.shape[:1]),
        ("group_B", group_B, student_logp_BT.shape[:1]),
    ):
        if found.shape != wanted:
            raise ValueError(f"{name}: found shape {tuple(found.shape)}, accepted {tuple(wanted)} of student_logp_BT")
    coefficients = rollout_coefficients(
        spec,
        sequence_nll(student_logp_BT, mask_BT),
        sequence_nll(teacher_logp_BT, mask_BT),
        correct_B,
        group_B,
        response_length(mask_BT),
        known_B,
        tau,
        ess_fraction,
    )
    right_B, wrong_B = correct_B & known_B, ~correct_B & known_B
    weights_B = coefficients.weights_B
    reward_B, distill_B = _signals(spec, weights_B * right_B, weights_B * wrong_B)
    return token_advantages(reward_B, distill_B, student_logp_BT, teacher_logp_BT, mask_BT)


def policy_loss(
    logp_BT: Tensor,
    old_logp_BT: Tensor | None,
    advantages_BT: Tensor,
    mask_BT: Tensor,
    *,
    clip: float | None = None,
    log_form_B: Tensor | None = None,
    denominator: float = 1.0,
) -> Tensor:
    """The surrogate loss -Σ_{i,t} ρ_{i,t}·A_{i,t} / denominator, with ρ = π_θ / π_old  (Eq. 1 to 3 and 6).

    logp_BT        (B, T) nats, with gradient; old_logp_BT the sampling policy's, or None for one update a batch: then
                   ρ is 1 and its gradient ∇log π
    advantages_BT  (B, T) constants: `scope_advantages` or any other; mask_BT (B, T) bool
    clip           ε of PPO's clipped ratio, min(ρA, clip(ρ, 1-ε, 1+ε)A); None: no clip
    log_form_B     (B,) bool, rows whose surrogate is A·log π instead of A·ρ (the reference code's)
    denominator    a count over the whole step (for Eq. 6 the number of prompts), never over a micro-batch

    Returns a scalar. Values in masked slots, NaN and infinity included, change neither loss nor gradient.
    """
    mask_BT = mask_BT.bool()
    logp_BT = torch.where(mask_BT, logp_BT, 0.0)
    old_logp_BT = logp_BT.detach() if old_logp_BT is None else torch.where(mask_BT, old_logp_BT.detach(), 0.0)
    advantages_BT = torch.where(mask_BT, advantages_BT.detach(), 0.0)
    ratio_BT = torch.exp(logp_BT - old_logp_BT)
    gain_BT = ratio_BT * advantages_BT
    if clip is not None:
        gain_BT = torch.minimum(gain_BT, ratio_BT.clamp(1 - clip, 1 + clip) * advantages_BT)
    if log_form_B is not None:
        gain_BT = torch.where(log_form_B[:, None], logp_BT * advantages_BT, gain_BT)
    return -torch.where(mask_BT, gain_BT, 0.0).sum() / denominator
