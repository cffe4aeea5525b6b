"""Intervals over problems, seeds and both: by hand on small tables, by coverage on simulated ones, NaN for one seed."""

import math

import numpy as np
import pytest

from scope_lab.seeds import (
    bootstrap_over_both,
    contrast,
    holm,
    over_problems,
    over_seeds,
    relative,
    t_chance,
    t_quantile,
)


def table(rng, of_seeds: float, of_problems: float = 0.13, rest: float = 0.08, S: int = 5, P: int = 200) -> np.ndarray:
    """Differences whose true mean is 0."""
    return (
        rng.normal(0, of_seeds, (S, 1)) + rng.normal(0, of_problems, (1, P)) + rng.normal(0, rest, (S, P))
    )  # fmt: skip


@pytest.mark.parametrize(
    "chance, df, t", [(0.975, 1, 12.7062), (0.975, 4, 2.77645), (0.95, 10, 1.81246), (0.975, 499, 1.96473)]
)
def test_students_t_is_that_of_the_tables(chance, df, t):
    assert t_quantile(chance, df) == pytest.approx(t, rel=1e-5)
    assert t_chance(t, df) == pytest.approx(chance, abs=1e-5)
    assert t_chance(-t, df) == pytest.approx(1 - chance, abs=1e-5)


def test_by_hand_on_a_table_of_two_by_two():
    values = np.array([[1.0, 3.0], [2.0, 6.0]])  # means of seeds 2 and 4, of problems 1.5 and 4.5
    low, high = over_seeds(values)
    assert (low + high) / 2 == 3 and (high - low) / 2 == pytest.approx(12.7062 * math.sqrt(2) / math.sqrt(2), rel=1e-4)
    # Mean squares: seeds 2·(1 + 1) / 1 = 4, problems 2·(1.5² + 1.5²) / 1 = 9, rest 4·0.5² / 1 = 1.
    found = contrast(values)
    df = 12**2 / (4**2 + 9**2 + 1**2)
    assert found.mean == 3
    assert found.interval.high - 3 == pytest.approx(t_quantile(0.975, df) * math.sqrt(12 / 4), rel=1e-6)
    assert found.p == pytest.approx(2 * t_chance(-3 / math.sqrt(3), df))


def test_one_seed_says_nothing_about_seeds():
    values = np.array([[0.1, 0.3, -0.2]])
    assert np.isnan(over_seeds(values)).all() and np.isnan(bootstrap_over_both(values)).all()
    found = contrast(values)
    assert found.mean == pytest.approx(0.2 / 3) and np.isnan(found.interval).all() and math.isnan(found.p)
    low, high = over_problems(values)
    assert low < found.mean < high


def test_equal_runs_have_no_spread_and_no_difference():
    found = contrast(np.zeros((5, 20)))
    assert found.interval == (0, 0) and found.p == 1
    certain = contrast(np.full((5, 20), 0.5))
    assert certain.interval.low > 0 and certain.p == 0


@pytest.mark.parametrize("of_seeds", [0.0, 0.01, 0.03])
def test_the_contrast_keeps_its_promise_whatever_the_spread_over_seeds(of_seeds):
    rng, trials = np.random.default_rng(1), 300
    held = np.zeros(3)
    for _ in range(trials):
        values = table(rng, of_seeds)
        found = contrast(values)
        assert (found.p < 0.05) == (not found.interval.low <= 0 <= found.interval.high)
        held += [i.low <= 0 <= i.high for i in (found.interval, over_problems(values), over_seeds(values))]
    both, problems, seeds = held / trials
    assert 0.92 <= both <= 1
    assert problems < both - 0.1 or of_seeds < 0.03  # an interval over problems does not hold the spread over seeds
    assert seeds < both - 0.1 or of_seeds > 0  # nor one over seeds that over problems


def test_redrawing_few_seeds_promises_too_much():
    rng, trials = np.random.default_rng(2), 200
    tables = [table(rng, 0.05, S=3) for _ in range(trials)]
    held = np.mean([i.low <= 0 <= i.high for i in (bootstrap_over_both(x, n_resamples=500) for x in tables)])
    assert held < 0.88 < np.mean([i.low <= 0 <= i.high for i in (contrast(x).interval for x in tables)])


def test_a_relative_improvement_is_a_ratio_of_means():
    theirs = np.array([[0.2, 0.5, 0.5], [0.2, 0.5, 0.5]])
    value, interval = relative(theirs * 1.1, theirs)
    assert value == pytest.approx(0.1) and interval == pytest.approx((0.1, 0.1))
    value, interval = relative(theirs + np.array([[0.1, 0.0, -0.1]]), theirs)
    assert value == pytest.approx(0) and interval.low < 0 < interval.high


def test_holm():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert holm([0.02]).tolist() == [0.02]
