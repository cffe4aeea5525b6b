"""Loading models, what is refused, and whether a student and a teacher mean the same by their tokens."""

import copy
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaForCausalLM
from walls import walls  # noqa: F401

from scope_lab import load_pair
from scope_lab.models import BUNDLED, PAIRS, check_compatible, load_model, load_tokenizer, resolve, stop_token_ids
from scope_lab.pretrain import RECIPES, build_tokenizer, training_batch
from scope_lab.tasks import Problem, load_task

NAME = "untrained:countdown-teacher"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the bundled student, to change."""
    return Path(shutil.copytree(resolve("countdown-student"), tmp_path / "model"))


def edit_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_model_loads_ready_to_evaluate(name):
    model = load_model(name, device="cpu")
    assert not model.training and model.dtype == torch.float32
    with torch.no_grad():
        logits = model(torch.tensor([load_tokenizer(name)("8,3,5,2=21:").input_ids])).logits
    assert torch.isfinite(logits).all()


def test_an_untrained_model_has_the_architecture_and_always_the_same_random_weights():
    before = torch.get_rng_state()
    trained, first, second = (load_model(name, device="cpu") for name in ("countdown-teacher", *2 * [NAME]))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(trained.parameters(), first.parameters(), second.parameters(), strict=True):
        assert a.shape == b.shape and torch.equal(b, c) and not torch.equal(a, b)
    with torch.no_grad():
        probabilities = first(torch.tensor([load_tokenizer(NAME)("8,3,5,2=21:").input_ids])).logits.softmax(-1)
    assert probabilities.max() < 3 / probabilities.shape[-1]  # it knows next to nothing
    assert load_pair("countdown", teacher=NAME, device="cpu").teacher_name == NAME
    with pytest.raises(ValueError, match="model: "):
        load_model("untrained:./nowhere", device="cpu")


def test_bundled_pair_shares_its_tokens_and_the_teacher_is_larger():
    pair = load_pair("countdown", device="cpu")
    assert pair.task == "countdown" and (pair.student_name, pair.teacher_name) == tuple(BUNDLED)[:2]
    assert pair.teacher.num_parameters() > 3 * pair.student.num_parameters()


def test_student_can_be_its_own_teacher_in_two_copies():
    pair = load_pair(student="countdown-student", teacher="countdown-student", device="cpu")
    assert pair.task is None and pair.student is not pair.teacher
    for a, b in zip(pair.student.parameters(), pair.teacher.parameters(), strict=True):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()


def test_member_of_a_named_pair_can_be_replaced(folder):
    pair = load_pair("countdown", teacher=str(folder), device="cpu")
    assert pair.teacher_name == str(folder) and pair.task == "countdown"


@pytest.mark.parametrize("arguments", [{"name": "chess"}, {}, {"student": "countdown-student"}])
def test_pair_that_is_not_named_is_refused(arguments):
    with pytest.raises(ValueError, match=r"^pair: "):
        load_pair(**arguments)


def test_tokenizer_pads_on_the_left_and_has_a_padding_token(folder, tokenizer):
    assert tokenizer.padding_side == "left" and tokenizer.pad_token_id == 0
    edit_json(folder / "tokenizer_config.json", lambda config: config.pop("pad_token"))
    without = load_tokenizer(str(folder))
    assert without.pad_token_id == without.eos_token_id == 2


def test_dtype_is_obeyed():
    assert load_model("countdown-student", device="cpu", dtype="bfloat16").dtype == torch.bfloat16


# Names


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "/nowhere/at/all", "~/nowhere-at-all"])
def test_missing_folder_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"model: {name} is not a folder"):
        resolve(name)


def test_file_and_folder_without_model_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is not a folder"):
        resolve(str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"no config\.json"):
        resolve(str(tmp_path))


def test_folder_and_hub_id_stand_for_themselves(folder):
    assert resolve(str(folder)) == str(folder)
    assert resolve("owner/name") == "owner/name"
    assert Path(resolve("countdown-student")).name == "countdown-student"


def test_bundled_model_that_is_not_built_is_refused_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr("scope_lab.models.DATA", tmp_path)
    with pytest.raises(ValueError, match=r"countdown-teacher is not built; run `scope-lab models build"):
        resolve("countdown-teacher")


def break_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: edit_json(folder / "config.json", lambda config: config.update(model_type="abacus")),
        break_weights,
    ],
    ids=["no weights", "bad config", "unknown architecture", "truncated weights"],
)
def test_damaged_model_is_one_line_naming_it(folder, damage):
    damage(folder)
    with pytest.raises(ValueError) as caught:
        load_model(str(folder), device="cpu")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_tokenizer_is_one_line_naming_it(folder):
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": 3}')
    with pytest.raises(ValueError) as caught:
        load_tokenizer(str(folder))
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="float33"):
        load_model("countdown-student", device="cpu", dtype="float33")


# Compatibility


def test_a_model_is_compatible_with_itself(student, tokenizer):
    check_compatible(tokenizer, tokenizer, student, student)


def rename(old, new):
    def change(content):
        vocab = content["model"]["vocab"]
        vocab[new] = vocab.pop(old)

    return change


def swap(a, b):
    def change(content):
        vocab = content["model"]["vocab"]
        vocab[a], vocab[b] = vocab[b], vocab[a]

    return change


@pytest.mark.parametrize(
    "change",
    [swap("7", "8"), swap("*", "/"), rename("9", "€"), rename("7", "ß")],
    ids=["digits swapped", "signs swapped", "renamed", "renamed again"],
)
def test_tokenizers_that_differ_in_one_token_are_refused(folder, student, tokenizer, change):
    edit_json(folder / "tokenizer.json", change)
    other = load_tokenizer(str(folder))
    with pytest.raises(ValueError, match="tokenizers differ"):
        check_compatible(tokenizer, other, student, student)
    with pytest.raises(ValueError, match="tokenizers differ"):
        load_pair(student="countdown-student", teacher=str(folder), device="cpu")
    load_pair(student="countdown-student", teacher=str(folder), device="cpu", allow_mismatch=True)


def test_tokenizers_that_differ_only_in_an_extra_token_are_refused(folder, student, tokenizer):
    edit_json(folder / "tokenizer.json", lambda content: content["model"]["vocab"].update({"never seen": 21}))
    with pytest.raises(ValueError, match=r"tokenizers differ in 1 entries, 'never seen'"):
        check_compatible(tokenizer, load_tokenizer(str(folder)), student, student)


def test_chat_templates_that_differ_are_refused(student, tokenizer):
    other = copy.deepcopy(tokenizer)
    other.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(ValueError, match="chat templates"):
        check_compatible(tokenizer, other, student, student)


@pytest.mark.parametrize("where", ["tokenizer", "config", "generation_config"])
def test_stop_tokens_that_differ_are_refused(student, tokenizer, where):
    other_model, other_tokenizer = copy.deepcopy(student), copy.deepcopy(tokenizer)
    if where == "tokenizer":
        other_tokenizer.eos_token = "<bos>"
    else:
        getattr(other_model, where).eos_token_id = [2, 19]
    with pytest.raises(ValueError, match=r"EOS tokens differ: \[2\]"):
        check_compatible(tokenizer, other_tokenizer, student, other_model)


def test_teacher_with_too_few_embeddings_is_refused(student, tokenizer):
    config = copy.deepcopy(student.config)
    config.vocab_size = len(tokenizer) - 1
    with pytest.raises(ValueError, match="embeddings"):
        check_compatible(tokenizer, tokenizer, student, LlamaForCausalLM(config))


def test_stop_tokens_are_those_of_every_source():
    model = SimpleNamespace(
        config=SimpleNamespace(eos_token_id=[7, 3]), generation_config=SimpleNamespace(eos_token_id=9)
    )
    assert stop_token_ids(model, SimpleNamespace(eos_token_id=2)) == [2, 3, 7, 9]
    assert stop_token_ids(model, SimpleNamespace(eos_token_id=None)) == [3, 7, 9]
    bare = SimpleNamespace(config=SimpleNamespace())
    assert stop_token_ids(bare, SimpleNamespace(eos_token_id=0)) == [0]
    with pytest.raises(ValueError, match="EOS"):
        stop_token_ids(bare, SimpleNamespace(eos_token_id=None))


@pytest.mark.parametrize("pair", RECIPES)
def test_what_a_pair_is_made_from_can_be_read_by_its_models(pair, request):
    made, student = RECIPES[pair], load_tokenizer(PAIRS[pair][0])
    assert build_tokenizer(made.characters).get_vocab() == student.get_vocab()
    assert student.unk_token_id not in student("".join(made.example)).input_ids
    if pair == "grid":
        pytest.importorskip("reasoning_gym", reason="the extra gym is not installed")
    if pair == "strings":
        request.getfixturevalue("walls")
    task = load_task(PAIRS[pair][2])
    tokens, labels = training_batch(task, student, made.student, step=0)
    assert student.unk_token_id not in tokens and (labels != -100).any(1).all()
    prompt, response = made.example
    assert task.verify(Problem("example", prompt, response), response).verdict == "correct"
