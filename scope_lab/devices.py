"""Devices as the cost model sees them: four numbers, from data sheets or measured here in a second."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from .errors import InputError


@dataclass(frozen=True)
class Device:
    """Peaks that no program reaches; `cost.UTILISATION` says what part of them is counted on.

    flops          FLOP/s of dense matrix products: bfloat16 on a GPU, float32 on a CPU
    bandwidth      bytes/s between memory and processor
    memory         bytes
    layer_seconds  seconds that a forward pass through one layer takes however little it computes: Python and launches
    kind           "cuda" or "cpu"
    """

    name: str
    flops: float
    bandwidth: float
    memory: float
    layer_seconds: float
    kind: str = "cuda"


GIB = 2**30
# What eager `transformers` takes on the processors that GPUs are sold with: an assumption, not measured here.
EAGER = 6e-4

# Dense bfloat16 with float32 sums, and memory bandwidth, from NVIDIA's data sheets.
DEVICES = {
    device.name: device
    for device in (
        Device("h100", 989e12, 3.35e12, 80 * GIB, EAGER),
        Device("a100-80", 312e12, 2.04e12, 80 * GIB, EAGER),
        Device("a100-40", 312e12, 1.56e12, 40 * GIB, EAGER),
        Device("rtx-4090", 165e12, 1.01e12, 24 * GIB, EAGER),
        Device("l4", 121e12, 0.30e12, 24 * GIB, EAGER),
        # Four cores, an order of magnitude; `probe` measures yours.
        Device("laptop", 0.25e12, 40e9, 16 * GIB, 3e-4, "cpu"),
    )
}


def device(name: str) -> Device:
    """A device by name; "cpu", "cuda" and "here" (CUDA where there is one) are measured. Raises InputError."""
    if name in DEVICES:
        return DEVICES[name]
    if name not in ("cpu", "cuda", "here"):
        raise InputError(f"on: found {name!r}, accepted {', '.join(DEVICES)}, cpu, cuda or here (measured)")
    return probe("auto" if name == "here" else name)


def probe(kind: str = "auto", seconds: float = 1.0) -> Device:
    """Measure this machine, with the threads that torch uses now: a matrix product, a read of 256 MB, an idle layer.

    kind     "auto", "cpu" or "cuda"
    seconds  that all three take together, after their first call
    """
    import torch

    from .hardware import pick_device

    kind = pick_device(kind)
    dtype, part = (torch.bfloat16 if kind == "cuda" else torch.float32), seconds / 3
    n = 8192 if kind == "cuda" else 1024
    left, right = (torch.randn(n, n, device=kind, dtype=dtype) for _ in range(2))
    weights = torch.randn(2**28 // (n * left.element_size()), n, device=kind, dtype=dtype)
    vector, layers, model = torch.randn(n, device=kind, dtype=dtype), 4, _idle_model(kind, 4)
    token = torch.zeros((1, 1), dtype=torch.long, device=kind)
    with torch.no_grad():
        product = _fastest(lambda: left @ right, part)
        read = _fastest(lambda: weights @ vector, part)
        idle = _fastest(lambda: model(input_ids=token, use_cache=True), part)
    if kind == "cuda":
        name, memory = torch.cuda.get_device_name(), float(torch.cuda.get_device_properties(0).total_memory)
    else:
        n_threads = torch.get_num_threads()
        name, memory = f"CPU, {n_threads} thread{'s' if n_threads > 1 else ''}", _main_memory()
    return Device(name, 2 * n**3 / product, weights.nbytes / read, memory, idle / layers, kind)


def _idle_model(kind: str, layers: int):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=32, intermediate_size=32, num_attention_heads=1, num_hidden_layers=layers, vocab_size=8
    )
    with torch.device(kind):
        return LlamaForCausalLM(config).eval()


def _fastest(run: Callable, seconds: float) -> float:
    """Seconds of the quickest of as many runs as fit: what disturbs a machine only ever adds."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    run()
    wait()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        wait()
        best = min(best, time.perf_counter() - start)
    return best


def _main_memory() -> float:
    """Of the machine, bytes."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not on Windows
        return float("inf")
