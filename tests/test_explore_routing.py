"""Kinds of groups, what each method pushes, lengths in the weights, and the figures of lessons 01 and 02."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from test_plots import labels, make_rollouts

from scope_lab import plots
from scope_lab.explore import paths, weigh
from scope_lab.explore_routing import (
    Recording,
    group_kinds,
    kind_shares,
    learning_groups,
    length_table,
    length_weights,
    pushes,
    split_groups,
)
from scope_lab.models import DATA
from scope_lab.objective import grpo_advantages, scope_advantages
from scope_lab.plots.perplexity import LEAST_SHARE, LENGTHS
from scope_lab.plots.routing import KIND_COLOURS, short, token_label, token_rows
from scope_lab.rollouts import Rollouts
from scope_lab.tasks import Verdict, Verification


@pytest.fixture(scope="module")
def rollouts() -> Rollouts:
    return make_rollouts(n_prompts=9, n_rollouts=8)


@pytest.fixture(scope="module")
def scored() -> Rollouts:
    """As `rollouts`, with the teacher's view of correct rollouts too, which OPD reads."""
    made = make_rollouts(n_prompts=9, n_rollouts=8)
    everywhere = torch.where(torch.isnan(made.teacher_logp_BT), made.student_logp_BT - 0.3, made.teacher_logp_BT)
    made.teacher_logp_BT = everywhere.where(made.mask_BT, torch.nan)
    return made


def unknown(rollouts: Rollouts, rows: list[int]) -> Rollouts:
    changed = rollouts.select(range(len(rollouts)))
    for row in rows:
        changed.verifications[row] = Verification(Verdict.UNKNOWN, "made up")
    return changed


def test_groups_have_their_kinds(rollouts):
    table = group_kinds(rollouts)
    assert table.kind.tolist() == ["all wrong"] + ["mixed"] * 7 + ["all correct"]
    assert table.correct.tolist() == list(range(9)) and (table.correct + table.wrong == 8).all()


