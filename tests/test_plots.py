"""Figures hold what they say: the right artists, labelled axes with units, the same colours, words with numbers."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from scope_lab import plots, style
from scope_lab.evaluation import SAMPLING, Evaluation
from scope_lab.explore import mixed_groups, paths, smaller_groups, solved_taus, tau_table, weigh
from scope_lab.rollouts import Rollouts, Sampling
from scope_lab.style import COLOURS, png
from scope_lab.tasks import Problem, Verdict, Verification


def make_rollouts(n_prompts: int = 6, n_rollouts: int = 8, seed: int = 0) -> Rollouts:
    """Rollouts without a model: prompt p has p correct ones, so the first group is all wrong."""
    rng = np.random.default_rng(seed)
    B, T = n_prompts * n_rollouts, 7
    length_B = rng.integers(3, T + 1, B)
    mask_BT = torch.from_numpy(np.arange(T)[None] < length_B[:, None])
    logp_BT = torch.from_numpy(-rng.exponential(0.5, (B, T)).astype(np.float32))
    teacher_BT = torch.from_numpy(-rng.exponential(0.8, (B, T)).astype(np.float32))
    group_B = torch.arange(n_prompts).repeat_interleave(n_rollouts)
    correct = [i % n_rollouts < i // n_rollouts for i in range(B)]
    # The teacher is not asked about correct rollouts.
    teacher_BT[torch.tensor(correct)] = torch.nan
    return Rollouts(
        task="countdown",
        problems=[Problem(str(p), f"{p},1=2:", "2") for p in range(n_prompts)],
        group_B=group_B,
        tokens_BT=torch.ones(B, T, dtype=torch.long),
        mask_BT=mask_BT,
        responses=["1+1=2*"[: n - 1] for n in length_B],
        finish_reason=["stop"] * B,
        student_logp_BT=logp_BT.where(mask_BT, torch.nan),
        teacher_logp_BT=teacher_BT.where(mask_BT, torch.nan),
        verifications=[Verification(Verdict.CORRECT if c else Verdict.INCORRECT, "made up") for c in correct],
        sampling=Sampling(),
    )


@pytest.fixture(scope="module")
def rollouts() -> Rollouts:
    return make_rollouts()


def make_evaluation(label: str, n_correct: list[int]) -> Evaluation:
    ids = [str(i) for i in range(len(n_correct))]
    settings = dict.fromkeys(SAMPLING, 1)
    return Evaluation(label, "countdown", "test", 8, settings, ids, n_correct, n_correct, [0.1] * len(ids))


def labels(figure) -> list[str]:
    return [ax.get_xlabel() for ax in figure.axes] + [ax.get_ylabel() for ax in figure.axes]


def test_bars_are_the_weights_and_carry_the_colour_of_the_verdict(rollouts):
    figure = plots.plot_group_weights(rollouts, 3, tau=0.5)
    for ax, path in zip(figure.axes, paths(rollouts), strict=True):
        heights = [bar.get_height() for bar in ax.patches]
        assert heights == pytest.approx(weigh(path, 0.5).weights_B[path.members(3)].tolist())
        assert sum(heights) == pytest.approx(1, abs=1e-5)
        assert {to_hex(bar.get_facecolor()).upper() for bar in ax.patches} == {COLOURS[path.verdict]}
        assert heights == sorted(heights, reverse=path.power < 0)  # from low to high perplexity
        assert "perplexity, per token" in ax.get_xlabel()
    assert "share of the path" in figure.axes[0].get_ylabel()


def test_an_empty_path_says_so(rollouts):
    figure = plots.plot_group_weights(rollouts, 0)
    assert not figure.axes[0].patches
    assert "empty" in figure.axes[0].texts[0].get_text()
    assert "empty" in plots.alt_group_weights(rollouts, 0)


def test_effective_sample_sizes_of_every_group_lie_between_one_and_the_path(rollouts):
    figure = plots.plot_effective_sample_size(rollouts, tau=0.3)
    ax = figure.axes[0]
    points = [line for line in ax.lines if line.get_marker() in style.MARKERS.values()]
    assert len(points) == 2
    for line, path in zip(points, paths(rollouts), strict=True):
        ess, size = np.asarray(line.get_ydata()), path.size_P
        filled = size > 0
        assert np.isnan(ess[~filled]).all()
        assert (ess[filled] >= 1 - 1e-6).all() and (ess[filled] <= size[filled] + 1e-4).all()
    assert ax.get_xlabel() == "rollouts on the path" and "rollouts" in ax.get_ylabel()


def test_the_flow_has_a_row_for_every_rollout_of_the_group(rollouts):
    figure = plots.plot_flow(rollouts, 3)
    sampled, perplexity, weight, advantage, _ = figure.axes
    assert len(sampled.lines) == len(perplexity.lines) == len(weight.patches) == len(advantage.images) == 8
    shown = {text.get_text() for text in sampled.texts}
    assert set(rollouts.responses[24:32]) <= shown
    assert "per token" in perplexity.get_xlabel() and "share" in weight.get_xlabel()
    correct = advantage.images[0].get_array()
    assert np.ptp(correct) == 0 and correct.min() > 0  # one weight for all tokens of a correct rollout
    wrong = advantage.images[-1].get_array()
    assert np.ptp(wrong) > 0


def test_words_state_the_numbers_of_the_figure(rollouts):
    path = paths(rollouts)[1]
    ess = weigh(path, 0.2).ess_P[3]
    assert f"{path.size_P[3]} wrong rollouts count as {ess:.1f}" in plots.alt_group_weights(rollouts, 3, 0.2)
    assert "3 correct" in plots.alt_flow(rollouts, 3)
    for words in (
        plots.alt_effective_sample_size(rollouts, 0.2),
        plots.alt_tau_curves(rollouts, [0.1, 10]),
        plots.alt_solved_tau(rollouts, 0.6),
    ):
        assert "nan" not in words and any(character.isdigit() for character in words)


def test_less_tau_keeps_less_and_the_solved_tau_keeps_what_was_asked(rollouts):
    table = tau_table(rollouts, [0.05, 0.5, 5]).set_index(["path", "tau"])
    for name in ("student", "teacher"):
        assert table.kept[name].is_monotonic_increasing and table.largest[name].is_monotonic_decreasing
    for path, taus in zip(paths(rollouts), solved_taus(rollouts, 0.6).values(), strict=True):
        assert len(taus) and np.isfinite(taus).all() and len(taus) <= (path.size_P > 1).sum()


def test_recordings_are_compared_path_by_path(rollouts):
    figure = plots.plot_sharpness({"one": rollouts, "two": rollouts}, [0.1, 1, 10])
    table = tau_table(rollouts, [0.1, 1, 10])
    for ax, (_, rows) in zip(figure.axes, table.groupby("path"), strict=True):
        for line in ax.lines[:2]:
            assert line.get_ydata().tolist() == rows.kept.tolist()
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "two"]
    assert "two, teacher path: " in plots.alt_sharpness({"one": rollouts, "two": rollouts}, [0.1, 1, 10])


def test_curves_and_histogram_have_units(rollouts):
    for figure in (plots.plot_tau_curves(rollouts, [0.1, 1, 10]), plots.plot_solved_tau(rollouts, 0.6)):
        assert all(labels(figure))
        assert any("log scale" in label for label in labels(figure))


def test_before_and_after_share_axes_and_intervals_hold_the_means():
    before = make_evaluation("student", [0, 1, 2, 8, 0, 3])
    after = make_evaluation("scope", [1, 1, 4, 8, 0, 6])
    figure = plots.plot_pass_at_k([before, after])
    ax = figure.axes[0]
    for line, band, evaluation in zip(ax.lines, ax.collections, (before, after), strict=True):
        assert line.get_xdata().tolist() == [1, 2, 4, 8]
        assert line.get_ydata()[0] == pytest.approx(np.mean(evaluation.n_correct) / 8)
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() <= min(line.get_ydata()) and heights.max() >= max(line.get_ydata())
    assert ax.get_ylabel() == "Pass@k" and "samples" in ax.get_xlabel()
    words = plots.alt_pass_at_k([before, after])
    assert "Pass@1" in words and "Pass@8" in words and "95 % interval" in words
    assert png(figure).startswith(b"\x89PNG")


def test_figures_need_neither_pyplot_nor_seaborn():
    code = (
        "import sys; sys.modules['seaborn'] = None; import scope_lab.plots; "
        "assert 'matplotlib.pyplot' not in sys.modules; assert 'ipywidgets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_rollouts_without_the_teacher_are_refused(rollouts):
    unscored = rollouts.select(range(len(rollouts)))
    unscored.teacher_logp_BT = torch.full_like(unscored.teacher_logp_BT, torch.nan)
    with pytest.raises(ValueError, match="no teacher has scored"):
        paths(unscored)


def test_groups_are_cut_and_chosen(rollouts):
    small = smaller_groups(rollouts, 4)
    assert torch.bincount(small.group_B).tolist() == [4] * 6
    assert small.responses[4:8] == rollouts.responses[8:12]
    assert mixed_groups(rollouts, 2) == [2, 3, 4, 5]
