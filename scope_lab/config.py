"""Every setting of a training run: a plain dataclass that says what it accepts. settings.py reads it from files."""

import math
import os
import types
import typing
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path

import yaml

from .durable import write_text
from .errors import InputError, did_you_mean, shown
from .methods import METHODS, Method
from .models import PAIRS
from .redaction import CREDENTIALS
from .tasks import SPLITS
from .tasks.base import ALL
from .tasks.own import check_threshold

OBJECT = "object:"  # begins the name of a task or teacher that is an object of one's own
HELD_OUT = 200  # problems, where the settings do not say how many
PIPELINES = ("streaming", "synchronous")
ENGINES = ("transformers", "vllm")
POSITIVE = (
    "tau",
    "clip",
    "steps",
    "prompts_per_step",
    "rollouts_per_prompt",
    "updates_per_batch",
    "tokens_per_microbatch",
    "train_problems",
    "temperature",
    "logprob_temperature",
    "max_new_tokens",
    "sequences_per_batch",
    "learning_rate",
    "max_grad_norm",
    "lora_alpha",
    "eval_samples",
    "eval_temperature",
    "eval_max_new_tokens",
    "keep_checkpoints",
    "teacher_timeout",
    "teacher_concurrency",
    "skipped_limit",
    "engine_gap_limit",
)
NOT_NEGATIVE = (
    "kl_coef",
    "warmup_steps",
    "weight_decay",
    "lora_rank",
    "top_k",
    "eval_top_k",
    "eval_problems",
    "eval_every",
    "checkpoint_every",
    "seed",
)


def setting(default, section: str, help: str, choices: tuple | None = None):
    """A field with what `--help` says about it, the section it stands in and the values it accepts."""
    return field(default=default, metadata={"section": section, "help": help, "choices": choices})


