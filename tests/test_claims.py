"""Claims: the protocol's table, its rules on constructed rows, and what synthetic runs come to."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from recorded import PLAN, record_plan

from scope_lab.ablations import paired
from scope_lab.claims import BEST_TAU, FIXED_TAUS, HALF_OF_GRPO, LINES, STEP_1, TITLES, judge, verdict
from scope_lab.models import DATA
from scope_lab.plan import read_plan
from scope_lab.recovery_table import truncation
from scope_lab.results import SIX, between, equal_seconds, read_recorded, tidy, variant_means
from scope_lab.seeds import contrast, contrast_of_seeds, holm, over_seeds
from scope_lab.verdicts import at_equal_seconds, best_tau, lines, paper_comparisons, primary, secondary

PROTOCOL = (DATA / "results" / "PROTOCOL.md").read_text()
# PSR and GRPO find fewer problems, those more often; SCOPE gains most, OPD little; the teacher matters.
WISHES = {
    "scope": {"gain": 0.15, "entropy_lost": 0.01},
    "scope-no-weights": {"gain": 0.15},
    "scope-tau-2": {"gain": 0.10},
    "scope-tau-auto": {"gain": 0.20},
    "opd": {"gain": 0.03},
    "opd-one": {"gain": 0.08, "entropy_lost": 0.01},
    "grpo": {"gain": 0.5, "solved": 0.45, "entropy_lost": 0.2},
    "psr": {"gain": 0.5, "solved": 0.45},
    "scope-reversed-student": {"gain": 0.05},
}
SECONDS = dict.fromkeys(SIX, 1.0) | {"scope": 2.0}  # a step


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return read_recorded(record_plan(tmp_path_factory.mktemp("runs"), WISHES))


@pytest.fixture(scope="module")
def judged(recorded):
    return primary(recorded.runs)


def row(**values) -> pd.Series:
    whole = {"metric": "avg@32", "claimed": 1, "seeds": 5, "mean": 1.0, "low": 0.5, "high": 1.5, "p_holm": 0.01}
    return pd.Series({**whole, **values})


@pytest.mark.parametrize(
    ("rule", "values", "said"),
    [
        ("directed", {}, "supported"),
        ("directed", {"claimed": -1}, "contradicted"),
        ("directed", {"seeds": 4}, "open"),
        ("directed", {"p_holm": 0.06, "low": -0.1}, "open"),
        ("directed", {"p_holm": 0.9, "mean": 0.1, "low": -0.3, "high": 0.45}, "contradicted"),  # less than 0.5 points
        ("directed", {"metric": "pass@32", "p_holm": 0.9, "mean": 0.1, "low": -1.2, "high": 1.4}, "contradicted"),
        ("directed", {"metric": "pass@32", "p_holm": 0.9, "mean": 0.1, "low": -1.2, "high": 1.6}, "open"),
        ("no worse", {"low": -0.4, "high": 0.4}, "supported"),
        ("no worse", {"low": -0.6, "high": 0.4}, "open"),
        ("no worse", {"low": -2.0, "high": -0.6}, "contradicted"),
        ("no worse", {"metric": "pass@32", "low": -1.4, "high": 0.4}, "supported"),
        ("no worse", {"seeds": 3, "low": -0.4}, "open"),
        ("recovery", {"metric": "rho", "low": -0.3, "high": -0.01, "seeds": math.nan}, "supported"),
        ("recovery", {"metric": "rho", "low": 0.01, "high": 0.3}, "contradicted"),
        ("recovery", {"metric": "rho", "low": -0.09, "high": 0.09}, "contradicted"),
        ("recovery", {"metric": "rho", "low": -0.11, "high": 0.05}, "open"),
        ("recovery", {"metric": "rho", "low": math.nan, "high": math.nan}, "open"),
        ("entropy", {"claimed": -1, "mean": -0.2, "low": -0.3, "high": -0.1}, "supported"),
        ("entropy", {"claimed": -1, "mean": -0.1, "low": -0.3, "high": 0.1, "p_holm": 0.2}, "open"),
        ("entropy", {"claimed": -1, "mean": 0.1, "low": 0.05, "high": 0.15}, "contradicted"),
        ("entropy", {"seeds": 1}, "open"),
        ("scale", {}, "changes"),
        ("scale", {"p_holm": 0.2, "mean": 0.1, "low": -0.3, "high": 0.4}, "no change"),
        ("scale", {"p_holm": 0.2, "mean": 0.1, "low": -0.6, "high": 0.4}, "open"),
        ("scale", {"seeds": 2}, "open"),
    ],
)
def test_a_contrast_is_judged_by_the_protocols_rule(rule, values, said):
    assert judge(rule, row(**values)) == said


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (["supported", "supported"], "reproduced"),
        (["supported", "open"], "undecided"),
        (["supported", "contradicted", "open"], "not reproduced"),
        (["open"], "undecided"),
        (["changes", "no change", "open"], "it does"),
        (["no change", "no change"], "it does not"),
        (["no change", "open"], "undecided"),
    ],
)
def test_a_line_is_judged_by_its_contrasts(statuses, said):
    assert verdict(statuses) == said


def test_the_claims_are_those_of_the_protocol_and_the_plan_has_their_runs():
    assert (
        list(TITLES) == list(dict.fromkeys(line.claim for line in LINES)) == re.findall(r"^\| (C\d) \|", PROTOCOL, re.M)
    )
    variants = {run.variant for run in read_plan(PLAN)} | {"base", BEST_TAU, HALF_OF_GRPO, STEP_1}
    named = {name for line in LINES if line.rule != "recovery" for c in line.contrasts for name in c[:2]}
    assert named <= variants and set(FIXED_TAUS) <= variants
    for name in named & {run.variant for run in read_plan(PLAN)} - {"grpo", "kd", "psr", "opd"}:
        assert f"`{name}`" in PROTOCOL or name.removeprefix("scope-") in PROTOCOL, name


def test_synthetic_runs_come_to_what_was_put_in(judged):
    found = lines(judged).set_index("line")
    assert found.verdict["Pass@k paradox under PSR; GRPO; OPD"] == "not reproduced"  # OPD keeps its Pass@k
    assert found.parts["Pass@k paradox under PSR; GRPO; OPD"] == {
        ("psr", "base"): "reproduced",
        ("grpo", "base"): "reproduced",
        ("opd-one", "base"): "not reproduced",
    }
    assert found.parts["SCOPE over GRPO; KD; PSR; OPD"]["scope", "opd"] == "reproduced"
    assert found.verdict["both weights help"] != "reproduced"
    assert found.verdict["GRPO's entropy decays"] == found.verdict["SCOPE; OPD keep it"] == "reproduced"
    assert found.verdict["the teacher matters"] == found.verdict["both paths matter"] == "reproduced"
    assert found.verdict["auto needs no tuning"] == "reproduced"
    assert found.verdict["recovery falls with truncation"] == "undecided"  # not given
    assert (judged.kind == "primary").all() and len(judged) == sum(len(line.contrasts) for line in LINES)


def test_contrasts_are_the_protocols_over_seeds_and_problems(recorded, judged):
    pair = paired(recorded.ends, "scope", "opd-one", "pass@8")
    want = contrast(100 * pair.difference_SP)
    found = judged[(judged.method == "scope") & (judged.baseline == "opd-one") & (judged.metric == "pass@8")].iloc[0]
    assert (found["mean"], found.low, found.high, found.p) == pytest.approx((want.mean, *want.interval, want.p))
    assert found.relative == pytest.approx(100 * (pair.ours_SP.mean() / pair.theirs_SP.mean() - 1))
    start = judged[(judged.method == "psr") & (judged.baseline == "base")].iloc[0]
    assert start["mean"] == pytest.approx(100 * paired(recorded.ends, "psr", "base", "avg@8").difference_SP.mean())


def test_holm_counts_every_primary_contrast_of_a_claim(judged, recorded):
    for _, rows in judged[judged.rule != "recovery"].groupby("claim"):
        assert rows.p_holm.tolist() == pytest.approx(holm(rows.p).tolist())
    without = primary([run for run in recorded.runs if run.variant not in ("kd", "psr")])
    second = without[without.claim == "C2"]
    assert second.p.isna().sum() == 4
    assert second.p_holm.dropna().min() == pytest.approx(
        second.p.min() * len(second)
    )  # not over the six that are there


def test_the_best_fixed_tau_is_chosen_by_avg_and_infinity_is_no_weights(recorded, judged):
    means = {
        v: np.mean([run.after.metrics()["avg@8"].mean() for run in recorded.ends if run.method == v])
        for v in FIXED_TAUS
    }
    best = max(means, key=means.get)
    assert best == best_tau(recorded.ends) and best in ("scope", "scope-no-weights")
    assert set(judged[judged.method == "scope-tau-auto"].baseline) == {best}


def test_while_a_fixed_tau_is_missing_auto_stays_open(recorded):
    some = primary([run for run in recorded.runs if run.variant != "scope-tau-4"])
    auto = some[some.method == "scope-tau-auto"]
    assert auto.status.tolist() == ["open", "open"] and auto["mean"].notna().all()


def test_entropy_is_judged_a_number_a_seed(recorded, judged):
    lost = {
        (run.variant, run.seed): run.metrics.entropy.iloc[0] - run.metrics.entropy.iloc[-20:].mean()
        for run in recorded.runs
    }
    values = [lost["scope", s] - lost["grpo", s] / 2 for s in range(5)]
    found = judged[(judged.claim == "C6") & (judged.method == "scope")].iloc[0]
    want = contrast_of_seeds(values)
    assert (found["mean"], found.low, found.high, found.p) == pytest.approx((want.mean, *want.interval, want.p))
    assert found["mean"] == pytest.approx(0.01 - 0.1, abs=0.01) and found.seeds == 5


def test_a_number_a_seed_has_students_t():
    values = [0.9, 1.1, 1.4, 0.7, 0.9]
    found = contrast_of_seeds(values)
    t = np.mean(values) / (np.std(values, ddof=1) / 5**0.5)
    s = t / (t**2 + 4) ** 0.5  # with 4 degrees of freedom: P(|T| < t) = (3 s - s ** 3) / 2
    assert found.p == pytest.approx(1 - (3 * s - s**3) / 2, rel=1e-4)
    assert found.interval == over_seeds(np.array(values)[:, None])
    edge = contrast_of_seeds(np.array(values) - found.interval.low)  # the interval's end is where p is 5 %
    assert edge.p == pytest.approx(0.05, abs=1e-3)
    assert math.isnan(contrast_of_seeds([1.0]).p) and contrast_of_seeds([1.0, 1.0]).p == 0


def test_recovery_comes_from_its_own_tables():
    frame = pd.read_parquet(DATA / "results" / "recovery-countdown.parquet")
    cut = truncation(frame)
    first = frame[frame.quartile == 1].assign(rate=frame.recovered / frame.completions)
    by_cut = first.groupby("fraction").rate.mean()
    assert cut["mean"][1] == pytest.approx(by_cut[0.8] - by_cut[0.2])
    assert ((cut.low < cut["mean"]) & (cut["mean"] < cut.high)).all()
    cell = {"kind": "overall", "fraction": "all", "value": -0.3, "low": -0.4, "high": -0.2}
    found = primary([], {"correlations": [cell]}, frame).set_index("claim").loc["C5"]
    assert found.status.iloc[0] == "supported" and found["mean"].tolist()[1:] == pytest.approx(
        (100 * cut["mean"]).tolist()
    )


def test_nothing_recorded_leaves_everything_open():
    found = primary([])
    assert set(found.status) == {"open"} and (found.seeds.dropna() == 0).all()
    assert set(lines(found).verdict) == {"undecided"}


def test_few_seeds_have_intervals_but_no_verdict(recorded):
    two = primary([run for run in recorded.runs if run.seed < 2])
    assert two["low"].notna().sum() > 30 and set(two.status) == {"open"}
    uneven = [run for run in recorded.runs if run.seed == 0 or run.variant == "scope"]
    assert set(primary(uneven).seeds.dropna()) == {1}
    apart = [run for run in recorded.runs if run.seed == (0 if run.variant == "scope" else 1)]
    assert primary(apart).query("claim == 'C8'").seeds.tolist() == [0] * 8  # no seed in common


def test_ablations_are_reported_but_not_judged(recorded):
    found = secondary(recorded.runs)
    assert len(found) == 12 and found.status.isna().all() and found.p_holm.isna().all()
    reversed_student = found[(found.baseline == "scope-reversed-student") & (found.metric == "avg@8")].iloc[0]
    assert reversed_student.low > 0


def test_between_two_evaluations_metrics_are_on_a_line(recorded):
    run = next(run for run in recorded.runs if run.variant == "scope")
    found = between(run.evaluations, 60).metrics()
    a, b = (run.evaluations[step].metrics()["pass@8"] for step in (50, 100))
    assert found["pass@8"] == pytest.approx(0.8 * a + 0.2 * b)
    assert between(run.evaluations, 50).metrics()["avg@8"] == pytest.approx(run.evaluations[50].metrics()["avg@8"])
    assert between(run.evaluations, 200).n_correct == run.evaluations[200].n_correct


def test_at_equal_seconds_the_slow_have_done_less(recorded):
    found = equal_seconds(recorded.runs, SECONDS)
    assert found.per_step["scope"] == 2 and found.seconds == 200  # the others take a second a step
    scope = next(run for run in found.runs if (run.method, run.seed) == ("scope", 3))
    same = next(run for run in recorded.runs if (run.variant, run.seed) == ("scope", 3))
    assert scope.after.metrics()["avg@8"] == pytest.approx(same.evaluations[100].metrics()["avg@8"])
    table = at_equal_seconds(found)
    assert len(table) == 10 and (table.kind == "equal seconds").all()
    assert table["mean"][2] < primary(recorded.runs).query("claim == 'C2'")["mean"].iloc[2]


def test_equal_seconds_wants_runs_and_seconds_of_all_methods(recorded):
    assert equal_seconds([run for run in recorded.runs if run.variant != "kd"], SECONDS) is None
    assert equal_seconds(recorded.runs, {"scope": 2.0}) is None
    assert len(at_equal_seconds(None)) == 0


def test_the_tidy_table_has_a_row_a_run_step_and_problem(recorded):
    table = tidy(recorded.runs)
    run = next(run for run in recorded.runs if run.variant == "grpo")
    rows = table[(table.variant == "grpo") & (table.seed == run.seed) & (table.step == 150)]
    assert rows.n_correct.tolist() == run.evaluations[150].n_correct
    assert len(table) == 60 * (30 * 5 + 95 * 2)
    means = variant_means(recorded.runs)
    last = table[(table.variant == "kd") & (table.step == 200)]
    assert means["avg@8"]["kd"] == pytest.approx(100 * (last.n_correct / last.n_samples).mean())
    assert list(means.index) == ["base", *(run.variant for run in recorded.runs[:25])]
    assert means.seeds.tolist()[1:] == [5] * 25
    untrained = recorded.ends[0].before
    assert means["avg@8"]["base"] == pytest.approx(100 * np.mean(untrained.n_correct) / 8)
    with_teacher = variant_means(recorded.runs, teacher=recorded.ends[-1].after)
    assert list(with_teacher.index[:2]) == ["base", "teacher"] and with_teacher.seeds[:2].isna().all()


def test_the_papers_opd_has_one_rollout_a_prompt():
    theirs = paper_comparisons(8)
    assert "opd" not in {*theirs.method, *theirs.baseline} and set(theirs.metric) == {"avg@8", "pass@8"}
