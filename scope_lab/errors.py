"""The two exceptions that a user should read, not debug, and what their lines are made of."""

import difflib
import reprlib
from collections.abc import Iterable, Mapping


class InputError(ValueError):
    """One clear line: the setting or file, what was found, what is accepted. `scope-lab` prints it, exit code 2."""


class RunStopped(RuntimeError):
    """A run that cannot go on: why, and what is safe, in one line. `scope-lab` prints it, exit code 1."""


def did_you_mean(word: object, choices: Iterable[object]) -> str:
    """ " (did you mean X?)" where a choice is near, else nothing."""
    near = difflib.get_close_matches(str(word)[:100], [str(choice) for choice in choices], 1)
    return f" (did you mean {near[0]}?)" if near else ""


def shown(value: object) -> str:
    """What was found, as text of a length that a line can hold."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 60
    try:
        return short.repr(value)
    except ValueError:  # a whole number of thousands of digits
        return f"a {type(value).__name__} too long to show"


def counted(counts: Mapping[str, int]) -> str:
    """Kinds with how many there are of each, the commonest first."""
    return ", ".join(f"{kind} {n}" for kind, n in sorted(counts.items(), key=lambda item: -item[1]))


def one_line(error: BaseException) -> str:
    """An exception of another library, as part of a line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
