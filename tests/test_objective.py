"""The paper's equations against hand-worked cases and a plain loop, and what must not matter."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from bench.weights import best_seconds
from hypothesis import given
from hypothesis import strategies as st

from scope_lab import effective_sample_size, group_weights, policy_loss, scope_advantages, solve_tau
from scope_lab.logprobs import sequence_nll
from scope_lab.methods import METHODS, get_method
from scope_lab.objective import grpo_advantages, rollout_coefficients, token_advantages

# What SPEC calls each method, written independently of the package: exponents of PPL_student on correct and of
# PPL_teacher on wrong rollouts. None: that path is left out.
EXPONENTS = {
    "scope": (+1, -1),
    "scope-no-student-weight": (0, -1),
    "scope-no-teacher-weight": (+1, 0),
    "scope-no-weights": (0, 0),
    "scope-reversed-student": (-1, -1),
    "scope-reversed-teacher": (+1, +1),
    "scope-reversed-both": (-1, +1),
    "scope-student-path": (+1, None),
    "scope-teacher-path": (None, -1),
}
CONTROL = "scope-fixed-negative"  # the one method whose wrong rollouts get a number instead of a log-ratio
BASELINES = ("opd", "grpo", "psr", "kd")
GARBAGE = (math.nan, math.inf, -math.inf, 1e30)
seeds = st.integers(0, 2**32 - 1)
taus = st.floats(0.25, 20)


def weights_of(ppl, power, tau=1.0, member=None, group=None):
    n = len(ppl)
    member = torch.ones(n, dtype=torch.bool) if member is None else torch.tensor(member)
    group = torch.zeros(n, dtype=torch.long) if group is None else torch.tensor(group)
    return group_weights(torch.tensor(ppl, dtype=torch.float64).log(), member, group, tau, power)


class Batch:
    """A random batch in float64: three groups, their labels far apart and interleaved; all three verdicts."""

    def __init__(self, seed: int, n_rollouts: int = 11, n_tokens: int = 6):
        rng = np.random.default_rng(seed)
        shape = (n_rollouts, n_tokens)
        self.group_B = torch.from_numpy(rng.choice([-7, 3, 1_000_003], n_rollouts))
        self.correct_B = torch.from_numpy(rng.random(n_rollouts) < 0.5)
        self.known_B = torch.from_numpy(rng.random(n_rollouts) < 0.85)
        self.mask_BT = torch.from_numpy(np.arange(n_tokens) < rng.integers(1, n_tokens + 1, (n_rollouts, 1)))
        self.old_BT = torch.from_numpy(-rng.exponential(1.0, shape))
        self.logp_BT = self.old_BT + torch.from_numpy(rng.normal(0, 0.3, shape))
        self.teacher_BT = torch.from_numpy(-rng.exponential(1.0, shape))

    def padded(self, extra: int, rng) -> "Batch":
        """The same rollouts with more padding, and garbage wherever no token stands."""
        other = Batch.__new__(Batch)
        other.group_B, other.correct_B, other.known_B = self.group_B, self.correct_B, self.known_B
        blank = torch.zeros(len(self.group_B), extra)
        other.mask_BT = torch.cat([self.mask_BT, blank.bool()], 1)
        for name in ("old_BT", "logp_BT", "teacher_BT"):
            values = torch.cat([getattr(self, name), blank.double()], 1)
            garbage = torch.from_numpy(rng.choice(GARBAGE, tuple(values.shape)))
            setattr(other, name, torch.where(other.mask_BT, values, garbage))
        return other

    def permuted(self, order) -> "Batch":
        other = Batch.__new__(Batch)
        other.__dict__ = {name: value[order] for name, value in self.__dict__.items()}
        return other

    def advantages(self, tau=1.0, method="scope"):
        return scope_advantages(
            self.old_BT,
            self.teacher_BT,
            self.mask_BT,
            self.correct_B,
            self.group_B,
            tau,
            known_B=self.known_B,
            method=method,
        )

    def loss(self, method="scope", tau=1.0, clip=None):
        """The package's loss and its gradient with respect to every log-probability."""
        logp_BT = self.logp_BT.clone().requires_grad_()
        coefficients = rollout_coefficients(
            method,
            sequence_nll(self.old_BT, self.mask_BT),
            sequence_nll(self.teacher_BT, self.mask_BT),
            self.correct_B,
            self.group_B,
            self.mask_BT.sum(-1),
            self.known_B,
            tau,
        )
        advantages_BT = token_advantages(
            coefficients.reward_B, coefficients.distill_B, logp_BT, self.teacher_BT, self.mask_BT
        )
        loss = policy_loss(logp_BT, self.old_BT, advantages_BT, self.mask_BT, clip=clip)
        (gradient_BT,) = torch.autograd.grad(loss, logp_BT)
        return loss.detach(), gradient_BT


