"""The GPU bench runs here too, with sizes that measure nothing: every line of it has run before it meets a GPU."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "bench" / "gpu.py"
PARTS = ("matmul", "scoring", "update", "streaming", "curve")  # not compiled, which waits for a compiler


def run(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], check=True, capture_output=True, text=True, timeout=300
    ).stdout


def test_every_part_runs_and_says_what_it_found(tmp_path):
    out = tmp_path / "gpu.json"
    run("--tiny", "--parts", *PARTS, "--out", str(out))
    parts = json.loads(out.read_text())["parts"]
    assert {name: part.get("failed") for name, part in parts.items()} == dict.fromkeys(PARTS)
    assert all(
        parts[name]["utilisation"] > 0 and parts[name]["tokens_per_second"] > 0 for name in ("scoring", "update")
    )
    assert parts["streaming"]["ratio"] > 0
    assert parts["curve"]["agrees"] and len(set(parts["curve"]["losses"]["cpu"])) == 2
