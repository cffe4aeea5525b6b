"""Numbers, figures and the explorer of lesson 04: estimators, recorded runs, difficulty, Pass@k by method."""

import io
import json
import re
import time

import numpy as np
import pytest
from matplotlib import _pylab_helpers
from PIL import Image

from scope_lab import load_task, pass_at_k, plots
from scope_lab.checkpoint import make_compact
from scope_lab.diversity import (
    ORDER,
    difficulty_bands,
    expected_estimate,
    naive_pass_at_k,
    pass_curve,
    recorded_runs,
    solution_counts,
    title,
)
from scope_lab.evaluation import SAMPLING, Evaluation, bootstrap_interval, bootstrap_intervals, compare
from scope_lab.methods import METHODS
from scope_lab.models import DATA
from scope_lab.style import png
from scope_lab.tasks.countdown import DIFFICULTIES
from scope_lab.widgets import Frames, PassAtKExplorer

N = 8
PROBLEMS = load_task("countdown").problems("test", 60, seed=3)


def make_evaluation(label: str, chance: float, seed: int) -> Evaluation:
    """Made-up counts on real problems: those with more solutions are solved more often."""
    rng = np.random.default_rng(seed)
    ids = [problem.id for problem in PROBLEMS]
    correct = rng.binomial(N, chance * rng.uniform(0.2, 1, len(ids))).tolist()
    distinct = [min(c, 3) for c in correct]
    return Evaluation(
        label, "countdown", "test", N, dict.fromkeys(SAMPLING, 1), ids, correct, distinct, [0.5] * len(ids)
    )


@pytest.fixture(scope="module")
def evaluations() -> list[Evaluation]:
    labels = {"psr step 0": 0.3, "psr step 200": 0.6, "scope step 200": 0.4}
    return [make_evaluation(label, chance, i) for i, (label, chance) in enumerate(labels.items())]


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_the_unbiased_estimate_is_exact_on_average_and_the_naive_one_too_low(k):
    p = np.linspace(0.02, 0.98, 13)
    truth = 1 - (1 - p) ** k
    assert expected_estimate(pass_at_k, p, 8, k) == pytest.approx(truth)
    naive = expected_estimate(naive_pass_at_k, p, 8, k)
    assert (naive < truth).all() if k > 1 else naive == pytest.approx(truth)


def test_the_expected_estimate_is_what_simulation_finds():
    c = np.random.default_rng(0).binomial(6, 0.3, 200_000)
    assert expected_estimate(naive_pass_at_k, 0.3, 6, 4) == pytest.approx(naive_pass_at_k(c, 6, 4).mean(), abs=2e-3)


def test_intervals_of_columns_are_the_intervals_of_each():
    values = np.random.default_rng(0).random((50, 3))
    each = [bootstrap_interval(values[:, j], n_resamples=500) for j in range(3)]
    assert bootstrap_intervals(values, n_resamples=500) == pytest.approx(np.array(each), abs=1e-5)


def test_runs_are_found_by_listing_finished_ones_in_order(tmp_path, evaluations):
    def record(name: str, steps: int, last: int) -> None:
        folder = tmp_path / name
        (folder / "evaluations").mkdir(parents=True)
        (folder / "config.yaml").write_text(f"steps: {steps}\n")
        rows = [{"step": s, "reward": 0.1, "entropy": 0.3} for s in (1, 2)]
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
        for step in (0, last):
            evaluations[0].save(folder / "evaluations" / f"step-{step:06d}.json")

    for name in ("scope-seed0", "psr-seed0", "psr-seed1", "scope-no-weights-seed0", "scope-tau0.5-seed0"):
        record(f"countdown-{name}", 2, 2)
    make_compact(tmp_path / "countdown-scope-seed0")
    record("countdown-kd-seed0", 2, 0)  # still being recorded
    (tmp_path / "countdown-opd-seed0").mkdir()  # only begun
    assert [run.method for run in recorded_runs(tmp_path)] == ["psr", "scope"]
    everything = recorded_runs(tmp_path, seed=None)
    assert [(run.method, run.seed) for run in everything] == [("psr", 0), ("psr", 1), ("scope", 0)]
    assert all(run.metrics.index.tolist() == [1, 2] for run in everything) and everything[0].title == "PSR"


def test_the_recorded_runs_share_their_start_and_the_order_names_methods():
    runs = recorded_runs(DATA / "runs")
    assert {"psr", "grpo", "opd", "scope"} <= {run.method for run in runs}
    assert all(run.before.n_correct == runs[0].before.n_correct for run in runs)
    assert all(len(run.metrics) == run.metrics.index[-1] for run in runs)
    assert set(ORDER) <= set(METHODS)


