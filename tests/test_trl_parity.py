"""Our loss and gradient beside those of TRL's GRPOTrainer, on the same real rollouts with the same advantages."""

import copy

import pytest
import torch

from scope_lab import policy_loss, scope_advantages
from scope_lab.logprobs import response_logprobs
from scope_lab.objective import grpo_advantages

TEMPERATURE, CLIP = 0.7, 0.2


@pytest.fixture(scope="module")
def batch(rollouts):
    """Every other rollout: wrong and right ones, of all six prompts."""
    return rollouts.select(range(0, len(rollouts), 2))


@pytest.fixture(scope="module")
def theirs(student, tokenizer, batch, tmp_path_factory):
    """A GRPOTrainer around a copy of the student, as `train` would leave it before its first backward pass."""
    trl = pytest.importorskip("trl")  # here, so that no other test waits for it
    datasets = pytest.importorskip("datasets")
    trainer = trl.GRPOTrainer(
        model=copy.deepcopy(student),
        reward_funcs=lambda completions, **columns: [0.0] * len(completions),
        processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list([{"prompt": problem.prompt} for problem in batch.problems]),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path_factory.mktemp("trl")),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            num_generations=4,
            per_device_train_batch_size=len(batch),
            max_completion_length=batch.tokens_BT.shape[1],
            temperature=TEMPERATURE,
            epsilon=CLIP,
            beta=0.0,
        ),
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def gradient(model, loss) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def of_trl(trainer, batch, advantages, loss_type, old_logp_BT) -> tuple[float, torch.Tensor]:
    trainer.loss_type = loss_type
    inputs = batch.model_input(range(len(batch)))
    width = inputs.tokens_BL.shape[1] - inputs.n_response
    given = {
        "prompt_ids": inputs.tokens_BL[:, :width],
        "prompt_mask": inputs.attention_BL[:, :width].long(),
        "completion_ids": inputs.tokens_BL[:, width:],
        "completion_mask": inputs.mask_BT.long(),
        "advantages": advantages,
        "old_per_token_logps": old_logp_BT,
        "num_items_in_batch": inputs.mask_BT.sum(),
    }
    loss = trainer._compute_loss(trainer.model, given)
    return loss.item(), gradient(trainer.model, loss)


def of_ours(student, batch, advantages_BT, denominator, old_logp_BT) -> tuple[float, torch.Tensor]:
    model = copy.deepcopy(student).train()
    inputs = batch.model_input(range(len(batch)))
    logp_BT = response_logprobs(model, inputs.tokens_BL, inputs.attention_BL, inputs.n_response, TEMPERATURE)
    loss = policy_loss(logp_BT, old_logp_BT, advantages_BT, inputs.mask_BT, clip=CLIP, denominator=denominator)
    return loss.item(), gradient(model, loss)


def advantages_of(method, student_logp_BT, mask_BT, batch) -> torch.Tensor:
    """(B, T) of SCOPE beside a made-up teacher, or (B,) of GRPO."""
    if method == "grpo":
        return grpo_advantages(batch.correct_B, batch.known_B, batch.group_B)
    noise_BT = torch.randn(student_logp_BT.shape, generator=torch.Generator().manual_seed(0))
    teacher_logp_BT = student_logp_BT + 0.5 * noise_BT
    return scope_advantages(student_logp_BT, teacher_logp_BT, mask_BT, batch.correct_B, batch.group_B)


@pytest.mark.parametrize("off_policy", [False, True], ids=["on-policy", "off-policy, clipped"])
@pytest.mark.parametrize("loss_type", ["dr_grpo", "bnpo", "dapo", "grpo"])
@pytest.mark.parametrize("method", ["scope", "grpo"])
def test_loss_and_gradient_are_trls(student, theirs, batch, method, loss_type, off_policy):
    now = batch.model_input(range(len(batch)))
    with torch.no_grad():
        logp_BT = response_logprobs(student, now.tokens_BL, now.attention_BL, now.n_response, TEMPERATURE)
    mask_BT, T, old_logp_BT = now.mask_BT, now.n_response, None
    if off_policy:  # as after an update that moved every log-prob, many of them past the clip
        old_logp_BT = logp_BT + 0.3 * torch.randn(logp_BT.shape, generator=torch.Generator().manual_seed(1))
        ratio_BT = (logp_BT - old_logp_BT).exp()
        assert ((ratio_BT - 1).abs() > CLIP)[mask_BT].float().mean() > 0.2
    advantages = advantages_of(method, logp_BT, mask_BT, batch)
    # What TRL divides by: B · its longest completion; all response tokens; each response's own tokens, then B.
    ours_BT = advantages if advantages.dim() == 2 else advantages[:, None].expand(-1, T)
    denominator = {"dr_grpo": len(batch) * theirs.max_completion_length, "grpo": len(batch)}.get(
        loss_type, mask_BT.sum()
    )
    if loss_type == "grpo":
        ours_BT = ours_BT / mask_BT.sum(-1, keepdim=True)
    loss, slope = of_trl(theirs, batch, advantages, loss_type, old_logp_BT)
    our_loss, our_slope = of_ours(student, batch, ours_BT, denominator, old_logp_BT)
    assert our_loss == pytest.approx(loss, abs=1e-5)
    assert (our_slope - slope).norm() < 1e-5 * slope.norm()
    assert slope.norm() > 0