def plain_loss(batch: Batch, method: str, tau=1.0, clip=None, denominator=None):
    """SPEC's equations one token at a time: loss and gradient. `denominator` overrides the mean over prompts."""
    logp_BT = batch.logp_BT.clone().requires_grad_()
    length = [int(row.sum()) for row in batch.mask_BT]
    rows = range(len(length))
    right = [bool(batch.correct_B[i]) and bool(batch.known_B[i]) for i in rows]
    wrong = [not batch.correct_B[i] and bool(batch.known_B[i]) for i in rows]
    prompts = sorted(set(batch.group_B.tolist()))

    def ppl(logp, i):
        return math.exp(-sum(float(logp[i, t]) for t in range(length[i])) / length[i])

    reward, distill = [0.0 for _ in rows], [0.0 for _ in rows]
    for x in prompts:
        group = [i for i in rows if int(batch.group_B[i]) == x]
        if method in EXPONENTS:
            paths = ((right, reward, batch.old_BT), (wrong, distill, batch.teacher_BT))
            for exponent, (member, share, logp) in zip(EXPONENTS[method], paths, strict=True):
                path = [i for i in group if member[i]]
                if exponent is not None:
                    total = sum(ppl(logp, j) ** (exponent / tau) for j in path)
                    for i in path:
                        share[i] = ppl(logp, i) ** (exponent / tau) / total
        for i in group:
            if method == "grpo":
                rewards = [float(right[j]) for j in group if batch.known_B[j]]
                if batch.known_B[i]:
                    std = float(np.std(rewards, ddof=1)) if len(rewards) > 1 else 0.0
                    reward[i] = (right[i] - sum(rewards) / len(rewards)) / (std + 1e-6)
            elif method == "opd":
                distill[i] = float(batch.known_B[i])  # here: whether it may be used at all
            elif method == "psr":
                reward[i] = float(right[i])
            elif method == "kd":
                reward[i] = float(batch.known_B[i])
    of = {
        "prompts": (len(prompts),) * 2,
        "rollouts": (len(length),) * 2,
        "tokens": (sum(length),) * 2,
        "path-tokens": (max(sum(length[i] for i in rows if right[i]), 1), sum(length)),
    }[denominator or ("prompts" if method in EXPONENTS else "rollouts")]
    loss = torch.zeros((), dtype=torch.float64)
    for i in rows:
        for t in range(length[i]):
            rho = torch.exp(logp_BT[i, t] - batch.old_BT[i, t])
            # L_MLE = -Σ ρ on correct, L_OPD = Σ ρ (log π_S - log π_T) on wrong: -ρ·A of either.
            advantage = reward[i] / of[0]
            if distill[i]:
                log_ratio = float(logp_BT[i, t].detach()) - float(batch.teacher_BT[i, t])
                advantage -= distill[i] / of[1] * log_ratio
            gain = rho * advantage
            if clip is not None:
                gain = torch.minimum(gain, torch.clamp(rho, 1 - clip, 1 + clip) * advantage)
            loss = loss - gain
    (gradient_BT,) = torch.autograd.grad(loss, logp_BT)
    return loss.detach(), gradient_BT


def assert_same(ours, plain, relative=1e-6):
    for a, b in zip(ours, plain, strict=True):
        assert torch.isfinite(a).all()
        assert (a - b).abs().max() <= relative * max(1.0, float(b.abs().max()))


# Weights


def test_figure_2_student_path():
    weights = weights_of([1.2, 2.6, 3.8], power=+1)
    assert [round(w, 3) for w in weights.tolist()] == [0.158, 0.342, 0.5]


def test_figure_2_teacher_path():
    weights = weights_of([4.5, 2.9, 1.7], power=-1)
    # The figure prints 0.510 for the last so that its three sum to 1; (1/1.7) / (1/4.5 + 1/2.9 + 1/1.7) is 0.5092.
    assert [round(w, 3) for w in weights.tolist()] == [0.192, 0.298, 0.509]
    assert weights.tolist() == pytest.approx([0.192, 0.298, 0.510], abs=1e-3)


@given(seed=seeds, tau=taus, power=st.sampled_from([+1, 0, -1]))
def test_weights_of_every_non_empty_path_are_positive_and_sum_to_one(seed, tau, power):
    batch = Batch(seed)
    nll_B = sequence_nll(batch.old_BT, batch.mask_BT)
    weights = group_weights(nll_B, batch.correct_B, batch.group_B, tau, power)
    assert weights.dtype == torch.float32
    assert (weights[~batch.correct_B] == 0).all()
    assert ((weights[batch.correct_B] > 0) & (weights[batch.correct_B] <= 1)).all()
    for label in batch.group_B[batch.correct_B].unique():
        assert weights[batch.group_B == label].sum().item() == pytest.approx(1, abs=1e-6)


