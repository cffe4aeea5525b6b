"""Every widget of the lessons in a real JupyterLab, moved by mouse and by keyboard as a reader moves it."""

import io
import os
import re
import shutil
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest
from in_browser import FLAGS, LAB_SETTINGS, ROOT, find_browser, jupyterlab, open_notebook
from PIL import Image
from widget_moves import CASES

from scope_lab import widgets

# Which lesson shows which widget; how its status line begins, as a pattern.
SHOWN = {
    "01_routing": {"RolloutBrowser": "Prompt .* Coloured by"},
    "03_temperature": {"TauExplorer": r"τ = [\d.]+\. Prompt"},
    "04_pass_at_k": {"PassAtKExplorer": r"k = \d+\."},
    # Three minutes of training: its widgets are opened in a notebook of their own, below.
    "06_train_scope": {"LiveCurves": "The curves of|Training over", "RunExplorer": ".*, means of the first and last"},
    "08_paper_and_code": {"DeparturePanel": r"τ = [\d.]+, "},
    "09_your_own_pair": {"CostCalculator": r" s a step .*Fullest in"},
    "10_other_domains": {"VerifierPanel": r"Cosine of the step to the true one: [\d.]+"},
}
WATCH_RUNS = [
    "from scope_lab.diversity import recorded_runs\n"
    "from scope_lab.models import DATA\n"
    "from scope_lab.widgets import LiveCurves, RunExplorer\n"
    "runs = recorded_runs(DATA / 'runs')\n"
    "curves = LiveCurves(30, every=0)\ncurves",
    "for metrics in runs[-1].metrics.reset_index().to_dict('records')[:30]:\n    curves.add(metrics)",
    "RunExplorer(runs)",
]


def in_browser(test):
    """One worker for all of these, so that each lesson runs once."""
    for mark in (pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("lab")):
        test = mark(test)
    return test


def test_every_widget_of_the_lessons_is_operated_here_and_timed():
    names = set(widgets.__all__) - {"Frames", "Panel", "TAUS"}
    for lesson in (ROOT / "notebooks").glob("*.ipynb"):
        code = "\n".join(cell.source for cell in nbformat.read(lesson, 4).cells if cell.cell_type == "code")
        used = {name for name in names if re.search(rf"\b{name}\(", code)}
        assert used == set(SHOWN.get(lesson.stem, {})), lesson.name
    assert names == {name for shown in SHOWN.values() for name in shown}
    assert {*CASES} == names - {"LiveCurves"}  # which has no controls


def test_the_lab_that_is_tested_has_the_settings_of_make_lab():
    lab = re.search(r"^lab:.*?(?=^\w)", (ROOT / "Makefile").read_text(), re.M | re.S)[0]
    assert f"--config={LAB_SETTINGS.relative_to(ROOT)}" in lab


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        executable = find_browser(playwright)
        if executable is None:
            message = "no Chromium or Chrome found: install one, or run `playwright install chromium`"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


