"""The models of a run, each where and as its settings want it: who trains, who teaches, what they started from."""

import copy
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from .chat_template import with_chat_template
from .config import OBJECT, ScopeConfig
from .errors import InputError
from .models import Pair, load_pair, with_adapter
from .tasks import Task
from .teachers import LocalTeacher, Teacher
from .teachers.adapter import AdapterTeacher, adapter_of_the_same_base
from .teachers.vllm import ServerTeacher, teacher_behind_servers

# What objects of one's own must have, of the protocols Task and Teacher.
OF_A_TASK = ("name", "max_new_tokens", "problems", "verify")
ASKED = {"task": OF_A_TASK, "eval_task": OF_A_TASK, "teacher": ("name", "score")}


class RunModels(NamedTuple):
    """The pair as it was loaded; the student that trains, perhaps with an adapter; its teacher, where the method has
    one; the student as it was, where kl_coef asks; the optimizer."""

    pair: Pair
    student: torch.nn.Module
    teacher: Teacher | None
    reference: torch.nn.Module | None
    optimizer: torch.optim.Optimizer


def with_objects(config: ScopeConfig, **objects: Task | Teacher | None) -> ScopeConfig:
    """The settings of a run with objects of one's own: they name those, so that it does not go on without them.

    objects  task, eval_task, teacher; None: what the settings say
    Raises InputError for an object that lacks what its protocol asks for.
    """
    names: dict[str, Any] = {}
    for setting, found in objects.items():
        if found is None:
            continue
        asked = ASKED[setting]
        if absent := [name for name in asked if not hasattr(found, name)]:
            raise InputError(
                f"{setting}: found a {type(found).__name__} without {absent[0]}, accepted an object with "
                f"{', '.join(asked)}"
            )
        names[setting] = f"{OBJECT}{found.name}"
    return replace(config, **names) if names else config


def load_models(
    config: ScopeConfig, pair: Pair | None, teacher: Teacher | None, device: str, bf16: bool, will_shard: bool = False
) -> RunModels:
    """What a run's settings name; `pair` and `teacher` stand in for theirs.

    bf16        whether arithmetic is bfloat16: then a teacher, and the base of an adapter, are kept in it
    will_shard  the student stays on the CPU until each device gets its shard of it
    Raises InputError for models that cannot be had or do not fit together.
    """
    torch.manual_seed(config.seed)  # for adapters, the only random weights
    teacher = teacher or teacher_behind_servers(config)
    shared = adapter_of_the_same_base(config) if pair is None and teacher is None else None
    if pair is None:
        pair = load_pair(
            config.pair,
            student=config.student,
            teacher=config.teacher,
            device="cpu" if will_shard else device,
            dtype="bfloat16" if bf16 and config.lora_rank else "float32",  # a base that does not train needs no more
            teacher_dtype="bfloat16" if bf16 else "float32",
            allow_mismatch=config.allow_mismatch,
            with_teacher=teacher is None and config.spec.needs_teacher and not shared,
        )
        if pair.teacher is not None:
            pair.teacher.to(device)
    if config.spec.baseline == "kd" and pair.teacher is None:
        raise InputError(
            "teacher: found an object that scores, accepted with method kd a model to sample from; name one"
        )
    if isinstance(teacher, ServerTeacher):
        teacher.check(pair.tokenizer, config.allow_mismatch)
    pair = replace(
        pair, tokenizer=with_chat_template(pair.tokenizer, config.chat_template, config.chat_template_kwargs)
    )
    student = pair.student
    switch_off_dropout(student)
    reference = copy.deepcopy(student).to(device) if config.kl_coef else None
    if config.lora_rank:
        student = with_adapter(student, config.lora_rank, config.lora_alpha)
    if shared:
        teacher = AdapterTeacher(student, shared)
    elif teacher is None and pair.teacher is not None:
        teacher = LocalTeacher(pair.teacher, pair.teacher_name)
    if config.gradient_checkpointing:
        # transformers renamed it; older versions know the second name alone
        getattr(student, "activation_checkpointing_enable", student.gradient_checkpointing_enable)()
    parameters = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=device == "cuda" or None
    )
    return RunModels(pair, student, teacher, reference, optimizer)


def switch_off_dropout(model: torch.nn.Module) -> None:
    """Set all dropout to 0: a log-ratio compares one policy, the one that sampled, not a random part of it.

    Transformers hold its rates in modules of its own, in attributes of others, and in configs that are read on the way.
    An adapter of this package has none.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for holder in filter(None, (module, getattr(module, "config", None))):
            for name, value in list(vars(holder).items()):
                if "drop" in name and isinstance(value, float):
                    setattr(holder, name, 0.0)
