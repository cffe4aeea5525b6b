"""The problems of a run: which train and in what order, which are held out, whether they fit the student's context."""

import random
import warnings
from collections.abc import Sequence

from .config import HELD_OUT, ScopeConfig
from .errors import InputError, shown
from .rollouts import encode_prompts
from .tasks import Problem, Task
from .tasks.base import ALL, is_finite

PROMPTS_READ = 16  # of those with the most characters: to read every prompt would take long


class RunProblems:
    """What a run trains on and is evaluated on, a function of settings and tasks alone.

    train, held_out                  lists of problems
    response_limit, eval_limit       tokens of a response, in training and in evaluation
    longest_prompt                   tokens of the longest of those that were read

    context: the student's, in tokens; None: no limit. Raises InputError for a task without problems, or where a prompt
    and a response do not fit the context. Warns of problems that are in both lists.
    """

    def __init__(self, config: ScopeConfig, task: Task, eval_task: Task, tokenizer, context: int | None):
        self.seed, self.per_step = config.seed, config.prompts_per_step
        self.train, self.held_out = training_problems(config, task), held_out_problems(config, eval_task)
        trained_on = {problem.prompt for problem in self.train}
        if known := sum(problem.prompt in trained_on for problem in self.held_out):
            warnings.warn(f"evaluation: {known} of its {len(self.held_out)} problems are trained on", stacklevel=2)
        self.response_limit = config.max_new_tokens or task.max_new_tokens
        self.eval_limit = config.eval_max_new_tokens or config.max_new_tokens or eval_task.max_new_tokens
        self.longest_prompt = 0
        for name, limit, which, problems in (
            ("max_new_tokens", self.response_limit, task, self.train),
            ("eval_max_new_tokens", self.eval_limit, eval_task, self.held_out),
        ):
            longest = sorted(problems, key=lambda problem: len(problem.prompt))[-PROMPTS_READ:]
            if longest and context and limit >= context:
                raise InputError(f"{name}: found {limit}, accepted less than the student's context of {context}")
            for problem, tokens in zip(longest, encode_prompts(tokenizer, longest), strict=True):
                if context and len(tokens) + limit > context:
                    raise InputError(
                        f"task: problem {shown(problem.id)} of {which.name} has {len(tokens)} tokens, accepted at most "
                        f"{context - limit} beside {name} {limit} in the student's context of {context}"
                    )
                self.longest_prompt = max(self.longest_prompt, len(tokens))

    def of_step(self, step: int) -> list[Problem]:
        """The next prompts of an endless shuffled walk through the training problems, each once an epoch."""
        n = len(self.train)
        chosen: list[Problem] = []
        for position in range(step * self.per_step, (step + 1) * self.per_step):
            epoch, place = divmod(position, n)
            if not chosen or place == 0:
                order = list(range(n))
                random.Random(f"{self.seed} {epoch}").shuffle(order)
            chosen.append(self.train[order[place]])
        return chosen


def training_problems(config: ScopeConfig, task: Task) -> Sequence[Problem]:
    """All that a finite task has, 10,000 of one that makes its own without end, or as many as the settings say."""
    wanted = config.train_problems
    if wanted is None and not is_finite(task):
        wanted = 10_000
    return _some(task, "train", task.problems("train", wanted, seed=config.seed))


def held_out_problems(config: ScopeConfig, task: Task) -> Sequence[Problem]:
    """As many as the settings say; else the whole of split all, and of the others the first 200, or all of fewer."""
    if not config.evaluates:
        return []
    split, wanted = config.held_out_split, config.eval_problems
    if wanted is None and not is_finite(task):
        wanted = HELD_OUT
    problems = task.problems(split, wanted, seed=0)
    return _some(task, split, problems if wanted is not None or split == ALL else problems[:HELD_OUT])


def _some(task: Task, split: str, problems: Sequence[Problem]) -> Sequence[Problem]:
    if not problems:
        raise InputError(f"task: {task.name} has no problem in its {split} split")
    return problems
