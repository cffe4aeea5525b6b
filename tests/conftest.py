"""Shared by all tests: the bundled student, its tokenizer, and one batch of real rollouts of it."""

import pytest
from fault_table import pytest_terminal_summary  # noqa: F401  # a hook: pytest looks for it here
from hypothesis import settings

from scope_lab.engines.transformers import sample
from scope_lab.models import load_model, load_tokenizer
from scope_lab.rollouts import Sampling
from scope_lab.tasks import load_task

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def student():
    """Shared: a test that changes it, or its gradients, works on a deep copy."""
    return load_model("countdown-student", device="cpu")


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer("countdown-student")


@pytest.fixture(scope="session")
def rollouts(student, tokenizer):
    """Eight rollouts of each of six problems whose prompts differ in length, verified; right and wrong ones occur."""
    task = load_task("countdown")
    problems = sorted(task.problems("test", 60, seed=5), key=lambda problem: len(problem.prompt))[::10]
    sampled = sample(student, tokenizer, problems, 8, Sampling(max_new_tokens=27, seed=11), task=task.name)
    sampled.verify(task)
    assert len(set(map(len, sampled.prompt_tokens))) > 2
    assert 0 < int(sampled.correct_B.sum()) < len(sampled)
    return sampled
