"""What the error-recovery experiment shows: recovery by quartile and prefix, its rank correlation with perplexity, and
whether response length could be the hidden cause. Intervals resample problems: rollouts of one problem are alike.
"""

from typing import Any

import numpy as np
import pandas as pd

QUARTILES = (1, 2, 3, 4)
STRATA = ("short", "middle", "long")


def quartiles(values) -> np.ndarray:
    """Quartile 1 to 4 of each value, equal in size to one; ties go by position."""
    order = np.argsort(np.asarray(values), kind="stable")
    found = np.empty(len(order), dtype=int)
    found[order] = np.arange(len(order)) * 4 // max(len(order), 1) + 1
    return found


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def spearman(x, y) -> float:
    """Spearman's rank correlation; NaN for fewer than three values or where one side is constant."""
    return _correlation(ranks(np.asarray(x)), ranks(np.asarray(y)))


def partial_spearman(x, y, given) -> float:
    """Rank correlation of x and y once the ranks of a third value are taken out of both (linearly)."""
    x, y, z = (ranks(np.asarray(values)) for values in (x, y, given))
    if len(z) < 4:
        return np.nan
    if z.std() == 0:
        return _correlation(x, y)
    design = np.stack([np.ones_like(z), z], 1)
    left, right = (values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in (x, y))
    return _correlation(left, right)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 3 or x.std() < 1e-9 or y.std() < 1e-9:
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])


def length_strata(lengths, n: int = 3) -> np.ndarray:
    """0 … n - 1 from short to long; equal lengths stay together."""
    lengths = np.asarray(lengths)
    return np.searchsorted(np.quantile(lengths, np.arange(1, n) / n), lengths, side="left")


def summarise(frame: pd.DataFrame, resamples: int = 2_000, seed: int = 0) -> dict[str, Any]:
    """Tables and correlations of what `recovery.recover` returned, with 95 % bootstrap intervals over problems.

    Returns plain lists and numbers, fit for JSON:
    quartiles      a row each: quartile, rollouts, mean and median teacher perplexity, mean length in tokens
    rates          recovery of a quartile at a fraction; `matched`: quartiles formed within each length stratum, so that
                   all four have the same mixture of lengths
    cuts           mean share of the response that a prefix of each fraction really held
    correlations   Spearman's rho of teacher perplexity and recovery at each fraction and over all prefixes ("all"):
                   overall, within each length stratum, their mean weighted by size, and partial given length
    """
    data = _Arrays(frame)
    labels, values = data.statistics(np.arange(len(data.ppl)))
    by_problem = [np.flatnonzero(data.problem == p) for p in range(data.problem.max() + 1)]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        rows = np.concatenate([by_problem[p] for p in rng.integers(len(by_problem), size=len(by_problem))])
        drawn.append(data.statistics(rows)[1])
    low, high = _interval(np.array(drawn))
    records = [
        {**label, "value": _number(value), "low": _number(a), "high": _number(b)}
        for label, value, a, b in zip(labels, values, low, high, strict=True)
    ]
    return {
        "rollouts": len(data.ppl),
        "problems": len(by_problem),
        "completions": int(frame.completions.iloc[0]),
        "unknown": int(frame.unknown.sum()),
        "truncated": int(frame.truncated.sum()),
        "quartiles": data.describe_quartiles(),
        "strata": data.describe_strata(),
        "cuts": [
            {"fraction": fraction, "share": _number(frame.share[frame.fraction == fraction].mean())}
            for fraction in data.fractions
        ],
        "rates": [record for record in records if record["kind"] in ("rate", "matched")],
        "correlations": [record for record in records if record["kind"] not in ("rate", "matched")],
    }


