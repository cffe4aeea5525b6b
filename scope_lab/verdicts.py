"""What recorded runs say of every claim: contrasts with intervals, p-values adjusted within a claim, and verdicts."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from . import paper
from .ablations import SAME, FinishedRun, differences, paired
from .claims import ABLATIONS, BEST_TAU, FIXED_TAUS, HALF_OF_GRPO, LINES, Claimed, Line, judge, verdict
from .recovery_table import correlation, truncation
from .results import LAST_STEPS, EqualSeconds, RecordedRun
from .seeds import contrast_of_seeds, holm, relative

COLUMNS = [
    "claim", "line", "kind", *SAME, "claimed", "seeds", "mean", "low", "high", "holds",
    "relative", "relative_low", "relative_high", "p", "p_holm", "status",
]  # fmt: skip


def best_tau(runs: Sequence[FinishedRun]) -> str | None:
    """The variant of the fixed weight temperature whose mean Avg over its seeds is highest; None without such runs."""
    scores: dict[str, list[float]] = {}
    for run in runs:
        if run.method in FIXED_TAUS:
            scores.setdefault(run.method, []).append(run.after.metrics()[f"avg@{run.after.n_samples}"].mean())
    means = {variant: float(np.mean(values)) for variant, values in scores.items()}
    return max(means, key=lambda variant: means[variant], default=None)


def rate_rows(runs: Sequence[FinishedRun], contrasts: Sequence[Claimed]) -> pd.DataFrame:
    """`ablations.differences` of contrasts, a row each: NaN and 0 seeds where two share none; relative changes too."""
    n = runs[0].after.n_samples if runs else 32
    wanted = pd.DataFrame(
        [(c.method, c.baseline, f"{c.metric}@{n}", c.sign) for c in contrasts],
        columns=[*SAME, "claimed"],
    )
    seeds = {name: {run.seed for run in runs if run.method == name} for name in {*wanted.method, *wanted.baseline}}
    seeds["base"] = {run.seed for run in runs}
    shared = [seeds[row.method] & seeds[row.baseline] for row in wanted.itertuples()]
    there = [tuple(row) for row, both in zip(wanted[SAME].itertuples(index=False), shared, strict=True) if both]
    table = wanted.merge(differences(runs, there).drop(columns="p_holm"), on=SAME, how="left")
    table["seeds"] = [len(both) for both in shared]
    for i in table.index[table.seeds > 0]:
        pair = paired(runs, *table.loc[i, SAME])
        share, ends = relative(pair.ours_SP, pair.theirs_SP)
        table.loc[i, ["relative", "relative_low", "relative_high"]] = [100 * x for x in (share, *ends)]
    return table


def entropy_rows(runs: Sequence[RecordedRun], contrasts: Sequence[Claimed]) -> pd.DataFrame:
    """Change of the policy's entropy, nats: a method's own (baseline "step 1"), or its loss less half of GRPO's."""
    lost = {(run.variant, run.seed): entropy_lost(run) for run in runs}
    rows = []
    for c in contrasts:
        values = [
            lost[c.method, seed] - lost["grpo", seed] / 2 if c.baseline == HALF_OF_GRPO else -lost[c.method, seed]
            for method, seed in sorted(lost)
            if method == c.method and ("grpo", seed) in lost
        ]
        row = dict(zip([*SAME, "claimed"], (c.method, c.baseline, c.metric, c.sign), strict=True), seeds=len(values))
        if values:
            found = contrast_of_seeds(values)
            row |= {"mean": found.mean, "low": found.interval.low, "high": found.interval.high, "p": found.p}
        rows.append({**row, "holds": "seeds"})
    return pd.DataFrame(rows)


def entropy_lost(run: RecordedRun) -> float:
    """Entropy at the first step less the mean over the last LAST_STEPS, nats a token."""
    entropy = run.metrics["entropy"]
    return float(entropy.iloc[0] - entropy.iloc[-LAST_STEPS:].mean())


def recovery_rows(summary: dict | None, frame: pd.DataFrame | None, contrasts: Sequence[Claimed]) -> pd.DataFrame:
    """The recovery experiment's: its rank correlation over all prefixes; recovery at 80 % less that at 20 %, points."""
    rows = []
    cut = None if frame is None else 100 * truncation(frame)
    for c in contrasts:
        found: dict = {}
        if summary is not None and c.metric == "rho":
            cell = correlation(summary)
            found = {"mean": cell["value"], "low": cell["low"], "high": cell["high"]}
        elif cut is not None and c.metric == "recovery":
            found = cut.loc[int(c.method[1:])].to_dict()
        names = zip([*SAME, "claimed"], (c.method, c.baseline, c.metric, c.sign), strict=True)
        rows.append({**dict(names), **found, "holds": "problems"})
    return pd.DataFrame(rows).astype({name: float for name in ("mean", "low", "high") if rows and name in rows[0]})


