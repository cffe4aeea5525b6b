"""How time and memory grow with the number of rollouts, from 10^3 to 10^6: weights, advantages, verdicts, parquet.

`python tests/bench/scaling.py [--out data/bench/scaling.json]`, one thread. The rollouts are recorded ones, repeated as
often as needed under prompts of their own, eight each. Sizes come one after the other, round by round, each in a
process of its own, so that its peak of memory is its own. Seconds are the processor's, which other work on a machine
disturbs less: of a round the median of its repeats, then the median of rounds. The exponent of a stage is the slope of
log seconds over log rollouts, 1 is linear: over all sizes, over those from 10^4 on, where fixed costs no longer show,
and from each size to the next.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
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
FIXED_BELOW = 10_000  # rollouts: there fixed costs show, and slopes come out below 1
TARGET_EXPONENT = 1.05
G = 8
PARTS = ("seconds", "megabytes")
SECONDS = 1.0  # of repeats a stage, size and round


def middle_of(run: Callable, seconds: float) -> float:
    """Processor seconds of a repeat, their median; the first, which warms up, counts only where there is no other."""
    found: list[float] = []
    while sum(found) < seconds:
        started = time.process_time()
        run()
        found.append(time.process_time() - started)
    return statistics.median(found[1:] or found)


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
        seconds[stage] = middle_of(run, SECONDS)

    path = rollouts.student_nll_B, correct_B & usable_B, rollouts.group_B
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
        "seconds": {stage: round(s, 8) for stage, s in seconds.items()},
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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--up-to", type=int, default=SIZES[-1], metavar="N", help="rollouts; those sizes alone")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(arguments.case)))
        return
    sizes, load = [n for n in SIZES if n <= arguments.up_to], [round(os.getloadavg()[0], 2)]
    runs: dict[int, list[dict]] = {n: [] for n in sizes}
    for _ in range(arguments.rounds):
        for n in sizes:
            command = [sys.executable, __file__, "--case", str(n)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[n].append(json.loads(done.stdout.splitlines()[-1]))
            print(runs[n][-1], flush=True)
    cases = [{"rollouts": n, **{part: medians([run[part] for run in runs[n]]) for part in PARTS}} for n in sizes]
    result = {
        "what": f"weights to parquet over the number of rollouts, groups of {G}, one thread",
        "target_exponent": TARGET_EXPONENT,
        "exponents": {stage: exponents(cases, stage) for stage in cases[0]["seconds"]},
        "fixed_below": FIXED_BELOW,
        "rounds": arguments.rounds,
        "cases": cases,
        "load_before_and_after": [*load, round(os.getloadavg()[0], 2)],
        "hardware": describe(),
    }
    print(json.dumps(result["exponents"]))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def exponents(cases: list[dict], stage: str) -> dict:
    """Of seconds over rollouts: over all sizes, from FIXED_BELOW on, and between neighbours."""
    points = [(case["rollouts"], case["seconds"][stage]) for case in cases]
    large = [point for point in points if point[0] >= FIXED_BELOW]
    between = {f"{a[0]} to {b[0]}": slope([a, b]) for a, b in itertools.pairwise(points)}
    return {"all": slope(points), "large": slope(large), "between": between}


def slope(points: list[tuple[float, float]]) -> float | None:
    """Of a straight line through log x, log y; None of fewer than two points."""
    x, y = np.log(np.array(points)).reshape(-1, 2).T
    return round(float(np.polyfit(x, y, 1)[0]), 3) if len(points) > 1 else None


if __name__ == "__main__":
    main()