def test_difficulty_is_the_number_of_solutions_in_the_tasks_own_bounds(evaluations):
    counts = solution_counts(evaluations[0])
    bands = difficulty_bands(counts)
    assert counts.min() >= 1
    assert (bands["hard"].astype(int) + bands["medium"] + bands["easy"] == 1).all() and bands["all"].all()
    for name in ("hard", "easy"):
        task = load_task(f"countdown:{name}")
        assert [task._difficult_enough(problem) for problem in PROBLEMS] == bands[name].tolist()
    assert counts[bands["medium"]].min() > DIFFICULTIES["hard"].max_solutions


def test_curves_agree_with_the_paired_comparison(evaluations):
    before, after = evaluations[:2]
    curve, table = pass_curve(after, before), compare(before, after)
    for i, k in enumerate(curve.ks):
        row = table.loc[f"pass@{k}"]
        assert curve.mean_K[i] == pytest.approx(row.after)
        assert curve.difference_K[i] == pytest.approx(row.difference)
        assert curve.difference_interval_K2[i] == pytest.approx([row.low, row.high], abs=1e-5)
    alone = pass_curve(before)
    assert np.isnan(alone.difference_K).all() and np.isnan(alone.difference_interval_K2).all()


def test_a_curve_of_some_problems_reads_those_only(evaluations):
    mask = np.arange(60) < 20
    expected = pass_at_k(np.array(evaluations[0].n_correct[:20]), N, 4).mean()
    assert pass_curve(evaluations[0], mask=mask).mean_K[2] == pytest.approx(expected)


def test_evaluations_of_different_problems_are_refused(evaluations):
    other = make_evaluation("psr step 200", 0.5, 9)
    object.__setattr__(other, "problem_ids", other.problem_ids[::-1])
    with pytest.raises(ValueError, match="differ in problems"):
        pass_curve(other, evaluations[0])
    with pytest.raises(ValueError, match="accepted a baseline and one method"):
        PassAtKExplorer(evaluations[:1])


def test_titles_are_methods_or_before_training(evaluations):
    assert [title(e) for e in evaluations] == ["before training", "PSR", "SCOPE"]
    assert title(make_evaluation("my model", 0.5, 0)) == "my model"


def test_the_bias_figure_draws_both_estimators():
    figure = plots.plot_estimator_bias(8, (2, 8))
    naive, fair = figure.axes
    assert min(naive.lines[1].get_ydata()) < min(naive.lines[0].get_ydata()) < -1
    assert np.abs(fair.lines[1].get_ydata()).max() < 1e-9
    assert "points" in naive.get_ylabel() and "unbiased by 0.0" in plots.alt_estimator_bias(8, (2, 8))


def test_bars_of_correct_samples_hold_every_problem(evaluations):
    before, after = evaluations[:2]
    (ax,) = plots.plot_success_counts(before, after).axes
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == 2 * len(PROBLEMS)
    assert heights[0] == sum(c == 0 for c in before.n_correct)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["0", "1–4", "5–8"]
    assert f"{heights[0]} of 60 problems never solved" in plots.alt_success_counts(before, after)


def test_diversity_shows_means_and_words_of_every_evaluation(evaluations):
    distinct, entropy = plots.plot_diversity(evaluations).axes
    points = [line.get_xdata()[0] for line in distinct.lines if len(line.get_xdata()) == 1]
    assert points == pytest.approx([np.mean(e.n_distinct) for e in evaluations])
    assert [t.get_text() for t in distinct.get_yticklabels()] == ["before training", "PSR", "SCOPE"]
    assert "nats" in entropy.get_xlabel()
    words = plots.alt_diversity(evaluations)
    assert all(f"{np.mean(e.n_distinct):.2f} distinct" in words for e in evaluations)


def test_training_curves_are_running_means_of_the_metrics():
    runs = recorded_runs(DATA / "runs")
    reward, entropy = plots.plot_training(runs, window=20).axes
    assert len(reward.lines) == len(entropy.lines) == len(runs)
    x, y = reward.lines[0].get_data()
    assert x[0] == 20 and y[0] == pytest.approx(runs[0].metrics.reward[:20].mean())
    assert "nats a token" in entropy.get_ylabel()
    assert f"{runs[0].title} reward from" in plots.alt_training(runs)


