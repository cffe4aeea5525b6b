"""What SCOPE's step costs beside GRPO's, and the median seconds a step of every method that is compared.

`python tests/bench/overhead.py [--out data/bench/overhead.json]`, on a CPU with one thread a process, the bundled pair,
32 prompts × 8 rollouts. The same rollouts in every step of every contender: the learning rate is next to nothing, and
each goes back to step 0. Two parts:

steps   seconds a step of the methods in the plan `countdown`, with its batches and real verdicts; synchronous, so that
        each has one core and no teacher another one
shares  SCOPE over GRPO where 0, 2, 4, 6 or 8 of a prompt's 8 rollouts are said to be wrong, whatever was written
        (real verdicts are computed too), synchronous and streaming, with a teacher
        here       in this process: its thread needs a core that is free
        elsewhere  the same model in a process of its own, as a server stands
        latency    that sleeps as long as the paper's scored: 200.0 s for all of a step's rollouts while 247.7 s were
                   spent on sampling (Table 8), here by GRPO's own seconds of sampling: a teacher on devices of its own

Contenders take a step each, round by round. A ratio is the median over rounds of SCOPE's step over the GRPO step of the
same round, with the middle half of them. Where all rollouts are right, or all wrong, GRPO has nothing to learn and
makes no update.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from concurrent.futures import Future
from pathlib import Path
from unittest import mock

import torch

from scope_lab import ScopeTrainer
from scope_lab.hardware import describe, free_cores
from scope_lab.models import PAIRS, load_model
from scope_lab.paper import TABLE_8
from scope_lab.plan import read_plan
from scope_lab.results import SIX
from scope_lab.rollouts import Rollouts
from scope_lab.settings import build_config
from scope_lab.tasks import Verdict, Verification
from scope_lab.teachers import LocalTeacher

WRONG = (0, 2, 4, 6, 8)  # of a prompt's rollouts
G = 8
TARGET = 1.05  # streaming, half of them wrong; the paper's own step: 641.9 over 459.0 seconds
STAGES = ("generation", "verification", "teacher", "teacher_hidden", "update")
SLEPT = TABLE_8["teacher scoring"][2] / TABLE_8["generation"][2]  # of the seconds of sampling, for all rollouts


class Elsewhere:
    """The pair's teacher in another process, asked through a pipe. It has no batch size: it gets whatever has come."""

    name = "elsewhere"

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        assert self.pipe.recv() == "ready"

    def score(self, rollouts, rows, temperature):
        self.pipe.send((rollouts.select(rows), temperature))
        return self.pipe.recv()

    def close(self):
        self.pipe.send(None)
        self.process.join()


def serve(pipe) -> None:
    torch.set_num_threads(1)
    teacher = LocalTeacher(load_model(PAIRS["countdown"][1], device="cpu"))
    pipe.send("ready")
    while asked := pipe.recv():
        rollouts, temperature = asked
        pipe.send(teacher.score(rollouts, torch.arange(len(rollouts)), temperature))


class Latency:
    """Says what the student says, a tenth of a nat below, and takes its time: seconds a rollout."""

    name, seconds = "latency", 0.0

    def score(self, rollouts, rows, temperature):
        time.sleep(self.seconds * len(rows))
        return rollouts.student_logp_BT[rows] - 0.1


