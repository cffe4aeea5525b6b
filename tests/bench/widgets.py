"""From key press to changed pixels in JupyterLab: `python tests/bench/widgets.py [--out data/bench/widgets.json]`.

Every widget of the lessons works in a notebook of its own, in a real JupyterLab and a headless Chromium. Keys are real
key presses; the clock starts at the browser's time stamp of the key, and stops when the frame with the new picture is
drawn. A state seen before counts as cached. Below each widget a slider that only changes a number is moved in turn with
it: what JupyterLab, kernel and machine take without any drawing.
"""

import argparse
import datetime
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from importlib import metadata
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from scope_lab.diversity import recorded_runs
from scope_lab.hardware import describe
from scope_lab.models import DATA
from scope_lab.widgets import LiveCurves

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from in_browser import FLAGS, find_browser, jupyterlab, open_notebook
from test_browser import write_notebook
from test_page import FRAME_MS, TIMES, WRITTEN
from widget_moves import CASES, Case, Press

TARGET_MS = {"first": 80, "cached": 50}
PACKAGES = ("jupyterlab", "ipywidgets", "ipykernel", "matplotlib", "pillow", "playwright")
NO_OP = """\
from ipywidgets import HTML, IntSlider, VBox
slider, said = IntSlider(0, 0, 1000, description="no-op"), HTML("0")
slider.observe(lambda change: setattr(said, "value", str(change.new)), "value")
VBox([slider, said])
"""

# Runs in the page. The picture is the widget's first HTML; its `alt`, or its text, differs in every state.
WATCH = """
([root, handle]) => {
  const picture = root.querySelector('.widget-html-content'), before = picture.innerHTML;
  const at = handle.getAttribute('aria-valuenow');
  const frame = () => new Promise(done => requestAnimationFrame(() => {
    const channel = new MessageChannel();  // its message comes after the frame is drawn
    channel.port1.onmessage = done;
    channel.port2.postMessage(0);
  }));
  window.moved = new Promise((done, fail) => {
    let start = null;
    const observer = new MutationObserver(async () => {
      if (start === null || picture.innerHTML === before) return;
      observer.disconnect();
      clearTimeout(limit);
      const images = [...picture.querySelectorAll('img')];
      await Promise.all(images.map(image => image.decode()));
      await frame();
      const blank = images.some(image => !image.complete || !image.naturalWidth);
      done({ms: performance.now() - start, state: picture.innerHTML, blank});
    });
    const limit = setTimeout(() => { observer.disconnect(); fail(new Error('no new picture in 10 s')); }, 10000);
    document.addEventListener('keydown', async event => {
      start = event.timeStamp;
      await frame();
      if (at !== null && handle.getAttribute('aria-valuenow') === at) {  // the slider is at its end
        observer.disconnect();
        clearTimeout(limit);
        done(null);
      }
    }, {capture: true, once: true});
    observer.observe(picture, {childList: true, subtree: true, characterData: true});
  });
}
"""


def move(page: Page, root, press: Press) -> dict | None:
    """Press the key; milliseconds to the new picture and the state that it shows, None at a slider's end."""
    if press.role == "slider":
        control = root.locator("[role=slider]").nth(int(press.which))
    else:
        control = root.get_by_role(press.role, name=str(press.which), exact=press.role == "checkbox").first
    control.focus()
    page.evaluate(WATCH, [root.element_handle(), control.element_handle()])
    page.keyboard.press(press.key)
    found = page.evaluate("() => window.moved")
    page.wait_for_timeout(120)  # the words follow the picture, and the kernel comes to rest
    return found


def run_case(page: Page, case: Case) -> dict:
    """Milliseconds of every move by control and visit, and of the slider that draws nothing."""
    outputs = page.locator(".jp-CodeCell .jp-OutputArea-output")
    root, control = outputs.nth(0), outputs.nth(1)
    root.scroll_into_view_if_needed()
    times: dict[str, dict[str, list[float]]] = {visit: defaultdict(list) for visit in TARGET_MS}
    seen = {root.locator(".widget-html-content").first.inner_html()}
    no_op, looked_at = [], set()
    for i, press in enumerate(case.presses):
        look = press.control not in looked_at
        before = root.screenshot() if look else None
        found = move(page, root, press)
        if found is None:
            continue
        assert not found["blank"], f"{press}: blank picture"
        if look:  # once a control: what the page shows did change
            looked_at.add(press.control)
            assert root.screenshot() != before, f"{press}: the same pixels"
        times["cached" if found["state"] in seen else "first"][press.control].append(found["ms"])
        seen.add(found["state"])
        if i % 4 == 0:
            done = move(page, control, Press("no-op", "slider", 0, "ArrowRight"))
            no_op.append(done["ms"] if done else float("nan"))
    return {"times": times, "no_op": no_op}


