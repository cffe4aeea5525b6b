"""How time and memory grow with the number of rollouts, from 10^3 to 10^6: weights, advantages, verdicts, parquet.

`python tests/bench/scaling.py [--out data/bench/scaling.json]`, one thread. The rollouts are recorded ones, repeated as
often as needed under prompts of their own, eight each. Each size runs in a process of its own, so that its peak of
memory is its own. The exponent of a stage is the slope of log seconds over log rollouts: 1 is linear.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from scope_lab import Rollouts, group_weights, load_task, scope_advantages, solve_tau
from scope_lab.hardware import describe
from scope_lab.methods import get_method
from scope_lab.metrics import step_metrics
from scope_lab.models import DATA, load_tokenizer
from scope_lab.objective import rollout_coefficients

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
FITTED_FROM = 10_000  # below it fixed costs show, and slopes come out below 1
TARGET_EXPONENT = 1.05
G = 8
SECONDS = 1.0  # of repeats a stage and size; the best counts


def weights_input(n: int, groups: int | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """nll_B, member_B and group_B of n rollouts of random perplexity, half of them on the path, groups interleaved."""
    generator = torch.Generator().manual_seed(0)
    nll_B = torch.rand(n, generator=generator) * 2
    return nll_B, torch.rand(n, generator=generator) < 0.5, torch.arange(n) % (groups or n // G)


def best_of(run: Callable, at_least: int = 1, seconds: float = 0.0) -> float:
    """Seconds of the quickest repeat, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: list[float] = []
    try:
        while len(found) < at_least or sum(found) < seconds:
            started = time.perf_counter()
            run()
            found.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return min(found)


def repeated(n: int) -> Rollouts:
    """n recorded rollouts: the first eight of each prompt, as often as needed."""
    recorded = Rollouts.load(DATA / "rollouts" / "countdown.parquet")
    place = torch.cat([torch.arange(count) for count in torch.bincount(recorded.group_B).tolist()])
    base = recorded.select(place < G)
    rows = torch.arange(n) % len(base)
    many = {name: [getattr(base, name)[i] for i in rows.tolist()] for name in ("responses", "finish_reason")}
    P, of_base = n // G, len(base.problems)
    return replace(
        base,
        problems=[replace(base.problems[i % of_base], id=str(i)) for i in range(P)],
        group_B=torch.arange(P).repeat_interleave(G),
        verifications=[base.verifications[i] for i in rows.tolist()],
        **{name: getattr(base, name)[rows] for name in ("tokens_BT", "mask_BT", "student_logp_BT", "teacher_logp_BT")},
        **many,
    )


def measure(n: int) -> dict:
    """Seconds of each stage; megabytes that the rollouts take, and how many more the table's way to disk and back."""
    torch.set_num_threads(1)
    rollouts, task, tokenizer = repeated(n), load_task("countdown"), load_tokenizer("countdown-student")
    correct_B, usable_B, scope = rollouts.correct_B, rollouts.known_B, get_method("scope")
    held = peak_mb()
    seconds = {}

    def timed(stage: str, run: Callable) -> None:
        seconds[stage] = best_of(run, seconds=SECONDS)

    path = weights_input(n)
    timed("weights", lambda: group_weights(*path, 1.0, +1))
    timed("tau auto", lambda: solve_tau(*path, +1, 0.5))
    timed("advantages", lambda: scope_advantages(
        rollouts.student_logp_BT, rollouts.teacher_logp_BT, rollouts.mask_BT, correct_B, rollouts.group_B
    ))  # fmt: skip
    coefficients = rollout_coefficients(
        scope, rollouts.student_nll_B, rollouts.teacher_nll_B, correct_B, rollouts.group_B, rollouts.length_B, usable_B
    )
    timed("metrics", lambda: step_metrics(rollouts, coefficients, usable_B))
    timed("verification", lambda: rollouts.verify(task))
    before = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rollouts.parquet"
        timed("parquet write", lambda: rollouts.save(file, tokenizer))
        written, size = peak_mb(), file.stat().st_size
        timed("parquet read", lambda: Rollouts.load(file))
    return {
        "rollouts": n,
        "seconds": {stage: round(s, 6) for stage, s in seconds.items()},
        "megabytes": {
            "rollouts": round(held),
            "weights to verification": round(before - held),
            "parquet write": round(written - held),
            "parquet read": round(peak_mb() - held),
            "parquet file": round(size / 2**20, 1),
        },
    }


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/bench/scaling.json"))
    parser.add_argument("--up-to", type=int, default=SIZES[-1], metavar="N", help="rollouts; those sizes alone")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(arguments.case)))
        return
    cases: list[dict] = []
    for n in (n for n in SIZES if n <= arguments.up_to):
        done = subprocess.run([sys.executable, __file__, "--case", str(n)], check=True, capture_output=True, text=True)
        cases.append(json.loads(done.stdout.splitlines()[-1]))
        print(cases[-1], flush=True)
    fitted = [case for case in cases if case["rollouts"] >= FITTED_FROM]
    stages = list(cases[0]["seconds"])
    exponents = {
        stage: round(slope([(case["rollouts"], case["seconds"][stage]) for case in fitted]), 3) for stage in stages
    } if len(fitted) > 1 else {}  # fmt: skip
    result = {
        "what": f"weights to parquet over the number of rollouts, groups of {G}, one thread",
        "exponents": exponents,
        "fitted_from": FITTED_FROM,
        "target_exponent": TARGET_EXPONENT,
        "cases": cases,
        "hardware": describe(),
    }
    print(exponents)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def slope(points: list[tuple[float, float]]) -> float:
    """Of a straight line through log x, log y."""
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])


if __name__ == "__main__":
    main()
