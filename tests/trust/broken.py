"""Files and folders that are not what they should be, each made from a good one: see test_bad_input.py."""

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from scope_lab.models import DATA

STUDENT = DATA / "models" / "countdown-student"
PROBLEMS = "".join(
    json.dumps({"id": str(i), "problem": f"8,3,5,{i}={20 + i}:", "answer": str(20 + i)}) + "\n" for i in range(1, 41)
)


def model(change: Callable[[Path], None]) -> Callable[[Path], str]:
    """A copy of the bundled student, changed."""

    def make(folder: Path) -> str:
        copy = folder / "model"
        shutil.copytree(STUDENT, copy)
        change(copy)
        return "model"

    return make


def json_file(name: str, change: Callable[[dict], object]) -> Callable[[Path], str]:
    """The student with one of its JSON files changed in place, or replaced by what `change` returns."""

    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(change(content) or content))

    return model(edit)


def weights(change: Callable[[dict], object]) -> Callable[[Path], str]:
    def edit(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    return model(edit)


def pickled(folder: Path) -> None:
    """The same weights as a pickle alone."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def with_code(folder: Path) -> None:
    """A model whose configuration asks for code of its own, which would leave a file behind."""
    code = f"open({str(folder.parent / 'canary')!r}, 'w')\n"
    code += "from transformers import LlamaConfig as C, LlamaForCausalLM as M\n"
    (folder / "own.py").write_text(code)
    content = json.loads((folder / "config.json").read_text())
    content["auto_map"] = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}
    content["model_type"] = "of_my_own"
    (folder / "config.json").write_text(json.dumps(content))


def adapter_without_base(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "./gone"}')
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def swapped_merge(folder: Path) -> Path:
    """Two byte-pair tokenizers in a student's folder each, that differ in the order of one merge."""
    for name, merges in (("model", [["a", "b"], ["b", "c"]]), ("other", [["b", "c"], ["a", "b"]])):
        copy = folder / name
        shutil.copytree(STUDENT, copy)
        content = json.loads((copy / "tokenizer.json").read_text())
        vocabulary = content["model"]["vocab"]
        for token in ("a", "b", "c", "ab", "bc"):
            vocabulary[token] = max(vocabulary.values()) + 1
        content["model"] = {
            "type": "BPE", "dropout": None, "unk_token": content["model"].get("unk_token"),
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "vocab": vocabulary, "merges": merges,
        }  # fmt: skip
        content["pre_tokenizer"] = None
        (copy / "tokenizer.json").write_text(json.dumps(content))
        state = load_file(copy / "model.safetensors")
        rows = max(vocabulary.values()) + 1
        for key, tensor in state.items():
            if key in ("model.embed_tokens.weight", "lm_head.weight"):
                state[key] = torch.cat([tensor, tensor[: rows - len(tensor)]]) if rows > len(tensor) else tensor
        save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, "vocab_size": max(rows, config["vocab_size"])}))
    return folder


def text(content: str | bytes, name: str) -> Callable[[Path], str]:
    """A file with this content."""

    def make(folder: Path) -> str:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return make


def recipe(content: str | bytes) -> Callable[[Path], str]:
    return text(content, "mine.yaml")


def problems(content: str | bytes) -> Callable[[Path], str]:
    return text(content, "mine.jsonl")


def changed_line(**change) -> Callable[[Path], str]:
    """A good file of problems whose second line is changed."""
    first, second, *rest = PROBLEMS.splitlines()
    return problems("\n".join([first, json.dumps({**json.loads(second), **change}), *rest]))


@functools.cache
def _good_rollouts() -> pd.DataFrame:
    frame = pd.read_parquet(DATA / "rollouts" / "countdown.parquet").head(64)
    return frame


def rollouts(change: Callable[[pd.DataFrame], object]) -> Callable[[Path], str]:
    """A good rollouts file, changed in place or replaced by what `change` returns."""

    def make(folder: Path) -> str:
        frame = _good_rollouts().copy()
        found = change(frame)
        (frame if found is None else found).to_parquet(folder / "mine.parquet", index=False)  # type: ignore[union-attr]
        return "mine.parquet"

    return make


def column(name: str, value) -> Callable[[Path], str]:
    """A good rollouts file with this in every row of one column."""
    return rollouts(lambda frame: frame.assign(**{name: [value] * len(frame)}))


def cell(name: str, value) -> Callable[[Path], str]:
    """A good rollouts file with one cell changed."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: [value, *frame[name][1:]]})

    return rollouts(change)


def truncated_rollouts(folder: Path) -> str:
    name = rollouts(lambda frame: None)(folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    return name


def short_logp(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(student_logp=[np.asarray(x)[:-1] for x in frame.student_logp])


def evaluation(**change) -> Callable[[Path], str]:
    """A recorded evaluation, changed."""

    def make(folder: Path) -> str:
        content = json.loads((DATA / "results" / "smollm2-student.json").read_text())
        (folder / "mine.json").write_text(json.dumps({**content, **change}))
        return "mine.json"

    return make


def plan(**change) -> Callable[[Path], str]:
    """A plan of two runs, changed; None takes a key out."""
    good: dict = {"out": "runs", "seeds": [0], "variants": {"scope": {"pair": "countdown"}}}
    content = {key: value for key, value in {**good, **change}.items() if value is not None}
    return recipe(json.dumps(content))


def folder(name: str) -> Callable[[Path], str]:
    def make(place: Path) -> str:
        (place / name).mkdir()
        return name

    return make


def tree(place: Path) -> dict[str, bytes | None]:
    """Every file and folder, with its content."""
    return {
        os.path.relpath(path, place): path.read_bytes() if path.is_file() else None for path in sorted(place.rglob("*"))
    }
