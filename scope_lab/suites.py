"""`scope-lab evaluate --suite NAME`: a model on several benchmarks with one way of sampling, beside the paper's rows.

Sampling is done by parts of a set, so that long responses fit in memory; a part's finished batches, and then each set's
counts, are on disk, and the same command goes on after them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .evaluation import Evaluation, bootstrap_interval, drawn_shares, evaluate, percentile_interval
from .markdown import table
from .paper import TABLE_1, TEACHERS
from .rollouts import Sampling
from .tasks import Problem, Task
from .tasks.verification import Verifier

TOKENS = 2**24  # of one part's responses, padded: 16 bytes each in memory


@dataclass(frozen=True)
class Suite:
    """`sets`: heading and task of each benchmark; the rest is how a response is sampled."""

    sets: dict[str, str]
    samples: int
    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int


SUITES = {
    # Table 4; its repetition penalty is 1, and 1.08 for Qwen3-1.7B-Base, which `note` says.
    "paper-math": Suite(
        {
            "AIME24": "aime24", "AIME25": "aime25", "AMC23": "amc23", "MATH500": "math500", "Minerva": "minerva",
            "OlympiadBench": "olympiadbench",
        },
        samples=32, temperature=0.6, top_p=0.95, top_k=20, max_new_tokens=32_768,
    ),
}  # fmt: skip

METHODS = {"base": "", "grpo": "GRPO", "kd": "KD", "opd": "OPD", "scope": "SCOPE"}


def suite_tasks(suite: Suite, folder: str | None) -> dict[str, Task]:
    """Heading and task of every set. InputError naming the files that `folder` lacks."""
    from .tasks.math import Math

    if folder is not None:
        missing = [f"{name}.jsonl" for name in suite.sets.values() if not (Path(folder) / f"{name}.jsonl").is_file()]
        if missing:
            raise InputError(f"suite_folder: {folder} has no {', '.join(missing)}")
    tasks: dict[str, Task] = {}
    for heading, name in suite.sets.items():
        task = Math(f"{name}:{Path(folder) / name}.jsonl" if folder is not None else name)
        task.name = f"math:{name}"  # the same set, wherever its problems lie
        tasks[heading] = task
    return tasks


def chosen(task: Task, n: int | None, seed: int) -> list[Problem]:
    """The first n problems of a benchmark, or all where it has fewer or n is None."""
    problems = list(task.problems("test", seed=seed))
    return problems if n is None else problems[:n]


def evaluate_set(
    model,
    tokenizer,
    task: Task,
    problems: list[Problem],
    sampling: Sampling,
    samples: int,
    *,
    label: str,
    out: Path,
    batch_size: int,
    progress: Callable,
) -> Evaluation:
    """One benchmark, from where an earlier call was cut off. InputError where `out` holds one of other settings."""
    from .engines.finished import FinishedBatches

    if out.is_file():
        return same_settings(Evaluation.load(out), label, sampling, samples, problems, out)
    finished = FinishedBatches(out)
    parts = []
    with Verifier(task) as verifier:
        for start, part in in_parts(problems, samples * sampling.max_new_tokens):
            evaluation, _ = evaluate(
                model,
                tokenizer,
                task,
                part,
                # Each part draws numbers of its own.
                replace(sampling, seed=sampling.seed + 1_000_003 * start),
                samples,
                label=label,
                split="test",
                batch_size=batch_size,
                progress=progress,
                finished=finished,
                verifier=verifier,
            )
            parts.append(evaluation)
    whole = merged(parts, sampling.seed)
    whole.save(out)
    finished.remove()
    return whole


def in_parts(problems: list[Problem], tokens_each: int) -> Iterator[tuple[int, list[Problem]]]:
    size = max(1, TOKENS // tokens_each)
    for start in range(0, len(problems), size):
        yield start, problems[start : start + size]


def merged(parts: list[Evaluation], seed: int) -> Evaluation:
    """Evaluations of parts of one set, as one."""
    sizes = [len(part.problem_ids) for part in parts]
    lists = ("problem_ids", "n_correct", "n_distinct", "answer_entropy")
    counts = ("n_unknown", "n_truncated")
    joined: dict[str, Any] = {name: [value for part in parts for value in getattr(part, name)] for name in lists}
    joined |= {name: sum(getattr(part, name) for part in parts) for name in counts}
    length = round(float(np.average([part.mean_length for part in parts], weights=sizes)), 3)
    return replace(parts[0], settings={**parts[0].settings, "seed": seed}, mean_length=length, **joined)


def same_settings(
    found: Evaluation, label: str, sampling: Sampling, samples: int, problems: list[Problem], path: Path
) -> Evaluation:
    """`found`, which a file holds, if it is what is asked for now."""
    asked = {name: getattr(sampling, name) for name in found.settings if hasattr(sampling, name)}
    for name, was, now in (
        ("model", found.label, label),
        ("samples", found.n_samples, samples),
        ("problems", found.problem_ids, [problem.id for problem in problems]),
        *((name, found.settings[name], asked[name]) for name in asked),
    ):
        if was != now:
            was, now = (len(was), len(now)) if name == "problems" else (was, now)
            raise InputError(f"out: {path} was made with {name} {was}, {now} is asked for; accepted another folder")
    return found


def in_words(evaluation: Evaluation) -> str:
    n = evaluation.n_samples
    avg, passed = (cell(*mean_and_interval(evaluation.metrics()[metric])) for metric in _metrics(n))
    return (
        f"Avg@{n} {avg}, Pass@{n} {passed}, {len(evaluation.problem_ids)} problems; "
        f"{evaluation.n_truncated} responses truncated, {evaluation.n_unknown} without a verdict"
    )


def _metrics(samples: int) -> tuple[str, str]:
    return f"avg@{samples}", f"pass@{samples}"


def mean_and_interval(values_P) -> tuple[float, float, float]:
    return float(np.mean(values_P)), *bootstrap_interval(values_P)


def average(values: list[np.ndarray], n_resamples: int = 10_000, seed: int = 0) -> tuple[float, float, float]:
    """Mean over sets of their means, each set the same weight, with its 95 % interval: problems resampled in each."""
    rng = np.random.default_rng(seed)
    resampled = [drawn_shares(rng, len(of_set), n_resamples) @ of_set for of_set in values]
    return float(np.mean([of_set.mean() for of_set in values])), *percentile_interval(np.mean(resampled, axis=0), 0.95)


def cell(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def suite_text(name: str, suite: Suite, model: str, found: dict[str, Evaluation]) -> str:
    """A table in the layout of the paper's Table 1: a row a model, Avg and Pass for every set and their average."""
    metrics = _metrics(suite.samples)
    rows = []
    for metric in metrics:
        values = [evaluation.metrics()[metric] for evaluation in found.values()]
        cells = [cell(*mean_and_interval(of_set)) for of_set in values]
        rows.append([model, metric.capitalize(), *cells, cell(*average(values))])
    for student, scores in TABLE_1.items():
        for method, pair in scores.items():
            trained = f"{student}, {METHODS[method]}" if METHODS[method] else student
            teacher = f" (teacher {TEACHERS[student]})" if method in ("kd", "opd", "scope") else ""
            for metric, score in zip(("Avg@32", "Pass@32"), pair, strict=True):
                rows.append([f"the paper: {trained}{teacher}", metric, *[""] * len(found), f"{score:.1f}"])
    header = ["model", "", *found, "average"]
    few = {heading: len(evaluation.problem_ids) for heading, evaluation in found.items()}
    notes = [
        f"{name}: {suite.samples} samples a problem at temperature {suite.temperature}, top-p {suite.top_p}, top-k "
        f"{suite.top_k}, at most {suite.max_new_tokens} tokens; "
        + ", ".join(f"{count} problems of {heading}" for heading, count in few.items())
        + ". Per cent; in brackets 95 % intervals, problems resampled within each set.",
        "The paper prints the averages over the six sets without intervals. Its code estimates Pass@32 by drawing 32 "
        "of the 32 samples with replacement, which is lower than the unbiased estimate used here.",
    ]
    if "Qwen3-1.7B-Base" in model:
        notes.append("The paper samples Qwen3-1.7B-Base with a repetition penalty of 1.08; here it is 1.")
    return "\n\n".join(["\n".join(table(header, rows)).strip(), *notes])
