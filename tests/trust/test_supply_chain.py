"""No code that came with a model or a file runs, no key is written down, and nothing listens to other machines."""

import ast
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scope_lab.cli import main
from scope_lab.models import DATA, load_model
from scope_lab.redaction import without_secrets

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "scope_lab").rglob("*.py"))
STUDENT = DATA / "models" / "countdown-student"
EVALUATE = ["evaluate", "--pair", "countdown", "--problems", "2", "--samples", "2", "--device", "cpu"]


# Code that comes with a model


@pytest.fixture
def student_copy(tmp_path) -> Path:
    return Path(shutil.copytree(STUDENT, tmp_path / "model"))


def own_code(model: Path, canary: Path, file: str, kinds: dict[str, str], **change) -> None:
    """Make a model's folder ask for code of its own, which leaves a file behind when it runs."""
    (model / "own.py").write_text(
        f"open({str(canary)!r}, 'w')\nfrom transformers import LlamaConfig as C, LlamaForCausalLM as M\n"
        "from transformers import PreTrainedTokenizerFast as T\n"
    )
    content = json.loads((model / file).read_text())
    (model / file).write_text(json.dumps({**content, "auto_map": kinds, **change}))


CODE = {
    "a model of its own": (
        "config.json",
        {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"},
        {"model_type": "own"},
    ),
    "a tokenizer of its own": (
        "tokenizer_config.json",
        {"AutoTokenizer": ["own.T", "own.T"]},
        {"tokenizer_class": "Own"},
    ),
    "its own version of a known model": ("config.json", {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}, {}),
}


@pytest.mark.parametrize("case", CODE)
def test_code_of_a_models_own_never_runs(case, student_copy, faults, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # some library asks; nobody must be asked
    canary = tmp_path / "canary"
    file, kinds, change = CODE[case]
    own_code(student_copy, canary, file, kinds, **change)
    with faults("code in a model's folder"):
        code = main([*EVALUATE, "--model", str(student_copy)])
        err = capsys.readouterr().err
        assert not canary.exists()
        if case == "a model of its own":
            assert code == 2 and "it asks for code of its own, which is never run" in err and err.count("\n") == 1
        elif case == "its own version of a known model":
            assert code == 0  # the library's own version serves


class Payload:
    """A pickle that runs a program when it is read."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def test_pickled_weights_are_refused_and_never_read(student_copy, faults, tmp_path, capsys):
    canary = tmp_path / "canary"
    (student_copy / "model.safetensors").unlink()
    torch.save({"weights": Payload(canary)}, student_copy / "pytorch_model.bin")
    with faults("a pickle that runs a program, as weights"):
        assert main([*EVALUATE, "--model", str(student_copy)]) == 2
        err = capsys.readouterr().err
        assert "safetensors" in err and err.count("\n") == 1 and not canary.exists()


def test_a_pickled_adapter_is_refused_and_never_read(faults, tmp_path, capsys):
    canary, adapter = tmp_path / "canary", tmp_path / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(STUDENT), "r": 2, "target_modules": ["q_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    torch.save({"weights": Payload(canary)}, adapter / "adapter_model.bin")
    with faults("a pickle that runs a program, as weights"):
        for role in ("--student", "--teacher"):
            command = ["train", "--pair", "countdown", "--steps", "1", "--out", str(tmp_path / "run")]
            assert main([*command, "--lora-rank", "2", role, str(adapter)]) == 2
            err = capsys.readouterr().err
            assert "has no adapter_model.safetensors" in err and err.count("\n") == 1
        assert not canary.exists()


def test_weights_that_are_not_all_there_are_refused(student_copy, faults):
    """The library alone would fill the gap with random numbers and a warning."""
    from safetensors.torch import save_file

    from scope_lab.errors import InputError

    state = load_file(student_copy / "model.safetensors")
    del state["model.layers.0.mlp.up_proj.weight"]
    save_file(state, student_copy / "model.safetensors", metadata={"format": "pt"})
    missing = r"has no weights for model\.layers\.0\.mlp\.up_proj\.weight"
    with faults("weights missing from a model's file"), pytest.raises(InputError, match=missing):
        load_model(str(student_copy), device="cpu")


# Our own source


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(name)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_everything_that_is_loaded_is_loaded_as_data(path):
    tree = ast.parse(path.read_text())

    def settings(call: ast.Call) -> dict[str, str]:
        return {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg}

    for call in calls(tree, ".from_pretrained"):
        given, what = settings(call), ast.unparse(call.func)
        if "Peft" in what:
            continue  # reads an adapter that `adapter_base` has found to be in safetensors
        assert given.get("trust_remote_code") == "False", ast.unparse(call)
        if "Model" in what and "gguf_file" not in given:
            assert given.get("use_safetensors") == "True", ast.unparse(call)
    for call in calls(tree, "torch.load"):
        assert settings(call).get("weights_only") == "True", ast.unparse(call)
    for call in calls(tree, "yaml.load"):
        assert settings(call).get("Loader") == "_Loader", ast.unparse(call)
    for call in calls(tree, "subprocess.run") + calls(tree, "Popen"):
        assert "shell" not in settings(call), ast.unparse(call)
    assert not calls(tree, "os.system") and "trust_remote_code=True" not in path.read_text()


# Servers


def test_jupyter_listens_to_this_machine_alone_and_asks_for_its_token():
    lab = re.search(r"^lab:.*?(?=^\S)", (ROOT / "Makefile").read_text(), re.M | re.S)[0]
    assert "--ip=127.0.0.1" in lab
    settings = (ROOT / "notebooks" / "jupyter_server_config.py").read_text() + lab
    for open_door in ("token", "password", "allow_origin", "allow_remote_access", "disable_check_xsrf", "0.0.0.0"):
        assert open_door not in settings.replace("with a token", ""), open_door


def test_no_server_of_ours_listens_to_other_machines():
    for path in SOURCES:
        assert "0.0.0.0" not in path.read_text(), path


# Keys


@pytest.mark.parametrize(
    ("arguments", "recorded"),
    [
        (["--api-key", "sk-1", "--steps", "5"], ["--api-key", "***", "--steps", "5"]),
        (["--hub-token=hf_1"], ["--hub-token=***"]),
        (["--teacher", "http://me:pw@host:8000/v1"], ["--teacher", "http://***@host:8000/v1"]),
        (["--teacher", "http://host/v1?api_key=k&x=1"], ["--teacher", "http://host/v1?***&x=1"]),
        (
            ["--max-new-tokens", "8", "--tokens-per-microbatch", "64"],
            ["--max-new-tokens", "8", "--tokens-per-microbatch", "64"],
        ),
        (["--password", "--steps", "5"], ["--password", "--steps", "5"]),
    ],
)
def test_a_recorded_command_holds_no_secret(arguments, recorded):
    assert without_secrets(arguments) == recorded


def test_no_key_reaches_a_run_folder_a_tracker_or_the_screen(faults, tmp_path, monkeypatch, capfd):
    secrets = {name: f"canary-{name.lower()}" for name in ("WANDB_API_KEY", "HF_TOKEN", "OPENAI_API_KEY")}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "run"
    command = ["train", "--pair", "countdown", "--steps", "1", "--prompts-per-step", "2", "--rollouts-per-prompt", "2"]
    command += ["--train-problems", "4"]
    monkeypatch.setattr("sys.argv", ["scope-lab", *command, "--api-key", "canary-flag"])
    with faults("keys in the environment or a command") as fault:
        assert main([*command, "--eval-problems", "0", "--trackers", "tensorboard", "--out", str(out)]) == 0
        said = "".join(capfd.readouterr()).encode()
        written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
        assert b"scope-lab train" in (out / "manifest.json").read_bytes()
        fault.wrong_numbers = (said + written).count(b"canary")
        assert fault.wrong_numbers == 0


@pytest.mark.parametrize("setting", ["--teacher", "--student", "--task"])
def test_credentials_in_an_address_are_refused_without_repeating_them(setting, tmp_path, capsys):
    address = "https://me:canary@host/model"
    assert main(["train", "--pair", "countdown", setting, address, "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert "credentials" in err and "canary" not in err and not (tmp_path / "run").exists()


def test_an_audit_that_looked_nothing_up_does_not_pass(capsys):
    from audit import verdict

    known, unknown = {"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}
    bad = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
    for packages, code, said in (
        ([known], 0, "audit: 1 packages looked up, 0 known vulnerabilities\n"),
        ([known, unknown], 1, "audit: 1 packages looked up, 0 known vulnerabilities; not looked up: b\n"),
        ([unknown, unknown], 1, "audit: nothing was looked up, the advisory database knows none of the 2 packages"),
        ([known, bad], 1, "c 2: CVE-1, fixed in 3\naudit: 2 packages looked up, 1 known vulnerabilities\n"),
    ):
        assert verdict(packages) == code
        assert capsys.readouterr().out.startswith(said)