def decided(wrong: int):
    """Verdicts by a rollout's place in its group, after the real one was found."""
    real = Rollouts.submit

    def submit(self, row, verifier, truncated="incorrect"):
        real(self, row, verifier, truncated).result()
        verdict: Future = Future()
        # Places differ from prompt to prompt, so that no random number is always on one path.
        is_wrong = (row + row // G) % G < wrong
        verdict.set_result(Verification(Verdict.INCORRECT if is_wrong else Verdict.CORRECT, "decided"))
        return verdict

    return mock.patch.object(Rollouts, "submit", submit)


def make(teacher=None, **settings) -> ScopeTrainer:
    quiet = {"eval_problems": 0, "train_problems": 1_000, "out": None, "learning_rate": 1e-9, "device": "cpu"}
    return ScopeTrainer(build_config(None, {"pair": "countdown", **settings, **quiet}), teacher=teacher, progress=False)


def rounds(contenders: dict[str, ScopeTrainer], n: int) -> dict[str, list[dict]]:
    """Metrics of n steps of each, taken in turn; one more before them is not counted."""
    found: dict[str, list[dict]] = {name: [] for name in contenders}
    for i in range(n + 1):
        for name, trainer in contenders.items():
            trainer.step = 0
            metrics = trainer.train_step()
            found[name] += [metrics] if i else []
    return found


def middle(values: list[float], digits: int = 4) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": round(median, digits), "low": round(low, digits), "high": round(high, digits)}


def summary(steps: list[dict]) -> dict:
    stages = {name: round(statistics.median(m[f"seconds_{name}"] for m in steps), 4) for name in STAGES}
    return {"seconds": middle([m["seconds"] for m in steps]), "stages": stages}


def steps_part(n: int) -> tuple[dict[str, float], dict]:
    """Median seconds a step of each method as the plan runs it, and the same with its stages."""
    plan = {run.variant: vars(run.config) for run in read_plan("countdown") if run.variant in SIX}
    plan = {name: plan[name] for name in SIX}
    found = rounds({name: make(**{**settings, "pipeline": "synchronous"}) for name, settings in plan.items()}, n)
    details = {name: summary(steps) for name, steps in found.items()}
    return {name: found["seconds"]["median"] for name, found in details.items()}, details


def shares_part(n: int) -> list[dict]:
    elsewhere, latency = Elsewhere(), Latency()
    teachers = {"here": None, "elsewhere": elsewhere, "latency": latency}
    contenders = {("grpo", "", ""): make(method="grpo")}
    for where, teacher in teachers.items():
        for way in ("synchronous", "streaming"):
            contenders["scope", where, way] = make(teacher, method="scope", pipeline=way)
    named = {" ".join(filter(None, key)): trainer for key, trainer in contenders.items()}
    with decided(4):
        sampled = rounds({"grpo": named["grpo"]}, 5)["grpo"]
    latency.seconds = SLEPT * statistics.median(m["seconds_generation"] for m in sampled) / sampled[0]["rollouts"]
    rows = []
    for wrong in WRONG:
        with decided(wrong):
            found = rounds(named, n)
        row = {"wrong": wrong / G, "grpo": summary(found["grpo"]), "scope": []}
        for (method, where, way), name in zip(contenders, named, strict=True):
            if method == "scope":
                pairs = zip(found[name], found["grpo"], strict=True)
                ratio = middle([ours["seconds"] / theirs["seconds"] for ours, theirs in pairs], 3)
                row["scope"].append({"teacher": where, "pipeline": way, "over_grpo": ratio, **summary(found[name])})
                print(f"{row['wrong']:4.0%} wrong, {where:9} {way:11} {ratio['median']:.3f}", flush=True)
        rows.append(row)
    elsewhere.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/bench/overhead.json"))
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    load = [round(os.getloadavg()[0], 2)]
    steps, details = steps_part(arguments.rounds)
    print(steps, flush=True)
    shares = shares_part(arguments.rounds)
    result = {
        "what": "seconds a step of SCOPE over GRPO by share of wrong rollouts; bundled pair, 32 × 8, CPU, one thread",
        "target_over_grpo": {"wrong": 0.5, "pipeline": "streaming", "at_most": TARGET},
        "rounds": arguments.rounds,
        "steps": steps,
        "steps_in_stages": details,
        "shares": shares,
        "cores": free_cores(),
        "load_before_and_after": [*load, round(os.getloadavg()[0], 2)],
        "hardware": describe(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
