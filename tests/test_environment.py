"""The environment's three files agree, importing is light, what is tracked travels anywhere."""

import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
ENVIRONMENT = (ROOT / "environment.yml").read_text()
PROJECT = tomllib.loads(PYPROJECT)["project"]
CORE, EXTRAS = PROJECT["dependencies"], PROJECT["optional-dependencies"]
INSTALLED = ("lab", "tasks", "gym", "dev")  # gpu is for machines that bring their own torch
LOCKED = [*CORE, *(line for extra in INSTALLED for line in EXTRAS[extra])]
PINS = [Requirement(line) for line in CONSTRAINTS.splitlines() if not line.startswith("#")]


def pinned_versions() -> dict[str, list[Version]]:
    """Every version that constraints.txt gives a distribution, whatever the platform or Python."""
    versions = defaultdict(list)
    for pin in PINS:
        (specifier,) = pin.specifier
        assert specifier.operator == "==", f"constraints.txt: {pin} is not an exact pin"
        versions[canonicalize_name(pin.name)].append(Version(specifier.version))
    return versions


@pytest.mark.parametrize("line", LOCKED)
def test_every_direct_dependency_has_a_pin_within_its_range(line):
    requirement = Requirement(line)
    pins = pinned_versions()[canonicalize_name(requirement.name)]
    assert pins, f"constraints.txt has no pin for {requirement.name}"
    assert all(pin in requirement.specifier for pin in pins)


@pytest.mark.parametrize("name, version", [("torch", "2.11.0"), ("transformers", "5.17.0")])
def test_ranges_admit_a_gpu_machine_with_older_versions(name, version):
    (specifier,) = (r.specifier for r in map(Requirement, CORE) if r.name == name)
    assert version in specifier


def test_torch_is_pinned_for_every_build_and_no_cuda_package_is_pinned():
    (torch,) = pinned_versions()["torch"]
    assert torch.local is None
    cuda = re.compile(r"nvidia-|triton|cuda|cupy")
    assert not [name for name in pinned_versions() if cuda.match(name)]


def test_conda_and_make_install_the_same():
    python, pip, pip_section = yaml.safe_load(ENVIRONMENT)["dependencies"]
    assert pip == "pip"
    assert pip_section == {"pip": ["-c constraints.txt", "-e .[lab,tasks,dev]"]}
    assert '-c constraints.txt -e ".[lab,tasks,dev]"' in (ROOT / "Makefile").read_text()
    assert PROJECT["requires-python"] in python.removeprefix("python").split(",")


@pytest.mark.parametrize("line", sorted({*CORE}.union(*EXTRAS.values())))
def test_every_dependency_says_why_it_is_there(line):
    entries = [entry.strip() for entry in PYPROJECT.splitlines() if f'"{line}"' in entry]
    assert entries and all(re.fullmatch(r'"[^"]+",\s+# \S.*', entry) for entry in entries), entries


def test_no_file_of_the_environment_names_a_host():
    host = re.compile(r"https?://|git\+|--(extra-)?index-url|--find-links|[\w-]+\.(org|com|io)\b")
    text = "\n".join((PYPROJECT, CONSTRAINTS, ENVIRONMENT))
    for own in PROJECT["urls"].values():
        text = text.replace(own, "")
    assert host.search(text) is None


def test_importing_the_package_is_light():
    heavy = {"matplotlib", "seaborn", "ipywidgets", "vllm", "peft"}
    code = f"import sys, scope_lab; print(*sorted({heavy!r} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """What git tracks, and what it would once added."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing says what is tracked")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_tracked_file_names_a_path_of_one_machine(tracked):
    path = re.compile(rb"(?<![\w.-])/(root|work|tmp|home|Users)/")
    found = [str(file.relative_to(ROOT)) for file in tracked if path.search(file.read_bytes())]
    assert found == []


def test_what_is_tracked_stays_under_50_megabytes(tracked):
    assert sum(file.stat().st_size for file in tracked) < 50e6


def test_recorded_data_is_what_its_checksums_say():
    import hashlib

    listed = dict(reversed(line.split("  ")) for line in (ROOT / "data/SHA256SUMS").read_text().splitlines())
    there = {
        p.relative_to(ROOT / "data").as_posix()
        for f in ("models", "rollouts")
        for p in (ROOT / "data" / f).rglob("*.*")
    }
    assert set(listed) == {name for name in there if not name.endswith((".pt", ".tmp"))}
    for name, digest in listed.items():
        assert hashlib.sha256((ROOT / "data" / name).read_bytes()).hexdigest() == digest, name
