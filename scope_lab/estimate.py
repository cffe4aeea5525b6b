"""Seconds and memory of a run before it starts, from its settings, its lengths and its devices (`scope-lab plan`)."""

import time
from dataclasses import fields

from .architectures import Architecture, architecture
from .config import ScopeConfig, split_list
from .cost import UTILISATION, Setup, Work, hidden_seconds, step_seconds
from .devices import GIB, Device
from .errors import InputError
from .memory import KEPT_FREE, fits, memory, peak, remedies
from .models import PAIRS, load_tokenizer
from .rollouts import check_context, encode_prompts
from .tasks import load_task, problem_file
from .teachers.adapter import adapter_of_the_same_base

NO_TASK = "problems.jsonl"


def setup_from(
    config: ScopeConfig,
    on: Device,
    teacher_at: str | None = None,
    devices: int = 1,
    teacher_devices: int | None = None,
) -> Setup:
    """Models, precision and memory settings of a run. Raises InputError for a model whose sizes are not known.

    teacher_at       where its teacher sits (cost.TEACHER_PLACES); None: where the trainer would put it
    teacher_devices  that serve it elsewhere; None: one for each of its servers
    """
    names = PAIRS[config.pair] if config.pair else (None, None)
    student, teacher = config.student or names[0], config.teacher or names[1]
    servers = split_list(config.teacher_servers)
    if teacher_at == "adapter" and not config.lora_rank:
        raise InputError("teacher_at: adapter needs lora_rank above 0: the base that they share must stay as it is")
    return Setup(
        student=architecture(student or ""),
        teacher=architecture(teacher) if teacher and config.spec.needs_teacher else None,
        device=on,
        lora_rank=config.lora_rank,
        mixed=config.precision == "bf16" or (config.precision == "auto" and on.kind == "cuda"),
        gradient_checkpointing=config.gradient_checkpointing,
        devices=devices,
        teacher_at=teacher_at or where_the_trainer_puts_it(config),
        teacher_devices=teacher_devices if teacher_devices is not None else len(servers) or 1,
        streaming=config.pipeline == "streaming",
        reference=config.kl_coef > 0,
        tokens_per_microbatch=config.tokens_per_microbatch,
        sequences_per_batch=config.sequences_per_batch,
        engine=config.engine,
        engine_memory=config.engine_memory,
    )


def where_the_trainer_puts_it(config: ScopeConfig) -> str:
    """The teacher's place, of cost.TEACHER_PLACES."""
    if config.teacher_servers:
        return "elsewhere"
    return "adapter" if adapter_of_the_same_base(config) else "here"


def work_from(config: ScopeConfig, **assumed: float) -> Work:
    """The rollouts of a step. `assumed`: what no setting says (prompt_tokens, response_tokens, wrong, …).

    What is not given: a pair's prompts and verifier are measured, else Work's; a response is half of the longest.
    Without max_new_tokens the longest is the task's; a file called NO_TASK need not be there.
    """
    longest = config.max_new_tokens or _longest(config.task or "")
    eval_longest = config.eval_max_new_tokens if config.evaluates else None
    return Work(
        method=config.method,
        prompts=config.prompts_per_step,
        rollouts_per_prompt=config.rollouts_per_prompt,
        longest=longest,
        eval_longest=eval_longest or 0,
        **{**measured(config), "response_tokens": longest / 2, **assumed},
    )


def _longest(task: str) -> int:
    return problem_file.MAX_NEW_TOKENS if task == NO_TASK else load_task(task).max_new_tokens


def measured(config: ScopeConfig) -> dict[str, float]:
    """Mean tokens of a hundred prompts of a pair's task, and seconds of a verdict; {} where no such thing is here."""
    if not config.pair:
        return {}
    try:
        tokenizer, task = load_tokenizer(config.student or PAIRS[config.pair][0]), load_task(config.task or "")
        problems = task.problems("train", 100)
    except InputError:  # a pair that has not been fetched, or a file with fewer problems
        return {}
    lengths = [len(prompt) for prompt in encode_prompts(tokenizer, problems)]
    start = time.perf_counter()
    for problem in problems:
        task.verify(problem, problem.reference)
    seconds = time.perf_counter() - start
    return {"prompt_tokens": sum(lengths) / len(lengths), "verify_seconds": seconds / len(problems)}


def summary(setup: Setup, work: Work) -> str:
    """The plan in one line, as recipes quote it; stages under a thousandth of the step left out."""
    moment, fullest = peak(memory(setup, work))
    seconds = step_seconds(setup, work)
    total = seconds.pop("total")
    stages = ", ".join(f"{stage} {number(value)}" for stage, value in seconds.items() if value > 1e-3 * total)
    fit = "fits" if fits(setup, work) else "does not fit"
    space = f"{size(fullest)} of {size(setup.device.memory)} ({moment})"
    several = f"{setup.devices} × " if setup.devices > 1 else ""
    return f"{several}{setup.device.name}: {fit}, {space}; {number(total)} s a step: {stages}"


