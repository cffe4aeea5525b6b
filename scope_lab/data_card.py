"""A data card of recorded rollouts: what is in a file, in a few numbers, before anybody trains or teaches with it."""

import numpy as np
import pandas as pd

from .explore_routing import group_kinds
from .rollouts import Rollouts

LEVELS = {"5 %": 0.05, "median": 0.5, "95 %": 0.95}
PERPLEXITY = {"student": "student's perplexity", "teacher": "teacher's perplexity"}


def quantities(rollouts: Rollouts) -> dict[str, dict[str, np.ndarray]]:
    """Length in tokens and both models' perplexity per token, by verdict: {quantity: {verdict: values}}.

    A teacher that was not asked about a rollout has no value there; a verdict without values is left out.
    """
    correct_B, known_B = rollouts.correct_B.numpy(), rollouts.known_B.numpy()
    verdicts = {"correct": correct_B, "wrong": known_B & ~correct_B, "unknown": ~known_B}
    values = {
        "length, tokens": rollouts.length_B.double().numpy(),
        PERPLEXITY["student"]: rollouts.student_nll_B.exp().numpy(),
        PERPLEXITY["teacher"]: rollouts.teacher_nll_B.exp().numpy(),
    }
    found = {}
    for quantity, value_B in values.items():
        there = np.isfinite(value_B)
        found[quantity] = {v: value_B[mask & there] for v, mask in verdicts.items() if (mask & there).any()}
    return found


def quantile_table(rollouts: Rollouts) -> pd.DataFrame:
    """A row for each quantity and verdict: how many rollouts have it, and its 5 %, median and 95 %."""
    rows = {
        (quantity, verdict): [f"{len(values):,}", *(f"{q:,.2f}" for q in np.quantile(values, list(LEVELS.values())))]
        for quantity, of in quantities(rollouts).items()
        for verdict, values in of.items()
    }
    index = pd.MultiIndex.from_tuples(rows, names=["quantity", "verdict"])
    return pd.DataFrame(list(rows.values()), index, columns=["rollouts", *LEVELS])


def card_text(rollouts: Rollouts) -> str:
    """The card in lines: what was sampled and how, verdicts, kinds of groups, and quantiles."""
    groups, sampling = group_kinds(rollouts), rollouts.sampling
    verdicts = groups[["correct", "wrong", "unknown"]].sum()
    kinds = groups.kind.value_counts(normalize=True)
    state = f", at training step {rollouts.step}" if rollouts.step else ""
    return "\n".join(
        [
            f"{rollouts.task}: {len(rollouts):,} rollouts of {len(groups)} prompts",
            f"student: {rollouts.student or 'not named'}{state}; teacher: {rollouts.teacher or 'none'}",
            f"temperature {sampling.temperature:g}, log-probs at {sampling.scored_at:g}, seed {sampling.seed}",
            "verdicts: " + ", ".join(f"{n / len(rollouts):.1%} {verdict}" for verdict, n in verdicts.items()),
            "groups: " + ", ".join(f"{share:.1%} {kind}" for kind, share in kinds.items()),
            f"truncated: {rollouts.truncated_B.double().mean():.1%}",
            "",
            quantile_table(rollouts).to_string(),
        ]
    )
