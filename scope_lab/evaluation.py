"""Avg@k, unbiased Pass@k, diversity, and intervals over problems."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from .durable import write_text
from .errors import InputError, one_line, shown
from .rollouts import Rollouts


def _checked_counts(n_correct, n_samples, k: int) -> tuple[np.ndarray, np.ndarray]:
    c, n = np.broadcast_arrays(np.asarray(n_correct, dtype=float), np.asarray(n_samples, dtype=float))
    if k != int(k) or k < 1 or (n < k).any():
        raise ValueError(f"k: found {k}, accepted 1 to the number of samples ({int(n.min()) if n.size else 0})")
    if not ((c >= 0) & (c <= n)).all():
        raise ValueError("n_correct: found a count outside 0..n_samples")
    return c, n


def avg_at_k(n_correct, n_samples, k: int):
    """Expected mean accuracy of k samples a problem, c / n. Numbers or arrays of counts; one value a problem.

    It does not depend on k (which must be at most n); k says how many samples the estimate stands for.
    """
    c, n = _checked_counts(n_correct, n_samples, k)
    return _like(c / n)


def pass_at_k(n_correct, n_samples, k: int):
    """Chance that one of k samples or more is correct: 1 - C(n-c, k) / C(n, k), unbiased for n >= k samples.

    n_correct, n_samples  counts, numbers or arrays of one shape; k from 1 to n. Returns one value a problem (average
    them for a test set). Raises ValueError for k outside 1..n or c outside 0..n.
    """
    c, n = _checked_counts(n_correct, n_samples, k)
    # C(n-c, k) / C(n, k) = prod over j < k of (n - c - j) / (n - j): no large binomial is ever formed.
    j = np.arange(k)
    missed = np.prod(np.clip((n - c)[..., None] - j, 0, None) / (n[..., None] - j), axis=-1)
    return _like(1.0 - missed)


def _like(values: np.ndarray):
    return float(values) if values.ndim == 0 else values


def bootstrap_interval(values_P, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over problems (axis 0). For a paired interval pass the differences.

    NaN values are left out; (NaN, NaN) without any value.
    """
    values = np.asarray(values_P, dtype=float)
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, math.nan
    means = _resampled_shares(values.size, n_resamples, seed) @ values
    return percentile_interval(means, level)


def bootstrap_intervals(values_PK, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0) -> np.ndarray:
    """`bootstrap_interval` of every column at once, (K, 2), from the same resamples. Without NaN."""
    values = np.asarray(values_PK, dtype=np.float32)
    means = _resampled_shares(len(values), n_resamples, seed) @ values
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).T


