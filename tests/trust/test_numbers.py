"""No wrong number trains anything: what is not finite is left out, counted and kept; extremes are exact."""

import copy
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scope_lab import ScopeTrainer, group_weights, policy_loss, scope_advantages, solve_tau
from scope_lab.cli import main
from scope_lab.errors import RunStopped
from scope_lab.models import Pair, load_pair
from scope_lab.objective import rollout_coefficients
from scope_lab.settings import build_config
from scope_lab.tasks import Verdict, Verification, load_task
from scope_lab.teachers import LocalTeacher

BAD = [math.nan, math.inf, -math.inf]


# Weights and losses

nlls = st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=8)
taus = st.one_of(st.floats(-8, 8).map(lambda exponent: 10.0**exponent), st.just(math.inf))


@given(nlls, st.data(), taus, st.sampled_from([+1, -1, 0]))
def test_weights_share_one_unit_at_any_tau_and_perplexity(nll, data, tau, power):
    """τ down to 1e-8 and perplexities up to e^1,000,000: shares may underflow to 0, never to NaN."""
    member = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(nll), max_size=len(nll))))
    weights = group_weights(torch.tensor(nll), member, torch.zeros(len(nll), dtype=torch.long), tau, power)
    assert weights.isfinite().all() and (weights >= 0).all() and (weights[~member] == 0).all()
    assert weights.sum().item() == pytest.approx(1.0 if member.any() else 0.0, abs=1e-5)


@given(nlls, taus)
def test_a_small_tau_gives_all_to_the_extreme_one(nll, tau):
    """The heaviest rollout is the most surprising one on the student's path, the surest one on the teacher's."""
    nll_B, everyone, group_B = torch.tensor(nll), torch.ones(len(nll), dtype=torch.bool), torch.zeros(len(nll)).long()
    student = group_weights(nll_B, everyone, group_B, tau, +1)
    teacher = group_weights(nll_B, everyone, group_B, tau, -1)
    assert student[nll_B.argmax()] == student.max() and teacher[nll_B.argmin()] == teacher.max()


@given(nlls, st.floats(0.01, 1.0), st.sampled_from([+1, -1]))
def test_tau_is_found_for_any_perplexities(nll, fraction, power):
    everyone, group_B = torch.ones(len(nll), dtype=torch.bool), torch.zeros(len(nll)).long()
    tau = solve_tau(torch.tensor(nll), everyone, group_B, power, fraction)
    assert (tau > 0).all()
    assert group_weights(torch.tensor(nll), everyone, group_B, tau, power).isfinite().all()


@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 2**31 - 1),
    taus,
    st.sampled_from(["scope", "reference", "scope-reversed-both", "scope-fixed-negative"]),
)
def test_loss_and_gradient_are_finite_whatever_the_verdicts(P, G, T, seed, tau, method):
    """Groups of any mix, of one, of none with a verdict; responses of one token; masked slots full of NaN."""
    rng = torch.Generator().manual_seed(seed)
    B = P * G
    mask_BT = torch.arange(T)[None] < torch.randint(1, T + 1, (B, 1), generator=rng)
    student_BT = -torch.rand((B, T), generator=rng) * 50
    teacher_BT = -torch.rand((B, T), generator=rng) * 50
    correct_B, known_B = torch.rand((2, B), generator=rng) < torch.rand((2, 1), generator=rng)
    teacher_BT[correct_B | ~known_B] = math.nan
    student_BT, teacher_BT = student_BT.where(mask_BT, math.nan), teacher_BT.where(mask_BT, math.inf)
    group_B = torch.arange(P).repeat_interleave(G)
    advantages_BT = scope_advantages(
        student_BT, teacher_BT, mask_BT, correct_B, group_B, tau, known_B=known_B, method=method
    )
    assert advantages_BT.isfinite().all() and (advantages_BT[~known_B] == 0).all()
    logp_BT = student_BT.clone().requires_grad_()
    policy_loss(logp_BT, None, advantages_BT, mask_BT, denominator=P).backward()
    assert logp_BT.grad.isfinite().all() and (logp_BT.grad[~mask_BT] == 0).all()


