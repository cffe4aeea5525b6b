"""Verifiers at work: clocks, crashes, order, an end that leaves no process; a worker is light."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from scope_lab.errors import InputError
from scope_lab.tasks import Problem, Verdict, Verification, load_task
from scope_lab.tasks.verification import Verifier

PROBLEM = Problem("1", "?", "1")


class Trap:
    """A task that does what the response says."""

    name, max_new_tokens, runs, workers, timeout = "trap", 8, "processes", 2, 0.5

    def problems(self, split, n=None, seed=0):
        return []

    def quick(self, problem, response):
        return Verification(Verdict.CORRECT, "quick", response) if response.isdigit() else None

    def verify(self, problem, response):
        match response:
            case "spin":
                while True:
                    pass
            case "multiply":
                return Verification(Verdict.CORRECT, str(len(str(7 ** (9**9)))))
            case "sleep":
                time.sleep(100)
            case "exit":
                os._exit(3)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise KeyError(response)
            case "memory":
                bytearray(8 << 30)
            case "child":
                subprocess.Popen(["sleep", "100"])
                os._exit(3)
            case "modules":
                return Verification(
                    Verdict.CORRECT, " ".join(sorted({"torch", "numpy", "transformers"} & {*sys.modules}))
                )
        print("a verifier that prints")
        return Verification(Verdict.CORRECT, "done", response)


def descendants(name: str) -> list[psutil.Process]:
    return [process for process in psutil.Process().children(recursive=True) if name in " ".join(process.cmdline())]


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Trap()) as verifier:
        yield verifier
    assert not descendants("worker")


@pytest.mark.parametrize(
    "response, reason",
    [
        ("spin", "timed out"),
        ("multiply", "timed out"),  # one instruction of Python: no handler of Python's would ever run
        ("sleep", "timed out"),
        ("exit", "crashed"),
        ("killed", "crashed"),
        ("raise", "KeyError"),
        ("memory", "MemoryError"),
    ],
)
def test_a_call_that_hangs_or_dies_is_unknown_and_the_next_one_is_well(verifier, response, reason):
    started = time.perf_counter()
    found = verifier.submit(PROBLEM, response).result()
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reason)
    assert time.perf_counter() - started < 8
    assert verifier.submit(PROBLEM, "x").result() == Verification(Verdict.CORRECT, "done", "x")


def test_verdicts_come_in_the_order_of_the_calls(verifier):
    responses = [f"r{i}" if i % 7 else "exit" for i in range(200)]
    found = verifier.verify([PROBLEM] * 200, responses)
    assert [f.answer for f in found] == [None if r == "exit" else r for r in responses]


def test_what_can_be_said_at_once_needs_no_process():
    with Verifier(Trap()) as verifier:
        future = verifier.submit(PROBLEM, "12")
        assert future.done() and future.result().reason == "quick"
        assert not verifier._threads


def test_a_worker_is_light(verifier):
    assert verifier.submit(PROBLEM, "modules").result().reason == ""
    supervisors = [process for process in descendants("worker") if process.ppid() == os.getpid()]
    assert 1 <= len(supervisors) <= 2
    assert all(process.memory_info().rss < 60e6 for process in supervisors)


def test_what_a_dying_call_started_dies_with_it(verifier):
    assert verifier.submit(PROBLEM, "child").result().reason == "crashed"
    assert verifier.submit(PROBLEM, "x").result().reason == "done"
    assert not descendants("sleep 100")


def test_closing_ends_what_runs_and_cancels_what_waits():
    verifier = Verifier(Trap(), workers=1)
    verifier.submit(PROBLEM, "x").result()
    running, waiting = verifier.submit(PROBLEM, "sleep"), verifier.submit(PROBLEM, "x")
    time.sleep(0.2)
    before = len(descendants("worker"))
    verifier.close()
    assert running.result().reason == "crashed" and waiting.cancelled()
    assert len(descendants("worker")) == before - 2
    verifier.close()
    assert verifier.submit(PROBLEM, "x").result().reason == "done"
    verifier.close()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_run(end, tmp_path):
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_verification import PROBLEM, Trap
from scope_lab.tasks.verification import Verifier
verifier = Verifier(Trap())
verifier.submit(PROBLEM, "x").result()
verifier.submit(PROBLEM, "sleep")
print("ready", flush=True)
verifier.submit(PROBLEM, "sleep").result()
"""
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert run.stdout
    with run.stdout:
        assert run.stdout.readline() == b"ready\n"
    workers = psutil.Process(run.pid).children(recursive=True)
    assert len(workers) >= 2
    os.killpg(run.pid, end) if end == signal.SIGINT else run.send_signal(end)  # a terminal's Ctrl-C reaches all
    run.wait(10)
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive


def test_a_task_that_no_process_can_load_is_refused():
    class Local(Trap):
        pass

    with Verifier(Local()) as verifier, pytest.raises(InputError, match="trap cannot be sent"):
        verifier.submit(PROBLEM, "x").result()


def test_generated_tasks_are_verified_on_the_spot():
    task = load_task("countdown")
    (problem,) = task.problems("test", 1)
    with Verifier(task) as verifier:
        future = verifier.submit(problem, "1+1=2")
        assert future.done() and future.result() == task.verify(problem, "1+1=2")
        assert not verifier._threads


def test_threads_judge_and_exceptions_are_unknown():
    trap = Trap()
    trap.runs = "threads"
    with Verifier(trap) as verifier:
        found = verifier.verify([PROBLEM] * 3, ["x", "raise", "7"])
    assert [f.reason for f in found] == ["done", "KeyError", "quick"]


def test_an_unknown_way_to_run_is_refused():
    trap = Trap()
    trap.runs = "elsewhere"
    with pytest.raises(ValueError, match="accepted inline, threads, processes"):
        Verifier(trap)
