"""CLAIMS.md: the verdict of every claim, its contrasts beside the paper's numbers, and where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from . import paper
from .ablations import ENOUGH_SEEDS, SAME, contrast_name, metric_name
from .claims import AUTO, FIXED_TAUS, HALF_OF_GRPO, TITLES
from .evaluation import Evaluation
from .markdown import NOTHING, chance, table, with_ends
from .methods import method_name
from .results import LAST_STEPS, EqualSeconds, Recorded, variant_means
from .verdicts import lines, paper_comparisons

DIGITS = {"rho": 2, "recovery": 1, "policy entropy": 3}  # rates have two
CLAIMED = {-1: "< 0", 0: "", 1: "> 0"}


@dataclass(frozen=True)
class Findings:
    """What the page is made of.

    recovery    summary of the recovery experiment, where there is one
    primary, equal, secondary   of verdicts.py; seconds: results.equal_seconds
    rates       results.validation_scores and results.chosen_rates, where that sweep is recorded
    teacher     its own evaluation on the runs' problems, where that is recorded
    signals, bands, gradients   of exploratory.py
    figures     claim -> file name and what it shows in words
    """

    plan: str
    recorded: Recorded
    recovery: dict | None
    primary: pd.DataFrame
    equal: pd.DataFrame
    secondary: pd.DataFrame
    seconds: EqualSeconds | None
    rates: tuple[pd.DataFrame, dict[str, float]] | None
    teacher: Evaluation | None
    signals: pd.DataFrame
    bands: pd.DataFrame
    gradients: dict[str, float] | None
    figures: Mapping[str, tuple[str, str]]


def name_of(row) -> str:
    """What a contrast compares, in words."""
    if row["metric"] == "policy entropy":
        whose = method_name(row["method"])
        change = f"mean of the last {LAST_STEPS} steps − step 1"
        return f"{whose}: its loss − half of GRPO's" if row["baseline"] == HALF_OF_GRPO else f"{whose}: {change}"
    if row["metric"] == "recovery":
        return f"{row['method']} of teacher perplexity: recovery at 80 % − at 20 %"
    return "Spearman's ρ, all prefixes" if row["metric"] == "rho" else contrast_name(row)


def papers(row) -> str:
    """The paper's own number for a contrast, points where a rate."""
    if row["metric"] == "recovery":
        _, rates = paper.TABLE_7[row["method"]]
        return f"{rates[-1] - rates[0]:+.1f}"
    if row["metric"] == "rho":
        first, last = (paper.TABLE_7[quartile][1][0] for quartile in ("Q1", "Q4"))
        return f"Q1 {first}, Q4 {last} at 20 %"
    theirs = paper_comparisons(int(row["metric"].partition("@")[2] or 32))
    same = theirs[(theirs[SAME] == [row[name] for name in SAME]).all(axis=1)]
    return ", ".join(f"{points:+.1f}" for points in same.points)


def contrast_table(rows: pd.DataFrame) -> list[str]:
    """Recorded contrasts as a table, and the names of the others."""
    cells, missing = [], []
    for row in rows.to_dict("records"):
        seeds = row["seeds"]
        if seeds == 0 or not np.isfinite(row["mean"]):
            missing.append(name_of(row))
            continue
        if 1 < seeds < ENOUGH_SEEDS:
            row["relative_low"] = np.nan  # a bootstrap over so few seeds does not hold their spread
        cells.append(
            [
                name_of(row),
                metric_name(row["metric"]) if "@" in row["metric"] else "",
                CLAIMED[int(row["claimed"])],
                with_ends(row, DIGITS.get(row["metric"], 2)),
                with_ends(row, 1, "relative_") if np.isfinite(row["relative"]) else "",
                "" if np.isnan(seeds) else f"{seeds:.0f}",
                "" if row["kind"] == "secondary" or np.isnan(seeds) else chance(row["p_holm"]),
                row["status"] if isinstance(row["status"], str) else "",
                papers(row),
            ]
        )
    heads = ["contrast", "metric", "claimed", "here [95 %]", "relative, %", "seeds", "p (Holm)", "status", "the paper"]
    text = table(heads, cells) if cells else []
    return [*text, f"Not recorded yet: {'; '.join(dict.fromkeys(missing))}.", ""] if missing else text


def said(line: Mapping) -> str:
    """A line's verdict, with the seeds that are missing."""
    if line["seeds"] < ENOUGH_SEEDS:
        return f"{line['verdict']}, {line['seeds']:.0f} of {ENOUGH_SEEDS} seeds"
    return f"**{line['verdict']}**"


