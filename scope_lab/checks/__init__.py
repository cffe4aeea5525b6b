"""Checkers of the exercises: they run your function on small cases, and know the classic mistakes by name."""

from .ablations import claim_status, holm_adjusted, interval_over_seeds, relative_gain, standard_error
from .cost import cache_bytes, decode_seconds, scope_over_grpo, training_bytes
from .diversity import distinct_solutions, naive_bias, paired_interval, unbiased_pass_at_k
from .judge import Feedback, Mistake, judge
from .loss import global_denominator, reverse_kl, surrogate_loss, teacher_path_gradient
from .perplexity import equal_length_bonus, reference_weights, response_perplexity, teacher_path_weights
from .reference import cosine, mean_one, path_balance, weights_without_failed_calls
from .routing import chance_of_a_mixed_group, count_kinds, group_relative_reward, route
from .training import clipped_gradient, optimizer_step, prompts_of_step, teacher_rows
from .verifier import verifier_errors, wrong_among_reinforced
from .weights import (
    effective_rollouts,
    student_path_weights,
    tau_by_bisection,
    tau_for_share,
    teacher_path_advantages,
)

__all__ = [
    "Feedback",
    "Mistake",
    "cache_bytes",
    "chance_of_a_mixed_group",
    "claim_status",
    "clipped_gradient",
    "cosine",
    "count_kinds",
    "decode_seconds",
    "distinct_solutions",
    "effective_rollouts",
    "equal_length_bonus",
    "global_denominator",
    "group_relative_reward",
    "holm_adjusted",
    "interval_over_seeds",
    "judge",
    "mean_one",
    "naive_bias",
    "optimizer_step",
    "paired_interval",
    "path_balance",
    "prompts_of_step",
    "reference_weights",
    "relative_gain",
    "response_perplexity",
    "reverse_kl",
    "route",
    "scope_over_grpo",
    "standard_error",
    "student_path_weights",
    "surrogate_loss",
    "tau_by_bisection",
    "tau_for_share",
    "teacher_path_advantages",
    "teacher_path_gradient",
    "teacher_path_weights",
    "teacher_rows",
    "training_bytes",
    "unbiased_pass_at_k",
    "verifier_errors",
    "weights_without_failed_calls",
    "wrong_among_reinforced",
]
