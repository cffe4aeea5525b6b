"""Verifiers at work: at once in this process, several at a time in threads, or in processes with a clock each.

A task says by its attribute `runs` what it needs:

inline      (the default) quick and safe on any text: verified on the spot
threads     waits for something else, a server or a sandbox, which keeps its own clock
processes   may hang, explode or crash: each call has CPU seconds of its own. Past them the verdict is unknown with the
            reason "timed out", and the process is replaced; one that dies gives "crashed". A loaded machine does not
            use up CPU seconds; a call that merely waits ends after WAIT times as many seconds on the wall.

Such a task may also have `timeout` (CPU seconds), `workers` (how many at a time), `quick(problem, response)`, which
gives what can be said at once or None, and `prepare()`, imports that its processes do before the first call.
"""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue

from ..errors import InputError
from ..hardware import free_cores
from .base import Problem, Task, Verdict, Verification
from .worker import judged, verified

TIMEOUT = 3.0  # CPU seconds of a call
WAIT = 4  # a call's seconds on the wall, as a multiple of its CPU seconds
GRACE = 1.0  # seconds on the wall after which a process that did not end itself is ended
CLOCKS = (-signal.SIGPROF, -signal.SIGALRM)  # what a worker says of a child that ran out of time
PACKAGE = Path(__file__).resolve().parents[2]

Judge = Callable[[Problem, str], Verification]


class Verifier:
    """Verifies for one task, for as long as a run lasts; workers start with the first call that needs them.

    workers  calls at a time; default: the task's, else one a core that this process may use
    timeout  CPU seconds of a call in a process; default: the task's, else TIMEOUT

    Use as a context manager, or call `close`; where this process ends without, the workers end too.
    """

    def __init__(self, task: Task, workers: int | None = None, timeout: float | None = None):
        self._jobs: SimpleQueue = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._processes: list[Process] = []
        self._starting = threading.Lock()
        self.task = task
        self.runs = getattr(task, "runs", "inline")
        if self.runs not in ("inline", "threads", "processes"):
            raise ValueError(f"{task.name}: found runs={self.runs!r}, accepted inline, threads, processes")
        self.workers = workers or getattr(task, "workers", None) or free_cores()
        self.timeout = float(getattr(task, "timeout", TIMEOUT) if timeout is None else timeout)
        self._quick = getattr(task, "quick", None)

    def submit(self, problem: Problem, response: str) -> "Future[Verification]":
        """A verdict to come; of an inline task, one that is there already."""
        future: Future[Verification] = Future()
        found = verified(self.task, problem, response) if self.runs == "inline" else None
        if found is None and self._quick:
            found = self._quick(problem, response)
        if found is not None:
            future.set_result(found)
            return future
        with self._starting:
            if not self._threads:
                self._start()
            self._jobs.put((future, problem, response))
        return future

    def verify(self, problems: Iterable[Problem], responses: Iterable[str]) -> list[Verification]:
        """A verdict for each pair, in their order."""
        futures = [self.submit(problem, response) for problem, response in zip(problems, responses, strict=True)]
        return [future.result() for future in futures]

    def close(self) -> None:
        """Stop: calls that have not begun are cancelled, those at work end as "crashed". A later call starts anew."""
        threads = self._threads
        self._stop()
        if self.runs == "processes":
            for thread in threads:
                thread.join()

    def _stop(self) -> None:
        with self._starting, contextlib.suppress(Empty):
            while True:
                self._jobs.get_nowait()[0].cancel()
        for process in self._processes:
            process.stop()
        for _ in self._threads:
            self._jobs.put(None)
        self._threads, self._processes, self._jobs = [], [], SimpleQueue()

    def __del__(self) -> None:
        if self._threads:
            self._stop()

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _start(self) -> None:
        for _ in range(self.workers):
            judge: Judge = partial(judged, self.task)
            if self.runs == "processes":
                judge = process = Process(self.task, self.timeout)
                self._processes.append(process)
            thread = threading.Thread(target=_serve, args=(self._jobs, judge), daemon=True)
            thread.start()
            self._threads.append(thread)


def _serve(jobs: SimpleQueue, judge: Judge) -> None:
    while job := jobs.get():
        future, problem, response = job
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(judge(problem, response))
            except Exception as error:
                future.set_exception(error)
    if isinstance(judge, Process):
        judge.end()


class Process:
    """One worker process (worker.py), as a function; started by its first call, and again where it must be."""

    def __init__(self, task: Task, timeout: float):
        self.task, self.timeout = task, timeout
        self.running: subprocess.Popen | None = None
        self.stopped = False

    def __call__(self, problem: Problem, response: str) -> Verification:
        if self.running is None:
            self._start()
        try:
            self.connection.send((problem, response))
            if not self.connection.poll(WAIT * self.timeout + GRACE):
                self.end()
                return Verification(Verdict.UNKNOWN, "timed out")
            found = self.connection.recv()
        except (EOFError, OSError):
            self.end()
            return Verification(Verdict.UNKNOWN, "crashed")
        if isinstance(found, Verification):
            return found
        if isinstance(found, InputError):
            raise found
        return Verification(Verdict.UNKNOWN, "timed out" if found in CLOCKS else "crashed")

    def stop(self) -> None:
        """From any thread: whatever it does ends at once."""
        self.stopped = True
        if self.running is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def _start(self) -> None:
        if self.stopped:
            raise InputError("verifier: it was closed")
        try:
            pickled = pickle.dumps(self.task)
        except Exception as error:
            raise InputError(f"task: {self.task.name} cannot be sent to a process ({error})") from None
        self.socket, theirs = socket.socketpair()
        paths = [str(PACKAGE), os.environ.get("PYTHONPATH", "")]
        with theirs:
            self.running = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{__package__}.worker", str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=[theirs.fileno()],
            )
        self.connection = Connection(os.dup(self.socket.fileno()))
        try:
            self.connection.send(([*sys.path, os.getcwd()], pickled, self.timeout, WAIT * self.timeout))
            trouble = self.connection.recv()
        except (EOFError, OSError):
            trouble = "the process ended"
        if trouble:
            self.end()
            raise InputError(
                f"task: {self.task.name} does not start in a process of its own ({trouble}); "
                "what verifies must be a module that can be imported"
            )

    def end(self) -> None:
        """The worker ends when its socket does, with everything that it started. From the thread that calls it."""
        if self.running is None:
            return
        running, self.running = self.running, None
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        try:
            running.wait(timeout=10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        self.socket.close()
        self.connection.close()
