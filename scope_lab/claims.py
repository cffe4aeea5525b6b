"""The paper's claims as contrasts between recorded runs: the table of data/results/PROTOCOL.md, and its rules.

A claim has lines, a line has contrasts. A contrast is judged first, its line by its contrasts:

rule        supported                          contradicted                            open
directed    claimed sign, adjusted p < 0.05    interval excludes a gain that matters   otherwise
no worse    lower end above -SMALLEST          upper end below -SMALLEST               otherwise
recovery    interval below 0                   above 0, or holds 0 within NEAR_ZERO    otherwise
entropy     claimed sign, adjusted p < 0.05    interval excludes the sign              otherwise
scale       "changes": adjusted p < 0.05       "no change": within ±SMALLEST           otherwise

With fewer than ENOUGH_SEEDS seeds every contrast is open; recovery has no seeds.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from .ablations import ENOUGH_SEEDS, SIGNIFICANT, SMALLEST, FinishedRun, differences, status
from .recovery_table import QUARTILES

FIXED_TAUS = {
    "scope-tau-0.25": 0.25,
    "scope-tau-0.5": 0.5,
    "scope": 1.0,
    "scope-tau-2": 2.0,
    "scope-tau-4": 4.0,
    "scope-no-weights": math.inf,  # the same computation
}
AUTO = "scope-tau-auto"
BEST_TAU, HALF_OF_GRPO, STEP_1 = "best fixed tau", "half of grpo", "step 1"
NEAR_ZERO = {"rho": 0.1, "recovery": 10.0}  # of a rank correlation; of a share of prefixes, in points


class Claimed(NamedTuple):
    """method - baseline in a metric ("avg" and "pass" of all samples); sign: what is claimed, 0 for no claim."""

    method: str
    baseline: str
    metric: str
    sign: int


@dataclass(frozen=True)
class Line:
    """A line of the protocol's table."""

    claim: str
    text: str
    rule: str
    contrasts: tuple[Claimed, ...]


TITLES = {
    "C1": "Pass@1 rises, Pass@k falls (Fig. 1a, 4)",
    "C2": "SCOPE against other methods (Table 1)",
    "C3": "SCOPE's weights (Fig. 5)",
    "C4": "Weight temperature (Fig. 6)",
    "C5": "Recovery and the teacher's perplexity (Table 7)",
    "C6": "Entropy (Fig. 3)",
    "C7": "Scale of weights, denominators",
    "C8": "Controls",
}
AVG, PASS, BOTH = {"avg": +1}, {"pass": +1}, {"avg": +1, "pass": +1}
PARADOX, NO_CLAIM = {"avg": +1, "pass": -1}, {"avg": 0, "pass": 0}


def _each(pairs: Iterable[tuple[str, str]], signs: dict[str, int]) -> tuple[Claimed, ...]:
    return tuple(Claimed(*pair, metric, sign) for pair in pairs for metric, sign in signs.items())


def _scope_over(others: str, signs: dict[str, int]) -> tuple[Claimed, ...]:
    return _each((("scope", other) for other in others.split()), signs)


def _over_scope(others: str, signs: dict[str, int]) -> tuple[Claimed, ...]:
    return _each(((other, "scope") for other in others.split()), signs)