@pytest.mark.parametrize("bad", BAD)
def test_a_weight_is_never_made_of_a_number_that_is_none(bad):
    nll_B, correct_B, group_B = torch.tensor([1.0, bad]), torch.tensor([True, True]), torch.tensor([0, 0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        rollout_coefficients("scope", nll_B, torch.zeros(2), correct_B, group_B, torch.ones(2))


# Whole steps


@pytest.fixture(scope="module")
def pair():
    return load_pair("countdown", device="cpu")


class Judge:
    """Countdown's problems, and verdicts by the place of a response in its group."""

    name, max_new_tokens = "judge", 24

    def __init__(self, verdicts: str):
        self.verdicts, self.task, self.asked = verdicts, load_task("countdown"), 0

    def problems(self, split, n=None, seed=0):
        return self.task.problems(split, n, seed)

    def verify(self, problem, response):
        verdict = {"c": Verdict.CORRECT, "w": Verdict.INCORRECT, "u": Verdict.UNKNOWN}
        self.asked += 1
        return Verification(verdict[self.verdicts[self.asked % len(self.verdicts)]], "by rule", response)


def trainer(pair, task=None, teacher=None, **settings) -> ScopeTrainer:
    own = Pair(
        copy.deepcopy(pair.student), pair.teacher, pair.tokenizer, "countdown-student", "countdown-teacher", "countdown"
    )
    small = {"pair": "countdown", "steps": 1, "prompts_per_step": 2, "rollouts_per_prompt": 4, "train_problems": 8}
    return ScopeTrainer(
        build_config(None, {**small, "eval_problems": 0, **settings}),
        pair=own,
        task=task,
        teacher=teacher,
        progress=False,
    )


def state(run: ScopeTrainer) -> dict:
    """Weights and optimizer state, as they are now."""
    held = {name: p.detach().clone() for name, p in run.unwrapped.named_parameters()}
    for i, entries in run.optimizer.state_dict()["state"].items():
        held |= {(i, name): torch.as_tensor(value).clone() for name, value in entries.items()}
    return held


def same(ours: dict, theirs: dict) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


SITUATIONS = {
    "all correct": ("c", {"truncated": "unknown"}),
    "all wrong": ("w", {}),
    "all unknown": ("u", {"truncated": "unknown"}),
    "mixed with unknown": ("cwu", {}),
    "one token each, truncated": ("c", {"max_new_tokens": 1}),
    "truncated is unknown": ("c", {"max_new_tokens": 1, "truncated": "unknown"}),
    "groups of one": ("cw", {"rollouts_per_prompt": 1}),
    "tau 1e-3": ("cw", {"tau": 1e-3}),
    "tau 1e-8": ("cw", {"tau": 1e-8}),
    "tau infinite": ("cw", {"tau": math.inf}),
    "tau auto": ("cw", {"tau": "auto"}),
}
# Where a method has nothing to learn from, so that weights and optimizer must stay as they are.
SILENT = {
    "all correct": {"grpo"},
    "all wrong": {"grpo"},
    "all unknown": {"scope", "reference", "grpo"},
    "groups of one": {"grpo"},
    "one token each, truncated": {"grpo"},
    "truncated is unknown": {"scope", "reference", "grpo"},
}


WITH_TAU, WITHOUT = ("scope", "reference"), ("opd", "grpo")
CASES = [
    (situation, method)
    for situation, (_, settings) in SITUATIONS.items()
    for method in (WITH_TAU if "tau" in settings else WITH_TAU + WITHOUT)
]


@pytest.mark.parametrize(("situation", "method"), CASES)
def test_a_step_of_degenerate_groups(situation, method, pair, faults):
    verdicts, settings = SITUATIONS[situation]
    run = trainer(pair, Judge(verdicts), method=method, **settings)
    before = state(run)
    with faults("degenerate batch: " + situation) as fault:
        metrics = run.train()[-1]
        numbers = [value for value in metrics.values() if isinstance(value, float)]
        weights = [p for p in run.unwrapped.parameters()]
        fault.wrong_numbers = sum(not math.isfinite(x) for x in numbers) + sum(not p.isfinite().all() for p in weights)
        assert fault.wrong_numbers == 0 and metrics["skipped_updates"] == 0
        assert same(before, state(run)) == (method in SILENT.get(situation, ()))


class BrokenTeacher(LocalTeacher):
    """Answers some rollouts with one value on one token."""

    def __init__(self, model, value: float, every: int = 2):
        super().__init__(model, "broken")
        self.value, self.every = value, every

    def score(self, rollouts, rows, temperature):
        logp = super().score(rollouts, rows, temperature)
        logp[:: self.every, 0] = self.value
        return logp


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("method", ["scope", "opd"])
def test_a_teachers_number_that_is_none_is_dropped(method, value, pair, faults):
    run = trainer(pair, Judge("w"), BrokenTeacher(pair.teacher, value), method=method, teacher_failure_limit=1.0)
    with faults("teacher's log-prob: NaN or infinite", injected=4) as fault:
        metrics = run.train_step()
        used_B = run.last_batch.coefficients.distill_B != 0
        fault.wrong_numbers = int((used_B & ~run.last_batch.rollouts.teacher_nll_B.isfinite()).sum())
        assert fault.wrong_numbers == 0 and used_B.sum() == 4 and metrics["skipped_updates"] == 0


def poison(run: ScopeTrainer, steps: set[int], value: float) -> None:
    """From the hidden states of some steps on, the student computes with a value that is no number; only in updates."""

    def hook(module, inputs, output):
        if run.step in steps and torch.is_grad_enabled():
            return output * value

    run.unwrapped.get_input_embeddings().register_forward_hook(hook)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2}, {"updates_per_batch": 2}])
