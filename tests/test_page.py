"""The page that needs nothing: its numbers are the package's, it works offline and by keyboard, and moves are quick."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from test_browser import browser  # noqa: F401  (a fixture)
from test_plots import make_rollouts

from scope_lab import group_weights
from scope_lab.explore import path_words, paths, weigh
from scope_lab.models import DATA
from scope_lab.page import TEMPLATE, choose_prompts, main, page, read, recorded, task_data
from scope_lab.rollouts import Rollouts

ROOT = Path(__file__).resolve().parents[1]
PLACES = (-100, -99, -63, -20, 0, 1, 40, 100)
NASTY = "</script><!--<script>&\"'\u2028"
WRITTEN = DATA / "results" / "tau_explorer.html"


def at(place: int) -> float:
    """tau at a place of the page's slider: 0.05 to 20, 1 in the middle."""
    return 20 ** (place / 100)


@pytest.fixture(scope="module")
def recording() -> Rollouts:
    return Rollouts.load(DATA / "rollouts" / "countdown.parquet")


def groups(rollouts: Rollouts) -> list[int]:
    """Which groups the page shows, in its order."""
    return choose_prompts(*(path.size_P for path in paths(rollouts)), 48)


def parts(written: str) -> tuple[str, list[dict]]:
    """A page without its data, and the data."""
    before, data, after = re.split(r'(?<=id="data">)(.*?)(?=</script>)', written, maxsplit=1, flags=re.S)
    return before + after, json.loads(data)["tasks"]


def test_prompts_with_both_paths_come_first_and_short_paths_are_there(recording):
    correct, wrong = (path.size_P for path in paths(recording))
    chosen = choose_prompts(correct, wrong, 48)
    assert len(chosen) == len(set(chosen)) == 48
    smaller = np.minimum(correct[chosen], wrong[chosen])
    assert (smaller[:40] >= 5).all() and (smaller[-4:] < 2).all() and (smaller == 0).any() and (smaller == 1).any()
    assert sorted(choose_prompts(np.array([0, 3, 1, 2]), np.array([3, 0, 2, 1]), 36)) == [0, 1, 2, 3]
    assert choose_prompts(np.array([0]), np.array([0]), 48) == []


def test_data_give_the_same_numbers_back(recording):
    data = json.loads(json.dumps(task_data(recording)))
    for path, power in zip(paths(recording), data["powers"], strict=True):
        assert power == path.power
        for group, prompt in zip(groups(recording), data["prompts"], strict=True):
            rows = path.members(group)
            assert [rollout[0] for rollout in prompt[path.name]] == [recording.responses[row] for row in rows]
            read = np.float32([rollout[1] for rollout in prompt[path.name]])
            assert (read == path.nll_B.float().numpy()[rows]).all()


def test_a_response_cannot_end_the_script(tmp_path):
    rollouts = make_rollouts()
    rollouts.responses[9] = NASTY
    written = page([task_data(rollouts)])
    assert "<!--" not in written and written.count("</script>") == TEMPLATE.read_text().count("</script>")
    _, tasks = parts(written)
    assert NASTY in {r[0] for p in tasks[0]["prompts"] for r in p["student"] + p["teacher"]}


def test_the_command_writes_one_small_file_that_names_no_address(tmp_path, capsys):
    out = tmp_path / "new" / "tau.html"
    assert main(["--out", str(out)]) == 0
    said, written = capsys.readouterr().out, out.read_text()
    assert out.stat().st_size < 1_000_000 and f"{out.stat().st_size / 1e3:.0f} kB" in said
    assert not re.search(r"https?:|<link|<img|src=|url\(|@import|fetch\(|import ", written)
    names = [task["name"] for task in parts(written)[1]]
    assert written.count("{{") == 0 and len(names) == len(set(names)) == len(recorded()) >= 1
    again = tmp_path / "again.html"
    main(["--out", str(again)])
    assert again.read_text() == written


