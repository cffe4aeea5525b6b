"""The cost model beside what was measured: steps taken here, and the paper's Table 8 for lengths that you name."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from .architectures import architecture
from .config import ScopeConfig
from .cost import (
    PAPER_METHODS,
    UTILISATION,
    Setup,
    Work,
    forward_flops,
    generation_seconds,
    needed_teacher,
    scoring_seconds,
    step_seconds,
    update_seconds,
)
from .devices import Device, device
from .errors import InputError
from .estimate import setup_from, work_from
from .paper import TABLE_8

STAGES = ("generation", "verification", "teacher", "update", "total")
# Of Table 8: its columns with their rollouts a prompt, and the stages that are arithmetic.
PAPER_ROLLOUTS = {"grpo": 8, "opd": 1, "scope": 8}
COMPARED = ("generation", "old log-prob", "actor update", "teacher scoring")
PAPER_MODELS = ("r1-distill-qwen-1.5b", "r1-distill-qwen-7b")  # Skywork-OR1-7B is built like the latter


def median_stages(steps: pd.DataFrame) -> pd.Series:
    """Median seconds of each of STAGES over the steps of a run: `steps` has its metrics, a row a step."""
    return pd.Series({stage: steps[f"seconds_{stage}".removesuffix("_total")].median() for stage in STAGES})


def predicted_stages(config: ScopeConfig, steps: pd.DataFrame, on: Device) -> pd.Series:
    """The model's seconds of each of STAGES for the same steps, from their settings, mean lengths and verdicts.

    on  the device as it was when they were taken
    Verification is not predicted: it is what was measured.
    """
    mean = steps.mean(numeric_only=True)
    work = work_from(
        config,
        response_tokens=mean["mean_length"],
        wrong=1 - mean["reward"],
        mixed=mean["groups_mixed"] / config.prompts_per_step,
        verify_seconds=steps["seconds_verification"].median() / mean["rollouts"],
    )
    return pd.Series(step_seconds(setup_from(config, on), work))


def bench_stages(file: str | Path) -> pd.DataFrame:
    """Median seconds of each stage as the bench of steps (tests/bench/overhead.py) took them, in turn, in one process:
    a row a method, columns STAGES without their total."""
    steps = json.loads(Path(file).read_text())["steps_in_stages"]
    return pd.DataFrame({method: found["stages"] for method, found in steps.items()}).T[list(STAGES[:-1])]


@dataclass(frozen=True)
class PaperRun:
    """What Table 8 leaves open, for the caller to name: lengths, and how many GPUs of which kind.

    What it does not: R1-Distill-Qwen-1.5B taught by Skywork-OR1-7B, 256 prompts × 8 rollouts (OPD: × 1), vLLM for
    sampling, gradient checkpointing, and a teacher that scores every rollout.
    """

    response_tokens: float
    prompt_tokens: float = 150
    longest: float = 12_288
    on: str = "a100-80"
    training_gpus: int = 16
    teacher_gpus: int = 4

    @property
    def setup(self) -> Setup:
        """Of one GPU; vLLM takes all rollouts at once."""
        student, teacher = (architecture(name) for name in PAPER_MODELS)
        setup = Setup(student, teacher, device(self.on), gradient_checkpointing=True, teacher_at="elsewhere")
        return replace(setup, sequences_per_batch=2048, engine="vllm")

    def work(self, method: str, gpus: int) -> Work:
        """One GPU's share of a step."""
        if 256 % gpus:
            raise InputError(f"gpus: found {gpus}, accepted a divisor of 256 prompts")
        lengths = {name: getattr(self, name) for name in ("prompt_tokens", "response_tokens", "longest")}
        return Work("opd", 256 // gpus, PAPER_ROLLOUTS[method], **lengths)

    def seconds(self, method: str) -> dict[str, float]:
        """The model's, for the stages of COMPARED."""
        setup, trained, taught = self.setup, self.work(method, self.training_gpus), self.work(method, self.teacher_gpus)
        reading = forward_flops(setup.student, trained, trained.rollouts)
        return {
            "generation": generation_seconds(setup, trained),
            "old log-prob": reading / (UTILISATION["scoring"] * setup.device.flops),
            "actor update": update_seconds(setup, trained),
            "teacher scoring": 0.0 if method == "grpo" else scoring_seconds(setup, taught),
        }


def table_8(run: PaperRun) -> pd.DataFrame:
    """The paper's seconds and the model's: a row a stage of COMPARED, columns (method, "paper" or "model")."""
    columns = {}
    for place, method in enumerate(PAPER_ROLLOUTS):
        columns[method, "paper"] = {stage: TABLE_8[stage][place] for stage in COMPARED}
        columns[method, "model"] = run.seconds(method)
    return pd.DataFrame(columns)


def implied(run: PaperRun) -> pd.Series:
    """What Table 8 says about the machines, if responses have these lengths.

    GRPO (for the teacher: SCOPE) and OPD differ by 1,792 rollouts, so each stage's seconds split into a part that they
    cost and a part that is there without them:  b = (T_8 - T_1) / 1792,  a = T_1 - 256 b.

    "update, share of peak", …        FLOP of a rollout / (b · GPUs · peak FLOP/s)
    "decode step, ms"                 a / longest: generation's fixed part, which waits for the longest response
    "decode step by bandwidth, ms"    bytes of the student's weights / bandwidth: what reading them once takes
    "generation that is fixed"        a / T_8
    """
    setup, one = run.setup, replace(run.work("opd", 256), rollouts_per_prompt=1)
    grpo, opd, scope = range(len(PAPER_METHODS))

    def extra(stage: str, method: int) -> float:
        return (TABLE_8[stage][method] - TABLE_8[stage][opd]) / (2048 - 256)

    student, teacher = (forward_flops(model, one, 1) for model in (setup.student, needed_teacher(setup)))
    old, update = extra("old log-prob", grpo), extra("actor update", grpo)
    fixed = TABLE_8["generation"][opd] - 256 * extra("generation", grpo)
    trained, taught = (gpus * setup.device.flops for gpus in (run.training_gpus, run.teacher_gpus))
    weights = setup.weight_traffic * (setup.student.active + setup.student.head)
    return pd.Series(
        {
            "old log-prob, share of peak": student / (old * trained),
            "update, share of peak": 4 * student / (update * trained),
            "teacher, share of peak": teacher / (extra("teacher scoring", scope) * taught),
            "update / old log-prob": update / old,
            "decode step, ms": 1e3 * fixed / run.longest,
            "decode step by bandwidth, ms": 1e3 * weights / setup.device.bandwidth,
            "generation that is fixed": fixed / TABLE_8["generation"][grpo],
        }
    )
