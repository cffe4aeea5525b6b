"""A process that verifies: `python -m scope_lab.tasks.worker FD`, started by verification.py alone.

It imports the task once and nothing else of size (no torch), then forks a child that does the work, and another one
whenever that child dies: a replacement costs milliseconds. Forking is safe here, in a process with one thread. The
kernel keeps both clocks: past its CPU seconds a child is killed by SIGPROF, past its seconds on the wall by SIGALRM, in
the middle of a long multiplication too.
The socket FD is the worker's life: when the other end closes, by intention or because its process was killed, all ends.
"""

import contextlib
import gc
import os
import pickle
import resource
import select
import signal
import sys
from multiprocessing.connection import Connection

from ..errors import InputError, shown
from .base import Problem, Task, Verdict, Verification

MEMORY = 4 << 30  # bytes of data that a child may hold: a tower of powers must not take the machine with it


def verified(task: Task, problem: Problem, response: str) -> Verification:
    """What the task's `verify` returns. Raises InputError where that is no Verification."""
    found = task.verify(problem, response)
    if not isinstance(found, Verification):
        raise InputError(f"task: verify of {task.name} returned {shown(found)}, accepted scope_lab.tasks.Verification")
    return found


def judged(task: Task, problem: Problem, response: str) -> Verification:
    """The task's verdict; unknown, with the exception's type as its reason, where it raises anything but InputError."""
    try:
        return verified(task, problem, response)
    except InputError:  # a user's mistake: the same for every response
        raise
    except Exception as error:
        return Verification(Verdict.UNKNOWN, type(error).__name__)


def work(connection: Connection, task: Task, cpu_seconds: float, wall_seconds: float) -> None:
    """In the child: a verification, or an InputError, for each (problem, response), until the other end closes."""
    while True:
        try:
            problem, response = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        signal.setitimer(signal.ITIMER_REAL, wall_seconds)
        found: Verification | InputError
        try:
            found = judged(task, problem, response)
        except InputError as error:
            found = error
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(found)


def supervise(connection: Connection, task: Task, cpu_seconds: float, wall_seconds: float) -> None:
    """Keep one child at work; say how each died, as the negative number of its signal or its exit code."""
    child_ended, child_ends = os.pipe()
    os.set_blocking(child_ends, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(child_ends, warn_on_full_buffer=False)
    events = select.poll()
    events.register(connection.fileno(), 0)  # only that the other end closed: what it sends is the child's
    events.register(child_ended, select.POLLIN)
    while True:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            try:
                work(connection, task, cpu_seconds, wall_seconds)
            finally:
                os._exit(0)
        with contextlib.suppress(OSError):  # the child may have done so, and even have ended
            os.setpgid(pid, pid)
        ended = 0
        while not ended and not any(fd == connection.fileno() for fd, _ in events.poll()):
            os.read(child_ended, 512)
            ended, status = os.waitpid(pid, os.WNOHANG)
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)  # the child, and what it may have started
        if not ended:
            os.waitpid(pid, 0)
            return
        try:
            connection.send(os.waitstatus_to_exitcode(status))
        except (BrokenPipeError, ConnectionResetError):
            return


def main(fd: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other end's business
    for clock in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(clock, signal.SIG_DFL)
    connection = Connection(fd)
    path, pickled, cpu_seconds, wall_seconds = connection.recv()
    sys.path[:] = path
    try:
        task = pickle.loads(pickled)
        getattr(task, "prepare", lambda: None)()
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        return
    connection.send(None)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (MEMORY, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    gc.freeze()
    supervise(connection, task, cpu_seconds, wall_seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]))
