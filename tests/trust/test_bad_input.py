"""Every mistake of a user is one clear line and exit code 2, and nothing is written, changed or lost."""

import subprocess
import sys

import broken
import mistakes
import pytest

from scope_lab.cli import main

CASES = [pytest.param(*case, id=f"{what}: {case[0]}") for what, cases in mistakes.ALL.items() for case in cases]


@pytest.mark.parametrize(("name", "make", "command", "message"), CASES)
def test_one_clear_line_and_nothing_written(name, make, command, message, faults, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = make(tmp_path) if make else ""
    before = broken.tree(tmp_path)
    arguments = [argument.replace("{}", str(made)) for argument in command.split(" ") if argument]
    with faults("bad input: " + command.split(" ")[0]):
        code = main(arguments)
        out, err = capsys.readouterr()
        assert code == 2, err
        assert err.startswith("scope-lab: ") and err.count("\n") == 1, err
        assert message in err and len(err) < 600, err
        assert out == ""
        assert broken.tree(tmp_path) == before


@pytest.mark.parametrize(
    ("make", "command", "message"),
    [
        (None, f"{mistakes.TRAIN} --tau 0", "tau: found 0.0"),
        (broken.recipe("[" * 5000), "train --out run --recipe {}", "is not YAML"),
        (broken.truncated_rollouts, "inspect {}", "cannot be read as parquet"),
    ],
)
def test_the_command_itself_says_no_more(make, command, message, faults, tmp_path):
    """As a process of its own: no library adds a warning, a bar or a traceback."""
    made = make(tmp_path) if make else ""
    arguments = [argument.replace("{}", str(made)) for argument in command.split(" ")]
    before = broken.tree(tmp_path)
    with faults("bad input: " + arguments[0]):
        ended = subprocess.run(
            [sys.executable, "-m", "scope_lab", *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert ended.returncode == 2 and ended.stdout == ""
        assert message in ended.stderr and ended.stderr.count("\n") == 1
        assert broken.tree(tmp_path) == before