@given(seed=seeds, tau=taus, power=st.sampled_from([+1, -1]), factor=st.floats(0.1, 10))
def test_scaling_every_perplexity_of_a_path_changes_no_weight(seed, tau, power, factor):
    batch = Batch(seed)
    nll_B = sequence_nll(batch.old_BT, batch.mask_BT)
    before = group_weights(nll_B, batch.correct_B, batch.group_B, tau, power)
    after = group_weights(nll_B + math.log(factor), batch.correct_B, batch.group_B, tau, power)
    torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-5)


@given(seed=seeds, tau=taus)
def test_order_of_rollouts_only_orders_the_results(seed, tau):
    batch = Batch(seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(batch.group_B)))
    torch.testing.assert_close(batch.permuted(order).advantages(tau), batch.advantages(tau)[order])
    loss, gradient_BT = batch.loss(tau=tau)
    assert_same(batch.permuted(order).loss(tau=tau), (loss, gradient_BT[order]), 1e-7)


@given(seed=seeds, tau=taus)
def test_names_of_groups_do_not_matter(seed, tau):
    batch = Batch(seed)
    renamed = batch.permuted(torch.arange(len(batch.group_B)))
    for names in ({-7: -13, 3: -99, 1_000_003: 2_000_007}, {-7: 4, 3: 0, 1_000_003: 9}):  # sorted; counted
        renamed.group_B = torch.tensor([names[int(label)] for label in batch.group_B])
        torch.testing.assert_close(renamed.advantages(tau), batch.advantages(tau))


@given(seed=seeds, extra=st.integers(0, 4), method=st.sampled_from([*EXPONENTS, *BASELINES]))
def test_padding_and_values_in_masked_slots_change_nothing(seed, extra, method):
    batch = Batch(seed)
    padded = batch.padded(extra, np.random.default_rng(seed))
    if method in EXPONENTS:
        advantages_BT = padded.advantages(method=method)
        n_tokens = batch.mask_BT.shape[1]
        torch.testing.assert_close(advantages_BT[:, :n_tokens], batch.advantages(method=method))
        assert (advantages_BT[~padded.mask_BT] == 0).all()
    loss, gradient_BT = batch.loss(method, clip=0.2)
    padded_loss, padded_gradient_BT = padded.loss(method, clip=0.2)
    assert (padded_gradient_BT[~padded.mask_BT] == 0).all()
    assert_same((padded_loss, padded_gradient_BT[:, : gradient_BT.shape[1]]), (loss, gradient_BT), 1e-7)


def test_values_of_rollouts_off_the_path_do_not_matter():
    batch = Batch(3)
    expected = batch.advantages()
    batch.teacher_BT[batch.correct_B] = math.nan
    batch.teacher_BT[~batch.known_B] = math.inf
    torch.testing.assert_close(batch.advantages(), expected)


@given(seed=seeds, bump=st.floats(0.01, 2), tau=taus)
def test_direction_student_perplexity_up_weight_up_teacher_perplexity_up_weight_down(seed, bump, tau):
    nll_B = torch.from_numpy(np.random.default_rng(seed).uniform(0.1, 2, 5))
    everyone, one_group = torch.ones(5, dtype=torch.bool), torch.zeros(5, dtype=torch.long)
    higher_B = nll_B + bump * torch.eye(5, dtype=torch.float64)[2]
    for power, sign in ((+1, +1), (-1, -1)):
        change = group_weights(higher_B, everyone, one_group, tau, power) - group_weights(
            nll_B, everyone, one_group, tau, power
        )
        assert sign * change[2] > 0
        assert (sign * change[[0, 1, 3, 4]] < 0).all()


@pytest.mark.parametrize("power", [+1, -1])
def test_infinite_tau_is_uniform_and_tau_near_zero_picks_one(power):
    ppl = [1.2, 2.6, 3.8, 3.7]
    assert weights_of(ppl, power, tau=math.inf).tolist() == [0.25] * 4
    assert weights_of(ppl, power, tau=1e9).tolist() == pytest.approx([0.25] * 4)
    favourite = 2 if power > 0 else 0
    assert weights_of(ppl, power, tau=1e-4).tolist() == [float(i == favourite) for i in range(4)]


def test_halving_tau_squares_the_odds():
    one, half = weights_of([1.5, 4.5], +1, tau=1.0), weights_of([1.5, 4.5], +1, tau=0.5)
    assert float(one[1] / one[0]) == pytest.approx(3, rel=1e-5)
    assert float(half[1] / half[0]) == pytest.approx(9, rel=1e-5)


