"""Lessons in a real browser: JupyterLab, all cells, and the controls moved by keyboard as a reader moves them."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SLIDER = ".widget-slider [role=slider], .widget-slider .noUi-handle"
pytestmark = [pytest.mark.browser, pytest.mark.slow]


def says(words: str) -> str:
    """A condition in the page: the explorer's status line begins with these words."""
    return f"[...document.querySelectorAll('div[role=status]')].some(e => e.innerText.startsWith('{words}'))"


def find_browser(playwright) -> str | None:
    """The system's Chromium or Chrome, else Playwright's own."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


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


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab of its own on a copy of the lessons; yields the address of a lesson by name, with the token."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "notebooks", ignore=shutil.ignore_patterns(".*"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **folders, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}
    # The test's own backend would keep figures from the page.
    environment.pop("MPLBACKEND", None)
    command = f"-m jupyterlab --no-browser --ip=127.0.0.1 --port={port} --allow-root --expose-app-in-browser"
    options = [f"--IdentityProvider.token={token}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={home}"]
    log = (home / "lab.log").open("w")
    arguments = [sys.executable, *command.split(), *options]
    server = subprocess.Popen(arguments, env=environment, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5)
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert server.poll() is None, (home / "lab.log").read_text()[-2000:]
                time.sleep(0.5)
        # Each lesson in a workspace of its own, so that none opens with another's tabs.
        yield lambda lesson: f"{address}/lab/workspaces/{lesson}/tree/notebooks/{lesson}.ipynb?token={token}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


def run_lesson(browser, address: str, slider: str, begins: str):
    """The lesson with all its cells run, and its slider in view; the status line begins with these words."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.errors = []
    page.on("console", lambda message: message.type == "error" and page.errors.append(message.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address)
    kernel = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status"
    page.wait_for_function(f"{kernel} === 'idle'", timeout=120_000)
    # Not awaited: the command's promise ends only with the last cell.
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_selector(slider, state="attached", timeout=180_000)
    page.wait_for_function(f"{kernel} === 'idle'", timeout=180_000)
    for _ in range(60):  # cells above still take their height, and push the slider out of view
        page.locator(slider).first.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        if page.evaluate(says(begins)):
            break
    page.wait_for_function(f"() => {says(begins)}", timeout=10_000)
    return page


def assert_quiet(page) -> None:
    """No cell failed, nothing was written to stderr, and the browser's console holds no error."""
    assert page.locator(".jp-OutputArea [data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert page.errors == []


@pytest.fixture(scope="module")
def page(browser, lab):
    page = run_lesson(browser, lab("03_temperature"), SLIDER, "τ = 1. ")
    yield page
    page.close()


def status(page) -> str:
    return page.locator("div[role=status]", has_text="τ = ").first.inner_text()


def picture(page) -> str:
    return page.locator(".jp-OutputArea img[alt^='τ = ']").first.get_attribute("src")


def press(page, key: str, expected: str) -> None:
    page.locator(SLIDER).first.press(key)
    page.wait_for_function(f"() => {says(expected)}", timeout=10_000)


def test_the_slider_moves_by_keyboard_and_the_picture_follows(page):
    assert status(page).startswith("τ = 1. ")
    first = picture(page)
    press(page, "ArrowRight", "τ = 1.2. ")
    assert picture(page) != first
    press(page, "ArrowLeft", "τ = 1. ")
    assert picture(page) == first


def test_the_ends_of_the_slider_are_the_ends_of_the_grid(page):
    kept = []
    for key, said in (("Home", "τ = 0.05. "), ("End", "τ = 20. ")):
        press(page, key, said)
        kept.append(float(re.search(r"All groups:.*teacher path keeps ([\d.]+)", status(page)).group(1)))
    assert kept[0] < kept[1] and kept[1] > 99


def test_reset_brings_slider_and_picture_back(page):
    page.get_by_role("button", name="Reset").first.click()
    page.wait_for_function(f"() => {says('τ = 1. ')}")
    first = picture(page)
    press(page, "ArrowLeft", "τ = 0.8. ")
    page.get_by_role("button", name="Reset").first.click()
    page.wait_for_function(
        "src => document.querySelector(\".jp-OutputArea img[alt^='τ = ']\").getAttribute('src') === src", arg=first
    )
    assert status(page).startswith("τ = 1. ")


def test_alt_text_is_what_the_status_line_says(page):
    alt = page.locator(".jp-OutputArea img[alt^='τ = ']").first.get_attribute("alt")
    assert alt.split() == status(page).split()


def test_no_cell_failed_and_the_console_is_quiet(page):
    assert_quiet(page)


@pytest.fixture(scope="module")
def pass_at_k(browser, lab):
    page = run_lesson(browser, lab("04_pass_at_k"), SLIDER, "k = 1. ")
    yield page
    page.close()


def says_k(page) -> str:
    return page.locator("div[role=status]", has_text="k = ").first.inner_text()


def expect(page, words: str) -> None:
    page.wait_for_function(f"() => {says(words)}", timeout=10_000)


def test_k_moves_by_keyboard_and_the_curves_part(pass_at_k):
    page = pass_at_k
    image = page.locator(".jp-OutputArea img[alt^='k = ']").first
    first, change = image.get_attribute("src"), r"PSR [\d.]+ % \(([+-][\d.]+) points"
    gain = float(re.search(change, says_k(page)).group(1))
    page.locator(SLIDER).first.press("End")
    expect(page, "k = 32. ")
    assert image.get_attribute("src") != first
    assert float(re.search(change, says_k(page)).group(1)) < 0 < gain
    assert image.get_attribute("alt").split() == says_k(page).split()
    page.locator(SLIDER).first.press("ArrowLeft")
    expect(page, "k = 16. ")


def test_methods_and_difficulty_are_chosen_by_keyboard_and_reset_brings_all_back(pass_at_k):
    page = pass_at_k
    page.get_by_role("button", name="Reset").first.press("Enter")
    expect(page, "k = 1. ")
    first = page.locator(".jp-OutputArea img[alt^='k = ']").first.get_attribute("src")
    page.get_by_role("checkbox", name="PSR").first.press("Space")
    page.wait_for_function("() => ![...document.querySelectorAll('div[role=status]')].at(-1).innerText.includes('PSR')")
    page.get_by_role("button", name="hard").first.press("Space")
    page.wait_for_function(
        "() => [...document.querySelectorAll('div[role=status]')].some(e => /^k = 1[.] [0-9]+ hard/.test(e.innerText))"
    )
    assert "hard problems" in says_k(page) and "PSR" not in says_k(page)
    page.get_by_role("button", name="Reset").first.press("Enter")
    page.wait_for_function(
        "src => document.querySelector(\".jp-OutputArea img[alt^='k = ']\").getAttribute('src') === src", arg=first
    )
    assert page.get_by_role("checkbox", name="PSR").first.is_checked()


def test_the_pass_at_k_lesson_fails_nowhere(pass_at_k):
    assert_quiet(pass_at_k)


@pytest.fixture(scope="module")
def routing(browser, lab):
    page = run_lesson(browser, lab("01_routing"), SLIDER, "Prompt ")
    yield page
    page.close()


def says_rollout(page) -> str:
    return page.locator("div[role=status]", has_text="Coloured by").first.inner_text()


def row(page, head: str) -> list[str]:
    """The cells of the browser's table in the row with this header."""
    line = page.locator("div[role=group][aria-label^='Tokens'] tr", has=page.get_by_role("rowheader", name=head))
    return line.first.locator("td").all_inner_texts()


def until(page, changed: str) -> None:
    """Wait until the rollout browser's status line is another than this one."""
    page.wait_for_function(
        "old => [...document.querySelectorAll('div[role=status]')].some("
        "e => e.innerText.includes('Coloured by') && e.innerText !== old)",
        arg=changed,
        timeout=10_000,
    )


def test_rollouts_are_walked_by_keyboard_and_cells_follow(routing):
    first, scope = says_rollout(routing), row(routing, "SCOPE pushes")
    assert "incorrect, teacher path" in first and set(row(routing, "PSR pushes")) == {"0"}
    routing.locator(SLIDER).nth(1).press("ArrowLeft")
    until(routing, first)
    second = says_rollout(routing)
    assert "rollout 1 of 8" in second and "correct, student path" in second
    assert row(routing, "SCOPE pushes") != scope and len(set(row(routing, "SCOPE pushes"))) == 1
    routing.locator(SLIDER).nth(1).press("ArrowRight")
    until(routing, second)
    assert says_rollout(routing) == first and row(routing, "SCOPE pushes") == scope


def test_colours_and_kinds_are_chosen_by_keyboard_and_reset_brings_all_back(routing):
    first, scope = says_rollout(routing), row(routing, "SCOPE pushes")
    routing.get_by_role("button", name="student's log-prob").first.press("Enter")
    until(routing, first)
    assert all(text == "0" or text.startswith("−") for text in row(routing, "student's log-prob, nats"))
    coloured = says_rollout(routing)
    routing.get_by_role("button", name="all wrong").first.press("Enter")
    until(routing, coloured)
    wrong = says_rollout(routing)
    assert "GRPO pushes nothing; PSR pushes nothing" in wrong
    # The prompt's slider reaches the last of the newly listed prompts.
    routing.locator(SLIDER).first.press("End")
    until(routing, wrong)
    assert routing.locator(".jp-OutputArea b", has_text="0 correct, 8 wrong").count() == 1
    wrong = says_rollout(routing)
    routing.get_by_role("button", name="Reset").first.press("Enter")
    until(routing, wrong)
    assert says_rollout(routing) == first and row(routing, "SCOPE pushes") == scope


def test_the_routing_lesson_fails_nowhere(routing):
    assert_quiet(routing)