def _rows_of(line: Line, runs, ends, summary, frame) -> pd.DataFrame:
    if line.rule == "entropy":
        return entropy_rows(runs, line.contrasts)
    if line.rule == "recovery":
        return recovery_rows(summary, frame, line.contrasts)
    best = best_tau(ends) or "scope"
    contrasts = [c._replace(baseline=best) if c.baseline == BEST_TAU else c for c in line.contrasts]
    return rate_rows(ends, contrasts)


def primary(
    runs: Sequence[RecordedRun],
    summary: dict | None = None,
    frame: pd.DataFrame | None = None,
    about: Sequence[Line] = LINES,
) -> pd.DataFrame:
    """Every primary contrast (COLUMNS), judged: rates in points, relative changes in per cent, entropy in nats.

    summary, frame  of the recovery experiment, where it was made
    about           the lines that the plan can decide
    Holm counts all primary contrasts of a claim; those that are not recorded yet count as p = 1.
    """
    ends = [run.ends for run in runs]
    seeds = Counter(run.method for run in ends)
    parts = []
    for line in about:
        rows = _rows_of(line, runs, ends, summary, frame).assign(claim=line.claim, line=line.text, rule=line.rule)
        if line.rule == "no worse":  # the best of all fixed tau: none may be missing
            rows["seeds"] = np.minimum(rows.seeds, min(seeds[variant] for variant in FIXED_TAUS))
        parts.append(rows)
    table = pd.concat([part.dropna(axis=1, how="all") for part in parts], ignore_index=True)
    return finish(table.reindex(columns=[*COLUMNS, "rule"]), "primary")


def finish(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Add `kind`, `p_holm` within each claim, and `status` by each row's rule."""
    table = table.assign(kind=kind, p_holm=np.nan, status="")
    for _, rows in table.groupby("claim", sort=False):
        tested = rows[rows.rule != "recovery"]
        table.loc[tested.index, "p_holm"] = np.where(tested.p.isna(), np.nan, holm(tested.p.fillna(1.0)))
    table["status"] = [judge(row.rule, row) for _, row in table.iterrows()]
    return table


def at_equal_seconds(found: EqualSeconds | None) -> pd.DataFrame:
    """The contrasts of C2 once every method has had the same seconds; no rows where that is not known."""
    (line,) = (line for line in LINES if line.claim == "C2")
    if found is None:
        return pd.DataFrame(columns=[*COLUMNS, "rule"])
    rows = rate_rows(found.runs, line.contrasts).assign(claim="C2", line=line.text, rule=line.rule)
    return finish(rows.reindex(columns=[*COLUMNS, "rule"]), "equal seconds")


def secondary(runs: Sequence[RecordedRun], contrasts: Sequence[Claimed] = ABLATIONS) -> pd.DataFrame:
    """SCOPE less each of its ablations, in both metrics: neither adjusted nor judged."""
    rows = rate_rows([run.ends for run in runs], contrasts).assign(claim="C3", line="all ablations", kind="secondary")
    return rows.reindex(columns=COLUMNS)


def lines(table: pd.DataFrame) -> pd.DataFrame:
    """A row a line of the protocol: claim, line, its verdict, seeds (the fewest of its contrasts), and its parts.

    parts  of a line about several pairs of methods: the verdict of each, by (method, baseline)
    """
    rows = []
    for (claim, line), members in table.groupby(["claim", "line"], sort=False):
        pairs = members.groupby(["method", "baseline"], sort=False).status.agg(verdict)
        parts = pairs.to_dict() if len(pairs) > 1 else {}
        rows.append((claim, line, verdict(members.status), members.seeds.min(), parts))
    return pd.DataFrame(rows, columns=["claim", "line", "verdict", "seeds", "parts"])


def paper_comparisons(k: int = 32) -> pd.DataFrame:
    """`paper.comparisons` in a plan's names: its OPD has one rollout a prompt; our k for its 32."""
    return paper.comparisons().replace({"opd": "opd-one", "avg@32": f"avg@{k}", "pass@32": f"pass@{k}"})