def truncation(frame: pd.DataFrame, early: float = 0.2, late: float = 0.8, resamples: int = 10_000) -> pd.DataFrame:
    """Recovery after the late cut minus after the early one: a row a quartile, mean, low and high, as shares.

    Paired by rollout; 95 % bootstrap intervals over problems. Quartiles stay those of the recorded rollouts.
    """
    data = _Arrays(frame)
    gain = data.recovery_RF[:, data.fractions.index(late)] - data.recovery_RF[:, data.fractions.index(early)]
    n_problems = data.problem.max() + 1
    drawn = np.random.default_rng(0).multinomial(n_problems, np.full(n_problems, 1 / n_problems), size=resamples)
    rows = {}
    for q in QUARTILES:
        member = data.quartile == q
        sums, counts = (
            np.bincount(data.problem[member], weights, minlength=n_problems)
            for weights in (gain[member], np.ones(member.sum()))
        )
        low, high = np.quantile((drawn @ sums) / (drawn @ counts), [0.025, 0.975])
        rows[q] = {"mean": gain[member].mean(), "low": low, "high": high}
    return pd.DataFrame(rows).T.rename_axis("quartile")


class _Arrays:
    """The tidy table as arrays with a row a rollout: what a resample of rows needs."""

    def __init__(self, frame: pd.DataFrame):
        first = frame.drop_duplicates("row").set_index("row").sort_index()
        self.ppl, self.length = first.teacher_ppl.to_numpy(float), first.length.to_numpy(int)
        self.quartile = first.quartile.to_numpy(int)
        self.problem = pd.factorize(first.prompt_id)[0]
        share = (frame.recovered / frame.completions).rename("recovery")
        wide = frame.assign(recovery=share).pivot(index="row", columns="fraction", values="recovery").sort_index()
        self.fractions, self.recovery_RF = [float(f) for f in wide.columns], wide.to_numpy(float)
        self.stratum = length_strata(self.length)
        self.matched = np.zeros_like(self.quartile)
        for stratum in np.unique(self.stratum):
            members = self.stratum == stratum
            self.matched[members] = quartiles(self.ppl[members])

    def statistics(self, rows: np.ndarray) -> tuple[list[dict], np.ndarray]:
        labels: list[dict] = []
        values: list[float] = []
        recovery_RF, ppl, length, stratum = (
            self.recovery_RF[rows],
            self.ppl[rows],
            self.length[rows],
            self.stratum[rows],
        )
        for kind, group in (("rate", self.quartile[rows]), ("matched", self.matched[rows])):
            for q in QUARTILES:
                members = recovery_RF[group == q]
                means = members.mean(0) if len(members) else np.full(len(self.fractions), np.nan)
                labels += [{"kind": kind, "quartile": q, "fraction": f} for f in self.fractions]
                values += means.tolist()
        prefixed = [i for i, fraction in enumerate(self.fractions) if fraction > 0]
        columns = [(f, recovery_RF[:, i]) for i, f in enumerate(self.fractions)]
        for fraction, y in [*columns, ("all", recovery_RF[:, prefixed].mean(1))]:
            within, sizes = [], []
            for s, name in enumerate(STRATA):
                members = stratum == s
                within.append(spearman(ppl[members], y[members]))
                sizes.append(int(members.sum()))
                labels.append({"kind": name, "fraction": fraction})
            pooled = [(rho, size) for rho, size in zip(within, sizes, strict=True) if not np.isnan(rho)]
            mean = sum(rho * size for rho, size in pooled) / sum(size for _, size in pooled) if pooled else np.nan
            labels += [{"kind": kind, "fraction": fraction} for kind in ("within lengths", "partial", "overall")]
            values += [*within, mean, partial_spearman(ppl, y, length), spearman(ppl, y)]
        return labels, np.array(values)

    def describe_quartiles(self) -> list[dict]:
        return [
            {
                "quartile": q,
                "rollouts": int((self.quartile == q).sum()),
                "mean_ppl": _number(self.ppl[self.quartile == q].mean()),
                "median_ppl": _number(np.median(self.ppl[self.quartile == q])),
                "mean_length": _number(self.length[self.quartile == q].mean()),
            }
            for q in QUARTILES
        ]

    def describe_strata(self) -> list[dict]:
        found = []
        for s, name in enumerate(STRATA):
            lengths = self.length[self.stratum == s]
            if len(lengths):
                found.append(
                    {"name": name, "rollouts": len(lengths), "from": int(lengths.min()), "to": int(lengths.max())}
                )
        return found


