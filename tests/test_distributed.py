"""Two processes do what one does: gradients, weights, metrics, evaluations, files; with DDP and with FSDP2, on a CPU.

distributed_cases.py says what is run in each process. Launched as a user launches them, so these are slow.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from distributed_cases import CASES, SMALL
from safetensors.torch import load_file
from test_trainer import without_times

from scope_lab import ScopeTrainer
from scope_lab.cli import build_parser
from scope_lab.distributed import Ranks, joined
from scope_lab.settings import RECIPES, build_config

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("distributed")]

WAYS = {"ddp": ["--multi_gpu"], "fsdp2": ["--use_fsdp", "--fsdp_version", "2"]}
LAUNCH = [
    sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
]  # fmt: skip
# Differences of rounding, or shown to their last digits.
ROUNDING = {"sampler_gap", "sampler_gap_mean", "grad_norm", "entropy"}


def launch(way: str | None, *words: str) -> subprocess.Popen:
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(here.parent), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*LAUNCH, *WAYS[way]] if way else [sys.executable]
    return subprocess.Popen(
        [*command, *words], cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-4000:]
    return output


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """What distributed_cases.py found, by way; a list over ranks. "one" is a single process."""
    folders = {way: tmp_path_factory.mktemp(str(way)) for way in (None, *WAYS)}
    for way, folder in folders.items():
        finished(launch(way, "distributed_cases.py", str(folder)))
    return {
        way or "one": [torch.load(file, weights_only=False) for file in sorted(folder.glob("*.pt"))]
        for way, folder in folders.items()
    }


@pytest.fixture(params=WAYS)
def two(request, found) -> list[dict]:
    assert len(found[request.param]) == 2
    return found[request.param]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_does(case, found, two):
    """Five prompts on two ranks, one prompt on two, one rollout a prompt, two updates a batch, adapters."""
    ((one,), both) = found["one"], two
    for theirs in both:
        ours, theirs = one[case], theirs[case]
        assert theirs["processes"] == 2 and theirs["responses"] == ours["responses"]
        for name in ("gradients", "weights"):
            assert theirs[name].keys() == ours[name].keys() and ours[name]
            assert all((theirs[name][key] - x).abs().max() <= 1e-6 for key, x in ours[name].items())
        assert theirs["evaluations"] == ours["evaluations"]
        same_metrics(theirs["history"], ours["history"])


def same_metrics(theirs: list[dict], ours: list[dict]) -> None:
    assert len(theirs) == len(ours)
    for a, b in zip(without_times(theirs), without_times(ours), strict=True):
        assert a.keys() == b.keys()
        assert {k: v for k, v in a.items() if k not in ROUNDING} == {k: v for k, v in b.items() if k not in ROUNDING}
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)


def test_fsdp2_holds_shards_and_ddp_does_not(found):
    for way in WAYS:
        for part in ("sharded", "layers_apart"):
            assert {rank["scope"][part] for rank in found[way]} == {way == "fsdp2"}


def test_the_main_process_alone_keeps_what_is_saved(found, two):
    (one,), (main, other) = found["one"], two
    for i, entries in one["scope"]["state"]["state"].items():
        assert all((main["scope"]["state"]["state"][i][name] - x).abs().max() <= 1e-6 for name, x in entries.items())
    assert other["scope"]["state"] == {}


def test_a_resumed_run_equals_the_uninterrupted_one_to_the_last_bit(two):
    for rank in two:
        whole, resumed = rank["scope"], rank["resumed"]
        assert all(torch.equal(x, resumed["weights"][name]) for name, x in whole["weights"].items())
        assert without_times(resumed["history"]) == without_times(whole["history"])


def test_a_mistake_that_one_process_finds_ends_all_with_one_line(two):
    said = [rank["mistake of one"] for rank in two]
    assert said[0].startswith("InputError") and "max_new_tokens: found 4096" in said[0]
    assert said[1] == "SystemExit(2)"


def test_a_signal_to_one_process_stops_all_and_any_number_goes_on(tmp_path):
    settings = {**SMALL, "steps": 500, "eval_problems": 3, "eval_samples": 2, "checkpoint_every": 0}
    run = tmp_path / "run"
    words = [
        "-m",
        "scope_lab",
        "train",
        *(w for k, v in settings.items() for w in (f"--{k.replace('_', '-')}", str(v))),
    ]
    process = launch("fsdp2", *words, "--out", str(run))
    until(lambda: (run / "metrics.jsonl").is_file(), process)
    (second,) = (child for child in psutil.Process(process.pid).children() if child.environ()["LOCAL_RANK"] == "1")
    second.send_signal(signal.SIGTERM)
    assert finished(process).count("--resume goes on") == 1
    (checkpoint,) = (run / "checkpoints").iterdir()
    stopped = json.loads((checkpoint / "state.json").read_text())["step"]
    assert 0 < stopped < 500
    settings["steps"] = steps = stopped + 2

    alone, whole = tmp_path / "alone", tmp_path / "whole"
    shutil.copytree(run, alone)
    words[words.index("500")] = str(steps)
    output = finished(launch("fsdp2", *words, "--out", str(run), "--resume"))
    assert output.count(f"trained {steps} steps") == 1
    ScopeTrainer(build_config(None, {**settings, "out": str(alone)}), resume=True, progress=False).train()
    ScopeTrainer(build_config(None, {**settings, "out": str(whole)}), progress=False).train()
    ours = load_file(whole / "model" / "model.safetensors")
    for folder in (run, alone):
        theirs = load_file(folder / "model" / "model.safetensors")
        assert theirs.keys() == ours.keys() and all((theirs[k] - x).abs().max() < 1e-5 for k, x in ours.items())
        lines = [
            [json.loads(line) for line in (which / "metrics.jsonl").read_text().splitlines()]
            for which in (folder, whole)
        ]
        same_metrics(*lines)
        assert {p.name for p in folder.iterdir()} >= {p.name for p in whole.iterdir()}


def until(condition, process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[0][-4000:]
        time.sleep(0.05)


def of_rank(rank: int, size: int) -> Ranks:
    ranks = Ranks()
    ranks.rank, ranks.size = rank, size
    return ranks


@pytest.mark.parametrize("n", [0, 1, 2, 5, 7, 64])
def test_shares_are_blocks_of_like_size_that_cover_everything(n):
    for size in (1, 2, 3, 8):
        shares = [of_rank(rank, size).share(n) for rank in range(size)]
        assert [i for share in shares for i in share] == list(range(n))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_rows_are_dealt_out_evenly_by_length():
    length_B = torch.tensor([5, 90, 10, 80, 7, 70, 60, 3, 1])
    rows = torch.tensor([0, 1, 2, 3, 4, 5, 6, 8])
    dealt = [of_rank(rank, 2).deal(rows, length_B) for rank in (0, 1)]
    assert sorted(torch.cat(dealt).tolist()) == rows.tolist()
    loads = [int(length_B[part].sum()) for part in dealt]
    assert abs(loads[0] - loads[1]) <= length_B.max() and abs(len(dealt[0]) - len(dealt[1])) <= 1
    assert torch.equal(of_rank(0, 1).deal(rows, length_B), rows)


def test_joined_is_the_inverse_of_select(rollouts):
    parts = [rollouts.select(rollouts.group_B == i) for i in range(len(rollouts.problems))]
    parts[0].tokens_BT = parts[0].tokens_BT[:, : int(parts[0].length_B.max())]
    for name in ("mask_BT", "student_logp_BT", "teacher_logp_BT"):
        setattr(parts[0], name, getattr(parts[0], name)[:, : parts[0].tokens_BT.shape[1]])
    again = joined(parts)
    for name in ("group_B", "mask_BT", "length_B", "correct_B"):
        assert torch.equal(getattr(again, name), getattr(rollouts, name))
    assert torch.equal(again.tokens_BT.where(again.mask_BT, 0), rollouts.tokens_BT.where(rollouts.mask_BT, 0))
    assert torch.equal(again.student_logp_BT.nan_to_num(), rollouts.student_logp_BT.nan_to_num())
    assert again.responses == rollouts.responses and again.problems == rollouts.problems
    assert again.prompt_tokens == rollouts.prompt_tokens


@pytest.mark.parametrize("recipe", ["eight_gpus", "several_nodes"])
def test_a_recipes_launch_line_starts_it(recipe):
    said = " ".join(line.lstrip("# ") for line in (RECIPES / f"{recipe}.yaml").read_text().splitlines())
    (line,) = re.findall(r"accelerate launch (.+? --out \S+)", said)
    options, words = line.split(" -m scope_lab ")
    assert shlex.split(options)[:3] == WAYS["fsdp2"]
    parsed = build_parser().parse_args(shlex.split(words))
    settings = {key[4:]: value for key, value in vars(parsed).items() if key.startswith("set_")}
    assert parsed.recipe == recipe
    settings.pop("teacher_servers", None)  # its value is a placeholder
    assert build_config(recipe, settings).out
