"""Every widget of the lessons with real data, and the keys that move it through states it has and has not shown."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Press:
    """One key on one control: the n-th slider, or the check box or button of that name."""

    control: str
    role: str
    which: int | str
    key: str


def slider(control: str, which: int, steps: int) -> list[Press]:
    """So many steps to the right, and back to where it was."""
    return [Press(control, "slider", which, key) for key in ["ArrowRight"] * steps + ["ArrowLeft"] * steps]


def boxes(control: str, names: list[str]) -> list[Press]:
    """Toggle check boxes one after the other, and back in reverse, so that each state is seen twice."""
    return [Press(control, "checkbox", name, "Space") for name in [*names, *reversed(names)]]


def buttons(control: str, names: list[str]) -> list[Press]:
    """From the first, which is chosen, through the others and back."""
    return [Press(control, "button", name, "Enter") for name in [*names[1:], *reversed(names[:-1])]]


def turns(times: int, outer: Press, inner: list[Press]) -> list[Press]:
    """All of `inner`, then `outer` once, and again."""
    return [press for _ in range(times) for press in (*inner, outer)]


@dataclass(frozen=True)
class Case:
    """A widget: on what it works, the code of a cell that ends with it, and the keys that move it."""

    data: str
    code: str
    presses: list[Press]


RECORDED = """\
from scope_lab.rollouts import Rollouts
from scope_lab.models import DATA
file = DATA / "rollouts" / "countdown.parquet"
"""
RUNS = """\
from scope_lab.evaluation import Evaluation
from scope_lab.models import DATA
runs = {m: DATA / "runs" / "countdown" / f"{m}-seed0" / "evaluations" for m in ("psr", "grpo", "kd", "opd", "scope")}
evaluations = [Evaluation.load(runs["psr"] / "step-000000.json")]
evaluations += [Evaluation.load(max(folder.glob("step-*.json"))) for folder in runs.values()]
"""
STEP = """\
from scope_lab.explore_reference import Step, real_step
from scope_lab.models import load_pair
from scope_lab.tasks import load_task
from scope_lab.teachers import LocalTeacher
pair, task = load_pair("countdown", device="cpu"), load_task("countdown")
teacher, problems = LocalTeacher(pair.teacher, "countdown-teacher"), task.problems("train", 12, seed=3)
sampled = real_step(pair.student, pair.tokenizer, task, problems, 16, teacher, temperature=0.6, seed=0)
"""
NOISE = (
    RECORDED
    + """\
from scope_lab.models import load_model, load_tokenizer
from scope_lab.verdict_noise import NoisyVerdicts
student, tokenizer = load_model("countdown-student", device="cpu"), load_tokenizer("countdown-student")
rollouts = Rollouts.load(file, tokenizer).select([i for i in range(12 * 32) if i % 32 < 8])
"""
)
# One entry a widget. Sliders are counted from 0 in the order of the page.
CASES = {
    "TauExplorer": Case(
        "2,000 recorded rollouts, 32 a prompt",
        RECORDED + "from scope_lab.widgets import TauExplorer\nTauExplorer(Rollouts.load(file).select(range(2000)))",
        # From τ = 1 through all larger values.
        slider("prompt", 1, 22) + turns(8, Press("prompt", "slider", 1, "ArrowRight"), slider("τ", 0, 13)),
    ),
    "RolloutBrowser": Case(
        "2,000 recorded rollouts, 8 a prompt",
        RECORDED + "from scope_lab.explore_routing import Recording\nfrom scope_lab.widgets import RolloutBrowser\n"
        "every = Recording.load(file, rollouts_per_prompt=8)\n"
        "RolloutBrowser(Recording(every.rollouts.select(range(2000)), every.tokens[:2000]))",
        slider("prompt", 0, 22)
        + 22 * [Press("prompt", "slider", 0, "ArrowRight")]
        + turns(
            8,
            Press("prompt", "slider", 0, "ArrowRight"),
            slider("rollout", 1, 6) + buttons("colour", ["difference", "student's log-prob", "teacher's log-prob"]),
        )
        + 3 * buttons("kind", ["mixed", "all wrong"]),
    ),
    "PassAtKExplorer": Case(
        "six evaluations of 500 problems with 32 samples each",
        RUNS + "from scope_lab.widgets import PassAtKExplorer\nPassAtKExplorer(evaluations)",
        buttons("difficulty", ["all", "easy", "medium", "hard"])
        + [
            press
            for name in ("PSR", "GRPO", "KD", "OPD", "SCOPE", "PSR", "GRPO", "KD")
            for press in (
                *boxes("methods", [name]),
                Press("methods", "checkbox", name, "Space"),
                *slider("k", 0, 5),
                *buttons("difficulty", ["all", "easy", "medium", "hard"]),
            )
        ],
    ),
    "RunExplorer": Case(
        "metrics of five recorded runs of 200 steps",
        "from scope_lab.diversity import recorded_runs\nfrom scope_lab.models import DATA\n"
        "from scope_lab.widgets import RunExplorer\nRunExplorer(recorded_runs(DATA / 'runs'))",
        slider("window", 0, 24)
        + buttons("metric", ["reward", "entropy", "reverse_kl", "mean_length", "grad_norm"])
        + [
            press
            for name in ("PSR", "GRPO", "KD", "OPD")
            for press in (
                *boxes("methods", [name]),
                Press("methods", "checkbox", name, "Space"),
                *slider("window", 0, 4),
                *buttons("metric", ["reward", "entropy", "reverse_kl", "mean_length", "grad_norm"]),
            )
        ],
    ),
    "DeparturePanel": Case(
        "one step of 192 rollouts, 16 a prompt, with every rollout's gradient",
        STEP + "from scope_lab.widgets import DeparturePanel\nDeparturePanel(Step(pair.student, *sampled))",
        boxes("switches", ["student sign", "teacher sign", "mean-one weights", "denominators"])
        + [
            press
            for name in ("student sign", "teacher sign", "mean-one weights", "denominators", "log form", "temperature")
            for press in (Press("switches", "checkbox", name, "Space"), *slider("τ", 0, 1), *slider("prompt", 1, 7))
        ],
    ),
    "CostCalculator": Case(
        "a step of 256 rollouts",
        "from scope_lab.widgets import CostCalculator\nCostCalculator()",
        [
            press
            for device in ("a100-80", "a100-40", "rtx-4090", "l4", "laptop")
            for press in (Press("device", "button", device, "Enter"), *slider("longest", 1, 3), *slider("wrong", 2, 4))
        ],
    ),
    "VerifierPanel": Case(
        "one step of 96 rollouts, 8 a prompt, with every rollout's gradient on either path",
        NOISE + "from scope_lab.widgets import VerifierPanel\nVerifierPanel(NoisyVerdicts(student, rollouts))",
        turns(3, Press("false positives", "slider", 1, "ArrowRight"), slider("false negatives", 0, 3)),
    ),
}
