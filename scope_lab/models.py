"""Models by hub id, folder or bundled name, and the check that student and teacher read the same tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .hardware import pick_device

DATA = Path(__file__).resolve().parent.parent / "data"
BUNDLED = {
    "countdown-student": "0.3 M parameters, plays Countdown, often wrong",
    "countdown-teacher": "1.8 M parameters, the same game, clearly better",
}
PAIRS = {"countdown": ("countdown-student", "countdown-teacher", "countdown")}

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
    """A bundled name as its folder; a folder or hub id as it is. Raises ValueError for a path that is not there."""
    if name in BUNDLED:
        folder = DATA / "models" / name
        if not (folder / "config.json").is_file():
            raise InputError(
                f"model: {name} is not built; run `scope-lab models build countdown` in a clone of the project"
            )
        return str(folder)
    path = Path(name).expanduser()
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        if not path.is_dir():
            raise InputError(f"model: {name} is not a folder")
        if not (path / "config.json").is_file():
            raise InputError(f"model: folder {name} has no config.json, so it holds no Hugging Face model")
        return str(path)
    return name


def load_tokenizer(name: str):
    from transformers import AutoTokenizer

    source = resolve(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left")
    except Exception as error:  # every library under it has its own way to say that a file is not what it should be
        raise InputError(_cannot_load("tokenizer", name, error)) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(name: str, *, device: str = "auto", dtype: str = "float32"):
    """A causal language model from safetensors, in evaluation mode. Raises ValueError with one line on any failure."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # loading and saving shards; our own bars say what takes long
    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise InputError(f"dtype: found {dtype!r}, accepted float32, bfloat16 or float16")
    source = resolve(name)
    model: Any
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False
        )
    except Exception as error:  # every library under it has its own way to say that a file is not what it should be
        raise InputError(_cannot_load("model", name, error)) from None
    return model.to(pick_device(device)).eval()


def _cannot_load(what: str, name: str, error: Exception) -> str:
    bundled = ", ".join(BUNDLED)
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"{what}: {name} could not be loaded; accepted a folder, a hub id or one of {bundled} ({reason[:200]})"


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
    """A student with its teacher: a named pair ("countdown"), or any two models that share a tokenizer.

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
