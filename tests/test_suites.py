"""`evaluate --suite`: sets from a folder, parts of a set as one, going on where it was cut off, the paper's layout."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from scope_lab import models, suites
from scope_lab.cli import main
from scope_lab.evaluation import Evaluation
from scope_lab.paper import TABLE_1
from scope_lab.rollouts import Sampling
from scope_lab.suites import SUITES, average, chosen, evaluate_set, in_parts, merged, suite_text
from scope_lab.tasks import Problem


def evaluation(correct: list[int], samples: int = 2, first: int = 0, **changes) -> Evaluation:
    n = len(correct)
    settings = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_new_tokens": 8, "seed": first}
    return Evaluation(
        "model", "math:aime24", "test", samples, settings, [str(first + i) for i in range(n)], correct, correct,
        [0.0] * n,
        **{"n_unknown": 1, "n_truncated": 2, "mean_length": float(n), **changes},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Six sets of three problems; the answers of some are what the tiny model may say by chance: nothing."""
    for name in SUITES["paper-math"].sets.values():
        rows = [{"id": f"{name}-{i}", "problem": f"{i}+{i}", "answer": str(2 * i)} for i in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def tiny(monkeypatch, tokenizer):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=1024, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    monkeypatch.setattr(models, "load_model", lambda *_, **__: model)
    monkeypatch.setattr(models, "load_tokenizer", lambda *_, **__: tokenizer)
    return model


def run(folder, out, *more) -> int:
    common = ["--model", "tiny", "--samples", "2", "--max-new-tokens", "6", "--out", str(out)]
    return main(["evaluate", "--suite", "paper-math", "--suite-folder", str(folder), *common, *more])


def test_a_suite_from_a_folder_from_end_to_end_and_again(folder, tiny, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert run(folder, out) == 0
    text = (out / "table.md").read_text()
    assert text.splitlines()[0].split(" | ")[2:8] == list(SUITES["paper-math"].sets)
    assert "| tiny | Avg@2 | 0.0 [0.0, 0.0]" in text and "3 problems of AIME24" in text
    assert not list(out.glob("*.partial"))
    saved = Evaluation.load(out / "aime25.json")
    assert (saved.task, len(saved.problem_ids), saved.n_samples) == ("math:aime25", 3, 2)
    assert saved.settings == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_new_tokens": 6, "seed": 0}
    monkeypatch.setattr(suites, "evaluate", None)  # nothing is sampled again
    assert run(folder, out) == 0 and (out / "table.md").read_text() == text
    assert run(folder, out, "--top-p", "1") == 2
    assert "aime24.json was made with top_p 0.95, 1.0 is asked for" in capsys.readouterr().err


def test_a_set_in_parts_goes_on_after_the_finished_ones(folder, tiny, tokenizer, tmp_path, monkeypatch):
    (task, *_) = suites.suite_tasks(SUITES["paper-math"], str(folder)).values()
    problems, sampling = chosen(task, None, 0), Sampling(0.6, 0.95, 20, 6, 3)
    settings = {"label": "tiny", "batch_size": 2, "progress": lambda batches: batches}
    monkeypatch.setattr(suites, "TOKENS", 12)  # a problem a part
    whole = evaluate_set(tiny, tokenizer, task, problems, sampling, 2, out=tmp_path / "whole.json", **settings)
    assert whole.problem_ids == [problem.id for problem in problems] and whole.settings["seed"] == 3

    calls = []

    def cut_off(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    original = suites.evaluate
    monkeypatch.setattr(suites, "evaluate", cut_off)
    with pytest.raises(KeyboardInterrupt):
        evaluate_set(tiny, tokenizer, task, problems, sampling, 2, out=tmp_path / "cut.json", **settings)
    assert list((tmp_path / "cut.json.partial").iterdir())
    assert evaluate_set(tiny, tokenizer, task, problems, sampling, 2, out=tmp_path / "cut.json", **settings) == whole


def test_parts_hold_as_many_tokens_as_fit():
    problems = [Problem(str(i), "?", "1") for i in range(40)]
    parts = list(in_parts(problems, 32 * 32_768))
    assert [start for start, _ in parts] == [0, 16, 32] and [p for _, part in parts for p in part] == problems
    assert len(list(in_parts(problems, 10**9))) == 40


def test_parts_merged_are_the_whole():
    whole = merged([evaluation([1, 0]), evaluation([2, 2, 1], first=2)], seed=0)
    assert whole.n_correct == [1, 0, 2, 2, 1] and whole.problem_ids == list("01234")
    assert (whole.n_unknown, whole.n_truncated, whole.mean_length) == (2, 4, pytest.approx((2 * 2 + 3 * 3) / 5))


def test_the_average_gives_each_set_the_same_weight_and_has_an_interval():
    mean, low, high = average([np.ones(1000), np.array([0.0, 1.0])])
    assert (mean, low, high) == pytest.approx((0.75, 0.5, 1.0))


def test_the_table_stands_beside_every_row_of_the_papers():
    found = {heading: evaluation([1, 2]) for heading in SUITES["paper-math"].sets}
    two_samples = replace(SUITES["paper-math"], samples=2)
    text = suite_text("paper-math", two_samples, "Qwen/Qwen3-1.7B-Base", found)
    for scores in TABLE_1.values():
        for avg, passed in scores.values():
            assert f"| {avg:.1f} |" in text and f"| {passed:.1f} |" in text
    assert "| 75.0 [50.0, 100.0] |" in text and "| 100.0 [100.0, 100.0] |" in text
    assert "repetition penalty of 1.08; here it is 1" in text


@pytest.mark.parametrize(
    "more, line",
    [
        (["--suite", "paper-maths"], "suite: found 'paper-maths', accepted paper-math"),
        (["--suite", "paper-math", "--pair", "countdown"], "pair: has no effect with --suite"),
        (["--suite", "paper-math"], "suite: set --model and --out FOLDER"),
        (["--suite", "paper-math", "--model", "x", "--out", "y", "--samples", "0"], "samples: found 0"),
        (["--suite", "paper-math", "--model", "x", "--out", "y", "--suite-folder", "-"], "suite_folder: - has"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(more, line, capsys):
    assert main(["evaluate", *more]) == 2
    assert line in capsys.readouterr().err
