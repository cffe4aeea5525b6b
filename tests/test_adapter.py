"""LoRA adapters: loaded by the name of their base, and student and teacher taking turns on one base in memory."""

import copy
import json
import shutil
from dataclasses import fields

import pytest
import torch
from peft import LoraConfig, get_peft_model

from scope_lab import ScopeConfig, ScopeTrainer, load_pair
from scope_lab.engines.transformers import sample
from scope_lab.errors import InputError
from scope_lab.models import adapter_base, load_model, load_tokenizer, with_adapter
from scope_lab.rollouts import Sampling
from scope_lab.tasks import load_task
from scope_lab.teachers import LocalTeacher
from scope_lab.teachers.adapter import AdapterTeacher, adapter_of_the_same_base, shares_base

BASE = "countdown-student"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> str:
    """A random adapter on the bundled student, far from zero, that names its base by name."""
    folder = tmp_path_factory.mktemp("adapter") / "teacher"
    torch.manual_seed(3)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_model(BASE, device="cpu"), settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder, save_embedding_layers=False)
    return str(folder)


def test_adapter_names_its_base_by_name_and_comes_merged(adapter, student, rollouts):
    assert adapter_base(adapter) == BASE and adapter_base(BASE) is None
    merged = load_model(adapter, device="cpu")
    assert not hasattr(merged, "peft_config") and merged.num_parameters() == student.num_parameters()
    rows = torch.arange(len(rollouts))
    theirs, ours = (LocalTeacher(model).score(rollouts, rows, 1.0) for model in (merged, student))
    assert (theirs - ours).abs().nan_to_num().max() > 0.1
    assert load_model(adapter, device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_pair_with_an_adapter_teacher_reads_its_bases_tokens(adapter):
    pair = load_pair(student=BASE, teacher=adapter, device="cpu")
    assert load_tokenizer(adapter).get_vocab() == pair.tokenizer.get_vocab()


def test_adapter_without_base_or_weights_is_one_line(adapter, tmp_path):
    folder = shutil.copytree(adapter, tmp_path / "copy")
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match=r"adapter: .* could not be loaded"):
        load_model(str(folder), device="cpu")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": None}))
    with pytest.raises(InputError, match="names no base_model_name_or_path"):
        load_model(str(folder), device="cpu")
    with pytest.raises(InputError, match="is a whole model, accepted a LoRA adapter"):
        AdapterTeacher(load_model(BASE, device="cpu"), BASE)


def test_shared_base_scores_as_a_separately_loaded_teacher(adapter, rollouts):
    """Also after the student's own adapter has moved, and without a trace in the student."""
    rows = torch.arange(len(rollouts))
    separate = LocalTeacher(load_model(adapter, device="cpu")).score(rollouts, rows, 0.7)
    student = with_adapter(load_model(BASE, device="cpu"), 2, 4)
    trained = {name: p for name, p in student.named_parameters() if p.requires_grad}
    for parameter in trained.values():
        torch.nn.init.normal_(parameter, std=0.05)
    alone = LocalTeacher(copy.deepcopy(student)).score(rollouts, rows, 0.7)
    teacher = AdapterTeacher(student, adapter)
    kept = {name: p.detach().clone() for name, p in student.named_parameters()}
    shared = teacher.score(rollouts, rows, 0.7)
    assert torch.equal(shared.isnan(), separate.isnan())
    assert (shared - separate).abs().nan_to_num().max() < 1e-4, "merged or not: the same up to rounding"
    assert torch.equal(LocalTeacher(student).score(rollouts, rows, 0.7).nan_to_num(), alone.nan_to_num())
    assert {n for n, p in student.named_parameters() if p.requires_grad} == set(trained)
    assert all(torch.equal(kept[name], p) for name, p in student.named_parameters())
    assert student.active_adapter == "default" and not student.training


