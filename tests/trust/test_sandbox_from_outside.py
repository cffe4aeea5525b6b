"""The sandbox seen from outside, while programs that mean harm (attacks.py) run in it, as root and as an ordinary user.

What they reached, how many they were, what they held, what is left of them; and that they succeed where there are no
walls.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from attacks import ESCAPES, FUNCTIONS, PRINTERS
from walls import walls  # noqa: F401

from scope_lab import sandbox
from scope_lab.sandbox import Limits, Sandboxed, watch
from scope_lab.tasks import Verdict
from scope_lab.tasks.code import Code

pytestmark = [pytest.mark.usefixtures("walls"), pytest.mark.trust_long]
ROOT = Path(__file__).parents[2]
LIMITS = Limits(cpu=1, wall=2.0, memory=256 << 20, processes=14, scratch=16 << 20, files=2_000, output=1 << 20)
SECRET = "correct-horse-battery"
# How an attack may end where it is not by itself: by the limit that it runs into.
ENDS = {
    "memory bomb, many processes": ("memory",),
    "memory held by nobody: shared pages, unmapped by who wrote them": ("memory", "finished"),
    "one endless line from many processes": ("output",),
    "source that the compiler cannot bear": ("output", "finished"),
}


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """What an attack might reach: a file, an environment, listeners; and who came."""
    folder = tmp_path_factory.mktemp("outside")
    canary = folder / "canary"
    canary.write_text(SECRET)
    visitors: list[str] = []
    tcp, udp = socket.create_server(("", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port = tcp.getsockname()[1]
    udp.bind(("", port))
    unix, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    os.chdir(folder)  # a socket's name has at most 107 bytes
    unix.bind("listener")
    os.chdir(ROOT)
    abstract.bind(f"\0scope-lab-outside-{os.getpid()}")

    def accept(listener, what):
        while True:
            try:
                listener.accept()
            except OSError:
                return
            visitors.append(what)

    def receive():
        while True:
            try:
                udp.recv(100)
            except OSError:
                return
            visitors.append("udp")

    for listener, what in ((tcp, "tcp"), (unix, "unix"), (abstract, "abstract")):
        listener.listen()
        threading.Thread(target=accept, args=(listener, what), daemon=True).start()
    threading.Thread(target=receive, daemon=True).start()
    hosts = {a.address for addresses in psutil.net_if_addrs().values() for a in addresses if a.family == socket.AF_INET}
    os.environ["SCOPE_LAB_SECRET"] = SECRET
    yield {
        "words": {
            "<PORT>": str(port),
            "<HOSTS>": " ".join(sorted(hosts)),
            "<SOCKET>": str(folder / "listener"),
            "<ABSTRACT>": f"scope-lab-outside-{os.getpid()}",
            "<CANARY>": str(canary),
            "<PID>": str(os.getpid()),
            "<SECRET>": SECRET,
        },
        "visitors": visitors,
        "canary": canary,
    }
    del os.environ["SCOPE_LAB_SECRET"]
    for listener in (tcp, udp, unix, abstract):
        listener.close()


def filled(program: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        program = program.replace(word, value)
    return program


def run_watched(program: str, limits: Limits = LIMITS):
    """The outcome, and the number of the PID namespace that it ran in."""
    with Sandboxed(program, limits=limits) as sandboxed:
        (outcome,) = watch([sandboxed])
        status = b"".join(sandboxed._output["status"]).split(b"\n")[0]
    return outcome, json.loads(status)["pid-namespace"]


def members(namespace: int) -> list[int]:
    """Processes of a PID namespace; a zombie is none, whoever is to bury it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            alive = "\nState:\tZ" not in (entry / "status").read_text()
            found += [int(entry.name)] if alive and os.stat(entry / "ns/pid").st_ino == namespace else []
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def dead_soon(pids: list[int]) -> bool:
    for _ in range(200):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.01)
    return False


def survivors(namespace: int) -> list[int]:
    """Processes of a namespace that are there after its end; the kernel is given a second."""
    for _ in range(100):
        if not (found := members(namespace)):
            return []
        time.sleep(0.01)
    return found


# None gets out

BOMBS = ["fork bomb", "fork bomb of sessions that ignore signals", "thread bomb"]
LONG = {
    *("fork bomb of sessions that ignore signals", "thread bomb", "threads that never end", "no output left to close"),
    *("a number of a million digits", "a zip bomb", "network: elsewhere", "filling the disk with many files"),
}


def long_ones(name: str):
    return pytest.param(name, marks=pytest.mark.trust_long) if name in LONG else name