def percentile_interval(means_R, level: float) -> tuple[float, float]:
    """The middle `level` of resampled means."""
    low, high = np.quantile(means_R, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@lru_cache(maxsize=4)
def _resampled_shares(size: int, n_resamples: int, seed: int) -> np.ndarray:
    """`drawn_shares`, kept: every metric uses the same resamples."""
    return drawn_shares(np.random.default_rng(seed), size, n_resamples).astype(np.float32)


def drawn_shares(rng: np.random.Generator, size: int, n_resamples: int) -> np.ndarray:
    """How often each of `size` values is drawn, over `size`; a row a resample, which sums to 1."""
    return rng.multinomial(size, np.full(size, 1 / size), size=n_resamples) / size


SAMPLING = ("temperature", "top_p", "top_k", "max_new_tokens", "seed")  # an evaluation's settings


@dataclass(frozen=True)
class Evaluation:
    """What sampling n responses for each problem of a set gave; one entry a problem in every list.

    n_correct       correct responses
    n_distinct      different correct solutions among them (by the task's canonical answer)
    answer_entropy  nats, of the distribution of all canonical answers
    """

    label: str
    task: str
    split: str
    n_samples: int
    settings: dict
    problem_ids: list[str]
    n_correct: list[int]
    n_distinct: list[int]
    answer_entropy: list[float]
    n_unknown: int = 0
    n_truncated: int = 0
    mean_length: float = math.nan

    @classmethod
    def of(cls, rollouts: Rollouts, label: str, split: str) -> "Evaluation":
        """Count what verified rollouts hold. Unknown verdicts count as not correct, and are reported.

        Raises ValueError on rollouts that were not verified, or were read from a table (which holds no answers, so
        `rollouts.verify(task)` must come first), and where problems differ in their number of rollouts.
        """
        verifications = rollouts.verifications
        if not verifications or any(v.verdict == "correct" and v.answer is None for v in verifications):
            raise ValueError("rollouts: found no verified answers, accepted rollouts after rollouts.verify(task)")
        correct, entropies, distinct = [], [], []
        by_problem: list[list[int]] = [[] for _ in rollouts.problems]
        for i, group in enumerate(rollouts.group_B.tolist()):
            by_problem[group].append(i)
        n = len(by_problem[0])
        if any(len(rows) != n for rows in by_problem):
            raise ValueError("rollouts: problems differ in their number of rollouts, accepted the same for all")
        for rows in by_problem:
            right = [verifications[i].answer for i in rows if verifications[i].verdict == "correct"]
            correct.append(len(right))
            distinct.append(len(set(right)))
            shares = np.array(list(Counter(verifications[i].answer for i in rows).values())) / len(rows)
            entropies.append(float(-(shares * np.log(shares)).sum()))
        settings = {name: getattr(rollouts.sampling, name) for name in SAMPLING}
        return cls(
            label=label,
            task=rollouts.task,
            split=split,
            n_samples=n,
            settings=settings,
            problem_ids=[problem.id for problem in rollouts.problems],
            n_correct=correct,
            n_distinct=distinct,
            answer_entropy=[round(entropy, 5) for entropy in entropies],
            n_unknown=int((~rollouts.known_B).sum()),
            n_truncated=int(rollouts.truncated_B.sum()),
            mean_length=round(float(rollouts.length_B.float().mean()), 3),
        )

    def metrics(self) -> dict[str, np.ndarray]:
        """One value a problem for each metric: avg@n, pass@k for k = 1, 2, 4, … n, mixed@n, distinct, entropy.

        mixed@n is 1 where some of the n samples are correct and some are not: only there do groups teach by contrast.
        """
        n = self.n_samples
        values = {f"avg@{n}": np.asarray(avg_at_k(self.n_correct, n, n))}
        for k in powers_of_two(n):
            values[f"pass@{k}"] = np.asarray(pass_at_k(self.n_correct, n, k))
        correct = np.array(self.n_correct)
        values[f"mixed@{n}"] = ((correct > 0) & (correct < n)).astype(float)
        values["distinct"] = np.array(self.n_distinct, dtype=float)
        values["entropy"] = np.array(self.answer_entropy)
        return values

    def summary(self) -> pd.DataFrame:
        """A row a metric: mean over problems and its 95 % bootstrap interval."""
        rows = []
        for metric, values in self.metrics().items():
            low, high = bootstrap_interval(values)
            rows.append({"metric": metric, "mean": values.mean(), "low": low, "high": high})
        return pd.DataFrame(rows).set_index("metric")

    def save(self, path: str | Path) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(self.__dict__) + "\n")

    def _check(self) -> None:
        """Raises ValueError where the fields cannot be an evaluation's: what a file holds may be anything."""
        n, counts = self.n_samples, [*self.n_correct, *self.n_distinct]
        lists = (self.n_correct, self.n_distinct, self.answer_entropy)
        if type(n) is not int or not 1 <= n <= 1_000_000:
            raise ValueError(f"n_samples: found {shown(n)}, accepted 1 to 1,000,000")
        if not self.problem_ids or any(len(each) != len(self.problem_ids) for each in lists):
            raise ValueError("every list must have an entry a problem, one at least")
        if not all(type(count) is int and 0 <= count <= n for count in counts):
            raise ValueError(f"n_correct, n_distinct: accepted whole numbers from 0 to {n}")
        if not all(isinstance(entropy, float | int) and math.isfinite(entropy) for entropy in self.answer_entropy):
            raise ValueError("answer_entropy: accepted numbers")
        if not isinstance(self.settings, dict) or not all(
            isinstance(x, str) for x in (self.label, self.task, self.split)
        ):
            raise ValueError("settings: accepted a mapping; label, task and split: text")
        if missing := set(SAMPLING) - set(self.settings):
            raise ValueError(f"settings: missing {', '.join(sorted(missing))}")

    @classmethod
    def load(cls, path: str | Path) -> "Evaluation":
        """Raises ValueError naming the file where it is not an evaluation."""
        try:
            found = cls(**json.loads(Path(path).read_text()))
            found._check()
            return found
        except (OSError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise InputError(f"evaluation: {path} cannot be read ({one_line(error)})") from None


def powers_of_two(n: int) -> list[int]:
    """1, 2, 4, … up to n, and n itself."""
    return sorted({*(2**i for i in range(int(math.log2(n)) + 1)), n})


def compare(before: Evaluation, after: Evaluation) -> pd.DataFrame:
    """Paired comparison on the problems that both have: means, difference, its 95 % interval, relative change.

    Raises ValueError where they share no problem or differ in task, number of samples or sampling.
    """
    sampling = dict.fromkeys([*before.settings, *after.settings])
    for name, a, b in (
        ("task", before.task, after.task),
        ("n_samples", before.n_samples, after.n_samples),
        *((name, before.settings.get(name), after.settings.get(name)) for name in sampling if name != "seed"),
    ):
        if a != b:
            raise InputError(f"compare: {name} is {a} in {before.label}, {b} in {after.label}; accepted the same")
    place = {problem: i for i, problem in enumerate(after.problem_ids)}
    shared = [(i, place[p]) for i, p in enumerate(before.problem_ids) if p in place]
    if not shared:
        raise InputError(f"compare: {before.label} and {after.label} share no problem")
    left, right = (np.array(column) for column in zip(*shared, strict=True))
    rows = []
    ours, theirs = before.metrics(), after.metrics()
    for metric in ours:
        a, b = ours[metric][left], theirs[metric][right]
        low, high = bootstrap_interval(b - a)
        difference = b.mean() - a.mean()
        rows.append(
            {
                "metric": metric,
                "before": a.mean(),
                "after": b.mean(),
                "difference": difference,
                "low": low,
                "high": high,
                "relative": difference / a.mean() if a.mean() else math.nan,
            }
        )
    return pd.DataFrame(rows).set_index("metric")


def comparison_text(before: Evaluation, after: Evaluation, table: pd.DataFrame) -> str:
    """What `compare` returned, for a terminal: percentages for rates, numbers for diversity, 95 % intervals."""
    lines = [
        f"{len(before.problem_ids)} held-out problems of {before.task} ({before.split}) × {before.n_samples} samples; "
        "difference with its 95 % paired bootstrap interval over problems",
        f"{'':10}{'before':>10}{'after':>10}{'difference':>12}   interval",
    ]
    for metric, row in table.iterrows():
        rate = "@" in str(metric)
        scale, unit = (100, " %") if rate else (1, "  ")
        low, high = row.low * scale, row.high * scale
        lines.append(
            f"{metric:10}{row.before * scale:8.2f}{unit}{row.after * scale:8.2f}{unit}"
            f"{row.difference * scale:+12.2f}   [{low:+.2f}, {high:+.2f}]{'' if low <= 0 <= high else '  *'}"
        )
    lines.append("* the interval excludes zero")
    if before.n_unknown or after.n_unknown:
        rollouts = len(before.problem_ids) * before.n_samples, len(after.problem_ids) * after.n_samples
        lines.append(
            f"without a verdict, counted as not correct: {before.n_unknown:,} of {rollouts[0]:,} before, "
            f"{after.n_unknown:,} of {rollouts[1]:,} after"
        )
    return "\n".join(lines)


def evaluate(
    model,
    tokenizer,
    task,
    problems: Sequence,
    sampling,
    n_samples: int,
    *,
    label: str,
    split: str,
    batch_size: int = 1024,
    progress: Callable[[Iterable], Iterable] = lambda batches: batches,
    finished=None,
    verifier=None,
) -> tuple[Evaluation, Rollouts]:
    """Sample n responses a problem, verify them and count.

    `finished` (engines.finished) keeps batches as they end; `verifier` (tasks.verification) is used instead of one
    that comes and goes.
    """
    from .engines.transformers import sample

    rollouts = sample(
        model,
        tokenizer,
        problems,
        n_samples,
        sampling,
        task=task.name,
        batch_size=batch_size,
        progress=progress,
        finished=finished,
    )
    rollouts.verify(verifier or task)
    return Evaluation.of(rollouts, label, split), rollouts
