"""What a step costs before it is taken, in seconds by stage, from sizes, lengths and a device (bytes: memory.py).

Seconds are work over what a device does of it in a second. Reading and training many tokens at once is bound by
arithmetic, writing them one by one by memory; UTILISATION says what part of either peak is counted on. Formulas stand
at the functions; below `step_seconds` they are of the rollouts that one device is given. Not in the model: padding
(batches are sorted by length), the student's own log-probs of what vLLM wrote, what devices send one another,
evaluation, loading, checkpoints.
"""

from dataclasses import dataclass, replace
from math import ceil

from .architectures import Architecture, attended_pairs
from .config import ENGINES
from .devices import Device
from .errors import InputError
from .methods import METHODS
from .paper import TABLE_8

# Shares of the peak FLOP/s, and of the peak bandwidth: what well-kept eager PyTorch reaches on large models.
UTILISATION = {"prefill": 0.45, "scoring": 0.45, "update": 0.35, "decode": 0.6}
# The paper's verifier: seconds of its stage over 256 × 8 rollouts.
VERIFY_SECONDS = TABLE_8["reward"][0] / 2048
PAPER_METHODS = ("grpo", "opd", "scope")  # the columns of Table 8
TEACHER_PLACES = ("here", "adapter", "elsewhere")


@dataclass(frozen=True)
class Work:
    """One step's rollouts.

    response_tokens  mean length; longest: of the batch's longest response, which all decode steps wait for
    eval_longest     of an evaluation's, where they may be longer than a step's; for memory alone
    wrong            share of rollouts that are wrong; mixed: share in groups of both kinds, the only ones GRPO updates
    verify_seconds   of one verdict
    """

    method: str = "scope"
    prompts: int = 256
    rollouts_per_prompt: int = 8
    prompt_tokens: float = 200
    response_tokens: float = 4_000
    longest: float = 12_288
    eval_longest: float = 0
    wrong: float = 0.5
    mixed: float = 1.0
    verify_seconds: float = VERIFY_SECONDS

    def __post_init__(self):
        if self.method not in METHODS:
            raise InputError(f"method: found {self.method!r}, accepted {', '.join(METHODS)}")
        for name in ("prompts", "rollouts_per_prompt", "prompt_tokens", "response_tokens", "longest"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: found {getattr(self, name)}, accepted above 0")
        if self.response_tokens > self.longest:
            raise InputError(f"response_tokens: found {self.response_tokens:g}, accepted at most {self.longest:g}")
        for name in ("wrong", "mixed"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}: found {getattr(self, name)}, accepted a share between 0 and 1")

    @property
    def rollouts(self) -> int:
        return self.prompts * self.rollouts_per_prompt

    @property
    def scored(self) -> float:
        """Share of rollouts that the teacher scores: SCOPE's wrong ones, all of OPD's, nobody else's."""
        spec = METHODS[self.method]
        return 1.0 if spec.baseline == "opd" else self.wrong if spec.reads_teacher else 0.0

    @property
    def updated(self) -> float:
        """Share of rollouts with an advantage that is not 0: only those are trained on."""
        spec = METHODS[self.method]
        if spec.weighted:
            return (1 - self.wrong) * (spec.student_power is not None) + self.wrong * (spec.teacher_power is not None)
        return {"grpo": self.mixed, "psr": 1 - self.wrong}.get(spec.baseline or "", 1.0)

    @property
    def parts(self) -> tuple[float, float]:
        """Shares of rollouts that the update takes first, while the teacher may be at work, and when it has scored."""
        return self.updated - self.scored, self.scored


@dataclass(frozen=True)
class Setup:
    """Who trains on what.

    lora_rank    0 trains all weights
    mixed        bfloat16 arithmetic (accelerate's bf16) on float32 weights; weights that do not train are bfloat16 too.
                 Else float32 throughout
    devices      like this one that train together, prompts dealt out among them; from two on FSDP2 shards the student
    teacher_at   "here" (a copy on each of them), "adapter" (on the student's own base) or "elsewhere": on
                 teacher_devices more devices like this one, which serve it
    streaming    a teacher that is elsewhere scores while the student samples and learns from what needs no teacher
    reference    a copy of the starting student is kept (kl_coef)
    engine       what samples: "transformers" or "vllm"; engine_memory: the share of the device's that vLLM holds
    """

    student: Architecture
    teacher: Architecture | None
    device: Device
    lora_rank: int = 0
    mixed: bool = True
    gradient_checkpointing: bool = False
    devices: int = 1
    teacher_at: str = "here"
    teacher_devices: int = 1
    streaming: bool = False
    reference: bool = False
    tokens_per_microbatch: int = 16_384
    sequences_per_batch: int = 256
    engine: str = "transformers"
    engine_memory: float = 0.3

    def __post_init__(self):
        for name, accepted in (("teacher_at", TEACHER_PLACES), ("engine", ENGINES)):
            if getattr(self, name) not in accepted:
                raise InputError(f"{name}: found {getattr(self, name)!r}, accepted {', '.join(accepted)}")
        for name in ("devices", "teacher_devices"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: found {getattr(self, name)}, accepted 1 or more")

    def share(self, work: Work) -> Work:
        """What the fullest of the devices that train has of a step: prompts are dealt out whole."""
        return replace(work, prompts=ceil(work.prompts / self.devices))

    def teachers_share(self, work: Work) -> Work:
        """What the teacher scores on one device."""
        devices = self.teacher_devices if self.teacher_at == "elsewhere" else self.devices
        return replace(work, prompts=ceil(work.prompts / devices))

    @property
    def trainable(self) -> int:
        """Parameters with gradients."""
        return self.student.lora_parameters(self.lora_rank) if self.lora_rank else self.student.parameters

    @property
    def weight_traffic(self) -> int:
        """Bytes moved for a weight in each decoding step: 4 in float32, else 2: vLLM's, a frozen base's, or those of
        autocast's copy of weights that train."""
        return 2 if self.mixed or self.engine == "vllm" else 4

    @property
    def base_bytes(self) -> int:
        """Of a weight of the student: 4, or 2 of an adapter's base, which does not train."""
        return 2 if self.mixed and self.lora_rank else 4


def step_seconds(setup: Setup, work: Work) -> dict[str, float]:
    """Seconds of each stage of one step, one after the other, as the trainer takes them, and their "total".

    "teacher" is what the step waits for it: all of `scoring_seconds`, less `hidden_seconds`. Each device does its
    `share`; all wait for the fullest.
    """
    share = setup.share(work)
    seconds = {
        "generation": generation_seconds(setup, share),
        "verification": share.rollouts * share.verify_seconds,
        "teacher": scoring_seconds(setup, setup.teachers_share(work)) - hidden_seconds(setup, work),
        "update": update_seconds(setup, share),
    }
    return {**seconds, "total": sum(seconds.values())}


def hidden_seconds(setup: Setup, work: Work) -> float:
    """Of the teacher's, those that the student spends at work itself, at most what is left to it once rollouts come:

    generation · (1 - response / (batches · longest)) + update's first part, with generation's batches

    Several devices update in one part, when the teacher has answered: generation alone counts. A teacher on the
    student's own device takes from the student what it gains: none are counted.
    """
    if not setup.streaming or setup.teacher_at != "elsewhere":
        return 0.0
    share = setup.share(work)
    first_ones = share.response_tokens / (generation_batches(setup, share) * share.longest)
    left = generation_seconds(setup, share) * (1 - first_ones)
    if setup.devices == 1:
        left += passes_seconds(setup, share, share.parts[0])
    return min(scoring_seconds(setup, setup.teachers_share(work)), left)


def compared(setup: Setup, work: Work) -> dict[str, dict[str, float]]:
    """`step_seconds` of the same work by the methods that Table 8 has; those that cannot be, for want of a teacher, are
    left out."""
    methods = [name for name in PAPER_METHODS if setup.teacher or not METHODS[name].needs_teacher]
    return {name: step_seconds(setup, replace(work, method=name)) for name in methods}


def generation_seconds(setup: Setup, work: Work) -> float:
    """Prefill of each prompt, once for its G rollouts, and decoding.

    prefill  FLOP / (utilisation · peak FLOP/s)
    decode   max(FLOP / (utilisation · peak FLOP/s), bytes / (utilisation · bandwidth)) + idle, where
             steps = batches · longest response
             FLOP  = of every response token, read alone
             bytes = steps · weights · weight_traffic + Σ over tokens of the cache before it · `cache_traffic`
             idle  = steps · layers · layer_seconds (none for vLLM, which replays recorded launches)

    Rows leave the batch as they end; weights are read at every step all the same.
    """
    model, device = sampler(setup, work), setup.device
    prompt, response = work.prompt_tokens, work.response_tokens
    steps = generation_batches(setup, work) * work.longest
    pairs, written = work.rollouts * attended_pairs(prompt, prompt + response), work.rollouts * response
    weights = steps * (model.active + model.head) * setup.weight_traffic
    moved = weights + pairs * cache_size(model) * cache_traffic(setup, work)
    rate = UTILISATION["prefill"] * device.flops
    prefill = work.prompts * model.forward_flops(prompt, attended_pairs(0, prompt), 0) / rate
    busy = max(model.forward_flops(written, pairs, written) / rate, moved / (UTILISATION["decode"] * device.bandwidth))
    idle = 0.0 if setup.engine == "vllm" else steps * model.layers * device.layer_seconds
    return prefill + busy + idle


def generation_batches(setup: Setup, work: Work) -> int:
    return ceil(work.rollouts / setup.sequences_per_batch)


def sampler(setup: Setup, work: Work) -> Architecture:
    """Who writes the responses: the student; kd's are the teacher's."""
    return needed_teacher(setup) if METHODS[work.method].baseline == "kd" else setup.student


def cache_bytes(setup: Setup, work: Work) -> int:
    """Of a number in the cache of `transformers`: 4 (rotary embeddings are float32 under autocast too), 2 where the
    sampler's weights are bfloat16: an adapter's base, or kd's teacher."""
    frozen = setup.lora_rank or METHODS[work.method].baseline == "kd"
    return 2 if setup.mixed and frozen else 4


def cache_traffic(setup: Setup, work: Work) -> int:
    """Bytes moved for a number in the KV cache in each decoding step: 3 · cache_bytes, as `transformers` writes it anew
    when it grows and then reads it; where autocast casts float32, 4 more. vLLM reads 2 in place."""
    if setup.engine == "vllm":
        return 2
    size = cache_bytes(setup, work)
    return 3 * size + (4 if setup.mixed and size == 4 else 0)


def scoring_seconds(setup: Setup, work: Work) -> float:
    """The teacher reads `scored` · B rollouts (`reading_flops`): FLOP of a forward pass / (utilisation · peak)."""
    rows = work.scored * work.rollouts
    if not rows:
        return 0.0
    model, batches = needed_teacher(setup), batch_count(setup, work, rows)
    idle = batches * model.layers * setup.device.layer_seconds
    return reading_flops(model, work, rows, batches) / (UTILISATION["scoring"] * setup.device.flops) + idle


def update_seconds(setup: Setup, work: Work) -> float:
    """Both parts' `passes_seconds`, and AdamW's 28 bytes a trained parameter / (devices · bandwidth)."""
    if not work.updated:
        return 0.0
    optimizer = 28 * setup.trainable / (setup.devices * UTILISATION["decode"] * setup.device.bandwidth)
    return sum(passes_seconds(setup, work, share) for share in work.parts) + optimizer


def passes_seconds(setup: Setup, work: Work, share: float) -> float:
    """Forward and backward of that share of rollouts: passes · FLOP of a forward pass / (utilisation · peak).

    passes = 3: forward, gradient of the activations, gradient of the weights; 2 with LoRA, whose base needs no
    gradient of its weights; 1 more with gradient checkpointing, which computes the forward pass twice (and reads a
    prompt with each of its rollouts).
    """
    student, device, rows = setup.student, setup.device, share * work.rollouts
    if not rows:
        return 0.0
    passes = (2 if setup.lora_rank else 3) + setup.gradient_checkpointing
    batches = batch_count(setup, work, rows)
    apart = forward_flops(student, work, rows)
    flops = apart if setup.gradient_checkpointing else reading_flops(student, work, rows, batches)
    return passes * (flops / (UTILISATION["update"] * device.flops) + batches * student.layers * device.layer_seconds)


def batch_count(setup: Setup, work: Work, rows: float) -> int:
    return ceil(rows * (work.prompt_tokens + work.response_tokens) / setup.tokens_per_microbatch)


def forward_flops(model: Architecture, work: Work, rows: float) -> float:
    """FLOP of reading `rows` prompts with their responses; logits of response tokens only."""
    length = work.prompt_tokens + work.response_tokens
    return rows * model.forward_flops(length, attended_pairs(0, length), work.response_tokens)


def reading_flops(model: Architecture, work: Work, rows: float, batches: int) -> float:
    """The same where a prompt is read once for its rollouts in a batch, if that saves enough (scope_lab.prefix).

    prompts read = batches · P · (1 - (1 - 1/batches)^(rows/P)), at most `rows`: a prompt's rollouts fall into any batch
    """
    from .prefix import WORTH_IT  # here, so that the command line starts without torch

    prompt, response, P = work.prompt_tokens, work.response_tokens, work.prompts
    prompts = min(rows, batches * P * (1 - (1 - 1 / batches) ** (rows / P)))
    if prompts * prompt + rows * response > WORTH_IT * rows * (prompt + response):
        return forward_flops(model, work, rows)
    of_prompts = prompts * model.forward_flops(prompt, attended_pairs(0, prompt), 0)
    return of_prompts + rows * model.forward_flops(response, attended_pairs(prompt, prompt + response), response)


def needed_teacher(setup: Setup) -> Architecture:
    """Raises InputError where the method wants a teacher and there is none."""
    if setup.teacher is None:
        raise InputError("teacher: this method needs one")
    return setup.teacher


def cache_size(model: Architecture) -> int:
    """2 · layers · kv_width: numbers that a token leaves in the KV cache, its keys and values."""
    return 2 * model.layers * model.kv_width
