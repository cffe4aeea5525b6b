"""Models by hub id, folder or bundled name, and the check that student and teacher read the same tokens."""

import json
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from .errors import InputError
from .fetch import FETCHABLE, cached
from .hardware import pick_device

DATA = Path(__file__).resolve().parent.parent / "data"
BUNDLED = {
    "countdown-student": "0.3 M parameters, plays Countdown, often wrong",
    "countdown-teacher": "1.8 M parameters, the same game, clearly better",
    "grid-student": "0.3 M parameters, finds shortest paths through a grid, often wrong",
    "grid-teacher": "0.6 M parameters, the same task, clearly better",
    "strings-student": "0.3 M parameters, writes Python functions of a string by example, often wrong",
    "strings-teacher": "0.6 M parameters, the same task, clearly better",
}
# LoRA adapters, bundled too; the base that they name is loaded beneath them.
ADAPTERS = {"smollm2-teacher": "LoRA adapter on smollm2-135m, solves the word problems clearly better"}
PAIRS = {
    "countdown": ("countdown-student", "countdown-teacher", "countdown"),
    "grid": ("grid-student", "grid-teacher", "grid_path"),
    "strings": ("strings-student", "strings-teacher", "string_function"),
    "smollm2": ("smollm2-135m", "smollm2-teacher", "word_problems"),
}

UNTRAINED = "untrained:"  # before a model's name: its architecture with random weights, a control

# Texts whose tokens must agree: digits, spaces, code, several scripts, what tokenizers like to split differently.
PROBES = (
    "8,3,5,2=21:8*3=24,24-5=19,19+2=21",
    "The answer is 1,234.50 dollars.\n\nStep 2:  x = 3/4",
    "def f(x):\n\treturn x**2  # naïve",
    "日本語 русский العربية 😀 ∑∫√ \u00a0\u200b",
    "\\boxed{\\frac{1}{2}}",
)


@dataclass
class Pair:
    """A student, a teacher (None where it was not asked for), and the tokenizer they share.

    `task` is what a named pair was made for, else None.
    """

    student: Any
    teacher: Any
    tokenizer: Any
    student_name: str
    teacher_name: str
    task: str | None = None


def resolve(name: str) -> str:
    """A bundled or fetched name as its folder; a folder or hub id as it is. Raises ValueError for what is not there.

    `untrained:NAME` is where NAME is.
    """
    name = name.removeprefix(UNTRAINED)
    if name in BUNDLED or name in ADAPTERS:
        folder = DATA / "models" / name
        if not _holds_model(folder):
            what = name if name in ADAPTERS else name.rpartition("-")[0]
            raise InputError(
                f"model: {name} is not built; run `scope-lab models build {what}` in a clone of the project"
            )
        return str(folder)
    if name in FETCHABLE:
        if (fetched := cached(name)) is None:
            raise InputError(f"model: {name} is not fetched; run `scope-lab models fetch {name}`")
        return str(fetched)
    path = Path(name).expanduser()
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        if not path.is_dir():
            raise InputError(f"model: {name} is not a folder")
        if not _holds_model(path):
            inside = f"; did you mean {path / 'model'}?" if _holds_model(path / "model") else ""
            raise InputError(f"model: folder {name} has no config.json, so it holds no Hugging Face model{inside}")
        return str(path)
    return name


def _holds_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()


