"""Runs a Python program that nobody has read: on its own, without network or files, and with limits on everything.

Built on bubblewrap (`bwrap`). The program sees Python's own libraries and numpy, read-only, a scratch folder in memory
at /tmp, and nothing else: no network, no home, no /etc, no /proc, no environment, no other process. What holds what:

    files, network, processes   namespaces, of which the user namespace makes the program an unprivileged user
    the kernel                  a filter of system calls (`seccomp`), no capabilities, no new privileges
    CPU seconds, file size      resource limits of each process
    processes                   a resource limit: the kernel counts them within the user namespace (Linux 5.14)
    memory                      a resource limit of each process, and of all of them together by the watch below
    wall seconds, output        the watch, which kills the PID namespace: nothing in it can outlive that

Where no isolation can be had, `require` says why and nothing runs, unless the user has asked to `do_without`.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from .bubblewrap import ENVIRONMENT, bwrap_command, bwrap_path, unsafe_command
from .errors import InputError
from .seccomp import seccomp_filter

POLL = 0.05  # seconds between two looks at memory and clock


@dataclass(frozen=True)
class Limits:
    """What a program may use. Times are seconds, sizes bytes.

    cpu        of each process
    wall       from start to end
    memory     address space of all its processes together
    processes  processes and threads at a time
    scratch    files in /tmp; they are in memory too, beside `memory`
    files      their number
    output     stdout and stderr together
    """

    cpu: int = 10
    wall: float = 20.0
    memory: int = 1 << 30
    processes: int = 16
    scratch: int = 64 << 20
    files: int = 10_000
    output: int = 4 << 20


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    status      "finished" (by itself: exit, exception or signal), "cpu", "wall", "memory", "files" or "output" (the
                limit it passed), "stopped" (by `watch`), or "failed": the sandbox did not start, which is not the
                program's doing
    returncode  its exit status, 128 + the signal that ended it; None unless it finished
    stdout, stderr  as UTF-8, what is not replaced; at most `output` bytes
    seconds     on the wall
    """

    status: str
    returncode: int | None
    stdout: str
    stderr: str
    seconds: float


def run(program: str, stdin: str = "", limits: Limits = Limits()) -> Outcome:
    """Run a program to its end and say how it ended. Raises InputError as `require` does."""
    with Sandboxed(program, stdin, limits) as sandboxed:
        return watch([sandboxed])[0]


def require() -> bool:
    """Whether programs are isolated here; False only after `do_without`.

    Raises InputError, with one line that says what is missing, where they cannot be and nobody allowed it.
    """
    problem = _problem()
    if problem and not _do_without:
        raise InputError(
            f"sandbox: {problem}; programs that a model wrote are not run without it "
            "(--unsafe-no-sandbox runs them with your rights)"
        )
    return not problem


_do_without = False


def do_without() -> None:
    """From here on programs run even where they cannot be isolated. Nothing changes where they can."""
    global _do_without
    _do_without = True
    if problem := _problem():
        warnings.warn(
            f"NO SANDBOX ({problem}): programs that a model wrote run with your rights, files and network",
            stacklevel=2,
        )


@cache
def _problem() -> str | None:
    """Why there is no sandbox here, found by starting one."""
    if not sys.platform.startswith("linux"):
        return f"found {sys.platform}, accepted Linux"
    if seccomp_filter() is None:
        return f"found a {os.uname().machine} processor, accepted x86_64 or aarch64"
    if bwrap_path() is None:
        return "bubblewrap is not installed (apt install bubblewrap, or dnf install bubblewrap)"
    try:
        with Sandboxed(PROBE, limits=Limits(processes=8), unsafe=False) as probe:
            outcome = watch([probe])[0]
    except OSError as error:
        return f"no user namespace can be made here ({error})"
    if outcome.status != "finished" or outcome.returncode:
        lines = outcome.stderr.strip().splitlines() or [outcome.status]
        return f"bubblewrap does not start here ({lines[-1]}): user namespaces must be allowed"
    if not 1 < int(outcome.stdout) < 8:
        return f"Linux {os.uname().release} does not count processes within a user namespace, accepted 5.14 or later"
    return None


PROBE = """
import os, signal
n = 0
try:
    while n < 20:
        if os.fork() == 0:
            signal.pause()
        n += 1
except OSError:
    pass
print(n)
"""


