"""The error-recovery experiment: where prefixes are cut, what is counted, and that its numbers say what happened."""

import json
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scope_lab import recovery_table
from scope_lab.cli import main
from scope_lab.engines.transformers import continue_tokens, sample
from scope_lab.errors import InputError
from scope_lab.models import DATA, load_model
from scope_lab.plots.recovery import alt_recovery, plot_recovery
from scope_lab.recovery import (
    FRACTIONS,
    choose_wrong,
    content_lengths,
    cut_positions,
    recover,
    score_missing,
    step_ends,
)
from scope_lab.recovery_table import (
    correlation,
    length_strata,
    partial_spearman,
    quartiles,
    ranks,
    rate,
    spearman,
    summarise,
    table_text,
)
from scope_lab.rollouts import Rollouts, Sampling
from scope_lab.style import png
from scope_lab.tasks import Verdict, Verification, load_task
from scope_lab.teachers import LocalTeacher

STEPS = list("8*3=24,24-5=19,19+2=21")  # commas after tokens 7 and 15


# Cuts


@pytest.mark.parametrize("task", ["countdown", "countdown:hard"])
def test_countdown_is_cut_after_the_nearest_comma(task):
    assert cut_positions(STEPS, FRACTIONS, task) == [0, 7, 7, 15, 15]


def test_without_a_boundary_or_on_request_the_cut_is_at_the_token():
    assert cut_positions(list("1+2=3"), FRACTIONS, "countdown") == [0, 1, 2, 3, 4]
    assert cut_positions(STEPS, FRACTIONS, "countdown", "token") == [0, 4, 9, 13, 18]


def test_words_are_cut_after_lines_and_sentences_but_not_inside_a_number():
    texts = ["She", " pays", " 3", ".", "5", " dollars", ".", " Then", "\n", "\n", "she", " left", "!"]
    found = set(cut_positions(texts, [i / len(texts) for i in range(1, len(texts))], "word_problems"))
    assert found == {7, 10}, "after the sentence and after both line breaks; the end of the response is no cut"
    assert cut_positions(["It", " is", " 1.", "5"], [0.5], "word_problems") == [2]
    assert step_ends(["Yes", "!", '"', "**", " No", "?", ")", " Ye", "s."], "word_problems") == [4, 7]


@given(st.lists(st.sampled_from(["1", ",", "\n", ".", " a", ". b"]), min_size=2, max_size=40), st.floats(0.01, 0.99))
def test_a_prefix_is_never_empty_and_never_the_whole_response(texts, fraction):
    for task in ("countdown", "word_problems"):
        for cut in ("step", "token"):
            assert 1 <= cut_positions(texts, [fraction], task, cut)[0] <= len(texts) - 1


def test_a_response_of_one_token_cannot_be_cut():
    with pytest.raises(ValueError, match="2 or more"):
        cut_positions(["1"], [0.5], "countdown")


def test_a_long_response_is_read_once():
    texts = ["word"] * 11 + ["."] + [" "]
    start = time.process_time()
    cuts = cut_positions(texts * 1_000, FRACTIONS, "word_problems")
    assert time.process_time() - start < 0.5
    assert cuts == [0, 2_599, 5_199, 7_799, 10_399], "13 tokens a sentence, which ends at the twelfth"


# Statistics


def test_quartiles_are_equal_in_size_and_in_order():
    assert quartiles([5.0, 1.0, 3.0, 2.0, 9.0, 7.0, 8.0, 4.0]).tolist() == [3, 1, 2, 1, 4, 3, 4, 2]
    assert np.bincount(quartiles(np.ones(10)))[1:].tolist() == [3, 2, 3, 2]


