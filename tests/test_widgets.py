"""The τ explorer set from Python: facts on the status line, pixels that follow, quick moves; and frames remembered."""

import io
import re
import time

import numpy as np
import pytest
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


def test_the_ends_of_the_slider_are_the_ends_of_the_grid(explorer):
    assert explorer.tau.options[0] == ("0.05", 0.05) and explorer.tau.options[-1] == ("20", 20.0)


def test_a_move_is_quick():
    explorer = TauExplorer(make_rollouts(n_prompts=60, n_rollouts=32))
    first, again = [], []
    for times in (first, again):
        for tau in TAUS:
            start = time.process_time()
            explorer.tau.value = tau
            times.append(time.process_time() - start)
    # Ten times what a free core needs: this finds a figure drawn from new.
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
