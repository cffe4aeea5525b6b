"""Pass@k against enumeration, intervals against simulation, counts by hand, comparisons that are refused."""

import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
import torch

from scope_lab import avg_at_k, pass_at_k
from scope_lab.errors import InputError
from scope_lab.evaluation import (
    Evaluation,
    bootstrap_interval,
    compare,
    comparison_text,
    evaluate,
    powers_of_two,
)
from scope_lab.rollouts import Rollouts, Sampling
from scope_lab.tasks import Problem, Verdict, Verification, load_task


def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample():
    for n in range(1, 8):
        for c, k in product(range(n + 1), range(1, n + 1)):
            samples = [1] * c + [0] * (n - c)
            share = np.mean([any(subset) for subset in combinations(samples, k)])
            assert pass_at_k(c, n, k) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
def test_pass_at_k_is_unbiased(p):
    """Its expectation over every possible number of correct samples, with their exact probabilities."""
    n = 9
    for k in range(1, n + 1):
        expectation = sum(math.comb(n, c) * p**c * (1 - p) ** (n - c) * pass_at_k(c, n, k) for c in range(n + 1))
        assert expectation == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_pass_at_k_of_many_samples_is_exact():
    exact = 1 - math.comb(9_900, 1_000) / math.comb(10_000, 1_000)
    assert pass_at_k(100, 10_000, 1_000) == pytest.approx(exact, rel=1e-12)
    assert pass_at_k(1, 10_000, 1) == pytest.approx(1e-4, rel=1e-9)


def test_arrays_give_a_value_a_problem():
    n_correct, n_samples = np.array([0, 1, 3]), np.array([4, 4, 5])
    expected = [pass_at_k(c, n, 2) for c, n in zip(n_correct.tolist(), n_samples.tolist(), strict=True)]
    assert pass_at_k(n_correct, n_samples, 2).tolist() == expected
    assert pass_at_k([0, 1, 3], 5, 2).shape == (3,)
    assert avg_at_k(n_correct, n_samples, 2).tolist() == [0, 0.25, 0.6]
    assert isinstance(pass_at_k(1, 4, 2), float) and isinstance(avg_at_k(1, 4, 2), float)
    assert pass_at_k([], [], 1).shape == (0,)


@pytest.mark.parametrize("function", [avg_at_k, pass_at_k])
@pytest.mark.parametrize(
    "c, n, k, name", [(1, 4, 5, "k"), (1, 4, 0, "k"), (5, 4, 1, "n_correct"), (-1, 4, 1, "n_correct")]
)
def test_impossible_counts_are_refused_by_name(function, c, n, k, name):
    with pytest.raises(ValueError, match=f"^{name}: found"):
        function(c, n, k)
    with pytest.raises(ValueError, match=f"^{name}: found"):
        function([1, c], [8, n], k)


def test_powers_of_two_end_with_n():
    assert powers_of_two(1) == [1]
    assert powers_of_two(8) == [1, 2, 4, 8]
    assert powers_of_two(12) == [1, 2, 4, 8, 12]


def test_bootstrap_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    n_trials, covered = 400, 0
    for trial in range(n_trials):
        low, high = bootstrap_interval(rng.beta(0.5, 2.0, 80), n_resamples=600, seed=trial)
        covered += low <= 0.2 <= high
    assert 0.91 <= covered / n_trials <= 0.98


def test_bootstrap_interval_is_seeded_nested_and_has_the_width_of_theory():
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    narrow = bootstrap_interval(values, level=0.5)
    assert low < narrow[0] < values.mean() < narrow[1] < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_bootstrap_interval_leaves_out_what_is_not_a_number():
    values = [0.1, 0.5, 0.9]
    assert bootstrap_interval([*values, math.nan]) == bootstrap_interval(values)
    assert all(map(math.isnan, bootstrap_interval([math.nan])))
    assert bootstrap_interval([0.3]) == pytest.approx((0.3, 0.3))


# Evaluation


def verified(verdicts_and_answers, lengths=None) -> Rollouts:
    """Rollouts of which only what is counted matters: a list of (verdict, answer) for each problem."""
    flat = [pair for problem in verdicts_and_answers for pair in problem]
    sizes = torch.tensor([len(problem) for problem in verdicts_and_answers])
    lengths = torch.tensor(lengths or [3] * len(flat))
    mask_BT = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    return Rollouts(
        task="hand-made",
        problems=[Problem(f"p{i}", "?", "!") for i in range(len(sizes))],
        group_B=torch.arange(len(sizes)).repeat_interleave(sizes),
        tokens_BT=mask_BT.long(),
        mask_BT=mask_BT,
        responses=[answer or "" for _, answer in flat],
        finish_reason=["length" if answer == "cut" else "stop" for _, answer in flat],
        student_logp_BT=-mask_BT.float(),
        sampling=Sampling(temperature=0.6, top_p=0.95, top_k=20, max_new_tokens=9, seed=4),
        verifications=[Verification(Verdict(verdict), "by hand", answer) for verdict, answer in flat],
    )


