"""What `scope-lab results` writes: all of it from run folders, the same each time, and open where runs are missing."""

import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from recorded import METHODS, PLAN, record, record_plan
from test_claims import SECONDS, WISHES

from scope_lab import plots, report
from scope_lab.claims import AUTO, FIXED_TAUS, at_other_taus
from scope_lab.claims_page import page
from scope_lab.cli import main
from scope_lab.diversity import ORDER
from scope_lab.errors import InputError
from scope_lab.exploratory import by_difficulty, path_gradients, signals
from scope_lab.explore import smaller_groups
from scope_lab.headline import headline_runs, headline_text
from scope_lab.markdown import chance, table, with_ends
from scope_lab.models import DATA, load_model, load_tokenizer
from scope_lab.plan import read_plan
from scope_lab.report import make_results
from scope_lab.results import curve_over_seeds, read_recorded
from scope_lab.rollouts import Rollouts
from scope_lab.seeds import contrast
from scope_lab.settings import build_config
from scope_lab.style import METHOD_COLOURS, png

FIGURES = {f"{PLAN}-C{i}.png" for i in (1, 2, 3, 4, 6, 7, 8)}
TABLES = {f"{PLAN}.parquet", f"{PLAN}-claims.csv", "CLAIMS.md"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder that holds the plan's: five seeds of everything."""
    folder = tmp_path_factory.mktemp("data") / "runs"
    record_plan(folder / PLAN, WISHES)
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Without the one part that runs a model, which has a test of its own, and with seconds that a bench gave."""
    monkeypatch.setattr(report, "seconds_a_step", lambda: SECONDS)
    monkeypatch.setattr(report, "_gradients", lambda config, name: {"student": 1.0, "teacher": 2.0, "cosine": 0.1})


def test_everything_is_written_and_a_second_call_changes_nothing(runs, quick, tmp_path, capsys):
    arguments = ["results", PLAN, "--runs", str(runs / PLAN), "--out", str(tmp_path)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "125 of 125 runs" in said and re.search(r"C8  both paths matter +reproduced +5 seeds", said)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == FIGURES | TABLES | {"pass_at_k.png"} and all(str(tmp_path / name) in said for name in first)
    assert main(arguments) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    contrasts = pd.read_csv(tmp_path / f"{PLAN}-claims.csv")
    assert contrasts.kind.value_counts().to_dict() == {"primary": 47, "secondary": 12, "equal seconds": 10}
    assert len(pd.read_parquet(tmp_path / f"{PLAN}.parquet")) == 60 * (30 * 5 + 95 * 2)


def test_the_page_says_what_the_tables_say_and_links_to_its_figures(runs, quick, tmp_path):
    found, _ = make_results(PLAN, str(runs / PLAN), tmp_path)
    page = (tmp_path / "CLAIMS.md").read_text()
    row = found.primary.query("method == 'psr' and metric == 'avg@8'").iloc[0]
    cell = f"{row['mean']:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
    assert re.search(
        rf"\| PSR − before training \| Avg@8 \| > 0 \| {re.escape(cell)} \|.*\| supported \| \+10.9 \|", page
    )
    assert (
        "| C1 | Pass@k paradox under PSR; GRPO; OPD | **not reproduced** | PSR: reproduced; GRPO: reproduced; " in page
    )
    assert "the reverse" not in page and page.count("Eq. 4 does better") >= 1  # scope-reversed-student gains less
    assert "125 of 125 runs are recorded; variants: 25; seeds of a variant: 5; commit abc; on a CPU." in page
    assert "SCOPE 2.00, OPD 1.00" in page and "needs 200 s" in page
    for file in re.findall(r"\]\(([^)]*\.(?:png|md))\)", page):
        assert (tmp_path / file).is_file() or file == "PROTOCOL.md", file
    assert "nan" not in page.replace("nano", "")


def test_the_page_says_who_passed_the_teacher(runs, quick, tmp_path):
    found, _ = make_results(PLAN, str(runs / PLAN), tmp_path)
    assert found.teacher is None and "teacher in Avg" not in page(found)  # the recorded one had other problems
    best = max(found.recorded.ends, key=lambda run: np.mean(run.after.n_correct)).after
    said = page(replace(found, teacher=best))
    assert "| the teacher | – |" in said and "Ahead of the teacher in Avg@8: none." in said
    weak = page(replace(found, teacher=found.recorded.ends[0].before))
    assert re.search(r"Ahead of the teacher in Avg@8: .*PSR", weak)


@pytest.mark.parametrize(
    ("seeds", "only", "figures"),
    [
        ((), None, set()),
        ((0,), ("scope",), {"C6"}),
        ((0,), None, {"C1", "C2", "C3", "C4", "C6", "C7", "C8"}),
        ((0, 1), METHODS, {"C1", "C2", "C6"}),
    ],
)
def test_whatever_is_missing_stays_open(seeds, only, figures, quick, tmp_path):
    record_plan(tmp_path / "runs" / PLAN, WISHES, seeds, only)
    found, files = make_results(PLAN, str(tmp_path / "runs" / PLAN), tmp_path / "out")
    assert {path.name for path in files} - {"pass_at_k.png"} == TABLES | {f"{PLAN}-{claim}.png" for claim in figures}
    of_runs = found.primary[found.primary.claim != "C5"]
    assert set(of_runs.status) == {"open"} and of_runs.seeds.max() == (len(seeds) if figures - {"C6"} else 0)
    page = (tmp_path / "out" / "CLAIMS.md").read_text()
    assert "nan" not in page and f"{len(seeds) if only is None else 0} of 5 seeds" in page
    assert "Not recorded yet" in page or only is None


def test_runs_of_another_plan_are_refused_and_failed_ones_are_named(quick, tmp_path):
    folder = tmp_path / "runs" / PLAN
    plan = record_plan(folder, seeds=[0], only=("scope", "opd"))
    record(next(run for run in plan if run.name == "grpo-seed0"), skipped=11)  # of 200 updates
    record(next(run for run in plan if run.name == "psr-seed0"), skipped=10)
    found = read_recorded(plan)
    assert [run.planned.name for run in found.failed] == ["grpo-seed0"] and len(found.runs) == 3
    make_results(PLAN, str(folder), tmp_path / "out")
    assert "Failed, and not counted: grpo-seed0" in (tmp_path / "out" / "CLAIMS.md").read_text()
    (folder / "opd-seed1").mkdir()  # only begun
    assert len(read_recorded(plan).runs) == 3
    shutil.rmtree(folder / "opd-seed0")
    run = next(run for run in plan if run.name == "opd-seed0")
    record(run)
    build_config(None, {"pair": "countdown", "method": "opd", "steps": 200, "learning_rate": 1.0, "out": "x"}).save(
        run.folder / "config.yaml"
    )
    with pytest.raises(InputError, match="opd-seed0 has"):
        make_results(PLAN, str(folder), tmp_path / "out")


def test_another_plan_leaves_readmes_files_alone(quick, tmp_path):
    plan = tmp_path / "mine.yaml"
    variants = "{scope: {}, opd: {method: opd}}"
    plan.write_text(f"out: {tmp_path}/runs/mine\nseeds: [0]\ndefaults: {{pair: countdown}}\nvariants: {variants}\n")
    for run in read_plan(str(plan)):
        record(run)
    found, files = make_results(str(plan), out=tmp_path / "out")
    assert {path.name for path in files} == {
        "mine.parquet",
        "mine-claims.csv",
        "mine-CLAIMS.md",
        "mine-C2.png",
        "mine-C6.png",
    }
    assert found.recorded.planned == 2 and found.recovery is None and found.rates is None
    assert set(found.primary.claim) == {"C2", "C5", "C6"}  # what two methods and the recovery experiment can decide
    assert not len(found.secondary)


def test_the_headline_wants_the_same_seeds_of_five_methods(tmp_path):
    assert headline_runs(tmp_path) == []
    shutil.copytree(DATA / "runs" / PLAN / "psr-seed0", tmp_path / f"{PLAN}-psr-seed0")
    plan = record_plan(tmp_path / PLAN, WISHES, seeds=(0, 1), only=[m for m in ORDER if m != "kd"])
    assert [(run.method, run.seed) for run in headline_runs(tmp_path)] == [("psr", 0)]
    for run in plan:
        if run.name in ("kd-seed0", "kd-seed1", "opd-one-seed0", "scope-seed2"):
            record(run)
    found = headline_runs(tmp_path)
    assert [(run.method, run.seed) for run in found] == [(method, seed) for method in ORDER for seed in (0, 1)]
    record(next(run for run in plan if run.name == "opd-one-seed1"))
    assert [run.method for run in headline_runs(tmp_path)][::2] == ["psr", "grpo", "kd", "opd", "opd-one", "scope"]


def test_the_headline_says_how_many_seeds_and_what_its_intervals_hold(runs):
    found = headline_runs(runs)
    text = headline_text(found)
    assert text.startswith("Means of 5 seeds a method") and "over seeds and problems" in text
    assert "paradox, after PSR and GRPO" in text and "One seed" not in text
    gain_SP = np.stack([run.after.metrics()["pass@8"] - run.before.metrics()["pass@8"] for run in found[:5]])
    low, high = (100 * x for x in contrast(gain_SP).interval)
    assert f"({100 * gain_SP.mean():+.1f} [{low:+.1f}, {high:+.1f}])" in text.splitlines()[5]
    alone = headline_text([run for run in found if run.seed == 0])
    assert alone.startswith("One run a method, seed 0") and "by paired bootstrap" in alone and "One seed says" in alone


def test_curves_over_seeds_hold_both_kinds_of_luck(runs):
    evaluations = [run.after for run in headline_runs(runs) if run.method == "scope"]
    curve = curve_over_seeds(evaluations)
    want = contrast([e.metrics()["pass@4"] for e in evaluations])
    assert curve.mean_K[2] == pytest.approx(want.mean) and tuple(curve.interval_K2[2]) == pytest.approx(want.interval)
    assert np.isfinite(curve_over_seeds(evaluations[:1]).interval_K2).all()


def test_figures_hold_what_was_recorded(runs, tmp_path):
    recorded = read_recorded(read_plan(PLAN, str(runs / PLAN)))
    figure = plots.plot_methods(headline_runs(runs))
    (ax,) = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["before training", "PSR", "GRPO", "KD", "OPD", "OPD, G = 1", "SCOPE"]
    lines = dict(zip(labels, ax.lines, strict=True))
    assert lines["OPD"].get_color() == lines["OPD, G = 1"].get_color() == METHOD_COLOURS["opd"]
    assert lines["OPD, G = 1"].get_linestyle() == "--" and "5 seeds" in ax.get_title(loc="left")
    six = [run for run in recorded.runs if run.variant in METHODS]
    six[-1].metrics["entropy"] = math.nan  # as of KD, which samples nothing: the other seeds stay
    entropies = plots.plot_entropies(six).axes[0]
    assert len(entropies.lines) == 6 and entropies.get_ylabel() == "nats a token"
    words = plots.alt_entropies(six)
    assert "GRPO from 0.4" in words and "to 0.20" in words and "5 seeds" in words
    assert png(figure) == png(plots.plot_methods(headline_runs(runs)))


def test_taus_are_drawn_against_tau_one(runs):
    rows = at_other_taus([run.ends for run in read_recorded(read_plan(PLAN, str(runs / PLAN))).runs])
    assert set(rows.method) == {*FIXED_TAUS, AUTO} - {"scope"} and len(rows) == 12 and set(rows.baseline) == {"scope"}
    figure = plots.plot_taus(rows)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Avg@8", "Pass@8"]
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()][-2:] == ["∞", "auto"]
    assert "τ infinite Avg@8" in plots.alt_taus(rows) and "too small to matter, 0.5 of Avg" in plots.alt_taus(rows)


def test_signals_are_means_of_what_was_logged(runs):
    recorded = read_recorded(read_plan(PLAN, str(runs / PLAN)))
    found = signals(recorded.runs)
    assert found.loc["prompts with both paths, share"].tolist() == pytest.approx([20 / 32] * 2)
    assert found.loc["rollouts on the teacher path, a step", "first"] == 3
    assert not len(signals([])) and "reverse_kl" not in " ".join(found.index)
    bands = by_difficulty(recorded.ends)
    assert set(bands.baseline) == {"opd-one", "opd"} and (bands.seeds == 5).all() and bands.low.notna().all()
    assert not len(by_difficulty([]))


def test_path_gradients_are_those_of_each_path_alone():
    rollouts = Rollouts.load(DATA / "rollouts" / "countdown.parquet", load_tokenizer("countdown-student"))
    few = smaller_groups(rollouts, 4).select(range(24))
    assert few.correct_B.any()
    found = path_gradients(load_model("countdown-student"), few)
    assert found["student"] > 0 and found["teacher"] > 0 and -1 <= found["cosine"] <= 1
    wrong = few.select((~few.correct_B).nonzero().squeeze(1))
    alone = path_gradients(load_model("countdown-student"), wrong)
    assert alone["student"] == 0 and math.isnan(alone["cosine"])


def test_markdown_cells():
    assert table(["a", "", "c"], [["1", "", "2"], ["3", "", ""]]) == [
        "| a | c |",
        "| --- | --- |",
        "| 1 | 2 |",
        "| 3 |  |",
        "",
    ]
    assert with_ends({"mean": 1.234, "low": -0.5, "high": 2.0}, 2) == "+1.23 [-0.50, +2.00]"
    assert with_ends({"mean": 1.234, "low": math.nan, "high": math.nan}, 1) == "+1.2"
    assert with_ends({"relative": 3.0, "relative_low": 1.0, "relative_high": 4.0}, 0, "relative_") == "+3 [+1, +4]"
    assert [chance(p) for p in (0.0004, 0.0123, math.nan)] == ["< 0.001", "0.012", "–"]
