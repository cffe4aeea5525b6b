"""README agrees with code and recorded runs. `python tests/test_readme.py` writes its generated parts anew."""

import json
import re
import shlex
from functools import partial
from pathlib import Path

import pytest
from bench_table import bench_text

import scope_lab
from scope_lab.cli import build_parser
from scope_lab.headline import headline_runs, headline_text
from scope_lab.metrics import GLOSSARY
from scope_lab.settings import build_config

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def results_table(task: str) -> str:
    """What training does to a pair's student, from data/runs alone."""
    return headline_text(headline_runs(ROOT / "data" / "runs", task))


def glossary_table() -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in GLOSSARY.items()]
    return "\n".join(["| metric | meaning (`{path}`: student or teacher) |", "|---|---|", *rows])


PARTS = {
    "results": partial(results_table, "countdown"),
    "words": partial(results_table, "smollm2"),
    "glossary": glossary_table,
    "bench": partial(bench_text, ROOT / "data" / "bench"),
}


def part(text: str, name: str) -> str:
    found = re.search(rf"<!-- {name}: .*?-->\n\n?(.*?)\n\n?<!-- end of {name} -->", text, re.S)
    assert found, f"README has no part {name}"
    return found[1].strip()


@pytest.mark.parametrize("name", PARTS)
def test_generated_parts_are_those_of_the_code_and_the_runs(name):
    assert part(README.read_text(), name) == PARTS[name]()


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README.read_text() + (ROOT / "data/README.md").read_text(), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`(scope-lab [^`]*[a-z0-9])`", (ROOT / "data/README.md").read_text())
    return [line for line in [*lines, *inline] if line.startswith("scope-lab ")]


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command):
    words = [word.replace("METHOD", "psr") for word in shlex.split(command, comments=True)[1:]]
    parsed = build_parser().parse_args(words)
    settings = {name[4:]: value for name, value in vars(parsed).items() if name.startswith("set_")}
    if words[0] == "train":
        build_config(parsed.recipe, settings)


def test_minutes_and_seconds_are_those_of_the_recordings():
    said = " ".join(README.read_text().split())
    runs = (ROOT / "data" / "runs" / "countdown").glob("scope-seed*/manifest.json")
    minutes = {round(json.loads(path.read_text())["seconds"] / 60) for path in runs}
    (of_runs,) = re.findall(r"`data/runs/countdown/scope-seed\*` took (\d+) minutes each on one core", said)
    assert minutes == {int(of_runs)}
    results = json.loads((ROOT / "data" / "bench" / "trl.json").read_text())["results"]
    scope = {r["precision"]: r["contenders"]["scope"]["seconds"] for r in results if r["pair"] == "smollm2"}
    assert f"takes {scope['bf16']:.1f} s instead of {scope['fp32']:.1f} s" in said


def test_the_python_example_runs_as_it_stands(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(example, found)
    assert found["config"].prompts_per_step == 32  # of the pair's recipe, as on the command line
    assert (tmp_path / "runs/sums/model").is_dir()


def test_names_of_the_package_are_there_once_it_is_imported(monkeypatch):
    names = set(re.findall(r"`(scope_lab(?:\.\w+)+)", README.read_text()))
    assert "scope_lab.objective.rollout_coefficients" in names
    for name in names:
        monkeypatch.delitem(vars(scope_lab), name.split(".")[1], raising=False)  # what other tests have imported
        assert eval(name) is not None


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake ([a-z0-9-]+)", README.read_text()))
    assert named and named <= targets


def test_every_promise_is_held_by_a_test():
    section = re.search(r"## What it promises\n(.*?)\n## ", README.read_text(), re.S)[1]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    source = "".join(path.read_text() for path in (ROOT / "tests" / "trust").glob("test_*.py"))
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named and all(f"def {name}(" in source for name in named), row


def test_the_tree_names_every_part_of_the_package_and_nothing_else():
    tree = re.search(r"```\nscope_lab/(.*?)```", README.read_text(), re.S)[0]
    named = set(re.findall(r"\b(\w+\.py)\b", tree))
    there = {path.name for path in (ROOT / "scope_lab").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert named == there
    for folder in re.findall(r"\b(\w+)/", tree):
        assert (ROOT / folder).is_dir() or (ROOT / "scope_lab" / folder).is_dir() or (ROOT / "tests" / folder).is_dir()


@pytest.mark.parametrize("document", ["README.md", "data/README.md"])
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
        if not target.startswith("http"):
            assert ((ROOT / document).parent / target).exists(), target


def test_every_lesson_is_listed():
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{notebook.name})" in README.read_text()


if __name__ == "__main__":
    content = README.read_text()
    for name, make in PARTS.items():
        content = re.sub(
            rf"(<!-- {name}: .*?-->\n).*?(<!-- end of {name} -->)",
            lambda match, make=make: f"{match[1]}\n{make()}\n\n{match[2]}",
            content,
            flags=re.S,
        )
    README.write_text(content)
