"""The rollout browser set from Python: cells hold the package's numbers, moves are quick."""

import html
import re
import time

import numpy as np
import pytest
from test_explore_routing import scored, unknown  # noqa: F401  (a fixture)
from test_plots import make_rollouts

from scope_lab.explore_routing import Recording, pushes
from scope_lab.models import DATA
from scope_lab.plots.routing import METHODS, short
from scope_lab.widgets import RolloutBrowser
from scope_lab.widgets.browser import table_lines


@pytest.fixture
def browser(scored) -> RolloutBrowser:  # noqa: F811
    return RolloutBrowser(Recording.of(scored))


def cells(browser: RolloutBrowser) -> dict[str, list[str]]:
    """The table as a reader sees it: by row header its cells, lines joined."""
    table: dict[str, list[str]] = {}
    for line in re.findall(r"<tr>(.*?)</tr>", browser.picture.value):
        head = re.search(r'<th scope="row"[^>]*>(.*?)</th>', line).group(1)
        found = re.findall(r'<t(?:d|h scope="col")[^>]*>(.*?)</t[dh]>', line)
        table.setdefault(head, []).extend(html.unescape(text) for text in found)
    return table


def test_cells_hold_what_each_method_pushes(browser):
    rollouts = browser.recording.rollouts
    for place, row in enumerate(browser.rows, 1):
        browser.rollout.value = place
        assert browser.row == row
        shown, n = cells(browser), int(rollouts.length_B[row])
        assert len(shown["token"]) == n
        for method in METHODS:
            assert shown[f"{method.upper()} pushes"] == [short(x) for x in pushes(rollouts, method)[row, :n].tolist()]


def test_colours_follow_the_choice(browser):
    rollouts, row = browser.recording.rollouts, browser.row
    n = int(rollouts.length_B[row])
    student, teacher = (x[row, :n].numpy() for x in (rollouts.student_logp_BT, rollouts.teacher_logp_BT))
    expected = {
        "student": ("student's log-prob, nats", student),
        "teacher": ("teacher's log-prob, nats", teacher),
        "difference": ("teacher − student, nats", teacher - student),
    }
    seen = set()
    for name, (label, values) in expected.items():
        browser.colour.value = name
        assert cells(browser)[label] == [short(x) for x in values.tolist()]
        assert browser.status.value.count("Coloured by") == 1
        seen.add(browser.picture.value)
    assert len(seen) == 3


def test_kinds_of_groups_list_their_prompts(browser):
    assert [kind for _, kind in browser.kind.options] == ["all wrong", "mixed", "all correct"]
    browser.kind.value = "all wrong"
    assert browser.groups == [0] and browser.prompt.max == 2
    assert "PSR pushes nothing" in browser.status.value and "GRPO pushes nothing" in browser.status.value
    browser.kind.value = "all correct"
    assert browser.group == 8 and "student path" in browser.status.value
    assert browser.picture.value.count("✓") == 8 and "✗" not in browser.picture.value
    browser.prompt.value = 2  # a slider never has one place alone; the second is the first
    assert browser.group == 8


def test_rollouts_without_a_verdict_are_marked_and_pushed_by_opd_alone(scored):  # noqa: F811
    browser = RolloutBrowser(Recording.of(unknown(scored, [32])))
    browser.prompt.value, browser.rollout.value = browser.groups.index(4) + 1, 1
    assert browser.row == 32 and " 1  ?" in browser.picture.value and "neither path" in browser.status.value
    for method in METHODS:
        empty = set(cells(browser)[f"{method.upper()} pushes"]) == {"0"}
        assert empty == (method != "opd")


def test_a_task_is_chosen_where_there_are_several(scored):  # noqa: F811
    one = Recording.of(scored)
    file = DATA / "rollouts" / "countdown.parquet"
    browser = RolloutBrowser({"made up": one, "countdown": file})
    assert browser.task in browser.children[0].children
    browser.task.value = "countdown"
    assert len(browser.recording.rollouts) == 8 * len(browser.recording.rollouts.problems)
    assert browser.recording.rollouts.problems[browser.group].prompt in html.unescape(browser.status.value)
    browser.reset.click()
    assert browser.task.value == "made up"
    alone = RolloutBrowser(one)
    assert alone.task not in alone.children[0].children
    with pytest.raises(ValueError, match="recordings"):
        RolloutBrowser({})


def test_the_table_can_be_read_aloud_and_controls_have_names(browser):
    assert 'role="group" aria-label="' in browser.picture.value and 'role="status"' in browser.status.value
    assert browser.picture.value.count('scope="row"') >= 6
    for control in (browser.kind, browser.prompt, browser.rollout, browser.colour, browser.reset):
        assert control.description and control.tooltip


def test_what_stands_in_a_response_cannot_become_markup(scored):  # noqa: F811
    recording = Recording.of(scored)
    recording.tokens[24][0], recording.rollouts.responses[24] = "<b>", "<b>&"
    browser = RolloutBrowser(recording)
    browser.prompt.value, browser.rollout.value = browser.groups.index(3) + 1, 1
    assert "<b>&" not in browser.picture.value + browser.status.value and "&lt;b&gt;" in browser.picture.value


def test_where_the_teacher_was_not_asked_cells_stay_empty():
    browser = RolloutBrowser(Recording.of(make_rollouts(n_prompts=9, n_rollouts=8)))
    browser.kind.value, browser.colour.value = "all correct", "teacher"
    shown = cells(browser)
    assert set(shown["teacher's log-prob, nats"]) == set(shown["OPD pushes"]) == {""}
    assert set(shown["SCOPE pushes"]) != {""} and "rgb(0,0,0)" not in browser.picture.value
    assert "OPD needs the teacher" in browser.status.value and "teacher&#x27;s not asked" in browser.status.value


def test_long_responses_go_on_a_new_line():
    assert table_lines(["a"] * 20) == [slice(0, 20)]
    lines = table_lines(["word"] * 100)
    assert [line.start for line in lines[1:]] == [line.stop for line in lines[:-1]] and lines[-1].stop == 100
    assert table_lines(["x" * 500, "y"]) == [slice(0, 1), slice(1, 2)]


def test_a_move_is_quick():
    browser = RolloutBrowser(Recording.load(DATA / "rollouts" / "countdown.parquet", rollouts_per_prompt=8))
    times = []
    for i in range(100):
        start = time.process_time()
        browser.prompt.value = 1 + i % len(browser.groups)
        times.append(time.process_time() - start)
    # Several times what a free core needs: this finds a figure drawn from new.
    assert np.median(times) < 0.1