def test_the_written_page_is_that_of_the_code_and_the_recordings():
    """`make page` writes it anew. Perplexities may differ in the last digit on another machine."""
    (shell, shown), (expected, tasks) = (
        parts(p) for p in (WRITTEN.read_text(), page([task_data(read(file)) for file in recorded()]))
    )
    assert shell == expected
    assert [(t["name"], t["said"], t["total"]) for t in shown] == [(t["name"], t["said"], t["total"]) for t in tasks]
    found, there = ([r for t in x for p in t["prompts"] for r in p["student"] + p["teacher"]] for x in (shown, tasks))
    assert [response for response, _ in found] == [response for response, _ in there]
    assert [nll for _, nll in found] == pytest.approx([nll for _, nll in there], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: --out"),
        (["--out", "{tmp}/a.html", "--rollouts", "{tmp}/none.parquet"], "found no file"),
        (["--out", "{tmp}/a.html", "--rollouts", "{tmp}/text.parquet"], "cannot be read"),
        (["--out", "{tmp}/a.html", "--prompts", "0"], "prompts: found 0, accepted 1 or more"),
        (["--out", "{tmp}"], "cannot be written"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, said, tmp_path, capsys):
    (tmp_path / "text.parquet").write_text("not a table")
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and error.startswith("scope-lab: ")


def test_the_template_travels_with_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert TEMPLATE.name in settings["tool"]["setuptools"]["package-data"]["scope_lab"]


# In a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_page(browser, tmp_path_factory):  # noqa: F811
    """Opens a page on some tasks, offline; every request but for the file itself, and every error, fails the test."""
    opened = []

    def open_(tasks: list[dict], **context):
        file = tmp_path_factory.mktemp("page") / "tau.html"
        file.write_text(page(tasks), encoding="utf-8")
        tab = browser.new_context(offline=True, **{"viewport": {"width": 1200, "height": 1300}, **context}).new_page()
        tab.trouble = []
        tab.on("request", lambda request: request.url != file.as_uri() and tab.trouble.append(request.url))
        tab.on("console", lambda message: tab.trouble.append(message.text))
        tab.on("pageerror", lambda error: tab.trouble.append(str(error)))
        tab.goto(file.as_uri())
        opened.append(tab)
        return tab

    yield open_
    assert [trouble for tab in opened for trouble in tab.trouble] == []
    for tab in opened:
        tab.context.close()


@pytest.fixture(scope="module")
def tab(open_page, recording):
    return open_page([task_data(recording)])


@pytest.fixture
def fresh(tab):
    tab.locator("#reset").click()
    return tab


# Moves the page's own controls, and reads what is drawn: each bar's share from its height and the scale beside it.
READ = """
places => {
  const set = (id, value) => {
    document.getElementById(id).value = value;
    document.getElementById(id).dispatchEvent(new Event('input', {bubbles: true}));
  };
  const found = [];
  for (const prompt of document.getElementById('prompt').options) {
    set('prompt', prompt.value);
    for (const place of places) {
      set('tau', place);
      found.push(['student', 'teacher'].map(name =>
        [...document.querySelectorAll(`#${name}-bars rect`)].map(bar => +bar.dataset.weight)));
    }
  }
  return found;
}
"""


@pytest.mark.browser
@pytest.mark.slow
def test_weights_are_those_of_the_package(fresh, recording):
    found = fresh.evaluate(READ, list(PLACES))
    chosen, both = groups(recording), paths(recording)
    assert len(found) == len(chosen) * len(PLACES) == 384
    for j, place in enumerate(PLACES):
        for k, path in enumerate(both):
            expected = weigh(path, at(place)).weights_B
            for i, group in enumerate(chosen):
                shown = found[i * len(PLACES) + j][k]
                assert np.abs(np.array(shown) - expected[path.members(group)]).max(initial=0) < 1e-6


@pytest.mark.browser
@pytest.mark.slow
def test_bars_are_as_high_as_their_weights(fresh):
    fresh.locator("#tau").press("Home")
    bars = fresh.locator("#teacher-bars rect").evaluate_all(
        "bars => bars.map(b => [b.dataset.weight, b.getAttribute('height')])"
    )
    weight, height = np.array(bars, dtype=float).T
    assert len(bars) > 5 and weight.max() > 2 * weight.min()
    np.testing.assert_allclose(height / height.max(), weight / weight.max(), atol=1e-9)
    # An equal share is where the dashed line is.
    bottom, line = fresh.locator("#teacher-bars").evaluate(
        "s => [+s.querySelector('.axis').getAttribute('y1'), +s.querySelector('.even').getAttribute('y1')]"
    )
    assert (bottom - line) / height.max() == pytest.approx(1 / len(bars) / weight.max())


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("power", [1.0, -1.0])
def test_the_pages_function_agrees_on_extremes_and_degenerate_groups(tab, power):
    rng = np.random.default_rng(0)
    cases = [rng.exponential(scale, n) for scale in (1e-9, 0.01, 1, 800) for n in (1, 2, 7, 32, 200)]
    cases += [
        np.zeros(5),
        np.full(3, 1e4),
        np.array([0.3, 0.3, 2.0]),
        np.array([0.0, 1e-12]),
        np.array([5.0, 0.0, 5.0]),
    ]
    # The limit is asked of the page as tau = 0; the package refuses that, and reaches it at the smallest number.
    for tau, package_tau in [(0, 1e-300), (float("inf"),) * 2, *((t, t) for t in (1e-9, 1e-3, 0.05, 1.0, 20.0, 1e9))]:
        asked = "Infinity" if np.isinf(tau) else repr(tau)
        found = tab.evaluate(f"cases => cases.map(nll => weights(nll, {asked}, {power}))", [c.tolist() for c in cases])
        for nll, shown in zip(cases, found, strict=True):
            one = torch.zeros(len(nll), dtype=torch.long)
            expected = group_weights(torch.tensor(nll), torch.ones(len(nll)), one, package_tau, power).numpy()
            assert np.abs(np.array(shown) - expected).max() < 1e-6
    assert tab.evaluate("[weights([], 1, 1).length, measures([])]") == [0, None]


@pytest.mark.browser
@pytest.mark.slow
def test_words_and_numbers_are_the_packages(fresh, recording):
    chosen, both = groups(recording), paths(recording)
    for i, place in [(0, 0), (5, -100), (20, -50), (38, 60), (47, 0), (44, -80), (42, 10)]:
        fresh.locator("#prompt").select_option(str(i))
        fresh.locator("#tau").evaluate(
            "(slider, place) => { slider.value = place; slider.dispatchEvent(new Event('input')); }", place
        )
        said = fresh.locator("#words").inner_text()
        assert said.startswith(f"τ = {float(f'{at(place):.3g}'):g}. Prompt {recording.problems[chosen[i]].prompt}")
        for path in both:
            shares = weigh(path, at(place))
            assert path_words(path, shares, chosen[i]) in said
            columns = {"ess": shares.ess_P, "largest": shares.largest_P, "entropy": shares.entropy_P}
            for measure, values in columns.items():
                cell = fresh.locator(f"[data-path={path.name}][data-measure={measure}]")
                value = cell.get_attribute("data-value")
                expected = values[chosen[i]]
                assert (
                    value == "" if np.isnan(expected) else float(value) == pytest.approx(expected, rel=1e-5, abs=1e-5)
                )


@pytest.mark.browser
@pytest.mark.slow
def test_the_limits_are_shown_beside_and_in_the_picture(fresh, recording):
    row = fresh.locator("#numbers tbody tr").first.locator("td")
    n = int(paths(recording)[0].size_P[groups(recording)[0]])
    assert row.all_inner_texts()[1:] == ["1.00", f"{n}.00"]
    for name, expected, head in (("limit τ → 0", 1.0, "τ → 0"), ("limit τ → ∞", float(n), "τ → ∞")):
        fresh.get_by_role("radio", name=name).check()
        assert float(row.first.get_attribute("data-value")) == pytest.approx(expected)
        assert fresh.locator("#words").inner_text().startswith(f"{head}. ")
    weights = fresh.locator("#student-bars rect").evaluate_all("bars => bars.map(bar => +bar.dataset.weight)")
    assert weights == pytest.approx([1 / n] * n)
    fresh.locator("#tau").press("ArrowLeft")  # the slider leaves the limit
    assert fresh.get_by_role("radio", name="this τ").is_checked()


@pytest.mark.browser
@pytest.mark.slow
def test_every_control_has_a_name_and_works_by_keyboard(fresh):
    words = fresh.locator("#words")
    assert words.get_attribute("role") == "status"
    start = fresh.locator("main").inner_html()
    slider = fresh.get_by_role("slider", name="Weight temperature")
    chooser = fresh.get_by_role("combobox", name="Prompt")
    chooser.focus()
    reached = []
    for _ in range(3):
        fresh.keyboard.press("Tab")
        reached.append(fresh.evaluate("document.activeElement.id || document.activeElement.name"))
    assert reached == ["reset", "tau", "mode"]
    slider.focus()
    for key, said in (("ArrowLeft", "τ = 0.97. "), ("Home", "τ = 0.05. "), ("End", "τ = 20. ")):
        fresh.keyboard.press(key)
        assert words.inner_text().startswith(said) and slider.get_attribute("aria-valuetext") == said[:-2]
    before = words.inner_text()
    chooser.focus()
    fresh.keyboard.press("ArrowDown")
    assert words.inner_text() != before and chooser.input_value() == "1"
    fresh.get_by_role("radio", name="this τ").focus()
    fresh.keyboard.press("ArrowRight")
    assert words.inner_text().startswith("τ → 0. ")
    fresh.get_by_role("button", name="Reset").focus()
    fresh.keyboard.press("Enter")
    assert fresh.locator("main").inner_html() == start
    assert (slider.input_value(), chooser.input_value()) == ("0", "0")
    for name in ("Student path", "Teacher path", "What is kept"):
        assert fresh.get_by_role("img", name=name).count() == 1


CONTRASTS = """
() => {
  const light = colour => colour.match(/[0-9.]+/g).slice(0, 3).map(x => x / 255)
    .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const of = (query, name) => light(getComputedStyle(document.querySelector(query))[name]);
  const paper = of('body', 'backgroundColor'), card = of('.card', 'backgroundColor');
  return {
    text: [['body', paper], ['.soft', card], ['#words', card]].map(([at, on]) => contrast(of(at, 'color'), on)),
    shapes: ['.student', '.teacher'].map(path => contrast(of(`rect${path}`, 'fill'), paper)),
  };
}
"""


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read_in_light_and_dark(open_page, recording, scheme):
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    narrow = open_page([task_data(recording)], color_scheme=scheme, **phone)
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 360
    for query in ("#tau", "#prompt", "#reset", "fieldset label"):
        assert narrow.locator(query).first.bounding_box()["height"] >= 44
    # WCAG 2: 4.5 for text, 3 for shapes.
    contrast = narrow.evaluate(CONTRASTS)
    assert min(contrast["text"]) >= 4.5 and min(contrast["shapes"]) >= 3
    dark = narrow.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


@pytest.mark.browser
@pytest.mark.slow
def test_tasks_are_chosen_and_reset_returns_to_the_first(open_page, recording):
    rollouts = make_rollouts()
    rollouts.task, rollouts.responses[9] = "other", NASTY
    both = open_page([task_data(recording), task_data(rollouts)])
    first = both.locator("#words").inner_text()
    both.get_by_role("combobox", name="Task").select_option("other")
    texts = [option.split(" wrong: ")[1] for option in both.locator("#prompt option").all_inner_texts()]
    assert sorted(texts) == [f"{p},1=2:" for p in range(6)]
    # The first group of `make_rollouts` is all wrong: its student path is empty, and said to be.
    both.locator("#prompt").select_option(str(texts.index("0,1=2:")))
    assert "student path: empty" in both.locator("#words").inner_text()
    assert both.locator("#student-bars rect").count() == 0 and both.locator("#student-bars").text_content()
    both.get_by_role("button", name="Reset").click()
    assert both.locator("#words").inner_text() == first


# Milliseconds from a control's event through the new layout, as the page's own clock has it; the first 20 are not kept.
TIMES = """() => ['tau', 'prompt'].map(id => {
  const control = document.getElementById(id), times = [];
  for (let i = 0; i < 220; i++) {
    control.value = id === 'tau' ? i % 200 - 100 : i % control.options.length;
    const start = performance.now();
    control.dispatchEvent(new Event('input', {bubbles: true}));
    document.body.getBoundingClientRect();
    if (i >= 20) times.push(performance.now() - start);
  }
  return times;
})"""
FRAME_MS = 16


@pytest.mark.browser
@pytest.mark.slow
def test_a_move_takes_no_longer_than_a_frame(fresh):
    """The median, which a busy machine moves little; tests/bench/widgets.py has the slowest twentieth."""
    fresh.locator("#list summary").click()
    for moves in fresh.evaluate(TIMES):
        assert len(moves) == 200 and np.median(moves) <= FRAME_MS