R, W, U = "correct", "incorrect", "unknown"
BY_HAND = [
    [(R, "a"), (R, "a"), (R, "b"), (W, "c")],  # three right, two of them different; shares 1/2, 1/4, 1/4
    [(W, "x"), (W, "x"), (W, "cut"), (U, "x")],  # shares 3/4, 1/4
    [(R, "a"), (R, "a"), (R, "a"), (R, "a")],
]


def test_evaluation_by_hand():
    evaluation = Evaluation.of(verified(BY_HAND, [1, 2, 3, 4] * 3), "student", "test")
    assert evaluation.n_samples == 4 and evaluation.problem_ids == ["p0", "p1", "p2"]
    assert evaluation.n_correct == [3, 0, 4]
    assert evaluation.n_distinct == [2, 0, 1]
    entropies = [1.5 * math.log(2), -0.75 * math.log(0.75) - 0.25 * math.log(0.25), 0]
    assert evaluation.answer_entropy == pytest.approx(entropies, abs=1e-5)
    assert (evaluation.n_unknown, evaluation.n_truncated, evaluation.mean_length) == (1, 1, 2.5)
    assert (evaluation.label, evaluation.task, evaluation.split) == ("student", "hand-made", "test")
    assert evaluation.settings == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_new_tokens": 9, "seed": 4}


def test_metrics_and_summary_by_hand():
    evaluation = Evaluation.of(verified(BY_HAND), "student", "test")
    metrics = {name: values.tolist() for name, values in evaluation.metrics().items()}
    assert [*metrics] == ["avg@4", "pass@1", "pass@2", "pass@4", "mixed@4", "distinct", "entropy"]
    assert metrics["avg@4"] == metrics["pass@1"] == pytest.approx([0.75, 0, 1])
    assert metrics["pass@2"] == pytest.approx([1, 0, 1])
    assert metrics["mixed@4"] == [1, 0, 0]
    assert metrics["distinct"] == [2, 0, 1]
    summary = evaluation.summary()
    assert summary.loc["avg@4", "mean"] == pytest.approx(1.75 / 3)
    assert (summary.low <= summary["mean"]).all() and (summary["mean"] <= summary.high).all()
    assert (summary.loc["avg@4", "low"], summary.loc["avg@4", "high"]) == (0, 1)


def test_a_comparison_says_how_many_had_no_verdict():
    evaluation = Evaluation.of(verified(BY_HAND), "student", "test")
    whole = replace(evaluation, n_unknown=0)
    said = comparison_text(whole, evaluation, compare(whole, evaluation)).splitlines()[-1]
    assert said == "without a verdict, counted as not correct: 0 of 12 before, 1 of 12 after"
    assert "without" not in comparison_text(whole, whole, compare(whole, whole))


def test_saved_evaluation_loads_equal(tmp_path):
    evaluation = Evaluation.of(verified(BY_HAND), "student", "test")
    evaluation.save(tmp_path / "new" / "evaluation.json")
    assert Evaluation.load(tmp_path / "new" / "evaluation.json") == evaluation
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["evaluation.json"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"3", b'{"label": "x"}', b"\xff\xfe", b'{"no": 1}'])
def test_what_is_no_evaluation_is_refused_by_file(tmp_path, content):
    path = tmp_path / "evaluation.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"evaluation: .*evaluation\.json"):
        Evaluation.load(path)


def test_rollouts_from_a_file_keep_their_diversity_or_are_refused(rollouts, tokenizer, tmp_path):
    """A table holds verdicts, not canonical answers: numbers of solutions must not be made up from it."""
    expected = Evaluation.of(rollouts, "student", "test")
    rollouts.save(tmp_path / "rollouts.parquet", tokenizer)
    loaded = Rollouts.load(tmp_path / "rollouts.parquet", tokenizer)
    try:
        found = Evaluation.of(loaded, "student", "test")
    except ValueError:
        return
    assert found.n_correct == expected.n_correct
    assert found.n_distinct == expected.n_distinct
    assert found.answer_entropy == expected.answer_entropy


