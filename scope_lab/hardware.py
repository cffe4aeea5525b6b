"""Which device a run uses, in one word for the code and in words for the record."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from .errors import InputError


def pick_device(device: str = "auto") -> str:
    """ "auto" is CUDA where there is a device, else the CPU. Raises ValueError for a device that is not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device: found {device!r}, but this torch sees no CUDA device; accepted auto, cpu")
    if device not in ("cpu", "cuda"):
        raise InputError(f"device: found {device!r}, accepted auto, cpu, cuda")
    return device


def free_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict:
    """Device, threads and versions, for a manifest. Names no path and no host."""
    import torch

    packages = ("torch", "transformers", "accelerate", "numpy")
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        threads = torch.get_num_threads()
        device = f"{platform.machine()} CPU, {threads} thread{'s' if threads > 1 else ''}"
    return {
        "device": device,
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in packages},
        "commit": git_commit(),
    }


def git_commit() -> str | None:
    """The project's commit with `+` where the tree has changes, None outside a clone."""
    from .models import DATA

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(DATA.parent), *arguments], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    return commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def start_peak(device: str = "cpu") -> int:
    """Bytes held now, from which moment on `peak_bytes` counts.

    On a GPU what torch's allocator gave out; on a CPU the process' resident memory (Linux: OSError elsewhere).
    """
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def peak_bytes(device: str = "cpu") -> int:
    """Most bytes held at a time since `start_peak`."""
    import torch

    return torch.cuda.max_memory_allocated() if device == "cuda" else _resident("VmHWM")


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
