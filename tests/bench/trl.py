"""A step of ours beside a step of TRL's trainers: the same student, prompts, number of rollouts and optimizer.

`python tests/bench/trl.py [--out data/bench/trl.json]`. Contenders:

- scope, grpo       this project's trainer, a step each: sample, verify, (ask the teacher), update
- scope-synchronous the same without streaming: each stage begins when the one before has ended
- trl-grpo          trl.GRPOTrainer with the same verifier as its reward, its default loss, no reference model; one
                    micro-batch and no activation checkpointing: the quickest settings for these sizes that we know
- trl-grpo-defaults the same with TRL's own defaults for both: eight rollouts a micro-batch, activations checkpointed
- trl-distillation  trl.DistillationTrainer: no verifier, no groups; every prompt comes G times, once a rollout

on the bundled pair (all weights train, 32 prompts × 8 rollouts) and on SmolLM2 with a LoRA adapter (4 × 4), on a CPU
with one thread, by sampling with `transformers`. TRL neither logs nor saves here; the learning rate is next to
nothing, so that every step starts from the same student.

Each contender runs in a process of its own, one after the other, round by round. The first step is not counted. Seconds
are the process's own, which other work on a machine disturbs less; stages are by the clock. Rollouts are sampled, so
lengths differ a little: the seconds compared are those of a thousand response tokens. Memory is the process's resident
memory at its fullest, libraries and all. With `--keep` what the file has of other pairs and precisions stays.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import torch

from scope_lab import ScopeTrainer, load_task
from scope_lab.config import ScopeConfig
from scope_lab.hardware import describe, peak_bytes, start_peak
from scope_lab.models import PAIRS, load_model, load_tokenizer
from scope_lab.settings import build_config
from scope_lab.tasks import Verdict

OURS = {
    "scope": {"method": "scope", "pipeline": "streaming"},
    "scope-synchronous": {"method": "scope", "pipeline": "synchronous"},
    "grpo": {"method": "grpo"},
}
THEIRS = ("trl-grpo", "trl-grpo-defaults", "trl-distillation")
SAME = {"smollm2": ("scope-synchronous",)}  # an adapter on the student's base waits for the student in any case
TARGETS = {"countdown": {"seconds_ratio": 0.35}, "smollm2": {"seconds_ratio": 0.8, "peak_ratio": 0.6}}
SIZES = {"countdown": (32, 8), "smollm2": (4, 4)}
STEPS = {"countdown": 5, "smollm2": 1}  # counted, a round


def settings(pair: str, name: str, precision: str, steps: int) -> ScopeConfig:
    P, G = SIZES[pair]
    changes = {"pair": pair, "precision": precision, "steps": steps, "device": "cpu", "seed": 0, **OURS[name]}
    sizes = {"prompts_per_step": P, "rollouts_per_prompt": G, "eval_problems": 0, "learning_rate": 1e-7}
    return build_config(None, {**changes, **sizes, "train_problems": 1_000})


class Meter:
    """Processor seconds and response tokens of each step, seconds of its stages, and memory."""

    def __init__(self):
        self.rows: list[dict] = []
        self.stages: dict[str, float] = {}
        self.tokens = 0
        self.start()

    def start(self) -> None:
        self.stages, self.tokens, self.started = {}, 0, (time.process_time(), time.perf_counter())

    def timed(self, stage: str, function):
        """The function, its seconds counted as a stage's."""

        def run(*arguments, **named):
            started = time.perf_counter()
            found = function(*arguments, **named)
            self.stages[stage] = self.stages.get(stage, 0.0) + time.perf_counter() - started
            return found

        return run

    def end(self) -> None:
        seconds, clock = time.process_time() - self.started[0], time.perf_counter() - self.started[1]
        stages = {**self.stages, "update": clock - sum(self.stages.values())}
        self.rows.append({"seconds": seconds, "clock": clock, "tokens": self.tokens, "stages": stages})
        self.start()


def run_ours(pair: str, name: str, precision: str, steps: int, meter: Meter) -> None:
    trainer = ScopeTrainer(settings(pair, name, precision, steps), progress=False)
    start_peak()
    for _ in range(steps):
        meter.start()
        metrics = trainer.train_step()
        meter.tokens = metrics["response_tokens"]
        for stage in ("generation", "verification", "teacher"):
            meter.stages[stage] = metrics[f"seconds_{stage}"]
        meter.end()


