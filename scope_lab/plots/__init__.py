"""One function a figure: data in, a matplotlib Figure out, and beside it a function that says the figure in words."""

from .data_card import alt_data_card, plot_data_card
from .diversity import (
    alt_by_difficulty,
    alt_diversity,
    alt_estimator_bias,
    alt_success_counts,
    alt_training,
    plot_by_difficulty,
    plot_diversity,
    plot_estimator_bias,
    plot_success_counts,
    plot_training,
)
from .evaluation import alt_pass_at_k, plot_pass_at_k
from .kl import alt_kl_directions, alt_sampled_kl, plot_kl_directions, plot_sampled_kl
from .perplexity import alt_length_effect, alt_perplexities, plot_length_effect, plot_perplexities
from .recovery import alt_recovery, plot_recovery
from .reference import alt_departures, alt_effects, alt_packing, plot_departures, plot_effects, plot_packing
from .routing import (
    alt_group_kinds,
    alt_kind_shares,
    alt_pushes,
    plot_group_kinds,
    plot_kind_shares,
    plot_pushes,
)
from .training import alt_history, alt_metric, plot_history, plot_metric
from .weights import (
    alt_effective_sample_size,
    alt_flow,
    alt_group_weights,
    alt_solved_tau,
    alt_tau_curves,
    plot_effective_sample_size,
    plot_flow,
    plot_group_weights,
    plot_solved_tau,
    plot_tau_curves,
)

__all__ = [
    "alt_by_difficulty",
    "alt_data_card",
    "alt_departures",
    "alt_diversity",
    "alt_effective_sample_size",
    "alt_effects",
    "alt_estimator_bias",
    "alt_flow",
    "alt_group_kinds",
    "alt_group_weights",
    "alt_history",
    "alt_kind_shares",
    "alt_kl_directions",
    "alt_length_effect",
    "alt_metric",
    "alt_packing",
    "alt_pass_at_k",
    "alt_perplexities",
    "alt_pushes",
    "alt_recovery",
    "alt_sampled_kl",
    "alt_solved_tau",
    "alt_success_counts",
    "alt_tau_curves",
    "alt_training",
    "plot_by_difficulty",
    "plot_data_card",
    "plot_departures",
    "plot_diversity",
    "plot_effective_sample_size",
    "plot_effects",
    "plot_estimator_bias",
    "plot_flow",
    "plot_group_kinds",
    "plot_group_weights",
    "plot_history",
    "plot_kind_shares",
    "plot_kl_directions",
    "plot_length_effect",
    "plot_metric",
    "plot_packing",
    "plot_pass_at_k",
    "plot_perplexities",
    "plot_pushes",
    "plot_recovery",
    "plot_sampled_kl",
    "plot_solved_tau",
    "plot_success_counts",
    "plot_tau_curves",
    "plot_training",
]
