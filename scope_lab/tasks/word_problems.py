"""Word problems: small-number arithmetic told as short stories, in the words of a chat user.

    prompt    Mia has 9 plums. She gives 4 of them to Tom. How many plums does Mia have left?
    solution  Mia has 9 - 4 = 5 plums left. The answer is 5.

Splits. `train` and `validation` share their story templates, `test` has templates of its own. The numbers of a story
(as a bag, distractors included) are assigned by a hash: 60 % of all bags are for `train`, the others for `validation`
and `test`. So validation problems have new numbers, and test problems new templates as well as new numbers.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from ..errors import InputError
from .answers import verify_answer
from .base import Problem, Verification, check_split
from .word_heldout import TEST
from .word_stories import DEFAULT_RANGE, Story, Template, draw_story, write_number
from .word_templates import TRAIN

TEMPLATES: dict[str, tuple[Template, ...]] = {"train": TRAIN, "validation": TRAIN, "test": TEST}


@dataclass(frozen=True)
class Mixture:
    """What share of the problems takes 1, 2, 3, 4 steps, and the largest number of a story that sets no own range."""

    steps: tuple[float, float, float, float]
    max_number: int = DEFAULT_RANGE[1]


DIFFICULTIES = {
    "standard": Mixture((0.5, 0.35, 0.1, 0.05)),
    "easy": Mixture((0.8, 0.2, 0, 0), max_number=9),
    "hard": Mixture((0, 0.2, 0.4, 0.4)),
    "one_step": Mixture((1, 0, 0, 0)),
    "two_steps": Mixture((0, 1, 0, 0)),
}


def held_out(numbers: tuple[Fraction, ...]) -> bool:
    """Whether these numbers, in any order, belong to validation and test: four bags of numbers in ten do."""
    bag = ",".join(map(str, sorted(numbers)))
    return hashlib.sha256(f"word_problems {bag}".encode()).digest()[0] < 0.4 * 256


class WordProblems:
    """The task. `difficulty` is a name of DIFFICULTIES."""

    max_new_tokens = 128

    def __init__(self, difficulty: str = "standard"):
        if difficulty not in DIFFICULTIES:
            raise InputError(f"word_problems difficulty: found {difficulty!r}, accepted {', '.join(DIFFICULTIES)}")
        self.mixture = DIFFICULTIES[difficulty]
        self.name = "word_problems" if difficulty == "standard" else f"word_problems:{difficulty}"

    def stories(self, split: str, seed: int) -> Iterator[Story]:
        """An endless stream of filled-in templates from one split; stories may repeat."""
        check_split(split)
        rng = random.Random(f"word_problems {split} {seed}")
        by_steps = [[t for t in TEMPLATES[split] if len(t.steps) == n] for n in (1, 2, 3, 4)]
        while True:
            template = rng.choice(rng.choices(by_steps, self.mixture.steps)[0])
            story = draw_story(template, rng, self.mixture.max_number)
            while held_out(story.numbers) == (split == "train"):
                story = draw_story(template, rng, self.mixture.max_number)
            yield story

    def solutions(self, split: str, seed: int) -> Iterator[tuple[Problem, str]]:
        """An endless stream of (problem, worked solution in words) from one split; problems may repeat.

        Every solution ends in "The answer is …." and is correct by `verify`.
        """
        for story in self.stories(split, seed):
            yield as_problem(story), story.solution

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first n (default 1,000) different problems of a split, in the order that `seed` gives."""
        check_split(split, n)
        wanted = 1_000 if n is None else n
        chosen: dict[str, Problem] = {}
        for attempts, (problem, _) in enumerate(self.solutions(split, seed) if wanted else ()):
            chosen.setdefault(problem.id, problem)
            if len(chosen) == wanted:
                break
            if attempts > 10_000 + 50 * wanted:
                raise InputError(
                    f"{self.name}: only {len(chosen)} different problems found in split {split!r}, {wanted} asked for"
                )
        return list(chosen.values())

    def verify(self, problem: Problem, response: str) -> Verification:
        """Compare the response's final number with the reference (see `answers`)."""
        return verify_answer(problem.reference, response)


def as_problem(story: Story) -> Problem:
    """The id names the template and a hash of the text, so it does not depend on seed, split or difficulty."""
    digest = hashlib.sha256(story.prompt.encode()).hexdigest()[:12]
    return Problem(f"{story.template.name}-{digest}", story.prompt, write_number(story.answer))