@pytest.mark.parametrize("nll", [0.0, 1e-8, 3.0, 4000.0])
@pytest.mark.parametrize("tau", [1e-6, 1.0, math.inf])
@pytest.mark.parametrize("power", [+1, 0, -1])
def test_lone_member_weighs_exactly_one(nll, tau, power):
    member = torch.tensor([False, True, False])
    weights = group_weights(torch.tensor([math.nan, nll, math.inf]), member, torch.zeros(3), tau, power)
    assert weights.tolist() == [0, 1, 0]


def test_perplexities_too_large_for_floats_still_share_one_unit():
    weights = group_weights(torch.tensor([5000.0, 5001.0]), torch.tensor([True] * 2), torch.zeros(2), 1, +1)
    assert weights.tolist() == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])


def test_interleaved_groups_are_the_same_as_groups_apart():
    ppl, member = [1.2, 4.5, 2.6, 2.9, 3.8, 1.7], [True] * 6
    weights = weights_of(ppl, +1, member=member, group=[40, -2, 40, -2, 40, -2])
    assert weights[0::2].tolist() == weights_of([1.2, 2.6, 3.8], +1).tolist()
    assert weights[1::2].tolist() == weights_of([4.5, 2.9, 1.7], +1).tolist()


def test_weights_carry_no_gradient():
    nll_B = torch.tensor([0.5, 1.0], requires_grad=True)
    assert not group_weights(nll_B, torch.tensor([True, True]), torch.zeros(2), 1.0, +1).requires_grad


def test_no_rollouts_have_no_weights():
    empty = torch.zeros(0)
    assert group_weights(empty, empty.bool(), empty.long(), 1.0, +1).shape == (0,)


@pytest.mark.parametrize("tau", [0, -1.0, math.nan, -math.inf])
def test_tau_that_is_not_positive_is_refused(tau):
    with pytest.raises(ValueError, match="tau"):
        weights_of([1.0, 2.0], +1, tau=tau)
    with pytest.raises(ValueError, match="tau"):
        Batch(0).advantages(tau=tau)


def test_one_bad_tau_among_the_rollouts_is_refused():
    with pytest.raises(ValueError, match="tau"):
        weights_of([1.0, 2.0], +1, tau=torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("function", [group_weights, solve_tau])
def test_members_without_a_finite_value_are_refused(value, function):
    nll_B, group_B = torch.tensor([1.0, value]), torch.zeros(2)
    with pytest.raises(ValueError, match="nll_B"):
        function(nll_B, torch.tensor([True, True]), group_B, power=1, **_last(function))
    function(nll_B, torch.tensor([True, False]), group_B, power=1, **_last(function))


def _last(function):
    return {"tau": 1.0} if function is group_weights else {"ess_fraction": 0.5}


@pytest.mark.parametrize("shapes", [(3, 2, 2), (2, 3, 2), (2, 2, 3), ((2, 1), (2, 1), (2, 1)), ((), (), ())])
@pytest.mark.parametrize("function", [group_weights, solve_tau])
def test_shapes_that_differ_are_refused(shapes, function):
    nll, member, group = (torch.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"nll_B.*member_B.*group_B"):
        function(nll, member.bool(), group, power=1, **_last(function))


@pytest.mark.parametrize("short", ["student", "teacher", "mask", "correct", "group"])
def test_advantages_of_tensors_that_do_not_fit_are_refused(short):
    """Broadcasting would give every rollout the values of the first."""
    arguments = {
        "student": -torch.ones(3, 2),
        "teacher": -2 * torch.ones(3, 2),
        "mask": torch.ones(3, 2, dtype=torch.bool),
        "correct": torch.tensor([False, True, False]),
        "group": torch.zeros(3),
    }
    arguments[short] = arguments[short][:1]
    with pytest.raises(ValueError):
        scope_advantages(*arguments.values())


def test_teacher_that_could_not_be_reached_is_refused_not_turned_into_a_number():
    batch = Batch(0)
    wrong_B = ~batch.correct_B & batch.known_B
    batch.teacher_BT[wrong_B] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        batch.advantages()


def test_weights_of_many_groups_stay_vectorised():
    assert best_seconds(n_rollouts=65_536, n_groups=8_192, repeats=10) < 0.25


# Effective sample size and the tau that keeps it


def test_effective_sample_size_by_hand():
    weights = torch.tensor([0.5, 0.5, 1.0, 0.0, 0.0, 0.75, 0.25, 0.25, 0.25, 0.25, 0.25])
    group = torch.tensor([5, 5, 9, 9, 2, 7, 7, 8, 8, 8, 8])
    # in the order of the sorted labels 2, 5, 7, 8, 9
    assert effective_sample_size(weights, group).tolist() == pytest.approx([0, 2, 1.6, 4, 1])


def test_effective_sample_size_does_not_depend_on_the_scale():
    weights, group = torch.tensor([0.75, 0.25]), torch.zeros(2)
    assert effective_sample_size(2 * weights, group).item() == pytest.approx(1.6)


@given(seed=seeds, fraction=st.floats(0.3, 0.999), power=st.sampled_from([+1, -1]))
def test_solved_tau_keeps_the_wanted_effective_sample_size(seed, fraction, power):
    rng = np.random.default_rng(seed)
    group_B = torch.from_numpy(rng.permutation(np.repeat([4, -1, 90], [4, 7, 10])))
    member_B = torch.ones(21, dtype=torch.bool)
    nll_B = torch.from_numpy(rng.permutation(np.linspace(0.05, 3, 21)))
    tau_B = solve_tau(nll_B, member_B, group_B, power, fraction)
    weights_B = group_weights(nll_B, member_B, group_B, tau_B, power).double()
    for label, size in ((4, 4), (-1, 7), (90, 10)):
        rows = group_B == label
        assert tau_B[rows].unique().numel() == 1
        kept = 1 / (weights_B[rows] ** 2).sum().item()
        assert kept == pytest.approx(fraction * size, rel=1e-6)


def test_solved_tau_is_infinite_where_nothing_can_be_told_apart():
    nll_B = torch.tensor([1.0, 2.0, 2.0, 2.0, 5.0, 6.0])
    group_B = torch.tensor([0, 1, 1, 1, 2, 2])
    member_B = torch.tensor([True, True, True, True, False, False])
    for power in (+1, -1):
        assert solve_tau(nll_B, member_B, group_B, power, 0.5).tolist() == [math.inf] * 6
    members, one = torch.ones(6, dtype=torch.bool), torch.zeros(6)
    assert solve_tau(nll_B, members, one, 0, 0.5).tolist() == [math.inf] * 6
    assert solve_tau(nll_B, members, one, 1, 1.0).tolist() == [math.inf] * 6
    assert torch.isfinite(solve_tau(nll_B, members, one, 1, 0.5)).all()
    tau_B = solve_tau(nll_B, member_B, group_B, 1, 0.5)
    weights = group_weights(nll_B, member_B, group_B, tau_B, 1)
    assert weights.tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 0, 0])


