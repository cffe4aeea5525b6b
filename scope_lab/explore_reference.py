"""What each departure of the authors' released code does to one real step: weights, gradient direction, gradient size.

The gradient of a step is linear in the two coefficients of each rollout (objective.py). So every rollout's gradient is
taken once, and any combination of departures, at any tau, is then a weighted sum of them: its length and its angle to
the paper's gradient need only the inner products.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .engines.transformers import sample
from .explore import Path, paths, percent, weigh
from .logprobs import response_logprobs, sequence_nll
from .methods import METHODS, Method
from .objective import Coefficients, policy_loss, rollout_coefficients, token_advantages
from .rollouts import Rollouts, Sampling
from .teachers import Teacher


@dataclass(frozen=True)
class Departure:
    """One way in which the released code differs from the paper, as fields of `Method`."""

    paper: str
    code: str
    change: dict


# The released scripts and the released configuration file differ in the teacher's sign: "teacher sign" is the latter's.
DEPARTURES = {
    "student sign": Departure("rare correct rollouts count more", "common ones do", {"student_power": -1.0}),
    "teacher sign": Departure(
        "wrong rollouts that the teacher expects count more", "others do", {"teacher_power": 1.0}
    ),
    "mean-one weights": Departure("a path's weights sum to 1", "they average 1", {"weight_scale": "mean"}),
    "denominators": Departure(
        "tokens are summed, prompts counted",
        "means over tokens: of correct rollouts, of all",
        {"denominator": "path-tokens"},
    ),
    "log form": Departure("−ρ on correct rollouts", "−log π", {"mle_form": "logp"}),
    "temperature": Departure("both models at one temperature", "the teacher at 1", {"same_temperature": False}),
}
SCRIPTS = tuple(name for name in DEPARTURES if name != "teacher sign")  # what the method `reference` combines


def departed(names: Iterable[str]) -> Method:
    """SCOPE with some departures."""
    changes = {field: value for name in names for field, value in DEPARTURES[name].change.items()}
    return replace(METHODS["scope"], **changes)


def real_step(model, tokenizer, task, problems: Sequence, n: int, teacher: Teacher, temperature: float, seed: int):
    """Sampled and verified rollouts, scored by the teacher at the sampling temperature; and its log-probs at 1."""
    sampling = Sampling(temperature, max_new_tokens=task.max_new_tokens, seed=seed)
    rollouts = sample(model, tokenizer, problems, n, sampling, task=task.name)
    rollouts.verify(task)
    everyone = torch.arange(len(rollouts))
    rollouts.teacher_logp_BT = teacher.score(rollouts, everyone, temperature)
    return rollouts, teacher.score(rollouts, everyone, 1.0)


class Step:
    """One real step under every combination of departures.

    rollouts            verified, wrong ones scored by the teacher at the sampling temperature
    teacher_at_1_BT     (B, T) nats, the teacher's log-probs at temperature 1
    inner_KK            inner products of rollouts' gradients in the student's parameters: of Σ_t log π for each correct
                        one, of -Σ_t r_t log π for each wrong one, r the detached log-ratio, at either temperature
    """

    def __init__(self, model, rollouts: Rollouts, teacher_at_1_BT: Tensor):
        self.rollouts, self.teacher_at_1_BT = rollouts, teacher_at_1_BT
        self.right = rollouts.correct_B.nonzero().squeeze(1)
        self.wrong = (rollouts.known_B & ~rollouts.correct_B).nonzero().squeeze(1)
        gradients_KN = self._gradients(model)
        self.inner_KK = (gradients_KN @ gradients_KN.T).double().numpy()
        self._compared: dict = {}

    def _gradients(self, model) -> Tensor:
        """(correct + 2 · wrong, N): one backward pass a row."""
        rows: list[tuple[int, Tensor | None]] = [(int(row), None) for row in self.right]
        rows += [(int(row), logp_BT) for logp_BT in self.teachers for row in self.wrong]
        gradients = []
        for row, teacher_logp_BT in rows:
            distill = torch.tensor([float(teacher_logp_BT is not None)])
            gradients.append(-loss_gradient(model, self.rollouts, [row], 1 - distill, distill, teacher_logp_BT))
        return torch.stack(gradients)

    @property
    def teachers(self) -> tuple[Tensor, Tensor]:
        return self.rollouts.teacher_logp_BT, self.teacher_at_1_BT

    def coefficients(self, method: Method, tau: float) -> Coefficients:
        teacher_logp_BT = self.teachers[0 if method.same_temperature else 1]
        rollouts = self.rollouts
        return rollout_coefficients(
            method,
            rollouts.student_nll_B,
            sequence_nll(teacher_logp_BT, rollouts.mask_BT),
            rollouts.correct_B,
            rollouts.group_B,
            rollouts.length_B,
            rollouts.known_B,
            tau,
        )

    def coordinates(self, method: Method, tau: float) -> np.ndarray:
        """The step's gradient, of what is maximised, as a weighted sum of rollouts' gradients: the weights, (K,)."""
        found = self.coefficients(method, tau)
        distill = found.distill_B[self.wrong]
        both = (distill, 0 * distill) if method.same_temperature else (0 * distill, distill)
        return torch.cat([found.reward_B[self.right], *both]).double().numpy()

    def inner(self, a_K: np.ndarray, b_K: np.ndarray) -> float:
        return float(a_K @ self.inner_KK @ b_K)

    def compare(self, names: Iterable[str], tau: float = 1.0) -> dict[str, float]:
        """Of the step with these departures: see `effects`."""
        key = frozenset(names), tau
        if key not in self._compared:
            self._compared[key] = self._compare(departed(names), tau)
        return self._compared[key]

    def _compare(self, method: Method, tau: float) -> dict[str, float]:
        found_K, paper_K = self.coordinates(method, tau), self.coordinates(METHODS["scope"], tau)
        length, of_paper = (self.inner(v, v) ** 0.5 for v in (found_K, paper_K))
        correct = np.arange(len(found_K)) < len(self.right)
        pushes = [self.inner(part, part) ** 0.5 for part in (found_K * correct, found_K * ~correct)]
        kept = [weigh(path, tau).kept_P for path in self.paths(method)]
        return {
            "cosine": self.inner(found_K, paper_K) / (length * of_paper),
            "length": length / of_paper,
            "correct share": pushes[0] / sum(pushes),
            **{
                f"{name} path kept": float(np.nanmedian(k))
                for name, k in zip(("student", "teacher"), kept, strict=True)
            },
        }

    def paths(self, method: Method) -> tuple[Path, Path]:
        """Both paths with the method's exponents and the teacher's perplexity at its temperature."""
        teacher_nll_B = sequence_nll(self.teachers[0 if method.same_temperature else 1], self.rollouts.mask_BT)
        student, teacher = paths(self.rollouts)
        return (
            replace(student, power=method.student_power or 0.0),
            replace(teacher, power=method.teacher_power or 0.0, nll_B=teacher_nll_B),
        )

    def shares(self, names: Iterable[str], group: int, tau: float = 1.0) -> list[np.ndarray]:
        """Both paths' shares of a prompt's weight, rollouts from low to high perplexity as the paper computes it."""
        shares = [weigh(path, tau).weights_B for path in self.paths(departed(names))]
        return [w[path.members(group)] for w, path in zip(shares, self.paths(METHODS["scope"]), strict=True)]


def loss_gradient(model, rollouts: Rollouts, rows: Sequence[int], reward, distill, teacher_logp_BT=None) -> Tensor:
    """Gradient of -Σ A·ρ of some rollouts in all parameters, flat, (N,): a real backward pass of the package's loss.

    reward, distill  (len(rows),) the coefficients of objective.py; teacher_logp_BT is read where distill is not 0
    """
    inputs = rollouts.model_input(rows)
    T = inputs.n_response
    logp_BT = response_logprobs(model, inputs.tokens_BL, inputs.attention_BL, T, rollouts.sampling.scored_at)
    teacher_BT = torch.zeros_like(logp_BT) if teacher_logp_BT is None else teacher_logp_BT[list(rows), :T]
    advantages_BT = token_advantages(reward, distill, logp_BT, teacher_BT, inputs.mask_BT)
    loss = policy_loss(logp_BT, None, advantages_BT, inputs.mask_BT)
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


def effects(step: Step, tau: float = 1.0) -> pd.DataFrame:
    """A row a departure, alone and together, against the paper's gradient of the same step.

    cosine              of the angle between both gradients: 1 is the same direction
    length              of the gradient, as a multiple of the paper's; an optimizer like Adam hardly sees it
    correct share       the student path's gradient norm in the sum of both paths' norms
    student, teacher path kept   effective sample size as a fraction of the path, median over prompts
    """
    sets = {"paper": ()} | {name: (name,) for name in DEPARTURES} | {"released scripts": SCRIPTS}
    return pd.DataFrame({name: step.compare(names, tau) for name, names in sets.items()}).T


def words(step: Step, names: Sequence[str], group: int, tau: float = 1.0) -> str:
    """A combination of departures in one paragraph."""
    found = step.compare(names, tau)
    said = " and ".join(names) if names else "no departure, the paper's equation"
    largest = [f"{percent(w.max())} on the {name} path" if len(w) else f"none on the {name} path"
               for name, w in zip(("student", "teacher"), step.shares(names, group, tau), strict=True)]  # fmt: skip
    return (
        f"τ = {tau:g}, {said}. Gradient of the step: cosine {found['cosine']:.3f} to the paper's, "
        f"{found['length']:.3g} times as long; correct rollouts make {percent(found['correct share'])} of its push. "
        f"Largest share of prompt {step.rollouts.problems[group].prompt} {', '.join(largest)}."
    )


def failed_calls(step: Step, every: int = 20, tau: float = 1.0) -> pd.DataFrame:
    """What the released code does with a failed teacher call: it reads log-prob 0 on every token.

    Every so many wrong rollouts' calls fail. A row for those rollouts and for the others: how many there are, their
    mean weight over an equal share, and their mean advantage a token (above 0: the wrong answer is reinforced).
    """
    rollouts = step.rollouts
    failed = step.wrong[::every]
    teacher_logp_BT = rollouts.teacher_logp_BT.clone()
    teacher_logp_BT[failed] = 0.0
    broken = replace(rollouts, teacher_logp_BT=teacher_logp_BT)
    path = paths(broken)[1]
    relative_B = weigh(path, tau).weights_B * path.size_P[path.group_B.numpy()]
    ratio_BT = (rollouts.student_logp_BT - teacher_logp_BT).where(rollouts.mask_BT, 0.0)
    advantage_B = (-torch.tensor(relative_B) * ratio_BT.sum(-1) / rollouts.length_B).numpy()
    is_failed = np.isin(np.arange(len(rollouts)), failed.numpy())
    is_wrong = path.member_B.numpy()
    rows = {"call failed": is_failed, "call answered": is_wrong & ~is_failed}
    return pd.DataFrame(
        {
            name: {
                "rollouts": int(mask.sum()),
                "weight / equal share": relative_B[mask].mean(),
                "advantage per token": advantage_B[mask].mean(),
            }
            for name, mask in rows.items()
        }
    ).T


def packing_spread(lengths, rows_per_batch: int, n_packings: int = 1000, seed: int = 0) -> np.ndarray:
    """The factor on the first rollout's loss under random packings, over that of one global token mean, (n_packings,).

    Each micro-batch takes the mean over its own tokens, and the micro-batches' means are averaged.
    """
    lengths, rng = np.asarray(lengths), np.random.default_rng(seed)
    factors = []
    for _ in range(n_packings):
        order = rng.permutation(len(lengths))
        batches = [order[i : i + rows_per_batch] for i in range(0, len(order), rows_per_batch)]
        mine = next(batch for batch in batches if 0 in batch)
        factors.append(lengths.sum() / (len(batches) * lengths[mine].sum()))
    return np.array(factors)