def test_unknown_rollouts_change_a_kind_and_count_on_no_side(rollouts):
    table = group_kinds(unknown(rollouts, [8, *range(72 - 8, 72)]))
    assert table.kind[1] == "all wrong" and table.loc[1, ["correct", "wrong", "unknown"]].tolist() == [0, 7, 1]
    assert table.kind[8] == "no verdict"


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_recordings_are_cut_into_groups(rollouts, size):
    cut = split_groups(rollouts, size)
    assert torch.bincount(cut.group_B).tolist() == [size] * (9 * (8 // size))
    assert len(cut.problems) == 9 * (8 // size)
    for group, problem in enumerate(cut.problems):
        rows = torch.nonzero(cut.group_B == group)[:, 0]
        assert [cut.responses[r] for r in rows] == [
            rollouts.responses[int(problem.id) * 8 + (group % (8 // size)) * size + i] for i in range(size)
        ]


def test_shares_of_kinds_sum_to_one_and_singles_are_never_mixed(rollouts):
    table = kind_shares(rollouts, [1, 2, 8])
    assert table[["all wrong", "mixed", "all correct"]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert table.mixed[1] == 0 and table.loc[1, "all correct"] == pytest.approx(0.5)
    assert table.groups.tolist() == [72, 36, 9]


def test_pushes_are_the_advantages_of_each_method(scored):
    made = scored
    ratio_BT = (made.student_logp_BT - made.teacher_logp_BT).where(made.mask_BT, 0.0)
    opd_BT = pushes(made, "opd")
    assert torch.allclose(opd_BT, -ratio_BT / 8, atol=1e-6)
    expected_BT = scope_advantages(
        made.student_logp_BT, made.teacher_logp_BT, made.mask_BT, made.correct_B, made.group_B, 0.5
    )
    assert torch.allclose(pushes(made, "scope", 0.5), expected_BT, atol=1e-6)
    reward_B = grpo_advantages(made.correct_B, made.known_B, made.group_B) / 8
    assert torch.allclose(pushes(made, "grpo"), torch.where(made.mask_BT, reward_B[:, None], 0.0), atol=1e-6)
    psr_BT = pushes(made, "psr")
    assert (psr_BT[~made.correct_B] == 0).all() and psr_BT[made.correct_B, 0].numpy() == pytest.approx(1 / 8)


def test_without_a_verdict_only_opd_pushes(scored):
    made = unknown(scored, [20])
    assert (pushes(made, "opd")[20] != 0).any()
    for method in ("grpo", "psr", "scope"):
        assert (pushes(made, method)[20] == 0).all()


def test_a_contrast_is_what_grpo_learns_from(scored):
    table = learning_groups(scored, ["psr", "grpo", "opd", "scope"])
    assert table["all wrong"].tolist() == [0, 0, 1, 1]
    assert table["all correct"].tolist() == [1, 0, 1, 1]
    assert (table.mixed == 1).all() and table.groups["grpo"] == pytest.approx(7 / 9)


def test_by_the_mean_weights_are_the_papers_and_by_the_sum_longer_ones_gain(rollouts):
    path = paths(rollouts)[0]
    weights = length_weights(path, rollouts.length_B)
    assert weights["mean over tokens"] == pytest.approx(weigh(path, 1.0).weights_B)
    rows = path.members(7)
    nll, length = path.nll_B[rows].numpy(), rollouts.length_B[rows].numpy()
    raised = np.exp(nll * length)
    assert weights["sum over tokens"][rows] == pytest.approx(raised / raised.sum(), rel=1e-4)
    table = length_table(path, rollouts.length_B)
    assert table.kept["sum over tokens"] < table.kept["mean over tokens"]
    assert table.flipped["mean over tokens"] == 0 < table.flipped["sum over tokens"] < 1
    assert table["with length"]["sum over tokens"] > table["with length"]["mean over tokens"]


def test_a_recording_brings_its_tokens(tmp_path):
    recording = Recording.load(DATA / "rollouts" / "countdown.parquet", rollouts_per_prompt=2)
    assert len(recording.tokens) == len(recording.rollouts) == 2 * len(recording.rollouts.problems)
    for row in (0, 17, 400):
        texts = recording.tokens[row]
        assert len(texts) == int(recording.rollouts.length_B[row]) and texts[-1] == "⏎"
        assert "".join(texts[:-1]) == recording.rollouts.responses[row]


def test_the_pushes_figure_has_a_row_a_number_and_a_column_a_token(scored):
    recording = Recording.of(scored)
    figure = plots.plot_pushes(recording, 40)
    ax, n = figure.axes[0], int(scored.length_B[40])
    assert len(ax.images) == 7 and len(ax.texts) == 7 * n
    assert [label.get_text() for label in ax.get_yticklabels()][:3] == [
        "student's log-prob, nats",
        "teacher's log-prob, nats",
        "teacher − student, nats",
    ]
    pushed = {"scope": pushes(scored, "scope").numpy()}
    rows = token_rows(recording, 40, pushed)
    assert [text.get_text() for text in ax.texts][-n:] == [short(value) for value in rows["scope"].values]


def test_words_of_a_rollout_state_its_numbers(scored):
    recording = Recording.of(scored)
    wrong = plots.alt_pushes(recording, 0)
    assert "incorrect, teacher path" in wrong and "GRPO pushes nothing" in wrong and "PSR pushes nothing" in wrong
    right = plots.alt_pushes(recording, 8)
    weight = weigh(paths(scored)[0], 1.0).weights_B[8]
    assert "correct, student path" in right and f"SCOPE pushes every token {weight:+.3f}" in right
    assert "neither path" in plots.alt_pushes(Recording.of(unknown(scored, [8])), 8)


@pytest.mark.parametrize("text, label", [(" eats", " eats"), (" ", "␣"), ("\n", "↵"), (".\n\n", ".↵↵"), ("7", "7")])
def test_every_token_can_be_seen(text, label):
    assert token_label(text) == label


def test_a_recording_in_words_fits_the_figures_too():
    recording = Recording.load(DATA / "rollouts" / "smollm2.parquet", rollouts_per_prompt=8)
    assert "".join(recording.tokens[34][:-1]) == recording.rollouts.responses[34]
    figure = plots.plot_pushes(recording, 34)
    prompt = recording.rollouts.problems[int(recording.rollouts.group_B[34])].prompt
    assert prompt not in figure.get_suptitle() and prompt[:50] in figure.get_suptitle()
    right = plots.plot_length_effect(recording.rollouts, "teacher").axes[1]
    assert right.get_ylim()[0] == pytest.approx(LEAST_SHARE) and len(right.lines[0].get_xdata()) <= LENGTHS


@pytest.mark.parametrize(
    "value, text", [(0.0, "0"), (0.004, "0"), (0.125, "+0.12"), (-2.345, "−2.35"), (-12.3, "−12"), (np.nan, "")]
)
def test_small_cells_hold_short_numbers(value, text):
    assert short(value) == text


def test_bars_count_groups_and_shares_stack_to_one(rollouts):
    ax = plots.plot_group_kinds(rollouts).axes[0]
    assert sum(bar.get_height() for bar in ax.patches) == 9 and len(ax.patches) == 9
    assert to_hex(ax.patches[0].get_facecolor()).upper() == KIND_COLOURS["all wrong"]
    assert "1 all wrong" in plots.alt_group_kinds(rollouts)
    figure = plots.plot_kind_shares(rollouts, [2, 4])
    tops = [bar.get_y() + bar.get_height() for bar in figure.axes[0].patches[-2:]]
    assert tops == pytest.approx([1, 1])
    assert "G = 4" in plots.alt_kind_shares(rollouts, [2, 4])


def test_perplexity_figures_have_units_and_words_with_numbers(rollouts):
    histograms = plots.plot_perplexities(rollouts)
    assert any("perplexity per token" in label for label in labels(histograms))
    ppl = rollouts.student_nll_B[rollouts.correct_B].exp()
    assert f"student's on correct ones: median {np.median(ppl):.2f}" in plots.alt_perplexities(rollouts).lower()
    for name in ("student", "teacher"):
        figure = plots.plot_length_effect(rollouts, name)
        assert len(figure.axes) == 2 and figure.axes[0].get_xlabel() == "response length, tokens"
        assert "rank correlation" in plots.alt_length_effect(rollouts, name)
