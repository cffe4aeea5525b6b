"""The data card says what is in a rollouts file, in numbers that the rollouts themselves give."""

import re

import numpy as np
import pytest
import torch
from test_plots import make_rollouts

from scope_lab.cli import main
from scope_lab.data_card import PERPLEXITY, card_text, quantile_table, quantities
from scope_lab.plots import alt_data_card, plot_data_card
from scope_lab.tasks import Verdict, Verification


@pytest.fixture
def rollouts():
    return make_rollouts()


def test_quantities_are_those_of_the_rollouts(rollouts):
    found = quantities(rollouts)
    correct_B = rollouts.correct_B
    for verdict, members in (("correct", correct_B), ("wrong", ~correct_B)):
        assert found["length, tokens"][verdict].tolist() == rollouts.length_B[members].tolist()
        expected = [
            float(torch.exp(-row[mask].mean()))
            for row, mask in zip(rollouts.student_logp_BT[members], rollouts.mask_BT[members], strict=True)
        ]
        np.testing.assert_allclose(found[PERPLEXITY["student"]][verdict], expected, rtol=1e-5)
    # The teacher was asked about wrong rollouts only.
    assert list(found[PERPLEXITY["teacher"]]) == ["wrong"]
    table = quantile_table(rollouts)
    assert float(table.loc[(PERPLEXITY["student"], "wrong"), "median"]) == pytest.approx(
        np.median(found[PERPLEXITY["student"]]["wrong"]), abs=0.005
    )


def test_card_in_words(rollouts):
    # Prompt p of six has p of eight correct: the first group is all wrong.
    text = card_text(rollouts)
    assert "48 rollouts of 6 prompts" in text
    assert "31.2% correct, 68.8% wrong, 0.0% unknown" in text
    assert "83.3% mixed, 16.7% all wrong" in text
    assert re.search(r"student: [\w -]+; teacher", text)
    rollouts.step = 12
    assert ", at training step 12; teacher" in card_text(rollouts)
    assert "83 % of groups are mixed" in alt_data_card(rollouts)


def test_figure_counts_groups_and_shares_rollouts(rollouts):
    figure = plot_data_card(rollouts)
    accuracy, *histograms = figure.axes
    assert sorted(patch.get_height() for patch in accuracy.patches if patch.get_height()) == [1] * 6
    for ax in histograms:
        shares = [patch.get_data().values for patch in ax.patches if not patch.get_fill()]
        assert shares and all(0.9 < share.sum() <= 1 + 1e-9 for share in shares)
    assert all(ax.get_xlabel() for ax in figure.axes)


def test_without_verdict_or_teacher(rollouts):
    rollouts.verifications = [Verification(Verdict.UNKNOWN, "made up")] * len(rollouts)
    rollouts.teacher_logp_BT = torch.full_like(rollouts.teacher_logp_BT, torch.nan)
    assert quantities(rollouts)[PERPLEXITY["teacher"]] == {}
    assert "100.0% unknown" in card_text(rollouts)
    plot_data_card(rollouts)
    assert "teacher" not in alt_data_card(rollouts)


def test_inspect_prints_and_draws(rollouts, tokenizer, tmp_path, capsys):
    file, figure = tmp_path / "rollouts.parquet", tmp_path / "card.png"
    rollouts.save(file, tokenizer)
    assert main(["inspect", str(file), "--figure", str(figure)]) == 0
    assert "48 rollouts of 6 prompts" in capsys.readouterr().out
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_inspect_refuses_a_broken_file_in_one_line(tmp_path, capsys):
    file = tmp_path / "broken.parquet"
    file.write_bytes(b"PAR1 cut off")
    assert main(["inspect", str(file)]) == 2
    error = capsys.readouterr().err
    assert str(file) in error and error.count("\n") == 1