def test_solved_tau_that_cannot_go_low_enough_gives_all_weight_to_the_best():
    nll_B, member_B, group_B = torch.tensor([1.0, 1.5]), torch.tensor([True, True]), torch.zeros(2)
    tau_B = solve_tau(nll_B, member_B, group_B, +1, 0.2)
    assert torch.isfinite(tau_B).all() and (tau_B > 0).all()
    assert group_weights(nll_B, member_B, group_B, tau_B, +1).tolist() == pytest.approx([0, 1], abs=1e-12)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, math.nan])
def test_fraction_outside_zero_to_one_is_refused(fraction):
    with pytest.raises(ValueError, match="ess_fraction"):
        solve_tau(torch.ones(2), torch.ones(2).bool(), torch.zeros(2), 1, fraction)


def test_tau_auto_solves_each_path_of_each_prompt():
    batch = Batch(1, n_rollouts=40)
    advantages_BT = batch.advantages(tau="auto")
    for label in batch.group_B.unique():
        right = (batch.group_B == label) & batch.correct_B & batch.known_B
        weights = advantages_BT[right, 0].double()
        assert weights.sum().item() == pytest.approx(1, abs=1e-6)
        assert 1 / (weights**2).sum().item() == pytest.approx(0.5 * int(right.sum()), rel=1e-5)


# Advantages


def test_advantages_by_hand():
    student = torch.tensor([[-0.2, -0.4], [-0.1, -0.1], [-1.0, math.nan], [-0.5, -0.5]])
    teacher = torch.tensor([[math.nan, math.nan], [math.nan, math.nan], [-0.3, math.nan], [-1.5, -0.5]])
    mask = torch.tensor([[True, True], [True, True], [True, False], [True, True]])
    advantages = scope_advantages(student, teacher, mask, torch.tensor([1, 1, 0, 0]), torch.zeros(4))
    right = math.exp(0.3) / (math.exp(0.3) + math.exp(0.1))
    wrong = math.exp(-0.3) / (math.exp(-0.3) + math.exp(-1.0))
    expected = [[right] * 2, [1 - right] * 2, [-wrong * (-1.0 + 0.3), 0], [-(1 - wrong) * (-0.5 + 1.5), 0]]
    torch.testing.assert_close(advantages, torch.tensor(expected))


