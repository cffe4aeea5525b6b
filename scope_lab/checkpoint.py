"""A run folder and its checkpoints: written whole or not at all (durable.py), and read back exactly.

RUN/config.yaml              every setting
RUN/manifest.json            versions, device, commit, seconds
RUN/metrics.jsonl            a line a step (scope_lab/metrics.py); metrics.jsonl.gz in a run that was made compact
RUN/evaluations/step-*.json  held-out counts a problem
RUN/skipped/                 batches whose update was left out (diagnosis.py)
RUN/checkpoints/step-*/      a Hugging Face folder of the student, with optimizer.pt and state.json beside it
RUN/model                    the trained student

Of the checkpoints the newest `keep_checkpoints` stay. One counts as there when its state.json is, with every file that
this names in its full size; anything else is ignored, with a message.
"""

import gzip
import json
import os
import shlex
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from .config import HELD_OUT, ScopeConfig
from .durable import leftovers, remove_folder, sync, tidy, whole_file, whole_folder, write_text
from .errors import InputError, RunStopped
from .hardware import describe
from .redaction import without_secrets
from .settings import read_run
from .tasks.base import ALL

Weights = dict[str, torch.Tensor] | None

# Settings that may differ when a run goes on: a step computes the same, on another device or in other batches of
# sequences up to rounding, in a log-prob's sixth digit.
FREE = {
    "out", "steps", "checkpoint_every", "keep_checkpoints", "trackers", "eval_every", "device", "sequences_per_batch",
    "teacher_servers", "teacher_timeout", "teacher_concurrency", "teacher_failure_limit",
    "skipped_limit", "pipeline",
}  # fmt: skip
LOCK = ".lock"  # held by the process that trains in the folder


