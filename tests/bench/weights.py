"""Time of `group_weights` on one thread: `python tests/bench/weights.py [--out data/bench/weights.json]`."""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from scope_lab import group_weights
from scope_lab.hardware import describe

TARGET_MS = 50


def timings(n_rollouts: int, n_groups: int, repeats: int) -> list[float]:
    """Seconds of each repeat, on one thread, for rollouts of random perplexity with half of them on the path."""
    generator = torch.Generator().manual_seed(0)
    nll_B = torch.rand(n_rollouts, generator=generator) * 2
    member_B = torch.rand(n_rollouts, generator=generator) < 0.5
    group_B = torch.arange(n_rollouts) % n_groups
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            group_weights(nll_B, member_B, group_B, 1.0, +1)
            seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return seconds


def best_seconds(n_rollouts: int, n_groups: int, repeats: int) -> float:
    return min(timings(n_rollouts, n_groups, repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/bench/weights.json"))
    parser.add_argument("--rollouts", type=int, default=65_536)
    parser.add_argument("--groups", type=int, default=8_192)
    parser.add_argument("--repeats", type=int, default=101)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds = timings(arguments.rollouts, arguments.groups, arguments.repeats + 5)[5:]  # the first warm up
    milliseconds = {
        "best_ms": min(seconds) * 1e3,
        "median_ms": statistics.median(seconds) * 1e3,
        "p90_ms": statistics.quantiles(seconds, n=10)[-1] * 1e3,
    }
    result = {
        "what": "group_weights on one thread",
        "rollouts": arguments.rollouts,
        "groups": arguments.groups,
        "repeats": arguments.repeats,
        **{name: round(value, 3) for name, value in milliseconds.items()},
        "target_ms": TARGET_MS,
        "hardware": describe(),
    }
    print(f"{'rollouts':>9} {'groups':>7} {'best ms':>8} {'median ms':>10} {'p90 ms':>7} {'target ms':>10}")
    print(
        f"{arguments.rollouts:>9,} {arguments.groups:>7,} {milliseconds['best_ms']:>8.2f}"
        f" {milliseconds['median_ms']:>10.2f} {milliseconds['p90_ms']:>7.2f} {TARGET_MS:>10}"
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