def summary(milliseconds: list[float]) -> dict:
    twentieths = statistics.quantiles(milliseconds, n=20, method="inclusive")
    return {
        "moves": len(milliseconds),
        "p50_ms": round(statistics.median(milliseconds), 1),
        "p95_ms": round(twentieths[-1], 1),
    }


def line(widget: str, control: str, visit: str, row: dict, target: int | None) -> str:
    verdict = "" if target is None else f"{target:>5}  {'' if row['p95_ms'] <= target else 'missed'}"
    return f"{widget:16} {control:12} {visit:7} {row['moves']:>5} {row['p50_ms']:>8.1f} {row['p95_ms']:>8.1f} {verdict}"


def timed_in_lab(browser, names: list[str]) -> dict:
    """Each widget in a notebook of its own, with the slider that draws nothing below it."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder)) as address:
        for name in names:
            case = CASES[name]
            write_notebook(Path(folder) / f"{name}.ipynb", [case.code, NO_OP])
            page = open_notebook(browser, address(f"{name}.ipynb"), height=1400)
            both = "document.querySelectorAll('.jp-OutputArea-output .widget-vbox').length > 1"
            page.wait_for_function(both, timeout=60_000)
            page.wait_for_timeout(1000)
            timed = run_case(page, case)
            page.close()
            entry: dict = {"data": case.data, "no_op": summary(timed["no_op"])}
            for visit, target in TARGET_MS.items():
                by_control = timed["times"][visit]
                entry[visit] = summary([ms for each in by_control.values() for ms in each])
                entry[visit]["by_control"] = {c: summary(ms) for c, ms in by_control.items() if len(ms) > 1}
                print(line(name, "all", visit, entry[visit], target))
                for control, row in entry[visit]["by_control"].items():
                    print(line("", control, visit, row, None))
            print(line("", "no-op", "", entry["no_op"], None), flush=True)
            found[name] = entry
    return found


def timed_page(browser) -> dict:
    """The page without a kernel: from a control's event through the new layout."""
    page = browser.new_page()
    page.goto(WRITTEN.as_uri())
    page.locator("#list summary").click()
    found = {"target_p95_ms": FRAME_MS} | dict(zip(("tau", "prompt"), map(summary, page.evaluate(TIMES)), strict=True))
    for control in ("tau", "prompt"):
        print(line("page", control, "", found[control], FRAME_MS), flush=True)
    return found


def timed_curves() -> dict:
    """What a picture of the live curves takes away from a training: milliseconds of the kernel."""
    history = recorded_runs(DATA / "runs")[-1].metrics.reset_index().to_dict("records")
    curves, milliseconds = LiveCurves(len(history), every=0), []
    for metrics in history:
        start = time.perf_counter()
        curves.add(metrics)
        milliseconds.append(1000 * (time.perf_counter() - start))
    found = summary(milliseconds)
    print(line("LiveCurves", "a picture", "", found, None), flush=True)
    return {"every_s": LiveCurves(1).every} | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/bench/widgets.json"))
    parser.add_argument("--widgets", nargs="+", choices=list(CASES), default=list(CASES))
    arguments = parser.parse_args()
    print(f"{'widget':16} {'control':12} {'visit':7} {'moves':>5} {'p50 ms':>8} {'p95 ms':>8} limit")
    load = [round(os.getloadavg()[0], 2)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(playwright), args=FLAGS)
        widgets, page = timed_in_lab(browser, arguments.widgets), timed_page(browser)
        version = browser.version
        browser.close()
    curves = timed_curves()
    hardware = describe()
    hardware["versions"] |= {package: metadata.version(package) for package in PACKAGES} | {"chromium": version}
    result = {
        "what": "milliseconds from key press to changed pixels in JupyterLab, headless Chromium",
        "target_p95_ms": TARGET_MS,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "load_before_and_after": [*load, round(os.getloadavg()[0], 2)],
        "widgets": widgets,
        "page": page,
        "live_curves": curves,
        "hardware": hardware,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