@pytest.mark.parametrize("name", [long_ones(name) for name in ESCAPES if name not in BOMBS])
def test_no_program_gets_out(name, outside, faults):
    with faults("sandbox: programs that want to get out"):
        outcome, namespace = run_watched(filled(ESCAPES[name], outside["words"]))
        assert outcome.status != "failed" and outcome.status in (
            *ENDS.get(name, ()),
            "finished",
            "cpu",
            "wall",
            "memory",
        )
        if name in ENDS:
            assert outcome.status in ENDS[name]
        assert "ESCAPED" not in outcome.stdout and SECRET not in outcome.stdout + outcome.stderr
        assert not any(word in outcome.stderr for word in ("SyntaxError", "NameError", "AttributeError")), (
            outcome.stderr
        )
        assert len(outcome.stdout) + len(outcome.stderr) <= LIMITS.output
        assert outcome.seconds < LIMITS.wall + 3
        assert survivors(namespace) == []
        assert outside["visitors"] == [] and outside["canary"].read_text() == SECRET


HARMLESS = {
    "the system's files": set(),
    "a secret in a file, by every road": set(),
    "proc of the parent": set(),
    "network: this machine": {"tcp"},
    "Unix sockets outside": {"unix", "abstract"},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_attacks_succeed_where_there_are_no_walls(name, outside):
    """Else their failing would prove nothing. Only those that do no harm."""
    with Sandboxed(filled(ESCAPES[name], outside["words"]), limits=LIMITS, unsafe=True) as without:
        (outcome,) = watch([without])
    assert "ESCAPED" in outcome.stdout
    for _ in range(100):
        if set(outside["visitors"]) == HARMLESS[name]:
            break
        time.sleep(0.01)
    assert set(outside["visitors"]) == HARMLESS[name]
    outside["visitors"].clear()


@pytest.mark.parametrize("name", [long_ones(name) for name in BOMBS])
def test_a_bomb_has_few_processes_at_any_time(name, faults):
    """The kernel counts them: the number does not depend on how fast the watch is."""
    with faults("sandbox: bombs, counted from outside"), Sandboxed(ESCAPES[name], limits=LIMITS) as sandboxed:
        most, thread = 0, threading.Thread(target=watch, args=([sandboxed],))
        thread.start()
        while thread.is_alive():
            if sandboxed._pid:
                threads = 0
                for pid in sandbox._family(sandboxed._pid):
                    try:
                        threads += len(os.listdir(f"/proc/{pid}/task"))
                    except OSError:
                        continue
                most = max(most, threads)
            time.sleep(0.005)
        thread.join()
        assert sandboxed.outcome().status in ("cpu", "wall", "memory")
        assert 4 < most <= LIMITS.processes + 2  # and bubblewrap's first process


def test_all_processes_together_stay_near_the_memory_limit(faults):
    with (
        faults("sandbox: memory of many processes"),
        Sandboxed(ESCAPES["memory bomb, many processes"], limits=LIMITS) as sandboxed,
    ):
        most, thread = 0, threading.Thread(target=watch, args=([sandboxed],))
        thread.start()
        while thread.is_alive():
            if sandboxed._pid:
                held = 0
                for pid in sandbox._family(sandboxed._pid):
                    try:
                        held += psutil.Process(pid).memory_info().rss
                    except psutil.Error:
                        continue
                most = max(most, held)
            time.sleep(0.005)
        thread.join()
        assert most < 2 * LIMITS.memory  # what is written between two looks


def test_a_program_that_is_left_alone_is_killed():
    with Sandboxed("import time; time.sleep(60)", limits=LIMITS) as sandboxed:
        time.sleep(0.5)
        pid = sandboxed.process.pid
        family = sandbox._family(pid)
        assert len(family) > 1
    assert dead_soon(family)


def test_it_ends_with_the_process_that_started_it(tmp_path):
    """kill -9 of a run leaves no program behind."""
    code = (
        "import sys\nfrom scope_lab.sandbox import *\nfrom scope_lab.sandbox import _family\n"
        "s = Sandboxed('import os, time\\nos.fork(); os.setsid() if os.getpid() % 2 else 0\\ntime.sleep(60)')\n"
        "import time; time.sleep(1)\nprint(*_family(s.process.pid), flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        family = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(family) > 3
        parent.send_signal(signal.SIGKILL)
    assert dead_soon(family)


def test_several_at_a_time_do_not_meet():
    """Neither in files nor by signals; each has its own count of processes."""
    program = (
        "import os, signal, time\nopen(str(os.getpid()), 'w')\nn = 0\n"
        "try:\n    while n < 100:\n        if os.fork() == 0: time.sleep(5); os._exit(0)\n        n += 1\n"
        "except OSError: pass\ntime.sleep(0.5)\nprint(n, len(os.listdir('/tmp')))\n"
    )
    found = []
    threads = [threading.Thread(target=lambda: found.append(sandbox.run(program, limits=LIMITS))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = {tuple(map(int, outcome.stdout.split())) for outcome in found}
    assert len(found) == 6 and len(counts) == 1 and next(iter(counts))[1] == 1 and 8 < next(iter(counts))[0] < 15


ORDINARY = """
import json, sys
sys.path.insert(0, {root!r})
from scope_lab import sandbox
limits = sandbox.Limits(cpu=1, wall=2.0, memory=256 << 20, processes=14, scratch=16 << 20, files=2_000, output=1 << 20)
print(json.dumps({{"problem": sandbox._problem(), "ends": [
    [name, found.status, found.stdout[:2000]] for name, program in {programs!r}
    for found in [sandbox.run(program, limits=limits)]
]}}))
"""
CHOSEN = [
    *("fork bomb", "memory bomb, many processes", "the system's files", "home", "the environment", "ptrace"),
    *("writing everywhere else", "network: this machine", "Unix sockets outside", "killing everyone"),
    *("a namespace of its own", "becoming root", "higher limits", "descriptors of others", "children that stay behind"),
]


def test_an_ordinary_user_is_as_safe_as_root(outside, faults):
    """Where the tests run as root they start anew as nobody, who has other namespaces and other counts."""
    python = next((p for p in ("/usr/bin/python3", "/usr/local/bin/python3") if Path(p).exists()), None)
    if os.geteuid() or not python or not shutil.which("setpriv"):
        pytest.skip("needs root, setpriv and a Python that all may read")
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-I", "-c"]
    if subprocess.run(
        [*command, f"import sys; assert sys.version_info >= (3, 11); open({str(__file__)!r})"]
    ).returncode:
        pytest.skip("nobody may not read this checkout, or Python is older than 3.11")
    with faults("sandbox: programs that want to get out", injected=len(CHOSEN)):
        chosen = [(name, filled(ESCAPES[name], outside["words"])) for name in CHOSEN]
        code = ORDINARY.format(root=str(ROOT), programs=chosen)
        done = subprocess.run([*command, code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["problem"] is None
        for name, status, stdout in found["ends"]:
            assert "ESCAPED" not in stdout and SECRET not in stdout and status != "failed", (name, stdout)
            assert name not in ENDS or status in ENDS[name]
        assert outside["visitors"] == []


# None scores

TESTS = """
def check(candidate):
    for number in (7, 19, 305, 4444, 98765):
        assert candidate(number) == sum(int(digit) ** 2 for digit in str(number))
    assert candidate(31) == squares(31)
    assert candidate(999) == 243
"""
HEAD = (
    'def squares(n):\n    return sum(int(digit) ** 2 for digit in str(n))\n\n\ndef f(n):\n    """Sum of squares."""\n'
)
CASES = [{"input": f"{n}\n", "output": f"{sum(int(d) ** 2 for d in str(n))}\n"} for n in (7, 19, 305, 4444, 98765)]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("code") / "problems.jsonl"
    rows = [
        {"task_id": "function", "prompt": HEAD, "entry_point": "f", "test": TESTS},
        {"task_id": "program", "prompt": "Squares.", "verification_info": {"test_cases": CASES}},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Code(str(path), limits=LIMITS)


def judge(task, kind: str, program: str):
    problem = next(p for split in ("train", "validation", "test") for p in task.problems(split) if p.id == kind)
    return task.verify(problem, f"```python\n{program}```")


def test_right_answers_score(task):
    assert judge(task, "function", "def f(n):\n    return squares(n)\n").verdict == Verdict.CORRECT
    assert judge(task, "program", "print(sum(int(d) ** 2 for d in input()))\n").verdict == Verdict.CORRECT


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_scores(name, task, faults):
    with faults("sandbox: programs that want to score"):
        found = judge(task, "function", FUNCTIONS[name])
        assert found.verdict == Verdict.INCORRECT and found.score < 0.5, found


@pytest.mark.parametrize("name", PRINTERS)
def test_no_program_scores(name, task, faults):
    with faults("sandbox: programs that want to score"):
        found = judge(task, "program", PRINTERS[name])
        assert found.verdict == Verdict.INCORRECT and found.score < 0.5, found
