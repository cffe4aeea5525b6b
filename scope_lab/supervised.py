"""Supervised training of the bundled models; a build that was cut off goes on from its last saved state."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from .durable import whole_file


def train_supervised(
    model,
    optimizer: torch.optim.Optimizer,
    loss_of_step: Callable[[int], Tensor],
    steps: int,
    warmup_steps: int,
    save_every: int,
    folder: Path,
    progress: Callable = tqdm,
) -> list[float]:
    """AdamW or the like with warm-up, cosine decay and gradients clipped at norm 1. Returns this call's losses.

    loss_of_step  a step's loss, a scalar, by its number alone: a build that goes on so equals one that ran through
    folder        what is made; the state lies beside it as FOLDER.partial.pt and is the caller's to remove after saving
    """
    learned = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup_steps, steps)
    parts, start = {"optimizer": optimizer, "schedule": schedule}, 0
    if (path := state_path(folder)).exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["weights"], strict=False)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        start = state["step"]
    losses = []
    bar = progress(range(start, steps), initial=start, total=steps, desc=folder.name, unit="step")
    for step in bar:
        loss = loss_of_step(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(learned.values()), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if hasattr(bar, "set_postfix"):
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
        if (step + 1) % save_every == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            state = {name: part.state_dict() for name, part in parts.items()}
            with whole_file(path) as unfinished:
                torch.save({"weights": learned, **state, "step": step + 1}, unfinished)
    return losses


def state_path(folder: Path) -> Path:
    """Where a build of `folder` keeps its state until it has ended."""
    return folder.with_name(f"{folder.name}.partial.pt")