def adapter_base(name: str) -> str | None:
    """The base that a LoRA adapter's folder names, as a name, folder or hub id; None for a model that is whole.

    Raises ValueError where the adapter names no base.
    """
    file = Path(resolve(name)) / "adapter_config.json"
    if not file.is_file():
        return None
    try:
        base = json.loads(file.read_text())["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str) or not base:
        raise InputError(f"model: {file} names no base_model_name_or_path")
    return base


def check_adapter(name: str) -> None:
    """Raises InputError for an adapter that is not in safetensors: peft would read a pickle instead."""
    if not (Path(resolve(name)) / "adapter_model.safetensors").is_file():
        raise InputError(f"model: {name} has no adapter_model.safetensors")


def load_tokenizer(name: str):
    from transformers import AutoTokenizer

    source = resolve(name)
    if (base := adapter_base(name)) and not (Path(source) / "tokenizer_config.json").is_file():
        return load_tokenizer(base)  # an adapter reads its base's tokens
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", trust_remote_code=False)
    except Exception as error:  # every library under it has its own way to say that a file is not what it should be
        raise InputError(_cannot_load("tokenizer", name, error)) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(name: str, *, device: str = "auto", dtype: str = "float32"):
    """A causal language model from safetensors, in evaluation mode; a LoRA adapter comes merged into its base.

    Pickled weights and code of a model's own are refused, and so are weights that are missing or not finite.
    `dtype` is a torch dtype's name, or auto: float32 on a CPU, bfloat16 on a GPU.
    `untrained:NAME` has the weights that NAME's architecture starts from, always the same ones.
    Raises ValueError with one line on any failure.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # loading and saving shards; our own bars say what takes long
    if dtype == "auto":
        dtype = "bfloat16" if pick_device(device) == "cuda" else "float32"
    if dtype not in ("float32", "bfloat16", "float16", "float64"):
        raise InputError(f"dtype: found {dtype!r}, accepted auto, float32, bfloat16, float16 or float64")
    source = resolve(name)
    model: Any
    if base := adapter_base(name):
        check_adapter(name)
        model = _merged(load_model(base, device="cpu"), source, name).to(getattr(torch, dtype))
    else:
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # every library under it has its own way to say that a file is not what it should be
            raise InputError(_cannot_load("model", name, error)) from None
        model, found = loaded
        if missing := sorted(found["missing_keys"]):  # the library would fill them with random numbers
            raise InputError(f"model: {name} has no weights for {', '.join(missing[:3])}")
    bad = [key for key, parameter in model.named_parameters() if not parameter.isfinite().all()]
    if bad:
        raise InputError(f"model: {name} has weights that are not finite, in {', '.join(bad[:3])}")
    if name.startswith(UNTRAINED):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model.load_state_dict(type(model)(model.config).state_dict())
    model.name_or_path = name  # what an adapter trained on it will name as its base: a name, not this machine's folder
    return model.to(pick_device(device)).eval()


def _merged(base, folder: str, name: str):
    """A float32 base with the adapter added to its weights: merging in half precision would round them twice."""
    try:
        from peft import PeftModel
    except ImportError:
        raise InputError(f"model: {name} is a LoRA adapter, which needs the package peft (not installed)") from None
    try:
        return PeftModel.from_pretrained(base, folder).merge_and_unload()
    except Exception as error:
        raise InputError(_cannot_load("adapter", name, error)) from None


def with_adapter(model, rank: int, alpha: int):
    """The model with a new LoRA adapter on all its linear layers, which alone trains. InputError without peft."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise InputError("lora_rank: needs the package peft, which is not installed") from None
    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, settings)


def _cannot_load(what: str, name: str, error: Exception) -> str:
    bundled = ", ".join([*BUNDLED, *ADAPTERS, *FETCHABLE])
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    if "trust_remote_code" in str(error):
        reason = "it asks for code of its own, which is never run"
    return f"{what}: {name} could not be loaded; accepted a folder, a hub id or one of {bundled} ({reason})"


