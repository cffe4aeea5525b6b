"""One function a figure: data in, a matplotlib Figure out, and beside it a function that says the figure in words."""

from .evaluation import alt_pass_at_k, plot_pass_at_k
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
    "alt_effective_sample_size",
    "alt_flow",
    "alt_group_weights",
    "alt_pass_at_k",
    "alt_solved_tau",
    "alt_tau_curves",
    "plot_effective_sample_size",
    "plot_flow",
    "plot_group_weights",
    "plot_pass_at_k",
    "plot_solved_tau",
    "plot_tau_curves",
]
