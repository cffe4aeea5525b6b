"""Your own verifier: `--verifier module:function`, for the problems of any task.

The function gets (prompt, response, reference), all text, and returns True or False, a number that is compared with
`--verifier-threshold`, or None where it cannot say; numpy's and torch's scalars count as what they hold. It runs in
processes with a clock each (verification.py), so it must be importable there: from a module of the current folder, or
an installed one. What it raises makes the verdict unknown, with the exception's type as its reason; an InputError, and
a number without a threshold, end the run. Attributes of the function say how it is run, as those of a task do:
`runs` ("processes"; "threads" for one that waits for a server), `timeout`, `workers`; and `check`, a function that
raises InputError, before anything is sampled, where something is missing.
"""

import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import InputError, one_line, shown
from .base import Problem, Task, Verdict, Verification, is_finite
from .verification import TIMEOUT


class OwnVerifier:
    """`task`'s problems, judged by the function that `path` names, as module:function."""

    def __init__(self, task: Task, verifier: str, threshold: float | None = None):
        self.task, self.verifier, self.threshold = task, verifier, threshold
        self.name, self.max_new_tokens = f"{task.name}, judged by {verifier}", task.max_new_tokens
        self.finite = is_finite(task)
        self._find()

    def _find(self) -> None:
        """The function, and what it says of how it wants to be run."""
        self.function = load_function(self.verifier)
        self.runs = getattr(self.function, "runs", "processes")
        self.timeout = getattr(self.function, "timeout", TIMEOUT)
        self.workers = getattr(self.function, "workers", None)
        getattr(self.function, "check", lambda: None)()

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> Sequence[Problem]:
        return self.task.problems(split, n, seed)

    def verify(self, problem: Problem, response: str) -> Verification:
        """The function's word as a verdict. Raises what the function raises: `Verifier` makes it unknown.

        Raises InputError for a number where no threshold is set.
        """
        said: Any = self.function(problem.prompt, response, problem.reference)
        if getattr(said, "shape", None) == ():  # numpy's and torch's truth values are no bool, their numbers no float
            said = said.item()
        if said is None:
            return Verification(Verdict.UNKNOWN, "the verifier cannot say")
        if isinstance(said, bool):
            right = said
        elif isinstance(said, int | float) and not math.isnan(said):
            if self.threshold is None:
                raise InputError(
                    f"verifier_threshold: {self.verifier} returned a number, {shown(said)}; set --verifier-threshold, "
                    "from which on it is correct, or return True or False"
                )
            right = said >= self.threshold
        else:
            return Verification(Verdict.UNKNOWN, f"returned {_type_name(said)}")
        return Verification(
            Verdict.CORRECT if right else Verdict.INCORRECT, "by the verifier", " ".join(response.split())
        )

    def __getstate__(self) -> dict:
        """What goes to a process: the function by its name, and no problems."""
        return {"verifier": self.verifier, "threshold": self.threshold, "name": self.name}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._find()


def _type_name(value: object) -> str:
    """Of any value: "str", "numpy.ndarray"."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def with_verifier(task: Task, path: str | None, threshold: float | None = None) -> Task:
    """`task` as it is, or judged by a function of one's own where `path` names one."""
    check_threshold(path, threshold)
    return task if path is None else OwnVerifier(task, path, threshold)


def check_threshold(path: str | None, threshold: float | None) -> None:
    if threshold is not None and path is None:
        raise InputError("verifier_threshold: has no effect without verifier; leave it out")


def load_function(path: str) -> Callable[[str, str, str], object]:
    """The function that module:function names. InputError, in one line, where there is none that takes three texts."""
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise InputError(f"verifier: found {shown(path)}, accepted module:function")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # behind everything else: no file of the folder hides a library
    try:
        found = getattr(importlib.import_module(module), name)
    except AttributeError:
        raise InputError(f"verifier: module {module} has no {name}") from None
    except Exception as error:
        raise InputError(f"verifier: {path} cannot be imported ({type(error).__name__}: {one_line(error)})") from None
    if not callable(found):
        raise InputError(f"verifier: {path} is a {type(found).__name__}, accepted a function")
    try:
        inspect.signature(found).bind("prompt", "response", "reference")
    except TypeError:
        raise InputError(
            f"verifier: {path}{inspect.signature(found)} does not take (prompt, response, reference)"
        ) from None
    except ValueError:  # written in C: its signature is not known
        pass
    return found
