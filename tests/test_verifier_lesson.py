"""Labelled responses and verifiers' errors; what turned verdicts do to a step; the task string_function; checkers."""

import re
from itertools import islice

import numpy as np
import pytest
import torch
from walls import walls  # noqa: F401

from scope_lab import checks, sandbox
from scope_lab.labelled import VERIFIERS, accepted, error_rates, error_table, labelled_answers
from scope_lab.models import DATA
from scope_lab.plots import alt_error_rates, alt_noise, plot_error_rates, plot_noise
from scope_lab.rollouts import Rollouts
from scope_lab.tasks import Problem, load_task
from scope_lab.verdict_noise import RATES, NoisyVerdicts
from scope_lab.widgets import VerifierPanel


@pytest.fixture(scope="module")
def noise(student, tokenizer) -> NoisyVerdicts:
    recorded = Rollouts.load(DATA / "rollouts" / "countdown.parquet", tokenizer)
    return NoisyVerdicts(student, recorded.select([i for i in range(6 * 32) if i % 32 < 6]))


def test_labelled_responses_are_right_and_wrong_and_none_is_both():
    frame = labelled_answers(range(5, 12))
    assert frame.groupby("right").size().min() > 50
    assert not frame.duplicated(["reference", "response"]).any()
    found = accepted(frame)
    table = error_table(frame.right, found)
    assert list(table.index) == list(VERIFIERS)
    assert table.loc["string", "false positives"] == 0 and table.loc["string", "false negatives"] > 0.5
    assert table.loc["mathematics", "false positives"] < table.loc["last number", "false positives"]


def test_error_rates_have_their_own_denominators():
    assert error_rates([True, True, False, False, False], [True, False, True, False, False]) == (0.5, 1 / 3)
    assert np.isnan(error_rates([True], [True])[1]) and error_rates([True], [True])[0] == 0
    table = error_table(np.array([True, False]), accepted(labelled_answers(range(7, 8)).iloc[[0, 12]]))
    widths = [bar.get_width() for bar in plot_error_rates(table).axes[0].patches]
    assert widths == table["false negatives"].tolist() and "4 verifiers" in alt_error_rates(table)


def test_without_errors_the_step_is_the_true_one(noise):
    found = noise.at(0.0, 0.0)
    assert found["cosine"] == pytest.approx(1) and found["student weight"] == found["teacher weight"] == 0


def test_draws_are_nested_and_at_their_rates(noise):
    few, many = noise.verdicts(0.1, 0.1), noise.verdicts(0.3, 0.3)
    turned = [(found != noise.right_B) for found in (few, many)]
    assert not (turned[0] & ~turned[1]).any()
    assert turned[1].float().mean().item() == pytest.approx(0.3, abs=0.06)


def test_the_gradient_is_a_sum_of_rollouts_gradients(noise, student):
    """The inner products give the length that one backward pass of the whole step has."""
    from scope_lab.explore_reference import loss_gradient

    reward_B, distill_B = (x.float() for x in noise.true_K.chunk(2))
    rows = range(len(noise.rollouts))
    whole = loss_gradient(student, noise.rollouts, rows, reward_B, distill_B, noise.rollouts.teacher_logp_BT)
    assert float((noise.true_K @ noise.inner_KK @ noise.true_K).sqrt()) == pytest.approx(float(whole.norm()), rel=1e-3)


def test_more_errors_turn_the_step_further(noise):
    cosines = noise.cosines()
    assert cosines.shape == (len(RATES), len(RATES)) and cosines[0, 0] == cosines.max()
    assert cosines[-1, 0] < cosines[1, 0] and cosines[0, -1] < cosines[0, 1]
    text = alt_noise(noise, 0.1, 0.05)
    assert f"one: {noise.at(0.1, 0.05)['cosine']:.2f}." in text
    widths = [bar.get_width() for bar in plot_noise(noise, 0.1, 0.05).axes[0].patches]
    assert widths[1] == noise.at(0.1, 0.05)["student weight"]