def load_pair(
    name: str | None = None,
    *,
    student: str | None = None,
    teacher: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    teacher_dtype: str | None = None,
    allow_mismatch: bool = False,
    with_teacher: bool = True,
) -> Pair:
    """A student with its teacher: a named pair ("countdown", "smollm2"), or any two models that share a tokenizer.

    dtype, teacher_dtype  a torch dtype's name; with_teacher=False leaves the teacher out, for methods without one

    Raises ValueError for an unknown pair, a model that cannot be loaded, or tokenizers that differ
    (`check_compatible`) unless `allow_mismatch`.
    """
    task = None
    if name is not None:
        if name not in PAIRS:
            raise InputError(f"pair: found {name!r}, accepted {', '.join(PAIRS)}, or set student and teacher")
        student, teacher, task = student or PAIRS[name][0], teacher or PAIRS[name][1], PAIRS[name][2]
    if not student or (with_teacher and not teacher):
        raise InputError("pair: set pair, or both student and teacher")
    tokenizer = load_tokenizer(student)
    student_model = load_model(student, device=device, dtype=dtype)
    if not with_teacher or not teacher:
        return Pair(student_model, None, tokenizer, student, "", task)
    teacher_model = load_model(teacher, device=device, dtype=teacher_dtype or dtype)
    if not allow_mismatch:
        check_compatible(tokenizer, load_tokenizer(teacher), student_model, teacher_model)
    return Pair(student_model, teacher_model, tokenizer, student, teacher, task)


def check_compatible(student_tokenizer, teacher_tokenizer, student, teacher) -> None:
    """Refuse a pair whose tokens do not mean the same: different encodings, chat templates, EOS or too few embeddings.

    Raises ValueError naming the first difference and how to override it.
    """
    override = "; --allow-mismatch overrides"
    for probe in PROBES:
        ours, theirs = student_tokenizer(probe).input_ids, teacher_tokenizer(probe).input_ids
        if ours != theirs:
            raise InputError(
                f"tokenizers differ: {probe[:24]!r} is {ours[:8]}… for the student, {theirs[:8]}… for the teacher"
                + override
            )
    if student_tokenizer.get_vocab() != teacher_tokenizer.get_vocab():
        different = set(student_tokenizer.get_vocab().items()) ^ set(teacher_tokenizer.get_vocab().items())
        example = sorted({token for token, _ in different})[0]
        raise InputError(f"tokenizers differ in {len(different)} entries, {example!r} among them" + override)
    # Five texts use few of a real tokenizer's merges, so that one may differ unseen, or stand in another order.
    merges = zip_longest(_merges(student_tokenizer), _merges(teacher_tokenizer))
    for number, (ours, theirs) in enumerate(merges, start=1):
        if ours != theirs:
            raise InputError(
                f"tokenizers differ: merge {number} is {ours} for the student, {theirs} for the teacher" + override
            )
    for role, model in (("student", student), ("teacher", teacher)):
        rows = model.get_input_embeddings().num_embeddings
        if rows < len(student_tokenizer):
            raise InputError(f"embeddings: the {role} has {rows}, the tokenizer {len(student_tokenizer)} tokens")
    if student_tokenizer.chat_template != teacher_tokenizer.chat_template:
        raise InputError("chat templates of student and teacher differ" + override)
    ours, theirs = (
        stop_token_ids(student, student_tokenizer),
        stop_token_ids(teacher, teacher_tokenizer),
    )
    if ours != theirs:
        raise InputError(f"EOS tokens differ: {ours} for the student, {theirs} for the teacher" + override)


def _merges(tokenizer) -> list:
    """The pairs that a byte-pair tokenizer joins, first to last; [] of another kind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return json.loads(backend.to_str())["model"].get("merges", []) if backend else []


def stop_token_ids(model, tokenizer) -> list[int]:
    """Every token that ends a response: of the tokenizer, of the model's config and of its generation config."""
    found: set[int] = set()
    generation = getattr(model, "generation_config", None)
    for source in (
        tokenizer.eos_token_id,
        getattr(model.config, "eos_token_id", None),
        getattr(generation, "eos_token_id", None),
    ):
        if source is not None:
            found.update([source] if isinstance(source, int) else source)
    if not found:
        raise InputError("EOS: neither tokenizer nor model names an end-of-sequence token")
    return sorted(found)
