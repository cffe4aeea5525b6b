"""Curves of a training, live and recorded: running means, words with the figure's numbers, few pictures."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import _pylab_helpers
from PIL import Image
from test_plots import make_evaluation

from scope_lab.diversity import Run
from scope_lab.metrics import GLOSSARY
from scope_lab.plots import alt_history, alt_metric, plot_history, plot_metric
from scope_lab.plots.training import general, smooth
from scope_lab.widgets import LiveCurves
from scope_lab.widgets.training import METRICS


def make_history(n: int = 12) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {
            "step": step + 1,
            "reward": float(rng.uniform(0.1, 0.3)),
            "reverse_kl": 0.3 - 0.01 * step,
            "student_ess_fraction": None if step == 3 else 0.999,
            "teacher_ess_fraction": 0.9,
        }
        for step in range(n)
    ]


def make_recorded(method: str, n: int = 12, **columns) -> Run:
    metrics = pd.DataFrame({"step": range(1, n + 1), "reward": np.linspace(0.1, 0.3, n), **columns}).set_index("step")
    evaluation = make_evaluation(f"{method} step 0", [1, 2])
    return Run(method, 0, Path(), evaluation, evaluation, metrics)


def curve(ax):
    """The lines in an axis' data that are seen, and drawn as lines, not as points."""
    lines = [line for line in ax.lines if line.get_linestyle() != "None" and line.get_transform() == ax.transData]
    return [line for line in lines if line.get_visible() and len(line.get_xdata())]


def test_a_running_mean_starts_with_the_first_step_and_leaves_gaps_out():
    assert smooth([1, 2, 6, 4], 2).tolist() == [1, 1.5, 4, 5]
    assert smooth([1, None, 3], 3).tolist() == [1, 1, 2]


def test_history_is_drawn_as_points_and_running_means():
    history = make_history()
    figure = plot_history(history, window=4, steps=30)
    reward, distance, kept = figure.axes
    values = [metrics["reward"] for metrics in history]
    points, line = reward.lines
    assert np.allclose(points.get_ydata(), values) and np.allclose(line.get_ydata(), smooth(values, 4))
    assert len(curve(kept)) == 2 and len(curve(distance)) == 1
    for ax in figure.axes:
        assert ax.get_xlim()[1] >= 30 and ax.get_xlabel() == "optimizer step" and ax.get_ylabel()
    assert "nats" in distance.get_ylabel()


def test_history_in_words():
    history = make_history()
    first, last = (np.mean([m["reverse_kl"] for m in part]) for part in (history[:4], history[-4:]))
    words = alt_history(history, window=4)
    assert f"reverse KL from {first:.3f} to {last:.3f} nats" in words and "12 steps" in words
    assert "nan" not in alt_history(history[:1])


def test_a_metric_has_a_curve_for_each_run_that_has_it():
    runs = [make_recorded("scope", entropy=0.3), make_recorded("kd", entropy=None), make_recorded("opd")]
    figure = plot_metric(runs, "entropy", 3)
    (line,) = curve(figure.axes[0])
    assert np.allclose(line.get_ydata(), 0.3) and figure.axes[0].get_ylim()[0] < 0.3 < figure.axes[0].get_ylim()[1]
    words = alt_metric(runs, "entropy", 3)
    assert "SCOPE from 0.3 to 0.3" in words and "KD has none" in words and "OPD has none" in words
    line, *_ = curve(plot_metric(runs, "reward", 3).axes[0])
    assert np.allclose(line.get_ydata(), smooth(np.linspace(0.1, 0.3, 12), 3))


def test_every_metric_to_choose_from_is_in_the_glossary():
    assert all(general(metric) in GLOSSARY for metric in METRICS)
    assert general("student_ess") == "{path}_ess" and general("student_path_loss") == "student_path_loss"


def picture(curves: LiveCurves) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(curves._png)))


def test_live_curves_follow_a_training():
    curves, history = LiveCurves(12, every=0), make_history()
    assert "none has been taken yet" in curves.status.value
    empty = picture(curves)
    for metrics in history[:6]:
        curves.add(metrics)
    assert curves.bar.value == 6 and curves.bar.description == "6 of 12"
    assert "Training over 6 steps" in curves.status.value
    left = float(re.search(r"([\d.]+) s left", curves.status.value)[1])
    assert left >= 0
    half = picture(curves)
    assert half.shape == empty.shape and (half != empty).any()
    for metrics in history[6:]:
        curves.add(metrics)
    assert "Training over 12 steps" in curves.status.value and "0 s left" in curves.status.value
    assert not _pylab_helpers.Gcf.figs


def test_live_curves_do_not_draw_every_step_but_always_the_last():
    curves, drawn = LiveCurves(12, every=3600), []
    curves.draw = lambda draw=curves.draw: (drawn.append(len(curves.history)), draw())
    for metrics in make_history():
        curves.add(metrics)
    assert drawn == [12]


@pytest.mark.parametrize("steps", [1, 200])
def test_the_axis_has_its_length_from_the_start(steps):
    assert plot_history([], steps=steps).axes[0].get_xlim()[1] >= steps
