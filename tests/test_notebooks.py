"""Notebooks keep to one skeleton, stay small, are stored with outputs, and their solutions pass their checkers."""

import ast
import itertools
import json
import re
import statistics
from pathlib import Path

import clean_notebooks
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SECTIONS = ("Imports", "Summary", "Exercises", "What next")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def sources(notebook: dict, kind: str) -> list[str]:
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == kind]
    return [clean_notebooks.text_of(cell["source"]) for cell in cells]


def headings(notebook: dict, level: int) -> list[str]:
    text = "\n".join(sources(notebook, "markdown"))
    return re.findall(rf"^{'#' * level} (.+)$", text, re.MULTILINE)


def outputs(notebook: dict) -> list[dict]:
    return [o for cell in notebook["cells"] if cell["cell_type"] == "code" for o in cell["outputs"]]


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS][:1] == ["00_start_here"]


def test_the_first_cell_has_title_promise_goals_minutes_and_hardware(notebook):
    first = notebook["cells"][0]
    assert first["cell_type"] == "markdown"
    lines = [line for line in clean_notebooks.text_of(first["source"]).splitlines() if line.strip()]
    assert lines[0].startswith("# ")
    assert re.fullmatch(r"\*\*[^*]+\.\*\*", lines[1]), "the promise is one bold sentence"
    assert lines[2] == "After this you can"
    goals = [line for line in lines if re.match(r"- (?:\*\*)", line)]
    assert 3 <= len(goals) <= 5
    assert any("*Time:*" in line and "minutes" in line and "*Hardware:*" in line for line in lines)


def test_sections_stand_in_the_order_of_the_skeleton(notebook):
    assert len(headings(notebook, 1)) == 1
    found = headings(notebook, 2)
    assert [section for section in found if section in SECTIONS] == list(SECTIONS)
    assert found[0] == "Imports" and found[-3:] == list(SECTIONS[1:])
    assert len(found) >= 7, "a body stands between imports and summary"


def test_a_reader_predicts_before_and_interprets_after(notebook):
    text = "\n".join(sources(notebook, "markdown"))
    assert text.count("> **Predict.**") >= 3
    assert text.count("**Read") >= 3


def test_cells_and_words_stay_within_limits(path, notebook):
    assert 35 <= len(notebook["cells"]) <= 60
    code = [source.splitlines() for source in sources(notebook, "code")]
    assert 4 <= statistics.median(map(len, code)) <= 8
    assert max(map(len, code)) <= 25
    assert max(len(line) for lines in code for line in lines) <= 79
    words = re.sub(r"[`*#|$_<>\-=]+", " ", " ".join(sources(notebook, "markdown"))).split()
    assert 800 <= len(words) <= 1_800
    assert path.stat().st_size <= 300_000


def test_imports_are_explicit_and_stand_at_the_top(notebook):
    cells = notebook["cells"]
    places = []
    for i, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        source = clean_notebooks.text_of(cell["source"])
        assert not re.search(r"^[%!]", source, re.MULTILINE), "magics hide what they set up"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                places.append(i)
                assert not any(alias.name == "*" for alias in node.names)
    top = next(i for i, cell in enumerate(cells) if "## Imports" in clean_notebooks.text_of(cell["source"]))
    body = next(i for i in range(top + 1, len(cells)) if cells[i]["cell_type"] == "markdown")
    assert places and all(top < i < body for i in places)


def test_it_is_clean(path):
    assert path.read_text(encoding="utf-8") == clean_notebooks.cleaned_text(path), (
        f"{path.name} needs cleaning: python tests/clean_notebooks.py"
    )


def test_metadata_lets_no_error_pass_and_holds_no_widgets(notebook):
    metadata = notebook["metadata"]
    assert metadata.keys() == {"kernelspec", "language_info"}
    for cell in notebook["cells"]:
        assert not {"raises-exception", "skip-execution"} & set(cell["metadata"].get("tags", []))


def test_outputs_are_stored_and_free_of_errors(notebook):
    found = outputs(notebook)
    assert len(found) >= 8
    for output in found:
        assert output["output_type"] in ("stream", "display_data", "execute_result")
        assert output.get("name") != "stderr"
        assert not any("widget" in mime for mime in output.get("data", {}))
        assert "/site-packages/" not in json.dumps(output)


def test_every_picture_has_alt_text(notebook):
    pictures = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert pictures
    for picture in pictures:
        alt = picture["metadata"]["image/png"]["alt"]
        assert len(alt) > 40 and any(character.isdigit() for character in alt)


def exercises(notebook: dict) -> list[tuple[str, str]]:
    """Of each exercise: its stub cell, which ends with the checker, and the folded solution's code."""
    found = []
    cells = notebook["cells"]
    for stub, text in itertools.pairwise(cells):
        source = clean_notebooks.text_of(text["source"])
        if source.startswith("<details><summary>Solution</summary>"):
            assert "</details>" in source
            (solution,) = re.findall(r"```python\n(.*?)```", source, re.DOTALL)
            found.append((clean_notebooks.text_of(stub["source"]), solution))
    return found


def test_every_solution_passes_its_checker_and_every_stub_waits(notebook):
    found = exercises(notebook)
    assert len(found) >= 2
    imports = "\n".join(source for source in sources(notebook, "code") if "import " in source.split("\n")[0])
    for stub, solution in found:
        names: dict = {}
        exec(imports, names)
        exec(stub, names)
        check = stub.strip().splitlines()[-1]
        assert eval(check, names).mistake == "not answered"
        exec(solution, names)
        feedback = eval(check, names)
        assert feedback.passed, feedback


def test_links_to_other_lessons_lead_somewhere(path, notebook):
    for target in re.findall(r"\]\(([^)#]+)\)", "\n".join(sources(notebook, "markdown"))):
        if "://" not in target:
            assert (path.parent / target).is_file(), target


def test_cleaning_takes_out_what_differs_between_runs():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    cell = {
        "cell_type": "code",
        "source": "1",
        "metadata": {"execution": {"iopub.execute_input": "now"}},
        "execution_count": 7,
        "id": "random",
        "outputs": [
            {"output_type": "stream", "name": "stderr", "text": "warning"},
            {"output_type": "stream", "name": "stdout", "text": "a"},
            {"output_type": "stream", "name": "stdout", "text": ["b", "c"]},
            {"output_type": "display_data", "data": dict(view), "metadata": {}},
            {"output_type": "display_data", "data": {**view, "image/png": "x"}, "metadata": {}},
        ],
    }
    dirty = {"cells": [cell, {**cell, "outputs": []}], "metadata": {"widgets": {}, "execution": {}}}
    first, second = clean_notebooks.clean(dirty)["cells"]
    assert first["metadata"] == {} and first["execution_count"] == 1 and first["id"] != second["id"]
    assert [o.get("text") for o in first["outputs"]] == ["abc", None]
    assert first["outputs"][1]["data"] == {"image/png": "x"}
    assert dirty["metadata"].keys() == {"kernelspec", "language_info"}
