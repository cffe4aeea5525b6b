"""The student under accelerate: one copy on every rank (DDP) or shards of it (FSDP2), and what differs for a trainer.

FSDP2 shards float32 weights, gradients and AdamW's moments: 16 bytes a parameter over all ranks. To sample and to learn
every rank has the weights whole in the precision it computes in, 2 bytes a parameter in bfloat16, so a student must fit
one device that far. Each process reads the float32 student, and the moments of a run that goes on, into memory of the
CPU, and moves its shard to its device. A checkpoint is gathered tensor by tensor, and kept by the main rank alone.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from .errors import InputError


def make_accelerator(device: str, bf16: bool, **how):
    """The Accelerator of this process, as `accelerate launch` asked for it. InputError for what is not supported."""
    from accelerate import Accelerator, PartialState
    from accelerate.utils import DistributedDataParallelKwargs, DistributedType, FullyShardedDataParallelPlugin

    if _asked("ACCELERATE_USE_DEEPSPEED") or _asked("ACCELERATE_USE_MEGATRON_LM"):
        raise InputError("launch: found DeepSpeed or Megatron, accepted --multi_gpu or --use_fsdp --fsdp_version 2")
    plugin = None
    if _asked("ACCELERATE_USE_FSDP"):
        if os.environ.get("FSDP_VERSION", "1") != "2":
            raise InputError("launch: found FSDP version 1, accepted --fsdp_version 2")
        # Else transformers would read no weights on the other ranks, a teacher's neither.
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            # Layer by layer, so that gradients are exchanged while those of earlier layers are still computed.
            auto_wrap_policy=os.environ.get("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP"),
            cpu_ram_efficient_loading=False,
            # They must fit whole to sample, so they may stay from forward to backward: one exchange less.
            reshard_after_forward=False,
            mixed_precision_policy=MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else None,
        )
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision="bf16" if bf16 else "no",
        fsdp_plugin=plugin,
        # Positions' tables are the only buffers: the same everywhere.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        **how,
    )
    if plugin and accelerator.distributed_type == DistributedType.MULTI_CPU:
        # accelerate shards on accelerators alone, though all that it calls runs on a CPU: so that tests need no GPU.
        accelerator.state.fsdp_plugin = plugin
        accelerator.state.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    return accelerator


def _asked(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("true", "1")


def prepare(accelerator, model, optimizer):
    """Model and optimizer as they train. The model is then called as before, in as many passes on every rank."""
    state = optimizer.state_dict()
    if accelerator.is_fsdp2:
        optimizer.state.clear()  # else all of it would be moved to the device, before there are shards
    model, optimizer = accelerator.prepare(model, optimizer)
    if _shards(model):
        with torch.no_grad():  # the first call says which module is the root of all shards
            model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=accelerator.device))
        for shard in _shards(model):
            shard.reshard()
        _load_sharded(optimizer, state)
    return model, optimizer


def _shards(model) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


@contextmanager
def whole(model) -> Iterator[None]:
    """Within it this rank has the weights whole and samples or scores at its own pace. All ranks enter together."""
    shards = _shards(model)
    for shard in shards:
        shard.unshard()
    try:
        yield
    finally:
        for shard in shards:
            shard.reshard()


def exchange_at(last: bool, model) -> AbstractContextManager:
    """Around a backward pass: DDP adds gradients up over ranks in the last one alone, FSDP2 in each."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext()


def whole_weights(model, kept: bool) -> dict[str, Tensor] | None:
    """A sharded model's weights under their names, on the CPU; None of one that is not, and on ranks that keep none.

    All ranks call it.
    """
    if not _shards(model):
        return None
    gathered: dict[int, Tensor] = {}  # a weight of two names once, so that it is saved once
    found = {}
    for name, x in model.state_dict(keep_vars=True).items():
        if id(x) not in gathered:
            gathered[id(x)] = _whole(x.detach(), kept)
        found[name] = gathered[id(x)]
    return found if kept else None


def whole_optimizer_state(optimizer, kept: bool) -> dict:
    """`optimizer.state_dict()` as of one process: it may go on in any number of them. Empty on ranks that keep none.

    All ranks call it.
    """
    state = optimizer.state_dict()
    state["state"] = {
        i: {name: _whole(x, kept) if isinstance(x, Tensor) else x for name, x in of.items()}
        for i, of in state["state"].items()
    }
    return state if kept else {}


def _load_sharded(optimizer, state: dict) -> None:
    """The inverse of `whole_optimizer_state`: each rank keeps its shards."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def shard(x, parameter):
        if not isinstance(parameter, DTensor) or not isinstance(x, Tensor) or x.shape != parameter.shape:
            return x
        mesh = parameter.device_mesh
        return distribute_tensor(x.to(mesh.device_type), mesh, parameter.placements, src_data_rank=None)

    sharded = {i: {name: shard(x, parameters[i]) for name, x in of.items()} for i, of in state["state"].items()}
    optimizer.load_state_dict({**state, "state": sharded})


def _whole(x: Tensor, kept: bool) -> Tensor:
    x = x.full_tensor() if isinstance(x, DTensor) else x  # all ranks exchange their shards
    return x.cpu() if kept else x.new_empty(0)
