"""A run that is killed at any instant and resumed ends as if nothing had happened: weights, optimizer, metrics."""

import itertools
import json
import os
import pickle
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mortal
import pytest
import torch
from safetensors.torch import load_file, save_file

from scope_lab.checkpoint import RunFolder
from scope_lab.cli import main
from scope_lab.settings import build_config

STEPS = 4
SETTINGS = (
    f"--pair countdown --steps {STEPS} --prompts-per-step 2 --rollouts-per-prompt 4 --eval-problems 4 "
    "--eval-samples 4 --eval-every 2 --checkpoint-every 1 --train-problems 8 --device cpu"
).split()
METHODS = {
    "scope": "--method scope",
    "scope, LoRA": "--method scope --lora-rank 2",
    "grpo, KL": "--method grpo --kl-coef 0.01 --eval-problems 0",
    "opd, LoRA": "--method opd --lora-rank 2 --checkpoint-every 2",
    "kd": "--method kd --eval-problems 0",
    "reference, two updates": "--method reference --updates-per-batch 2 --clip 0.2 --checkpoint-every 3",
}
QUICK = ("scope", "scope, LoRA")


def command(out: Path, method: str) -> list[str]:
    return ["train", *SETTINGS, *METHODS[method].split(), "--out", str(out)]


def train(out: Path, method: str, *more, **faults) -> mortal.Ended:
    return mortal.run(*command(out, method), *more, below=out, **faults)


def resume(out: Path, method: str) -> mortal.Ended:
    """Go on as a user would: a run that was killed before it had a folder is simply started."""
    ended = train(out, method, *(["--resume"] if (out / "config.yaml").exists() else []))
    assert ended.code == 0, ended.err
    return ended


def record(run: Path) -> dict:
    """Everything a run leaves behind that does not depend on the clock, as numbers and text."""
    found: dict = {"files": sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file())}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        metrics = json.loads(line)
        assert ("step", metrics["step"]) not in found, "a line twice"
        timed = {name for name in metrics if name.startswith("seconds") or name == "tokens_per_second"}
        found["step", metrics["step"]] = {name: value for name, value in metrics.items() if name not in timed}
    for file in run.rglob("*.safetensors"):
        for name, tensor in load_file(file).items():
            found[file.relative_to(run).as_posix(), name] = tensor
    for file in run.rglob("optimizer.pt"):
        for parameter, state in torch.load(file, weights_only=True)["state"].items():
            for name, value in state.items():
                found[file.relative_to(run).as_posix(), parameter, name] = value
    for file in run.rglob("evaluations/*.json"):
        found[file.relative_to(run).as_posix()] = file.read_text()
    return found


