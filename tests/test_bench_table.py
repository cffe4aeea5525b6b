"""README's table of what was measured: figures of the files, nothing for files that are not there."""

import json

from scope_lab.bench_table import bench_text
from scope_lab.models import DATA


def test_an_absent_file_has_no_row(tmp_path):
    (tmp_path / "weights.json").write_text(json.dumps({"rollouts": 65_536, "median_ms": 5.156, "target_ms": 50}))
    lines = bench_text(tmp_path).splitlines()
    assert lines[2:] == [
        "| weights of 65,536 rollouts, one thread | 5.2 ms | ≤ 50 ms | `python tests/bench/weights.py` |"
    ]


def test_a_failed_part_of_the_gpu_has_no_row(tmp_path):
    parts = {"update": {"utilisation": 0.5}, "scoring": {"failed": "more than 90 seconds"}}
    found = {"parts": parts, "target_utilisation": {"update": 0.45, "scoring": 0.55}, "hardware": {"device": "H100"}}
    (tmp_path / "gpu.json").write_text(json.dumps(found))
    text = bench_text(tmp_path)
    assert "| update on H100 | 50% of its bfloat16 rate | ≥ 45% |" in text and "scoring" not in text


def test_the_recorded_table_is_short():
    assert 3 <= len(bench_text(DATA / "bench").splitlines()) < 15
