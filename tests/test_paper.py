"""The paper's figures: those of our specification where it is there, and consistent with one another."""

import re
from pathlib import Path

import pytest

from scope_lab import paper
from scope_lab.methods import METHODS

SPECIFICATION = Path(__file__).resolve().parents[2] / "shared" / "SPEC.md"


@pytest.fixture(scope="module")
def section() -> str:
    """The specification's section on the paper's figures, as one line."""
    if not SPECIFICATION.is_file():
        pytest.skip("no specification beside the project")
    text = SPECIFICATION.read_text()
    return " ".join(re.search(r"^## 8\..*?(?=^## 9\.)", text, re.M | re.S)[0].split())


def test_table_1(section):
    for student, scores in paper.TABLE_1.items():
        said = ", ".join(
            f"{student if method == 'base' else method.upper()} {average}/{passed}"
            for method, (average, passed) in scores.items()
        )
        assert f"{said} (teacher {paper.TEACHERS[student]})" in section


def test_other_comparisons(section):
    """Each pair of scores stands in the specification with an arrow, before → after."""
    arrows = {(float(a), float(b)) for a, b in re.findall(r"(\d+\.\d+) ?→ ?(\d+\.\d+)", section)}
    for source, *_, before, after in paper.OTHERS:
        # The ablations are printed the other way round: what SCOPE falls to without a part.
        assert ((after, before) if source == "Fig. 5" else (before, after)) in arrows
    assert len(arrows) == len(paper.OTHERS)


def test_the_other_tables(section):
    best = "(Avg@32 {}, {}, {})".format(*paper.BEST_TAU.values())
    assert f"best on {', '.join(paper.BEST_TAU)} {best}" in section
    for quartile, (ppl, rates) in paper.TABLE_7.items():
        assert re.search(rf"{quartile} \([^)]*{ppl:.3f}\) {'/'.join(map(str, rates))}", section)
    for stage, seconds in paper.TABLE_8.items():
        found = re.search(rf"\b{stage} ([\d.]+)/([\d.]+)/([\d.]+\d)", section)
        assert found and tuple(map(float, found.groups())) == seconds


def test_the_headline_is_the_mean_over_both_students_and_two_baselines():
    assert {metric: round(value, 2) for metric, value in paper.headline().items()} == paper.HEADLINE
    assert paper.headline(("grpo", "opd", "kd"))["avg@32"] > 1.8 * paper.HEADLINE["avg@32"]


def test_comparisons_name_methods_that_can_be_run():
    table = paper.comparisons()
    assert {*table.method, *table.baseline} <= {*METHODS, "base"}
    row = table[(table.tested_on == "AIME25") & (table.baseline == "scope-no-weights")].iloc[0]
    assert (row.points, row.percent) == (pytest.approx(5.2), pytest.approx(100 * 5.2 / 45.7))
    assert not table.duplicated(["tested_on", "method", "baseline", "metric"]).any()


def test_stages_of_a_step_add_up():
    *stages, total = paper.TABLE_8.values()
    for i, method in enumerate(("grpo", "opd", "scope")):
        assert sum(stage[i] for stage in stages) == pytest.approx(total[i], rel=0.02), method