class Sandboxed:
    """A program that has been started; `watch` runs it to its end, leaving the context kills it.

    inherit  descriptors, open here, that the program has under the same numbers
    unsafe   without bubblewrap: only resource limits and the watch, in a temporary folder; default: as `require` says
    """

    def __init__(
        self,
        program: str,
        stdin: str = "",
        limits: Limits = Limits(),
        *,
        inherit: Sequence[int] = (),
        unsafe: bool | None = None,
    ):
        unsafe = not require() if unsafe is None else unsafe
        self.limits, self.unsafe = limits, unsafe
        self._stdin = memoryview(stdin.encode("utf-8", "replace"))
        self._output: dict[str, list[bytes]] = {"stdout": [], "stderr": [], "status": [], "ready": []}
        self._size = 0
        self._pid: int | None = None  # of the namespace's first process
        self._reason: str | None = None
        self._next_look = self._killed_at = 0.0
        self._closing = contextlib.ExitStack()
        source = program.encode("utf-8", "replace")
        with contextlib.ExitStack() as stack:  # what only the other side keeps open
            status, status_there = self._pipe(stack)
            ready, ready_there = self._pipe(stack)
            bounds = [ready_there, limits.cpu, limits.memory, limits.processes, limits.scratch, *inherit]
            if unsafe:
                folder = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="scope-lab-unsafe-"))
                command, given = unsafe_command(folder, source, bounds)
            else:
                files = _memory_file(stack, source), _memory_file(stack, seccomp_filter() or b"")
                command, given = bwrap_command(*files, status_there, limits.scratch, bounds)
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[ready_there, *inherit, *given],
                env=ENVIRONMENT,
                cwd=folder if unsafe else "/",
                start_new_session=True,
            )
        assert self.process.stdout and self.process.stderr
        self._open = {
            "stdout": self.process.stdout.fileno(),
            "stderr": self.process.stderr.fileno(),
            "status": status,
            "ready": ready,
        }

    def _pipe(self, stack: contextlib.ExitStack) -> tuple[int, int]:
        here, there = os.pipe()
        self._closing.callback(os.close, here)
        stack.callback(os.close, there)
        return here, there

    def __enter__(self) -> "Sandboxed":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.kill("stopped")
        self.process.wait()
        if self._pid and not self.unsafe:  # an orphan of bubblewrap: ours, where this process is a container's first
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        for file in (self.process.stdin, self.process.stdout, self.process.stderr):
            if file:
                with contextlib.suppress(OSError):
                    file.close()
        self._closing.close()

    @property
    def ended(self) -> bool:
        """Every pipe is closed: nothing of it lives on."""
        return not self._open

    def kill(self, reason: str) -> None:
        """End all of it at once; the first reason counts."""
        if self._reason is None:
            self._reason, self._killed_at = reason, time.monotonic()
        with contextlib.suppress(OSError):
            if self.unsafe:
                os.killpg(self.process.pid, signal.SIGKILL)
            elif self._pid and self.process.poll() is None:
                os.kill(self._pid, signal.SIGKILL)  # the rest of a PID namespace dies with its first process
        self.process.kill()

    def register(self, selector: selectors.BaseSelector) -> None:
        for name, descriptor in self._open.items():
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ, (self, name))
        if self.process.stdin:
            os.set_blocking(self.process.stdin.fileno(), False)
            selector.register(self.process.stdin, selectors.EVENT_WRITE, (self, "stdin"))

    def move(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        """Take what has come through a pipe, or give what there is room for."""
        name = key.data[1]
        if name == "stdin":
            try:
                self._stdin = self._stdin[os.write(key.fd, self._stdin[:65_536]) :]
            except BlockingIOError:
                return
            except OSError:  # the program has closed its end
                self._stdin = self._stdin[:0]
            if not self._stdin:
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
            return
        data = os.read(key.fd, 65_536)
        if not data:
            selector.unregister(key.fileobj)
            del self._open[name]
            return
        if name in ("stdout", "stderr"):
            data = data[: max(self.limits.output - self._size, 0) + 1]
            self._size += len(data)
            if self._size > self.limits.output:
                self.kill("output")
                return
        self._output[name].append(data)
        if name == "status" and self._pid is None:
            text = b"".join(self._output["status"])
            if b"\n" in text:
                self._pid = json.loads(text.split(b"\n")[0]).get("child-pid")

    def look(self) -> None:
        """Hold it to the limits that the kernel does not keep."""
        now = time.monotonic()
        if self.ended or now < self._next_look:
            return
        self._next_look = now + POLL
        if self._reason:
            self.kill(self._reason)
            if now > self._killed_at + 2:  # a pipe is held by something that is no part of it
                self._open.clear()
        elif now > self.started + self.limits.wall:
            self.kill("wall")
        elif self.unsafe and self.process.poll() is not None:
            self.kill("finished")  # what it left running
        elif self._output["ready"] and (pid := self.process.pid if self.unsafe else self._pid):
            if sum(map(_address_space, _family(pid))) > self.limits.memory + (16 << 20):
                self.kill("memory")
            elif not self.unsafe and _files(pid) > self.limits.files:
                self.kill("files")

    def outcome(self) -> Outcome:
        code = self.process.wait()
        code = 128 - code if code < 0 else code
        status = self._reason or ("cpu" if code == 128 + signal.SIGXCPU else "finished")
        if not self._output["ready"] and status != "stopped":
            status = "failed"
        return Outcome(
            status,
            code if status == "finished" else None,
            b"".join(self._output["stdout"]).decode("utf-8", "replace"),
            b"".join(self._output["stderr"]).decode("utf-8", "replace"),
            time.monotonic() - self.started,
        )


def watch(sandboxed: Sequence[Sandboxed]) -> list[Outcome]:
    """Serve and watch programs until the first of them has ended; the others are then stopped."""
    with selectors.DefaultSelector() as selector:
        for one in sandboxed:
            one.register(selector)
        while not all(one.ended for one in sandboxed):
            for key, _ in selector.select(POLL):
                key.data[0].move(selector, key)
            for one in sandboxed:
                one.look()
                if sandboxed[0].ended and not one.ended:
                    one.kill("stopped")
    return [one.outcome() for one in sandboxed]


def _memory_file(stack: contextlib.ExitStack, content: bytes) -> int:
    """A file in memory, open at its beginning."""
    descriptor = os.memfd_create("scope-lab")
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


# What the watch sees


def _family(pid: int) -> list[int]:
    """A process and all its descendants; in a PID namespace orphans become children of the first process."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as file:
                    found += map(int, file.read().split())
    return found


def _address_space(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _files(pid: int) -> int:
    try:
        found = os.statvfs(os.path.join("/proc", str(pid), "root", "tmp"))
    except OSError:
        return 0
    return found.f_files - found.f_ffree
