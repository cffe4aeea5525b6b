"""Every method by name: SCOPE, its ablations, the reference code's settings, and the baselines."""

from dataclasses import dataclass
from typing import Literal

WeightScale = Literal["sum", "mean"]
Denominator = Literal["prompts", "rollouts", "tokens", "path-tokens"]
MleForm = Literal["ratio", "logp"]


@dataclass(frozen=True)
class Method:
    """What makes a method. A power of None leaves the path out, 0 makes its weights uniform.

    baseline        a method without weights, by the name of its advantage
    student_power   sign of the exponent on correct rollouts: +1 is Eq. 4, w ∝ PPL_student ** (+1/tau)
    teacher_power   the same on wrong rollouts: -1 is Eq. 5, w ∝ PPL_teacher ** (-1/tau)
    weight_scale    "sum": a path's weights sum to 1 (paper); "mean": they average 1 (reference code)
    denominator     what the sum over tokens is divided by, counted over the whole step, never over a micro-batch:
                    "prompts" (Eq. 6), "rollouts", "tokens" (all response tokens), or "path-tokens" (reference code:
                    correct rollouts by the tokens of correct ones, distillation by all response tokens; where wrong
                    rollouts carry a reward too, by the tokens of all that do)
    mle_form        "ratio": -rho on correct rollouts (Eq. 1); "logp": -log pi, whose gradient is the same at rho = 1
    same_temperature  False: the teacher's log-probs are taken at temperature 1 whatever the student's (reference code)
    asks_teacher      False: wrong rollouts' tokens get -w instead of -w times the teacher's log-ratio (a control)
    """

    summary: str
    baseline: Literal["opd", "grpo", "psr", "kd"] | None = None
    student_power: float | None = None
    teacher_power: float | None = None
    weight_scale: WeightScale = "sum"
    denominator: Denominator = "prompts"
    mle_form: MleForm = "ratio"
    same_temperature: bool = True
    asks_teacher: bool = True

    @property
    def weighted(self) -> bool:
        """Whether the method shares weights within a group, so that tau and weight_scale mean something."""
        return self.baseline is None

    @property
    def reads_verdicts(self) -> bool:
        """Whether it matters to a rollout's coefficient if it is correct."""
        return self.baseline not in ("opd", "kd")

    @property
    def reads_teacher(self) -> bool:
        """Whether advantages hold a log-ratio, so that a teacher must score rollouts."""
        return self.baseline == "opd" or (self.teacher_power is not None and self.asks_teacher)

    @property
    def rewards_wrong(self) -> bool:
        """Whether wrong rollouts carry a reward too: a negative one, or (kd) since no verdict is read."""
        return self.baseline in ("grpo", "kd") or not self.asks_teacher

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher is needed at all: to score, or (kd) to write the responses."""
        return self.reads_teacher or self.baseline == "kd"


METHODS = {
    "scope": Method("both paths weighted by perplexity (Eq. 6)", student_power=+1, teacher_power=-1),
    "scope-no-student-weight": Method("SCOPE, correct rollouts uniform", student_power=0, teacher_power=-1),
    "scope-no-teacher-weight": Method("SCOPE, wrong rollouts uniform", student_power=+1, teacher_power=0),
    "scope-no-weights": Method("SCOPE, both paths uniform: routing alone", student_power=0, teacher_power=0),
    "scope-reversed-student": Method("SCOPE, low student perplexity counts more", student_power=-1, teacher_power=-1),
    "scope-reversed-teacher": Method("SCOPE, high teacher perplexity counts more", student_power=+1, teacher_power=+1),
    "scope-reversed-both": Method("SCOPE, both exponents with the other sign", student_power=-1, teacher_power=+1),
    "scope-student-path": Method("SCOPE's correct path alone", student_power=+1, teacher_power=None),
    "scope-teacher-path": Method("SCOPE's wrong path alone", student_power=None, teacher_power=-1),
    "scope-fixed-negative": Method(
        "SCOPE, wrong rollouts pushed down alike: no teacher", student_power=+1, teacher_power=0, asks_teacher=False
    ),
    "reference": Method(
        "SCOPE as the authors' released scripts set it",
        student_power=-1,
        teacher_power=-1,
        weight_scale="mean",
        denominator="path-tokens",
        mle_form="logp",
        same_temperature=False,
    ),
    "opd": Method(
        "on-policy distillation: reverse KL to the teacher on every rollout",
        baseline="opd",
        denominator="rollouts",
    ),
    "grpo": Method(
        "group-relative policy optimisation: reward minus the group's mean",
        baseline="grpo",
        denominator="rollouts",
    ),
    "psr": Method(
        "positive-sample reinforcement: likelihood of correct rollouts",
        baseline="psr",
        denominator="rollouts",
    ),
    "kd": Method(
        "offline distillation: likelihood of the teacher's own samples", baseline="kd", denominator="rollouts"
    ),
}


def get_method(method: Method | str) -> Method:
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise ValueError(f"method: found {method!r}, accepted {', '.join(METHODS)}")
    return METHODS[method]


NAMES = {"base": "before training", "teacher": "the teacher", "opd-one": "OPD, G = 1", "reference": "released code"}


def method_name(method: str) -> str:
    """As figures and tables call it: "SCOPE", "SCOPE, no student weight", "before training"."""
    if method in NAMES:
        return NAMES[method]
    first, _, rest = method.partition("-")
    return f"{first.upper()}, {rest.replace('-', ' ')}" if rest else first.upper()
