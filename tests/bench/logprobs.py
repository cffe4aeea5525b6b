"""Time and peak memory of response log-probs, forward and backward, against whole logits.

`python tests/bench/logprobs.py [--out data/bench/logprobs.json]`. Each case runs in a process of its own, so that its
peak is its own; the model is a single narrow layer, so that the output layer is what counts. Cases whose whole logits
would not fit the free memory are left out and named.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from scope_lab.hardware import describe
from scope_lab.logprobs import response_logprobs, token_logprobs

VOCABULARIES, LENGTHS, HIDDEN = (49_152, 151_936), (512, 2_048, 8_192), 512
TARGET = 0.10  # of the memory of whole logits, at the larger vocabulary
COPIES = 5  # float32 tensors of (T, V) that whole logits need at once: an estimate, to leave out what cannot fit


def measure(way: str, vocabulary: int, length: int) -> dict:
    """Seconds, and megabytes above what the model itself takes, of one forward and backward pass."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=HIDDEN, intermediate_size=HIDDEN, num_hidden_layers=1,
        num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=2 * length, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    tokens_BL = torch.randint(vocabulary, (1, length + 1))
    attention_BL = torch.ones_like(tokens_BL, dtype=torch.bool)
    before, started = peak_mb(), time.perf_counter()
    if way == "chunked":
        logp_BT = response_logprobs(model, tokens_BL, attention_BL, length)
    else:
        logp_BT = token_logprobs(model(tokens_BL, use_cache=False).logits[:, :-1], tokens_BL[:, 1:])
    logp_BT.sum().backward()
    seconds, norm = time.perf_counter() - started, float(model.get_output_embeddings().weight.grad.norm())
    return {
        "seconds": round(seconds, 2),
        "megabytes": round(peak_mb() - before),
        "sum": logp_BT.sum().item(),
        "norm": norm,
    }


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def free_mb() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/bench/logprobs.json"))
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        way, vocabulary, length = arguments.case
        print(json.dumps(measure(way, int(vocabulary), int(length))))
        return
    rows, left_out = [], []
    for vocabulary in VOCABULARIES:
        for length in LENGTHS:
            row: dict = {"vocabulary": vocabulary, "tokens": length}
            needed = COPIES * length * vocabulary * 4 / 2**20
            if needed > 0.8 * free_mb():
                left_out.append({**row, "whole_logits_need_mb": round(needed)})
                continue
            for way in ("whole", "chunked"):
                command = [sys.executable, __file__, "--case", way, str(vocabulary), str(length)]
                row[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for name in ("sum", "norm"):
                a, b = (row[way].pop(name) for way in ("whole", "chunked"))
                assert abs(a - b) < 1e-4 * abs(a), f"{name}: {a} whole, {b} chunked"
            row |= {f"{name}_ratio": round(row["chunked"][name] / max(row["whole"][name], 1e-9), 3)
                    for name in ("seconds", "megabytes")}  # fmt: skip
            rows.append(row)
            print(row, flush=True)
    result = {
        "what": "response log-probs, forward and backward, chunked against whole logits; one layer, float32",
        "target_megabytes_ratio": {str(VOCABULARIES[-1]): TARGET},
        "cases": rows,
        "left_out_for_memory": left_out,
        "hardware": describe(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