@pytest.mark.parametrize(
    "correct, known, empty", [(True, True, "wrong"), (False, True, "right"), (True, False, "both")]
)
def test_group_with_an_empty_path(correct, known, empty):
    batch = Batch(4)
    batch.correct_B[:], batch.known_B[:] = correct, known
    advantages_BT = batch.advantages()
    assert torch.isfinite(advantages_BT).all()
    if empty == "both":
        assert (advantages_BT == 0).all()
    elif empty == "wrong":
        for label in batch.group_B.unique():
            assert advantages_BT[batch.group_B == label, 0].sum().item() == pytest.approx(1, abs=1e-6)
    else:
        log_ratio_BT = batch.old_BT - batch.teacher_BT
        assert (advantages_BT * log_ratio_BT)[batch.mask_BT].max() < 0
    assert_same(batch.loss(), plain_loss(batch, "scope"))


def test_teacher_equal_to_student_has_nothing_to_teach():
    batch = Batch(7)
    batch.teacher_BT = batch.old_BT.clone()
    wrong_B = ~batch.correct_B & batch.known_B
    assert wrong_B.any()
    assert (batch.advantages()[wrong_B] == 0).all()


def test_advantages_carry_no_gradient():
    batch = Batch(2)
    batch.old_BT.requires_grad_(), batch.teacher_BT.requires_grad_()
    assert not batch.advantages().requires_grad


@pytest.mark.parametrize("method", BASELINES)
def test_scope_advantages_refuses_methods_without_weights(method):
    with pytest.raises(ValueError, match="method"):
        Batch(0).advantages(method=method)


def test_unknown_method_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"method: found 'skope', accepted .*scope.*grpo"):
        get_method("skope")


def test_grpo_by_hand():
    correct, known = torch.tensor([1, 0, 0, 0, 1, 1, 1, 0]), torch.tensor([1, 1, 1, 1, 1, 1, 1, 0])
    group = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    # mean 1/4, sample standard deviation 1/2; all correct; one with a verdict
    expected = [1.5, -0.5, -0.5, -0.5, 0, 0, 0, 0]
    assert grpo_advantages(correct, known, group).tolist() == pytest.approx(expected, abs=1e-5)


# Loss and gradient against SPEC's equations, token by token


@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize("method", [*EXPONENTS, *BASELINES])
def test_loss_and_gradient_are_those_of_the_plain_loop(method, clip):
    for seed in range(4):
        batch = Batch(seed)
        assert_same(batch.loss(method, tau=0.7, clip=clip), plain_loss(batch, method, tau=0.7, clip=clip))


def test_clip_is_felt_in_these_cases():
    clipped, free = Batch(0).loss(clip=0.2), Batch(0).loss()
    assert (clipped[1] != free[1]).any()


@pytest.mark.parametrize("denominator", ["prompts", "rollouts", "tokens", "path-tokens"])
def test_every_denominator_counts_over_the_whole_step(denominator):
    for seed in range(3):
        batch = Batch(seed)
        method = replace(METHODS["scope"], denominator=denominator)
        assert_same(batch.loss(method), plain_loss(batch, "scope", denominator=denominator))


@pytest.mark.parametrize("name", [CONTROL, "kd", "grpo"])
def test_path_tokens_are_those_of_every_rollout_that_carries_a_reward(name):
    lengths, correct = [100, 50, 25, 25], [False, False, True, False]
    method = replace(METHODS[name], denominator="path-tokens")
    ppl = [2.0] * 4
    by_tokens = reference_coefficients(ppl, ppl, correct, lengths, method)
    by_rollouts = reference_coefficients(ppl, ppl, correct, lengths, replace(method, denominator="rollouts"))
    assert by_tokens.reward_B[0] != 0
    torch.testing.assert_close(by_tokens.reward_B, by_rollouts.reward_B * 4 / 200)


def test_equation_6_is_a_mean_over_prompts_of_sums_over_paths():
    batch = Batch(5)
    loss, gradient_BT = batch.loss()
    parts = []
    for label in batch.group_B.unique():
        rows = torch.nonzero(batch.group_B == label)[:, 0]
        part, part_gradient_BT = batch.permuted(rows).loss()
        parts.append(part)
        torch.testing.assert_close(gradient_BT[rows], part_gradient_BT / 3)
    assert len(parts) == 3
    torch.testing.assert_close(loss, sum(parts) / 3)


def test_every_method_of_the_paper_is_there_and_no_other_weighting():
    assert METHODS.keys() == {*EXPONENTS, *BASELINES, CONTROL, "reference"}
    for name in EXPONENTS:
        assert METHODS[name].weighted and METHODS[name].same_temperature
        assert METHODS[name].weight_scale == "sum" and METHODS[name].mle_form == "ratio"


