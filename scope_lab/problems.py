"""The problems of a run: which train and in what order, which are held out, whether they fit the student's context."""

import random
import warnings

from .config import ScopeConfig
from .errors import InputError, shown
from .rollouts import encode_prompts
from .tasks import Problem, Task
from .tasks.base import is_finite

PROMPTS_READ = 16  # of those with the most characters: to read every prompt would take long


class RunProblems:
    """What a run trains on and is evaluated on, a function of settings and task alone.

    train, held_out  lists of problems; longest_prompt: tokens of the longest of those that were read
    context          the student's, in tokens; None: no limit

    Raises InputError for a task without training problems, or where a prompt and a response do not fit the context.
    """

    def __init__(self, config: ScopeConfig, task: Task, tokenizer, context: int | None):
        self.seed, self.per_step = config.seed, config.prompts_per_step
        self.train = training_problems(config, task)
        wanted = config.eval_problems
        self.held_out = list(task.problems(config.eval_split, wanted, seed=0)) if wanted else []
        limit = config.max_new_tokens or task.max_new_tokens
        if context and limit >= context:
            raise InputError(f"max_new_tokens: found {limit}, accepted less than the student's context of {context}")
        longest = sorted([*self.train, *self.held_out], key=lambda problem: len(problem.prompt))[-PROMPTS_READ:]
        lengths = [len(tokens) for tokens in encode_prompts(tokenizer, longest)]
        self.longest_prompt = max(lengths)
        for problem, length in zip(longest, lengths, strict=True):
            if context and length + limit > context:
                raise InputError(
                    f"task: problem {shown(problem.id)} of {task.name} has {length} tokens, accepted at most "
                    f"{context - limit} beside max_new_tokens {limit} in the student's context of {context}"
                )

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


def training_problems(config: ScopeConfig, task: Task) -> list[Problem]:
    """All that a finite task has, 10,000 of one that makes its own without end, or as many as the settings say."""
    if config.eval_split == "train" and config.eval_problems:
        warnings.warn("eval_split is train: the evaluation is not on held-out problems", stacklevel=2)
    wanted = config.train_problems
    if wanted is None and not is_finite(task):
        wanted = 10_000
    problems = list(task.problems("train", wanted, seed=config.seed))
    if not problems:
        raise InputError(f"task: {task.name} has no problem in its train split")
    return problems
