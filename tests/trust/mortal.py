"""`scope-lab` commands in processes that die when they are told to: at the n-th of something that happens in them.

What can be counted does not depend on how the package is built: changes to files below a folder (open for writing,
rename, mkdir, remove: Python's audit events), forward passes without gradient (sampling, teacher scoring, evaluation),
and passes of an update (forward with gradient, before and after each optimizer step). Processes are forked from one
that has imported everything, so that each costs what it computes and no more.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

KINDS = ("files", "sampling", "update")
CHANGES = {"os.rename": 0, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "shutil.rmtree": 0}

forking = multiprocessing.get_context("forkserver")
forking.set_forkserver_preload(["mortal", "scope_lab.trainer", "scope_lab.cli", "peft", "scope_lab.plots", "pyarrow"])


@dataclass
class Ended:
    """How a command ended, what it printed, and how often each kind of thing happened in it."""

    code: int
    out: str
    err: str
    counts: dict[str, int] = field(default_factory=dict)


def run(
    *arguments,
    below: Path,
    at: tuple[str, int] | None = None,
    with_signal: int = signal.SIGKILL,
    limit: tuple[int, int] | None = None,
) -> Ended:
    """Run `scope-lab` to its end; with `at`, (kind, n), it gets a signal at the n-th of that kind (see KINDS).

    below  the folder whose files are watched; limit  a resource and its limit in the process (resource.RLIMIT_FSIZE …)
    """
    return start(*arguments, below=below, at=at, with_signal=with_signal, limit=limit).end()


class Started(NamedTuple):
    """A command under way."""

    process: forking.Process
    notes: Path

    def end(self) -> Ended:
        """Wait for it."""
        self.process.join(300)
        if self.process.is_alive():
            self.process.kill()
            raise AssertionError("a command did not end")
        counts = self.notes / "counts.json"
        found = json.loads(counts.read_text()) if counts.exists() else {}
        counts.unlink(missing_ok=True)
        said = ((self.notes / name).read_text() for name in ("out", "err"))
        return Ended(self.process.exitcode, *said, found)


def start(*arguments, below: Path, at=None, with_signal: int = signal.SIGKILL, limit=None) -> Started:
    """`run` without waiting for the end."""
    notes = below.with_name(below.name + ".notes")
    notes.mkdir(parents=True, exist_ok=True)
    process = forking.Process(
        target=_live, args=([str(a) for a in arguments], str(below.resolve()), at, with_signal, limit, str(notes))
    )
    process.start()
    return Started(process, notes)


def _live(arguments, below, at, with_signal, limit, notes) -> None:
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{notes}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if limit:
        import resource

        resource.setrlimit(limit[0], (limit[1], limit[1]))
    sys.argv = ["scope-lab", *arguments]
    counts = _watch(below, at, with_signal)
    from scope_lab.cli import main

    code = main(arguments)
    sys.stdout.flush(), sys.stderr.flush()
    Path(f"{notes}/counts.json").write_text(json.dumps(counts))
    os._exit(code)


def _watch(below: str, at, with_signal) -> Counter:
    from torch import is_grad_enabled
    from torch.nn.modules.module import register_module_forward_hook
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
    from transformers import PreTrainedModel

    counts: Counter = Counter()
    lock = threading.Lock()

    def count(kind: str) -> None:
        with lock:
            counts[kind] += 1
            due = at == (kind, counts[kind])
        if due:
            os.kill(os.getpid(), with_signal)

    def hear(event: str, details: tuple) -> None:
        if event == "open":
            path, _, flags = details
            changes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            path, changes = (details[0], event in CHANGES) if details else (None, False)
        if (
            changes
            and isinstance(path, str | bytes | os.PathLike)
            and os.path.abspath(os.fsdecode(path)).startswith(below)
        ):
            count("files")

    sys.addaudithook(hear)
    register_module_forward_hook(
        lambda module, *_: (
            count("update" if is_grad_enabled() else "sampling") if isinstance(module, PreTrainedModel) else None
        )
    )
    register_optimizer_step_pre_hook(lambda *_: count("update"))
    register_optimizer_step_post_hook(lambda *_: count("update"))
    return counts