def _interval(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2.5 and 97.5 % of each column; NaN where a statistic cannot be computed in more than 5 % of the resamples."""
    ends = np.full((2, drawn.shape[1]), np.nan)
    for j, column in enumerate(drawn.T):
        finite = column[~np.isnan(column)]
        if len(finite) >= 0.95 * len(column):
            ends[:, j] = np.quantile(finite, [0.025, 0.975])
    return ends[0], ends[1]


def _number(value) -> float | None:
    """A JSON number, None for NaN."""
    return None if np.isnan(value) else round(float(value), 5)


def rate(summary: dict, quartile: int, fraction: float, kind: str = "rate") -> dict:
    """One cell of the table: value, low, high."""
    return next(r for r in summary["rates"] if (r["kind"], r["quartile"], r["fraction"]) == (kind, quartile, fraction))


def correlation(summary: dict, kind: str = "overall", fraction: float | str = "all") -> dict:
    """One correlation: value, low, high."""
    return next(r for r in summary["correlations"] if (r["kind"], r["fraction"]) == (kind, fraction))


def table_text(summary: dict) -> str:
    """The tables for a terminal: recovery in % like Table 7, the same with lengths matched, and the correlations."""
    fractions = [cut["fraction"] for cut in summary["cuts"]]
    heads = "".join(f"{'no prefix' if f == 0 else f'{f:.0%} prefix':>21}" for f in fractions)
    lines = [
        f"{summary['rollouts']} wrong rollouts of {summary['problems']} problems, {summary['completions']} completions "
        "a prefix; recovery in %, 95 % bootstrap interval over problems",
        f"{'teacher PPL':14}{'mean':>8}{'length':>8}{heads}",
    ]
    for kind, title in (("rate", ""), ("matched", "quartiles formed among rollouts of like length:")):
        if title:
            lines.append(title)
        for row in summary["quartiles"]:
            cells = "".join(f"{_cell(rate(summary, row['quartile'], f, kind), 100, 1):>21}" for f in fractions)
            about = f"{row['mean_ppl']:8.3f}{row['mean_length']:8.1f}" if kind == "rate" else " " * 16
            lines.append(f"Q{row['quartile']}{QUARTILE_WORDS[row['quartile']]:12}{about}{cells}")
    lines.append(f"{'response held':30}" + "".join(f"{cut['share']:>20.0%}" for cut in summary["cuts"]))
    lines.append("rank correlation of teacher perplexity and recovery (Spearman):")
    strata = {s["name"]: f"{s['name']}, {s['from']}-{s['to']} tokens" for s in summary["strata"]}
    kinds = {"overall": "overall", **strata, "within lengths": "mean of the three", "partial": "partial given length"}
    for kind, title in kinds.items():
        rhos = [_cell(correlation(summary, kind, f), 1, 2) for f in fractions]
        lines.append(
            f"{title:30}" + "".join(f"{rho:>21}" for rho in rhos) + f"   all {_cell(correlation(summary, kind), 1, 2)}"
        )
    if summary["unknown"] or summary["truncated"]:
        lines.append(
            f"counted as not recovered: {summary['truncated']} truncated, {summary['unknown']} without verdict"
        )
    return "\n".join(lines)


QUARTILE_WORDS = {1: " (lowest)", 2: "", 3: "", 4: " (highest)"}


def _cell(record: dict, scale: float, digits: int) -> str:
    if record["value"] is None or record["low"] is None:
        return "-" if record["value"] is None else f"{record['value'] * scale:.{digits}f}"
    value, low, high = (f"{record[name] * scale:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