def test_a_loss_that_is_no_number_changes_neither_weights_nor_optimizer(settings, value, pair, faults):
    run = trainer(pair, steps=3, **settings)
    poison(run, {1}, value)
    run.train_step()
    before = state(run)
    with faults("loss or gradient: NaN or infinite") as fault:
        metrics = run.train_step()
        assert metrics["skipped_updates"] == run.config.updates_per_batch and metrics["loss"] is None
        fault.wrong_numbers = int(not same(before, state(run)))
        assert fault.wrong_numbers == 0
        assert all(p.grad is None or not p.grad.any() for p in run.unwrapped.parameters())
        assert run.train_step()["skipped_updates"] == 0 and not same(before, state(run))


def test_a_gradient_that_overflows_is_left_out_too(pair, faults):
    """The loss is a number, its gradient is none: a teacher that is far too sure of itself, 1e38 nats."""
    run = trainer(pair, Judge("w"), BrokenTeacher(pair.teacher, -3e38, every=1))
    before = state(run)
    with faults("loss or gradient: NaN or infinite") as fault:
        assert run.train_step()["skipped_updates"] == 1
        fault.wrong_numbers = int(not same(before, state(run)))
        assert fault.wrong_numbers == 0


def test_a_skipped_batch_is_kept_and_inspect_says_which_rows_hold_what(pair, faults, tmp_path, capsys):
    out = tmp_path / "run"
    run = trainer(pair, steps=9, out=str(out), skipped_limit=7, checkpoint_every=0)
    poison(run, set(range(1, 9)), math.nan)
    with faults("loss or gradient: NaN or infinite", injected=7):
        with pytest.raises(RunStopped, match="skipped_limit: loss or gradient was not finite in 7 steps in a row"):
            run.train()
        assert (out / "checkpoints/step-000008/state.json").is_file()
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert [line["skipped_updates"] for line in lines] == [0] + [1] * 7
        kept = sorted(path.name for path in (out / "skipped").glob("*.parquet"))
        assert kept == [f"step-{step:06d}.parquet" for step in range(2, 7)]  # the first five
        assert json.loads((out / "skipped/step-000002.json").read_text())["step"] == 2
    assert main(["inspect", str(out / "skipped/step-000002.parquet")]) == 0
    assert "look: every log-prob is finite" in capsys.readouterr().out


def test_inspect_finds_the_rows_of_each_kind_of_bad_number(tmp_path, capsys, rollouts, tokenizer):
    broken = copy.deepcopy(rollouts)
    broken.student_logp_BT[3, 0], broken.student_logp_BT[5, 0], broken.student_logp_BT[7, 0] = math.nan, -math.inf, 2.0
    file = tmp_path / "broken.parquet"
    broken.save(file, tokenizer)
    frame = pd.read_parquet(file)
    frame["update_logp"] = [
        np.full(len(ids), math.nan if i in (1, 2) else -1.0) for i, ids in enumerate(frame.token_ids)
    ]
    frame.to_parquet(file)
    assert main(["inspect", str(file)]) == 0
    said = capsys.readouterr().out
    for line in (
        "1 rows have log-probs that are NaN (the student's, when sampling): 3",
        "1 rows have log-probs that are infinite (the student's, when sampling): 5",
        "1 rows have log-probs that are above 0 (the student's, when sampling): 7",
        "2 rows have log-probs that are NaN (the student's, in the update): 1, 2",
    ):
        assert f"look: {line}" in said
    good = tmp_path / "good.parquet"
    rollouts.save(good, tokenizer)
    assert main(["inspect", str(good)]) == 0 and "look:" not in capsys.readouterr().out


def test_a_student_that_computes_no_number_cannot_sample(pair, faults):
    run = trainer(pair)
    run.unwrapped.get_input_embeddings().register_forward_hook(lambda *a: a[2] * math.nan)
    with faults("logits: NaN when sampling"), pytest.raises(RunStopped, match="logits are not finite"):
        run.train()
