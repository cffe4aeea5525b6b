"""Shortest paths through a grid: reasoning-gym's generator and scorer, in a form that a model of any size can read.

    prompt    OX#O/OOXO/O*OO/XOOX:
    response  rruul

`*` is the start, `#` the goal, `X` blocked; a response has a letter a step: u, d, l, r. It is correct where
reasoning-gym's `shortest_path` gives full marks: the path leads to the goal, and no other is shorter.
"""

import random
import re
from collections import deque
from collections.abc import Iterator

from .base import Problem, Verdict, Verification, check_split, different_problems, split_of
from .gym import registered

SIDE, BLOCKED = 4, 0.3  # cells of a row and of a column; share of cells that are blocked
SHORTEST = 3  # steps: problems with a shorter way, or none, are left out
WORDS = {"u": "up", "d": "down", "l": "left", "r": "right"}
MOVES = {"u": (-1, 0), "d": (1, 0), "l": (0, -1), "r": (0, 1)}
PROMPT = re.compile(r"(?=[^*]*\*[^*]*$)(?=[^#]*#[^#]*$)[OX*#]+(?:/[OX*#]+)*:")
PATH = re.compile(r"[udlr]+", re.ASCII)


class GridPath:
    """The task. Making it needs reasoning-gym (InputError without)."""

    name = "grid_path"
    max_new_tokens = 16  # no shortest path through sixteen cells, with its EOS, is longer
    finite = False

    def __init__(self) -> None:
        self._dataset, self._config = registered("shortest_path")
        self._scorer = self._source(seed=0)

    def _source(self, seed: int):
        sides = {"min_rows": SIDE, "max_rows": SIDE, "min_cols": SIDE, "max_cols": SIDE}
        return self._dataset(self._config(**sides, p_blocked=BLOCKED, seed=seed))

    def derivations(self, split: str, seed: int) -> Iterator[tuple[Problem, str]]:
        """An endless stream of (problem, one of its shortest paths, each as likely at every fork) from one split."""
        check_split(split)
        rng = random.Random(f"{self.name} {split} {seed}")
        source = self._source(rng.getrandbits(48))
        index = 0
        while True:
            entry = source[index]
            index += 1
            grid = ["".join(row) for row in entry["metadata"]["matrix"]]
            solution = "".join(word[0] for word in entry["metadata"]["solution"])
            text = "/".join(grid)
            if len(solution) >= SHORTEST and split_of(text) == split:
                yield Problem(id=text, prompt=f"{text}:", reference=solution), random_shortest_path(rng, grid)

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first n (default 1,000) different problems of a split, in the order that `seed` gives."""
        check_split(split, n)
        return different_problems(self, split, self.derivations(split, seed), n)

    def verify(self, problem: Problem, response: str) -> Verification:
        """reasoning-gym's score. Nothing but the letters u, d, l and r ever reaches its scorer."""
        if not PROMPT.fullmatch(problem.prompt) or not PATH.fullmatch(problem.reference):
            return Verification(Verdict.UNKNOWN, "unreadable problem")
        text = response.strip()
        if not PATH.fullmatch(text):
            return Verification(Verdict.INCORRECT, "not a path" if text else "empty response", text or None)
        grid = [list(row) for row in problem.prompt[:-1].split("/")]
        entry = {"answer": in_words(problem.reference), "metadata": {"matrix": grid}}
        score = self._scorer.score_answer(in_words(text), entry)
        if score == 1:
            return Verification(Verdict.CORRECT, "shortest path", text)
        return Verification(Verdict.INCORRECT, "longer than needed" if score else "does not lead to the goal", text)


def in_words(path: str) -> str:
    """`dr` -> "down right", as reasoning-gym reads it."""
    return " ".join(WORDS[step] for step in path)


def random_shortest_path(rng: random.Random, grid: list[str]) -> str:
    """Steps from `*` to `#`, of which a random one is taken wherever several lead to the goal equally soon."""
    cells = {(r, c): cell for r, row in enumerate(grid) for c, cell in enumerate(row) if cell != "X"}
    (goal,) = (place for place, cell in cells.items() if cell == "#")
    (place,) = (place for place, cell in cells.items() if cell == "*")
    left = {goal: 0}  # steps from each cell to the goal
    queue = deque([goal])
    while queue:
        r, c = queue.popleft()
        for dr, dc in MOVES.values():
            near = r + dr, c + dc
            if near in cells and near not in left:
                left[near] = left[r, c] + 1
                queue.append(near)
    path = ""
    while place != goal:
        r, c = place
        closer = [step for step, (dr, dc) in MOVES.items() if left.get((r + dr, c + dc)) == left[place] - 1]
        path += rng.choice(closer)
        place = r + MOVES[path[-1]][0], c + MOVES[path[-1]][1]
    return path
