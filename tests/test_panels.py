"""What holds for every panel: Reset, words, names, still pictures, no way-dependence, no open figure, flat memory."""

import html
import re
import resource
import sys
from itertools import chain

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from test_plots import make_rollouts
from test_plots_training import make_recorded
from test_reference import step  # noqa: F401  (a fixture)
from test_verifier_lesson import noise  # noqa: F401  (a fixture)

from scope_lab import widgets
from scope_lab.diversity import recorded_runs
from scope_lab.explore_routing import Recording
from scope_lab.models import DATA
from scope_lab.widgets import (
    CostCalculator,
    DeparturePanel,
    Frames,
    LiveCurves,
    Panel,
    PassAtKExplorer,
    RolloutBrowser,
    RunExplorer,
    TauExplorer,
    VerifierPanel,
)


def pass_at_k() -> PassAtKExplorer:
    runs = recorded_runs(DATA / "runs")
    return PassAtKExplorer([runs[0].before, *(run.after for run in runs)])


MAKERS = {
    TauExplorer: lambda: TauExplorer(make_rollouts(n_prompts=7, n_rollouts=8)),
    RolloutBrowser: lambda: RolloutBrowser(
        Recording.load(DATA / "rollouts" / "countdown.parquet", rollouts_per_prompt=8)
    ),
    PassAtKExplorer: pass_at_k,
    RunExplorer: lambda: RunExplorer(recorded_runs(DATA / "runs")),
    CostCalculator: CostCalculator,
}
NAMES = [*(kind.__name__ for kind in MAKERS), DeparturePanel.__name__, VerifierPanel.__name__]


@pytest.fixture(scope="module")
def make(step, noise):  # noqa: F811
    """Makes a new panel by the name of its class."""
    makers = {kind.__name__: maker for kind, maker in MAKERS.items()}
    return {
        **makers,
        "DeparturePanel": lambda: DeparturePanel(step),
        "VerifierPanel": lambda: VerifierPanel(noise),
    }


@pytest.fixture(scope="module")
def shared(make):
    made: dict[str, Panel] = {}
    return lambda name: made.setdefault(name, make[name]())


@pytest.fixture
def panel(shared, request) -> Panel:
    found = shared(request.param)
    found.reset.click()
    return found


every_panel = pytest.mark.parametrize("panel", NAMES, indirect=True)


def controls(widget: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    """What a reader can set or press, in the order of the page."""
    if isinstance(widget, ipywidgets.Box):
        return list(chain.from_iterable(map(controls, widget.children)))
    kinds = (ipywidgets.IntSlider, ipywidgets.SelectionSlider, ipywidgets.ToggleButtons, ipywidgets.Checkbox)
    return [widget] if isinstance(widget, (*kinds, ipywidgets.Button)) else []


def settable(panel: Panel) -> list[ipywidgets.Widget]:
    return [control for control in controls(panel) if not isinstance(control, ipywidgets.Button)]


def wander(panel: Panel, times: int, seed: int = 0) -> None:
    """Set controls from Python, one after the other, to whatever they accept."""
    rng = np.random.default_rng(seed)
    for _ in range(times):
        control = rng.choice(np.array(settable(panel), dtype=object))
        if isinstance(control, ipywidgets.Checkbox):
            control.value = not control.value
        elif isinstance(control, ipywidgets.IntSlider):
            control.value = int(rng.integers(control.min, control.max + 1))
        else:
            control.index = int(rng.integers(len(control.options)))


def seen(panel: Panel) -> tuple[str, str]:
    return panel.picture.value, panel.status.value


def test_no_panel_is_left_out():
    assert {*NAMES, "LiveCurves"} == {*widgets.__all__} - {"Frames", "Panel", "TAUS"}


@every_panel
def test_reset_brings_back_controls_words_and_picture_to_the_byte(panel):
    start, values = seen(panel), [control.value for control in settable(panel)]
    wander(panel, 12)
    assert seen(panel) != start
    panel.frames = Frames()  # so that the picture is drawn again, not remembered
    panel.reset.click()
    assert seen(panel) == start
    assert [control.value for control in settable(panel)] == values


@every_panel
def test_what_is_shown_does_not_depend_on_the_way_to_it(panel, make):
    wander(panel, 12, seed=1)
    straight = make[type(panel).__name__]()
    for control, like in zip(settable(straight), settable(panel), strict=True):
        control.value = like.value
    assert seen(straight) == seen(panel)


@every_panel
def test_each_control_has_a_name_and_the_picture_its_words(panel):
    for control in controls(panel):
        assert control.tooltip and (control.description or isinstance(control, ipywidgets.ToggleButtons))
    assert panel.status.value.startswith('<div role="status" aria-live="polite"')
    words = re.search(r">(.*)</div>", panel.status.value, re.S)[1]
    for alt in re.findall(r'alt="([^"]*)"', panel.picture.value):
        assert alt == words
    data, metadata = panel._repr_mimebundle_()
    assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} <= data.keys()
    assert metadata["image/png"]["alt"] == data["text/plain"] == html.unescape(words)


def peak_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


@pytest.mark.slow
@every_panel
def test_five_hundred_moves_leave_no_figure_open_and_memory_flat(panel):
    panel.frames = Frames(size=16)
    wander(panel, 100)
    before = peak_mb()
    wander(panel, 500, seed=2)
    # A figure that stays open takes two megabytes and more.
    assert peak_mb() - before < 20
    assert len(panel.frames) <= 16 and plt.get_fignums() == []


def test_live_curves_leave_no_figure_open():
    curves = LiveCurves(12, every=0)
    for reward in np.linspace(0, 1, 12):
        curves.add({"step": len(curves.history) + 1, "reward": reward})
    assert plt.get_fignums() == [] and "Training over 12 steps" in curves.status.value


# The run explorer; the others have files of their own.


def test_the_run_explorer_says_the_means_of_the_chosen_runs():
    runs = [make_recorded("psr", entropy=np.linspace(0.4, 0.1, 12)), make_recorded("opd", entropy=None)]
    explorer = RunExplorer(runs)
    assert explorer.metric.options == ("reward", "entropy") and explorer.window.value == 20
    explorer.metric.value, explorer.window.value = "entropy", 3
    first, last = (float(x) for x in re.search(r"PSR from ([\d.]+) to ([\d.]+)", explorer.status.value).groups())
    entropy = runs[0].metrics.entropy
    assert first == pytest.approx(entropy[:3].mean(), rel=5e-3) and last == pytest.approx(entropy[-3:].mean(), rel=5e-3)
    assert "OPD has none" in explorer.status.value and "last 3 steps" in explorer.status.value
    line, other = explorer.figure.lines
    assert line.get_visible() and not other.get_visible()
    assert np.asarray(line.get_ydata())[-1] == pytest.approx(last, rel=5e-3)
    explorer.methods[0].value = False
    assert "PSR" not in explorer.status.value
    explorer.methods[1].value = False
    assert "no run is chosen" in explorer.status.value
    with pytest.raises(ValueError, match="runs"):
        RunExplorer([])


def test_the_axis_of_the_run_explorer_holds_the_chosen_curves():
    explorer = RunExplorer(recorded_runs(DATA / "runs"))
    for metric in explorer.metric.options:
        explorer.metric.value = metric
        low, high = explorer.figure.ax.get_ylim()
        drawn = [np.asarray(line.get_ydata()) for line in explorer.figure.lines if line.get_visible()]
        assert drawn and all(low <= np.nanmin(y) and np.nanmax(y) <= high for y in drawn)
