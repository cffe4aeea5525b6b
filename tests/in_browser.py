"""JupyterLab and Chromium for tests and timings: a server of its own, and notebooks with all their cells run."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAB_SETTINGS = ROOT / "notebooks" / "jupyter_server_config.py"
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
KERNEL = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status"


def find_browser(playwright) -> str | None:
    """The system's Chromium or Chrome, else Playwright's own."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


@contextlib.contextmanager
def jupyterlab(home: Path) -> Iterator[Callable[[str], str]]:
    """A JupyterLab as `make lab` has it, on a folder; yields the address of a notebook by its path, with the token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    folders = {f"JUPYTER_{name}_DIR": str(home / f".{name.lower()}") for name in ("CONFIG", "DATA", "RUNTIME")}
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **folders, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}
    # The test's own backend would keep figures from the page.
    environment.pop("MPLBACKEND", None)
    command = f"-m jupyterlab --no-browser --ip=127.0.0.1 --port={port} --allow-root --expose-app-in-browser"
    options = [f"--IdentityProvider.token={token}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={home}"]
    options.append(f"--config={LAB_SETTINGS}")
    address, log = f"http://127.0.0.1:{port}", home / ".lab.log"
    with log.open("w") as file:
        arguments = [sys.executable, *command.split(), *options]
        server = subprocess.Popen(arguments, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5)
                    break
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    assert server.poll() is None, log.read_text()[-2000:]
                    time.sleep(0.5)
            # Each notebook in a workspace of its own, so that none opens with another's tabs.
            yield lambda path: f"{address}/lab/workspaces/{Path(path).stem}/tree/{path}?token={token}"
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def open_notebook(browser, address: str, height: int = 1000, timeout: int = 180):
    """The notebook with all its cells run; `errors` of the page holds what its console called an error.

    timeout  seconds for all cells
    """
    page = browser.new_page(viewport={"width": 1280, "height": height})
    page.errors = []
    page.on("console", lambda message: message.type == "error" and page.errors.append(message.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address)
    page.wait_for_function(f"{KERNEL} === 'idle'", timeout=120_000)
    # Not awaited: the command's promise ends only with the last cell.
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    # Every cell has its number once the last has run; a cell that waits shows a star.
    counts = "[...window.jupyterapp.shell.currentWidget.content.model.cells].filter(c => c.type === 'code')"
    page.wait_for_function(f"{counts}.every(c => c.executionCount !== null)", timeout=1000 * timeout)
    page.wait_for_function(f"{KERNEL} === 'idle'", timeout=120_000)
    return page