@dataclass
class ScopeConfig:
    """A training run. Defaults are the paper's (Tables 3, 4) where it names them; `validate` says what is accepted.

    A `pair` here names two models and a task, no more; `from_recipe` also gives the settings that suit it, as
    `scope-lab train --pair` does.
    """

    pair: str | None = setting(None, "models", f"a named student and teacher: {', '.join(PAIRS)}")
    student: str | None = setting(None, "models", "student: bundled name, folder or hub id")
    teacher: str | None = setting(
        None, "models", "teacher, likewise; it must share the student's tokenizer; untrained:NAME is a control"
    )
    allow_mismatch: bool = setting(False, "models", "accept tokenizers, chat templates or EOS that differ")
    chat_template: str | None = setting(None, "models", "a Jinja file, or plain; default: the student's own")
    chat_template_kwargs: str = setting("", "models", "its variables, as NAME=VALUE,…: enable_thinking=false")
    task: str | None = setting(None, "models", "countdown[:difficulty], code:NAME, gym:NAME, math:NAME, FILE.jsonl, …")
    verifier: str | None = setting(None, "models", "module:function that judges instead of the task (tasks/own.py)")
    verifier_threshold: float | None = setting(None, "models", "correct from here on, where it returns a number")
    train_problems: int | None = setting(None, "models", "to train on; default: all of a file's or set's, else 10,000")

    method: str = setting("scope", "method", "what is trained", tuple(METHODS))
    tau: float | str = setting(1.0, "method", "weight temperature: above 0, inf (uniform) or auto")
    ess_fraction: float = setting(0.5, "method", "with tau=auto: effective sample size kept, of a path's rollouts")
    weight_scale: str | None = setting(None, "method", "a path's weights sum to 1 or average 1", ("sum", "mean"))
    denominator: str | None = setting(
        None, "method", "what the sum over tokens is divided by", ("prompts", "rollouts", "tokens", "path-tokens")
    )
    mle_form: str | None = setting(None, "method", "-ratio or -log-prob on correct rollouts", ("ratio", "logp"))
    clip: float | None = setting(None, "method", "PPO's clip of the ratio, with several updates a batch")
    kl_coef: float = setting(0.0, "method", "reverse KL to the starting student, as a second teacher on every token")
    truncated: str = setting("incorrect", "method", "verdict of a response without EOS", ("incorrect", "unknown"))

    teacher_servers: str = setting(
        "", "teacher servers", "comma-separated addresses of vLLM servers that serve the teacher; temperature 1 alone"
    )
    teacher_timeout: float = setting(60.0, "teacher servers", "seconds for one answer; a failed one is asked for again")
    teacher_concurrency: int = setting(32, "teacher servers", "rollouts asked about at a time, at each server")
    teacher_failure_limit: float = setting(
        0.1, "teacher servers", "share of rollouts without a usable number from any teacher, above which a run stops"
    )

    steps: int = setting(100, "loop", "optimizer steps on fresh rollouts")
    prompts_per_step: int = setting(256, "loop", "P")
    rollouts_per_prompt: int = setting(8, "loop", "G; the paper's OPD uses 1")
    updates_per_batch: int = setting(1, "loop", "optimizer steps on the same rollouts")
    tokens_per_microbatch: int = setting(16_384, "loop", "padded tokens of one forward and backward pass")
    pipeline: str = setting(
        "streaming", "loop", "rollouts are verified and scored while others are written, or after", PIPELINES
    )
    seed: int = setting(0, "loop", "of prompts, sampling and adapters")

    temperature: float = setting(0.6, "sampling", "of training rollouts")
    top_p: float = setting(1.0, "sampling", "below 1 biases the log-ratios")
    top_k: int = setting(0, "sampling", "0: off; otherwise it biases the log-ratios")
    logprob_temperature: float | None = setting(None, "sampling", "of both models' log-probs; default: temperature")
    max_new_tokens: int | None = setting(None, "sampling", "default: what the task needs")
    sequences_per_batch: int = setting(256, "sampling", "sequences generated at a time")
    engine: str = setting(
        "transformers", "sampling", "what writes rollouts: the student itself, or vLLM on the same device", ENGINES
    )
    engine_memory: float = setting(0.3, "sampling", "with engine=vllm: its share of the device's memory")
    engine_gap_limit: float = setting(
        0.3, "sampling", "with engine=vllm: mean difference of its log-probs, in nats, above which a run stops"
    )

    learning_rate: float = setting(5e-5, "optimizer", "of AdamW")
    skipped_limit: int = setting(
        10, "optimizer", "steps in a row whose loss or gradient is not finite, and is left out, until a run stops"
    )
    schedule: str = setting("constant", "optimizer", "of the learning rate", ("constant", "cosine"))
    warmup_steps: int = setting(0, "optimizer", "linear warm-up")
    weight_decay: float = setting(0.01, "optimizer", "of AdamW")
    max_grad_norm: float = setting(1.0, "optimizer", "gradients are clipped to this norm")
    lora_rank: int = setting(0, "optimizer", "0 trains all weights; otherwise a LoRA adapter of this rank (peft)")
    lora_alpha: int = setting(32, "optimizer", "scale of the adapter")
    gradient_checkpointing: bool = setting(False, "optimizer", "less memory for more time")
    device: str = setting("auto", "optimizer", "auto, cpu or cuda", ("auto", "cpu", "cuda"))
    precision: str = setting("auto", "optimizer", "auto: bf16 on a GPU (weights stay fp32)", ("auto", "fp32", "bf16"))

    eval_task: str | None = setting(None, "evaluation", "what is evaluated on; default: the task that is trained on")
    eval_split: str | None = setting(
        None, "evaluation", "which held-out problems; default: test, of an eval_task all", (*SPLITS, ALL)
    )
    eval_problems: int | None = setting(
        None, "evaluation", "their number, 0: no evaluation; default: 200 or all of fewer, the whole of split all"
    )
    eval_samples: int = setting(32, "evaluation", "responses a problem")
    eval_every: int = setting(0, "evaluation", "also every so many steps; 0: only before and after")
    eval_temperature: float | None = setting(None, "evaluation", "default: temperature")
    eval_top_p: float = setting(1.0, "evaluation", "the paper: 0.95")
    eval_top_k: int = setting(0, "evaluation", "the paper: 20")
    eval_max_new_tokens: int | None = setting(None, "evaluation", "default: max_new_tokens, else what its task needs")

    out: str | None = setting(None, "output", "run folder; without one nothing is written")
    checkpoint_every: int = setting(50, "output", "steps between checkpoints; 0: only at the end")
    keep_checkpoints: int = setting(2, "output", "newest checkpoints kept")
    trackers: str = setting("", "output", "comma-separated: tensorboard, wandb, trackio")

    @classmethod
    def from_recipe(cls, recipe: str | None = None, **settings) -> "ScopeConfig":
        """The settings of `scope-lab train --recipe RECIPE --SETTING VALUE …`: see `settings.build_config`."""
        from .settings import build_config

        return build_config(recipe, settings)

    @property
    def spec(self) -> Method:
        """The method with this run's overrides."""
        changes = {
            name: getattr(self, name)
            for name in ("weight_scale", "denominator", "mle_form")
            if getattr(self, name) is not None
        }
        return replace(METHODS[self.method], **changes)

    def validate(self) -> "ScopeConfig":
        """Raises ValueError with one line: the setting, what was found, what is accepted. Returns itself."""
        self._read_types()
        if self.eval_split == ALL and self.eval_task is None:
            raise InputError(
                f"eval_split: found all, which holds what is trained on; accepted {', '.join(SPLITS)}, or set "
                "eval_task: a file or set that is held out whole"
            )
        for item in fields(self):
            value, choices = getattr(self, item.name), item.metadata["choices"]
            if choices and value is not None and value not in choices:
                hint = did_you_mean(value, choices)
                raise InputError(f"{item.name}: found {shown(value)}, accepted {', '.join(choices)}{hint}")
            if isinstance(value, float) and not math.isfinite(value) and (item.name, value) != ("tau", math.inf):
                raise InputError(f"{item.name}: found {value}, accepted a finite number")
            if isinstance(value, str) and CREDENTIALS.search(value):
                # Settings are written into run folders, logs and trackers.
                raise InputError(f"{item.name}: found credentials in an address; accepted one without")
        if isinstance(self.tau, str) and self.tau != "auto":
            raise InputError(f"tau: found {shown(self.tau)}, accepted a number above 0, inf or auto")
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and value != "auto" and not value > 0:
                raise InputError(f"{name}: found {value}, accepted above 0")
        for name in NOT_NEGATIVE:
            if (getattr(self, name) or 0) < 0:
                raise InputError(f"{name}: found {getattr(self, name)}, accepted 0 or more")
        if not 0 <= self.teacher_failure_limit <= 1:
            raise InputError(f"teacher_failure_limit: found {self.teacher_failure_limit}, accepted 0 to 1")
        for name in ("top_p", "eval_top_p", "ess_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name}: found {getattr(self, name)}, accepted above 0 and at most 1")
        for name, why in self.without_effect():
            raise InputError(f"{name}: has no effect {why}; leave it out")
        check_threshold(self.verifier, self.verifier_threshold)
        if self.schedule == "cosine" and self.warmup_steps >= self.steps:
            raise InputError(f"warmup_steps: found {self.warmup_steps}, accepted fewer than the {self.steps} steps")
        if self.out is not None and (not self.out.strip() or "\0" in self.out):
            raise InputError(f"out: found {shown(self.out)}, accepted a folder's name")
        if self.pair is not None and self.pair not in PAIRS:
            raise InputError(f"pair: found {shown(self.pair)}, accepted {', '.join(PAIRS)}, or set student and teacher")
        self._check_teacher_servers()
        self._check_engine()
        has_teacher = self.teacher or self.teacher_servers or not METHODS[self.method].needs_teacher
        if self.pair is None and not (self.student and has_teacher):
            raise InputError("pair: set pair, or both student and teacher")
        if self.task is None:
            if self.pair is None:
                raise InputError("task: set one (a pair of your own has no task of its own)")
            self.task = PAIRS[self.pair][2]
        known = {"tensorboard", "wandb", "trackio"}
        if unknown := set(self.tracker_names) - known:
            raise InputError(f"trackers: found {', '.join(sorted(unknown))}, accepted {', '.join(sorted(known))}")
        return self

    def _read_types(self) -> None:
        """Paths as text, scalars of numpy as Python's. Raises InputError for a value of another type than the field's.

        YAML and command lines are read by `read_value`, which also takes numbers that are written out.
        """
        for name, kinds in setting_types().items():
            value = getattr(self, name)
            if isinstance(value, os.PathLike):
                value = os.fspath(value)
            elif getattr(value, "shape", None) == ():
                value = value.item()
            if type(value) not in kinds and not (type(value) is int and float in kinds):
                raise InputError(f"{name}: found {shown(value)}, accepted {type_name(kinds)}")
            setattr(self, name, value)

    def without_effect(self) -> Iterator[tuple[str, str]]:
        """Settings that have been given and would do nothing, and why."""
        defaults = {item.name: item.default for item in fields(self)}
        for idle, names, why in (
            (not self.spec.weighted, ("tau", "weight_scale", "mle_form"), f"with method {self.method}"),
            (not self.spec.reads_teacher, ("teacher_failure_limit", "teacher_servers"), f"with method {self.method}"),
            (self.tau != "auto", ("ess_fraction",), "without tau=auto"),
            (self.updates_per_batch == 1, ("clip",), "with one update a batch"),
            (not self.teacher_servers, ("teacher_timeout", "teacher_concurrency"), "without teacher_servers"),
            (not self.lora_rank, ("lora_alpha",), "without lora_rank"),
            (self.engine != "vllm", ("engine_memory", "engine_gap_limit"), "without engine=vllm"),
            (not self.evaluates, ("eval_task", "eval_max_new_tokens"), "with eval_problems 0"),
        ):
            yield from ((name, why) for name in names if idle and getattr(self, name) != defaults[name])

    def _check_teacher_servers(self) -> None:
        if self.teacher_servers and self.spec.same_temperature:
            check_server_temperature(self.logprob_temperature or self.temperature)

    def _check_engine(self) -> None:
        if self.engine != "vllm":
            return
        if not 0 < self.engine_memory < 1:
            raise InputError(f"engine_memory: found {self.engine_memory}, accepted above 0 and below 1")
        if self.spec.baseline == "kd":
            raise InputError("engine: found vllm, accepted transformers with method kd, whose sampler is the teacher")
        scored_at = self.logprob_temperature or self.temperature
        if scored_at != 1 and (scored_at, self.top_p, self.top_k) != (self.temperature, 1.0, 0):
            raise InputError(
                f"logprob_temperature: found {scored_at:g}, accepted with engine=vllm 1, or the temperature where "
                "top_p is 1 and top_k 0"
            )

    @property
    def evaluates(self) -> bool:
        """Whether there are evaluations at all."""
        return self.eval_problems != 0

    @property
    def held_out_split(self) -> str:
        """The split that evaluations are on; objects of one's own need not know any but the three."""
        whole = self.eval_task and not self.eval_task.startswith(OBJECT)
        return self.eval_split or (ALL if whole else "test")

    @property
    def tracker_names(self) -> list[str]:
        return split_list(self.trackers)

    def learning_rate_at(self, step: int) -> float:
        """Of the update after `step` updates: linear warm-up, then constant or a cosine to 0 at the last step."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def save(self, path: Path) -> None:
        write_text(path, yaml.safe_dump(asdict(self), sort_keys=False))


def check_server_temperature(temperature: float) -> None:
    if temperature != 1:
        raise InputError(
            f"logprob_temperature: found {temperature:g} (default: temperature), accepted 1 with teacher_servers: "
            "a vLLM server gives log-probs of the logits as they are"
        )


def split_list(text: str) -> list[str]:
    """Items of a comma-separated setting."""
    return [item.strip() for item in text.split(",") if item.strip()]


@cache
def setting_types() -> dict[str, tuple[type, ...]]:
    """What a setting's value may be of, by its name; NoneType among them where it may be left out."""
    hints = typing.get_type_hints(ScopeConfig).items()
    return {name: typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,) for name, hint in hints}


def type_name(options) -> str:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "none"}
    return " or ".join(words[kind] for kind in options)
