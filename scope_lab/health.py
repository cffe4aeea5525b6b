"""What to watch while a run trains: which metric, what is healthy, what a bad value means, and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Watch:
    """A quantity of metrics.jsonl. Healthy from `at_least` to `at_most`; `low` and `high` say what lies beyond."""

    name: str
    measure: Callable[[pd.DataFrame], float]
    at_least: float = -np.inf
    at_most: float = np.inf
    low: str = ""
    high: str = ""

    @property
    def healthy(self) -> str:
        """The range in words."""
        ends = [("at least", self.at_least), ("at most", self.at_most)]
        return " and ".join(f"{word} {end:g}" for word, end in ends if np.isfinite(end))


@dataclass(frozen=True)
class Symptom:
    """A value outside its healthy range, and what it means."""

    name: str
    value: float
    meaning: str

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3g}: {self.meaning}"


def _mean(column: str, per: str = "") -> Callable[[pd.DataFrame], float]:
    """Mean over the steps; as a share of another column where one is named."""
    return lambda m: (m[column] / m[per]).mean() if per else m[column].mean()


def _sum(column: str) -> Callable[[pd.DataFrame], float]:
    return lambda m: m[column].sum()


def _growth(column: str) -> Callable[[pd.DataFrame], float]:
    """Mean of the last tenth of the steps over that of the first tenth, one step at least; NaN from 0 or below."""

    def measure(m: pd.DataFrame) -> float:
        n = max(len(m) // 10, 1)
        first = m[column][:n].mean()
        return m[column][-n:].mean() / first if first > 0 else np.nan

    return measure


def _mixed(m: pd.DataFrame) -> float:
    groups = m.groups_mixed + m.groups_all_correct + m.groups_all_wrong
    return (m.groups_mixed / groups).mean()


# In the order in which a run should be read.
WATCH = (
    Watch("reward, mean", _mean("reward"), 0.02, 0.98,
          low="nothing is correct: problems too hard, responses cut off, or a verifier that cannot read the answers",
          high="everything is correct: problems too easy, or a verifier that accepts anything"),
    Watch("truncated, share of rollouts", _mean("truncated", "rollouts"), at_most=0.1,
          high="responses are cut off and count as wrong: raise max_new_tokens, or see whether EOS is ever written"),
    Watch("unknown, share of rollouts", _mean("unknown", "rollouts"), at_most=0.05,
          high="the verifier has no verdict, and those rollouts teach nothing: look at its reasons"),
    Watch("groups_mixed, share of groups", _mixed, at_least=0.1,
          low="hardly any prompt has right and wrong rollouts: choose problems that the student solves sometimes"),
    Watch("teacher_failed, rollouts", _sum("teacher_failed"), at_most=0,
          high="the teacher gave no usable number, and those rollouts were dropped: look at the teacher"),
    Watch("skipped_updates", _sum("skipped_updates"), at_most=0,
          high="loss or gradient was not finite: lower learning_rate, or use fp32"),
    Watch("sampler_gap, nats, largest", lambda m: m.sampler_gap.max(), at_most=2,
          high="sampler and update disagree about the same tokens: precision, or weights that were not passed on"),
    Watch("reverse_kl, nats, first step", lambda m: m.reverse_kl.iloc[0], 1e-3, 3,
          low="the teacher agrees with every token: is it the student itself?",
          high="the teacher finds the student's tokens absurd: does it read the same tokens and template?"),
    Watch("reverse_kl, last over first", _growth("reverse_kl"), at_most=2,
          high="the student runs away from its teacher: lower learning_rate"),
    Watch("entropy, last over first", _growth("entropy"), 0.5, 2,
          low="variety may be going: look at Pass@k, and take fewer steps or a method that listens to a teacher",
          high="the student forgets how to write: lower learning_rate, and read what is called correct"),
    Watch("teacher_ess_fraction, mean", _mean("teacher_ess_fraction"), at_least=0.3,
          low="one rollout has nearly all of the teacher path's weight: raise tau, or set it to auto"),
    Watch("student_ess_fraction, mean", _mean("student_ess_fraction"), at_least=0.3,
          low="one rollout has nearly all of the student path's weight: raise tau, or set it to auto"),
)  # fmt: skip


def symptoms(history: list[dict] | pd.DataFrame) -> list[Symptom]:
    """What is outside its healthy range in a run's metrics, in the order of WATCH. Empty for a healthy run.

    history  a dict a step, as `ScopeTrainer.train` returns them, or metrics.jsonl as a table
    What a method has no metric of is left out. Ranges are rules of thumb for runs of ten steps and more.
    """
    metrics = pd.DataFrame(history).apply(pd.to_numeric, errors="coerce")
    found = []
    for watch in WATCH:
        try:
            value = float(watch.measure(metrics))
        except (AttributeError, KeyError, IndexError):
            continue
        if value < watch.at_least:
            found.append(Symptom(watch.name, value, watch.low))
        elif value > watch.at_most:
            found.append(Symptom(watch.name, value, watch.high))
    return found


def watch_table() -> pd.DataFrame:
    """WATCH as a table: a row a metric; its healthy range, and what a value below or above it means."""
    rows = {w.name: {"healthy": w.healthy, "below": w.low, "above": w.high} for w in WATCH}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")
