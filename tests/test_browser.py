"""Lesson 03 in a real browser: JupyterLab, all cells, and the slider moved by keyboard as a reader moves it."""

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
LESSON = "notebooks/03_temperature.ipynb"
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
    """A JupyterLab of its own on a copy of the lesson; yields its address with the token."""
    home = tmp_path_factory.mktemp("lab")
    (home / "notebooks").mkdir()
    shutil.copy(ROOT / LESSON, home / LESSON)
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
        yield f"{address}/lab/tree/{LESSON}?token={token}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


@pytest.fixture(scope="module")
def page(browser, lab):
    """The lesson with all its cells run, and the explorer in view."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.errors = []
    page.on("console", lambda message: message.type == "error" and page.errors.append(message.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(lab)
    kernel = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status"
    page.wait_for_function(f"{kernel} === 'idle'", timeout=120_000)
    # Not awaited: the command's promise ends only with the last cell.
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_selector(SLIDER, state="attached", timeout=180_000)
    page.wait_for_function(f"{kernel} === 'idle'", timeout=180_000)
    page.locator(SLIDER).first.scroll_into_view_if_needed()
    page.wait_for_function(f"() => {says('τ = 1. ')}", timeout=30_000)
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
    assert page.locator(".jp-OutputArea [data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert page.errors == []