def test_each_difficulty_has_a_panel(evaluations):
    figure = plots.plot_by_difficulty(evaluations)
    bands = difficulty_bands(solution_counts(evaluations[0]))
    for ax, name in zip(figure.axes, ("hard", "medium", "easy"), strict=True):
        assert ax.get_title(loc="left").startswith(f"{bands[name].sum()} {name} problems")
        expected = pass_at_k(np.array(evaluations[1].n_correct)[bands[name]], N, N).mean()
        assert ax.lines[1].get_ydata()[-1] == pytest.approx(expected)
        assert f"{bands[name].sum()} {name} problems" in plots.alt_by_difficulty(evaluations)
    assert png(figure)[:4] == b"\x89PNG"


@pytest.fixture(scope="module")
def shared(evaluations) -> PassAtKExplorer:
    return PassAtKExplorer(evaluations)


@pytest.fixture
def explorer(shared) -> PassAtKExplorer:
    shared.reset.click()
    return shared


def pixels(explorer: PassAtKExplorer) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(explorer._png)))


def test_the_status_line_has_the_paired_differences(explorer, evaluations):
    explorer.k.value, explorer.difficulty.value = 4, "hard"
    said = explorer.status.value
    mask = difficulty_bands(solution_counts(evaluations[0]))["hard"]
    assert f"k = 4. {mask.sum()} hard problems" in said and 'role="status"' in said
    for name, evaluation in (("PSR", evaluations[1]), ("SCOPE", evaluations[2])):
        curve = pass_curve(evaluation, evaluations[0], mask)
        found = re.search(rf"{name} [\d.]+ % \((\S+) points, 95 % interval (\S+) to ([^)]+)\)", said)
        expected = 100 * np.array([curve.difference_K[2], *curve.difference_interval_K2[2]])
        assert [float(x) for x in found.groups()] == pytest.approx(expected, abs=0.06)


def test_pass_at_k_grows_with_k_on_the_status_line(explorer):
    shown = []
    for k in explorer.figure.ks:
        explorer.k.value = k
        shown.append(float(re.search(r"before training ([\d.]+) %", explorer.status.value).group(1)))
    assert shown == sorted(shown) and shown[0] < shown[-1]


def test_every_control_changes_pixels_and_a_hidden_method_is_not_named(explorer):
    seen = [pixels(explorer)]
    explorer.k.value = 8
    seen.append(pixels(explorer))
    explorer.difficulty.value = "easy"
    seen.append(pixels(explorer))
    explorer.methods[0].value = False
    seen.append(pixels(explorer))
    assert all((a != b).any() for i, a in enumerate(seen) for b in seen[:i])
    assert "PSR" not in explorer.status.value and "SCOPE" in explorer.status.value
    explorer.methods[1].value = False
    assert "before training" in explorer.status.value and "SCOPE" not in explorer.status.value


def test_the_picture_does_not_depend_on_the_way_to_it(explorer, evaluations):
    for k, difficulty in ((8, "hard"), (2, "easy"), (4, "medium")):
        explorer.k.value, explorer.difficulty.value = k, difficulty
    straight = PassAtKExplorer(evaluations)
    straight.k.value, straight.difficulty.value = 4, "medium"
    assert (pixels(explorer) == pixels(straight)).all()


def test_reset_brings_back_the_same_pixels(explorer):
    start, words = explorer._png, explorer.status.value
    explorer.k.value, explorer.difficulty.value, explorer.methods[1].value = 8, "hard", False
    explorer.frames = Frames()  # so that the picture is drawn again, not remembered
    explorer.reset.click()
    assert (explorer.k.value, explorer.difficulty.value) == (1, "all")
    assert all(box.value for box in explorer.methods)
    assert explorer._png == start and explorer.status.value == words


def test_words_are_alt_text_and_controls_have_names(explorer):
    alt = re.search(r'alt="([^"]+)"', explorer.picture.value).group(1)
    assert alt in explorer.status.value
    for control in (*explorer.methods, explorer.k, explorer.reset):
        assert control.description and control.tooltip
    assert all("problems" in tip for tip in explorer.difficulty.tooltips)
    data, metadata = explorer._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == data["text/plain"]


def test_many_moves_are_quick_and_leave_no_figure_open(explorer):
    rng = np.random.default_rng(0)
    explorer.frames = Frames(size=16)
    times = []
    for _ in range(60):
        start = time.process_time()
        explorer.k.value = int(rng.choice(explorer.figure.ks))
        explorer.difficulty.value = str(rng.choice(["all", "hard", "medium", "easy"]))
        times.append(time.process_time() - start)
    # Ten times what a free core needs: this finds a figure drawn from new.
    assert np.median(times) < 0.4
    assert not _pylab_helpers.Gcf.figs and len(explorer.frames) <= 16