def number(value: float) -> str:
    """ "31,430", "4.8", "0.45"."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def plan_text(setup: Setup, work: Work, steps: int) -> str:
    """What a person wants to know: the assumptions, seconds by stage, memory by part, whether it fits, what would help.

    Raises InputError where prompt and longest response exceed the student's context.
    """
    student = setup.student
    longest = max(work.longest, work.eval_longest)
    check_context(work.prompt_tokens, longest, student.context, f"the context of {student.name}")
    trains = f"a LoRA adapter of rank {setup.lora_rank} trains" if setup.lora_rank else "all weights train"
    several = setup.devices > 1
    sent = several or (setup.teacher and setup.teacher_at == "elsewhere")
    shards = f", in shards on {setup.devices} devices (FSDP2)" if several else ", on one device, unsharded"
    place = {
        "here": "a copy on each of them" if several else "on the same device",
        "adapter": "an adapter on the student's base",
        "elsewhere": f"elsewhere, on {setup.teacher_devices} more of the same kind, whose memory is not in this plan",
    }
    seconds, parts = step_seconds(setup, work), memory(setup, work)
    (moment, fullest), hidden = peak(parts), hidden_seconds(setup, work)
    lines = [
        f"student   {_model(student)}; {trains}{shards}",
        f"teacher   {_model(setup.teacher)}; {place[setup.teacher_at]}" if setup.teacher else "teacher   none",
        f"step      {work.method}, {work.prompts} prompts × {work.rollouts_per_prompt} rollouts",
        f"assumed   prompt {number(work.prompt_tokens)} tokens, response {number(work.response_tokens)} "
        f"(longest {number(work.longest)}), {work.wrong:.0%} wrong",
        _device(setup.device),
        "",
        "seconds a step",
        *(f"  {stage:18}{number(value):>10}" for stage, value in seconds.items()),
        *([f"  (teacher meanwhile{number(hidden):>10})"] if hidden else []),
        "",
        f"memory{' of each device' if several else ''} at its fullest ({moment})",
        *(f"  {part:18}{size(held):>10}" for part, held in {**parts[moment], "total": fullest}.items()),
        "",
        verdict(setup, work),
        f"{steps} steps: {duration(steps * seconds['total'])}, without evaluations"
        + (" and without the time to send weights, gradients and rollouts between devices" if sent else ""),
    ]
    return "\n".join(lines)


def verdict(setup: Setup, work: Work) -> str:
    """Whether it fits, and in a second line with which settings it would."""
    fullest, limit = peak(memory(setup, work))[1], (1 - KEPT_FREE) * setup.device.memory
    numbers = f"{size(fullest)} of {size(setup.device.memory)}, of which {KEPT_FREE:.0%} is to stay free"
    if fits(setup, work):
        return f"fits on {setup.device.name}: {numbers}"
    found = " or ".join(_changes(setup, new) for new in remedies(setup, work))
    advice = f"it would with {found}" if found else "no setting of the trainer is enough"
    return f"does not fit on {setup.device.name}: {numbers}; {fullest / limit:.1f} times what may be used\n{advice}"


def _changes(setup: Setup, new: Setup) -> str:
    """ "gradient_checkpointing, lora_rank 16"."""
    values = {item.name: getattr(new, item.name) for item in fields(Setup)}
    changed = {name: value for name, value in values.items() if value != getattr(setup, name)}
    return ", ".join(name if value is True else f"{name} {value}" for name, value in changed.items())


def size(held: float) -> str:
    """ "51.6 GiB", "244 MiB"."""
    return f"{held / GIB:.1f} GiB" if held >= GIB else f"{held / 2**20:.3g} MiB"


def _model(model: Architecture) -> str:
    n = model.parameters
    return f"{model.name}, {n / 1e9:.2f} B parameters" if n >= 1e9 else f"{model.name}, {n / 1e6:.1f} M parameters"


def _device(on: Device) -> str:
    """Its peaks, and what part of them is counted on."""
    kind = "float32" if on.kind == "cpu" else "bf16"
    reading, update, decode = (f"{UTILISATION[name]:.0%}" for name in ("scoring", "update", "decode"))
    return (
        f"device    {on.name}: {on.flops / 1e12:.3g} TFLOP/s {kind} ({reading} counted on, {update} when updating), "
        f"{on.bandwidth / 1e9:.4g} GB/s ({decode}), {1e3 * on.layer_seconds:.2g} ms a layer"
    )


def duration(seconds: float) -> str:
    """ "3.2 hours"."""
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} seconds"
