"""The LoRA teacher's training, on the bundled student: what is trained on, that it learns, goes on and is saved."""

import json
from dataclasses import replace

import pytest
import torch

from scope_lab import finetune as module
from scope_lab.errors import InputError
from scope_lab.finetune import RECIPES, AdapterRecipe, build_adapter, finetune, own_correct, training_batch, verified
from scope_lab.logprobs import response_logprobs
from scope_lab.models import load_model
from scope_lab.pretrain import Recipe, pretrain
from scope_lab.tasks import Countdown, Verdict, Verification, load_task

RECIPE = AdapterRecipe("countdown-student", "solved", steps=6, rank=4, batch_size=4, dtype="float32", save_every=2)


class Solved(Countdown):
    """Countdown with a generator for fine-tuning: solutions by sums and differences alone, every third one spoilt."""

    def solutions(self, split, seed):
        sums = ((p, r) for p, r in self.derivations(split, seed) if not {"*", "/"} & set(r))
        for i, (problem, response) in enumerate(sums):
            yield problem, response if i % 3 else response + "0"


def plain(steps, **_):
    return steps


def train(folder, tokenizer, recipe=RECIPE, progress=plain):
    return finetune(recipe, Solved(), load_model("countdown-student", device="cpu"), tokenizer, folder, progress)


def test_only_what_the_verifier_calls_correct_is_trained_on():
    task, stream = Solved(), verified(Solved(), seed=0)
    assert all(task.verify(*next(stream)).verdict == Verdict.CORRECT for _ in range(20))


def test_a_generator_that_its_verifier_refuses_is_an_error(monkeypatch):
    task = Solved()
    monkeypatch.setattr(task, "verify", lambda problem, response: Verification(Verdict.INCORRECT, "no"))
    with pytest.raises(InputError, match="refuses its own generator's solutions"):
        next(verified(task, 0))


def test_loss_is_on_the_response_and_its_eos_alone(tokenizer):
    tokens_BL, attention_BL, mask_BT = training_batch(Solved(), tokenizer, RECIPE, 0)
    stream = verified(Solved(), 0)
    for tokens, attention, mask in zip(tokens_BL, attention_BL, mask_BT, strict=True):
        problem, solution = next(stream)
        assert tokenizer.decode(tokens[attention]) == f"<bos>{problem.prompt}{solution}<eos>"
        response = tokens[-mask_BT.shape[1] :][mask]
        assert tokenizer.decode(response) == f"{solution}<eos>"
    again, *_ = training_batch(Solved(), tokenizer, RECIPE, 0)
    other, *_ = training_batch(Solved(), tokenizer, RECIPE, 1)
    assert torch.equal(again, tokens_BL) and not torch.equal(other[:, :5], tokens_BL[:, :5])


def test_own_correct_responses_are_the_rollouts_that_were_right_and_ended(rollouts):
    own = own_correct(rollouts)
    right = {(p.id, text) for p, texts in own for text in texts}
    rows = [i for i in range(len(rollouts)) if rollouts.correct_B[i] and rollouts.finish_reason[i] == "stop"]
    assert right == {(rollouts.problems[rollouts.group_B[i]].id, rollouts.responses[i]) for i in rows}
    assert all(len(set(texts)) == len(texts) > 0 for _, texts in own)


def test_half_of_a_batch_may_be_the_students_own(tokenizer, rollouts):
    own = own_correct(rollouts)
    recipe = replace(RECIPE, own=2)
    texts = {text for _, of in own for text in of}
    drawn = set()
    for step in range(20):
        tokens_BL, _, mask_BT = training_batch(Solved(), tokenizer, recipe, step, own)
        T = mask_BT.shape[1]
        found = [tokenizer.decode(row[-T:][m][:-1]) for row, m in zip(tokens_BL, mask_BT, strict=True)]
        assert set(found[2:]) <= texts and len(found) == 4
        drawn |= set(found[2:])
    assert len(drawn) > 2
    assert torch.equal(tokens_BL, training_batch(Solved(), tokenizer, recipe, 19, own)[0])


