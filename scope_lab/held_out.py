"""Evaluations of a run: the same held-out problems and the same random numbers at every step, shared out over ranks."""

from collections import Counter

from tqdm import tqdm

from .config import ScopeConfig
from .distributed import Ranks, evaluations_joined
from .engines import Engine
from .evaluation import Evaluation
from .limits import VerdictLimit, verdicts_given
from .problems import RunProblems
from .rollouts import Sampling
from .tasks import Task
from .tasks.verification import Verifier

SEED = 10_000  # of an evaluation's sampling


class HeldOut:
    """What a run is evaluated on, and how. `verifier` judges `task`; progress: whether this rank shows a bar."""

    def __init__(
        self, config: ScopeConfig, task: Task, verifier: Verifier, problems: RunProblems, ranks: Ranks, progress: bool
    ):
        self.config, self.task, self.verifier, self.ranks, self.progress = config, task, verifier, ranks, progress
        self.problems, self.limit = problems.held_out, problems.eval_limit

    def evaluate(self, engine: Engine, step: int) -> Evaluation:
        """The student that the engine samples from, after `step` steps. All ranks call it and have the whole of it.

        Raises RunStopped where the verifier has no verdict on anything, at step 0.
        """
        config, share, mine = self.config, self.ranks.share(len(self.problems)), None
        if share:
            sampling = Sampling(
                temperature=config.eval_temperature or config.temperature,
                top_p=config.eval_top_p,
                top_k=config.eval_top_k,
                max_new_tokens=self.limit,
                seed=SEED,
                logprob_temperature=config.logprob_temperature,
                first_row=share.start * config.eval_samples,
            )
            with self._bar(step, len(share)) as bar:
                rollouts = engine.sample(
                    [self.problems[i] for i in share],
                    config.eval_samples,
                    sampling,
                    on_finished=lambda _, rows: bar.update(len(rows)),
                )
            rollouts.task = self.task.name
            rollouts.verify(self.verifier)
            label = f"{config.method} step {step}"
            mine = Evaluation.of(rollouts, label, config.held_out_split), verdicts_given(rollouts)
        parts, given = zip(*[part for part in self.ranks.collect(mine) if part], strict=True)
        with self.ranks.same_fate():
            if step == 0:
                VerdictLimit(self.task.name).count(sum(given, Counter()))
        return evaluations_joined(parts)

    def _bar(self, step: int, problems: int) -> tqdm:
        total, off = problems * self.config.eval_samples, not self.progress
        return tqdm(total=total, desc=f"evaluate step {step}", unit="rollout", leave=False, disable=off)
