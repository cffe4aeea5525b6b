"""A sampling that is cut off goes on after its finished batches, and ends as if nothing had happened."""

import copy
import os
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from scope_lab.cli import main
from scope_lab.engines.finished import FinishedBatches
from scope_lab.engines.transformers import sample
from scope_lab.rollouts import Rollouts, Sampling
from scope_lab.tasks import load_task

SAMPLING = Sampling(max_new_tokens=27, seed=3)


class CutOffError(Exception):
    pass


def cut_off(after: int):
    """Progress that ends like a killed process after so many batches."""

    def progress(batches):
        for i, batch in enumerate(batches):
            if i == after:
                raise CutOffError
            yield batch

    return progress


def draw(student, tokenizer, finished=None, progress=lambda batches: batches, sampling=SAMPLING) -> Rollouts:
    problems = load_task("countdown").problems("test", 12, seed=1)
    return sample(student, tokenizer, problems, 4, sampling, batch_size=8, finished=finished, progress=progress)


@pytest.mark.parametrize("batches", [0, 1, 4])
def test_it_goes_on_to_the_same_end(student, tokenizer, tmp_path, batches):
    whole, finished = draw(student, tokenizer), FinishedBatches(tmp_path / "out.parquet")
    with pytest.raises(CutOffError):
        draw(student, tokenizer, finished, cut_off(batches))
    assert len(list(finished.folder.iterdir())) == batches
    again = draw(student, tokenizer, FinishedBatches(tmp_path / "out.parquet"))
    assert torch.equal(again.tokens_BT, whole.tokens_BT)
    assert torch.equal(again.student_logp_BT.nan_to_num(), whole.student_logp_BT.nan_to_num())
    finished.remove()
    assert not finished.folder.exists()


def test_batches_of_another_sampling_are_left_alone(student, tokenizer, tmp_path):
    finished = FinishedBatches(tmp_path / "out")
    draw(student, tokenizer, finished)
    other = Sampling(max_new_tokens=27, seed=4)
    drawn = draw(student, tokenizer, finished, sampling=other)
    assert torch.equal(drawn.tokens_BT, draw(student, tokenizer, sampling=other).tokens_BT)
    assert len(list(finished.folder.iterdir())) == 12


def test_another_model_is_another_sampling(student, rollouts, tmp_path):
    other = copy.deepcopy(student)
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    finished, keys = FinishedBatches(tmp_path / "out"), set()
    for model in (student, other):
        finished.begin(model, rollouts.prompt_tokens, SAMPLING, 8)
        keys.add(finished.key)
    assert len(keys) == 2


def test_a_killed_rollout_command_goes_on(tmp_path, capsys):
    def command(out) -> list[str]:
        sizes = ["--problems", "60", "--samples", "8", "--batch-size", "16"]
        return ["rollout", "--pair", "countdown", *sizes, "--device", "cpu", "--out", str(out)]

    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    assert main(command(whole)) == 0
    folder = FinishedBatches(out).folder
    process = subprocess.Popen(
        [sys.executable, "-m", "scope_lab", *command(out)], stderr=subprocess.DEVNULL, env=os.environ
    )
    deadline = time.time() + 120
    while time.time() < deadline and len(list(folder.glob("*.safetensors"))) < 3:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not out.exists() and len(list(folder.glob("*.safetensors"))) >= 3
    assert main(command(out)) == 0
    assert not folder.exists() and not FinishedBatches(whole).folder.exists()
    pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(whole))
