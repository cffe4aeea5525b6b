"""Clean executed notebooks before they are committed: `python tests/clean_notebooks.py [--check] [FILE.ipynb ...]`.

Leaves code, text and outputs that any page can show. Takes out widget state and views (GitHub refuses a notebook whose
widget state is missing), time stamps, stderr and the machine's Python version; gives cells stable ids and numbers.
With --check nothing is written: exit code 1 and the names of notebooks that cleaning would change.
"""

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}
KEPT_IN_CELL = ("tags", "jupyter")


def text_of(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


def clean_outputs(outputs: list[dict], count: int) -> list[dict]:
    """Outputs without stderr and widget views; neighbouring pieces of one stream become one."""
    kept: list[dict] = []
    for output in outputs:
        if output["output_type"] == "stream":
            if output["name"] == "stderr":
                continue
            if kept and kept[-1]["output_type"] == "stream":
                kept[-1]["text"] = text_of(kept[-1]["text"]) + text_of(output["text"])
                continue
        if "data" in output:
            views = [mime for mime in output["data"] if mime.startswith("application/vnd.jupyter.widget-")]
            output["data"] = {mime: data for mime, data in output["data"].items() if mime not in views}
            if not output["data"]:
                continue
        if "execution_count" in output:
            output["execution_count"] = count
        kept.append(output)
    return kept


def clean(notebook: dict) -> dict:
    """The same notebook, as it is committed."""
    seen: Counter = Counter()
    count = 0
    for cell in notebook["cells"]:
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key in KEPT_IN_CELL}
        source = text_of(cell["source"])
        digest = hashlib.sha256(f"{cell['cell_type']} {source}".encode()).hexdigest()[:8]
        seen[digest] += 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
            cell["outputs"] = clean_outputs(cell["outputs"], count)
    notebook["metadata"] = {"kernelspec": KERNEL, "language_info": LANGUAGE}
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    return notebook


def cleaned_text(path: Path) -> str:
    notebook = clean(json.loads(path.read_text(encoding="utf-8")))
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    paths = [Path(name) for name in arguments if name != "--check"] or sorted(NOTEBOOKS.glob("*.ipynb"))
    changed = [path for path in paths if path.read_text(encoding="utf-8") != cleaned_text(path)]
    for path in changed:
        print(f"{path}: {'needs cleaning' if check else 'cleaned'}")
        if not check:
            path.write_text(cleaned_text(path), encoding="utf-8")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