class RunFolder:
    """The folder of one run. With `resume` the run it holds goes on; without, such a folder is refused."""

    def __init__(self, path: str | Path, config: ScopeConfig, resume: bool = False):
        self.path = Path(path)
        self.release: Callable | None = None
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
        elif self.path.is_dir() and set(self.path.iterdir()) - {self.path / LOCK, *leftovers(self.path)}:
            raise InputError(f"out: {self.path} is not empty and holds no run; name a new folder")
        elif resume:
            raise InputError(f"resume: {self.path} holds no run to go on with")
        self.config = config

    def create(self) -> None:
        """Make the folder and write config.yaml: once everything else is known to be right."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._claim()
            self.config.save(self.path / "config.yaml")
            self.checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"out: {self.path} cannot be written ({error.strerror})") from None

    def _claim(self) -> None:
        """Take the folder for this process, until `release`. InputError where another one trains in it."""
        try:
            import fcntl
        except ImportError:  # not on Windows
            return
        if self.release:
            return
        claimed = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        self.release = weakref.finalize(self, os.close, claimed)
        try:
            fcntl.lockf(claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"out: another process trains in {self.path}; wait for it, or name a new folder") from None

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def evaluation(self, step: int) -> Path:
        return evaluation_file(self.path, step)

    def log(self, metrics: dict) -> None:
        with self.safe_end("metrics.jsonl"), self.metrics.open("a") as file:
            file.write(json.dumps(metrics) + "\n")

    def history(self) -> list[dict]:
        return read_lines(self.metrics.read_text(), self.metrics) if self.metrics.exists() else []

    def write_manifest(self, seed: int, steps: int, seconds: float) -> None:
        """How the run was made: command, seed, steps, seconds (those before a resume too), device, versions, commit."""
        path = self.path / "manifest.json"
        earlier = json.loads(path.read_text())["seconds"] if path.exists() else 0.0
        by_command = Path(sys.argv[0]).stem in ("scope-lab", "__main__")
        manifest = {
            "command": shlex.join(["scope-lab", *without_secrets(sys.argv[1:])]) if by_command else None,
            "seed": seed,
            "steps": steps,
            "seconds": round(earlier + seconds, 1),
            **describe(),
        }
        with self.safe_end("manifest.json"):
            write_text(path, json.dumps(manifest, indent=2) + "\n")

    def save(self, step: int, model, tokenizer, optimizer_state: dict, keep: int, weights: Weights = None) -> None:
        """Write a checkpoint beside the old ones, give it its name in one move, then remove those beyond `keep`.

        weights  the model's by name, where the model itself holds shards
        """
        name = f"step-{step:06d}"
        with self.safe_end(f"checkpoint {name}"):
            if self.metrics.exists():
                sync(self.metrics)  # the lines that this checkpoint stands for
            with whole_folder(self.checkpoints / name) as folder:
                save_model(model, tokenizer, folder, weights)
                with (folder / "optimizer.pt").open("wb") as file:  # of our own: torch's hides why a write failed
                    torch.save(optimizer_state, file)
                sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
                (folder / "state.json").write_text(json.dumps({"step": step, "files": sizes}))
        self._prune(keep)

    def _prune(self, keep: int) -> None:
        for old in self.finished()[:-keep]:
            remove_folder(old)

    def save_trained(self, model, tokenizer, weights: Weights = None) -> None:
        """Write the trained student."""
        with self.safe_end("model"), whole_folder(self.path / "model") as folder:
            save_model(model, tokenizer, folder, weights)

    @contextmanager
    def safe_end(self, what: str) -> Iterator[None]:
        """Where the block cannot write (a full disk), the run stops with one line. RunStopped."""
        try:
            yield
        except Exception as error:  # files of several libraries, each with an error of its own
            cause = next((e for e in (error, error.__context__) if isinstance(e, OSError) and e.strerror), None)
            reason = cause.strerror if cause else " ".join(str(error).split())[:200] or type(error).__name__
            found = self.finished()
            held = (
                f"the last good checkpoint is {found[-1]}, --resume goes on from it" if found else "no checkpoint yet"
            )
            raise RunStopped(f"{what}: cannot be written in {self.path} ({reason}); {held}") from error

    def finished(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(path for path in self.checkpoints.glob("step-*") if checkpoint_step(path) is not None)

    def tidy(self) -> None:
        """Take the folder for this process and clear up what a kill left: before any process restores from it."""
        self._claim()
        for path in tidy(self.checkpoints) + tidy(self.path):
            tqdm.write(f"resume: ignored {path}, which is half-written")
        for path in sorted(set(self.checkpoints.glob("step-*")) - set(self.finished())):
            tqdm.write(f"resume: ignored {path}, which is not complete")

    def restore(self, model, optimizer, is_main: bool = True) -> int:
        """Load the newest checkpoint into these objects, return its step (0: none); the main process cuts the metrics
        to it. Raises InputError where it does not load."""
        finished = self.finished()
        step = 0
        if finished:
            newest = finished[-1]
            try:
                load_weights(model, newest)
                state = torch.load(newest / "optimizer.pt", weights_only=True, map_location="cpu")
                optimizer.load_state_dict(state)
            except Exception as error:  # every library under it has its own way to say that a file is not what it was
                reason = " ".join(str(error).split())[:200]
                raise InputError(
                    f"checkpoint: {newest} cannot be read ({reason}); removed, the run would go on from "
                    f"{finished[-2] if len(finished) > 1 else 'its start'}"
                ) from None
            step = checkpoint_step(newest) or 0
        if not is_main:
            return step
        self._prune(self.config.keep_checkpoints)  # a kill may have come between a save and this
        kept = [json.dumps(metrics) for metrics in self.history() if metrics["step"] <= step]
        if len(kept) != step:
            tqdm.write(f"resume: {self.metrics} has {len(kept)} lines of the first {step} steps")
        write_text(self.metrics, "".join(line + "\n" for line in kept))
        return step


def checkpoint_step(folder: Path) -> int | None:
    """The step of a complete checkpoint; None of one that is not, whatever is wrong with it."""
    try:
        state = json.loads((folder / "state.json").read_text())
        whole = all((folder / name).stat().st_size == size for name, size in state.get("files", {}).items())
        return int(state["step"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_lines(text: str, file: Path) -> list[dict]:
    """Metrics, a line a step. A last line that a kill tore is left out; raises InputError on any other bad one."""
    lines = text.split("\n")
    rows = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            rows.append(json.loads(line))
            rows[-1]["step"]
        except (ValueError, TypeError, KeyError):
            raise InputError(f"metrics: {file} line {number}: found {line[:40]!r}, accepted a step's metrics") from None
    return rows


def evaluation_file(folder: Path, step: int) -> Path:
    return folder / "evaluations" / f"step-{step:06d}.json"


def evaluation_files(folder: Path) -> dict[int, Path]:
    """A run folder's evaluations by step, in order."""
    return {int(file.stem.removeprefix("step-")): file for file in sorted(folder.glob("evaluations/step-*.json"))}


