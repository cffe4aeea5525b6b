"""Run folders without training: what a sweep of the plan `countdown` leaves, with counts that follow a wish."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from scope_lab.checkpoint import evaluation_file, make_compact
from scope_lab.evaluation import Evaluation
from scope_lab.plan import PlannedRun, read_plan

PLAN = "countdown"
METHODS = ("scope", "opd", "opd-one", "grpo", "psr", "kd")
SETTINGS = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 30, "seed": 0}


def make_counts(chance_P, n: int, rng) -> list[int]:
    return rng.binomial(n, np.clip(chance_P, 0, 1)).tolist()


def record(
    run: PlannedRun,
    gain: float = 0.0,
    solved: float = 1.0,
    entropy_lost: float = 0.0,
    problems: int = 60,
    samples: int = 8,
    skipped: int = 0,
) -> None:
    """Write one finished run.

    gain    added to every problem's chance, over the steps; solved: share of problems that keep any chance at all
    """
    config, steps = run.config, run.config.steps
    problem_rng = np.random.default_rng(0)  # the same problems for every run
    chance_P = problem_rng.uniform(0, 0.4, problems)
    names = [f"1,2,3,{p + 4}={p + 20}" for p in range(problems)]
    lost_P = problem_rng.permutation(problems) >= solved * problems
    rng = np.random.default_rng([config.seed, *run.variant.encode()])
    config.save(_made(run.folder) / "config.yaml")
    for step in [0, *range(50, steps, 50), steps] if config.eval_every else [0, steps]:
        share = step / steps
        after_P = np.where(lost_P, (1 - share) * chance_P, chance_P + share * gain)
        counts = (
            make_counts(chance_P, samples, np.random.default_rng(1))
            if step == 0
            else make_counts(after_P, samples, rng)
        )
        distinct = [min(count, 3) for count in counts]
        label = f"{config.method} step {step}"
        entropies = [round(count / samples, 5) for count in counts]
        Evaluation(label, "countdown", "test", samples, SETTINGS, names, counts, distinct, entropies).save(
            evaluation_file(run.folder, step)
        )
    rows = [
        {
            "step": step,
            "reward": 0.1,
            "entropy": 0.4 - entropy_lost * min(step / (steps / 2), 1) + rng.normal(0, 0.002),
            "seconds": 1.0,
            "skipped_updates": int(step <= skipped),
            "groups_mixed": 20,
            "groups_all_wrong": 12,
            "groups_all_correct": 0,
            **{f"{path}_{name}": 0.9 for path in ("student", "teacher") for name in ("ess_fraction", "ppl_q50")},
            **{f"{path}_{name}": 3.0 for path in ("student", "teacher") for name in ("ess", "path_loss", "count")},
        }
        for step in range(1, steps + 1)
    ]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = {
        "command": None,
        "seed": config.seed,
        "steps": steps,
        "seconds": 1.0,
        "device": "a CPU",
        "commit": "abc",
    }
    (run.folder / "manifest.json").write_text(json.dumps(manifest))
    make_compact(run.folder)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def record_plan(
    folder: Path, wishes: Mapping[str, Mapping] | None = None, seeds: Iterable[int] = range(5), only=None, **common
) -> list[PlannedRun]:
    """Record the plan's runs of some seeds in a folder; `wishes`: of some variants, as `record` takes them."""
    plan = read_plan(PLAN, str(folder))
    for run in plan:
        if run.config.seed in seeds and (only is None or run.variant in only):
            record(run, **{**common, **(wishes or {}).get(run.variant, {})})
    return plan
