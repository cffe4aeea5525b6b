"""Results read from recorded runs."""

import pytest
import yaml

from scope_lab.checkpoint import evaluation_file, is_complete
from scope_lab.errors import InputError
from scope_lab.evaluation import SAMPLING, Evaluation
from scope_lab.models import DATA
from scope_lab.plan import read_plan
from scope_lab.results import chosen_rates, validation_scores


def record(folder, name: str, rate: float, correct: int, steps: int = 100) -> None:
    """A run folder with `correct` of the 1,000 × 2 validation samples right."""
    path = folder / f"{name}-learning_rate-{rate:g}-seed0"
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump({"steps": steps, "learning_rate": rate}))
    counts = [1] * correct + [0] * (1000 - correct)
    ids = [str(i) for i in range(1000)]
    Evaluation(name, "countdown", "validation", 2, dict.fromkeys(SAMPLING, 1), ids, counts, counts, [0.0] * 1000).save(
        evaluation_file(path, 100)
    )


def test_a_learning_rate_is_chosen_by_validation_and_ties_go_to_the_lower(tmp_path):
    for rate, correct in ((1e-5, 300), (1e-3, 302), (1e-2, 290)):
        record(tmp_path, "scope", rate, correct)
    for rate, correct in ((1e-5, 300), (1e-3, 303)):
        record(tmp_path, "opd-one", rate, correct)
    record(tmp_path, "psr", 1e-5, 300)
    record(tmp_path, "psr", 1e-3, 900, steps=200)  # not finished: its last step was never evaluated
    assert validation_scores(tmp_path).loc["scope", 1e-3] == pytest.approx(0.151)
    assert chosen_rates(tmp_path) == {"opd-one": 1e-3, "psr": 1e-5, "scope": 1e-5}


@pytest.mark.parametrize("content", ["steps: [", "steps: many", "", "stepz: 3"])
def test_a_damaged_config_is_one_line_that_names_it(tmp_path, content):
    record(tmp_path, "scope", 1e-5, 300)
    (tmp_path / "scope-learning_rate-1e-05-seed0" / "config.yaml").write_text(content)
    with pytest.raises(InputError, match=r"run: .*scope-learning_rate-1e-05-seed0/config\.yaml"):
        validation_scores(tmp_path)


def test_a_folder_without_such_runs_is_named(tmp_path):
    with pytest.raises(InputError, match=r"learning rates: .* holds no finished run"):
        chosen_rates(tmp_path)


def test_the_plan_of_the_evidence_has_a_family_for_every_choice():
    families = {run.variant.split("-learning_rate")[0] for run in read_plan("countdown-rates")}
    assert families <= {run.variant for run in read_plan("countdown")}


def test_the_plan_of_the_evidence_has_the_chosen_rates():
    folder = DATA / "runs" / "countdown-rates"
    planned = read_plan("countdown-rates", str(folder))
    done = [run for run in planned if is_complete(run.folder, run.config)]
    if len(done) < len(planned):
        pytest.skip(f"{len(done)} of the {len(planned)} runs over learning rates are recorded")
    chosen = chosen_rates(folder)
    for run in read_plan("countdown"):
        assert run.config.learning_rate == chosen.get(run.variant, chosen["scope"]), run.name
