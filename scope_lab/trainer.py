"""The SCOPE trainer: rollouts → verify → route → score with the teacher → weights → loss → update → log."""

import importlib.util
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from tqdm import tqdm

from .checkpoint import RunFolder
from .config import ScopeConfig
from .diagnosis import keep_batch
from .distributed import Ranks, joined, stacked
from .engines import Engine, OnFinished
from .engines.canary import Gap, score_anew
from .engines.choice import engine_of
from .errors import InputError, RunStopped
from .evaluation import Evaluation
from .hardware import pick_device
from .held_out import HeldOut
from .limits import FailureLimit, VerdictLimit, check_updates, verdicts_given
from .loop import Stopwatch, stop_after_step
from .metrics import step_metrics
from .models import Pair
from .objective import Coefficients, rollout_coefficients
from .pipeline import Pipeline, Step, asked_of_teacher, usable_rollouts
from .problems import RunProblems
from .rollouts import Rollouts, Sampling
from .run_models import load_models, with_objects
from .sharding import make_accelerator, prepare, whole, whole_optimizer_state, whole_weights
from .tasks import Problem, Task, load_task
from .tasks.own import with_verifier
from .tasks.verification import Verifier
from .teachers import LocalTeacher, Teacher
from .update import Batch, update_policy


def rounded(x: float) -> float | None:
    """Six digits of a metric; None where it is not finite, which JSON cannot hold."""
    return float(f"{x:.6g}") if math.isfinite(x) else None


