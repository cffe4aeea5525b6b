"""The explorer set from Python: facts on the status line, the same pixels on Reset, nothing left open."""

import io
import re
import time
import tracemalloc

import numpy as np
import pytest
from matplotlib import _pylab_helpers
from PIL import Image
from test_plots import make_rollouts

from scope_lab.explore import paths, weigh
from scope_lab.widgets import TAUS, Frames, TauExplorer


@pytest.fixture
def explorer() -> TauExplorer:
    return TauExplorer(make_rollouts(n_prompts=7, n_rollouts=8))


def pixels(explorer: TauExplorer) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(explorer._png)))


def number(pattern: str, explorer: TauExplorer) -> float:
    return float(re.search(pattern, explorer.status.value).group(1))


def test_the_status_line_says_what_the_weights_are(explorer):
    explorer.prompt.value, explorer.tau.value = 4, 0.2
    for path in paths(explorer.rollouts):
        shares = weigh(path, 0.2)
        said = number(rf"(?<!\w){path.name} path: \d+ \w+ rollouts count as ([\d.]+)", explorer)
        assert said == pytest.approx(shares.ess_P[4], abs=0.05)
        largest = number(rf"{path.name} path: \d+[^;]*?largest share ([\d.]+)", explorer)
        assert largest == pytest.approx(100 * shares.largest_P[4], abs=0.5)
    assert "τ = 0.2." in explorer.status.value and 'role="status"' in explorer.status.value


def test_a_smaller_tau_leaves_fewer_rollouts_in_every_group(explorer):
    pattern = r"All groups:.*teacher path keeps ([\d.]+)"
    kept = []
    for tau in TAUS:
        explorer.tau.value = tau
        kept.append(number(pattern, explorer))
    assert kept == sorted(kept) and kept[0] < 60 and kept[-1] > 99


def test_pixels_follow_the_slider_and_the_prompt(explorer):
    at_start = pixels(explorer)
    explorer.tau.value = 0.1
    moved = pixels(explorer)
    assert (at_start != moved).any()
    explorer.prompt.value = 5
    assert (moved != pixels(explorer)).any()


def test_the_picture_does_not_depend_on_the_way_to_it(explorer):
    for tau in (0.05, 20.0, 0.3):
        explorer.tau.value = tau
    explorer.prompt.value = 5
    straight = TauExplorer(explorer.rollouts, group=5)
    straight.tau.value = 0.3
    assert (pixels(explorer) == pixels(straight)).all()


def test_reset_brings_back_the_same_pixels(explorer):
    start, words = explorer._png, explorer.status.value
    explorer.prompt.value, explorer.tau.value = 5, 0.05
    explorer.frames = Frames()  # so that the picture is drawn again, not remembered
    explorer.reset.click()
    assert (explorer.prompt.value, explorer.tau.value) == (explorer._start[0], 1.0)
    assert explorer._png == start and explorer.status.value == words


def test_words_are_alt_text_and_controls_have_names(explorer):
    alt = re.search(r'alt="([^"]+)"', explorer.picture.value).group(1)
    assert alt in explorer.status.value
    for control in (explorer.tau, explorer.prompt, explorer.reset):
        assert control.description and control.tooltip
    assert explorer.tau.options[0] == ("0.05", 0.05) and explorer.tau.options[-1] == ("20", 20.0)


def test_a_static_reader_gets_a_picture_and_words(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} <= data.keys()
    assert metadata["image/png"]["alt"] == data["text/plain"]


def test_three_hundred_moves_leave_no_figure_open_and_memory_flat(explorer):
    rng = np.random.default_rng(0)

    def move(times: int) -> None:
        for i, tau in enumerate(rng.choice(TAUS, times)):
            if i % 60 == 0:
                explorer.prompt.value = int(rng.choice([2, 3, 4, 5]))
            explorer.tau.value = float(tau)

    explorer.frames = Frames(size=16)
    move(60)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    move(300)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 3e6
    assert not _pylab_helpers.Gcf.figs
    assert len(explorer.frames) == 16


def test_a_move_is_quick():
    explorer = TauExplorer(make_rollouts(n_prompts=60, n_rollouts=32))
    first, again = [], []
    for times in (first, again):
        for tau in TAUS:
            start = time.perf_counter()
            explorer.tau.value = tau
            times.append(time.perf_counter() - start)
    # Ten times what a free core needs: this finds a figure drawn from new, not a busy machine.
    assert np.median(first) < 0.2 and np.median(again) < 0.01


def test_frames_forget_the_oldest():
    frames = Frames(size=2)
    for key in "abab":
        frames.get(key, lambda key=key: key)
    frames.get("a", lambda: pytest.fail("a is remembered"))
    frames.get("c", lambda: "c")
    drawn = []
    frames.get("b", lambda: drawn.append("b"))
    assert drawn == ["b"]


def test_groups_without_a_mix_can_still_be_explored():
    rollouts = make_rollouts(n_prompts=1)
    explorer = TauExplorer(rollouts)
    assert "student path: empty" in explorer.status.value
    assert "no group has two rollouts on the student path" in explorer.status.value
