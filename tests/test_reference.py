"""Departures of the released code over one real step: sums of parts are whole gradients, and words are numbers."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import _pylab_helpers
from PIL import Image

from scope_lab import checks
from scope_lab.explore_reference import (
    DEPARTURES,
    SCRIPTS,
    Step,
    departed,
    effects,
    failed_calls,
    loss_gradient,
    packing_spread,
    real_step,
)
from scope_lab.methods import METHODS
from scope_lab.models import load_model
from scope_lab.plots import alt_departures, alt_effects, alt_packing, plot_departures, plot_effects, plot_packing
from scope_lab.tasks import load_task
from scope_lab.teachers import LocalTeacher
from scope_lab.widgets import DeparturePanel, Frames


@pytest.fixture(scope="module")
def step(student, tokenizer) -> Step:
    task = load_task("countdown")
    teacher = LocalTeacher(load_model("countdown-teacher", device="cpu"))
    problems = task.problems("train", 5, seed=3)
    return Step(student, *real_step(student, tokenizer, task, problems, 8, teacher, temperature=0.6, seed=0))


def test_the_scripts_departures_make_the_reference_method():
    assert replace(departed(SCRIPTS), summary=METHODS["reference"].summary) == METHODS["reference"]
    assert departed(()) == METHODS["scope"]


@pytest.mark.parametrize("names", [(), ("student sign",), ("temperature",), SCRIPTS], ids=" ".join)
@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_the_sum_of_parts_is_one_backward_pass(step, student, names, tau):
    method = departed(names)
    found, parts = step.coefficients(method, tau), step.coordinates(method, tau)
    teacher_BT = step.teachers[0 if method.same_temperature else 1]
    rows = range(len(step.rollouts))
    whole = -loss_gradient(student, step.rollouts, rows, found.reward_B, found.distill_B, teacher_BT)
    assert step.inner(parts, parts) ** 0.5 == pytest.approx(float(whole.norm()), rel=1e-3)
    paper = step.coefficients(METHODS["scope"], tau)
    of_paper = -loss_gradient(
        student, step.rollouts, rows, paper.reward_B, paper.distill_B, step.rollouts.teacher_logp_BT
    )
    cosine = torch.nn.functional.cosine_similarity(whole, of_paper, dim=0)
    assert step.compare(names, tau)["cosine"] == pytest.approx(float(cosine), abs=2e-3)


def test_what_changes_and_what_does_not(step):
    table = effects(step, 0.1)
    assert table.loc["paper", ["cosine", "length"]].tolist() == pytest.approx([1, 1])
    assert table.loc["log form", ["cosine", "length"]].tolist() == pytest.approx([1, 1])
    assert table.loc["mean-one weights", "length"] > 1 > table.loc["denominators", "length"]
    assert table.loc["teacher sign", "cosine"] < table.loc["student sign", "cosine"] < 1
    assert table.loc["student sign", "student path kept"] != table.loc["paper", "student path kept"]


def test_a_teacher_at_another_temperature_changes_the_teacher_path_alone(step):
    group = int(step.rollouts.group_B[step.wrong[0]])
    paper, other = step.shares((), group), step.shares(("temperature",), group)
    assert np.array_equal(paper[0], other[0]) and not np.allclose(paper[1], other[1])
    assert other[1].sum() == pytest.approx(1, abs=1e-6)


def test_failed_calls_weigh_most_and_reinforce(step):
    table = failed_calls(step, every=5)
    failed, answered = table.loc["call failed"], table.loc["call answered"]
    assert failed.rollouts + answered.rollouts == len(step.wrong)
    assert failed["weight / equal share"] > 1 > answered["weight / equal share"]
    assert failed["advantage per token"] > 0 > answered["advantage per token"]


def test_packing_spreads_unless_lengths_are_equal():
    assert np.allclose(packing_spread([7] * 12, 4), 1)
    factors = packing_spread([10, 20, 40, 5, 5, 80, 10, 30], 2)
    assert factors.min() < 0.8 and factors.max() > 1.25
    # A global mean is what the packings give on average only if tokens, not batches, are averaged.
    assert packing_spread([10, 20], 2).tolist() == [1.0] * 1000


def test_figures_draw_the_table(step):
    table, figure = effects(step), plot_effects(step)
    for ax, column in zip(figure.axes, ("cosine", "length", "correct share"), strict=True):
        (points,) = [c for c in ax.collections if len(c.get_offsets()) == len(table) and c.get_sizes().size]
        assert np.allclose(np.sort(points.get_offsets()[:, 0]), np.sort(table[column]))
    assert f"student sign {table.loc['student sign', 'cosine']:.2f}" in alt_effects(step)
    factors = packing_spread([10, 20, 40, 5], 2)
    assert plot_packing(factors, 2).axes[0].get_xlabel() and f"{factors.max():.2f}" in alt_packing(factors, 2)


def test_bars_are_the_shares(step):
    group = DeparturePanel(step).prompt.value
    figure = plot_departures(step, group, SCRIPTS, tau=0.1)
    both = step.shares(SCRIPTS, group, 0.1), step.shares((), group, 0.1)
    for ax, found, paper in zip(figure.axes, *both, strict=False):
        # Heights are fractions of the axis, whose upper end the largest number beside it gives.
        (bars,), (line,) = [c for c in ax.collections if len(c.get_paths()) == len(found)][-1:], ax.lines
        (at, label) = [
            (t.get_position()[1], float(t.get_text())) for t in ax.texts if re.fullmatch(r"0\.\d+", t.get_text())
        ][-1]
        assert np.allclose([path.vertices[:, 1].max() * label / at for path in bars.get_paths()], found)
        assert np.allclose(line.get_ydata()[::2] * label / at, paper)
    assert f"cosine {step.compare(SCRIPTS, 0.1)['cosine']:.3f}" in alt_departures(step, group, SCRIPTS, 0.1)


def pixels(panel) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(panel._png)))


def cosine_said(panel) -> float:
    return float(re.search(r"cosine (-?[\d.]+) to", panel.status.value)[1])


def test_the_panel_says_what_its_switches_do(step):
    panel = DeparturePanel(step)
    assert cosine_said(panel) == 1 and "no departure" in panel.status.value
    start, words = pixels(panel), panel.status.value
    for name, box in panel.switches.items():
        box.value = True
        assert name in panel.status.value
        assert cosine_said(panel) == pytest.approx(step.compare([name])["cosine"], abs=5e-4)
        box.value = False
    panel.tau.value = 0.1
    panel.scripts.click()
    assert [name for name, box in panel.switches.items() if box.value] == list(SCRIPTS)
    assert cosine_said(panel) == pytest.approx(step.compare(SCRIPTS, 0.1)["cosine"], abs=5e-4)
    assert (pixels(panel) != start).any()
    panel.prompt.value = (panel.prompt.value + 1) % 5
    panel.frames = Frames()
    panel.reset.click()
    assert panel.status.value == words and (pixels(panel) == start).all()
    assert not _pylab_helpers.Gcf.figs
    for control in (*panel.switches.values(), panel.tau, panel.prompt, panel.reset, panel.scripts):
        assert control.description and control.tooltip
    assert all(d.paper in panel.switches[name].tooltip for name, d in DEPARTURES.items())


def cos(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def shares(nll, member, tau, power=-1.0):
    score = np.where(member, power * np.nan_to_num(nll) / tau, -np.inf)
    share = np.exp(score - score.max())
    return share / share.sum()


def filled(nll, failed, value):
    return np.where(failed, value, nll)


ANSWERS = {
    "cosine": {
        None: cos,
        "lengths left in": lambda a, b: (a * b).sum(),
        "one length only": lambda a, b: a @ b / np.linalg.norm(a),
        "squared lengths": lambda a, b: a @ b / (a @ a) / (b @ b),
        "angle instead": lambda a, b: np.arccos(cos(a, b)),
        "sign lost": lambda a, b: abs(cos(a, b)),
        "means taken off": lambda a, b: cos(a - a.mean(), b - b.mean()),
    },
    "path_balance": {
        None: lambda c, w: w / (c + w),
        "both by their own tokens": lambda c, w: 1,
        "upside down": lambda c, w: 1 / (w / (c + w)),
        "share of correct tokens": lambda c, w: c / (c + w),
        "counts instead of means": lambda c, w: w / c,
    },
    "weights_without_failed_calls": {
        None: lambda n, f, t: shares(n, ~f, t),
        "failed calls read as certainty": lambda n, f, t: shares(filled(n, f, 0), f | ~f, t),
        "normalised before dropping": lambda n, f, t: shares(filled(n, f, 0), f | ~f, t) * ~f,
        "failed calls get the mean": lambda n, f, t: shares(filled(n, f, np.nanmean(n)), f | ~f, t),
        "wrong sign": lambda n, f, t: shares(n, ~f, t, 1.0),
        "uniform weights": lambda n, f, t: shares(0 * n, ~f, t),
    },
    "mean_one": {
        None: lambda w: w / w.mean(),
        "largest is one": lambda w: w / w.max(),
        "unchanged": lambda w: w,
        "one for all": lambda w: np.ones_like(w),
        "shifted": lambda w: w + (1 - w.mean()),
    },
}


@pytest.mark.parametrize(("checker", "mistake"), [(c, m) for c, of in ANSWERS.items() for m in of])
def test_checkers_call_mistakes_by_name(checker, mistake):
    feedback = getattr(checks, checker)(ANSWERS[checker][mistake])
    assert feedback.mistake == mistake and feedback.passed == (mistake is None), feedback
