"""Plans of many trainings: what a file means, in which order, and that every mistake is named."""

import pytest

from scope_lab.errors import InputError
from scope_lab.plan import PLANS, read_plan

SMALL = """
out: runs/small
seeds: [0, 1]
keep_model: [scope-seed1]
defaults: {pair: countdown, steps: 3, learning_rate: 1.0e-3}
variants:
  scope:
  grpo: {method: grpo, learning_rate: 1.0e-4}
"""


@pytest.fixture
def plan(tmp_path):
    def write(content: str) -> str:
        (tmp_path / "plan.yaml").write_text(content)
        return str(tmp_path / "plan.yaml")

    return write


def test_the_seed_changes_slowest_and_variants_override_defaults(plan):
    runs = read_plan(plan(SMALL))
    assert [run.name for run in runs] == ["scope-seed0", "grpo-seed0", "scope-seed1", "grpo-seed1"]
    assert [run.config.learning_rate for run in runs] == [1e-3, 1e-4] * 2
    assert [run.config.seed for run in runs] == [0, 0, 1, 1] and [run.keep_model for run in runs] == [0, 0, 1, 0]
    assert str(runs[3].folder) == runs[3].config.out == "runs/small/grpo-seed1"
    assert runs[0].config.prompts_per_step == 32  # of the pair's own recipe


def test_a_grid_multiplies_every_variant(plan):
    runs = read_plan(plan(SMALL.replace("keep_model: [scope-seed1]", "grid: {learning_rate: [1.0e-4, 0.001]}")))
    assert len(runs) == 8 and runs[1].name == "scope-learning_rate-0.001-seed0" and runs[1].config.learning_rate == 1e-3


def test_some_runs_of_a_plan_in_another_folder(plan):
    runs = read_plan(plan(SMALL), out="elsewhere", only="scope*")
    assert [str(run.folder) for run in runs] == ["elsewhere/scope-seed0", "elsewhere/scope-seed1"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: [0, 1]", "", "seeds: found None, accepted list of whole numbers"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "seeds: found one twice"),
        ("seeds: [0, 1]", "seeds: 3", "seeds: found 3"),
        ("out: runs/small", "", "out: found None"),
        ("out:", "folder:", "unknown key 'folder'"),
        ("method: grpo", "method: grop", "grpo: method: found 'grop', accepted"),
        ("method: grpo", "tau: -1", "grpo: tau: found -1.0, accepted above 0"),
        ("method: grpo", "metod: grpo", "grpo: unknown setting 'metod' (did you mean method?)"),
        ("scope-seed1", "scope-seed7", "keep_model: found scope-seed7, accepted names of its runs"),
        ("keep_model: [scope-seed1]", "grid: {learning_rate: [fast]}", "grid: learning_rate: found 'fast'"),
        ("keep_model: [scope-seed1]", "grid: {learning_rate: 1}", "grid: found {'learning_rate': 1}"),
        ("variants:", "variants: [", "is not YAML"),
        (SMALL, "- 1", "holds no plan"),
    ],
)
def test_a_mistake_is_named(old, new, message, plan):
    with pytest.raises(InputError) as error:
        read_plan(plan(SMALL.replace(old, new)))
    assert message in str(error.value) and "plan.yaml" in str(error.value)


def test_a_pattern_that_fits_nothing_and_a_plan_that_is_not_there(plan):
    with pytest.raises(InputError, match="only: 'x' fits none of the plan's 4 runs, like scope-seed0"):
        read_plan(plan(SMALL), only="x")
    with pytest.raises(InputError, match="plan: nowhere is neither a file nor one of countdown"):
        read_plan("nowhere")


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_plans_of_the_package_can_be_read(path):
    assert read_plan(path.stem)


def test_every_method_of_the_evidence_sees_the_same_rollouts_and_its_ablations_share_a_rate():
    runs = read_plan("countdown")
    assert {run.config.prompts_per_step * run.config.rollouts_per_prompt * run.config.steps for run in runs} == {51_200}
    weighted = [run for run in runs if run.config.spec.weighted]
    assert len({run.config.learning_rate for run in weighted}) == 1
    counted = {run.variant: sum(other.variant == run.variant for other in runs) for run in runs}
    assert set(counted.values()) == {5} and len({run.config.seed for run in runs[: len(counted)]}) == 1