def test_shared_base_equals_an_unmerged_teacher_to_1e6(adapter, rollouts):
    from peft import PeftModel

    rows = torch.arange(len(rollouts))
    separate = PeftModel.from_pretrained(load_model(BASE, device="cpu"), adapter).eval()
    shared = AdapterTeacher(with_adapter(load_model(BASE, device="cpu"), 2, 4), adapter)
    difference = shared.score(rollouts, rows, 1.0) - LocalTeacher(separate, "separate").score(rollouts, rows, 1.0)
    assert difference.abs().nan_to_num().max() <= 1e-6


def test_plain_base_is_the_student_but_for_the_scoring(adapter, student, tokenizer, rollouts):
    rows = torch.arange(len(rollouts))
    teacher = AdapterTeacher(load_model(BASE, device="cpu"), adapter)
    before = LocalTeacher(student).score(rollouts, rows, 1.0)
    theirs = teacher.score(rollouts, rows, 1.0)
    assert (theirs - before).abs().nan_to_num().max() > 0.1
    assert torch.equal(
        LocalTeacher(teacher.student, "student").score(rollouts, rows, 1.0).nan_to_num(), before.nan_to_num()
    )
    problems = load_task("countdown").problems("test", 2)
    with teacher.active() as model:
        written = sample(model, tokenizer, problems, 2, Sampling(max_new_tokens=20))
    again = LocalTeacher(load_model(adapter, device="cpu")).score(written, torch.arange(4), 1.0)
    assert (again - written.student_logp_BT).abs().nan_to_num().max() < 1e-4


def test_student_is_itself_again_after_an_error(adapter, rollouts):
    teacher = AdapterTeacher(with_adapter(load_model(BASE, device="cpu"), 2, 4), adapter)
    with pytest.raises(RuntimeError), teacher.active():
        raise RuntimeError
    assert teacher.student.active_adapter == "default"


def config(adapter, **changes) -> ScopeConfig:
    settings = {
        **{"student": BASE, "teacher": adapter, "task": "countdown", "device": "cpu", "lora_rank": 2},
        **{"prompts_per_step": 4, "rollouts_per_prompt": 4, "steps": 2, "train_problems": 50, "eval_problems": 0},
        **{"learning_rate": 1e-3, "temperature": 1.0},
    }
    assert set(settings) | set(changes) <= {item.name for item in fields(ScopeConfig)}
    return ScopeConfig(**{**settings, **changes})


def test_base_is_shared_only_where_it_stays_as_it_is(adapter):
    assert shares_base(BASE, adapter) and not shares_base(BASE, "countdown-teacher")
    assert adapter_of_the_same_base(config(adapter)) == adapter
    assert adapter_of_the_same_base(config(adapter, lora_rank=0)) is None
    assert adapter_of_the_same_base(config(adapter, method="kd")) is None
    assert adapter_of_the_same_base(config(adapter, method="psr")) is None
    assert adapter_of_the_same_base(config(adapter, student="countdown-teacher")) is None
    assert adapter_of_the_same_base(config("countdown-teacher")) is None


def test_training_on_a_shared_base_equals_training_beside_a_teacher_of_its_own(adapter, tmp_path):
    shared = ScopeTrainer(config(adapter, out=str(tmp_path / "run")), progress=False)
    assert isinstance(shared.teacher, AdapterTeacher) and shared.pair.teacher is None
    separate = ScopeTrainer(
        config(adapter), teacher=LocalTeacher(load_model(adapter, device="cpu"), adapter), progress=False
    )
    one, other = shared.train(), separate.train()
    for a, b in zip(one, other, strict=True):
        assert a["teacher_scored"] == b["teacher_scored"] > 0
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
    saved = sorted(path.name for path in (tmp_path / "run" / "model").iterdir() if path.is_dir())
    assert saved == [], "the teacher's adapter is not saved with the student's"
    student = load_model(str(tmp_path / "run" / "model"), device="cpu")
    assert student.num_parameters() == load_model(BASE, device="cpu").num_parameters()
    resumed = ScopeTrainer(config(adapter, out=str(tmp_path / "run"), steps=3), resume=True, progress=False)
    assert len(resumed.train()) == 3
