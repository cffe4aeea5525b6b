"""Tasks by name: `load_task("countdown")`, `load_task("countdown:hard")`, `load_task("countdown:mine.jsonl")`."""

from ..errors import InputError, did_you_mean, shown
from .base import SPLITS, Problem, Task, Verdict, Verification
from .countdown import DIFFICULTIES, Countdown
from .problem_file import ProblemFile, is_problem_file
from .word_problems import DIFFICULTIES as WORD_DIFFICULTIES
from .word_problems import WordProblems

__all__ = ["SPLITS", "Problem", "Task", "Verdict", "Verification", "load_task"]


def is_code(detail: str) -> bool:
    source = detail.removesuffix(":completion")
    return source == "humaneval" or is_problem_file(source)


def load_task(name: str) -> Task:
    """A task by name. Raises ValueError naming what is accepted.

    countdown, countdown:DIFFICULTY             generated number games
    word_problems, word_problems:DIFFICULTY     generated word problems, judged by the final number of the response
    FILE.jsonl                                  problems from a file, judged in the same way
    countdown:FILE.jsonl                        countdown problems from a file, judged by the countdown verifier
    math:NAME, math:FILE.jsonl, math:hub:…      mathematics, judged by the boxed answer (tasks/math.py)
    gym:NAME, gym:NAME:KEY=VALUE,…              any task of reasoning-gym (tasks/gym.py)
    code:humaneval, code:FILE.jsonl             programs, tested in the sandbox (tasks/code.py)
    string_function                             a Python function of a string, by example, tested in the sandbox
    grid_path                                   its shortest_path on small grids, in a form for small models
    """
    domain, _, detail = name.partition(":")
    if domain == "countdown":
        if is_problem_file(detail):
            return ProblemFile(detail, judge=Countdown())
        if detail in ("", *DIFFICULTIES):
            return Countdown(detail or "standard")
    elif domain == "math" and detail:
        from .math import Math

        return Math(detail)
    elif domain == "gym" and detail:
        from .gym import Gym

        return Gym(detail)
    elif domain == "code" and is_code(detail):
        from .code import Code

        return Code(detail.removesuffix(":completion"), completion=detail.endswith(":completion"))
    elif name == "string_function":
        from .string_function import StringFunction

        return StringFunction()
    elif name == "grid_path":
        from .grid_path import GridPath

        return GridPath()
    elif domain == "word_problems" and detail in ("", *WORD_DIFFICULTIES):
        return WordProblems(detail or "standard")
    elif is_problem_file(name):
        return ProblemFile(name)
    generated = [f"countdown:{d}" for d in DIFFICULTIES] + [f"word_problems:{d}" for d in WORD_DIFFICULTIES]
    choices = ", ".join(choice.removesuffix(":standard") for choice in generated)
    raise InputError(
        f"task: found {shown(name)}{did_you_mean(name, ['countdown', 'grid_path', 'string_function', *generated])}, "
        f"accepted {choices}, code:humaneval, code:FILE.jsonl, "
        "grid_path, string_function, gym:NAME, math:NAME, FILE.jsonl or countdown:FILE.jsonl"
    )