def test_ranks_and_correlations_by_hand():
    assert ranks(np.array([10.0, 20.0, 10.0, 5.0])).tolist() == [2.5, 4.0, 2.5, 1.0]
    assert spearman([1, 2, 3, 4], [10, 100, 1000, 10_000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) == pytest.approx(0.8207827)  # the textbook's worked example
    assert np.isnan(spearman([1, 2, 3], [1, 1, 1])) and np.isnan(spearman([1, 2], [1, 2]))
    x, y = pd.Series(np.random.default_rng(0).integers(0, 9, (2, 50)).tolist()[0]), pd.Series(range(50))
    assert spearman(x, y) == pytest.approx(x.rank().corr(y.rank()))


def test_partial_correlation_takes_the_third_value_out():
    rng = np.random.default_rng(0)
    length = rng.normal(size=2000)
    x, y = length + 0.3 * rng.normal(size=2000), -length + 0.3 * rng.normal(size=2000)
    assert spearman(x, y) < -0.8 and abs(partial_spearman(x, y, length)) < 0.06
    assert partial_spearman(x, y, np.ones(2000)) == pytest.approx(spearman(x, y))


def test_length_strata_keep_equal_lengths_together():
    assert length_strata([1, 1, 1, 2, 2, 3, 4, 5, 6]).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert set(length_strata([7, 7, 7])) == {0}


def table(recovery, n=400, seed=0) -> pd.DataFrame:
    """What `recover` returns for a teacher whose chance is recovery(perplexity, length, fraction)."""
    rng = np.random.default_rng(seed)
    length = rng.integers(10, 40, n)
    ppl = 1 + 0.02 * length + rng.exponential(0.3, n)
    rows = []
    for i, q in enumerate(quartiles(ppl)):
        for fraction in FRACTIONS:
            hits = rng.binomial(4, np.clip(recovery(ppl[i], length[i], fraction), 0, 1))
            rows.append((f"p{i // 4}", i, q, ppl[i], length[i], fraction, 0, fraction, 4, hits, 0, 0))
    names = (
        "prompt_id row quartile teacher_ppl length fraction prefix_tokens share completions recovered unknown truncated"
    )
    return pd.DataFrame(rows, columns=names.split())


def test_recovery_that_falls_with_perplexity_is_seen_as_that():
    summary = summarise(table(lambda ppl, length, f: 1.3 - 0.5 * ppl - 0.4 * f), resamples=100)
    assert summary["rollouts"] == 400 and summary["problems"] == 100
    for fraction in FRACTIONS:
        values = [rate(summary, q, fraction)["value"] for q in (1, 2, 3, 4)]
        assert values == sorted(values, reverse=True)
    assert rate(summary, 1, 0.2)["value"] > rate(summary, 1, 0.8)["value"]
    for kind in ("overall", "within lengths", "partial", "short", "long"):
        found = correlation(summary, kind)
        assert found["low"] <= found["value"] <= found["high"] < 0
    cell = rate(summary, 2, 0.4)
    assert cell["low"] < cell["value"] < cell["high"]


def test_length_as_the_hidden_cause_is_unmasked():
    summary = summarise(table(lambda ppl, length, f: 1.1 - length / 40, n=800), resamples=100)
    overall, partial = correlation(summary), correlation(summary, "partial")
    assert overall["high"] < 0 and partial["low"] < 0 < partial["high"]
    plain, matched = (
        [rate(summary, q, 0.4, kind)["value"] for q in (1, 4)] for kind in ("rate", "matched")
    )  # fmt: skip
    assert plain[0] - plain[1] > 0.25 and abs(matched[0] - matched[1]) < 0.15


def test_rates_are_plain_means_and_a_seed_decides_the_intervals():
    frame = table(lambda ppl, length, f: 0.5)
    summary = summarise(frame, resamples=50)
    cell = frame[(frame.quartile == 3) & (frame.fraction == 0.6)]
    assert rate(summary, 3, 0.6)["value"] == pytest.approx(cell.recovered.sum() / 4 / len(cell), abs=1e-5)
    assert summarise(frame, resamples=50) == summary != summarise(frame, resamples=50, seed=1)


def test_intervals_resample_problems_not_rollouts():
    """Rollouts of a problem that all do the same are one observation."""
    frame = table(lambda ppl, length, f: 0.5)
    frame["recovered"] = np.where(pd.factorize(frame.prompt_id)[0] % 2, 4, 0)
    alike = summarise(frame, resamples=200)
    frame["prompt_id"] = frame.row.astype(str)
    apart = summarise(frame, resamples=200)
    width = [rate(s, 1, 0.4)["high"] - rate(s, 1, 0.4)["low"] for s in (alike, apart)]
    assert width[0] > 1.2 * width[1]


def test_nothing_recovered_gives_no_correlation_and_the_words_still_come():
    summary = json.loads(json.dumps(summarise(table(lambda ppl, length, f: 0.0), resamples=20)))
    assert correlation(summary)["value"] is None
    assert "-" in table_text(summary) and "has no interval" in alt_recovery(summary)
    assert png(plot_recovery(summary), dpi=50).startswith(b"\x89PNG")


def test_a_quartile_of_one_problem_has_no_interval_and_no_error_bar():
    frame = table(lambda ppl, length, f: 0.5, n=4)
    summary = summarise(frame.assign(prompt_id=frame.row.astype(str)), resamples=20)
    assert all(rate(summary, q, 0.4)["low"] is None for q in (1, 2, 3, 4))
    assert png(plot_recovery(summary), dpi=50).startswith(b"\x89PNG") and "rank correlation" in alt_recovery(summary)


def test_figure_and_words_come_from_the_summary():
    summary = summarise(table(lambda ppl, length, f: 1.3 - 0.5 * ppl - 0.4 * f), resamples=50)
    figure = plot_recovery(summary)
    left, right = figure.axes
    assert len(left.containers) == 4 and left.get_xticklabels()[0].get_text() == "none"
    assert len(right.get_yticklabels()) == 6
    assert "Q1" in table_text(summary) and f"{rate(summary, 4, 0.2)['value']:.0%}" in alt_recovery(summary)


# The experiment


@pytest.fixture(scope="module")
def recorded(tokenizer) -> Rollouts:
    return Rollouts.load(DATA / "rollouts" / "countdown.parquet", tokenizer)


@pytest.fixture(scope="module")
def teacher():
    return load_model("countdown-teacher", device="cpu")


class Replay:
    """A task for which the verifier's verdict is known: correct where the response ends as the wrong rollout did."""

    name, max_new_tokens = "countdown", 30

    def __init__(self, wrong: Rollouts):
        self.seen: list[tuple[str, str]] = []
        self.known = {(wrong.problems[g].id, r) for g, r in zip(wrong.group_B.tolist(), wrong.responses, strict=True)}

    def problems(self, split, n=None, seed=0):
        raise NotImplementedError

    def verify(self, problem, response):
        self.seen.append((problem.id, response))
        return Verification(Verdict.CORRECT if (problem.id, response) in self.known else Verdict.UNKNOWN, "replay")


def test_every_completion_starts_with_its_prefix_and_the_rows_are_told_apart(student, tokenizer, recorded):
    """Greedy completions by the student of its own greedy responses must give those back, whatever the batches."""
    problems = load_task("countdown").problems("test", 12)
    wrong = sample(student, tokenizer, problems, 1, Sampling(1e-4, max_new_tokens=30), task="countdown")
    wrong.verifications = [Verification(Verdict.INCORRECT, "for the test")] * len(wrong)
    wrong.teacher_logp_BT = wrong.student_logp_BT.clone()
    task = Replay(wrong)
    frame = recover(student, tokenizer, task, wrong, completions=2, temperature=1e-4, batch_size=7)
    assert (frame.recovered + frame.truncated == 2).all() and frame.unknown.sum() == 0
    assert len(frame) == 12 * len(FRACTIONS) and len(task.seen) == frame.recovered.sum()
    assert (frame.prefix_tokens < frame.length).all() and (frame[frame.fraction == 0].prefix_tokens == 0).all()


def test_only_wrong_rollouts_are_chosen_by_the_seed(recorded):
    chosen = choose_wrong(recorded, 50, seed=1)
    assert len(chosen) == 50 and not chosen.correct_B.any() and chosen.known_B.all()
    assert choose_wrong(recorded, 50, seed=1).responses == chosen.responses != choose_wrong(recorded, 50).responses
    with pytest.raises(InputError, match="found 0 wrong rollouts"):
        choose_wrong(recorded.select(recorded.correct_B), 50)


def test_a_prefix_never_holds_the_eos(recorded, tokenizer):
    lengths = content_lengths(recorded)
    ends = recorded.tokens_BT[torch.arange(len(recorded)), lengths.clamp_max(recorded.tokens_BT.shape[1] - 1)]
    stopped = ~recorded.truncated_B
    assert (ends[stopped] == tokenizer.eos_token_id).all()
    inside = torch.arange(recorded.tokens_BT.shape[1]) < lengths[:, None]
    assert not (recorded.tokens_BT[inside] == tokenizer.eos_token_id).any()


def test_recorded_teacher_numbers_are_kept_and_missing_ones_are_asked_for(recorded, teacher):
    few = choose_wrong(recorded, 12)
    kept = few.teacher_logp_BT.clone()
    few.teacher_logp_BT[3:] = torch.nan
    score_missing(few, LocalTeacher(teacher))
    assert torch.equal(few.teacher_logp_BT[:3].nan_to_num(), kept[:3].nan_to_num())
    assert (few.teacher_logp_BT - kept).abs().nan_to_num().max() < 1e-3
    few.teacher_logp_BT[0] = torch.nan
    with pytest.raises(InputError, match="no finite teacher"):
        recover(teacher, None, load_task("countdown"), few)


def test_settings_that_cannot_be_are_refused(recorded, teacher, tokenizer):
    few = choose_wrong(recorded, 8)
    with pytest.raises(InputError, match="cut: found 'word', accepted step, token"):
        recover(teacher, tokenizer, load_task("countdown"), few, cut="word")
    with pytest.raises(InputError, match="completions, temperature: found 0"):
        recover(teacher, tokenizer, load_task("countdown"), few, completions=0)


def test_continuations_of_token_lists_are_what_sampling_writes(student, tokenizer, rollouts):
    sampling = Sampling(max_new_tokens=20, seed=3)
    whole = sample(student, tokenizer, rollouts.problems, 1, sampling)
    written = continue_tokens(student, tokenizer, rollouts.prompt_tokens, sampling)
    assert torch.equal(written.tokens_BT, whole.tokens_BT) and torch.equal(written.mask_BT, whole.mask_BT)
    assert written.ended_B.tolist() == [reason == "stop" for reason in whole.finish_reason]
    assert torch.equal(written.logp_BT.isnan(), ~written.mask_BT)


def test_command_writes_tables_and_figure(capsys, tmp_path, recorded, tokenizer, monkeypatch):
    monkeypatch.setattr(recovery_table, "summarise", partial(summarise, resamples=50))
    recorded.select(torch.arange(80)).save(tmp_path / "few.parquet", tokenizer)
    arguments = ["recover", "--rollouts", str(tmp_path / "few.parquet"), "--wrong", "24"]
    assert main([*arguments, "--completions", "2", "--out", str(tmp_path / "r")]) == 0
    text = capsys.readouterr().out
    assert "24 wrong rollouts" in text and "400 or more are wanted" in text and "overall" in text
    summary, frame = json.loads((tmp_path / "r.json").read_text()), pd.read_parquet(tmp_path / "r.parquet")
    assert summary["teacher"] == "countdown-teacher" and len(frame) == 24 * len(FRACTIONS)
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "recover: set --rollouts, or --pair"),
        (["--pair", "romeo"], "pair: found 'romeo'"),
        (["--rollouts", "nowhere.parquet"], "rollouts: nowhere.parquet is not a file"),
        (["--pair", "countdown", "--wrong", "3"], "wrong: found 3, accepted 4 or more"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys, tmp_path):
    assert main(["recover", *arguments, "--out", str(tmp_path / "r")]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