def check_same(folder: Path, config: ScopeConfig) -> None:
    """Raises InputError naming the first setting in which the run in a folder differs, but for those that may."""
    held = _settled(ScopeConfig(**read_run(folder)))
    for name, value in _settled(config).items():
        if name == "steps" and config.schedule == "cosine" and held[name] != value:
            raise InputError("steps: cannot change when a run with a cosine schedule goes on")
        if name not in FREE and held[name] != value:
            raise InputError(f"{name}: the run in {folder} has {held[name]!r}, found {value!r}; accepted the same")


def _settled(config: ScopeConfig) -> dict:
    """Its settings, where two ways to say the same are one."""
    split, problems = config.held_out_split, config.eval_problems
    settled = HELD_OUT if problems is None and split != ALL else problems
    return asdict(config) | {"eval_split": split, "eval_problems": settled}


def is_complete(folder: Path, config: ScopeConfig) -> bool:
    """Whether the run in a folder got to its last step, and was evaluated there if it should be."""
    manifest = folder / "manifest.json"
    if not manifest.is_file() or (config.evaluates and not evaluation_file(folder, config.steps).is_file()):
        return False
    return json.loads(manifest.read_text())["steps"] >= config.steps


def make_compact(folder: Path, keep_model: bool = False) -> None:
    """Keep of a complete run what results are made from: no weights, and its metrics compressed.

    May be interrupted and called again: nothing goes before what replaces it is there in full.
    """
    metrics, compressed = folder / "metrics.jsonl", folder / "metrics.jsonl.gz"
    if metrics.is_file():
        with whole_file(compressed) as file:
            file.write_bytes(gzip.compress(metrics.read_bytes(), mtime=0))  # without a time: the same bytes each time
        metrics.unlink()
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if not keep_model:
        shutil.rmtree(folder / "model", ignore_errors=True)


def read_metrics(folder: str | Path) -> pd.DataFrame:
    """Metrics of a recorded run, a row a step (scope_lab.metrics.GLOSSARY), NaN where a step had none.

    Raises InputError where the folder has none.
    """
    plain, compressed = Path(folder) / "metrics.jsonl", Path(folder) / "metrics.jsonl.gz"
    if compressed.is_file() and not plain.is_file():
        text = gzip.decompress(compressed.read_bytes()).decode()
    else:
        text = plain.read_text() if plain.is_file() else ""
    if not (rows := read_lines(text, plain)):
        raise InputError(f"run: {folder} holds no metrics")
    return pd.DataFrame(rows).astype(float).astype({"step": int})


def save_model(model, tokenizer, folder: Path, weights: Weights = None) -> None:
    """A student as a Hugging Face folder; of a model with adapters its own alone, not a teacher's beside it."""
    # Embeddings never train with an adapter; peft would look for the base's on the hub to make sure.
    own = {"selected_adapters": ["default"], "save_embedding_layers": False}
    model.save_pretrained(folder, state_dict=weights, **(own if hasattr(model, "peft_config") else {}))
    tokenizer.save_pretrained(folder)


def load_weights(model, folder: Path) -> None:
    """Weights of a checkpoint into a model that has its shape already; adapters into an adapter.

    Raises InputError where the checkpoint's weights are not those of the model, each of them.
    """
    from safetensors.torch import load_file

    if hasattr(model, "peft_config"):
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        state = load_file(folder / "adapter_model.safetensors")
        differ = state.keys() ^ get_peft_model_state_dict(model, save_embedding_layers=False).keys()
        load = partial(set_peft_model_state_dict, model)
    else:
        shards = sorted(folder.glob("model*.safetensors"))
        state = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
        tied = set(getattr(model, "_tied_weights_keys", None) or ())  # stored once, so absent under their second name
        differ = (state.keys() ^ model.state_dict().keys()) - tied
        load = partial(model.load_state_dict, strict=False)
    if differ:
        raise InputError(f"checkpoint {folder}: weights do not fit the model ({', '.join(sorted(differ)[:3])})")
    load(state)