def write_notebook(file: Path, sources: list[str]) -> None:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), file)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on a copy of the lessons without their outputs, so that what is seen was made now."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "notebooks", ignore=shutil.ignore_patterns(".*"))
    for file in (home / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(file, 4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, file)
    write_notebook(home / "notebooks" / "watch_runs.ipynb", WATCH_RUNS)
    with jupyterlab(home) as address:
        yield lambda lesson: address(f"notebooks/{lesson}.ipynb")


class Shown:
    """A widget on a page, found by the words of its status line."""

    def __init__(self, page, pattern: str):
        self.page = page
        words = page.locator("div[role=status]").filter(has_text=re.compile(pattern))
        self.root = page.locator(".jp-OutputArea-output .widget-vbox", has=words).first
        self.status, self.picture = self.root.locator("div[role=status]"), self.root.locator(".widget-html").first

    def words(self) -> str:
        return self.status.inner_text()

    def number(self, pattern: str) -> float:
        return float(re.search(pattern, self.words())[1].replace(",", ""))

    def pixels(self) -> np.ndarray:
        self.page.mouse.move(0, 0)
        return np.asarray(Image.open(io.BytesIO(self.picture.screenshot())).convert("RGB"))

    def slider(self, name: str):
        return self.root.locator(".widget-slider", has_text=name).first

    def after(self, action) -> str:
        """What is said once the action has changed it."""
        old = self.words()
        action()
        self.page.wait_for_function(
            "([root, old]) => root.querySelector('div[role=status]').innerText !== old",
            arg=[self.root.element_handle(), old],
            timeout=20_000,
        )
        return self.words()

    def press(self, control, key: str) -> str:
        return self.after(lambda: control.press(key))

    def press_slider(self, name: str, key: str) -> str:
        return self.press(self.slider(name).locator("[role=slider]"), key)

    def drag(self, name: str, share: float) -> str:
        """The slider's handle, by mouse, to this share of its length."""
        handle, base = (self.slider(name).locator(part) for part in ("[role=slider]", ".noUi-base"))

        def move() -> None:
            base.scroll_into_view_if_needed()
            start, along = handle.bounding_box(), base.bounding_box()
            y = start["y"] + start["height"] / 2
            self.page.mouse.move(start["x"] + start["width"] / 2, y)
            self.page.mouse.down()
            self.page.mouse.move(along["x"] + share * along["width"], y, steps=4)
            self.page.mouse.up()

        said = self.after(move)
        self.page.wait_for_timeout(300)  # places that the handle passed are drawn too
        return self.words() or said

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def box(self, name: str):
        return self.root.get_by_role("checkbox", name=name, exact=True)


@pytest.fixture(scope="module")
def lesson(browser, lab):
    """Opens a notebook once, with all its cells run, and finds a widget in it."""
    pages = {}

    def open_(name: str, widget: str) -> Shown:
        if name not in pages:
            pages[name] = open_notebook(browser, lab(name))
        page = pages[name]
        patterns = {widget: pattern for shown in SHOWN.values() for widget, pattern in shown.items()}
        shown = Shown(page, patterns[widget])
        # Cells out of sight may not be drawn yet, and cells above still take their height.
        page.wait_for_function("document.querySelectorAll('.jp-OutputArea-output .widget-vbox').length > 0")
        for _ in range(60):
            if shown.root.count():
                shown.root.scroll_into_view_if_needed()
            page.wait_for_timeout(200)
            if shown.root.count() and shown.words():
                break
        return shown

    yield open_
    for page in pages.values():
        page.close()


@in_browser
def test_tau_moves_by_keyboard_and_by_mouse_and_reset_restores_the_pixels(lesson):
    shown = lesson("03_temperature", "TauExplorer")
    start, first = shown.words(), shown.pixels()
    assert start.startswith("τ = 1. ")
    assert shown.press_slider("τ", "ArrowRight").startswith("τ = 1.2. ")
    assert (shown.pixels() != first).any()
    kept = []
    for key, said in (("Home", "τ = 0.05. "), ("End", "τ = 20. ")):
        assert shown.press_slider("τ", key).startswith(said)
        kept.append(shown.number(r"All groups:.*teacher path keeps ([\d.]+)"))
    assert kept[0] < kept[1] and kept[1] > 99
    shown.drag("τ", 0.25)
    assert 0.05 < shown.number(r"τ = ([\d.]+)\.") < 1
    assert shown.number(r"All groups:.*teacher path keeps ([\d.]+)") < kept[1]
    prompt = re.search(r"Prompt (\S+)", start)[1]
    assert f"Prompt {prompt}" not in shown.press_slider("prompt", "ArrowRight")
    assert shown.after(shown.button("Reset").click) == start
    assert np.array_equal(shown.pixels(), first)


@in_browser
def test_methods_k_and_difficulty_are_chosen_and_reset_restores_the_pixels(lesson):
    shown, change = lesson("04_pass_at_k", "PassAtKExplorer"), r"PSR [\d.]+ % \(([+-][\d.]+) points"
    start, first = shown.words(), shown.pixels()
    gain = shown.number(change)
    assert shown.press_slider("k", "End").startswith("k = 32. ")
    assert shown.number(change) < 0 < gain  # the paradox
    assert shown.press_slider("k", "ArrowLeft").startswith("k = 16. ")
    shown.drag("k", 0.0)
    assert shown.words() == start and np.array_equal(shown.pixels(), first)
    assert "PSR" not in shown.press(shown.box("PSR"), "Space")
    assert "GRPO" not in shown.after(shown.box("GRPO").click)
    assert "hard problems" in shown.press(shown.button("hard"), "Enter")
    assert "easy problems" in shown.after(shown.button("easy").click)
    assert (shown.pixels() != first).any()
    assert shown.press(shown.button("Reset"), "Enter") == start
    assert np.array_equal(shown.pixels(), first) and shown.box("PSR").is_checked() and shown.box("GRPO").is_checked()


def cells(shown: Shown, head: str) -> list[str]:
    """The rollout browser's cells in the row with this header."""
    line = shown.root.locator("div[role=group] tr", has=shown.page.get_by_role("rowheader", name=head))
    return line.first.locator("td").all_inner_texts()


@in_browser
def test_rollouts_are_walked_by_keyboard_and_by_mouse_and_cells_follow(lesson):
    shown = lesson("01_routing", "RolloutBrowser")
    start, first, scope = shown.words(), shown.pixels(), cells(shown, "SCOPE pushes")
    assert "incorrect, teacher path" in start and set(cells(shown, "PSR pushes")) == {"0"}
    correct = shown.press_slider("rollout", "ArrowLeft")
    assert "rollout 1 of 8" in correct and "correct, student path" in correct
    assert cells(shown, "SCOPE pushes") != scope and len(set(cells(shown, "SCOPE pushes"))) == 1
    assert shown.press_slider("rollout", "ArrowRight") == start and cells(shown, "SCOPE pushes") == scope
    assert "rollout 8 of 8" in shown.drag("rollout", 1.0)
    shown.press(shown.button("student's log-prob"), "Enter")
    assert all(text == "0" or text.startswith("−") for text in cells(shown, "student's log-prob, nats"))
    wrong = shown.after(shown.root.get_by_role("button", name="all wrong").click)
    assert "GRPO pushes nothing; PSR pushes nothing" in wrong
    # The prompt's slider reaches the last of the newly listed prompts.
    shown.press_slider("prompt", "End")
    assert shown.root.locator("b", has_text="0 correct, 8 wrong").count() == 1
    assert shown.after(shown.button("Reset").click) == start
    assert cells(shown, "SCOPE pushes") == scope and np.array_equal(shown.pixels(), first)


@in_browser
def test_departures_are_switched_and_reset_restores_the_pixels(lesson):
    shown, cosine = lesson("08_paper_and_code", "DeparturePanel"), r"cosine (-?[\d.]+) to"
    start, first = shown.words(), shown.pixels()
    assert shown.number(cosine) == 1
    assert "student sign" in shown.press(shown.box("student sign"), "Space")
    assert (shown.pixels() != first).any()
    assert shown.press_slider("τ", "Home").startswith("τ = 0.05, ")
    assert shown.number(cosine) < 1  # sharper weights, and their sign counts
    assert "teacher sign" in shown.after(shown.box("teacher sign").click)
    scripts = shown.after(shown.button("released scripts").click)
    assert "denominators" in scripts and "teacher sign" not in scripts and shown.box("log form").is_checked()
    shown.drag("prompt", 1.0)
    assert shown.words().split("Largest")[0] == scripts.split("Largest")[0] != start.split("Largest")[0]
    assert shown.press(shown.button("Reset"), "Enter") == start
    assert np.array_equal(shown.pixels(), first) and not shown.box("student sign").is_checked()


@in_browser
def test_recorded_runs_are_chosen_and_reset_restores_the_pixels(lesson):
    shown = lesson("watch_runs", "RunExplorer")
    start, first = shown.words(), shown.pixels()
    assert start.startswith("reward, means of the first and last 20 steps: PSR from")
    assert "last 21 steps" in shown.press_slider("window", "ArrowRight")
    assert (shown.pixels() != first).any()
    shown.drag("window", 0.0)
    assert "last 1 steps" in shown.words()
    assert "PSR from" not in shown.press(shown.box("PSR"), "Space")
    assert "OPD has none" in shown.after(shown.button("student_ess_fraction").click)
    falls = shown.press(shown.button("entropy"), "Enter")
    assert falls.startswith("entropy") and "GRPO from" in falls
    assert shown.after(shown.button("Reset").click) == start
    assert np.array_equal(shown.pixels(), first) and shown.box("PSR").is_checked()


@in_browser
def test_live_curves_follow_a_training(lesson):
    shown = lesson("watch_runs", "LiveCurves")
    assert shown.words().startswith("Training over 30 steps") and "30 of 30" in shown.root.inner_text()
    assert len(np.unique(shown.pixels().reshape(-1, 3), axis=0)) > 20
    assert shown.root.locator(".progress-bar").count() == 1


@in_browser
def test_a_pair_is_costed_and_reset_restores_the_pixels(lesson):
    shown, scope = lesson("09_your_own_pair", "CostCalculator"), r"SCOPE ([\d,.]+) s a step"
    start, first = shown.words(), shown.pixels()
    seconds = shown.number(scope)
    shown.press_slider("longest", "ArrowRight")
    assert shown.number(scope) > seconds
    assert (shown.pixels() != first).any()
    said = shown.drag("wrong", 0.0)  # nobody is wrong: the teacher is asked about none
    assert "teacher" not in re.search(r"SCOPE .*?\)", said)[0] and "teacher" in re.search(r"OPD .*?\)", said)[0]
    assert "does not fit" in shown.after(shown.button("laptop").click)
    shown.press(shown.box("teacher elsewhere"), "Space")
    shown.press(shown.button("rtx-4090"), "Enter")
    assert shown.after(shown.button("Reset").click) == start
    assert np.array_equal(shown.pixels(), first) and not shown.box("teacher elsewhere").is_checked()


ALL = [
    (lesson if lesson != "06_train_scope" else "watch_runs", widget) for lesson, of in SHOWN.items() for widget in of
]
CONTROLS = """
root => [...root.querySelectorAll('input, button, select, [role=slider]')].map(control => {
  const widget = control.closest('.widget-inline-hbox, .jupyter-button') ?? control;
  const box = widget.getBoundingClientRect();
  const said = [control.textContent, control.title, widget.querySelector('label')?.textContent, widget.title];
  const reached = control.tabIndex >= 0;
  return {said: said.find(Boolean) ?? '', reached, top: box.top, bottom: box.bottom, left: box.left};
})
"""


@in_browser
@pytest.mark.parametrize(("name", "widget"), ALL)
def test_controls_are_named_and_reached_in_reading_order_and_pictures_are_said(lesson, name, widget):
    shown = lesson(name, widget)
    controls = shown.root.evaluate(CONTROLS)
    assert all(control["said"].strip() and control["reached"] for control in controls)
    # The next is to the right, or in a row below.
    assert all(b["left"] > a["left"] or b["top"] > a["bottom"] - 5 for a, b in pairwise(controls))
    assert shown.status.count() == 1 and shown.status.get_attribute("aria-live") == "polite"
    for alt in shown.root.locator("img").evaluate_all("images => images.map(image => image.alt)"):
        assert alt.split() == shown.words().split()


@in_browser
@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in ALL))
def test_no_cell_failed_and_the_console_is_quiet(lesson, name):
    page = lesson(name, next(widget for of, widget in ALL if of == name)).page
    assert page.locator(".jp-OutputArea [data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert page.errors == []