def test_problems_with_different_numbers_of_samples_are_refused():
    with pytest.raises(ValueError):
        Evaluation.of(verified([[(R, "a")] * 3, [(W, "b")]]), "student", "test")


def test_unverified_rollouts_are_refused():
    with pytest.raises(ValueError):
        Evaluation.of(replace(verified(BY_HAND), verifications=[]), "student", "test")


# Comparison


def evaluation_of(n_correct, label="before", **changes) -> Evaluation:
    n = len(n_correct)
    base = Evaluation(
        label=label,
        task="countdown",
        split="test",
        n_samples=8,
        settings={"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 30, "seed": 0},
        problem_ids=[f"p{i}" for i in range(n)],
        n_correct=n_correct,
        n_distinct=[int(c > 0) for c in n_correct],
        answer_entropy=[0.5] * n,
    )
    return replace(base, **changes)


def test_paired_interval_is_narrower_than_unpaired():
    rng = np.random.default_rng(2)
    before = rng.integers(0, 7, 200)
    after = before + rng.integers(0, 3, 200)
    table = compare(evaluation_of(before.tolist()), evaluation_of(after.tolist(), "after"))
    row = table.loc["avg@8"]
    assert row.difference == pytest.approx((after - before).mean() / 8)
    assert row.before == pytest.approx(before.mean() / 8) and row.after == pytest.approx(after.mean() / 8)
    assert row.relative == pytest.approx(row.difference / row.before)
    assert row.low < row.difference < row.high
    unpaired = 2 * 1.96 * math.hypot(before.std() / 8, after.std() / 8) / math.sqrt(200)
    assert row.high - row.low < 0.6 * unpaired


def test_comparison_pairs_problems_by_id_and_leaves_the_others_out():
    before = evaluation_of([8, 0, 4], problem_ids=["a", "b", "c"])
    after = evaluation_of([5, 8, 0], "after", problem_ids=["c", "other", "a"])
    row = compare(before, after).loc["avg@8"]
    assert (row.before, row.after) == pytest.approx((6 / 8, 2.5 / 8))
    # differences are -1 for a and +1/8 for c
    assert (row.low, row.high) == pytest.approx((-1, 1 / 8))


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"task": "other"}, "task"),
        ({"n_samples": 16}, "n_samples"),
        ({"problem_ids": ["x", "y", "z"]}, "share no problem"),
        *(
            ({"settings": evaluation_of([0]).settings | {setting: value}}, setting)
            for setting, value in (("temperature", 0.6), ("top_p", 0.95), ("top_k", 20), ("max_new_tokens", 5))
        ),
    ],
)
def test_evaluations_that_cannot_be_compared_are_refused(changes, name):
    with pytest.raises(ValueError, match=name):
        compare(evaluation_of([1, 2, 3]), evaluation_of([1, 2, 3], "after", **changes))


def test_what_only_one_of_two_says_of_its_sampling_makes_them_differ(tmp_path):
    whole, bare = evaluation_of([1, 2, 3]), evaluation_of([1, 2, 3], "after", settings={})
    for pair in ((whole, bare), (bare, whole)):
        with pytest.raises(InputError, match="compare: temperature is"):
            compare(*pair)
    bare.save(tmp_path / "bare.json")
    with pytest.raises(InputError, match=r"bare\.json .*missing max_new_tokens, seed, temperature, top_k"):
        Evaluation.load(tmp_path / "bare.json")


def test_seeds_may_differ_in_a_comparison():
    other = evaluation_of([1, 2, 3], "after", settings=evaluation_of([0]).settings | {"seed": 9})
    assert compare(evaluation_of([1, 2, 3]), other).loc["avg@8", "difference"] == 0


def test_real_student_is_evaluated(student, tokenizer):
    task = load_task("countdown")
    problems = task.problems("test", 30)
    evaluation, rollouts = evaluate(
        student, tokenizer, task, problems, Sampling(max_new_tokens=30, seed=2), 8, label="student", split="test"
    )
    assert evaluation.problem_ids == [problem.id for problem in problems]
    assert (
        sum(evaluation.n_correct)
        == int(rollouts.correct_B.sum())
        == sum(
            task.verify(problems[i // 8], response).verdict == "correct"
            for i, response in enumerate(rollouts.responses)
        )
    )
    assert 0.02 < evaluation.metrics()["avg@8"].mean() < 0.5
    assert all(d <= c for d, c in zip(evaluation.n_distinct, evaluation.n_correct, strict=True))