def _parts(line: Mapping) -> str:
    """Each part's verdict where they differ, named by what tells them apart: a method, its opponent, a quartile."""
    if set(line["parts"].values()) <= {line["verdict"]}:
        return ""
    pairs = list(line["parts"])
    place = 1 if len({baseline for _, baseline in pairs}) > 1 else 0
    names = [pair[0] if line["claim"] == "C5" else method_name(pair[place]) for pair in pairs]
    return "; ".join(f"{name}: {found}" for name, found in zip(names, line["parts"].values(), strict=True))


def page(found: Findings) -> str:
    """The whole page in Markdown."""
    text = [
        "# What the runs say of the paper's claims",
        "",
        f"Made by `scope-lab results {found.plan}` from `data/runs/`; do not edit. The rules were fixed before the "
        "runs: [PROTOCOL.md](PROTOCOL.md). *Supported*, *contradicted*, *open* are said of a contrast; *reproduced*, "
        "*not reproduced*, *undecided* of a line. Differences are in percentage points where nothing else is said; "
        "intervals are 95 %, over seeds and problems, with one seed over problems alone. The paper's numbers are from "
        "other models and tasks, one run each.",
        "",
        *provenance(found.recorded),
        "## Verdicts",
        "",
        *table(
            ["", "line", "verdict", "its parts"],
            [
                [line["claim"], line["line"], said(line), _parts(line)]
                for line in lines(found.primary).to_dict("records")
            ],
        ),
    ]
    extra = {"C2": at_equal_seconds, "C3": ablations, "C4": temperatures, "C5": recovery}
    for claim in dict.fromkeys(found.primary.claim):
        text += [f"## {claim}. {TITLES[claim]}", ""]
        if claim in found.figures:
            file, alt = found.figures[claim]
            text += [f"![{alt}]({file})", ""]
        text += contrast_table(found.primary[found.primary.claim == claim])
        text += extra[claim](found) if claim in extra else []
    return "\n".join([*text, *levels(found), *rates(found), *exploratory(found)]).rstrip() + "\n"


def provenance(recorded: Recorded) -> list[str]:
    """How many runs of how many, their seeds, commits and devices; the failed by name."""
    runs = recorded.runs
    text = [f"{len(runs)} of {recorded.planned} runs are recorded."]
    if runs:
        seeds = {variant: sum(run.variant == variant for run in runs) for variant in {run.variant for run in runs}}
        fewest, most = min(seeds.values()), max(seeds.values())
        commits = sorted({str(run.manifest.get("commit")) for run in runs})
        devices = sorted({run.manifest["device"] for run in runs})
        text[0] = (
            f"{len(runs)} of {recorded.planned} runs are recorded; variants: {len(seeds)}; seeds of a variant: "
            f"{fewest}{'' if fewest == most else f' to {most}'}; commit {', '.join(commits)}; on {'; '.join(devices)}."
        )
    if recorded.failed:
        names = ", ".join(run.planned.name for run in recorded.failed)
        text.append(f"Failed, and not counted: {names} (too many skipped updates).")
    return [*text, ""]


def at_equal_seconds(found: Findings) -> list[str]:
    text = ["### At equal seconds (secondary)", ""]
    if found.seconds is None:
        return [
            *text,
            "Not known yet: it takes runs of all six methods, and their seconds a step measured beside one another.",
            "",
        ]
    per_step = ", ".join(f"{method_name(method)} {x:.2f}" for method, x in found.seconds.per_step.items())
    return [
        *text,
        f"Seconds a step, measured in turn in one process: {per_step}.",
        f"The quickest needs {found.seconds.seconds:.0f} s for all its steps; the others are taken as they were then, "
        "on the line between their evaluations before and after.",
        "",
        *contrast_table(found.equal),
    ]


def ablations(found: Findings) -> list[str]:
    text = ["### All ablations (secondary: not adjusted, not judged)", "", *contrast_table(found.secondary)]
    rows = found.secondary[found.secondary.baseline == "scope-reversed-student"]
    for row in rows[rows["mean"].notna()].to_dict("records"):
        better = "Eq. 4 does better" if row["low"] > 0 else "the reverse does better" if row["high"] < 0 else ""
        found_out = better or "the interval holds 0, so neither is known to be better"
        if row["seeds"] < ENOUGH_SEEDS:
            found_out = f"open, {row['seeds']:.0f} of {ENOUGH_SEEDS} seeds"
        where = metric_name(row["metric"])
        text += [f"Eq. 4 against its reverse, which the released scripts run, in {where}: {found_out}.", ""]
    return text


