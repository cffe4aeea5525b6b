"""A run folder and its checkpoints: written whole or not at all, and read back exactly.

RUN/config.yaml              every setting
RUN/manifest.json            versions, device, commit, seconds
RUN/metrics.jsonl            a line a step (scope_lab/metrics.py); metrics.jsonl.gz in a run that was made compact
RUN/evaluations/step-*.json  held-out counts a problem
RUN/checkpoints/step-*/      a Hugging Face folder of the student, with optimizer.pt and state.json beside it
RUN/model                    the trained student
"""

import gzip
import json
import os
import shutil
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
import torch
import yaml

from .config import ScopeConfig
from .errors import InputError
from .hardware import describe

# Settings that may differ when a run goes on: they do not change what a step computes.
FREE = {
    "out", "steps", "checkpoint_every", "keep_checkpoints", "trackers", "eval_every", "device", "sequences_per_batch",
}  # fmt: skip


class RunFolder:
    """The folder of one run. With `resume` the run it holds goes on; without, such a folder is refused."""

    def __init__(self, path: str | Path, config: ScopeConfig, resume: bool = False):
        self.path = Path(path)
        held = self.path / "config.yaml"
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"out: {self.path} is a file, accepted a folder")
        if held.exists():
            if not resume:
                raise InputError(
                    f"out: {self.path} holds another run; add --resume to go on with it, or name a new folder"
                )
            check_same(self.path, config)
            if (self.path / "metrics.jsonl.gz").is_file():
                raise InputError(f"resume: {self.path} keeps no checkpoint to go on from; name a new folder")
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise InputError(f"out: {self.path} is not empty and holds no run; name a new folder")
        elif resume:
            raise InputError(f"resume: {self.path} holds no run to go on with")
        self.config = config

    def create(self) -> None:
        """Make the folder and write config.yaml: once everything else is known to be right."""
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.config.save(self.path / "config.yaml")
        except OSError as error:
            raise InputError(f"out: {self.path} cannot be written ({error.strerror})") from None

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def evaluation(self, step: int) -> Path:
        return evaluation_file(self.path, step)

    def log(self, metrics: dict) -> None:
        with self.metrics.open("a") as file:
            file.write(json.dumps(metrics) + "\n")

    def history(self) -> list[dict]:
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text().splitlines() if line.endswith("}")]

    def write_manifest(self, seed: int, steps: int, seconds: float) -> None:
        """How the run was made: command, seed, steps, seconds (those before a resume too), device, versions, commit."""
        path = self.path / "manifest.json"
        earlier = json.loads(path.read_text())["seconds"] if path.exists() else 0.0
        by_command = Path(sys.argv[0]).stem in ("scope-lab", "__main__")
        manifest = {
            "command": " ".join(["scope-lab", *sys.argv[1:]]) if by_command else None,
            "seed": seed,
            "steps": steps,
            "seconds": round(earlier + seconds, 1),
            **describe(),
        }
        unfinished = path.with_name("manifest.json.tmp")
        unfinished.write_text(json.dumps(manifest, indent=2) + "\n")
        os.replace(unfinished, path)

    def save(self, step: int, model, tokenizer, optimizer, keep: int) -> None:
        """Write a checkpoint beside the old ones, give it its name in one move, then remove those beyond `keep`."""
        name = f"step-{step:06d}"
        unfinished = self.checkpoints / f".{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        save_model(model, tokenizer, unfinished)
        torch.save(optimizer.state_dict(), unfinished / "optimizer.pt")
        (unfinished / "state.json").write_text(json.dumps({"step": step}))
        final = self.checkpoints / name
        shutil.rmtree(final, ignore_errors=True)
        os.replace(unfinished, final)
        for old in self.finished()[:-keep]:
            shutil.rmtree(old)

    def finished(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(p for p in self.checkpoints.glob("step-*") if (p / "state.json").is_file())

    def restore(self, model, optimizer) -> int:
        """Load the newest checkpoint into these objects, cut the metrics to it, return its step (0: none)."""
        step = 0
        if found := self.finished():
            newest = found[-1]
            load_weights(model, newest)
            state = torch.load(newest / "optimizer.pt", weights_only=True, map_location="cpu")
            optimizer.load_state_dict(state)
            step = json.loads((newest / "state.json").read_text())["step"]
        kept = [json.dumps(metrics) for metrics in self.history() if metrics["step"] <= step]
        unfinished = self.metrics.with_name("metrics.jsonl.tmp")
        unfinished.write_text("".join(line + "\n" for line in kept))
        os.replace(unfinished, self.metrics)
        return step


def evaluation_file(folder: Path, step: int) -> Path:
    return folder / "evaluations" / f"step-{step:06d}.json"


def check_same(folder: Path, config: ScopeConfig) -> None:
    """Raises InputError naming the first setting in which the run in a folder differs, but for those that may."""
    held = {item.name: item.default for item in fields(ScopeConfig)}  # a run may be older than a setting
    held |= yaml.safe_load((folder / "config.yaml").read_text())
    for name, value in asdict(config).items():
        if name == "steps" and config.schedule == "cosine" and held[name] != value:
            raise InputError("steps: cannot change when a run with a cosine schedule goes on")
        if name not in FREE and held[name] != value:
            raise InputError(f"{name}: the run in {folder} has {held[name]!r}, found {value!r}; accepted the same")


def is_complete(folder: Path, config: ScopeConfig) -> bool:
    """Whether the run in a folder got to its last step, and was evaluated there if it should be."""
    manifest = folder / "manifest.json"
    if not manifest.is_file() or (config.eval_problems and not evaluation_file(folder, config.steps).is_file()):
        return False
    return json.loads(manifest.read_text())["steps"] >= config.steps


def make_compact(folder: Path, keep_model: bool = False) -> None:
    """Keep of a complete run what results are made from: no weights, and its metrics compressed.

    May be interrupted and called again: nothing goes before what replaces it is there in full.
    """
    metrics, compressed = folder / "metrics.jsonl", folder / "metrics.jsonl.gz"
    if metrics.is_file():
        unfinished = folder / "metrics.jsonl.gz.tmp"
        unfinished.write_bytes(gzip.compress(metrics.read_bytes(), mtime=0))  # without a time: the same bytes each time
        os.replace(unfinished, compressed)
        metrics.unlink()
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if not keep_model:
        shutil.rmtree(folder / "model", ignore_errors=True)


def read_metrics(folder: str | Path) -> pd.DataFrame:
    """Metrics of a recorded run, a row a step (scope_lab.metrics.GLOSSARY), NaN where a step had none.

    Raises InputError where the folder has none.
    """
    plain, compressed = Path(folder) / "metrics.jsonl", Path(folder) / "metrics.jsonl.gz"
    if plain.is_file():
        text = plain.read_text()
    elif compressed.is_file():
        text = gzip.decompress(compressed.read_bytes()).decode()
    else:
        raise InputError(f"run: {folder} holds no metrics")
    rows = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return pd.DataFrame(rows).astype(float).astype({"step": int})


def save_model(model, tokenizer, folder: Path) -> None:
    """A student as a Hugging Face folder; of a model with adapters its own alone, not a teacher's beside it."""
    # Embeddings never train with an adapter; peft would look for the base's on the hub to make sure.
    own = {"selected_adapters": ["default"], "save_embedding_layers": False}
    model.save_pretrained(folder, **(own if hasattr(model, "peft_config") else {}))
    tokenizer.save_pretrained(folder)


def load_weights(model, folder: Path) -> None:
    """Weights of a checkpoint into a model that has its shape already; adapters into an adapter."""
    from safetensors.torch import load_file

    if hasattr(model, "peft_config"):
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
        return
    shards = sorted(folder.glob("model*.safetensors"))
    state = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    tied = set(getattr(model, "_tied_weights_keys", None) or ())  # stored once, so absent under their second name
    if unexpected or not set(missing) <= tied:
        raise InputError(
            f"checkpoint {folder}: weights do not fit the model ({sorted({*missing, *unexpected} - tied)[:3]})"
        )
