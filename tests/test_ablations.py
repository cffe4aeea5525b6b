"""Recorded runs against one another: found, paired by seed and problem, with intervals, verdicts and figures."""

import math

import numpy as np
import pytest
import yaml
from test_plots import make_evaluation

from scope_lab import paper
from scope_lab.ablations import FinishedRun, by_seed, contrast_name, differences, finished_runs, paired, status
from scope_lab.errors import InputError
from scope_lab.plots import alt_by_seed, alt_forest, alt_small_sets, plot_by_seed, plot_forest, plot_small_sets
from scope_lab.seeds import contrast, over_problems


def make_run(method: str, seed: int, n_correct, before=None) -> FinishedRun:
    start = make_evaluation(f"{method} step 0", list(before or [0] * len(n_correct)))
    return FinishedRun(method, seed, start, make_evaluation(f"{method} step 9", list(n_correct)))


@pytest.fixture
def runs() -> list[FinishedRun]:
    """Five seeds of two methods on forty problems; SCOPE solves about one sample of eight more."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 6, 40)
    found = []
    for seed in range(5):
        luck = rng.integers(0, 2, 40)
        found += [make_run("opd", seed, base + luck), make_run("scope", seed, base + luck + rng.integers(0, 2, 40) * 2)]
    return found


def save(folder, name: str, run: FinishedRun) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "config.yaml").write_text(yaml.safe_dump({"steps": 9}))
    run.before.save(folder / name / "evaluations" / "step-000000.json")
    run.after.save(folder / name / "evaluations" / "step-000009.json")


def test_finished_runs_are_found_and_a_plans_runs_come_first(tmp_path):
    save(tmp_path, "countdown-scope-seed0", make_run("scope", 0, [1, 2]))
    save(tmp_path, "countdown-psr-seed0", make_run("psr", 0, [1, 2]))
    save(tmp_path, "other-opd-seed0", make_run("opd", 0, [1, 2]))
    assert [run[:2] for run in finished_runs(tmp_path)] == [("psr", 0), ("scope", 0)]
    for name in ("scope-tau-2-seed0", "scope-seed1", "scope-seed0", "scope-no-weights-seed0", "opd-one-seed0"):
        save(tmp_path / "countdown", name, make_run(name[:-6], int(name[-1]), [1, 2]))
    assert len(finished_runs(tmp_path)) == 2  # of a plan that has only begun
    for method in ("psr", "grpo", "kd", "opd"):
        save(tmp_path / "countdown", f"{method}-seed0", make_run(method, 0, [1, 2]))
    (tmp_path / "countdown" / "reference-seed0").mkdir()  # waits
    save(tmp_path / "countdown", "reference-seed1", make_run("reference", 1, [1, 2]))
    (tmp_path / "countdown" / "reference-seed1" / "evaluations" / "step-000009.json").unlink()  # unfinished
    found = [f"{run.method} {run.seed}" for run in finished_runs(tmp_path)]
    assert found[:6] == ["psr 0", "grpo 0", "kd 0", "opd 0", "scope 0", "scope 1"]
    assert found[6:] == ["scope-no-weights 0", "opd-one 0", "scope-tau-2 0"]


def test_methods_are_paired_by_seed_and_problem():
    few = [make_run("scope", 1, [4, 0, 8]), make_run("scope", 0, [2, 2, 2]), make_run("opd", 1, [4, 4, 0])]
    found = paired(few, "scope", "opd", "pass@1")
    assert found.seeds == (1,) and found.difference_SP.tolist() == [[0.0, -0.5, 1.0]]
    from_start = paired([make_run("scope", s, [8, 0], before=[4, 4]) for s in (0, 1)], "scope", "base", "avg@8")
    assert from_start.seeds == (0, 1) and from_start.difference_SP.tolist() == [[0.5, -0.5]] * 2


def test_what_cannot_be_paired_is_refused():
    few = [make_run("scope", 0, [1, 2]), make_run("opd", 1, [1, 2])]
    with pytest.raises(InputError, match=r"scope: \[0\]; opd: \[1\]; accepted .* share a seed"):
        paired(few, "scope", "opd", "pass@1")
    with pytest.raises(InputError, match="grpo: no run"):
        paired(few, "scope", "grpo", "pass@1")
    with pytest.raises(InputError, match="other problems"):
        paired([*few, make_run("opd", 0, [1, 2, 3])], "scope", "opd", "pass@1")


def test_differences_are_contrasts_in_points(runs):
    contrasts = [
        ("scope", "opd", "avg@8"),
        ("scope", "opd", "distinct"),
        ("scope", "psr", "avg@8"),
        ("opd", "base", "avg@8"),
    ]
    table = differences(runs, contrasts)
    assert table.baseline.tolist() == ["opd", "opd", "base"]  # psr is not recorded
    values = 100 * paired(runs, "scope", "opd", "avg@8").difference_SP
    row, found = table.iloc[0], contrast(values)
    assert (row["mean"], row.low, row.high, row.p) == pytest.approx((found.mean, *found.interval, found.p))
    assert row.seeds == 5 and row.holds == "seeds and problems" and row.p <= row.p_holm
    assert table["mean"][1] == pytest.approx(8 * row["mean"] / 100)  # made_evaluation: distinct = correct


def test_one_seed_has_an_interval_over_problems_and_no_p(runs):
    one = [run for run in runs if run.seed == 3]
    row = differences(one, [("scope", "opd", "avg@8")]).iloc[0]
    assert row.holds == "problems" and math.isnan(row.p) and math.isnan(row.p_holm)
    assert (row.low, row.high) == pytest.approx(over_problems(100 * paired(one, "scope", "opd", "avg@8").difference_SP))
    assert status(row, +1) == "open"


def test_status_follows_the_protocol(runs):
    row = differences(runs, [("scope", "opd", "avg@8")]).iloc[0]
    assert row.low > 0
    assert status(row, +1) == "supported" and status(row, -1) == "contradicted"
    wide = row.copy()
    wide[["mean", "low", "high", "p_holm"]] = 1.0, -2.0, 4.0, 0.4
    assert status(wide, +1) == status(wide, -1) == "open"
    small = row.copy()
    small[["mean", "low", "high", "p_holm"]] = 0.1, -0.2, 0.4, 0.4
    assert status(small, +1) == "contradicted"
    small["high"] = 0.6  # half a point of Avg would matter
    assert status(small, +1) == "open"
    small["metric"] = "pass@8"  # of Pass it would not
    assert status(small, +1) == "contradicted"


def test_by_seed_ends_with_three_intervals(runs):
    pair = paired(runs, "scope", "opd", "avg@8")
    table = by_seed(pair)
    assert table.index.tolist() == [*(f"seed {i}" for i in range(5)), "over problems", "over seeds", "over both"]
    assert table["mean"][:5].tolist() == pytest.approx(pair.difference_SP.mean(1).tolist())
    assert ((table.low <= table["mean"]) & (table["mean"] <= table.high)).all()
    alone = by_seed(paired([run for run in runs if run.seed == 0], "scope", "opd", "avg@8"))
    assert alone.low.isna().tolist() == [False, False, True, True]


def test_the_forest_draws_ours_and_the_papers_in_one_row(runs):
    theirs = paper.comparisons().query("baseline in ('opd', 'kd') and metric == 'avg@32'").replace("avg@32", "avg@8")
    ours = differences(runs, [("scope", "opd", "avg@8")])
    figure = plot_forest(ours, theirs)
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["SCOPE − KD", "SCOPE − OPD"]
    marks = sorted(line.get_xdata()[0] for line in ax.lines if line.get_marker() == "D")
    assert marks == pytest.approx(sorted(theirs.points))
    (points,) = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert points.get_xdata()[0] == pytest.approx(ours["mean"][0]) and "points" in ax.get_xlabel()
    said = f"SCOPE − OPD, Avg@8: {ours['mean'][0]:+.1f} ({ours.low[0]:+.1f} to {ours.high[0]:+.1f})"
    assert said in alt_forest(ours) and "over seeds and problems" in alt_forest(ours)
    assert "1 of 1 differences share their sign" in alt_forest(ours, theirs)
    other = theirs.assign(points=-theirs.points)
    words = alt_forest(ours, other)
    assert "0 of 1" in words and f"{said}, paper {other.points[theirs.baseline == 'opd'].iloc[0]:+.1f} and" in words


def test_what_one_seed_cannot_know_is_hollow_and_said(runs):
    table = 100 * by_seed(paired([run for run in runs if run.seed == 0], "scope", "opd", "avg@8"))
    figure = plot_by_seed(table, "SCOPE − OPD", "points")
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 2 == sum("not known" in text.get_text() for text in figure.axes[0].texts)
    assert alt_by_seed(table, "SCOPE − OPD", "points").count("not known from one seed") == 2


def test_small_sets_are_counted():
    rng = np.random.default_rng(0)
    drawn = {size: rng.normal(1, 10 / size**0.5, 500) for size in (10, 1000)}
    figure = plot_small_sets(drawn, "A − B", [3.0, 4.0], "others")
    for ax, (size, points) in zip(figure.axes, drawn.items(), strict=True):
        assert f"{size} problems: below zero in {np.mean(points < 0):.0%}" in ax.get_title(loc="left")
        assert sum(patch.get_data().values.sum() for patch in ax.patches) == 500
    assert "others, +3.0, +4.0" in alt_small_sets(drawn, "A − B", [3.0, 4.0], "others")


def test_names():
    assert (
        contrast_name({"method": "scope", "baseline": "scope-no-student-weight"}) == "SCOPE − SCOPE, no student weight"
    )
    assert contrast_name({"method": "opd-one", "baseline": "base"}) == "OPD, G = 1 − before training"