def run_theirs(pair: str, name: str, precision: str, steps: int, meter: Meter) -> None:
    import datasets
    import transformers
    import trl

    config, task = settings(pair, "scope", precision, steps), load_task(PAIRS[pair][2])
    problems, tokenizer = task.problems("train", 1_000, seed=0), load_tokenizer(PAIRS[pair][0])
    P, G = SIZES[pair]
    chat = tokenizer.chat_template is not None

    def prompt(problem):
        return [{"role": "user", "content": problem.prompt}] if chat else problem.prompt

    def reward(completions, number, **_):
        texts = [completion[0]["content"] if chat else completion for completion in completions]
        found = [task.verify(problems[i], text) for i, text in zip(number, texts, strict=True)]
        return [float(verification.verdict == Verdict.CORRECT) for verification in found]

    grouped, defaults = name.startswith("trl-grpo"), name.endswith("-defaults")
    sequences = trl.GRPOConfig.per_device_train_batch_size if defaults else P * G
    rows = [{"prompt": prompt(problems[i]), "number": i} for i in range(P * steps) for _ in range(1 if grouped else G)]
    bf16 = precision == "bf16"
    common = {
        "use_cpu": True, "bf16": bf16, "gradient_checkpointing": defaults, "report_to": [], "save_strategy": "no",
        "logging_strategy": "no", "disable_tqdm": True, "max_steps": steps, "per_device_train_batch_size": sequences,
        "gradient_accumulation_steps": P * G // sequences,
        "learning_rate": config.learning_rate, "lr_scheduler_type": "constant", "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm, "optim": "adamw_torch", "temperature": config.temperature,
        "max_completion_length": task.max_new_tokens, "shuffle_dataset": False,
    }  # fmt: skip

    class Clock(transformers.TrainerCallback):
        def on_step_begin(self, *arguments, **named):
            if not meter.rows:
                start_peak()

        def on_step_end(self, *arguments, **named):
            meter.end()

    with tempfile.TemporaryDirectory() as folder:
        student = load_model(PAIRS[pair][0], device="cpu", dtype="bfloat16" if bf16 and config.lora_rank else "float32")
        given = {"model": student, "processing_class": tokenizer, "train_dataset": datasets.Dataset.from_list(rows)}
        if config.lora_rank:
            import peft

            given["peft_config"] = peft.LoraConfig(
                r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
            )
        if grouped:
            arguments = trl.GRPOConfig(output_dir=folder, num_generations=G, **common)
            trainer = trl.GRPOTrainer(args=arguments, reward_funcs=reward, **given)
            trainer._calculate_rewards = meter.timed("verification", trainer._calculate_rewards)
        else:
            teacher = load_model(PAIRS[pair][1], device="cpu", dtype="bfloat16" if bf16 else "float32")
            arguments = trl.DistillationConfig(output_dir=folder, **common)
            trainer = trl.DistillationTrainer(args=arguments, teacher_model=teacher, **given)
            trainer._forward_redirection = by_model(trainer._forward_redirection, trainer, meter)
        generate = trainer._generate_single_turn

        def counted(*arguments, **named):
            found = generate(*arguments, **named)
            meter.tokens += sum(map(len, found[0] if grouped else found))
            return found

        trainer._generate_single_turn = meter.timed("generation", counted)
        trainer.add_callback(Clock())
        meter.start()
        trainer.train()


def by_model(redirect, trainer, meter: Meter):
    """The distillation trainer's way into its models, the teacher's share of it timed."""
    timed = meter.timed("teacher", redirect)
    return lambda model, *rest, **named: (timed if model is trainer.teacher_model else redirect)(model, *rest, **named)


def run_case(pair: str, name: str, precision: str) -> dict:
    """One process's share of a round."""
    meter = Meter()
    run = run_ours if name in OURS else run_theirs
    run(pair, name, precision, STEPS[pair] + 1, meter)
    return {"steps": meter.rows[1:], "peak_mb": round(peak_bytes() / 2**20)}


def summary(rounds: list[dict]) -> dict:
    """Medians over all steps of a contender."""
    steps = [step for found in rounds for step in found["steps"]]
    middle = statistics.median
    stages = {stage: round(middle(step["stages"].get(stage, 0.0) for step in steps), 3) for stage in steps[0]["stages"]}
    return {
        "seconds": round(middle(step["seconds"] for step in steps), 3),
        "clock_seconds": round(middle(step["clock"] for step in steps), 3),
        "response_tokens": round(middle(step["tokens"] for step in steps)),
        "seconds_per_1000_tokens": round(middle(1e3 * step["seconds"] / step["tokens"] for step in steps), 3),
        "clock_stages": stages,
        "peak_mb": middle(found["peak_mb"] for found in rounds),
        "steps": len(steps),
    }


def compare(pair: str, precision: str, rounds: int) -> dict:
    found: dict[str, list[dict]] = {name: [] for name in (*OURS, *THEIRS) if name not in SAME.get(pair, ())}
    load = [round(os.getloadavg()[0], 2)]
    for _ in range(rounds):
        for name, runs in found.items():
            # -P: this script's folder, where it has the name of the library that it measures, is not searched
            command = [sys.executable, "-P", __file__, "--case", pair, name, precision]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    contenders = {name: summary(runs) for name, runs in found.items()}
    ours, (P, G) = contenders["scope"], SIZES[pair]
    return {
        "pair": pair,
        "precision": precision,
        "prompts": P,
        "rollouts_per_prompt": G,
        "contenders": contenders,
        "scope_over": {
            name: {
                "seconds_ratio": round(ours["seconds_per_1000_tokens"] / theirs["seconds_per_1000_tokens"], 3),
                "peak_ratio": round(ours["peak_mb"] / theirs["peak_mb"], 3),
            }
            for name, theirs in contenders.items()
            if name != "scope"
        },
        "target_over_trl_grpo": TARGETS[pair],
        "load_before_and_after": [*load, round(os.getloadavg()[0], 2)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/bench/trl.json"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pairs", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--keep", action="store_true", help="what the file has of other pairs and precisions")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.case:
        print(json.dumps(run_case(*arguments.case)))
        return
    kept = json.loads(arguments.out.read_text())["results"] if arguments.keep else []
    results = {(found["pair"], found["precision"]): found for found in kept}
    for case in itertools.product(arguments.pairs, arguments.precisions):
        results[case] = compare(*case, arguments.rounds)
        print(json.dumps(results[case]), flush=True)
        result = {
            "what": "a training step, ours and TRL's, on a CPU, one thread, sampling with transformers",
            "trl": metadata.version("trl"),
            "results": [results[case] for case in sorted(results)],
            "hardware": describe(),
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