PARADOXICAL = (("psr", "base"), ("grpo", "base"), ("opd-one", "base"))
SCALES = "scope-mean-weights scope-token-mean scope-reference-scale reference"
LINES = (
    Line("C1", "Pass@k paradox under PSR; GRPO; OPD", "directed", _each(PARADOXICAL, PARADOX)),
    Line("C2", "SCOPE over GRPO; KD; PSR; OPD", "directed", _scope_over("grpo kd psr opd-one opd", BOTH)),
    Line("C3", "both weights help", "directed", _scope_over("scope-no-weights", PASS)),
    Line("C3", "the student weight helps", "directed", _scope_over("scope-no-student-weight", PASS)),
    Line("C3", "the teacher weight's direction matters", "directed", _scope_over("scope-reversed-teacher", AVG)),
    Line("C4", "τ = 1 is best of 0.5, 1, 2", "directed", _scope_over("scope-tau-0.5 scope-tau-2", AVG)),
    Line("C4", "auto needs no tuning", "no worse", _each([(AUTO, BEST_TAU)], NO_CLAIM)),
    Line("C5", "recovery falls with teacher perplexity", "recovery", (Claimed("all prefixes", "", "rho", -1),)),
    Line(
        "C5",
        "recovery falls with truncation",
        "recovery",
        tuple(Claimed(f"Q{quartile}", "", "recovery", -1) for quartile in QUARTILES),
    ),
    Line("C6", "GRPO's entropy decays", "entropy", _each([("grpo", STEP_1)], {"policy entropy": -1})),
    Line(
        "C6",
        "SCOPE; OPD keep it",
        "entropy",
        _each((("scope", HALF_OF_GRPO), ("opd-one", HALF_OF_GRPO)), {"policy entropy": -1}),
    ),
    Line("C7", "does the scale matter?", "scale", _over_scope(SCALES, NO_CLAIM)),
    Line("C8", "the teacher matters", "directed", _scope_over("scope-untrained-teacher scope-fixed-negative", BOTH)),
    Line("C8", "both paths matter", "directed", _scope_over("scope-student-path scope-teacher-path", BOTH)),
)
# Reported beside the primary contrasts, without a verdict.
ABLATIONS = _scope_over(
    "scope-no-weights scope-no-student-weight scope-no-teacher-weight "
    "scope-reversed-student scope-reversed-teacher scope-reversed-both",
    NO_CLAIM,
)

OTHERS = {"base", BEST_TAU, HALF_OF_GRPO, STEP_1}  # what a method may be compared with besides another variant


def within(variants: Iterable[str], contrasts: Iterable[Claimed]) -> tuple[Claimed, ...]:
    """The contrasts that a plan with these variants can make."""
    known = {*variants} | OTHERS
    return tuple(c for c in contrasts if {c.method, c.baseline} <= known)


def lines_about(variants: Iterable[str]) -> tuple[Line, ...]:
    """The lines of which it can make a contrast; those of the recovery experiment need no variant."""
    known = {*variants}
    return tuple(line for line in LINES if line.rule == "recovery" or within(known, line.contrasts))


def at_other_taus(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """`ablations.differences` of SCOPE at every other weight temperature that is recorded, and `auto`, less at 1."""
    samples = {run.after.n_samples for run in runs}
    others = [variant for variant in (*FIXED_TAUS, AUTO) if variant != "scope"]
    return differences(runs, [(v, "scope", f"{m}@{n}") for n in samples for m in SMALLEST for v in others])


def judge(rule: str, row) -> str:
    """What a rule says of a contrast: row has metric, claimed, seeds, mean, low, high and p_holm."""
    return RULES[rule](row)


def _few(row) -> bool:
    return row.seeds < ENOUGH_SEEDS


def _directed(row) -> str:
    return status(row, int(row.claimed))


def _no_worse(row) -> str:
    most = SMALLEST[row.metric.partition("@")[0]]
    if _few(row):
        return "open"
    return "supported" if row.low > -most else "contradicted" if row.high < -most else "open"


def _recovery(row) -> str:
    if row.high < 0:
        return "supported"
    near = NEAR_ZERO[row.metric]
    return "contradicted" if row.low > 0 or (row.low >= -near and row.high <= near) else "open"


def _entropy(row) -> str:
    if _few(row):
        return "open"
    if row.claimed * row["mean"] > 0 and row.p_holm < SIGNIFICANT:
        return "supported"
    return "contradicted" if max(row.claimed * row.low, row.claimed * row.high) <= 0 else "open"


def _scale(row) -> str:
    most = SMALLEST[row.metric.partition("@")[0]]
    if _few(row):
        return "open"
    if row.p_holm < SIGNIFICANT:
        return "changes"
    return "no change" if -most < row.low and row.high < most else "open"


RULES = {"directed": _directed, "no worse": _no_worse, "recovery": _recovery, "entropy": _entropy, "scale": _scale}


def verdict(statuses: Iterable[str]) -> str:
    """Of a line, or of a part of one, by what is said of its contrasts."""
    found = set(statuses)
    if "contradicted" in found:
        return "not reproduced"
    if found == {"supported"}:
        return "reproduced"
    if "changes" in found:
        return "it does"
    return "it does not" if found == {"no change"} else "undecided"
