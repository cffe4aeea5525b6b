"""The paper's own figures (arXiv 2604.10688 v2), in one place, to be set beside ours.

Scores are per cent of a benchmark's problems; the paper has one run a setting and prints no interval. Methods have the
names that `scope_lab.methods` gives them; "base" is the student before training.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TEACHERS = {"R1-Distill-Qwen-1.5B": "Skywork-OR1-7B", "Qwen3-1.7B-Base": "Qwen3-8B"}

# Table 1, means over AIME24, AIME25, AMC23, MATH500, Minerva and OlympiadBench: (Avg@32, Pass@32) after training by
TABLE_1 = {
    "R1-Distill-Qwen-1.5B": {
        "base": (47.9, 73.1),
        "grpo": (49.6, 71.1),
        "kd": (45.4, 72.0),
        "opd": (52.3, 73.1),
        "scope": (55.2, 75.0),
    },
    "Qwen3-1.7B-Base": {
        "base": (19.0, 49.2),
        "grpo": (26.5, 50.4),
        "kd": (20.1, 46.8),
        "opd": (30.6, 55.9),
        "scope": (32.5, 58.6),
    },
}

# The abstract's "average relative improvement over competitive baselines", per cent. `headline` says of what.
HEADLINE = {"avg@32": 11.42, "pass@32": 7.30}
COMPETITIVE = ("grpo", "opd")

# Elsewhere: (source, tested on, method, what it is compared with, metric, score of the latter, score of the method)
OTHERS = [
    ("Fig. 1a", "Qwen2.5-7B", "psr", "base", "avg@32", 63.2, 74.1),
    ("Fig. 1a", "Qwen2.5-7B", "psr", "base", "pass@32", 93.7, 84.9),
    ("Fig. 1a", "R1-1.5B, AIME24", "opd", "base", "avg@32", 29.4, 40.2),
    ("Fig. 1a", "R1-1.5B, AIME24", "opd", "base", "pass@32", 76.5, 75.0),
    ("Fig. 5", "AIME25", "scope", "scope-no-weights", "pass@32", 45.7, 50.9),
    ("Fig. 5", "AIME24", "scope", "scope-no-student-weight", "pass@32", 74.1, 77.9),
    ("Fig. 5", "AIME24", "scope", "scope-reversed-teacher", "avg@32", 38.6, 42.7),
]

# Fig. 6: Avg@32 at tau = 1, which is best among 0.5, 1 and 2 on each of these benchmarks.
BEST_TAU = {"AIME24": 42.7, "AIME25": 30.4, "AMC23": 80.9}

# Problems of a benchmark: a year's AIME is two contests of fifteen.
N_PROBLEMS = {"AIME24": 30, "AIME25": 30}

# Table 7: quartile of the teacher's perplexity -> its mean, and the teacher's accuracy in per cent after a wrong prefix
# cut at 20, 40, 60 and 80 % of its length.
TABLE_7 = {
    "Q1": (1.361, (64.9, 55.8, 44.8, 35.8)),
    "Q2": (1.565, (59.7, 53.2, 43.1, 35.3)),
    "Q3": (1.710, (54.0, 50.1, 41.0, 32.6)),
    "Q4": (2.383, (45.4, 40.2, 34.5, 28.6)),
}

# Table 8: seconds of a step, (GRPO, OPD, SCOPE).
TABLE_8 = {
    "generation": (264.5, 164.5, 247.7),
    "old log-prob": (34.0, 5.2, 31.4),
    "reward": (4.8, 0.7, 4.6),
    "actor update": (151.8, 22.9, 154.1),
    "teacher scoring": (0.0, 31.2, 200.0),
    "total": (459.0, 227.5, 641.9),
}


def comparisons() -> "pd.DataFrame":
    """Every comparison that the paper prints and this project can make: a row a method, metric and place.

    source, tested_on, method, baseline, metric: as above; before: the baseline's score, after: the method's, per cent
    points    after - before: percentage points; percent: the same relative to before, as the abstract states it
    """
    import pandas as pd  # here, so that the command line starts without it

    rows = list(OTHERS)
    for student, scores in TABLE_1.items():
        pairs = [(method, "base") for method in scores if method != "base"]
        for method, baseline in [*pairs, *(("scope", other) for other in ("grpo", "kd", "opd"))]:
            for metric, before, after in zip(HEADLINE, scores[baseline], scores[method], strict=True):
                rows.append(("Table 1", student, method, baseline, metric, before, after))
    rows.sort(key=lambda row: (row[3] != "base", row[3].startswith("scope")))  # methods, then SCOPE, then ablations
    columns = ["source", "tested_on", "method", "baseline", "metric", "before", "after"]
    table = pd.DataFrame(rows, columns=columns)
    table["points"] = table.after - table.before
    table["percent"] = 100 * table.points / table.before
    return table


def headline(baselines: tuple[str, ...] = COMPETITIVE) -> dict[str, float]:
    """SCOPE's relative improvement in per cent, averaged over both students of Table 1 and some baselines.

    Over GRPO and OPD it is the abstract's HEADLINE; the paper does not say so, and KD among them would double it.
    """
    table = comparisons()
    rows = table[(table.source == "Table 1") & (table.method == "scope") & table.baseline.isin(baselines)]
    return {metric: float(rows.percent[rows.metric == metric].mean()) for metric in HEADLINE}