def temperatures(found: Findings) -> list[str]:
    text = f"The paper tries τ = 0.5, 1 and 2, and finds 1 best in Avg@32 on {', '.join(paper.BEST_TAU)}."
    if len({run.variant for run in found.recorded.runs} & set(FIXED_TAUS)) > 1:
        best = found.primary[found.primary.method == AUTO].baseline.iloc[0]
        text += f" Here τ = {FIXED_TAUS[best]:g} has the highest mean of all fixed τ that are recorded."
    return [text, ""]


def recovery(found: Findings) -> list[str]:
    if found.recovery is None:
        return []
    return [
        f"{found.recovery['rollouts']} wrong rollouts of {found.recovery['problems']} problems, cut at the nearest "
        f"{found.recovery['cut']}; recorded before its rule was written. Quartiles are of the teacher's perplexity.",
        "",
    ]


def ahead_of_the_teacher(rows: pd.DataFrame, metric: str) -> str:
    """Which of `variant_means` passed the teacher: what follows it closely cannot."""
    ahead = [method_name(str(variant)) for variant in rows.index[rows[metric] > rows[metric]["teacher"]]]
    return f"Ahead of the teacher in {metric_name(metric)}: {'; '.join(ahead) or 'none'}."


def levels(found: Findings) -> list[str]:
    """What every variant came to, and where it came from."""
    rows = variant_means(found.recorded.runs, found.teacher)
    if not len(rows):
        return []
    names = [str(name) for name in rows if "@" in str(name)]
    cells = [
        [
            method_name(str(variant)),
            f"{row.seeds:.0f}" if np.isfinite(row.seeds) else NOTHING,
            *(f"{row[name]:.1f}" for name in names),
            f"{row.distinct:.2f}",
            f"{row.entropy:.2f}",
            f"{row['policy entropy']:.3f}" if np.isfinite(row["policy entropy"]) else NOTHING,
        ]
        for variant, row in rows.iterrows()
    ]
    heads = ["", "seeds", *(f"{metric_name(name)}, %" for name in names), "distinct correct solutions a problem"]
    heads += ["entropy of answers, nats", f"entropy of the policy, last {LAST_STEPS} steps, nats a token"]
    return [
        "## All variants",
        "",
        "Means over problems and seeds after the last step, below the student before training and its teacher. To "
        "compare two, see the contrasts above: they are paired."
        + "".join(f" {ahead_of_the_teacher(rows, name)}" for name in names if "teacher" in rows.index),
        "",
        *table(heads, cells),
    ]


def rates(found: Findings) -> list[str]:
    """Which learning rate each family got, and what the others came to on the validation split."""
    if found.rates is None:
        return []
    scores, chosen = found.rates

    def cell(family: str, rate: Any, score: float) -> str:
        bold = "**" if rate == chosen.get(family) else ""
        return NOTHING if np.isnan(score) else f"{bold}{score:.1%}{bold}"

    cells = [
        [method_name(str(family)), *(cell(str(family), rate, score) for rate, score in row.items())]
        for family, row in scores.iterrows()
    ]
    return [
        "## Learning rates",
        "",
        "Mean accuracy on validation problems after short runs; bold: chosen by the protocol's rule.",
        "",
        *table(["", *(f"{rate:g}" for rate in scores.columns)], cells),
    ]


def exploratory(found: Findings) -> list[str]:
    """Shown whatever SCOPE does against OPD; called what it is."""
    if not len(found.signals):
        return []
    text = [
        "## Exploratory: SCOPE and OPD",
        "",
        "Looked at after the runs, to find out why SCOPE does or does not beat OPD. It suggests; it decides nothing.",
        "",
        "What SCOPE's runs logged, means over seeds, of their first and last 20 steps:",
        "",
        *table(
            ["", "first", "last"],
            [[str(name), *(f"{row[end]:.3g}" for end in ("first", "last"))] for name, row in found.signals.iterrows()],
        ),
    ]
    if found.gradients and np.isfinite(found.gradients["cosine"]):
        student, teacher, cosine = (found.gradients[name] for name in ("student", "teacher", "cosine"))
        text += [
            "Gradients of both paths, of one step on recorded rollouts of the untrained student: the student path's is "
            f"{student / teacher:.2f} times as long as the teacher path's; cosine of their angle {cosine:+.2f}.",
            "",
        ]
    if len(found.bands):
        cells = [
            [
                contrast_name({"method": "scope", "baseline": row["baseline"]}),
                f"{row['band']} ({row['problems']})",
                metric_name(row["metric"]),
                with_ends(row, 2),
            ]
            for row in found.bands.to_dict("records")
        ]
        text += ["By difficulty, points, not adjusted:", "", *table(["", "problems", "metric", "here [95 %]"], cells)]
    return text