def test_build_samples_the_students_own_responses(tmp_path, monkeypatch, capsys):
    recipe = replace(RECIPE, steps=2, own=2, own_problems=12, own_samples=8)
    monkeypatch.setitem(RECIPES, "tiny-teacher", recipe)
    build_adapter("tiny-teacher", tmp_path, task=Solved(), problems=0)
    assert "correct responses of countdown-student to" in capsys.readouterr().out
    card = (tmp_path / "tiny-teacher" / "README.md").read_text()
    assert "2 written by the task's generator, 2 the base's own (rejection sampling)" in " ".join(card.split())
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-teacher"]


def test_adapter_learns_and_names_its_base_and_no_folder(tmp_path, tokenizer):
    recipe = replace(RECIPE, steps=30, learning_rate=5e-3, batch_size=16)
    losses = train(tmp_path / "teacher", tokenizer, recipe)
    assert sum(losses[-8:]) < sum(losses[:8])
    assert sorted(path.name for path in (tmp_path / "teacher").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    settings = (tmp_path / "teacher" / "adapter_config.json").read_text()
    assert json.loads(settings)["base_model_name_or_path"] == "countdown-student" and str(tmp_path) not in settings
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"], "no state is left behind"
    teacher, student = (load_model(name, device="cpu") for name in (str(tmp_path / "teacher"), "countdown-student"))
    tokens_BL, attention_BL, mask_BT = training_batch(Solved(), tokenizer, recipe, 1_000)
    theirs, ours = (
        response_logprobs(model, tokens_BL, attention_BL, mask_BT.shape[1])[mask_BT].mean().item()
        for model in (teacher, student)
    )
    assert theirs > ours + 0.03, "solutions that neither has seen became likelier"


class Cut(Exception):
    pass


def until_five(steps, **_):
    for step in steps:
        if step == 5:
            raise Cut
        yield step


def test_a_build_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path, tokenizer):
    whole = train(tmp_path / "whole", tokenizer)
    with pytest.raises(Cut):
        train(tmp_path / "cut", tokenizer, progress=until_five)
    assert not (tmp_path / "cut").exists()
    assert train(tmp_path / "cut", tokenizer) == whole[4:]
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_so_does_a_model_made_from_nothing(tmp_path, tokenizer):
    recipe = Recipe(hidden=32, layers=1, steps=7, learning_rate=1e-3, batch_size=4, save_every=2)
    task = load_task("countdown")
    pretrain(recipe, task, tokenizer, tmp_path / "whole", plain)
    with pytest.raises(Cut):
        pretrain(recipe, task, tokenizer, tmp_path / "cut", until_five)
    assert [path.name for path in tmp_path.iterdir() if "cut" in path.name] == ["cut.partial.pt"]
    steps = []
    pretrain(recipe, task, tokenizer, tmp_path / "cut", lambda rest, **_: steps.extend(rest) or steps)
    assert steps == [4, 5, 6] and not (tmp_path / "cut.partial.pt").exists()
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_build_trains_measures_and_writes_the_card(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(RECIPES, "tiny-teacher", RECIPE)
    monkeypatch.setattr(module, "SAMPLES", 2)
    build_adapter("tiny-teacher", tmp_path, task=Solved(), problems=0)
    card = (tmp_path / "tiny-teacher" / "README.md").read_text()
    assert "Not measured" in card and "base_model: countdown-student" in card and str(tmp_path) not in card
    weights = (tmp_path / "tiny-teacher" / "adapter_model.safetensors").read_bytes()
    build_adapter("tiny-teacher", tmp_path, task=Solved(), problems=6)
    assert (tmp_path / "tiny-teacher" / "adapter_model.safetensors").read_bytes() == weights, "not trained twice"
    card = (tmp_path / "tiny-teacher" / "README.md").read_text()
    assert "| avg@2 |" in card and "6 problems of the test split, 2 samples" in card


def test_a_task_without_solutions_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "tiny-teacher", replace(RECIPE, task="countdown"))
    with pytest.raises(InputError, match="countdown: writes no solutions"):
        build_adapter("tiny-teacher", tmp_path)
