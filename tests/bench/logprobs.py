"""Time and peak memory of token log-probs, forward and backward: ours, whole logits, and the kernels of others.

`python tests/bench/logprobs.py [--out data/bench/logprobs.json]`. What is measured is the output layer alone, from
its inputs to the gradients of inputs and weights, in float32 on one thread. Each case runs in a process of its own,
whose peak of resident memory is set back once inputs, weights and an old gradient are there. Cases whose whole logits
would not fit the free memory are left out and named; their chunked passes are measured all the same. With `--missing`
cases that the file has already are kept.

- whole     logits of every token at once, as autograd keeps them
- chunked   scope_lab.vocabulary.chunked_logprobs
- torch     torch.nn.functional.linear_cross_entropy with its own chunks (2.13 and later; no softcap)
- trl       trl.kernels.chunked_logprob, as its trainers use it (one tile of 4,096 tokens × 4,096 entries)

Liger's kernel and cut-cross-entropy's need Triton, so that they run on a GPU alone. Seconds are the processor's,
which other work on a machine disturbs less.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

from scope_lab.hardware import describe, peak_bytes, start_peak
from scope_lab.vocabulary import chunked_logprobs, token_logprobs

VOCABULARIES, LENGTHS, HIDDEN = (49_152, 151_936), (512, 2_048, 8_192), 512
TARGET = 0.10  # of the memory of whole logits, at the larger vocabulary
WAYS = ("whole", "chunked", "torch", "trl")
TORCH_AT_MOST = 2**27  # logits: its chunks on a CPU are so small that more takes minutes
COPIES = 3  # float32 tensors of (T, V) that whole logits need at once: an estimate, to leave out what cannot fit


def scored(way: str, hidden_NH: torch.Tensor, head: torch.nn.Linear, tokens_N: torch.Tensor) -> torch.Tensor:
    if way == "whole":
        return token_logprobs(head(hidden_NH), tokens_N)
    if way == "chunked":
        return chunked_logprobs(head, head.forward, hidden_NH, tokens_N)
    if way == "torch":
        options = torch.nn.LinearCrossEntropyOptions()
        return -functional.linear_cross_entropy(hidden_NH, head.weight, tokens_N, reduction="none", options=options)
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    return ChunkedLogProbFunction.apply(hidden_NH, head.weight, None, tokens_N, 1.0, 4096, None, 1.0, ())[0]


def measure(way: str, vocabulary: int, length: int) -> dict:
    """Processor seconds of one forward and backward pass after a small one; megabytes at its peak above the start."""
    torch.manual_seed(0)
    head = torch.nn.Linear(HIDDEN, vocabulary, bias=False)
    hidden_NH = torch.randn(length, HIDDEN, requires_grad=True)
    tokens_N = torch.randint(vocabulary, (length,))
    scored(way, hidden_NH[:8], head, tokens_N[:8]).sum().backward()  # loads what is loaded late, and makes gradients
    head.weight.grad.zero_()
    before = start_peak()
    started = time.process_time()
    logp_N = scored(way, hidden_NH, head, tokens_N)
    logp_N.sum().backward()
    seconds = time.process_time() - started
    return {
        "seconds": round(seconds, 2),
        "megabytes": round((peak_bytes() - before) / 2**20),
        "sum": logp_N.sum().item(),
        "norm": float(head.weight.grad.norm()),
    }


def free_mb() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable"))


def compare(vocabulary: int, length: int) -> dict:
    """One row: every way, checked to give the same numbers, and seconds and megabytes as parts of whole logits'."""
    row: dict = {"vocabulary": vocabulary, "tokens": length}
    needed = COPIES * length * vocabulary * 4 / 2**20
    ways = WAYS if needed < 0.8 * free_mb() else WAYS[1:]
    if length * vocabulary > TORCH_AT_MOST or not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        ways = tuple(way for way in ways if way != "torch")
    for way in ways:
        # -P: a script beside this one is named like the library trl
        command = [sys.executable, "-P", __file__, "--case", way, str(vocabulary), str(length)]
        row[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for name in ("sum", "norm"):
        values = [row[way].pop(name) for way in ways]
        assert max(values) - min(values) < 1e-4 * abs(values[0]), f"{name}: {dict(zip(ways, values, strict=True))}"
    if "whole" in row:
        for way in ways[1:]:
            row[way] |= {f"{name}_ratio": round(row[way][name] / row["whole"][name], 3)
                         for name in ("seconds", "megabytes")}  # fmt: skip
    else:
        row["whole_logits_need_mb"] = round(needed)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/bench/logprobs.json"))
    parser.add_argument("--missing", action="store_true", help="keep the cases that the file has")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.case:
        way, vocabulary, length = arguments.case
        print(json.dumps(measure(way, int(vocabulary), int(length))))
        return
    kept = json.loads(arguments.out.read_text())["cases"] if arguments.missing else []
    rows = {(row["vocabulary"], row["tokens"]): row for row in kept}
    for case in itertools.product(VOCABULARIES, LENGTHS):
        if case not in rows:
            rows[case] = compare(*case)
            print(rows[case], flush=True)
    result = {
        "what": "token log-probs from the output layer's inputs, forward and backward, float32, one thread",
        "hidden": HIDDEN,
        "target_megabytes_ratio": {str(VOCABULARIES[-1]): TARGET},
        "cases": [rows[case] for case in sorted(rows)],
        "hardware": describe(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
