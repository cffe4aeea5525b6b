"""What a GPU does of the work: rates, memory, streaming, and a real run that must agree with the CPU's.

`python tests/bench/gpu.py [--out data/bench/gpu.json]` takes at most eight minutes on one GPU of 80 GB and downloads
nothing: a student of Qwen3-1.7B's sizes and a teacher of Qwen3-8B's have random weights. `--tiny` runs the same lines
on a CPU in seconds, with sizes that measure nothing. Each part runs in a process of its own with a time limit: one that
fails is recorded as failed, and the others go on.

- matmul     FLOP/s of a square bfloat16 product: the rate that the others are compared with
- scoring    the teacher's log-probs of rollouts: tokens a second, share of that rate, peak memory
- update     forward, backward and AdamW of the student, float32 weights under bfloat16 autocast: the same
- compiled   the same with the student's layers compiled by torch
- streaming  seconds of a SCOPE step of the bundled pair, teacher beside the sampler or after it
- curve      eight SCOPE steps of the bundled pair in float32 from the same recorded rollouts, on this device and on the
             CPU: losses must agree to CURVE

Model FLOP utilisation is FLOP / (seconds · measured rate), where FLOP counts what a forward pass through the rows must
do (`Architecture.forward_flops`: 2 a weight and token, attention, logits of response tokens), three times for an
update. Work that is done twice (logits in the backward pass) and padding count for nothing.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from scope_lab.architectures import CONFIGS, Architecture, attended_pairs, count
from scope_lab.config import ScopeConfig
from scope_lab.hardware import describe, peak_bytes, start_peak
from scope_lab.methods import METHODS
from scope_lab.objective import Coefficients
from scope_lab.rollouts import Rollouts, Sampling
from scope_lab.settings import build_config
from scope_lab.tasks import Problem
from scope_lab.teachers import LocalTeacher
from scope_lab.update import Batch, update_policy

SECONDS = {"matmul": 30, "scoring": 90, "update": 90, "compiled": 120, "streaming": 75, "curve": 75}
TARGETS = {"update": 0.45, "scoring": 0.55}
CURVE = {"relative": 1e-3}
TINY = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16,
        "num_key_value_heads": 2, "vocab_size": 300}  # fmt: skip


def device_of(tiny: bool) -> str:
    return "cpu" if tiny else "cuda"


def random_model(name: str, tiny: bool, dtype: torch.dtype):
    """A model of that name's sizes with random weights, made where it is to be used, and its sizes."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**{**CONFIGS[name], **(TINY if tiny else {})})
    torch.manual_seed(0)
    with torch.device(device_of(tiny)):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model, count(name, config)


def random_rollouts(vocabulary: int, tiny: bool) -> Rollouts:
    """Eight rollouts of each of eight prompts, all of one length: what is measured is not padding."""
    P, G, width, T = (2, 2, 5, 7) if tiny else (8, 8, 128, 1024)
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(3, vocabulary, (P, width), generator=generator).tolist()
    return Rollouts(
        task="",
        problems=[Problem(str(i), "", "") for i in range(P)],
        group_B=torch.arange(P).repeat_interleave(G),
        tokens_BT=torch.randint(3, vocabulary, (P * G, T), generator=generator),
        mask_BT=torch.ones((P * G, T), dtype=torch.bool),
        responses=[""] * (P * G),
        finish_reason=["stop"] * (P * G),
        student_logp_BT=torch.full((P * G, T), -1.0),
        teacher_logp_BT=torch.full((P * G, T), -2.0),
        sampling=Sampling(temperature=0.6),
        prompt_tokens=prompts,
    )


def flops(model: Architecture, rollouts: Rollouts) -> float:
    """Of one forward pass through all rows."""
    T, width = rollouts.tokens_BT.shape[1], len(rollouts.prompt_tokens[0])
    return len(rollouts) * model.forward_flops(width + T, attended_pairs(0, width + T), T)


def wait(tiny: bool) -> None:
    if not tiny:
        torch.cuda.synchronize()


def fastest(run, tiny: bool, seconds: float = 20.0) -> float:
    """Seconds of the quickest of two or more runs after a first one, as many as fit."""
    run()
    best, end = float("inf"), time.perf_counter() + (0.0 if tiny else seconds)
    for done in range(20):
        wait(tiny)
        started = time.perf_counter()
        run()
        wait(tiny)
        best = min(best, time.perf_counter() - started)
        if done and time.perf_counter() > end:
            break
    return best


def matmul(tiny: bool) -> dict:
    n = 256 if tiny else 8192
    left, right = (torch.randn((n, n), device=device_of(tiny), dtype=torch.bfloat16) for _ in range(2))

    def several():
        for _ in range(10):
            left @ right

    return {"size": n, "flops_per_second": 10 * 2 * n**3 / fastest(several, tiny, 10.0)}


def rates(rollouts: Rollouts, work: float, seconds: float, tiny: bool) -> dict:
    tokens = len(rollouts) * (len(rollouts.prompt_tokens[0]) + rollouts.tokens_BT.shape[1])
    found = {"seconds": seconds, "tokens_per_second": tokens / seconds, "flops_per_second": work / seconds}
    return {**found, "peak_gib": peak_bytes(device_of(tiny)) / 2**30}


