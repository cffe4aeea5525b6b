"""KL on a small vocabulary: exact, sampled, both directions; and the gradients that lesson 05 derives."""

import numpy as np
import pytest
import torch

from scope_lab import plots, policy_loss
from scope_lab.kl import closest_peak, kl_divergence, running_estimate, single_peak
from scope_lab.style import COLOURS

S, T = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.7, 0.1])
TWO_PEAKS = 0.6 * single_peak(2, 0.8, 11) + 0.4 * single_peak(8, 1.0, 11)


def test_kl_by_hand_and_by_torch():
    assert kl_divergence(S, T) == pytest.approx(0.5 * np.log(2.5) + 0.3 * np.log(3 / 7) + 0.2 * np.log(2))
    theirs = torch.nn.functional.kl_div(torch.tensor(S).log(), torch.tensor(T), reduction="sum")
    assert kl_divergence(T, S) == pytest.approx(theirs.item())
    assert kl_divergence(S, S) == 0 and kl_divergence(S, T) != kl_divergence(T, S)


def test_kl_where_a_probability_is_zero():
    assert kl_divergence([0.0, 1.0], [0.5, 0.5]) == pytest.approx(np.log(2))
    assert kl_divergence([0.5, 0.5], [0.0, 1.0]) == np.inf


def test_samples_average_to_the_exact_value_within_their_error():
    finals = np.array([[x[-1] for x in running_estimate(S, T, 2_000, seed)] for seed in range(200)])
    misses = np.abs(finals[:, 0] - kl_divergence(S, T)) > 1.96 * finals[:, 1]
    assert 0.01 < misses.mean() < 0.10
    assert finals[:, 0].mean() == pytest.approx(kl_divergence(S, T), abs=0.005)
    assert finals[:, 0].std() == pytest.approx(finals[:, 1].mean(), rel=0.15)


def test_reverse_kl_seeks_a_mode_and_forward_kl_covers_both():
    reverse, forward = closest_peak(TWO_PEAKS, "reverse"), closest_peak(TWO_PEAKS, "forward")
    assert reverse[:5].sum() > 0.99 and reverse.argmax() == 2
    assert forward[:5].sum() > 0.2 and forward[6:].sum() > 0.2
    assert kl_divergence(reverse, TWO_PEAKS) < kl_divergence(forward, TWO_PEAKS)
    assert kl_divergence(TWO_PEAKS, forward) < kl_divergence(TWO_PEAKS, reverse)
    with pytest.raises(ValueError, match="accepted reverse, forward"):
        closest_peak(TWO_PEAKS, "sideways")


def test_the_loss_has_reverse_kls_gradient_on_average_and_the_log_ratio_alone_has_none():
    logits = torch.tensor(np.log(S), requires_grad=True)
    teacher = torch.tensor(T)
    logp = torch.log_softmax(logits, -1)
    (exact,) = torch.autograd.grad((logp.exp() * (logp - teacher.log())).sum(), logits)
    by_loss, alone = torch.zeros(3, dtype=torch.double), torch.zeros(3, dtype=torch.double)
    for token in range(3):
        logp = torch.log_softmax(logits, -1)[token].reshape(1, 1)
        ratio = logp - teacher[token].log()
        loss = policy_loss(logp, None, -ratio, torch.ones(1, 1, dtype=torch.bool))
        by_loss += S[token] * torch.autograd.grad(loss, logits, retain_graph=True)[0]
        alone += S[token] * torch.autograd.grad(ratio.sum(), logits)[0]
    assert torch.allclose(by_loss, exact)
    assert torch.allclose(alone, torch.zeros(3, dtype=torch.double), atol=1e-12)


def test_the_figure_of_directions_shows_teacher_and_nearest_student():
    figure = plots.plot_kl_directions(TWO_PEAKS)
    for ax, direction in zip(figure.axes, ("forward", "reverse"), strict=True):
        heights = [bar.get_height() for bar in ax.patches]
        assert heights[:11] == pytest.approx(TWO_PEAKS) and heights[11:] == pytest.approx(
            closest_peak(TWO_PEAKS, direction)
        )
        assert direction in ax.get_title(loc="left")
    assert "peaks at tokens 2 and 8" in plots.alt_kl_directions(TWO_PEAKS)


def test_the_figure_of_samples_ends_at_the_exact_value():
    (ax,) = plots.plot_sampled_kl(S, T, n=20_000).axes
    exact = kl_divergence(S, T)
    assert [line.get_ydata()[-1] for line in ax.lines] == pytest.approx([exact] * 4, abs=0.03)
    assert ax.lines[0].get_color() == COLOURS["student"] and "nats" in ax.get_ylabel()
    assert f"exact {exact:.3f} nats" in plots.alt_sampled_kl(S, T, n=500)
