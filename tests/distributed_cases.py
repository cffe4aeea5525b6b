"""What tests/test_distributed.py runs in each of two processes, and in one: `python tests/distributed_cases.py OUT`.

Every case trains a student in float64, so that what differs is not rounding. What they found is written to OUT/RANK.pt.
"""

import copy
import sys
import warnings
from pathlib import Path

import torch
from torch.distributed.fsdp import FSDPModule
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from scope_lab import ScopeTrainer
from scope_lab.errors import InputError
from scope_lab.models import Pair, load_pair
from scope_lab.settings import build_config
from scope_lab.sharding import whole_optimizer_state

SMALL = {
    "pair": "countdown", "steps": 3, "prompts_per_step": 5, "rollouts_per_prompt": 4, "tokens_per_microbatch": 200,
    "eval_problems": 0, "device": "cpu",
}  # fmt: skip
CASES = {
    "scope": {"eval_problems": 3, "eval_samples": 2},
    "opd": {"method": "opd", "rollouts_per_prompt": 1, "prompts_per_step": 3, "tokens_per_microbatch": 1},
    "one prompt": {"method": "scope", "prompts_per_step": 1},
    "grpo": {"method": "grpo", "kl_coef": 0.01, "updates_per_batch": 2, "clip": 0.2},
    "kd": {"method": "kd"},
    "lora": {"lora_rank": 2, "tau": "auto"},
}


def whole(x):
    return (x.full_tensor() if hasattr(x, "full_tensor") else x).detach().clone()


class Recording(ScopeTrainer):
    """Keeps the gradient of its first update: each weight's by its own name."""

    def train_step(self):
        step, self.gradients = self.optimizer.step, getattr(self, "gradients", {})

        def recorded(*arguments):
            for name, weight in self.unwrapped.named_parameters():
                if weight.grad is not None:
                    self.gradients.setdefault(name, whole(weight.grad))
            return step(*arguments)

        self.optimizer.step = recorded
        metrics = super().train_step()
        self.optimizer.step = step
        return metrics


def run(pair: Pair, changes: dict, resume: bool = False) -> dict:
    config = build_config(None, {**SMALL, **changes})
    own = copy.copy(pair)
    own.student = copy.deepcopy(pair.student)
    trainer = Recording(config, pair=own, progress=False, resume=resume)
    trainer.train()
    return {
        "history": trainer.history,
        "gradients": trainer.gradients,
        "weights": {name: whole(weight) for name, weight in trainer.unwrapped.named_parameters()},
        "responses": trainer.last_batch.rollouts.responses,
        "evaluations": {step: vars(e) for step, e in getattr(trainer, "evaluations", {}).items()},
        "sharded": any(hasattr(p, "full_tensor") for p in trainer.student.parameters()),
        "layers_apart": all(
            isinstance(x, FSDPModule) for x in trainer.student.modules() if isinstance(x, LlamaDecoderLayer)
        ),
        "processes": trainer.ranks.size,
        "state": whole_optimizer_state(trainer.optimizer, trainer.ranks.is_main),
    }


def mistake_of_one() -> str:
    """A setting that only the last rank has wrong: what each of them says."""
    from accelerate import PartialState

    wrong = {"max_new_tokens": 4096} if PartialState().process_index == PartialState().num_processes - 1 else {}
    try:
        ScopeTrainer(build_config(None, {**SMALL, **wrong}), progress=False)
    except (InputError, SystemExit) as error:
        return repr(error)
    return "nothing"


def main(out: Path) -> None:
    from accelerate import PartialState

    warnings.simplefilter("ignore")
    pair = load_pair("countdown", device="cpu", dtype="float64")
    found: dict = {name: run(pair, changes) for name, changes in CASES.items()}
    run(pair, {"out": str(out / "run"), "steps": 2})
    found["resumed"] = run(pair, {"out": str(out / "run")}, resume=True)
    found["mistake of one"] = mistake_of_one()
    torch.save(found, out / f"{PartialState().process_index}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