def scoring(tiny: bool) -> dict:
    model, sizes = random_model("qwen3-8b", tiny, torch.bfloat16)
    rollouts, teacher = random_rollouts(sizes.vocabulary, tiny), LocalTeacher(model.eval(), "random")
    start_peak(device_of(tiny))
    rows = torch.arange(len(rollouts))
    seconds = fastest(lambda: teacher.score(rollouts, rows, 0.6), tiny)
    return rates(rollouts, flops(sizes, rollouts), seconds, tiny)


def update(tiny: bool, compiled: bool = False) -> dict:
    from accelerate import Accelerator

    model, sizes = random_model("qwen3-1.7b", tiny, torch.float32)
    rollouts = random_rollouts(sizes.vocabulary, tiny)
    if compiled:
        for layer in model.get_decoder().layers:
            layer.compile()
    # No more than fits beside weights, gradients and moments without checkpointing activations.
    config = ScopeConfig(pair="countdown", tokens_per_microbatch=8_192).validate()
    accelerator = Accelerator(cpu=tiny, mixed_precision="bf16")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=not tiny)
    model, optimizer = accelerator.prepare(model, optimizer)
    share_B, right_B = torch.full((len(rollouts),), 0.01), torch.arange(len(rollouts)) % 2 == 0
    nothing_B = torch.zeros_like(share_B)
    reward_B, distill_B = share_B.where(right_B, nothing_B), share_B.where(~right_B, nothing_B)
    coefficients = Coefficients(reward_B, distill_B, share_B, torch.ones_like(share_B))
    batch = Batch(rollouts, coefficients, torch.ones_like(right_B))
    start_peak(device_of(tiny))
    found: list[dict] = []
    step = lambda: found.append(update_policy(model, optimizer, accelerator, config, METHODS["scope"], batch))  # noqa: E731
    seconds = fastest(step, tiny)
    assert all(each["skipped_updates"] == 0 for each in found)
    return {**rates(rollouts, 3 * flops(sizes, rollouts), seconds, tiny), "compiled": compiled}


def settings(tiny: bool, device: str, steps: int, **changes) -> ScopeConfig:
    P, G = (4, 4) if tiny else (64, 8)
    sizes = {"prompts_per_step": P, "rollouts_per_prompt": G, "eval_problems": 0, "train_problems": 500}
    return build_config(None, {"pair": "countdown", "steps": steps, "device": device, **sizes, **changes})


def streaming(tiny: bool) -> dict:
    from scope_lab import ScopeTrainer

    steps, found = (2 if tiny else 12), {}
    for way in ("synchronous", "streaming"):
        trainer = ScopeTrainer(settings(tiny, device_of(tiny), steps, pipeline=way), progress=False)
        found[f"{way}_seconds"] = min(metrics["seconds"] for metrics in trainer.train()[1:])
    return {**found, "ratio": found["streaming_seconds"] / found["synchronous_seconds"]}


def curve(tiny: bool) -> dict:
    """The same rollouts, step by step those of the CPU's run, updated on both devices."""
    from scope_lab import ScopeTrainer

    steps = 2 if tiny else 8
    ours, theirs = (
        ScopeTrainer(settings(tiny, device, steps, precision="fp32"), progress=False)
        for device in ("cpu", device_of(tiny))
    )
    losses: dict[str, list[float]] = {"cpu": [], "device": []}
    for _ in range(steps):
        losses["cpu"].append(ours.train_step()["loss"])
        batch = ours.last_batch
        for group in theirs.optimizer.param_groups:
            group["lr"] = theirs.config.learning_rate_at(ours.step - 1)
        found = update_policy(theirs.student, theirs.optimizer, theirs.accelerator, theirs.config, theirs.spec, batch)
        losses["device"].append(found["loss"])
    scale = max(abs(loss) for loss in losses["cpu"])
    worst = max(abs(a - b) for a, b in zip(*losses.values(), strict=True)) / scale
    return {"losses": losses, "worst_relative": worst, "agrees": worst < CURVE["relative"]}


PARTS = {
    "matmul": matmul,
    "scoring": scoring,
    "update": update,
    "compiled": lambda tiny: update(tiny, compiled=True),
    "streaming": streaming,
    "curve": curve,
}


def run_part(name: str, tiny: bool) -> dict:
    """A part in a process of its own: what it found, or why not."""
    command = [sys.executable, "-P", __file__, "--part", name, *(["--tiny"] if tiny else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS[name])
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {SECONDS[name]} seconds"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:500]}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/bench/gpu.json"))
    parser.add_argument("--tiny", action="store_true", help="on a CPU, in seconds: that every line runs")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](arguments.tiny)))
        return 0
    if not arguments.tiny and not torch.cuda.is_available():
        print("gpu.py: no CUDA device here; --tiny runs the same lines on a CPU")
        return 0
    results: dict[str, dict] = {}
    for name in arguments.parts:
        results[name] = run_part(name, arguments.tiny)
        rate = results.get("matmul", {}).get("flops_per_second")
        if rate and name != "matmul" and "flops_per_second" in results[name]:
            results[name]["utilisation"] = results[name]["flops_per_second"] / rate
        print(name, json.dumps(results[name]), flush=True)
        result = {
            "what": "rates of one GPU, random weights of Qwen3-1.7B's (student) and Qwen3-8B's (teacher) sizes",
            "tiny": arguments.tiny,
            "target_utilisation": TARGETS,
            "parts": results,
            "hardware": describe(),
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")  # after each part: a later one may be killed
    return 0


if __name__ == "__main__":
    sys.exit(main())