def test_the_control_without_a_teacher_pushes_every_wrong_token_down_by_its_share():
    for seed in range(4):
        batch = Batch(seed)
        batch.teacher_BT = torch.full_like(batch.teacher_BT, math.nan)  # nobody is asked
        found_BT = batch.advantages(method=CONTROL)
        wrong_B = batch.known_B & ~batch.correct_B
        for label in batch.group_B.unique():
            rows = wrong_B & (batch.group_B == label)
            tokens_BT = rows[:, None] & batch.mask_BT
            torch.testing.assert_close(
                found_BT[tokens_BT], torch.full_like(found_BT[tokens_BT], -1 / max(rows.sum(), 1))
            )
        kept_BT = (batch.correct_B & batch.known_B)[:, None] & batch.mask_BT
        torch.testing.assert_close(found_BT[kept_BT], Batch(seed).advantages()[kept_BT])
        assert (found_BT[~kept_BT & ~(wrong_B[:, None] & batch.mask_BT)] == 0).all()
    assert not METHODS[CONTROL].needs_teacher


def test_an_infinite_tau_is_the_ablation_without_weights():
    batch = Batch(7)
    assert torch.equal(batch.advantages(tau=math.inf), batch.advantages(method="scope-no-weights"))


def test_denominator_divides_the_loss():
    batch = Batch(6)
    whole = policy_loss(batch.logp_BT, batch.old_BT, batch.advantages(), batch.mask_BT)
    tenth = policy_loss(batch.logp_BT, batch.old_BT, batch.advantages(), batch.mask_BT, denominator=10)
    torch.testing.assert_close(tenth * 10, whole)


def test_without_old_logprobs_the_gradient_is_the_policy_gradient():
    batch = Batch(8)
    logp_BT = batch.logp_BT.clone().requires_grad_()
    advantages_BT = batch.advantages()
    policy_loss(logp_BT, None, advantages_BT, batch.mask_BT).backward()
    torch.testing.assert_close(logp_BT.grad, -advantages_BT)


def test_clip_is_inert_at_one_update_a_batch():
    batch = Batch(9)
    batch.logp_BT = batch.old_BT
    assert_same(batch.loss(clip=0.2), batch.loss(), 0)


@pytest.mark.parametrize(
    "advantage, logp, clipped", [(1, 0.5, True), (1, -0.5, False), (-1, -0.5, True), (-1, 0.5, False)]
)
def test_clip_stops_only_steps_away_from_the_old_policy(advantage, logp, clipped):
    logp_BT = torch.tensor([[logp]], requires_grad=True)
    mask_BT = torch.ones(1, 1, dtype=torch.bool)
    policy_loss(logp_BT, torch.zeros(1, 1), torch.tensor([[float(advantage)]]), mask_BT, clip=0.2).backward()
    assert (logp_BT.grad.item() == 0) == clipped


# The `reference` preset: each departure of the released code


def reference_coefficients(ppl_student, ppl_teacher, correct, length=None, method="reference"):
    correct_B = torch.tensor(correct)
    length_B = torch.ones(len(correct), dtype=torch.long) if length is None else torch.tensor(length)
    nlls = [torch.tensor(ppl, dtype=torch.float64).log() for ppl in (ppl_student, ppl_teacher)]
    return rollout_coefficients(method, *nlls, correct_B, torch.zeros(len(correct)).long(), length_B)


def test_reference_weights_average_one_over_a_path():
    correct = [True, True, True, False, False]
    ppl = [1.2, 2.6, 3.8, 4.5, 2.9]
    weights = reference_coefficients(ppl, ppl, correct).weights_B
    paper = reference_coefficients(ppl, ppl, correct, method="scope-reversed-student").weights_B
    assert weights[:3].mean().item() == pytest.approx(1) and weights[3:].mean().item() == pytest.approx(1)
    torch.testing.assert_close(weights, paper * torch.tensor([3.0, 3, 3, 2, 2]))
    assert reference_coefficients([2.0], [2.0], [True]).weights_B.item() == 1


def test_reference_student_sign_is_the_reverse_of_equation_4():
    weights = reference_coefficients([1.2, 2.6, 3.8], [1.0] * 3, [True] * 3).weights_B
    assert weights[0] > weights[1] > weights[2]


def test_reference_teacher_sign_is_equation_5():
    weights = reference_coefficients([1.0] * 3, [1.2, 2.6, 3.8], [False] * 3).weights_B
    assert weights[0] > weights[1] > weights[2]


def test_reference_balance_of_the_paths_moves_with_accuracy():
    length, correct = [3, 5, 4, 8], [True, True, False, False]
    same = reference_coefficients([2.0] * 4, [2.0] * 4, correct, length)
    length_B = torch.tensor(length)
    likelihood, distillation = (same.reward_B * length_B).sum(), (same.distill_B * length_B).sum()
    c = 8 / 20
    assert (distillation / likelihood).item() == pytest.approx(1 - c)
    assert likelihood.item() == pytest.approx(1)