class ScopeTrainer:
    """Trains a student by any method of `objective.METHODS`.

    config   every setting; validated here
    pair     models already in memory, instead of those that config names; the student is trained in place
    task     a task of your own (scope_lab.tasks.Task), instead of the one that config names; eval_task likewise
    teacher  a teacher of your own (scope_lab.teachers.Teacher), instead of the pair's in this process
    resume   go on with the run in config.out
    progress False: no bars

    `train()` returns the history, a dict of metrics a step (scope_lab.metrics.GLOSSARY). With config.out set everything
    is also written there (scope_lab.checkpoint). Raises ValueError for settings that do not fit together.
    """

    def __init__(
        self,
        config: ScopeConfig,
        pair: Pair | None = None,
        task: Task | None = None,
        teacher: Teacher | None = None,
        resume: bool = False,
        progress: bool = True,
        eval_task: Task | None = None,
    ):
        objects = {"task": task, "eval_task": eval_task, "teacher": teacher}
        self.config = config = with_objects(config, **objects).validate()
        self.spec = config.spec
        device = pick_device(config.device)
        bf16 = config.precision == "bf16" or (config.precision == "auto" and device == "cuda")
        if absent := [name for name in config.tracker_names if importlib.util.find_spec(name) is None]:
            raise InputError(f"trackers: {', '.join(absent)} is not installed (pip install {' '.join(absent)})")
        self.accelerator = make_accelerator(device, bf16, log_with=config.tracker_names or None, project_dir=config.out)
        self.ranks = Ranks()
        self.progress = progress and self.ranks.is_main
        self.step, self.evaluations = 0, dict[int, Evaluation]()
        with self.ranks.same_fate():
            self.folder = RunFolder(config.out, config, resume) if config.out else None
            if self.folder and resume and self.ranks.is_main:
                self.folder.tidy()
        with self.ranks.same_fate():
            self.task = self._task_of(config.task, task)
            self.eval_task = self._task_of(config.eval_task, eval_task) if config.eval_task else self.task
            student, optimizer = self._load(pair, teacher, resume, device, bf16)
        self.student, self.optimizer = prepare(self.accelerator, student, optimizer)
        with self.ranks.same_fate():
            self.engine = self._engine_of(self.unwrapped, bf16)
        self.engine_is_current = False
        kd = self.spec.baseline == "kd"
        self.sampler = self._engine_of(self.pair.teacher, bf16) if kd else self.engine
        with self.ranks.same_fate():
            if self.folder and self.ranks.is_main:
                self.folder.create()
        self.history: list[dict] = self.folder.history() if self.folder and resume else []
        if (config.top_p, config.top_k) != (1.0, 0) and self.spec.reads_teacher:
            warnings.warn("top_p < 1 or top_k > 0: log-ratios of sampled tokens are then biased", stacklevel=2)

    def _task_of(self, name: str | None, own: Task | None) -> Task:
        return with_verifier(own or load_task(name or ""), self.config.verifier, self.config.verifier_threshold)

    def _load(self, pair, teacher, resume: bool, device: str, bf16: bool):
        """What this process does by itself before all train together: models, the checkpoint to go on from.

        Returns the student and its optimizer.
        """
        config = self.config
        models = load_models(config, pair, teacher, device, bf16, self.accelerator.is_fsdp2)
        self.pair, student, self.teacher, self.reference, optimizer = models
        self.tokenizer = self.pair.tokenizer
        self.pipeline = Pipeline(
            Verifier(self.task),
            self.teacher,
            self.spec,
            truncated=config.truncated,
            streaming=config.pipeline == "streaming",
            student=student,
            autocast=self.accelerator.autocast,
        )
        self.failure_limit = FailureLimit(config.teacher_failure_limit)
        self.verdict_limit = VerdictLimit(self.task.name)
        context = getattr(student.config, "max_position_embeddings", None)
        self.problems = RunProblems(config, self.task, self.eval_task, self.tokenizer, context)
        verifier = self.pipeline.verifier if self.eval_task is self.task else Verifier(self.eval_task)
        self.held_out = HeldOut(config, self.eval_task, verifier, self.problems, self.ranks, self.progress)
        if self.folder and resume:
            self.step = self.folder.restore(student, optimizer, self.ranks.is_main)
            if self.step > config.steps:
                raise InputError(f"steps: {config.out} is at step {self.step}, accepted as many or more")
        self.first_step = self.step
        return student, optimizer

    def _engine_of(self, model, bf16: bool) -> Engine:
        problems = self.problems
        return engine_of(
            self.config,
            model,
            self.tokenizer,
            # A prompt that was not read may be longer.
            longest=2 * problems.longest_prompt + max(problems.response_limit, problems.eval_limit),
            dtype="bfloat16" if bf16 else "float32",
            autocast=self.accelerator.autocast,
            several_ranks=self.ranks.size > 1,
        )

    # The loop

    def train(self) -> list[dict]:
        """Train to config.steps, with evaluation, checkpoints and a bar. Ctrl-C ends after the step and saves."""
        config, started = self.config, time.time()
        if config.tracker_names:
            self.accelerator.init_trackers("scope-lab", config=vars(config))
        bar = tqdm(total=config.steps, initial=self.step, desc=config.method, unit="step", disable=not self.progress)
        with bar, stop_after_step(self.ranks.any) as stopping:
            if self.step in (0, config.steps):
                self.evaluate_now()
            while self.step < config.steps and not stopping():
                metrics = self.train_step()
                self.history.append(metrics)
                with self.ranks.same_fate():
                    if self.folder and self.ranks.is_main:
                        self.folder.log(metrics)
                self.accelerator.log({k: v for k, v in metrics.items() if v is not None}, step=self.step)
                bar.update()
                bar.set_postfix(self._in_words(metrics), refresh=False)
                with self._saved_where_it_stops():
                    check_updates(self.history, config.skipped_limit, config.out)
                last = self.step == config.steps
                if last or (config.eval_every and self.step % config.eval_every == 0):
                    self.evaluate_now()
                if last or stopping() or (config.checkpoint_every and self.step % config.checkpoint_every == 0):
                    self.save_checkpoint()
        self.pipeline.verifier.close()
        self.held_out.verifier.close()
        if self.folder:
            weights = whole_weights(self.student, self.ranks.is_main) if self.step == config.steps else None
            with self.ranks.same_fate():
                if self.ranks.is_main and self.step == config.steps:
                    self.folder.save_trained(self.unwrapped, self.tokenizer, weights)
                if self.ranks.is_main:
                    self.folder.write_manifest(config.seed, self.step, time.time() - started)
            if self.folder.release:
                self.folder.release()
        if config.tracker_names:
            self.accelerator.end_training()
        return self.history

    def train_step(self) -> dict:
        """One batch of fresh rollouts, from prompts to an updated student. Returns the step's metrics."""
        clock = Stopwatch()
        learning_rate = self.config.learning_rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        with self.pipeline.step() as way:
            rollouts, reference_logp_BT = self.fresh_rollouts(way, clock)
            batches = self.weighted(rollouts, reference_logp_BT, way, clock)
            updated = update_policy(
                self.student, self.optimizer, self.accelerator, self.config, self.spec, batches, self.ranks
            )
        clock.lap("update")
        if updated["skipped_updates"] < self.config.updates_per_batch:
            self.engine_is_current = False
        self.step += 1
        batch = self.last_batch
        metrics = {"step": self.step, **step_metrics(rollouts, batch.coefficients, batch.usable_B), **updated}
        if self.gap.tokens:
            metrics |= self.gap.metrics
        metrics |= {"learning_rate": learning_rate, **clock.seconds}
        metrics["seconds_teacher_hidden"] = max(way.seconds_scoring - metrics["seconds_teacher"], 0.0)
        metrics["teacher_scored"], metrics["teacher_failed"] = self._teacher_counts(batch)
        metrics["tokens_per_second"] = metrics["response_tokens"] / metrics["seconds"]
        if updated["skipped_updates"]:
            self._keep_batch(batch, metrics)
        return {name: rounded(x) if isinstance(x, float) else x for name, x in metrics.items()}

    def _keep_batch(self, batch: Batch, metrics: dict) -> None:
        """For a diagnosis: what was in a batch whose update was left out. All ranks call it."""
        with whole(self.student), self.ranks.same_fate():
            if self.folder and self.ranks.is_main:
                keep_batch(self.folder.path, self.step, batch, self.unwrapped, self.tokenizer, metrics)

    # Its stages

    def fresh_rollouts(self, way: Step, clock: Stopwatch) -> tuple[Rollouts, Tensor | None]:
        """This step's rollouts, verified, and scored unless the teacher is still at work beside the one process.

        Of several each takes its share, then all of them are on every rank. With them the starting student's log-probs,
        where kl_coef asks for them.
        """
        problems, part = self.step_problems(), None
        share = self.ranks.share(len(problems))
        with self.sampling_student():
            if share:
                first_row = share.start * self.config.rollouts_per_prompt
                rollouts = self.sample_rollouts([problems[i] for i in share], first_row, way.on_finished)
                # Perplexities and ratios are of the student as it computes, whatever sampled from it.
                own_weights = self.config.engine != "transformers"
                gap = score_anew(rollouts, partial(self._logprobs, self.unwrapped)) if own_weights else Gap()
                clock.lap("generation")
                clock.move(way.seconds_verifying, "generation", to="verification")
                way.verify(rollouts)
                clock.lap("verification")
                part = rollouts, self._logprobs(self.reference, rollouts) if self.reference else None, gap
                if self.ranks.size > 1 or not self.pipeline.in_background:
                    way.score(rollouts)
        parts = [part for part in self.ranks.collect(part) if part]
        clock.lap("teacher")
        all_rollouts, reference_logp_BT, gaps = (list(column) for column in zip(*parts, strict=True))
        rollouts, self.gap = joined(all_rollouts), Gap.of_all(gaps)
        with self._saved_where_it_stops():
            self.gap.check(self.config.engine_gap_limit)
            if self.spec.reads_verdicts:
                self.verdict_limit.count(verdicts_given(rollouts))
        return rollouts, stacked(reference_logp_BT, torch.nan) if self.reference else None

    @contextmanager
    def sampling_student(self) -> Iterator[None]:
        """Within it the weights are whole, and the engine samples with them as they are now. All ranks enter it."""
        with whole(self.student):
            if not self.engine_is_current:
                self.engine.sync(self.unwrapped)
            self.engine_is_current = True
            yield

    def sample_rollouts(
        self, problems: list[Problem], first_row: int = 0, on_finished: OnFinished | None = None
    ) -> Rollouts:
        """The policy's responses, a function of weights, seed, step and their row in the step's batch alone."""
        config = self.config
        sampling = Sampling(
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            max_new_tokens=self.problems.response_limit,
            seed=self._step_seed(),
            logprob_temperature=config.logprob_temperature,
            first_row=first_row,
        )
        rollouts = self.sampler.sample(problems, config.rollouts_per_prompt, sampling, on_finished)
        rollouts.task, rollouts.student, rollouts.step = self.task.name, self.pair.student_name, self.step
        rollouts.teacher = self.teacher.name if self.teacher else ""
        if self.spec.baseline == "kd":  # the sampler was the teacher
            rollouts.teacher_logp_BT = rollouts.student_logp_BT
            rollouts.student_logp_BT = torch.full_like(rollouts.teacher_logp_BT, torch.nan)
        return rollouts

    def _logprobs(self, model, rollouts: Rollouts) -> Tensor:
        with self.accelerator.autocast():
            return LocalTeacher(model).score(rollouts, torch.arange(len(rollouts)), rollouts.sampling.scored_at)

    def weighted(
        self, rollouts: Rollouts, reference_logp_BT: Tensor | None, way: Step, clock: Stopwatch
    ) -> Iterator[Batch]:
        """The step's batch with its coefficients, in two parts where the method reads the teacher: first the rollouts
        that it is not asked about, whose coefficients do not depend on it; then, when it has answered, the others."""
        first_B = torch.zeros(len(rollouts), dtype=torch.bool)
        if self.spec.reads_teacher and self.ranks.size == 1:
            first_B = rollouts.known_B & ~asked_of_teacher(self.spec, rollouts)
            first = Batch(rollouts, self.coefficients(rollouts, first_B), first_B, reference_logp_BT)
            yield first
            clock.lap("update")
            if self.pipeline.in_background:
                way.score(rollouts)
            clock.lap("teacher")
        usable_B = usable_rollouts(self.spec, rollouts)
        self.last_batch = Batch(rollouts, self.coefficients(rollouts, usable_B), usable_B, reference_logp_BT)
        asked, failed = int(asked_of_teacher(self.spec, rollouts).sum()), self._teacher_counts(self.last_batch)[1]
        with self._saved_where_it_stops():
            self.failure_limit.count(asked, failed, getattr(self.teacher, "faults", None))
        yield self.last_batch._replace(part_B=~first_B)

    def coefficients(self, rollouts: Rollouts, usable_B: Tensor) -> Coefficients:
        """Routing and weights: what each rollout's tokens are worth in the loss."""
        return rollout_coefficients(
            self.spec,
            rollouts.student_nll_B,
            rollouts.teacher_nll_B,
            rollouts.correct_B,
            rollouts.group_B,
            rollouts.length_B,
            usable_B,
            self.config.tau,
            self.config.ess_fraction,
        )

    # Around it

    @property
    def unwrapped(self):
        return self.accelerator.unwrap_model(self.student)

    def step_problems(self) -> list[Problem]:
        """This step's prompts."""
        return self.problems.of_step(self.step)

    def evaluate_now(self) -> Evaluation | None:
        """Evaluate the student, or read what this run's first step has recorded already; None: no evaluation is set."""
        if not self.config.evaluates:
            return None
        file = self.folder.evaluation(self.step) if self.folder else None
        kept = file if file and self.step == self.first_step and file.is_file() else None
        evaluation = self.ranks.from_main(Evaluation.load(kept) if kept else None)
        if evaluation is None:
            with self.sampling_student():
                evaluation = self.held_out.evaluate(self.engine, self.step)
            with self.ranks.same_fate():
                if self.folder and file and self.ranks.is_main:
                    with self.folder.safe_end(f"evaluation at step {self.step}"):
                        evaluation.save(file)
        self.evaluations[self.step] = evaluation
        return evaluation

    def save_checkpoint(self) -> None:
        if not self.folder:
            return
        is_main = self.ranks.is_main
        weights, optimizer_state = whole_weights(self.student, is_main), whole_optimizer_state(self.optimizer, is_main)
        with self.ranks.same_fate():
            if self.ranks.is_main:
                keep = self.config.keep_checkpoints
                self.folder.save(self.step, self.unwrapped, self.tokenizer, optimizer_state, keep, weights)

    def _teacher_counts(self, batch: Batch) -> tuple[int, int]:
        """Rollouts that the teacher scored, and those that it failed on."""
        scored_B = ~batch.rollouts.teacher_nll_B.isnan()
        failed_B = ~batch.usable_B & (batch.rollouts.known_B | (not self.spec.reads_verdicts))
        return int(scored_B.sum()), int(failed_B.sum())

    @contextmanager
    def _saved_where_it_stops(self) -> Iterator[None]:
        """A RunStopped within it, before a step's update or after it, leaves a checkpoint. Every rank enters it."""
        try:
            yield
        except RunStopped as stop:
            self.save_checkpoint()
            path = self.folder.path if self.folder else None
            saved = f"; {path} is saved at step {self.step}, --resume goes on from there" if path else ""
            with self.ranks.same_fate():
                raise RunStopped(f"{stop}{saved}") from None

    def _step_seed(self) -> int:
        return (self.config.seed * 1_000_003 + self.step) % 2**31

    @staticmethod
    def _in_words(metrics: dict) -> dict:
        shown = {"reward": "reward", "mle": "student_path_loss", "opd": "teacher_path_loss", "entropy": "entropy"}
        words = {word: f"{metrics[name]:.3f}" for word, name in shown.items() if metrics[name] is not None}
        return {**words, "tok/s": f"{metrics['tokens_per_second']:.0f}"}
