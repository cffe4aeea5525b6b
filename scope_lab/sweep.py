"""Many trainings, one process each: what is finished is skipped, what was cut off goes on, what fails is named.

`run_plan` starts each run as `python -m scope_lab.sweep FOLDER`. That process ends with the sweep, however the sweep
ends: it reads a pipe that closes then, and stops after its step with a checkpoint.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from tqdm import tqdm

from .checkpoint import FREE, LOCK, check_same, evaluation_file, is_complete, make_compact
from .config import ScopeConfig
from .errors import InputError, RunStopped
from .evaluation import Evaluation
from .loop import stop_after_step
from .plan import PlannedRun
from .settings import read_run

POLL_SECONDS = 0.5
LOG = "log.txt"
# One thread each: small models gain nothing from more, and processes would wait for one another.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
# What the untrained student's evaluation depends on: runs that agree in these share one.
BEFORE_TRAINING = (
    "pair", "student", "task", "verifier", "verifier_threshold", "temperature", "max_new_tokens", "sequences_per_batch",
    "device", "precision", "engine", "chat_template", "chat_template_kwargs",
    *(item.name for item in fields(ScopeConfig) if item.metadata["section"] == "evaluation" and item.name not in FREE),
)  # fmt: skip


def default_jobs() -> int:
    """One process a physical core that this process may use; one in all where there is a GPU."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(psutil.cpu_count(logical=False) or allowed, allowed)


@dataclass
class Outcome:
    """How a sweep ended: runs by name, those finished before in `skipped`; a line for each that failed."""

    finished: list[str]
    skipped: list[str]
    failed: list[str]
    interrupted: bool = False


def run_plan(runs: Sequence[PlannedRun], jobs: int, progress: bool = True) -> Outcome:
    """Train every run that is not finished, `jobs` at a time, in the given order.

    Ctrl-C ends every process after its step, with a checkpoint; the same call goes on from there, as it does after a
    kill. Raises InputError before anything starts where a folder holds a run with other settings.
    """
    for run in runs:
        if (run.folder / "config.yaml").is_file():
            check_same(run.folder, run.config)
    skipped = [run for run in runs if is_complete(run.folder, run.config)]
    for run in skipped:  # a kill may have come before
        tidy(run)
    waiting = [run for run in runs if run not in skipped]
    outcome = Outcome([], [run.name for run in skipped], [])
    running: list[_Process] = []
    ended_steps = sum(run.config.steps for run in skipped)
    bar = tqdm(
        total=sum(run.config.steps for run in runs),
        initial=ended_steps + sum(map(steps_done, waiting)),
        desc=f"{len(skipped)} of {len(runs)} runs",
        unit="step",
        smoothing=0.02,
        mininterval=1 if sys.stderr.isatty() else 60,
        disable=not progress,
    )
    with bar, stop_after_step() as stopping:
        try:
            while running or (waiting and not stopping()):
                while waiting and len(running) < jobs and not stopping():
                    running.append(_Process(waiting.pop(0), runs))
                time.sleep(POLL_SECONDS)
                if stopping():
                    for process in running:
                        process.stop()
                for process in [process for process in running if process.ended]:
                    running.remove(process)
                    process.close()
                    bar.write(process.in_words)
                    if process.complete:
                        tidy(process.run)
                        outcome.finished.append(process.run.name)
                        ended_steps += process.run.config.steps
                    elif stopping():
                        waiting.append(process.run)
                    else:
                        outcome.failed.append(process.in_words)
                unfinished = [process.run for process in running] + waiting
                bar.set_description(f"{len(skipped) + len(outcome.finished)} of {len(runs)} runs", refresh=False)
                bar.set_postfix_str(", ".join(process.run.name for process in running), refresh=False)
                bar.update(ended_steps + sum(map(steps_done, unfinished)) - bar.n)
        finally:
            for process in running:
                process.kill()
    outcome.interrupted = bool(waiting)
    return outcome


def steps_done(run: PlannedRun) -> int:
    metrics = run.folder / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.is_file() else 0


def tidy(run: PlannedRun) -> None:
    """Of a complete run, leave its record."""
    make_compact(run.folder, run.keep_model)
    for name in (LOG, LOCK):
        (run.folder / name).unlink(missing_ok=True)


def prepare(run: PlannedRun, runs: Sequence[PlannedRun]) -> None:
    """Make the run's folder, with the untrained student's evaluation where another of the runs has the same."""
    run.folder.mkdir(parents=True, exist_ok=True)
    if not (run.folder / "config.yaml").is_file():
        run.config.save(run.folder / "config.yaml")
    ours = evaluation_file(run.folder, 0)
    for other in runs:
        theirs = evaluation_file(other.folder, 0)
        same = all(getattr(other.config, name) == getattr(run.config, name) for name in BEFORE_TRAINING)
        if same and theirs.is_file() and not ours.is_file():
            replace(Evaluation.load(theirs), label=f"{run.config.method} step 0").save(ours)


class _Process:
    """A run's process, and what it left behind."""

    def __init__(self, run: PlannedRun, runs: Sequence[PlannedRun]):
        self.run, self.started, self.asked = run, time.monotonic(), False
        prepare(run, runs)
        with (run.folder / LOG).open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "scope_lab.sweep", str(run.folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **ENVIRONMENT},
                start_new_session=True,  # Ctrl-C is the sweep's to hand on
            )

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def complete(self) -> bool:
        return self._process.returncode == 0 and is_complete(self.run.folder, self.run.config)

    @property
    def in_words(self) -> str:
        """How it ended, in one line."""
        name, config = self.run.name, self.run.config
        if self.complete:
            text = f"{name}: {config.steps} steps in {time.monotonic() - self.started:.0f} s"
            if not config.evaluates:
                return text
            values = Evaluation.load(evaluation_file(self.run.folder, config.steps)).metrics()
            n = config.eval_samples
            return f"{text}, Avg@{n} {values[f'avg@{n}'].mean():.1%}, Pass@{n} {values[f'pass@{n}'].mean():.1%}"
        if self.asked:
            return f"{name}: stopped at step {steps_done(self.run)} of {config.steps}"
        code = self._process.returncode
        log = self.run.folder / LOG
        said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        died = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{name}: failed, {said[-1] if said and code >= 0 else died} (more in {log})"

    def stop(self) -> None:
        """Ask, once, for an end after the running step."""
        if not self.asked and not self.ended:
            self._process.send_signal(signal.SIGTERM)
        self.asked = True

    def kill(self) -> None:
        self._process.kill()
        self.close()

    def close(self) -> None:
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()


def train_one(folder: Path) -> None:
    """What a run's process does: train what the folder's config.yaml says, from its newest checkpoint on."""
    from .trainer import ScopeTrainer

    with alone(folder):
        config = ScopeConfig(**{**read_run(folder), "out": str(folder)}).validate()
        if not is_complete(folder, config):
            ScopeTrainer(config, resume=True, progress=False).train()


@contextmanager
def alone(folder: Path):
    """Wait until no other process trains in this folder: one of a killed sweep may still be at its last step."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with (folder / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def end_with_the_sweep() -> None:
    """Stop after the running step when standard input closes: the sweep is gone."""

    def watch():
        os.read(0, 1)  # not sys.stdin: its lock would be held when the interpreter ends
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    from .cli import quiet_libraries

    quiet_libraries()
    end_with_the_sweep()
    try:
        train_one(Path(sys.argv[1]))
    except (InputError, RunStopped) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