def test_rollouts_that_the_teacher_did_not_score_are_refused(noise, student):
    part = noise.rollouts.select([0, 1])
    part.teacher_logp_BT = torch.full_like(part.teacher_logp_BT, torch.nan)
    with pytest.raises(ValueError, match="teacher did not score"):
        NoisyVerdicts(student, part)


def test_the_panel_says_what_its_sliders_do(noise):
    panel = VerifierPanel(noise)
    start = panel._png
    panel.positives.value = 0.3
    assert panel._png != start
    said = float(re.search(r"true one: (-?[\d.]+)\.", panel.status.value)[1])
    assert said == pytest.approx(noise.at(0.1, 0.3)["cosine"], abs=6e-3)


def shares(accuracy, negatives, positives):
    right, wrong = accuracy * (1 - negatives), (1 - accuracy) * positives
    return wrong / (right + wrong)


@pytest.mark.parametrize(
    ("checker", "answer", "mistake"),
    [
        (checks.verifier_errors, error_rates, None),
        (checks.verifier_errors, lambda r, a: error_rates(r, a)[::-1], "exchanged"),
        (checks.verifier_errors, lambda r, a: ((r & ~a).mean(), (~r & a).mean()), "of all responses"),
        (checks.verifier_errors, lambda r, a: (a[r].mean(), (~a)[~r].mean()), "hits"),
        (checks.wrong_among_reinforced, shares, None),
        (checks.wrong_among_reinforced, lambda p, n, f: f, "the rate itself"),
        (checks.wrong_among_reinforced, lambda p, n, f: (1 - p) * f, "of all rollouts"),
        (checks.wrong_among_reinforced, lambda p, n, f: shares(p, 0, f), "no false negatives"),
        (checks.wrong_among_reinforced, lambda p, n, f: 1 - shares(p, n, f), "the right share"),
    ],
)
def test_checkers_know_the_classic_mistakes(checker, answer, mistake):
    feedback = checker(answer)
    assert feedback.passed == (mistake is None) and feedback.mistake == mistake


# The code task of the bundled pair.


@pytest.mark.usefixtures("walls")
def test_string_functions_are_judged_by_what_they_print_in_the_sandbox():
    task = load_task("string_function")
    for problem, text in islice(task.derivations("train", 0), 4):
        assert task.verify(problem, text).verdict == "correct"
    problem = Problem("1", "bcda,vwxyzu:", "s[1:]+s[0]")
    wanted = {
        "s[1:] + s[:1]": "all tests pass",
        "''.join(s[i - len(s) + 1] for i in range(len(s)))": "all tests pass",
        "s[1:]": "a test fails",
        "{'abcd': 'bcda', 'uvwxyz': 'vwxyzu'}.get(s)": "a test fails",  # more is tested than the prompt shows
        "s[1:]+s[3]": "ended with an error",
        "s[1:]+": "no expression",
        "": "no expression",
        "s*9**9**9": "time limit",
        "__import__('os').listdir('/home')": "ended with an error",
        "print(s[1:]+s[0]) or exit()": "a test fails",
    }
    assert {text: task.verify(problem, text).reason for text in wanted} == wanted
    assert task.verify(problem, "s[1:]+s[0]").answer == task.verify(problem, "s[1:] + s[ 0]").answer
    assert task.verify(Problem("1", "?", "nonsense"), "s").verdict == "unknown"


def test_a_sandbox_that_fails_once_is_asked_again(monkeypatch):
    task, problem = load_task("string_function"), Problem("1", "", "s[1:]+'-'")
    outcomes = iter(["failed", "finished", "finished"])
    monkeypatch.setattr(sandbox, "run", lambda *_: sandbox.Outcome(next(outcomes), 0, "-", "", 0.0))
    assert task.verify(problem, "s[1:]+'-'").reason == "sandbox failed"
    assert task.verify(problem, "s[1:]+'--'").verdict == "correct"


def test_string_functions_of_the_splits_differ_and_fit_the_task():
    task = load_task("string_function")
    train, test = (task.problems(split, 400) for split in ("train", "test"))
    assert not {p.id for p in train} & {p.id for p in test} and len({p.id for p in test}) == 400
    assert max(len(p.reference) for p in train + test) < task.max_new_tokens