def differences(ours: dict, theirs: dict) -> list:
    def same(a, b) -> bool:
        return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b

    return [key for key in ours.keys() | theirs.keys() if not same(ours.get(key), theirs.get(key))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run of a method, made once: what it recorded, and how often each kind of thing happened."""
    made: dict[str, tuple[dict, dict]] = {}

    def of(method: str) -> tuple[dict, dict]:
        if method not in made:
            out = tmp_path_factory.mktemp("whole") / "run"
            ended = train(out, method)
            assert ended.code == 0, ended.err
            made[method] = record(out), ended.counts
        return made[method]

    return of


def instants(n: int, methods, seed: int) -> list[tuple[str, str, float]]:
    """(method, kind, where): n random places, the kinds and methods taking turns."""
    rng = random.Random(seed)
    return [(methods[i % len(methods)], mortal.KINDS[i % len(mortal.KINDS)], rng.random()) for i in range(n)]


def check_killed(whole, faults, tmp_path, method: str, kind: str, where: float) -> None:
    expected, counts = whole(method)
    out = tmp_path / "run"
    with faults(f"kill -9 of a training: at a pass or file ({kind})") as fault:
        ended = train(out, method, at=(kind, 1 + int(where * counts[kind])))
        assert ended.code == -signal.SIGKILL
        resume(out, method)
        wrong = differences(record(out), expected)
        fault.wrong_numbers = len(wrong)
        assert not wrong


@pytest.mark.parametrize(("method", "kind", "where"), instants(4, QUICK, seed=1))
def test_killed_and_resumed_is_the_uninterrupted_run(method, kind, where, whole, faults, tmp_path):
    check_killed(whole, faults, tmp_path, method, kind, where)


@pytest.mark.trust_long
@pytest.mark.parametrize(("method", "kind", "where"), instants(25, tuple(METHODS), seed=2))
def test_killed_at_25_instants(method, kind, where, whole, faults, tmp_path):
    check_killed(whole, faults, tmp_path, method, kind, where)


@pytest.mark.trust_long
@pytest.mark.parametrize("method", QUICK)
def test_killed_at_every_change_of_its_folder(method, whole, faults, tmp_path):
    """Each attempt lives for one file operation more than the one before: between any two of them the disk is sound."""
    expected, counts = whole(method)
    ended = None
    for place in range(1, counts["files"] + 1, 3):
        out = tmp_path / f"run{place}"
        with faults("kill -9 of a training: at every third file operation") as fault:
            ended = train(out, method, at=("files", place))
            assert ended.code == -signal.SIGKILL
            resume(out, method)
            fault.wrong_numbers = len(differences(record(out), expected))
            assert fault.wrong_numbers == 0, place
        shutil.rmtree(out)


@pytest.mark.trust_long
def test_killed_again_and_again(whole, faults, tmp_path):
    """Every attempt is killed a little later, in the resumed part too, until one gets through."""
    expected, counts = whole("scope")
    out, ended, place = tmp_path / "run", None, 0
    while ended is None or ended.code:
        place += counts["files"] // 8
        with faults("kill -9 of a training: again and again") as fault:
            more = ["--resume"] if (out / "config.yaml").exists() else []
            ended = train(out, "scope", *more, at=("files", place))
            assert ended.code in (0, -signal.SIGKILL)
    fault.wrong_numbers = len(differences(record(out), expected))
    assert not fault.wrong_numbers and place > counts["files"] // 8


def test_what_a_power_cut_leaves_is_ignored_with_a_message(whole, faults, tmp_path):
    """A half-written checkpoint, one whose file lost its end, and a torn last line of the metrics."""
    out = tmp_path / "run"
    assert train(out, "scope", at=("files", whole("scope")[1]["files"] - 8)).code == -signal.SIGKILL
    checkpoints = sorted(out.glob("checkpoints/step-*"))
    half, torn = checkpoints[0].with_name(".step-000009.unfinished"), checkpoints[-1].with_name("step-000008")
    shutil.copytree(checkpoints[-1], half), shutil.copytree(checkpoints[-1], torn)
    (half / "state.json").unlink()
    with (torn / "optimizer.pt").open("r+b") as file:
        file.truncate(1000)
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "reward": 0.2')
    with faults("power cut: half a checkpoint, half a file, half a line", injected=3) as fault:
        ended = resume(out, "scope")
        assert ".step-000009.unfinished, which is half-written" in ended.out
        assert "step-000008, which is not complete" in ended.out
        shutil.rmtree(torn)
        fault.wrong_numbers = len(differences(record(out), whole("scope")[0]))
        assert fault.wrong_numbers == 0


class Tiny(torch.nn.Linear):
    """A student, and its tokenizer, that are saved as Hugging Face's are."""

    def save_pretrained(self, folder, state_dict=None):
        save_file(dict(self.named_parameters()), folder / "model.safetensors")


def killed_at(place: int, work) -> bool:
    """Run `work` in a fork that ends before its `place`-th rename or removal. Whether it got as far."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = itertools.count(place - 1, -1)
    sys.addaudithook(lambda event, _: os._exit(9) if event in mortal.CHANGES and next(left) == 0 else None)
    work()
    os._exit(0)


def test_a_kill_while_a_checkpoint_replaces_another_of_its_step_loses_nothing(faults, tmp_path):
    """As where a run stops right after a checkpoint; RUN/model is replaced in the same way."""
    config = build_config(None, {"pair": "countdown", "out": str(tmp_path / "run"), "keep_checkpoints": 1})
    model, lines = Tiny(2, 2), "".join(f'{{"step": {step}}}\n' for step in range(1, 51))
    optimizer = torch.optim.AdamW(model.parameters())

    def save(folder: RunFolder) -> None:
        folder.save(50, model, model, optimizer.state_dict(), keep=1)
        folder.save_trained(model, model)

    with faults("kill -9 while a checkpoint replaces another") as fault:
        for place in itertools.count(1):
            shutil.rmtree(config.out, ignore_errors=True)
            folder = RunFolder(config.out, config)
            folder.create()
            folder.metrics.write_text(lines)
            save(folder)
            killed = killed_at(place, lambda folder=folder: save(folder))
            folder.release()
            again = RunFolder(config.out, config, resume=True)
            again.tidy()
            found = again.restore(model, optimizer), again.metrics.read_text(), len(list(again.path.glob("model/*")))
            again.release()
            assert found == (50, lines, 1) and not list(again.path.rglob(".*.*")), place
            if not killed:
                break
        fault.injected = fault.survived = place - 1
    assert place > 15


@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_checkpoints_stay(keep, tmp_path):
    out = tmp_path / "run"
    assert main(["train", *SETTINGS, "--eval-problems", "0", "--keep-checkpoints", str(keep), "--out", str(out)]) == 0
    kept = [f"step-{step:06d}" for step in range(STEPS - keep + 1, STEPS + 1)]
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == kept


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [("sampling", 1), ("update", 2)])
def test_a_signal_saves_and_says_how_to_go_on(with_signal, at, whole, faults, tmp_path):
    out = tmp_path / "a run"
    kind = "update" if at[0] == "update" else "first evaluation"
    with faults(f"{signal.Signals(with_signal).name} in the {kind}") as fault:
        ended = train(out, "scope", at=at, with_signal=with_signal)
        assert ended.code == 0, ended.err
        stopped = next(line for line in ended.out.splitlines() if line.startswith("stopped at step"))
        printed = shlex.split(stopped.partition("this goes on: ")[2])
        assert printed[0] == "scope-lab" and printed[-1] == "--resume"
        assert main(printed[1:]) == 0
        fault.wrong_numbers = len(differences(record(out), whole("scope")[0]))
        assert fault.wrong_numbers == 0


def test_two_processes_never_train_in_one_folder(whole, faults, tmp_path, capsys):
    """One stands still in its third step, as on a machine that sleeps; another is told to resume its run."""
    out = tmp_path / "run"
    with faults("a second process in a run's folder") as fault:
        at = ("update", whole("scope")[1]["update"] * 5 // 8)
        first = mortal.start(*command(out, "scope"), below=out, at=at, with_signal=signal.SIGSTOP)
        while Path(f"/proc/{first.process.pid}/stat").read_text().split(") ")[1][0] != "T":
            time.sleep(0.05)
        code = main([*command(out, "scope"), "--resume"])
        os.kill(first.process.pid, signal.SIGCONT)
        assert code == 2 and "another process trains in" in capsys.readouterr().err
        assert first.end().code == 0
        fault.wrong_numbers = len(differences(record(out), whole("scope")[0]))
        assert fault.wrong_numbers == 0


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 6 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def check_stopped(ended: mortal.Ended, out: Path, what: str) -> list[Path]:
    """One clear line, no half-written thing left; the complete checkpoints."""
    last = ended.err.splitlines()[-1]
    assert ended.code == 1 and "Traceback" not in ended.err, ended.err
    assert last.startswith("scope-lab: ") and "cannot be written" in last and what in last, last
    assert not list(out.rglob(".*unfinished*"))
    return sorted(path.parent for path in out.glob("checkpoints/step-*/state.json"))


def test_a_full_disk_leaves_the_last_good_checkpoint(tiny_disk, whole, faults, tmp_path):
    out = tiny_disk / "run"
    with faults("disk full while saving") as fault:
        ended = train(out, "scope", "--keep-checkpoints", "9", "--eval-problems", "0")
        good = check_stopped(ended, out, "No space left")
        assert good and f"the last good checkpoint is {good[-1]}" in ended.err
        moved = shutil.copytree(out, tmp_path / "run")  # room at last
        assert main(["train", *SETTINGS, "--eval-problems", "0", "--out", str(moved), "--resume"]) == 0
        expected = {k: v for k, v in whole("scope")[0].items() if k[0] == "step"}
        ours = {k: v for k, v in record(moved).items() if k[0] == "step"}
        fault.wrong_numbers = len(differences(ours, expected))
        assert fault.wrong_numbers == 0


@pytest.mark.parametrize(("size", "every", "what"), [(3_000, 0, "metrics"), (300_000, 1, ""), (2_000_000, 1, "")])
def test_no_file_may_grow_beyond_a_limit(size, every, what, faults, tmp_path):
    """A quota's way to be full: the metrics, the weights (1.4 MB) or the optimizer's state (2.7 MB) do not fit."""
    out = tmp_path / "run"
    with faults("a file beyond the quota while saving"):
        limit = (resource.RLIMIT_FSIZE, size)
        ended = train(out, "scope", "--eval-problems", "0", "--checkpoint-every", str(every), limit=limit)
        assert check_stopped(ended, out, what) == []


@pytest.mark.parametrize("command", ["evaluate", "rollout"])
def test_a_killed_sampling_goes_on_after_its_finished_batches(command, faults, tmp_path):
    sizes = ["--pair", "countdown", "--problems", "12", "--samples", "4", "--batch-size", "8", "--device", "cpu"]

    def sampled(out: Path, **faults_) -> mortal.Ended:
        return mortal.run(command, *sizes, "--out", out, below=out.parent, **faults_)

    name = "out.json" if command == "evaluate" else "out.parquet"
    reference = tmp_path / "whole" / name
    reference.parent.mkdir()
    counts = sampled(reference).counts
    rng = random.Random(3)
    for kind in ("sampling", "files"):
        out = tmp_path / kind / name
        out.parent.mkdir()
        with faults(f"kill -9 of `{command}`") as fault:
            assert sampled(out, at=(kind, rng.randint(2, counts[kind] - 1))).code == -signal.SIGKILL
            assert sampled(out).code == 0
            fault.wrong_numbers = int(out.read_bytes() != reference.read_bytes())
            assert fault.wrong_numbers == 0
            assert [path.name for path in out.parent.iterdir()] == [name]


@pytest.mark.parametrize("size", [1_000, 8_000])
def test_a_sampling_that_cannot_be_written_stops_with_one_line(size, faults, tmp_path):
    """First a batch, then the table of all is too large; what was sampled stays, for when there is more room."""
    out = tmp_path / "out.parquet"
    arguments = ["rollout", "--pair", "countdown", "--problems", "40", "--samples", "4", "--batch-size", "16"]
    with faults("a file beyond the quota while saving") as fault:
        ended = mortal.run(*arguments, "--out", out, below=tmp_path / "run", limit=(resource.RLIMIT_FSIZE, size))
        assert ended.code == 1 and "Traceback" not in ended.err, ended.err
        assert "cannot be written" in ended.err.splitlines()[-1] and not out.exists()
        assert len(list(Path(f"{out}.partial").glob("*.safetensors"))) == (0 if size == 1_000 else 10)
        assert mortal.run(*arguments, "--out", out, below=tmp_path / "run").code == 0
        fault.wrong_numbers = int(not out.exists())


def test_a_poisoned_optimizer_state_is_refused_and_not_run(faults, tmp_path, capsys):
    out, canary = tmp_path / "run", tmp_path / "canary"
    again = [*command(out, "scope"), "--eval-problems", "0"]
    assert main([*again, "--steps", "1"]) == 0

    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    file = out / "checkpoints/step-000001/optimizer.pt"
    with faults("a pickle that runs a program, as optimizer state"):
        for written in (pickle.dumps(Payload()), None):
            if written is None:
                torch.save({"state": Payload()}, file)
            else:
                file.write_bytes(written)
            state = file.with_name("state.json")
            state.write_text(json.dumps({"step": 1}))
            capsys.readouterr()
            assert main([*again, "--resume"]) == 2
            err = capsys.readouterr().err
            assert "checkpoint: " in err and "cannot be read" in err and err.count("\n") == 1
            assert not canary.exists()
