"""reasoning-gym's procedural tasks by name: `gym:jugs`, `gym:tower_of_hanoi:max_disks=4,threshold=0.5`.

Settings are those of the task's own configuration, and `threshold`: the score, from 0 to 1, from which a response is
correct. The default, 1, is full marks. Many scorers give parts of it: a plan that reaches its goal by a detour (hanoi,
knight_swap, shortest_path), an answer with more text around it. What a part is worth is each task's own affair.

The prompt is reasoning-gym's question, and a line that asks for the answer between tags. Of a response the scorer sees

1. what stands between the last `<answer>` and the `</answer>` behind it, or the end;
2. without such a tag, all that follows the last `</think>`; without that, the whole response;

without the spaces and the code fence around it.

A response is hostile until proven otherwise: it may make a scorer count to a billion (rush_hour: `A+999999999`), and
nine scorers hand it to Python's eval (EVALUATED), four of them directly and five through sympy. So all gym tasks run in
processes with a clock, and those nine see an answer of their own characters and names alone, none of which can call,
import or look into anything.
"""

import difflib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import islice
from typing import Any

import yaml

from ..errors import InputError
from .base import Problem, Verdict, Verification, check_split, split_of

PLANNING = (
    "tower_of_hanoi", "sokoban", "jugs", "rush_hour", "knight_swap", "shortest_path", "word_ladder", "countdown",
)  # fmt: skip
ASK = "Give the final answer between <answer> and </answer>."
CHUNK = 20_000  # problems of one dataset object: the most that every task allows
DRY = 2_000  # draws in a row without a new question, after which a generator is held to have no more
NEAR = 1e-9

LIST = re.compile(r"[\w\s\[\],'\"-]*", re.ASCII)
ARITHMETIC = re.compile(r"[\d\s+\-*/().]*", re.ASCII)
# Digits with decimal points, operators, brackets, single small letters, constants and functions of calculus.
FORMULA = re.compile(
    r"(?:\d|(?<=\d)\.(?![A-Za-z_])|\.(?=\d)|[\s+\-*/^(),]"
    r"|(?<![\w.])(?:[a-z]|C|E|X|pi|exp|log|ln|sqrt|Abs|Integral|a?(?:sin|cos|tan)h?)(?!\w))*",
    re.ASCII,
)
EVALUATED = {
    "binary_matrix": LIST,
    "n_queens": LIST,
    "spiral_matrix": LIST,
    "string_insertion": LIST,
    "countdown": ARITHMETIC,
    "puzzle24": ARITHMETIC,
    "intermediate_integration": FORMULA,
    "polynomial_multiplication": FORMULA,
    "simple_integration": FORMULA,
}

# Scorers of reasoning-gym 0.1.25 that give full marks to what is no answer: whoever trains on them reinforces it.
GENEROUS = {
    "game_of_life_halting": "accepts every answer that is not empty",
    "puzzle24": "accepts any four numbers that make 24, not the problem's alone",
}

OPENING, CLOSING = re.compile(r"<answer>", re.I), re.compile(r"</answer>", re.I)
THOUGHT = re.compile(r"</think>", re.I)
FENCE = re.compile(r"```[\w+-]*\n(.*?)\n?```", re.S)

Settings = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class GymProblem(Problem):
    """A problem with all that its scorer reads, so that no other process need generate it anew."""

    entry: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


