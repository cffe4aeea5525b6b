"""README's table of what was measured: figures of the files, nothing for files that are not there."""

import json

from bench_table import bench_text

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


def test_exponents_stand_over_all_sizes_and_the_largest_without_fixed_costs(tmp_path):
    fits = {"weights": {"all": 0.9, "large": 1.1}, "parquet read": {"all": 1.0, "large": 1.02}}
    found = {"cases": [{"rollouts": 1_000}, {"rollouts": 10**6}], "exponents": fits, "fixed_below": 10_000}
    (tmp_path / "scaling.json").write_text(json.dumps({**found, "target_exponent": 1.05}))
    row = bench_text(tmp_path).splitlines()[2]
    assert "| growth of seconds from 1,000 to 1,000,000 rollouts: exponent | weights 0.90, parquet read 1.00;" in row
    assert "; from 10,000 on at most 1.10 (weights) | ≤ 1.05 |" in row


def test_the_recorded_table_is_short():
    assert 3 <= len(bench_text(DATA / "bench").splitlines()) < 15