def test_reference_takes_logarithms_and_teacher_logprobs_at_temperature_one():
    reference = METHODS["reference"]
    assert reference.mle_form == "logp" and reference.same_temperature is False
    assert reference.denominator == "path-tokens"


def test_log_form_has_the_gradient_of_the_ratio_at_the_sampling_policy_only():
    batch = Batch(12)
    advantages_BT = batch.advantages()

    def gradient(logp_BT, log_form_B):
        logp_BT = logp_BT.clone().requires_grad_()
        policy_loss(logp_BT, batch.old_BT, advantages_BT, batch.mask_BT, log_form_B=log_form_B).backward()
        return logp_BT.grad

    right_B = batch.correct_B & batch.known_B
    torch.testing.assert_close(gradient(batch.old_BT, right_B), gradient(batch.old_BT, None))
    moved, moved_ratio = gradient(batch.logp_BT, right_B), gradient(batch.logp_BT, None)
    torch.testing.assert_close(moved[right_B], -advantages_BT[right_B])
    torch.testing.assert_close(moved[~right_B], moved_ratio[~right_B])
    assert not torch.allclose(moved, moved_ratio)


# Gradients of a policy


def linear_policy_logp(theta_CV, tokens_BT):
    """Log-probabilities of tokens under a softmax policy whose context is the previous token."""
    before_BT = torch.cat([torch.zeros_like(tokens_BT[:, :1]), tokens_BT[:, :-1]], 1)
    return torch.log_softmax(theta_CV[before_BT], -1).gather(-1, tokens_BT[..., None]).squeeze(-1)


@given(seed=seeds, tau=taus, correct=st.booleans())
def test_path_gradient_is_no_longer_than_its_longest_rollout_gradient(seed, tau, correct):
    """Eq. 22: the path's gradient is a convex combination of the gradients of its rollouts."""
    rng = np.random.default_rng(seed)
    theta = torch.from_numpy(rng.normal(size=(5, 5))).requires_grad_()
    teacher_theta = torch.from_numpy(rng.normal(size=(5, 5)))
    tokens_BT = torch.from_numpy(rng.integers(0, 5, (6, 4)))
    mask_BT = torch.from_numpy(np.arange(4) < rng.integers(1, 5, (6, 1)))
    teacher_BT = linear_policy_logp(teacher_theta, tokens_BT)

    def gradient(rows):
        logp_BT = linear_policy_logp(theta, tokens_BT[rows])
        correct_B, group_B = torch.full((len(rows),), correct), torch.zeros(len(rows))
        advantages_BT = scope_advantages(logp_BT.detach(), teacher_BT[rows], mask_BT[rows], correct_B, group_B, tau)
        return torch.autograd.grad(policy_loss(logp_BT, None, advantages_BT, mask_BT[rows]), theta)[0]

    path, alone = gradient(torch.arange(6)), [gradient(torch.tensor([i])) for i in range(6)]
    assert path.norm() <= max(g.norm() for g in alone) * (1 + 1e-6)
    assert path.norm() > 0


def test_sampled_distillation_gradient_averages_to_that_of_the_reverse_kl():
    """Every token enumerated with its probability: no sampling noise is left."""
    generator = torch.Generator().manual_seed(0)
    logits_V = torch.randn(7, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher_V = torch.log_softmax(torch.randn(7, generator=generator, dtype=torch.float64), -1)
    logp_V = torch.log_softmax(logits_V, -1)
    reverse_kl = (logp_V.exp() * (logp_V - teacher_V)).sum()
    forward_kl = (teacher_V.exp() * (teacher_V - logp_V)).sum()
    exact, other_way = (torch.autograd.grad(kl, logits_V, retain_graph=True)[0] for kl in (reverse_kl, forward_kl))
    mask_BT, wrong_B = torch.ones(1, 1, dtype=torch.bool), torch.tensor([False])
    expected = torch.zeros_like(exact)
    for token in range(7):
        logp_BT = torch.log_softmax(logits_V, -1)[token].reshape(1, 1)
        advantages_BT = scope_advantages(
            logp_BT.detach(), teacher_V[token].reshape(1, 1), mask_BT, wrong_B, torch.zeros(1)
        )
        (gradient,) = torch.autograd.grad(policy_loss(logp_BT, None, advantages_BT, mask_BT), logits_V)
        expected += logp_V[token].exp().detach() * gradient
    torch.testing.assert_close(expected, exact, atol=1e-12, rtol=1e-10)
    assert not torch.allclose(expected, other_way, atol=1e-2)