class Gym:
    """A task of reasoning-gym. `detail` is its name, or `NAME:KEY=VALUE,…`; lists as YAML has them, `[1, 2]`.

    Raises InputError where reasoning-gym is not installed, and for a name or setting that it does not have.
    """

    runs = "processes"
    finite = True  # some generators have few problems, others take seconds each: a run trains on 1,000 by default
    max_new_tokens = 2_048  # to think, and to write down the longest of the plans

    def __init__(self, detail: str):
        self.name = f"gym:{detail}"
        self.dataset, _, settings = detail.partition(":")
        _, config = registered(self.dataset)
        read = read_settings(self.name, settings, config())
        threshold = read.pop("threshold", 1.0)
        if not 0 < threshold <= 1:
            raise InputError(f"{self.name}: threshold: found {threshold!r}, accepted above 0 to 1")
        self.threshold: float = threshold
        self.settings: Settings = tuple(sorted(read.items()))
        try:
            _chunk(self.dataset, self.settings, 0)
        except Exception as error:  # its validate() asserts, and raises whatever it likes
            raise InputError(f"{self.name}: {error or type(error).__name__}") from None
        if generous := GENEROUS.get(self.dataset):
            warnings.warn(f"{self.name}: its scorer {generous}", stacklevel=2)

    def prepare(self) -> None:
        _chunk(self.dataset, self.settings, 0)

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first n different problems of a split, in the order that `seed` gives; by default 1,000, or all of fewer.

        Splits are by a hash of the question. Raises InputError where the generator has no n of them.
        """
        check_split(split, n)
        found = list(islice(self._stream(split, seed), 1_000 if n is None else n))
        if n is not None and len(found) < n:
            raise InputError(
                f"{self.name}: only {len(found)} different problems found in split {split!r}, {n} asked for"
            )
        return found

    def _stream(self, split: str, seed: int) -> Iterator[Problem]:
        """A problem's id is its place in one endless sequence, of which each seed has a stretch."""
        seen: set[str] = set()
        position = fresh = seed % 2_000 * 1_000_000
        while position - fresh < DRY:
            entry = _entry(self.dataset, self.settings, position)
            question = entry["question"]
            if question not in seen:
                seen.add(question)
                fresh = position
                if split_of(question) == split:
                    reference = "" if entry["answer"] is None else str(entry["answer"])
                    yield GymProblem(str(position), f"{question.rstrip()}\n\n{ASK}", reference, entry)
            position += 1

    def verify(self, problem: Problem, response: str) -> Verification:
        """By the task's own scorer. `answer` is what it saw, with single spaces.

        A problem from a table is generated anew from its id; the verdict is unknown where that gives another question,
        as another version of reasoning-gym may. Incorrect where the scorer raises on the answer.
        """
        if isinstance(problem, GymProblem):
            entry = problem.entry
        elif problem.id.isascii() and problem.id.isdigit():
            entry = _entry(self.dataset, self.settings, int(problem.id))
        else:
            return Verification(Verdict.UNKNOWN, "unreadable problem")
        if not problem.prompt.startswith(entry["question"].rstrip()):
            return Verification(Verdict.UNKNOWN, "another question")
        answer = final_answer(response)
        short = " ".join(answer.split()) or None
        allowed = EVALUATED.get(self.dataset)
        if allowed and not allowed.fullmatch(answer):
            return Verification(Verdict.INCORRECT, "characters or names that are no answer", short)
        try:
            with redirect_stdout(io.StringIO()):  # some scorers print what they think of an answer
                score = _chunk(self.dataset, self.settings, 0).score_answer(answer, entry)
        except Exception:
            return Verification(Verdict.INCORRECT, "unreadable answer", short)
        if score >= self.threshold - NEAR:
            return Verification(Verdict.CORRECT, "score reaches the threshold", short)
        return Verification(Verdict.INCORRECT, "score below the threshold" if answer else "no answer", short)


def final_answer(response: str) -> str:
    """What of a response the scorer sees (above); "" where there is nothing."""
    if openings := list(OPENING.finditer(response)):
        text = CLOSING.split(response[openings[-1].end() :], maxsplit=1)[0]
    else:
        text = THOUGHT.split(response)[-1]
    text = text.strip()
    fenced = FENCE.fullmatch(text)
    return fenced[1].strip() if fenced else text


def registered(name: str) -> tuple[Any, Any]:
    """The classes of a task's dataset and of its configuration. InputError for an unknown name, with the nearest."""
    try:
        import reasoning_gym  # noqa: F401  (it fills the registry)
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise InputError(
            f"task: gym:{name} needs the package reasoning-gym, which is not installed (pip install 'scope-lab[gym]')"
        ) from None
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 3, 0.5) or PLANNING
        raise InputError(
            f"task: found 'gym:{name}', accepted gym: and one of {len(DATASETS)} names, like {', '.join(near)}"
        )
    return DATASETS[name]


def read_settings(task: str, text: str, defaults: Any) -> dict[str, Any]:
    """`KEY=VALUE,…` as values of the types that the configuration's defaults have; `threshold` too."""
    accepted = {item.name for item in fields(defaults)} - {"seed", "size"} | {"threshold"}
    found: dict[str, Any] = {}
    for part in re.split(r",(?=\s*\w+\s*=)", text) if text else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in accepted:
            near = difflib.get_close_matches(key, accepted, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise InputError(f"{task}: found {part!r}, accepted KEY=VALUE with {', '.join(sorted(accepted))}{hint}")
        default = getattr(defaults, key, 1.0)
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            read = None
        if isinstance(default, float) and isinstance(read, int) and not isinstance(read, bool):
            read = float(read)
        if default is not None and type(read) is not (list if isinstance(default, tuple) else type(default)):
            raise InputError(f"{task}: {key}: found {value!r}, accepted a value like {default!r}")
        found[key] = tuple(read) if isinstance(read, list) else read
    return found


@lru_cache(maxsize=16)
def _chunk(name: str, settings: Settings, number: int):
    """A dataset object that holds the problems from number × CHUNK on."""
    dataset, config = registered(name)
    made = config(**dict(settings), seed=number * CHUNK, size=CHUNK)
    getattr(made, "validate", lambda: None)()
    return dataset(made)


@lru_cache(maxsize=4_096)
def _entry(name: str, settings: Settings, position: int) -> dict[str, Any]:
    """The problem at a position: question, answer, and the metadata that the scorer reads."""
    number, index = divmod(position, CHUNK)
    with redirect_stdout(io.StringIO()):  # some generators print their progress
        return _chunk(name, settings, number)[index]
